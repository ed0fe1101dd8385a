/**
 * The package as its users get it: built, packed, installed into an empty project, imported, bundled, type-checked.
 * Everything is derived from `package.json`, so a new entry point is covered when it is declared.
 */
import { execFile } from "node:child_process"
import { access, cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { build } from "esbuild"
import { publint } from "publint"
import { formatMessage } from "publint/utils"
import { budgets, fixtures, measure } from "../bench/size.ts"
import * as Path from "./docs/path.ts"
import * as Docs from "./docs/support.ts"
import { childEnv } from "./support/childEnv.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const modules = join(root, "node_modules")
const manifest: {
  readonly name: string
  readonly version: string
  readonly homepage: string
  readonly bugs: string
  readonly repository: { readonly url: string }
  readonly bin: Record<string, string>
  readonly exports: Record<string, unknown>
  readonly scripts: Record<string, string>
} = JSON.parse(await readFile(join(root, "package.json"), "utf8"))
const { name } = manifest

/** The specifier of every public entry point. */
const entries = Object.entries(manifest.exports)
  .filter(([path, target]) => target !== null && !path.endsWith(".json"))
  .map(([path]) => `${name}${path.slice(1)}`)
/** These need Node and may need an optional peer; all others must work without both. */
const isForNode = (entry: string) => /\/(node|miniflare|journal|undici)$/.test(entry)

const run = async (cwd: string, command: string, ...args: ReadonlyArray<string>) => {
  const options = { cwd, env: childEnv, maxBuffer: 64 * 1024 * 1024, timeout: 300_000 }
  try {
    const { stdout } = await promisify(execFile)(command, args, options)
    return stdout
  } catch (error) {
    const { stderr = "", stdout = "" } = error as { readonly stderr?: string; readonly stdout?: string }
    throw new Error(`${command} ${args.join(" ")}\n${stdout}\n${stderr}`, { cause: error })
  }
}
const node = (cwd: string, ...args: ReadonlyArray<string>) => run(cwd, process.execPath, ...args)
const bin = (tool: string) => join(modules, ".bin", tool)

const writeJson = (path: string, value: unknown) => writeFile(path, JSON.stringify(value))

let temp = ""
let tarball = ""
/** A project with the packed library and `effect`, and nothing else. */
let bare = ""
/** The same with the optional peers and the types of Node. */
let full = ""

const project = async (folder: string, ...links: ReadonlyArray<string>) => {
  await mkdir(folder)
  await writeJson(join(folder, "package.json"), { name: "consumer", private: true, type: "module" })
  // Nothing to download: the library has no dependencies, and its peers are linked below.
  const quiet = ["--offline", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
  await run(folder, "npm", "install", ...quiet, tarball)
  for (const link of links) {
    const target = join(folder, "node_modules", link)
    await mkdir(join(target, ".."), { recursive: true })
    await symlink(join(modules, link), target, "dir")
  }
}

beforeAll(async () => {
  temp = await realpath(await mkdtemp(join(tmpdir(), "effect-ai-gateway-pack-")))
  // Built in a copy, so that neither a stale dist/ nor a build at the same time can be what is tested.
  const stage = join(temp, "stage")
  await mkdir(stage)
  for (const file of await readdir(root)) {
    // Other tests come and go in .cache.
    if ([".git", ".cache", "node_modules", "dist"].includes(file)) continue
    const filter = (path: string) => !/[\\/](?:node_modules|\.cache)$/.test(path)
    await cp(join(root, file), join(stage, file), { recursive: true, filter })
  }
  await symlink(modules, join(stage, "node_modules"), "dir")
  await run(stage, "npm", "run", "build")
  const packed = JSON.parse(await run(stage, "npm", "pack", "--ignore-scripts", "--json", "--pack-destination", temp))
  tarball = join(temp, packed[0].filename)
  bare = join(temp, "bare")
  full = join(temp, "full")
  await project(bare, "effect")
  await project(full, "effect", "@effect/platform-node", "@types/node", "miniflare")
}, 600_000)

afterAll(() => rm(temp, { recursive: true, force: true }))

const installed = () => join(full, "node_modules", name)
const listFiles = async (folder: string) =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))

describe("package.json", () => {
  it("exports every root module, and no other", async () => {
    const files = (await readdir(join(root, "src"))).filter((file) => /^[A-Z].*\.ts$/.test(file))
    const expected = files.map((file) => `${name}/${file.slice(0, -3)}`)
    const actual = entries.filter((entry) => /\/[A-Z]\w*$/.test(entry) && entry.split("/").length === 2)
    assert.deepStrictEqual(actual.sort(), expected.sort())
  })

  it("points every script at files that exist", async () => {
    const scripts = Object.values(manifest.scripts).join(" ")
    const named = scripts.match(/[\w./-]+\.(?:ts|json)\b/g) ?? []
    assert.isAbove(named.length, 3)
    for (const file of named) await access(join(root, file))
  })

  it("names the repository, so that relative links of the README work on npm", () => {
    const { bugs, homepage, repository } = manifest
    assert.match(repository.url, /^git\+https:\/\/.+\.git$/)
    const page = repository.url.replace(/^git\+|\.git$/g, "")
    assert.deepStrictEqual({ bugs, homepage }, { bugs: `${page}/issues`, homepage: `${page}#readme` })
  })

  it("has a lock file that names no host", async () => {
    assert.notMatch(await readFile(join(root, "package-lock.json"), "utf8"), /"resolved"|https?:\/\/registry/)
  })
})

describe("the tarball", () => {
  it("holds sources, code and declarations of each module, and no test or tool", async () => {
    const files = await listFiles(installed())
    const sources = await listFiles(join(root, "src"))
    const built = sources.flatMap((file) => {
      const stem = `dist/${file.replace(/\.ts$/, "")}`
      return [`src/${file}`, `${stem}.js`, `${stem}.js.map`, `${stem}.d.ts`, `${stem}.d.ts.map`]
    })
    const texts = ["package.json", "LICENSE", "README.md", "CHANGELOG.md"]
    assert.deepStrictEqual(files.sort(), [...texts, ...built].sort())
  })

  it("names no folder of the machine that built it", async () => {
    for (const file of await listFiles(installed())) {
      const text = await readFile(join(installed(), file), "utf8")
      assert.isFalse(text.includes(temp) || text.includes(root), file)
    }
  })

  it("pleases publint", async () => {
    const { messages, pkg } = await publint({ pkgDir: installed(), pack: false, strict: true, level: "suggestion" })
    assert.deepStrictEqual(
      messages.map((message) => formatMessage(message, pkg, { color: false })),
      []
    )
  })

  it("pleases attw", { timeout: 300_000 }, async () => {
    const out = await node(
      temp,
      bin("attw"),
      tarball,
      "--profile",
      "esm-only",
      "--format",
      "table-flipped",
      "--no-emoji"
    )
    for (const entry of entries) assert.include(out, entry)
  })
})

describe("a page, followed in an empty folder", () => {
  /** The first path ends where the first heading is; another path is the text below a heading. */
  const path = (heading?: string): ReadonlyArray<Path.Step> => {
    const page = Docs.read("docs/getting-started.md")
    const text = heading === undefined ? page : page.slice(page.indexOf(`\n## ${heading}\n`) + 1)
    return Path.stepsOf(text.slice(0, text.indexOf("\n## ", 4)))
  }
  const follow = async (steps: ReadonlyArray<Path.Step>) => {
    const folder = await mkdtemp(join(temp, "path-"))
    return Path.follow(folder, steps, { tarball, modules })
  }
  const kinds = (steps: ReadonlyArray<Path.Step>) => steps.map(({ kind }) => kind).join(" ")

  it("leads an Effect developer to an answer after two failures", async () => {
    const steps = path()
    assert.strictEqual(kinds(steps), "run save run expect")
    const { printed } = await follow(steps)
    assert.include(printed, "anthropic/claude-haiku-4-5: 200, answered")
  })

  it("leads a Workers developer to an answer from workerd, with a log id", async () => {
    const steps = path("In a Worker")
    assert.strictEqual(kinds(steps), "run save save save run expect")
    const { folder, printed } = await follow(steps)
    assert.match(printed, /"logId":"[\w-]{26,}"/)
    await Path.sameSettings(folder)
  })

  it("leads a person with a file of prompts to a file of answers", async () => {
    const steps = path("On the command line")
    assert.strictEqual(kinds(steps), "run save save run")
    const { folder } = await follow(steps)
    const lines = (await Path.made(folder, "answers.jsonl")).trimEnd().split("\n")
    const answers = lines.map((line) => JSON.parse(line))
    assert.deepStrictEqual(answers.map(({ id, status }) => `${id} ${status}`).sort(), ["a ok", "b ok"])
    for (const { text, usage } of answers) {
      assert.include(text, "Which planet")
      assert.isAbove(usage.outputTokens, 0)
    }
  })

  it("runs the Worker of docs/workers.md as the page says, with one gateway id", async () => {
    const page = Docs.read("docs/workers.md")
    const text = page.slice(page.indexOf("\n## Set-up\n"), page.indexOf("\n## Testing\n"))
    const steps = Path.stepsOf(text)
    assert.strictEqual(kinds(steps), "run save save save run")
    const { folder, printed } = await follow(steps)
    await Path.sameSettings(folder)
    const texts = (lines: string) =>
      lines
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line).text)
    const shown = Docs.fences(text).find(({ info, text }) => info === "json" && text.includes("logId"))?.text ?? ""
    assert.strictEqual(texts(shown).length, 2)
    // The warning of the Worker is printed by another process, so its place varies.
    assert.deepStrictEqual(texts(printed), texts(shown))
  })

  it("writes the line that docs/batch.md shows", async () => {
    const page = Docs.read("docs/batch.md")
    const steps = Path.stepsOf(page.slice(0, page.indexOf("\n## ")))
    assert.strictEqual(kinds(steps), "run save save run")
    const { folder } = await follow(steps)
    const lines = (await Path.made(folder, "answers.jsonl"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line))
    assert.deepStrictEqual(lines.map(({ id }) => id).sort(), ["a", "b"])
    const shown = JSON.parse(Docs.fences(page).find(({ text }) => text.includes('"latencyMs"'))?.text ?? "")
    const { latencyMs, logId, ...written } = lines.find(({ id }) => id === shown.id)
    assert.deepStrictEqual({ ...written, latencyMs: shown.latencyMs, logId: shown.logId }, shown)
    assert.isAbove(latencyMs, 0)
    assert.isString(logId)
  })
})

describe.concurrent("imported by Node", () => {
  for (const entry of entries) {
    it(entry, async () => {
      const script = `console.log(Object.keys(await import(${JSON.stringify(entry)})).join())`
      const names = await node(isForNode(entry) ? full : bare, "--input-type=module", "--eval", script)
      assert.match(names, /\w/)
    })
  }

  it("the index holds every root module under its name", async () => {
    const out = await node(
      bare,
      "--input-type=module",
      "--eval",
      `console.log(Object.keys(await import("${name}")).join())`
    )
    const expected = entries.map((entry) => entry.slice(name.length + 1)).filter((path) => /^[A-Z]\w*$/.test(path))
    assert.deepStrictEqual(out.trim().split(",").sort(), expected.sort())
  })

  it("internal modules are closed", async () => {
    const internal = (await listFiles(join(root, "src/internal")))[0]
    assert.isDefined(internal)
    const specifier = `${name}/internal/${internal?.replace(/\.ts$/, "")}`
    const script = `await import(${JSON.stringify(specifier)}).then(() => "open", (error) => error.code).then(console.log)`
    assert.strictEqual(
      (await node(bare, "--input-type=module", "--eval", script)).trim(),
      "ERR_PACKAGE_PATH_NOT_EXPORTED"
    )
  })

  it("the binary prints its version", async () => {
    for (const command of Object.keys(manifest.bin)) {
      const out = await run(full, join(full, "node_modules/.bin", command), "--version")
      assert.include(out, manifest.version)
    }
  })
})

describe.concurrent("bundled", () => {
  for (const entry of entries) {
    // Without a platform every `node:` import and every peer that is not there is an error of the bundler.
    it(entry, async () => {
      const folder = isForNode(entry) ? full : bare
      const outfile = join(folder, `bundle-${entry.replaceAll("/", "-")}.mjs`)
      await build({
        stdin: { contents: `export * from ${JSON.stringify(entry)}`, resolveDir: folder },
        bundle: true,
        format: "esm",
        platform: isForNode(entry) ? "node" : "neutral",
        // Brings binaries.
        external: isForNode(entry) ? ["miniflare"] : [],
        banner: isForNode(entry)
          ? { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url)` }
          : {},
        outfile,
        logLevel: "silent"
      })
      const script = `console.log(Object.keys(await import(${JSON.stringify(outfile)})).join())`
      assert.match(await node(folder, "--input-type=module", "--eval", script), /\w/)
    })
  }

  for (const [fixture, source] of fixtures()) {
    const budget = budgets[fixture]
    if (budget === undefined) continue
    it(`size/${fixture}.ts stays within ${budget} kB gzip`, async () => {
      const { gzip } = await measure(source, bare)
      assert.isAtMost(gzip, budget * 1000)
    })
  }

  it("what a program does not use stays out", async () => {
    const bundled = async (names: string) => {
      const { modules } = await measure(`export { ${names} } from "${name}/GatewayService"`, bare)
      return modules.map(([path]) => path)
    }
    const client = "effect/dist/http/HttpClient.js"
    assert.include(await bundled("layerHttp"), client)
    assert.notInclude(await bundled("GatewayService, layerBinding"), client)
  })

  it("nothing of effect/ai and of HTTP servers is in a Worker that does not import it", async () => {
    for (const [fixture, source] of fixtures()) {
      const { modules } = await measure(source, bare)
      const strays = modules.map(([path]) => path).filter((path) => /effect\/dist\/(ai|http)\/|dist\/ai\//.test(path))
      assert.deepStrictEqual(strays, [], fixture)
    }
  })

  it("the code for streams comes with what opens them", async () => {
    const code = "internal/router/streamAttempt.js"
    const bundled = async (source: string): Promise<boolean> =>
      (await measure(source, bare)).modules.some(([path]) => path.endsWith(code))
    for (const [fixture, source] of fixtures()) assert.isFalse(await bundled(source), fixture)
    for (const member of ["open", "stream"]) {
      assert.isTrue(await bundled(`export { ${member} } from "${name}/Router"`), member)
    }
  })

  it("the orders of a balance come with Route.balance", async () => {
    const code = /\/dist\/internal\/(?:admission\/choice|router\/balance)\.js$/
    const bundled = async (source: string): Promise<ReadonlyArray<string>> =>
      (await measure(source, bare)).modules.map(([path]) => path).filter((path) => code.test(path))
    for (const [fixture, source] of fixtures()) {
      if (!source.includes("balance")) assert.deepStrictEqual(await bundled(source), [], fixture)
    }
    assert.strictEqual((await bundled(`export { balance } from "${name}/Route"`)).length, 2)
  })

  it("the calculator of costs comes with the prices, and not with a router", async () => {
    const bundled = async (source: string): Promise<boolean> =>
      (await measure(source, bare)).modules.some(([path]) => path.endsWith("/dist/Pricing.js"))
    for (const [fixture, source] of fixtures()) assert.isFalse(await bundled(source), fixture)
    assert.isFalse(await bundled(`export * from "${name}/Router"`))
    assert.isTrue(await bundled(`export { make } from "${name}/Pricing"`))
  })

  it("every budget has its fixture", () => {
    assert.includeMembers([...fixtures().keys()], Object.keys(budgets))
  })
})

describe("type-checked with exactOptionalPropertyTypes and the declarations of the library", () => {
  const resolutions = [
    { module: "NodeNext", moduleResolution: "NodeNext" },
    { module: "ESNext", moduleResolution: "bundler" }
  ]
  for (const resolution of resolutions) {
    it(resolution.moduleResolution, { timeout: 300_000 }, async () => {
      const file = `check-${resolution.moduleResolution}.ts`
      const used = entries.map((entry, index) => ({ entry, alias: `M${index}` }))
      const lines = [
        ...used.map(({ alias, entry }) => `import * as ${alias} from ${JSON.stringify(entry)}`),
        "// @ts-expect-error internal modules are closed",
        `import * as Closed from "${name}/internal/headers"`,
        "// Were a declaration to be missing, its module would be `any` and this would not compile.",
        "type Known<A> = 0 extends 1 & A ? never : A",
        ...used.map(({ alias }) => `export const ${alias}_: Known<typeof ${alias}> = ${alias}`),
        "export { Closed }"
      ]
      await writeFile(join(full, file), `${lines.join("\n")}\n`)
      await writeJson(join(full, "tsconfig.json"), {
        compilerOptions: {
          ...resolution,
          target: "ES2022",
          lib: ["ES2023", "DOM", "DOM.Iterable"],
          types: ["node"],
          strict: true,
          exactOptionalPropertyTypes: true,
          noUncheckedIndexedAccess: true,
          skipLibCheck: false,
          noEmit: true
        },
        files: [file]
      })
      await node(full, bin("tsc"), "-p", full)
    })
  }
})
