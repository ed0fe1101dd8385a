/**
 * The law that makes a route data: the gateway executes whatever `compile` accepts as the client would.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { GatewayService } from "effect-ai-gateway/GatewayService"
import * as LocalGateway from "effect-ai-gateway/local"
import type { Fault } from "effect-ai-gateway/local/Upstream"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"

const providers = ["openai", "groq", "mistral", "deepseek"] as const

const Body = Schema.Struct({
  choices: Schema.Array(Schema.Struct({ message: Schema.Struct({ content: Schema.String }) }))
})

const leaf = (provider: string, model: string) =>
  Route.make({
    provider,
    endpoint: "chat/completions",
    model,
    key: `${provider}/${model}`,
    query: (prompt: string) => ({ model, messages: [{ role: "user", content: prompt }] }),
    success: Body
  }).pipe(Route.map((body) => body.choices[0]?.message.content ?? ""))

/** The outcome of one attempt. Waiting forever only makes sense where a timeout ends it. */
const faults: Readonly<Record<string, Fault>> = {
  ok: { ok: true },
  slow: { ok: true, delay: 700 },
  "400": { status: 400 },
  "401": { status: 401 },
  "403": { status: 403 },
  "404": { status: 404 },
  "408": { status: 408 },
  "409": { status: 409 },
  "413": { status: 413 },
  "429": { status: 429, retryAfter: 1 },
  quota: {
    status: 429,
    body: { error: { message: "You exceeded your quota", type: "insufficient_quota", code: "insufficient_quota" } }
  },
  context: { status: 400, body: { error: { message: "too long", code: "context_length_exceeded" } } },
  blocked: { status: 400, body: { error: { message: "no", code: "content_policy_violation" } } },
  teapot: { status: 418 },
  "500": { status: 500 },
  "503": { status: 503 },
  "529": { status: 529 },
  reset: { reset: true },
  truncate: { truncate: 20 },
  garble: { garble: true },
  html: { html: true, status: 200 },
  htmlError: { html: true },
  failedIn200: { status: 200, body: { error: { message: "Overloaded", type: "overloaded_error" } } },
  stall: { stall: true },
  odd: { status: 200, body: { choices: [{ message: { content: "odd" } }] } }
}

const Leaf = Schema.Struct({
  attempts: Schema.Literals([1, 1, 2, 3]),
  delay: Schema.Literals([0, 10, 200]),
  backoff: Schema.Literals(["constant", "linear", "exponential"]),
  timeout: Schema.Boolean,
  isChecked: Schema.Boolean,
  script: Schema.Array(Schema.Literals(Object.keys(faults))).check(Schema.isMaxLength(4))
})

const Case = Schema.Struct({
  leaves: Schema.Array(Leaf).check(Schema.isMinLength(1), Schema.isMaxLength(4)),
  /** How the leaves are combined. */
  shape: Schema.Literals(["flat", "nestedLeft", "nestedRight", "when"])
})
type Case = typeof Case.Type

const keyOf = (index: number): string => `${providers[index] ?? "openai"}/m${index}`

const routeOf = ({ leaves, shape }: Case): Route.Route<string, string> => {
  const routes = leaves.map((one, index) => {
    const bare = leaf(providers[index] ?? "openai", `m${index}`)
    const plain = one.isChecked ? Route.validate(bare, (text) => text !== "odd") : bare
    // A timeout together with retries is a loss: the gateway's last attempt ignores it.
    if (one.attempts === 1) return one.timeout ? Route.timeout(plain, 500) : plain
    return Route.retry(plain, { attempts: one.attempts, delay: one.delay, backoff: one.backoff, retryAfter: false })
  })
  const [first, second, ...rest] = routes
  if (first === undefined) throw new Error("no leaves")
  if (second === undefined) return first
  switch (shape) {
    case "flat":
      return Route.fallback(first, second, ...rest)
    case "nestedLeft":
      return Route.fallback(Route.fallback(first, second), ...rest)
    case "nestedRight":
      return Route.fallback(first, Route.fallback(second, ...rest))
    case "when":
      return Route.fallback(
        Route.when((prompt: string) => prompt === "hello", first, second),
        second,
        ...rest
      )
  }
}

const scriptOf = (one: (typeof Case.Type)["leaves"][number]): ReadonlyArray<Fault> =>
  one.script.flatMap((name) => {
    const fault = faults[name]
    const endless = name === "stall" && !(one.attempts === 1 && one.timeout)
    return fault === undefined || endless ? [] : [fault]
  })

/** The result of an execution, in terms that both have. */
const execute = (route: Route.Route<string, string>, one: Case, execution: Router.Execution) =>
  Effect.gen(function* () {
    const local = yield* LocalGateway.Current
    yield* local.reset
    for (const [index, leaf] of one.leaves.entries()) yield* local.script(keyOf(index), scriptOf(leaf))
    const fiber = yield* Effect.forkChild(Effect.result(Router.run(route, "hello", { execution })))
    for (let step = 0; fiber.pollUnsafe() === undefined && step < 2000; step++) yield* TestClock.adjust(50)
    const result = yield* Fiber.join(fiber)
    const calls = yield* local.calls
    const attempts: Record<string, number> = {}
    for (const { model, provider } of calls) {
      const key = `${provider}/${model ?? ""}`
      attempts[key] = (attempts[key] ?? 0) + 1
    }
    return {
      attempts,
      answered: Result.isSuccess(result) ? result.success.target : undefined,
      value: Result.isSuccess(result) ? result.success.value : undefined,
      reason: Result.isFailure(result) ? result.failure.reason._tag : undefined,
      status: Result.isFailure(result) ? result.failure.reason.status : undefined,
      execution: Result.isSuccess(result) ? result.success.execution : execution
    }
  })

const Live = Router.layer.pipe(Layer.provideMerge(LocalGateway.layer({ keep: { logs: 100, calls: 1000 } })))

describe("compiled and client execution", () => {
  it.effect.prop(
    "have the same outcome, with the same attempts per target and the same answering target",
    { one: Case },
    ({ one }) =>
      Effect.gen(function* () {
        const route = routeOf(one)
        assert.isTrue(Result.isSuccess(Route.compile(route, "hello")), "the route was meant to compile")
        const client = yield* execute(route, one, "client")
        const gateway = yield* execute(route, one, "gateway")
        assert.deepStrictEqual(
          { ...gateway, execution: "", status: 0 },
          // The gateway reports its own timeout; on the client it is ours.
          { ...client, execution: "", status: 0 }
        )
      }).pipe(Effect.provide(Live)),
    { timeout: 120_000, arbitrary: { runs: 300 } }
  )

  it.effect("run in the gateway what compiles, and the rest on the client, for auto", () =>
    Effect.gen(function* () {
      const pair = Route.fallback(leaf("openai", "a"), leaf("groq", "b"))
      assert.strictEqual((yield* Router.run(pair, "hello")).execution, "gateway")
      assert.strictEqual((yield* Router.run(Route.deadline(pair, "5 seconds"), "hello")).execution, "client")
      assert.strictEqual((yield* Router.run(Route.retry(pair, { attempts: 2 }), "hello")).execution, "client")
      const refused = yield* Effect.flip(
        Router.run(Route.deadline(pair, "5 seconds"), "hello", { execution: "gateway" })
      )
      assert.strictEqual(refused.reason._tag, "InvalidRequest")
      assert.include(refused.message, "deadline")
      const allowed = yield* Router.run(Route.deadline(pair, "5 seconds"), "hello", {
        execution: "gateway",
        allow: ["deadline"]
      })
      assert.strictEqual(allowed.execution, "gateway")
    }).pipe(Effect.provide(Live))
  )

  it.effect("keep an allowed deadline of the run on the client, the shorter of two, also behind a condition", () =>
    Effect.gen(function* () {
      const local = yield* LocalGateway.Current
      const slow = leaf("openai", "a")
      for (const route of [
        slow.pipe(Route.deadline("9 seconds")),
        slow.pipe(Route.deadline("9 seconds"), Route.deadline("20 seconds")),
        slow.pipe(Route.deadline("20 seconds"), Route.deadline("9 seconds")),
        Route.when(() => true, slow.pipe(Route.deadline("9 seconds")), leaf("groq", "b")),
        Route.deadline(
          Route.when(() => false, slow, slow.pipe(Route.deadline("9 seconds"))),
          "20 seconds"
        )
      ]) {
        yield* local.reset
        yield* local.script("openai", [{ stall: true }])
        const running = yield* Effect.forkChild(
          Effect.flip(Router.run(route, "hello", { execution: "gateway", allow: ["deadline"] }))
        )
        yield* TestClock.adjust("8900 millis")
        assert.isUndefined(running.pollUnsafe())
        yield* TestClock.adjust("200 millis")
        const { attempts, reason } = yield* Fiber.join(running)
        assert.isTrue(reason._tag === "Timeout" && reason.phase === "deadline")
        // As on the client: a failure, and not an interruption.
        assert.deepStrictEqual(
          attempts?.map(({ error, outcome }) => [outcome, error?._tag]),
          [["failure", "Timeout"]]
        )
      }
    }).pipe(Effect.provide(Live))
  )

  it.effect("assign a deadline that passes in the gateway to its leg, and to none of several", () =>
    Effect.gen(function* () {
      const local = yield* LocalGateway.Current
      const [a, b] = [leaf("openai", "a"), leaf("groq", "b")]
      for (const [route, samples] of [
        [Route.fallback(a, b), 0],
        [a, 1]
      ] as const) {
        yield* local.script("openai", [{ stall: true }])
        const limited = Route.deadline(route, "9 seconds")
        const ran = Router.run(limited, "hello", { execution: "gateway", allow: ["deadline"] })
        const running = yield* Effect.forkChild(Effect.flip(ran))
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(running)
        const [first] = yield* Router.snapshot
        assert.deepInclude(first, { target: "openai/a", inFlight: 0 })
        assert.strictEqual(first?.latency?.run.n, samples)
      }
    }).pipe(Effect.provide(Live))
  )

  for (const width of [1, 2, 16, 200]) {
    it.effect(
      `one route object, ${width} in flight in the gateway: each answer matches its prompt, each log id its log`,
      () =>
        Effect.gen(function* () {
          const local = yield* LocalGateway.Current
          yield* local.reset
          const gateway = yield* GatewayService
          const pair = Route.fallback(leaf("openai", "a"), leaf("groq", "b"))
          yield* Effect.forEach(
            Array.from({ length: width }, (_, index) => `prompt-${index}-`),
            Effect.fnUntraced(function* (prompt) {
              const { attempts, execution, logId, value } = yield* Router.run(pair, prompt)
              assert.strictEqual(execution, "gateway")
              assert.include(value, prompt)
              assert.strictEqual(attempts[0]?.logId, logId)
              assert.include((yield* gateway.getLog(logId ?? "none")).responseHead, prompt)
            }),
            { concurrency: "unbounded", discard: true }
          )
        }).pipe(Effect.provide(Router.layer.pipe(Layer.provideMerge(LocalGateway.layer()))))
    )
  }
})
