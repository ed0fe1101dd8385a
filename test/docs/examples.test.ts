/**
 * Keeps the documentation true: every example type-checks, every program runs and prints the output on the page, every
 * link works, and every table of defaults matches the code.
 */
import { existsSync } from "node:fs"
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as GatewayOptions from "effect-ai-gateway/GatewayOptions"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Route from "effect-ai-gateway/Route"
import * as Markdown from "../../docs/site/markdown.ts"
import { backoffMillis } from "../../src/internal/route/node.ts"
import * as Docs from "./support.ts"

const documented = Docs.pages().flatMap((page) => Docs.examplesOf(page, Docs.read(page)))
const inCode = Docs.sources().flatMap((file) => Docs.examplesOf(file, Docs.docstrings(Docs.read(file))))
const examples = [...documented, ...inCode]
const programs = examples.filter(({ run }) => run)
/** Docstrings with output; they run together, because they are many and small. */
const printing = inCode.filter(({ logs, run }) => !run && logs.some((log) => log !== undefined))

let folder = ""

/** Imports modules one after the other and writes the logs of each, as JSON. */
const runner = `import { inspect } from "node:util"
const print = console.log
const out = {}
for (const file of process.argv.slice(2)) {
  const logs = (out[file] = [])
  console.log = (...args) => logs.push(args.map((arg) => (typeof arg === "string" ? arg : inspect(arg))).join(" "))
  await import("./" + file)
}
print(JSON.stringify(out))
`

beforeAll(async () => {
  const cache = join(Docs.root, ".cache")
  await mkdir(cache, { recursive: true })
  // Inside the project, so that its packages, and the library under its own name, are found.
  folder = await mkdtemp(join(cache, "examples-"))
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ extends: "../../tsconfig.json", include: ["*.ts"] }))
  await writeFile(join(folder, "canary.ts"), `export const wrong: number = "text"\n`)
  await writeFile(join(folder, "runner.js"), runner)
  for (const { code, file } of examples) await writeFile(join(folder, file), code)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe("examples", () => {
  it("are found in the known places", () => {
    const found = new Set(examples.map(({ page }) => page))
    for (const page of [
      "README.md",
      "docs/getting-started.md",
      "docs/routes.md",
      "src/Route.ts",
      "src/local/node.ts"
    ]) {
      assert.isTrue(found.has(page), page)
    }
    assert.isAbove(programs.length, 3)
    assert.isAbove(printing.length, 3)
    assert.strictEqual(new Set(examples.map(({ file }) => file)).size, examples.length)
  })

  it("type-check", { timeout: 300_000 }, async () => {
    const { stdout } = await Docs.node(folder, join(Docs.root, "node_modules", "typescript", "bin", "tsc"), "-p", ".")
    const complaints = stdout.split("\n").flatMap((line) => {
      const [, file, row = "", text] = /^(\S+?)\((\d+),\d+\): (.*)$/.exec(line) ?? []
      if (file === "canary.ts") return ["canary"]
      const example = examples.find((one) => one.file === file)
      return example === undefined ? [] : [`${example.page}:${example.line + Number(row) - 1}: ${text}`]
    })
    // The wrong module distinguishes a check without complaints from one that did not take place.
    assert.deepStrictEqual(complaints, ["canary"])
  })

  for (const { at, file, logs, prints } of programs) {
    // Each is a separate process, and some of them wait.
    it.concurrent(`${at} runs`, { timeout: 180_000 }, async () => {
      const { code, stderr, stdout } = await Docs.node(folder, Docs.fromSource, file)
      assert.strictEqual(code, 0, stderr)
      if (prints !== undefined) {
        assert.isTrue(Docs.matches(stdout, prints), `${at} printed\n${stdout}\nbut the page says\n${prints}`)
      } else if (logs.some((log) => log !== undefined)) {
        assert.deepStrictEqual(stdout.split("\n").slice(0, -1), logs)
      }
    })
  }

  it("of docstrings print what their comments say", { timeout: 300_000 }, async () => {
    const files = printing.map(({ file }) => file)
    const { code, stderr, stdout } = await Docs.node(folder, Docs.fromSource, "runner.js", ...files)
    assert.strictEqual(code, 0, stderr)
    const printed: Readonly<Record<string, ReadonlyArray<string>>> = JSON.parse(stdout)
    for (const { at, file, logs } of printing) {
      const texts = printed[file] ?? []
      assert.strictEqual(texts.length, logs.length, at)
      for (const [index, text] of texts.entries()) {
        const log = logs[index]
        if (log !== undefined) assert.isTrue(Docs.says(log, text), `${at} printed ${text}, and not ${log}`)
      }
    }
  })
})

describe("the pages", () => {
  it("link to files and headings that exist", () => {
    const dead = Docs.pages().flatMap((page) =>
      Docs.links(Docs.read(page)).flatMap(([path, anchor]) => {
        const target = path === "" ? page : join(dirname(page), path)
        const exists = existsSync(join(Docs.root, target))
        const found = exists && (anchor === undefined || Markdown.anchors(Docs.read(target)).has(anchor))
        return found ? [] : [`${page}: ${path}${anchor === undefined ? "" : `#${anchor}`}`]
      })
    )
    assert.deepStrictEqual(dead, [])
  })

  it("name files and npm scripts that exist", () => {
    const { scripts } = JSON.parse(Docs.read("package.json"))
    const wrong = Docs.pages().flatMap((page) => {
      const text = Docs.read(page)
      const paths = [...text.matchAll(/`((?:src|test|docs|bench)\/[\w./-]+\.\w+)`/g)].map(([, path = ""]) => path)
      const runs = [...text.matchAll(/npm run (?:--silent )?([\w:-]+)/g)].map(([, name = ""]) => name)
      return [
        ...paths.filter((path) => !existsSync(join(Docs.root, path))),
        ...runs.filter((name) => !Object.hasOwn(scripts, name))
      ].map((what) => `${page}: ${what}`)
    })
    assert.deepStrictEqual(wrong, [])
  })

  it("mention no existing feature as missing", async () => {
    const { exports } = JSON.parse(Docs.read("package.json"))
    const modules: Readonly<Record<string, Readonly<Record<string, unknown>>>> = await import("effect-ai-gateway")
    const [, section = ""] = Docs.read("README.md").split("## Not there yet\n")
    const [own = ""] = section.split("\n## ")
    const names = [...own.matchAll(/`(\/?\w+(?:\.\w+)?)`/g)].map(([, name = ""]) => name)
    const there = names.filter((name) => {
      const [module = "", member] = name.split(".")
      if (name.startsWith("/")) return Object.hasOwn(exports, `.${name}`)
      return member === undefined ? Object.hasOwn(modules, name) : Object.hasOwn(modules[module] ?? {}, member)
    })
    assert.isAbove(names.length, 0)
    assert.deepStrictEqual(there, [])
  })

  it("mark no fence with a name that hides it from the checks", () => {
    const hidden = Docs.pages().flatMap((page) =>
      Docs.fences(Docs.read(page))
        .filter(({ info }) => /^(typescript|tsx|js|javascript|TS)\b/.test(info))
        .map(({ line }) => `${page}:${line}`)
    )
    assert.deepStrictEqual(hidden, [])
  })
})

const splitRow = (line: string): ReadonlyArray<string> =>
  line
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim())

/** The cells of the first table row whose first cell is `name`. */
const cells = (page: string, name: string): ReadonlyArray<string> =>
  page
    .split("\n")
    .map(splitRow)
    .find(([first]) => first === name) ?? []

describe("docs/routes.md", () => {
  const page = Docs.read("docs/routes.md")
  it("states the values of the exported constants", () => {
    const constants = {
      "Route.defaultRetryDelay": Duration.format(Route.defaultRetryDelay),
      "Route.defaultMaxDelay": Duration.format(Route.defaultMaxDelay),
      "GatewayOptions.minCacheTtl": Duration.format(GatewayOptions.minCacheTtl),
      "GatewayOptions.maxCacheTtl": Duration.format(GatewayOptions.maxCacheTtl),
      "GatewayOptions.maxMetadataEntries": String(GatewayOptions.maxMetadataEntries),
      "GatewayOptions.maxAttempts": String(GatewayOptions.maxAttempts),
      "GatewayOptions.maxRetryDelay": Duration.format(GatewayOptions.maxRetryDelay),
      "GatewayService.defaultAwaitLog": Duration.format(GatewayService.defaultAwaitLog)
    }
    const said = Object.keys(constants).map((name) => [name, cells(page, `\`${name}\``)[1]])
    assert.deepStrictEqual(Object.fromEntries(said), constants)
  })
})

describe("docs/semantics.md", () => {
  const page = Docs.read("docs/semantics.md")

  for (const backoff of GatewayOptions.backoffs) {
    it(`has the numbers of ${backoff} back-off`, () => {
      const policy = { attempts: 7, delay: 200, maxDelay: 5000, backoff, jitter: 0, retryAfter: true, on: undefined }
      const [, ...waits] = cells(page.split("Worked numbers")[1] ?? "", backoff)
      assert.deepStrictEqual(
        waits.map(Number),
        [1, 2, 3, 4, 5, 6].map((attempt) => backoffMillis(policy, attempt))
      )
    })
  }
})

describe("the reader of examples", () => {
  it("reads fences, their lines and what stands before them", () => {
    const text = "a\n\n```ts\n// run\none\n```\n\n<!-- prints -->\n```text\ntwo\n```\n"
    assert.deepStrictEqual(Docs.fences(text), [
      { info: "ts", text: "// run\none\n", line: 4, before: "a" },
      { info: "text", text: "two\n", line: 10, before: "<!-- prints -->" }
    ])
    const [example] = Docs.examplesOf("docs/a.md", text)
    assert.deepStrictEqual([example?.run, example?.prints, example?.file], [true, "two\n", "docs-a-md-4.ts"])
    assert.throws(() => Docs.fences("```ts\n"), "line 2")
  })

  it("reads docstrings, and nothing else, on their lines", () => {
    const source = "const a = `\n```ts\nno\n```\n`\n/**\n * Text.\n *\n * ```ts\n * yes(1)\n * ```\n */\nb"
    assert.deepStrictEqual(
      Docs.examplesOf("src/a.ts", Docs.docstrings(source)).map(({ at, code }) => [at, code]),
      [["src/a.ts:10", "yes(1)\n"]]
    )
  })

  it("reads the promised output of a log", () => {
    const [example] = Docs.examplesOf("a.md", "```ts\nconsole.log(f(1)) // one\nconsole.log(2)\n```\n")
    assert.deepStrictEqual(example?.logs, ["one", undefined])
  })

  it("compares a comment with the output, however it is quoted or spaced", () => {
    assert.isTrue(Docs.says(`"3600"`, "3600"))
    assert.isTrue(Docs.says(`[503, "a b"]`, "[ 503, 'a b' ]"))
    assert.isFalse(Docs.says("3600", "360"))
    assert.isFalse(Docs.says(`["ab"]`, "[ 'a b' ]"))
  })

  it("matches text with gaps, line by line", () => {
    assert.isTrue(Docs.matches("id 12 (ok)\n", "id … (ok)\n"))
    assert.isFalse(Docs.matches("id 12 (ok)\nmore\n", "id … (ok)\n"))
    assert.isFalse(Docs.matches("id 1\n2 (ok)\n", "id … (ok)\n"))
  })

  it("reads headings and links, but not those of code", () => {
    assert.deepStrictEqual([...Markdown.anchors("# A b\n```sh\n# no\n```\n## `retry`: c, d\n")], ["a-b", "retry-c-d"])
    assert.deepStrictEqual(Docs.links("[a](b.md#c) [d](https://e) [f](#g)\n```ts\n[x](y)\n```\n"), [
      ["b.md", "c"],
      ["", "g"]
    ])
  })
})
