import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { completion, type Line, make, providersOf } from "./support/scripted.ts"

const Body = Schema.Struct({
  choices: Schema.Array(Schema.Struct({ message: Schema.Struct({ content: Schema.String }) }))
})

const leaf = (provider: string, options: { readonly key?: string; readonly model?: string } = {}) =>
  Route.make({
    provider,
    endpoint: "chat/completions",
    model: options.model ?? "m",
    key: options.key,
    query: (prompt: string) => ({ model: options.model ?? "m", messages: [{ role: "user", content: prompt }] }),
    success: Body
  }).pipe(Route.map((body) => body.choices[0]?.message.content ?? ""))

const fail = (status: number, headers?: Record<string, string>): Line => ({ status, ...(headers && { headers }) })

const outcome = <A, R>(self: Effect.Effect<A, GatewayError, R>) =>
  Effect.map(Effect.result(self), (result) => (Result.isFailure(result) ? result.failure : undefined))

const summary = (attempts: ReadonlyArray<LogTrail.Attempt>) =>
  attempts.map(({ error, outcome, status, target }) => [target, outcome, status ?? 0, error?._tag ?? ""])

/** Runs under the test clock until it is done, in steps, and returns the milliseconds that it took. */
const timed = <A, E, R>(self: Effect.Effect<A, E, R>, stepMillis = 50, limitMillis = 600_000) =>
  Effect.gen(function* () {
    const startedAt = yield* Clock.currentTimeMillis
    const fiber = yield* Effect.forkChild(Effect.all([Effect.exit(self), Clock.currentTimeMillis]))
    // Requests and bodies take turns of the event loop that no clock counts.
    const settle = Effect.repeat(Effect.yieldNow, { times: 20 })
    yield* settle
    for (let millis = 0; fiber.pollUnsafe() === undefined && millis <= limitMillis; millis += stepMillis) {
      yield* TestClock.adjust(stepMillis)
      yield* settle
    }
    const [exit, endedAt] = yield* Fiber.join(fiber)
    return { exit, millis: endedAt - startedAt }
  })

describe("Router on the client", () => {
  it.effect("answers with the first target", () => {
    const { layer, seen } = make({ openai: [{ body: completion("hi") }] })
    return Effect.gen(function* () {
      const result = yield* Router.run(leaf("openai"), "hello")
      assert.strictEqual(result.value, "hi")
      assert.strictEqual(result.logId, "log-1")
      assert.strictEqual(result.provider, "openai")
      assert.deepStrictEqual(summary(result.attempts), [["openai/m", "success", 200, ""]])
      assert.strictEqual(seen[0]?.headers["cf-aig-event-id"], result.eventId)
      assert.strictEqual(seen[0]?.headers["cf-aig-max-attempts"], "1")
      assert.match(result.eventId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    }).pipe(Effect.provide(layer))
  })

  it.effect("retries each target and falls back", () => {
    const { layer } = make({ openai: [fail(503), fail(500)], anthropic: [{ reset: true }] })
    return Effect.gen(function* () {
      const route = Route.fallback(leaf("openai"), leaf("anthropic")).pipe(
        Route.retry({ attempts: 2, delay: "100 millis" })
      )
      const { exit, millis } = yield* timed(Router.run(route, "hello"), 10)
      assert.isTrue(Exit.isSuccess(exit))
      if (!Exit.isSuccess(exit)) return
      assert.deepStrictEqual(summary(exit.value.attempts), [
        ["openai/m", "failure", 503, "ProviderUnavailable"],
        ["openai/m", "failure", 500, "ProviderUnavailable"],
        ["anthropic/m", "failure", 0, "TransportFailure"],
        ["anthropic/m", "success", 200, ""]
      ])
      assert.strictEqual(millis, 200)
    }).pipe(Effect.provide(layer))
  })

  for (const status of [400, 405, 413, 415, 422]) {
    it.effect(`stops on a caller's fault: ${status} does not use up the chain`, () => {
      const { layer, seen } = make({ openai: [fail(status)] })
      return Effect.gen(function* () {
        const route = Route.fallback(leaf("openai"), leaf("anthropic")).pipe(Route.retry({ attempts: 3 }))
        const error = yield* outcome(Router.run(route, "hello"))
        assert.strictEqual(error?.reason._tag, "InvalidRequest")
        assert.strictEqual(error?.attempts?.length, 1)
        assert.strictEqual(seen.length, 1)
      }).pipe(Effect.provide(layer))
    })
  }

  it.effect("waits at least as long as a hint", () => {
    const { layer } = make({ openai: [fail(429, { "retry-after": "3" })] })
    return Effect.gen(function* () {
      const route = leaf("openai").pipe(Route.retry({ attempts: 2, delay: "100 millis" }))
      const { exit, millis } = yield* timed(Router.run(route, "hello"), 100)
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(millis, 3000)
    }).pipe(Effect.provide(layer))
  })

  it.effect("uses the hint of the current failure, also as a date, and not that of an earlier one", () => {
    // The test clock begins at 1970.
    const { layer } = make({
      openai: [
        fail(429, { "retry-after": "4" }),
        fail(503),
        fail(429, { "retry-after": "Thu, 01 Jan 1970 00:00:10 GMT" }),
        fail(429, { "retry-after-ms": "1500" })
      ]
    })
    return Effect.gen(function* () {
      const route = leaf("openai").pipe(Route.retry({ attempts: 5, delay: "100 millis", backoff: "constant" }))
      const { exit } = yield* timed(Router.run(route, "hello"), 100)
      assert.isTrue(Exit.isSuccess(exit))
      if (!Exit.isSuccess(exit)) return
      const [first, ...rest] = exit.value.attempts.map(({ startedAt }) => startedAt)
      assert.deepStrictEqual(
        rest.map((at) => at - (first ?? Number.NaN)),
        [4000, 4100, 10_000, 11_500]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("moves instead of sleeping when the hint is long and another target is ready", () => {
    const { layer } = make({ openai: [fail(429, { "retry-after": "30" })] })
    return Effect.gen(function* () {
      const route = Route.fallback(leaf("openai"), leaf("groq")).pipe(Route.retry({ attempts: 3, delay: "100 millis" }))
      const { exit, millis } = yield* timed(Router.run(route, "hello"), 100)
      assert.isTrue(Exit.isSuccess(exit) && exit.value.provider === "groq")
      assert.strictEqual(millis, 0)
    }).pipe(Effect.provide(layer))
  })

  it.effect("waits for the earliest target when all are cooling down and the deadline allows it", () => {
    const { layer } = make({
      openai: [fail(429, { "retry-after": "20" })],
      groq: [fail(429, { "retry-after": "40" })]
    })
    return Effect.gen(function* () {
      const route = Route.fallback(leaf("openai"), leaf("groq")).pipe(
        Route.retry({ attempts: 2, delay: "100 millis" }),
        Route.deadline("1 minute")
      )
      const { exit, millis } = yield* timed(Router.run(route, "hello"), 1000)
      assert.isTrue(Exit.isSuccess(exit) && exit.value.provider === "openai")
      assert.strictEqual(millis, 20_000)
    }).pipe(Effect.provide(layer))
  })

  it.effect("fails at once when the hint does not fit into the deadline", () => {
    const { layer } = make({ openai: [fail(429, { "retry-after": "30" })] })
    return Effect.gen(function* () {
      const route = leaf("openai").pipe(Route.retry({ attempts: 3 }), Route.deadline("10 seconds"))
      const { exit, millis } = yield* timed(outcome(Router.run(route, "hello")), 100)
      assert.strictEqual(millis, 0)
      assert.isTrue(Exit.isSuccess(exit))
      if (!Exit.isSuccess(exit)) return
      assert.strictEqual(exit.value?.reason._tag, "RateLimited")
      assert.strictEqual(exit.value?.attempts?.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("a timeout interrupts the attempt, and the next target answers", () => {
    const { interrupted, layer } = make({ openai: [{ never: true }] })
    return Effect.gen(function* () {
      const route = Route.fallback(leaf("openai"), leaf("groq")).pipe(Route.timeout("2 seconds"))
      const { exit, millis } = yield* timed(Router.run(route, "hello"), 100)
      assert.isTrue(Exit.isSuccess(exit))
      if (!Exit.isSuccess(exit)) return
      assert.strictEqual(millis, 2000)
      assert.deepStrictEqual(providersOf(interrupted), ["openai"])
      const [first] = exit.value.attempts
      assert.strictEqual(first?.error?._tag, "Timeout")
      assert.strictEqual(Duration.toMillis(first?.duration ?? Duration.zero), 2000)
    }).pipe(Effect.provide(layer))
  })

  it.effect("a deadline ends everything", () => {
    const { interrupted, layer } = make({ openai: [{ never: true }], groq: [{ never: true }] })
    return Effect.gen(function* () {
      const route = Route.fallback(leaf("openai").pipe(Route.timeout("2 seconds")), leaf("groq")).pipe(
        Route.deadline("5 seconds")
      )
      const { exit, millis } = yield* timed(outcome(Router.run(route, "hello")), 100)
      assert.strictEqual(millis, 5000)
      assert.deepStrictEqual(providersOf(interrupted), ["openai", "groq"])
      assert.isTrue(Exit.isSuccess(exit))
      if (!Exit.isSuccess(exit)) return
      assert.deepStrictEqual(summary(exit.value?.attempts ?? []), [
        ["openai/m", "failure", 0, "Timeout"],
        ["groq/m", "failure", 0, "Timeout"]
      ])
    }).pipe(Effect.provide(layer))
  })

  it.effect("an inner deadline leaves time for the outer fallback", () => {
    const { layer } = make({ openai: [{ never: true }] })
    return Effect.gen(function* () {
      const route = Route.fallback(leaf("openai").pipe(Route.deadline("1 second")), leaf("groq")).pipe(
        Route.deadline("5 seconds")
      )
      const { exit, millis } = yield* timed(Router.run(route, "hello"), 100)
      assert.isTrue(Exit.isSuccess(exit) && exit.value.provider === "groq")
      assert.strictEqual(millis, 1000)
    }).pipe(Effect.provide(layer))
  })

  it.effect("an answer that does not decode is InvalidResponse, and the next target is called once", () => {
    const { layer } = make({ openai: [{ text: "<html>sk-secret</html>" }], groq: [{ body: { choices: "no" } }] })
    return Effect.gen(function* () {
      const route = Route.fallback(leaf("openai"), leaf("groq"), leaf("mistral")).pipe(Route.retry({ attempts: 3 }))
      const result = yield* Router.run(route, "hello")
      assert.deepStrictEqual(summary(result.attempts), [
        ["openai/m", "failure", 200, "InvalidResponse"],
        ["groq/m", "failure", 200, "InvalidResponse"],
        ["mistral/m", "success", 200, ""]
      ])
      assert.strictEqual(result.attempts[0]?.logId, "log-1")
    }).pipe(Effect.provide(layer))
  })

  it.effect("an answer that does not decode reports where, without the text of the answer", () => {
    const words = "the patient's name"
    const route = (success: Schema.ConstraintDecoder<unknown>) =>
      Route.make({ provider: "openai", endpoint: "x", query: (prompt: string) => ({ prompt }), success })
    const cases = [
      [Schema.Record(Schema.String, Schema.Number), { [words]: "x" }, `number at ["…"]`],
      [Schema.Record(Schema.String, Schema.Number), { [`"${words}"]`]: "x" }, `number at ["…"]`],
      [Schema.Struct({ a: Schema.Array(Schema.Number) }), { a: [1, words] }, `number at ["a"][1]`],
      [Schema.Struct({ kind: Schema.Literals(["a", "b"]) }), { kind: words }, `"a" | "b" at ["kind"]`]
    ] as const
    return Effect.gen(function* () {
      for (const [success, body, accepted] of cases) {
        const { layer } = make({ openai: [{ body }] })
        const error = yield* outcome(Effect.provide(Router.run(route(success), "hello"), layer))
        assert.isTrue(error?.reason._tag === "InvalidResponse")
        assert.strictEqual(
          error?.message,
          `Router.run: openai: invalid response: body: expected ${accepted} (status 200)`
        )
      }
    })
  })

  it.effect("interruption never falls back and is recorded", () => {
    const { interrupted, layer, seen } = make({ openai: [{ never: true }] })
    return Effect.gen(function* () {
      const route = Route.fallback(leaf("openai"), leaf("groq")).pipe(Route.retry({ attempts: 3 }))
      const { value } = yield* LogTrail.collect(
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(Router.run(route, "hello"))
          yield* TestClock.adjust("1 second")
          yield* Fiber.interrupt(fiber)
          return yield* LogTrail.current
        })
      )
      assert.deepStrictEqual(summary(value), [["openai/m", "interrupted", 0, ""]])
      assert.deepStrictEqual(providersOf(interrupted), ["openai"])
      assert.strictEqual(seen.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("interruption in back-off stops the wait", () => {
    const { layer, seen } = make({ openai: [fail(503)] })
    return Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Router.run(leaf("openai").pipe(Route.retry({ attempts: 3, delay: "5 seconds" })), "hello")
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(seen.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("builds the body of a target only when its turn comes", () => {
    const { layer } = make({ openai: [fail(401)] }, "auto")
    const built: Array<string> = []
    const counting = (provider: string) =>
      Route.make({
        provider,
        endpoint: "chat/completions",
        query: (prompt: string) => {
          built.push(provider)
          return { prompt }
        },
        success: Body
      })
    return Effect.gen(function* () {
      const route = Route.fallback(counting("openai"), counting("groq"), counting("mistral"))
      const { execution, provider } = yield* Router.run(Route.deadline(route, "1 minute"), "hello")
      assert.deepStrictEqual([execution, provider, ...built], ["client", "groq", "openai", "groq"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("runs an Effect schedule, with hints as lower bounds", () => {
    const { layer } = make({ openai: [fail(503), fail(429, { "retry-after": "4" }), fail(503)] })
    return Effect.gen(function* () {
      const route = leaf("openai").pipe(Route.retry(Schedule.max([Schedule.spaced("1 second"), Schedule.recurs(3)])))
      const { exit, millis } = yield* timed(Router.run(route, "hello"), 100)
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(millis, 6000)
    }).pipe(Effect.provide(layer))
  })

  it.effect("two targets with one model remain two", () => {
    const { layer } = make({ openai: [fail(401)] })
    return Effect.gen(function* () {
      const result = yield* Router.run(Route.fallback(leaf("openai"), leaf("openai")), "hello")
      assert.deepStrictEqual(
        result.attempts.map(({ target }) => target),
        ["openai/m", "openai/m#2"]
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("a failure with a 2xx status is reported as that failure", () => {
    const { layer } = make({ openai: [{ body: { success: false, errors: [{ code: 2005, message: "no" }] } }] })
    return Effect.gen(function* () {
      const error = yield* outcome(Router.run(leaf("openai"), "hello"))
      assert.strictEqual(error?.reason._tag, "ProviderUnavailable")
    }).pipe(Effect.provide(layer))
  })

  it.effect("invalid routes fail before anything is sent, and name the field", () => {
    const { layer, seen } = make({})
    const bad: ReadonlyArray<readonly [Route.Route<string, string>, string]> = [
      [leaf("openai").pipe(Route.retry({ attempts: 0 })), "retry.attempts"],
      [leaf("openai").pipe(Route.retry({ attempts: 2, delay: -1 })), "retry.delay"],
      [leaf("openai").pipe(Route.retry({ attempts: 2, jitter: 2 })), "retry.jitter"],
      [leaf("openai").pipe(Route.timeout(0)), "timeout"],
      [leaf("openai").pipe(Route.deadline(Number.NaN)), "deadline"],
      [leaf("openai").pipe(Route.cache({ ttl: "59 seconds" })), "cache.ttl"],
      [leaf("openai").pipe(Route.metadata({ a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 })), "metadata"],
      [
        leaf("openai").pipe(Route.metadata({ a: 1, b: 2, c: 3 }), Route.metadata({ d: 4, e: 5, f: 6 })),
        "openai/m: metadata"
      ],
      [
        leaf("openai").pipe(Route.retry({ attempts: 2 }), Route.options({ retries: { attempts: 3 } })),
        "openai/m: retries.attempts"
      ],
      [leaf("bad slug"), "legs[0].provider"],
      [Reflect.apply(Route.fallback, undefined, []), "fallback"]
    ]
    return Effect.gen(function* () {
      for (const [route, field] of bad) {
        const error = yield* outcome(Router.run(route, "hello"))
        assert.isTrue(error?.reason._tag === "InvalidRequest", field)
        assert.strictEqual(error?.reason._tag === "InvalidRequest" ? error.reason.field : "", field)
      }
      for (const options of [{ execution: "moon" }, { execution: "" }, { options: { cacheTtl: 60 } }]) {
        // A value from a program without types.
        const error = yield* outcome(Router.run(leaf("openai"), "hello", options as Router.RunOptions))
        const [field] = Object.keys(options.options ?? options)
        assert.isTrue(error?.reason._tag === "InvalidRequest" && error.reason.field?.endsWith(field ?? "?"), field)
      }
      assert.strictEqual(seen.length, 0)
    }).pipe(Effect.provide(layer))
  })

  for (const [step, issue] of [
    [undefined, "no cf-aig-step"],
    ["", "no cf-aig-step"],
    ["2", "cf-aig-step 2 names no leg"],
    ["99", "cf-aig-step 99 names no leg"]
  ] as const) {
    it.effect(
      `an answer of several legs whose step is ${step ?? "missing"} belongs to none, and is not requested again`,
      () => {
        const headers = step === undefined ? {} : { "cf-aig-step": step }
        const { layer, seen } = make(() => ({ body: completion("whose?"), headers }), "gateway")
        return Effect.gen(function* () {
          const { exit } = yield* timed(outcome(Router.run(Route.fallback(leaf("openai"), leaf("groq")), "hello")))
          assert.isTrue(Exit.isSuccess(exit))
          const error = Exit.isSuccess(exit) ? exit.value : undefined
          assert.isTrue(error?.reason._tag === "InvalidResponse" && error.reason.issue === issue)
          assert.strictEqual(error?.logId, "log-1")
          assert.strictEqual(seen.length, 1)
          assert.strictEqual(error?.attempts?.length, 1)
        }).pipe(Effect.provide(layer))
      }
    )
  }

  it.effect("names the leg that failed in the gateway, counted among all legs of the route", () => {
    const empty = { body: { answer: "of another form" }, headers: { "cf-aig-step": "0" } }
    const { layer } = make(
      ({ body }) => (Array.isArray(body) && body.length === 3 ? empty : fail(400, { "cf-aig-step": "1" })),
      "gateway"
    )
    return Effect.gen(function* () {
      const route = Route.fallback(leaf("openai"), leaf("groq"), leaf("deepseek", { model: "third" }))
      const error = yield* outcome(Router.run(route, "hello"))
      const { model, provider, step } = error ?? {}
      assert.deepStrictEqual({ model, provider, step }, { model: "third", provider: "deepseek", step: 2 })
      const attempts = error?.attempts?.map((attempt) => `${attempt.target} ${attempt.step}`)
      assert.deepStrictEqual(attempts, ["openai/m 0", "deepseek/third 2"])
    }).pipe(Effect.provide(layer))
  })

  for (const width of [1, 2, 16, 1000]) {
    it.effect(`one route object, ${width} in flight: each answer matches its prompt`, () => {
      const { layer, seen } = make({})
      return Effect.gen(function* () {
        const route = Route.fallback(leaf("openai"), leaf("groq")).pipe(Route.retry({ attempts: 2 }))
        const results = yield* Effect.forEach(
          Array.from({ length: width }, (_, index) => `prompt ${index}`),
          (prompt) => Effect.map(LogTrail.collect(Router.run(route, prompt)), (collected) => ({ prompt, collected })),
          { concurrency: "unbounded" }
        )
        for (const { collected, prompt } of results) {
          const { attempts, value } = collected
          const request = seen.find(({ headers }) => headers["cf-aig-event-id"] === value.eventId)
          assert.include(JSON.stringify(request?.body), `"${prompt}"`)
          assert.strictEqual(attempts.length, 1)
          assert.strictEqual(attempts[0]?.logId, value.logId)
        }
        assert.strictEqual(new Set(results.map(({ collected }) => collected.value.logId)).size, width)
      }).pipe(Effect.provide(layer))
    })
  }
})
