/**
 * The promises of `GatewayService`, for every transport.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import type { GatewayError, Reason } from "../../src/GatewayError.ts"
import type { GatewayResponse } from "../../src/GatewayResponse.ts"
import { GatewayService } from "../../src/GatewayService.ts"
import * as LogTrail from "../../src/LogTrail.ts"
import type * as LocalGateway from "../../src/local/LocalGateway.ts"
import type * as Upstream from "../../src/local/Upstream.ts"
import type { LegInput } from "../../src/UniversalRequest.ts"
import { Local, type Services, type Transport } from "./transports.ts"

const openai = (prompt: string, more: Partial<LegInput> = {}): LegInput => ({
  provider: "openai",
  endpoint: "chat/completions",
  headers: { authorization: Redacted.make("Bearer sk-suite-key") },
  query: { model: "gpt-4.1-mini", messages: [{ role: "user", content: prompt }] },
  ...more
})

const anthropic = (prompt: string, more: Partial<LegInput> = {}): LegInput => ({
  provider: "anthropic",
  endpoint: "v1/messages",
  headers: { "x-api-key": Redacted.make("suite-anthropic-key"), "anthropic-version": "2023-06-01" },
  query: { model: "claude-haiku-4-5", max_tokens: 100, messages: [{ role: "user", content: prompt }] },
  ...more
})

/** The text of an OpenAI or Anthropic answer. */
const textOf = (response: GatewayResponse) =>
  Effect.map(response.json, (body) => {
    const { choices, content } = body as {
      readonly choices?: ReadonlyArray<{ readonly message: { readonly content: string } }>
      readonly content?: ReadonlyArray<{ readonly text: string }>
    }
    return choices?.[0]?.message.content ?? content?.[0]?.text
  })

const script = (provider: string, faults: ReadonlyArray<Upstream.Fault>) =>
  Effect.flatMap(Local, (local) => local.script(provider, faults))

const calls = Effect.flatMap(Local, (local) => local.calls)

/** A scripted answer and what must come of it, on every transport. */
const failures: ReadonlyArray<
  readonly [name: string, fault: Upstream.Fault, expected: { readonly _tag: Reason["_tag"] } & Record<string, unknown>]
> = [
  ["a refused key", { status: 401 }, { _tag: "Unauthorized", origin: "provider", status: 401 }],
  ["a rate limit", { status: 429, retryAfter: 3 }, { _tag: "RateLimited", origin: "provider", status: 429 }],
  ["a broken provider", { status: 503 }, { _tag: "ProviderUnavailable", origin: "provider", status: 503 }],
  ["a page", { html: true, status: 520 }, { _tag: "ProviderUnavailable", status: 520 }],
  ["a reset behind the gateway", { reset: true }, { _tag: "ProviderUnavailable", status: 400, code: "2005" }],
  ["a dropped connection", { drop: true }, { _tag: "TransportFailure" }],
  [
    "a long prompt",
    { status: 400, body: { error: { code: "context_length_exceeded", message: "too long" } } },
    { _tag: "ContextLengthExceeded", status: 400, code: "context_length_exceeded" }
  ]
]

const fieldsOf = (reason: Reason, expected: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.keys(expected).map((key) => [key, Reflect.get(reason, key)]))

/** Runs the suite over one transport. */
export const suite = ({ canListLogs, layer, name }: Transport): void => {
  const test = (title: string, body: Effect.Effect<void, unknown, Services>, options?: LocalGateway.Options): void =>
    it.effect(title, () => Effect.provide(body, layer(options)))

  describe(`GatewayService over ${name}`, () => {
    test(
      "runs one leg and knows its log",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        assert.strictEqual(gateway.id, "gw")
        const response = yield* gateway.run(openai("one"), {
          eventId: "event-1",
          metadata: { team: "a", n: 1, ok: true }
        })
        assert.strictEqual(response.status, 200)
        assert.isFalse(response.resent)
        assert.strictEqual(response.meta.eventId, "event-1")
        assert.strictEqual(response.meta.step, 0)
        assert.strictEqual(yield* textOf(response), "openai/gpt-4.1-mini: one")
        const log = yield* gateway.getLog(response.meta.logId ?? "none")
        assert.strictEqual(log.id, response.meta.logId)
        assert.strictEqual(log.provider, "openai")
        assert.strictEqual(log.model, "gpt-4.1-mini")
        assert.deepStrictEqual(log.metadata, { team: "a", n: 1, ok: true })
        assert.instanceOf(log.createdAt, Date)
        const [call] = yield* calls
        assert.strictEqual(call?.headers["authorization"], "<redacted>")
        assert.deepStrictEqual(call?.body, openai("one").query)
      })
    )

    test(
      "tries several legs in order, and finds the logs of those that failed",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        yield* script("openai", [{ status: 500 }])
        const { attempts, value } = yield* LogTrail.collect(
          gateway.run([openai("two"), anthropic("two")], { eventId: "event-2" })
        )
        assert.strictEqual(value.meta.step, 1)
        assert.strictEqual(yield* textOf(value), "anthropic/claude-haiku-4-5: two")
        assert.deepStrictEqual(
          attempts.map(({ endpoint, logId, model, outcome, provider, status, step }) => ({
            endpoint,
            logId,
            model,
            outcome,
            provider,
            status,
            step
          })),
          [
            {
              endpoint: "v1/messages",
              logId: value.meta.logId,
              model: "claude-haiku-4-5",
              outcome: "success",
              provider: "anthropic",
              status: 200,
              step: 1
            }
          ]
        )
        if (canListLogs) {
          const page = yield* gateway.listLogs({ eventId: "event-2", orderBy: "created_at", direction: "asc" })
          assert.deepStrictEqual(
            page.logs.map(({ provider, step, success }) => ({ provider, step, success })),
            [
              { provider: "openai", step: 0, success: false },
              { provider: "anthropic", step: 1, success: true }
            ]
          )
          assert.strictEqual(page.totalCount, 2)
        }
      })
    )

    test(
      "reports the last leg when all fail",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        yield* script("openai", [{ status: 500 }])
        yield* script("anthropic", [{ status: 529 }])
        const error = yield* Effect.flip(gateway.run([openai("x"), anthropic("x")], { eventId: "event-3" }))
        assert.strictEqual(error.reason._tag, "ProviderUnavailable")
        assert.strictEqual(error.reason.status, 529)
        assert.strictEqual(error.step, 1)
        assert.strictEqual(error.eventId, "event-3")
        assert.isFalse((yield* gateway.getLog(error.logId ?? "none")).success)
      })
    )

    test(
      "carries timeout and retries of a leg and of the request",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        yield* script("openai", [{ status: 503, repeat: 2 }])
        yield* gateway.run(openai("x", { config: { maxAttempts: 3 } }))
        assert.strictEqual((yield* calls).length, 3)
        yield* script("openai", [{ status: 503 }])
        yield* gateway.run(openai("y"), { retries: { attempts: 2, delay: 0, backoff: "constant" } })
        assert.strictEqual((yield* calls).length, 5)
        yield* script("openai", [{ status: 503 }, { ok: true }])
        // The leg's word is the last one.
        const error = yield* Effect.flip(
          gateway.run(openai("z", { config: { maxAttempts: 1 } }), { retries: { attempts: 2, delay: 0 } })
        )
        assert.strictEqual(error.reason._tag, "ProviderUnavailable")
      })
    )

    test(
      "caches, and does not when told so",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        const ask = (cache: { readonly ttl: "1 hour" | "off" }) =>
          Effect.tap(gateway.run(openai("cached"), { cache }), (response) => response.text)
        const first = yield* ask({ ttl: "1 hour" })
        const second = yield* ask({ ttl: "1 hour" })
        const third = yield* ask({ ttl: "off" })
        assert.deepStrictEqual(
          [first, second, third].map(({ meta }) => meta.cacheStatus),
          ["MISS", "HIT", undefined]
        )
        assert.strictEqual(new Set([first, second, third].map(({ meta }) => meta.logId)).size, 3)
        assert.strictEqual((yield* calls).length, 2)
      })
    )

    test(
      "never caches with `off`, also where the gateway caches by itself",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        for (let n = 0; n < 2; n++) {
          yield* Effect.flatMap(gateway.run(openai("same"), { cache: { ttl: "off" } }), (response) => response.text)
        }
        assert.strictEqual((yield* calls).length, 2)
      }),
      { gateways: { gw: { cacheTtl: 3600 } } }
    )

    test(
      "has no log id when nothing is logged",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        const response = yield* gateway.run(openai("x"), { log: { collect: false } })
        assert.isUndefined(response.meta.logId)
        yield* response.cancel
      })
    )

    test(
      "keeps concurrent calls apart",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        yield* Effect.forEach(
          Array.from({ length: 100 }, (_, n) => `prompt-${n}`),
          Effect.fnUntraced(function* (prompt) {
            const response = yield* gateway.run(openai(prompt))
            assert.strictEqual(yield* textOf(response), `openai/gpt-4.1-mini: ${prompt}`)
            const log = yield* gateway.getLog(response.meta.logId ?? "none")
            assert.include(log.responseHead, `: ${prompt}"`)
          }),
          { concurrency: "unbounded", discard: true }
        )
      })
    )

    describe("turns into a typed failure", () => {
      for (const [what, fault, expected] of failures) {
        test(
          what,
          Effect.gen(function* () {
            const gateway = yield* GatewayService
            yield* script("openai", [fault])
            const { attempts, value: exit } = yield* LogTrail.collect(Effect.exit(gateway.run(openai("x"))))
            const error = yield* Effect.flip(exit)
            assert.deepStrictEqual(fieldsOf(error.reason, expected), expected)
            assert.strictEqual(error.method, "GatewayService.run")
            assert.strictEqual(error.provider, "openai")
            assert.strictEqual(error.model, "gpt-4.1-mini")
            if (expected._tag === "RateLimited") assert.deepStrictEqual(error.retryAfter, Duration.seconds(3))
            if (expected._tag !== "TransportFailure") {
              assert.isFalse((yield* gateway.getLog(error.logId ?? "none")).success)
            }
            assert.deepStrictEqual(
              attempts.map(({ error, logId, outcome }) => ({ reason: error?._tag, logId, outcome })),
              [{ reason: expected._tag, logId: error.logId, outcome: "failure" }]
            )
          })
        )
      }

      test(
        "a body that is no JSON, or is cut",
        Effect.gen(function* () {
          const gateway = yield* GatewayService
          yield* script("openai", [{ garble: true }, { html: true, status: 200 }])
          for (let n = 0; n < 2; n++) {
            const response = yield* gateway.run(openai("x"))
            const error = yield* Effect.flip(response.json)
            assert.strictEqual(error.reason._tag, "InvalidResponse")
            assert.strictEqual(error.logId, response.meta.logId)
            assert.strictEqual(error.provider, "openai")
          }
        })
      )

      test(
        "an unknown provider",
        Effect.gen(function* () {
          const gateway = yield* GatewayService
          const error = yield* Effect.flip(gateway.run({ provider: "nobody", endpoint: "x", query: {} }))
          assert.deepStrictEqual(fieldsOf(error.reason, { what: 0, code: 0 }), { what: "endpoint", code: "2008" })
        })
      )

      test(
        "a gateway that does not exist",
        Effect.gen(function* () {
          const gateway = yield* GatewayService
          const error = yield* Effect.flip(gateway.run(openai("x")))
          assert.deepStrictEqual(fieldsOf(error.reason, { what: 0, code: 0 }), { what: "gateway", code: "2001" })
        }),
        { gateway: "another" }
      )

      test(
        "a request that cannot be sent",
        Effect.gen(function* () {
          const gateway = yield* GatewayService
          const cycle: Record<string, unknown> = {}
          cycle["self"] = cycle
          const fieldOf = (run: Effect.Effect<unknown, GatewayError>) =>
            Effect.map(Effect.flip(run), ({ reason }) =>
              reason._tag === "InvalidRequest" ? reason.field : reason._tag
            )
          assert.deepStrictEqual(
            [
              yield* fieldOf(gateway.run([])),
              yield* fieldOf(gateway.run(openai("x", { provider: "../x" }))),
              yield* fieldOf(gateway.run([openai("x"), openai("x", { endpoint: "/chat" })])),
              yield* fieldOf(gateway.run(openai("x", { headers: { Authorization: "x" } }))),
              yield* fieldOf(gateway.run(openai("x", { headers: { "x-a": "a\r\nb" } }))),
              yield* fieldOf(gateway.run(openai("x"), { cache: { ttl: "1 second" } })),
              yield* fieldOf(gateway.run(openai("x"), { retries: { attempts: 6 } })),
              yield* fieldOf(gateway.getLog("a/b")),
              yield* fieldOf(gateway.patchLog("log", {})),
              yield* fieldOf(gateway.getUrl("a/b")),
              yield* fieldOf(gateway.listLogs({ page: 0 }))
            ],
            [
              "legs",
              "legs[0].provider",
              "legs[1].endpoint",
              "legs[0].headers",
              "legs[0].headers.x-a",
              "cache.ttl",
              "retries.attempts",
              "logId",
              "patch",
              "provider",
              canListLogs ? "page" : "BindingMissing"
            ]
          )
          for (const query of [cycle, 1n, undefined]) {
            assert.match((yield* fieldOf(gateway.run(openai("x", { query })))) ?? "", /^legs/)
          }
          assert.deepStrictEqual(yield* calls, [])
        })
      )
    })

    test(
      "hands a stream through",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        const query = { model: "m", stream: true, messages: [{ role: "user", content: "s" }] }
        const response = yield* gateway.run(openai("s", { query }))
        assert.match(response.headers["content-type"] ?? "", /^text\/event-stream/)
        const text = new TextDecoder().decode(yield* response.bytes)
        assert.include(text, "data: {")
        assert.include(text, "data: [DONE]")
      })
    )

    test(
      "lets go of the provider when it is interrupted",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        yield* script("openai", [{ stall: true }])
        const { attempts, value: exit } = yield* LogTrail.collect(
          Effect.gen(function* () {
            const fiber = yield* Effect.forkChild(gateway.run(openai("x")))
            yield* eventually(calls, (all) => all.length === 1)
            yield* Fiber.interrupt(fiber)
            return yield* Fiber.await(fiber)
          })
        )
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
        yield* eventually(calls, (all) => all[0]?.outcome === "interrupted")
        assert.deepStrictEqual(
          attempts.map(({ outcome }) => outcome),
          ["interrupted"]
        )
      })
    )

    test(
      "patches a log",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        const response = yield* gateway.run(openai("rate me"), { metadata: { before: true } })
        const id = response.meta.logId ?? "none"
        yield* response.cancel
        yield* gateway.patchLog(id, { feedback: 1, score: 0.5, metadata: { after: 1 } })
        const log = yield* gateway.getLog(id)
        assert.deepStrictEqual(
          { feedback: log.feedback, score: log.score, metadata: log.metadata },
          { feedback: 1, score: 0.5, metadata: { after: 1 } }
        )
        yield* gateway.patchLog(id, { feedback: null, metadata: null })
        const cleared = yield* gateway.getLog(id)
        assert.isUndefined(cleared.feedback)
        assert.strictEqual(cleared.score, 0.5)
        const missing = yield* Effect.flip(gateway.patchLog("missing", { feedback: -1 }))
        assert.isTrue(missing.reason._tag === "NotFound" && missing.reason.what === "log")
        assert.strictEqual(missing.logId, "missing")
      })
    )

    test(
      "says that a fresh log is not there yet, and later that it is",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        const response = yield* gateway.run(openai("fresh"))
        const id = response.meta.logId ?? "none"
        const { reason } = yield* Effect.flip(gateway.getLog(id))
        assert.isTrue(reason._tag === "NotFound" && reason.what === "log")
        yield* TestClock.adjust(500)
        assert.strictEqual((yield* gateway.getLog(id)).id, id)
      }),
      { freshLogDelay: 500 }
    )

    test(
      "knows its URLs",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        const local = yield* Local
        assert.strictEqual(yield* gateway.getUrl(), local.url())
        assert.strictEqual(yield* gateway.getUrl("openai"), local.url("gw", "openai"))
      })
    )

    test(
      canListLogs ? "lists logs" : "says that it cannot list logs",
      Effect.gen(function* () {
        const gateway = yield* GatewayService
        if (!canListLogs) {
          const { reason } = yield* Effect.flip(gateway.listLogs())
          assert.strictEqual(reason._tag, "BindingMissing")
          return
        }
        for (const leg of [openai("1"), anthropic("2"), openai("3")]) {
          yield* Effect.flatMap(gateway.run(leg, { metadata: { tier: leg.provider } }), (response) => response.cancel)
        }
        const page = yield* gateway.listLogs({ perPage: 2, page: 2, orderBy: "created_at", direction: "asc" })
        assert.deepStrictEqual(
          { count: page.count, page: page.page, perPage: page.perPage, totalCount: page.totalCount },
          { count: 1, page: 2, perPage: 2, totalCount: 3 }
        )
        const filtered = yield* gateway.listLogs({
          filters: [{ key: "provider", operator: "eq", value: ["anthropic"] }]
        })
        assert.deepStrictEqual(
          filtered.logs.map(({ metadata }) => metadata),
          [{ tier: "anthropic" }]
        )
      })
    )
  })
}

/** Waits, turn by turn of the event loop, until a value is as it should be. */
export const eventually = <A, E, R>(self: Effect.Effect<A, E, R>, is: (value: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.flatMap(self, (value) =>
    is(value)
      ? Effect.succeed(value)
      : Effect.andThen(
          Effect.promise(() => new Promise((resolve) => setImmediate(resolve))),
          Effect.suspend(() => eventually(self, is))
        )
  )
