/**
 * `effect-ai-gateway/local/miniflare`: a Worker, the genuine binding and a gateway that does what a test says, in one
 * call.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as LocalGateway from "effect-ai-gateway/local"
import * as LocalWorker from "effect-ai-gateway/local/miniflare"
import { bundle } from "./support/bundle.ts"

const { code: script, inputs } = await bundle(new URL("workers/miniflare.ts", import.meta.url))

const options = {
  script,
  compatibilityDate: "2026-07-01",
  compatibilityFlags: ["enable_request_signal"],
  binding: "MODELS",
  vars: { LIMIT: 5, TEAM: "support" },
  gateway: { gateway: "gw" }
}

const ask = Effect.fnUntraced(function* (path: string, prompt: string) {
  const worker = yield* LocalWorker.LocalWorker
  const response = yield* worker.fetch(path, { method: "POST", body: prompt })
  const body: unknown = yield* Effect.promise(() => response.json())
  return { status: response.status, body }
})

for (const wiring of ["direct", "remote-proxy"] as const) {
  layer(LocalWorker.layer({ ...options, wiring }), { excludeTestServices: true })(`wired ${wiring}`, (it) => {
    it.effect("reaches the gateway with every call of the binding", () =>
      Effect.gen(function* () {
        const { gateway } = yield* LocalWorker.LocalWorker
        assert.deepStrictEqual((yield* ask("/everything", "hello")).body, {
          result: {
            response: "workers-ai/@cf/meta/llama-3.1-8b-instruct: hello",
            usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }
          },
          provider: "workers-ai",
          models: 4,
          url: gateway.url("gw", "openai"),
          limit: 5,
          team: "support"
        })
      })
    )

    for (const attempt of ["first", "second"]) {
      it.effect(`each test has its own faults (${attempt})`, () =>
        Effect.gen(function* () {
          const gateway = yield* LocalGateway.Current
          yield* gateway.reset
          assert.deepInclude((yield* ask("/ask", "one")).body, { provider: "openai" })
          yield* gateway.script("openai", [{ status: 503, repeat: "forever" }])
          assert.deepInclude((yield* ask("/ask", "two")).body, { provider: "groq" })
          yield* gateway.script("groq", [{ status: 529, repeat: "forever" }])
          assert.deepStrictEqual(yield* ask("/ask", "three"), {
            status: 503,
            body: { error: { reason: "ProviderUnavailable", retryable: true } }
          })
          assert.strictEqual((yield* gateway.calls).length, 5)
        })
      )
    }

    it.effect("treats an interrupted fetch as a client that leaves", () =>
      Effect.gen(function* () {
        const { fetch, gateway } = yield* LocalWorker.LocalWorker
        yield* gateway.reset
        yield* gateway.script("openai", [{ stall: true }])
        const client = yield* Effect.forkChild(fetch("/ask", { method: "POST", body: "x" }))
        const outcome = Effect.map(gateway.calls, ([call]) =>
          call === undefined ? "none" : (call.outcome ?? "pending")
        )
        const until = (wanted: string): Effect.Effect<void> =>
          Effect.flatMap(outcome, (found) =>
            found === wanted
              ? Effect.void
              : Effect.andThen(
                  Effect.sleep(5),
                  Effect.suspend(() => until(wanted))
                )
          )
        yield* until("pending")
        yield* Fiber.interrupt(client)
        yield* until("interrupted")
      })
    )
  })
}

describe("start", () => {
  it("bundles nothing of Node for a Worker", () => {
    assert.isAbove(inputs.length, 20)
    assert.deepStrictEqual(
      inputs.filter((path) => path.startsWith("src/local/") || path.includes("node:")),
      []
    )
  })

  const refused: ReadonlyArray<readonly [field: string, options: Partial<LocalWorker.Options>]> = [
    ["script", { script: "" }],
    ["compatibilityDate", { compatibilityDate: "yesterday" }],
    ["binding", { binding: "a-b" }],
    ["vars.MODELS", { vars: { MODELS: "x" } }],
    ["port", { port: 65_536 }],
    ["gatewayPort", { gatewayPort: -1 }],
    ["account", { gateway: { account: "a/b" } }]
  ]
  for (const [field, wrong] of refused) {
    it.live(`rejects a wrong ${field}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(LocalWorker.start({ ...options, ...wrong }))
        assert.strictEqual(error._tag === "GatewayError" ? error.reason._tag : error._tag, "InvalidRequest")
        assert.include(error.message, field)
      }).pipe(Effect.scoped)
    )
  }

  it.live("reports why a Worker does not start", () =>
    Effect.gen(function* () {
      const shared = { handleRuntimeStdio: () => undefined }
      const error = yield* Effect.flip(
        LocalWorker.start({ ...options, script: "export default {", miniflare: { shared } })
      )
      assert.strictEqual(error._tag, "WorkerFailure")
      assert.match(error.message, /^the Worker did not start: /)
    }).pipe(Effect.scoped)
  )

  it.live("stops with its scope, and then gives no answer", () =>
    Effect.gen(function* () {
      const worker = yield* Effect.scoped(LocalWorker.start(options))
      const error = yield* Effect.flip(worker.fetch("/ask"))
      assert.match(error.message, /^no answer from the Worker: .*ECONNREFUSED/)
      const gone = yield* Effect.promise(() =>
        fetch(worker.gatewayUrl).then(
          () => false,
          () => true
        )
      )
      assert.isTrue(gone)
    })
  )

  it.live("passes further options on to Miniflare", () =>
    Effect.gen(function* () {
      const worker = yield* LocalWorker.start({
        script: `export default { fetch: async (_, env) => {
          await env.KV.put("a", "stored")
          return new Response(await env.KV.get("a"))
        } }`,
        compatibilityDate: "2026-07-01",
        miniflare: { worker: { kvNamespaces: ["KV"] } }
      })
      const response = yield* worker.fetch("/")
      assert.strictEqual(yield* Effect.promise(() => response.text()), "stored")
    }).pipe(Effect.scoped)
  )
})
