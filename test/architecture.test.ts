import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { exceptions, type Files, stabilityOf, staleExceptions, violations } from "./support/architecture.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

const readTree = (...folders: ReadonlyArray<string>): Files => {
  const files = new Map<string, string>()
  for (const folder of folders) {
    for (const entry of readdirSync(`${root}${folder}`, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith(".ts") || entry.parentPath.includes("node_modules")) continue
      const path = `${entry.parentPath}/${entry.name}`.slice(root.length)
      files.set(path, readFileSync(`${root}${path}`, "utf8"))
    }
  }
  return files
}

describe("the source tree", () => {
  it("keeps the rules", () => {
    const files = readTree("src", "test", "bench", "docs")
    assert.isAbove(files.size, 5)
    assert.deepStrictEqual(violations(files), [])
    assert.deepStrictEqual(staleExceptions(files), [])
    for (const { from, to, why } of exceptions) console.info(`architecture: an exception: ${from} → ${to}: ${why}`)
  })

  it("shows only the documented top level", () => {
    const documented = ["CHANGELOG.md", "LICENSE", "README.md", "bench", "docs", "package-lock.json", "package.json"]
    const expected = [...documented, "src", "test", "tsconfig.json"]
    const ignored = readFileSync(`${root}.gitignore`, "utf8").split("\n")
    const visible = readdirSync(root).filter((name) => !name.startsWith(".") && !ignored.includes(name))
    assert.deepStrictEqual(visible.sort(), expected.sort())
  })
})

/** Each rule is broken once, so that a rule that no longer bites is seen. */
describe("the rules", () => {
  const tree = (files: Record<string, string>): Files =>
    new Map(
      Object.entries({
        "src/index.ts": `export * as Route from "./Route.ts"`,
        "src/GatewayError.ts": `import * as Schema from "effect/Schema"\nexport const a = Schema.String`,
        "src/GatewayService.ts": `import { a } from "./GatewayError.ts"\nexport const service = a`,
        "src/Chat.ts": "export const chat = 1",
        "src/Provider.ts": `import { chat } from "./Chat.ts"\nexport const provider = chat`,
        "src/Route.ts": `import { chat } from "./Chat.ts"\nexport const route = chat`,
        "src/Router.ts": `import { route } from "./Route.ts"\nexport const router = route`,
        "src/internal/transport/httpClient.ts": `import * as HttpClient from "effect/http/HttpClient"\nexport const http = HttpClient`,
        "src/internal/transport/sse.ts": `import * as Sse from "effect/encoding/Sse"\nexport const sse = Sse`,
        "src/local/LocalGateway.ts": `import { http } from "../internal/transport/httpClient.ts"\nexport const local = http`,
        "src/local/node.ts": `import * as Http from "node:http"\nexport const node = Http`,
        "src/cli/bin.ts": `import { node } from "../local/node.ts"\nexport const bin = node`,
        "src/worker/Worker.ts": `import { router } from "../Router.ts"\nexport const worker = router`,
        "src/testing/ScriptedPeer.ts": `import { router } from "../Router.ts"\nexport const peer = router`,
        ...files
      })
    )

  it("accept a tree that keeps them", () => {
    assert.deepStrictEqual(violations(tree({})), [])
  })

  const broken: ReadonlyArray<readonly [name: string, path: string, source: string, says: string]> = [
    ["values → services", "src/GatewayLog.ts", `import "./GatewayService.ts"`, "values may not import services"],
    ["values → services, types", "src/GatewayLog.ts", `import type { service } from "./GatewayService.ts"`, "may not"],
    [
      "values → services, type query",
      "src/GatewayLog.ts",
      `type A = import("./GatewayService.ts").A`,
      "may not import"
    ],
    ["values → services, dynamic", "src/GatewayLog.ts", `await import("./GatewayService.ts")`, "may not import"],
    ["values → services, re-export", "src/GatewayLog.ts", `export * from "./GatewayService.ts"`, "may not import"],
    ["services → composition", "src/AiService.ts", `import "./Router.ts"`, "services may not import composition"],
    ["composition → edges", "src/Route.ts", `import "./local/LocalGateway.ts"`, "composition may not import edges"],
    [
      "internal → services",
      "src/internal/route/a.ts",
      `import "../../GatewayService.ts"`,
      "internal may not import services"
    ],
    [
      "internal → composition",
      "src/internal/route/a.ts",
      `import "../../Chat.ts"`,
      "internal may not import composition"
    ],
    [
      "a room → a higher one",
      "src/internal/data/a.ts",
      `import "../transport/sse.ts"`,
      "internal/data may not import internal/transport, which is 1 floors higher"
    ],
    [
      "a room → a higher one, by a type",
      "src/internal/hotpath/a.ts",
      `import type { sse } from "../transport/sse.ts"`,
      "internal/hotpath may not import internal/transport"
    ],
    [
      "a room → its neighbour",
      "src/internal/classifier/a.ts",
      `import "../transport/sse.ts"`,
      "which is on the same floor"
    ],
    [
      "a room of an edge → a higher one",
      "src/local/upstream/a.ts",
      `import "../LocalGateway.ts"`,
      "local/upstream may not import local/LocalGateway"
    ],
    ["a file without a room", "src/internal/a.ts", "", "a has no floor"],
    ["a room without a floor", "src/internal/attic/a.ts", "", "attic has no floor"],
    ["Router → Chat", "src/Router.ts", `import "./Chat.ts"`, "only Provider and Route import Chat"],
    [
      "edge → edge",
      "src/worker/Worker.ts",
      `import "../local/LocalGateway.ts"`,
      "worker/ may not import the edge local/"
    ],
    ["anything → testing", "src/cli/bin.ts", `import "../testing/ScriptedPeer.ts"`, "nothing imports testing/"],
    ["anything → index", "src/cli/bin.ts", `import "../index.ts"`, "nothing imports the index"],
    ["index → edge", "src/index.ts", `import "./local/LocalGateway.ts"`, "root modules only"],
    ["a module without a layer", "src/Stray.ts", "", "has no place"],
    ["a folder without a layer", "src/stray/a.ts", "", "has no place"],
    [
      "effect/http elsewhere",
      "src/GatewayService.ts",
      `import "effect/http/HttpClient"`,
      "is for src/internal/transport/httpClient.ts"
    ],
    [
      "effect/http in worker",
      "src/worker/Worker.ts",
      `import "effect/http/HttpClient"`,
      "is for src/internal/transport/httpClient.ts"
    ],
    [
      "Sse elsewhere",
      "src/local/LocalGateway.ts",
      `import "effect/encoding/Sse"`,
      "is for src/internal/transport/sse.ts"
    ],
    ["unstable module", "src/Router.ts", `import "effect/ExecutionPlan"`, "is unstable"],
    ["experimental module", "src/Router.ts", `import "effect/persistence/CircuitBreaker"`, "is experimental"],
    ["unknown Effect module", "src/Router.ts", `import "effect/unstable/http"`, "no module effect/unstable/http"],
    ["barrel", "src/Router.ts", `import { Effect } from "effect"`, "barrel"],
    [
      "barrel of a folder",
      "src/internal/transport/httpClient.ts",
      `import { HttpClient } from "effect/http"`,
      "barrel"
    ],
    ["barrel in a test", "test/a.test.ts", `import { Effect } from "effect"`, "barrel"],
    ["barrel of platform-node", "src/cli/bin.ts", `import { NodeRuntime } from "@effect/platform-node"`, "barrel"],
    ["node outside the Node edges", "src/local/LocalGateway.ts", `import "node:fs"`, "is for src/cli/"],
    ["undeclared dependency", "src/internal/transport/httpClient.ts", `import "undici"`, "not a dependency"],
    ["an optional peer elsewhere", "src/local/node.ts", `import "miniflare"`, "is for src/local/miniflare.ts only"],
    ["import without extension", "src/Router.ts", `import "./Route"`, "no source file"],
    ["import out of src", "src/Router.ts", `import "../test/a.ts"`, "no source file"],
    ["as any", "src/Router.ts", "export const a = 1 as any", "as any"],
    ["as any in a test", "test/a.test.ts", "const a = 1 as any", "as any"],
    ["ts-ignore", "src/Router.ts", "// @ts-ignore", "@ts-ignore"],
    ["ts-expect-error", "src/Router.ts", "// @ts-expect-error", "@ts-expect-error"],
    ["Date.now", "src/Router.ts", "export const a = Date.now()", "Date.now"],
    ["new Date()", "src/Router.ts", "export const a = new Date()", "new Date()"],
    ["Math.random", "src/Router.ts", "export const a = Math.random()", "Math.random"],
    ["setTimeout", "src/Router.ts", "setTimeout(() => {}, 1)", "setTimeout"],
    ["401 lines of code", "src/Router.ts", "export {}\n".repeat(401), "401 lines of code"],
    ["601 lines of code in a test", "test/a.test.ts", "export {}\n".repeat(601), "601 lines of code"],
    ["syntax error", "src/Router.ts", "const = 1", "does not parse"],
    ["cycle", "src/Route.ts", `import { router } from "./Router.ts"\nexport const route = router`, "cycle: "],
    ["cycle of types", "src/Route.ts", `import type { router } from "./Router.ts"\nexport const route = 1`, "cycle: "]
  ]
  for (const [name, path, source, says] of broken) {
    it(`reject: ${name}`, () => {
      const found = violations(tree({ [path]: source }))
      assert.isTrue(
        found.some((line) => line.startsWith(name.startsWith("cycle") ? "cycle" : path) && line.includes(says)),
        `expected ${path} … ${says}, got ${JSON.stringify(found)}`
      )
    })
  }

  it("accept exactly 400 lines of code, whatever is written about them", () => {
    const documented = `/**\n * About a line.\n */\nexport {} // code\n\n`.repeat(400)
    assert.deepStrictEqual(violations(tree({ "src/Router.ts": documented })), [])
  })

  it("read the stability that Effect ships", () => {
    assert.strictEqual(stabilityOf("effect/Effect"), "stable")
    assert.strictEqual(stabilityOf("effect/http/HttpClient"), "unstable")
    assert.strictEqual(stabilityOf("effect/schema"), "barrel")
    assert.strictEqual(stabilityOf("effect/Nothing"), "missing")
  })
})
