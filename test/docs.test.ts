import { execFile } from "node:child_process"
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { fileOf, pages, render } from "../docs/generate.ts"
import { decisionNotes, rowName } from "../docs/tables/decisionNotes.ts"
import * as Classifier from "../src/Classifier.ts"
import * as GatewayError from "../src/GatewayError.ts"
import { childEnv } from "./support/childEnv.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const read = (page: string) => readFile(fileOf(page), "utf8")

/** The cells of every table row below a heading. */
const rowsBelow = (source: string, heading: string): ReadonlyArray<ReadonlyArray<string>> => {
  const [, section = ""] = source.split(`\n## ${heading}\n`)
  const [own = ""] = section.split("\n## ")
  return own
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim())
    )
}

describe("generated parts", () => {
  for (const [page, parts] of Object.entries(pages)) {
    it(`of docs/${page} are up to date`, async () => {
      const source = await read(page)
      assert.isTrue(render(source, parts) === source, `docs/${page} is stale: run \`npm run docs:tables\``)
    })
  }

  const parts = { one: () => "new" }
  it("are replaced between their markers, and nothing else is", () => {
    const source = "a\n<!-- one:start -->\nold\n<!-- one:end -->\nb\n"
    const rendered = render(source, parts)
    assert.strictEqual(rendered, "a\n<!-- one:start -->\n\nnew\n\n<!-- one:end -->\nb\n")
    assert.strictEqual(render(rendered, parts), rendered)
  })

  it("need their markers, once and in order", () => {
    const start = "<!-- one:start -->"
    const end = "<!-- one:end -->"
    for (const source of ["", start, end, `${end}${start}`, `${start}${end}${end}`, `${start}${start}${end}`]) {
      assert.throws(() => render(source, parts), "<!-- one:start -->")
    }
  })
})

describe("docs/errors.md", () => {
  it("has a row for every decision, and each row has all its cells", async () => {
    const rows = rowsBelow(await read("errors.md"), "Again, next, wait, stop")
    assert.strictEqual(rows.length, GatewayError.decisions.length + 2)
    for (const row of rows) assert.strictEqual(row.length, 5, row.join(" | "))
    const decided = new Map(rows.map(([reason = "", decision]) => [reason, decision]))
    assert.strictEqual(decided.get("`RateLimited`"), "again, then next")
    assert.strictEqual(decided.get("`Unauthorized` (provider)"), "next")
    assert.strictEqual(decided.get("`Unauthorized`"), "stop")
  })

  it("has a row for every rule, and patterns do not break the table", async () => {
    const rows = rowsBelow(await read("errors.md"), "Rules")
    assert.strictEqual(rows.length, Classifier.rules.length + 2)
    for (const row of rows) assert.strictEqual(row.length, 4, row.join(" | "))
    assert.deepStrictEqual(
      rows.slice(2).map(([id]) => id),
      Classifier.rules.map(({ id }) => id)
    )
  })

  it("explains every reason and no other", async () => {
    const explained = rowsBelow(await read("errors.md"), "Shape")
      .flatMap(([cell = ""]) => /^`([A-Z]\w+)`$/.exec(cell)?.[1] ?? [])
      .sort()
    assert.deepStrictEqual(explained, [...new Set(GatewayError.decisions.map(({ reason }) => reason))].sort())
  })

  /** The sources in the column "comes from" must lead to the decision. */
  const classify = (token: string): GatewayError.Reason => {
    const surface = token === "7002" ? "logs" : "gateway"
    const answer = /^\d{3}$/.test(token)
      ? { status: Number(token), body: "" }
      : /^\d+$/.test(token)
        ? {
            status: token === "7003" ? 404 : 400,
            body: JSON.stringify({ success: false, error: [{ code: Number(token), message: "x" }] })
          }
        : { status: 400, body: JSON.stringify({ error: { code: token, message: "x" } }) }
    return Classifier.classify({ ...answer, surface }).reason
  }
  for (const row of GatewayError.decisions) {
    const note = decisionNotes[rowName(row)]
    it(`${rowName(row)} has a note`, () => assert.isDefined(note))
    const from = (note?.from ?? "").replace("400 with 2005", "2005").replace("7003 with 404", "7003")
    for (const token of from.match(/\b\d{3,5}\b|(?<=`)[a-z_]+(?=`)/g) ?? []) {
      it(`${token} is ${row.reason}${row.variant === undefined ? "" : ` (${row.variant})`}`, () => {
        const found = GatewayError.decide(classify(token))
        assert.deepStrictEqual([found.reason, found.variant], [row.reason, row.variant])
      })
    }
  }
})

describe("examples", () => {
  const documented = ["errors.md", "workers.md"]
  const blocks = new Map<string, string>()
  let folder = ""

  const run = async (file: string, ...args: ReadonlyArray<string>) => {
    const options = { cwd: folder, env: childEnv, timeout: 180_000 }
    try {
      return (await promisify(execFile)(process.execPath, [file, ...args], options)).stdout
    } catch (error) {
      const { stderr = "", stdout = "" } = error as { readonly stdout?: string; readonly stderr?: string }
      return `${stdout}${stderr}`
    }
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "effect-ai-gateway-docs-"))
    await mkdir(join(folder, "node_modules"))
    await symlink(join(root, "node_modules", "effect"), join(folder, "node_modules", "effect"))
    await symlink(root, join(folder, "node_modules", "effect-ai-gateway"))
    await writeFile(join(folder, "package.json"), `{"type":"module"}`)
    const typeRoots = [join(root, "node_modules", "@types")]
    const tsconfig = { extends: join(root, "tsconfig.json"), compilerOptions: { typeRoots }, include: ["*.ts"] }
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify(tsconfig))
    for (const page of documented) {
      const found = (await read(page)).matchAll(/^```ts\n([\s\S]*?)^```$/gm)
      for (const [, block = ""] of found) {
        const name = `${page.replace(".md", "")}-${blocks.size + 1}.ts`
        blocks.set(name, block)
        await writeFile(join(folder, name), block)
      }
    }
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it("compile", { timeout: 300_000 }, async () => {
    const output = await run(join(root, "node_modules", "typescript", "bin", "tsc"), "-p", ".")
    const own = output.split("\n").filter((line) => blocks.has(line.split("(")[0] ?? ""))
    assert.deepStrictEqual(own, [])
    // Without a single finished compilation there would be no complaint either.
    assert.notInclude(output, "error TS5")
    assert.isAbove(blocks.size, 0)
  })

  it("run, and print what their comments say", { timeout: 300_000 }, async () => {
    for (const [name, block] of blocks) {
      // Needs the bundle of the Worker above it: test/packaging.test.ts follows both in an empty folder.
      if (block.includes('"dist/worker.js"')) continue
      const promised = [...block.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, text]) => text)
      const output = await run("--conditions=effect-ai-gateway-source", join(folder, name))
      assert.deepStrictEqual(output.split("\n").slice(0, -1), promised, name)
    }
  })
})

describe("docs/routes.md", () => {
  it("has every option of a run, with its type", async () => {
    const source = await readFile(join(root, "src/internal/router/options.ts"), "utf8")
    const [, fields = ""] = source.split("export interface RunOptions {\n")
    const [own = ""] = fields.split("\n}\n")
    const typed = [...own.matchAll(/^ {2}readonly (\w+)\?: (.+) \| undefined$/gm)].map(([, name, type]) => [name, type])
    const rows = rowsBelow(await read("routes.md"), "Options of a run").slice(2)
    assert.isAbove(typed.length, 8)
    assert.deepStrictEqual(
      rows.map(([name = "", type = ""]) => [name.replaceAll("`", ""), type.replaceAll("`", "")]),
      typed
    )
    for (const row of rows) assert.isTrue(row.length === 4 && row.every((cell) => cell !== ""), row.join())
  })
})
