/**
 * The promises of `AiService`, for every transport.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { AiService, type RunOptions } from "../../src/AiService.ts"
import type { GatewayError } from "../../src/GatewayError.ts"
import * as LogTrail from "../../src/LogTrail.ts"
import type * as LocalGateway from "../../src/local/LocalGateway.ts"
import type * as Upstream from "../../src/local/Upstream.ts"
import { eventually } from "./GatewaySuite.ts"
import { Local, type Services, type Transport } from "./transports.ts"

const chat = (prompt: string) => ({ messages: [{ role: "user", content: prompt }] })
const llama = "@cf/meta/llama-3.1-8b-instruct"
const mini = "openai/gpt-4.1-mini"

const script = (provider: string, faults: ReadonlyArray<Upstream.Fault>) =>
  Effect.flatMap(Local, (local) => local.script(provider, faults))

const calls = Effect.flatMap(Local, (local) => local.calls)

/** The text in a third party's output. */
const contentOf = (result: unknown): unknown =>
  (result as { readonly choices: ReadonlyArray<{ readonly message: { readonly content: string } }> }).choices[0]
    ?.message.content

/** `tag field` of an invalid request, else the tag. */
const problemOf = (run: Effect.Effect<unknown, GatewayError>) =>
  Effect.map(Effect.flip(run), ({ reason }) =>
    reason._tag === "InvalidRequest" && reason.origin === "client" ? reason.field : reason._tag
  )

/** Runs the suite over one transport. */
export const suite = ({ canTag, layer, name }: Transport): void => {
  const test = (title: string, body: Effect.Effect<void, unknown, Services>, options?: LocalGateway.Options): void =>
    it.effect(title, () => Effect.provide(body, layer(options)))

  describe(`AiService over ${name}`, () => {
    for (const envelope of [undefined, "bare", "state", "full"] as const) {
      test(
        `runs every kind of model, answers wrapped ${envelope ?? "as usual"}`,
        Effect.gen(function* () {
          const ai = yield* AiService
          const third = yield* ai.run(mini, chat("one"), { gateway: "gw" })
          assert.strictEqual(contentOf(yield* third.result), "openai/gpt-4.1-mini: one")
          const own = yield* ai.run(llama, chat("two"), { gateway: "gw" })
          assert.include(yield* own.result, { response: `workers-ai/${llama}: two` })
          const route = yield* ai.run("dynamic/support", chat("three"), { gateway: "gw" })
          assert.strictEqual(contentOf(yield* route.result), "anthropic/claude-haiku-4-5: three")
          assert.strictEqual(route.meta.provider, "anthropic")
          assert.strictEqual(route.meta.model, "claude-haiku-4-5")
          const gateway = yield* ai.gateway("gw")
          for (const response of [third, own, route]) {
            assert.strictEqual(response.status, 200)
            const log = yield* gateway.getLog(response.meta.logId ?? "none")
            assert.isTrue(log.success)
          }
        }),
        { envelope, routes: { support: ["anthropic/claude-haiku-4-5"] } }
      )
    }

    test(
      "runs Workers AI without a gateway, and then without a log",
      Effect.gen(function* () {
        const ai = yield* AiService
        const response = yield* ai.run(llama, chat("x"))
        assert.isUndefined(response.meta.logId)
        assert.include(yield* response.result, { response: `workers-ai/${llama}: x` })
      })
    )

    test(
      "runs a third party through the gateway `default` when none is named",
      Effect.gen(function* () {
        const ai = yield* AiService
        const response = yield* ai.run(mini, chat("x"))
        yield* response.cancel
        const gateway = yield* ai.gateway("default")
        assert.isTrue((yield* gateway.getLog(response.meta.logId ?? "none")).success)
      }),
      { gateway: "default" }
    )

    test(
      "carries the options of the gateway, and headers",
      Effect.gen(function* () {
        const ai = yield* AiService
        const gateway = yield* ai.gateway("gw")
        const run = (model: string, cache: RunOptions["cache"]) =>
          Effect.tap(
            ai.run(model, chat("x"), {
              gateway: "gw",
              cache,
              eventId: "event-1",
              metadata: { team: "ümlaut", n: 1, ok: false },
              customCost: { totalCost: 0.5 },
              headers: { "x-trace": "t-1" }
            }),
            (response) => response.text
          )
        for (const model of [mini, llama]) {
          const first = yield* run(model, { ttl: "1 hour" })
          const second = yield* run(model, { ttl: "1 hour" })
          const third = yield* run(model, { ttl: "off" })
          assert.deepStrictEqual(
            [first, second, third].map(({ meta }) => meta.cacheStatus),
            ["MISS", "HIT", undefined]
          )
          assert.strictEqual(first.meta.eventId, "event-1")
          const log = yield* gateway.getLog(first.meta.logId ?? "none")
          assert.deepStrictEqual(log.metadata, { team: "ümlaut", n: 1, ok: false })
          assert.strictEqual(log.cost, 0.5)
        }
        const seen = yield* calls
        assert.strictEqual(seen.length, 4)
        for (const call of seen) assert.strictEqual(call.headers["x-trace"], "t-1")
      })
    )

    test(
      "lets the gateway retry only when told so",
      Effect.gen(function* () {
        const ai = yield* AiService
        yield* script("openai", [{ status: 503, repeat: 2 }])
        yield* Effect.flip(ai.run(mini, chat("x"), { gateway: "gw" }))
        assert.strictEqual((yield* calls).length, 1)
        yield* ai.run(mini, chat("x"), { gateway: "gw", retries: { attempts: 2, delay: 0 } })
        assert.strictEqual((yield* calls).length, 3)
      })
    )

    test(
      "keeps concurrent calls apart",
      Effect.gen(function* () {
        const ai = yield* AiService
        const gateway = yield* ai.gateway("gw")
        yield* Effect.forEach(
          Array.from({ length: 100 }, (_, n) => `prompt-${n}`),
          Effect.fnUntraced(function* (prompt) {
            const response = yield* ai.run(mini, chat(prompt), { gateway: "gw" })
            assert.strictEqual(contentOf(yield* response.result), `openai/gpt-4.1-mini: ${prompt}`)
            const log = yield* gateway.getLog(response.meta.logId ?? "none")
            assert.include(log.responseHead, `: ${prompt}"`)
          }),
          { concurrency: "unbounded", discard: true }
        )
      })
    )

    describe("turns into a typed failure", () => {
      test(
        "what the provider says",
        Effect.gen(function* () {
          const ai = yield* AiService
          // For ever, because a dropped connection that had served before is tried once more.
          const drop = { drop: true, repeat: "forever" } as const
          yield* script("openai", [{ status: 429, retryAfter: 2 }, { status: 401 }, { reset: true }, drop])
          const { attempts, value: errors } = yield* LogTrail.collect(
            Effect.forEach([1, 2, 3, 4], () => Effect.flip(ai.run(mini, chat("x"), { gateway: "gw", eventId: "e" })))
          )
          assert.deepStrictEqual(
            errors.map(({ eventId, method, model, provider, reason }) => [
              reason._tag,
              method,
              provider,
              model,
              eventId
            ]),
            ["RateLimited", "Unauthorized", "ProviderUnavailable", "TransportFailure"].map((tag) => [
              tag,
              "AiService.run",
              "openai",
              "gpt-4.1-mini",
              "e"
            ])
          )
          assert.deepStrictEqual(
            attempts.map(({ endpoint, error, logId, outcome, target }) => [
              endpoint,
              error?._tag,
              logId,
              outcome,
              target
            ]),
            errors.map(({ logId, reason }) => ["run", reason._tag, logId, "failure", "gw:openai/gpt-4.1-mini"])
          )
          assert.isString(errors[0]?.logId)
        })
      )

      test(
        "an unknown model, route, gateway",
        Effect.gen(function* () {
          const ai = yield* AiService
          const whatOf = (model: string, gateway: string) =>
            Effect.map(Effect.flip(ai.run(model, chat("x"), { gateway })), ({ reason }) =>
              reason._tag === "NotFound" ? reason.what : reason._tag
            )
          assert.strictEqual(yield* whatOf("nobody/nothing", "gw"), "model")
          const route = yield* Effect.flip(ai.run("dynamic/nothing", chat("x"), { gateway: "gw" }))
          assert.strictEqual(route.reason._tag, "NotFound")
          assert.strictEqual(yield* whatOf(mini, "nothing"), "gateway")
          assert.strictEqual(yield* whatOf(llama, "nothing"), "gateway")
        })
      )

      test(
        "a failure with status 200",
        Effect.gen(function* () {
          const ai = yield* AiService
          const body = { state: "Failed", error: { code: "2021", message: "no credits" }, model: mini }
          yield* script("openai", [{ status: 200, body }])
          const response = yield* ai.run(mini, chat("x"), { gateway: "gw" })
          const error = yield* Effect.flip(response.result)
          assert.strictEqual(error.reason._tag, "QuotaExhausted")
          assert.strictEqual(error.logId, response.meta.logId)
          assert.strictEqual(error.model, "gpt-4.1-mini")
        }),
        { envelope: "bare" }
      )

      test(
        "a request that cannot be sent, before it is sent",
        Effect.gen(function* () {
          const ai = yield* AiService
          const cycle: Record<string, unknown> = {}
          cycle["self"] = cycle
          const gw = { gateway: "gw" }
          const stream = { audio: { body: new ReadableStream(), contentType: "audio/mpeg" } }
          const cases: ReadonlyArray<readonly [Effect.Effect<unknown, GatewayError>, string]> = [
            ...["gpt-4.1", "", "/x", "@cf/meta", "openai/", "openai/../x", "openai/a b", "dynamic/", "dynamic/a/b"].map(
              (model) => [ai.run(model, {}, gw), "model"] as const
            ),
            [ai.run(mini, [], gw), "input"],
            [ai.run(mini, new Date(), gw), "input"],
            [ai.run(mini, new Map([["a", 1]]), gw), "input"],
            [ai.run(mini, { toJSON: () => 1 }, gw), "input"],
            [ai.run(mini, cycle, gw), "input"],
            [ai.run(mini, { n: 1n }, gw), "input"],
            [ai.run(mini, { audio: new Uint8Array(2) }, gw), "input.audio"],
            [ai.run(llama, stream, gw), "input.audio"],
            [ai.run(mini, {}, { gateway: "a/b" }), "gateway"],
            [ai.run(mini, {}, { gateway: "" }), "gateway"],
            [ai.run("dynamic/support", {}), "gateway"],
            [ai.run(llama, {}, { metadata: { a: 1 } }), "gateway"],
            [ai.run(mini, {}, { eventId: "e" }), "gateway"],
            [ai.run(mini, {}, { ...gw, cache: { ttl: "1 second" } }), "cache.ttl"],
            [ai.run(mini, {}, { ...gw, headers: { "X-A": "1" } }), "headers"],
            [ai.run(mini, {}, { ...gw, headers: { "x-a": "1\n2" } }), "headers.x-a"],
            [ai.run(mini, {}, { ...gw, headers: { authorization: "Bearer x" } }), "headers.authorization"],
            [ai.run(mini, {}, { ...gw, headers: { "content-type": "x" } }), "headers.content-type"],
            [ai.run(mini, {}, { ...gw, tags: ["1", "2", "3", "4", "5", "6"] }), "tags"],
            [ai.run(mini, {}, { ...gw, tags: ["a", "a b"] }), "tags[1]"],
            [ai.run(mini, {}, { ...gw, tags: ["x".repeat(51)] }), "tags[0]"],
            [ai.run(mini, {}, { ...gw, tags: [""] }), "tags[0]"],
            [ai.gateway("a/b"), "id"],
            [ai.models({ page: 0 }), "page"],
            [ai.models({ perPage: 1.5 }), "perPage"]
          ]
          for (const [run, field] of cases) assert.strictEqual(yield* problemOf(run), field)
          assert.deepStrictEqual(yield* calls, [])
        })
      )
    })

    test(
      canTag ? "sends tags" : "says that it cannot send tags",
      Effect.gen(function* () {
        const ai = yield* AiService
        const run = ai.run(llama, chat("x"), { tags: ["env:prod", "a.b/c-d@1"] })
        if (canTag) yield* Effect.flatMap(run, (response) => response.cancel)
        else assert.strictEqual(yield* problemOf(run), "tags")
      })
    )

    test(
      "records each run once, or not at all",
      Effect.gen(function* () {
        const ai = yield* AiService
        const { attempts, value } = yield* LogTrail.collect(
          Effect.gen(function* () {
            const kept = yield* ai.run(llama, chat("x"), { gateway: "gw" })
            const silent = yield* ai.run(llama, chat("x"), { gateway: "gw", record: false })
            yield* silent.cancel
            return kept
          })
        )
        assert.deepStrictEqual(
          attempts.map(({ endpoint, logId, model, outcome, provider, status, target }) => ({
            endpoint,
            logId,
            model,
            outcome,
            provider,
            status,
            target
          })),
          [
            {
              endpoint: "run",
              logId: value.meta.logId,
              model: llama,
              outcome: "success",
              provider: "workers-ai",
              status: 200,
              target: `gw:workers-ai/${llama}`
            }
          ]
        )
      })
    )

    test(
      "lets go of the model when it is interrupted",
      Effect.gen(function* () {
        const ai = yield* AiService
        yield* script("openai", [{ stall: true }])
        const fiber = yield* Effect.forkChild(ai.run(mini, chat("x"), { gateway: "gw" }))
        yield* eventually(calls, (all) => all.length === 1)
        yield* Fiber.interrupt(fiber)
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
        yield* eventually(calls, (all) => all[0]?.outcome === "interrupted")
      })
    )

    test(
      "searches the catalogue",
      Effect.gen(function* () {
        const ai = yield* AiService
        const names = (query?: Parameters<typeof ai.models>[0]) =>
          Effect.map(ai.models(query), (models) => models.map((model) => model.name))
        assert.strictEqual((yield* names()).length, 4)
        assert.deepStrictEqual(yield* names({ author: "meta", page: 2, perPage: 1, hideExperimental: true }), [
          "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
        ])
        assert.deepStrictEqual(yield* names({ search: "whisper", source: 1 }), ["@cf/openai/whisper"])
        const [model] = yield* ai.models({ task: "Text Embeddings" })
        assert.deepStrictEqual(model, {
          id: "@cf/baai/bge-base-en-v1.5",
          name: "@cf/baai/bge-base-en-v1.5",
          description: "Echoed by the local gateway: @cf/baai/bge-base-en-v1.5",
          source: 1,
          task: "Text Embeddings",
          tags: [],
          properties: {}
        })
        assert.deepStrictEqual(yield* names({ search: "no such model" }), [])
      })
    )

    test(
      "gives the same gateway for the same id",
      Effect.gen(function* () {
        const ai = yield* AiService
        const local = yield* Local
        const gateway = yield* ai.gateway("gw")
        assert.strictEqual(yield* ai.gateway("gw"), gateway)
        assert.strictEqual(gateway.id, "gw")
        assert.strictEqual(yield* gateway.getUrl("openai"), local.url("gw", "openai"))
      })
    )
  })
}
