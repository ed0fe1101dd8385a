/** The requirements for every gateway and every `env.AI`, over the binding inside the runtime, in that runtime. */
import { fileURLToPath } from "node:url"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Plugin } from "esbuild"
import { bundle } from "./support/bundle.ts"
import * as Workerd from "./support/workerd.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The suites are the same as elsewhere, word for word; only their foundations are replaced. */
const insideWorkerd: Plugin = {
  name: "inside-workerd",
  setup({ onResolve }) {
    onResolve({ filter: /^@effect\/vitest$/ }, () => ({ path: here("support/vitest.ts") }))
    onResolve({ filter: /\/transports\.ts$/ }, () => ({ path: here("support/transports.ts") }))
  }
}

// Before the tests are declared, because the runtime knows their names.
const scope = Scope.makeUnsafe()
const { code } = await bundle(new URL("workers/conformance.ts", import.meta.url), {
  plugins: [insideWorkerd],
  define: { setImmediate: "nextTurn" },
  banner: "const nextTurn = (f) => setTimeout(f, 0)"
})
const worker = await Effect.runPromise(
  Workerd.start({ code, ai: { AI: { entrypoint: "Upstream" } } }).pipe(Effect.provideService(Scope.Scope, scope))
)
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

const names: ReadonlyArray<string> = await Effect.runPromise(
  Effect.flatMap(worker.fetch("/"), (response) => Effect.promise(() => response.json()))
)

describe("in workerd", () => {
  it("both suites are there", () => {
    assert.isAbove(names.filter((name) => name.startsWith("GatewayService over the genuine binding")).length, 20)
    assert.isAbove(names.filter((name) => name.startsWith("AiService over the genuine binding")).length, 15)
  })

  for (const name of names) {
    it.live(name, () =>
      Effect.gen(function* () {
        const response = yield* worker.fetch("/", { method: "POST", body: name })
        const said = yield* Effect.promise(() => response.text())
        assert.strictEqual(said, "passed", worker.output())
      })
    )
  }
})
