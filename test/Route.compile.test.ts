import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Route from "effect-ai-gateway/Route"
import { build, type Input, inputs, leafOf, randomSpecs } from "./support/randomRoutes.ts"

const a = leafOf("openai")
const b = leafOf("groq")
const input: Input = { prompt: "hello", bits: [] }
const retry = { attempts: 3, delay: "500 millis", retryAfter: false } as const

const success = <A>(result: Result.Result<A, ReadonlyArray<Route.Loss>>): A => {
  if (Result.isFailure(result)) throw new Error(JSON.stringify(result.failure))
  return result.success
}

const failure = (result: Result.Result<unknown, ReadonlyArray<Route.Loss>>): ReadonlyArray<Route.Loss> => {
  if (Result.isSuccess(result)) throw new Error("expected losses")
  return result.failure
}

const kinds = (losses: ReadonlyArray<Route.Loss>) =>
  losses.map(({ kind, target }) => (target === undefined ? kind : `${kind} of ${target}`))

const query = { model: "m", messages: [{ role: "user", content: "hello" }] }
const endpoint = "chat/completions"

/** A target in the place of a provider's chat. */
const chat = (
  provider: string,
  more: { readonly body?: { readonly seed: number } } = {}
): Route.Route<Input, string> => {
  const { node } = leafOf(provider)
  if (node._tag !== "Leaf") throw new Error("expected a leaf")
  return Route.fromNode({
    ...node,
    spec: { kind: "chat", dialect: "openai", provider, model: "m", endpoint, ...more }
  })
}

describe("compile to a universal request", () => {
  it("makes a leg for each target, called once", () => {
    assert.deepStrictEqual(success(Route.compile(Route.fallback(a, b), input)), {
      target: "universal",
      legs: [
        { provider: "openai", endpoint, headers: {}, query, config: { maxAttempts: 1 } },
        { provider: "groq", endpoint, headers: {}, query, config: { maxAttempts: 1 } }
      ],
      options: {},
      keys: ["openai/m", "groq/m"],
      losses: []
    })
    assert.deepStrictEqual(Route.compile(a, input, "universal"), Route.compile(a, input))
  })

  it("puts retries, timeouts and options on their legs, and the event id on the request", () => {
    const key = Redacted.make("Bearer sk-1")
    const route = Route.fallback(
      leafOf("openai", { headers: { authorization: key, "cf-aig-cache-key": "own" } }).pipe(
        Route.cache({ ttl: "1 hour", key: "options" }),
        Route.timeout("2 seconds")
      ),
      b.pipe(Route.retry({ ...retry, backoff: "linear" }), Route.options({ byokAlias: "prod" })),
      leafOf("mistral").pipe(Route.options({ retries: { attempts: 2, delay: "1 second" }, timeout: "3 seconds" }))
    ).pipe(Route.metadata({ team: "x" }), Route.options({ eventId: "e-1", log: { payload: false } }))
    const { keys, legs, losses, options } = success(Route.compile(route, input))
    const shared = { "cf-aig-metadata": `{"team":"x"}`, "cf-aig-collect-log-payload": "false" }
    assert.deepStrictEqual(legs, [
      {
        provider: "openai",
        endpoint,
        headers: {
          "cf-aig-cache-ttl": "3600",
          "cf-aig-skip-cache": "false",
          ...shared,
          // A target's own settings win over options.
          "cf-aig-cache-key": "own",
          authorization: key
        },
        query,
        config: { requestTimeout: 2000, maxAttempts: 1 }
      },
      {
        provider: "groq",
        endpoint,
        headers: { ...shared, "cf-aig-byok-alias": "prod" },
        query,
        config: { maxAttempts: 3, retryDelay: 500, backoff: "linear" }
      },
      {
        provider: "mistral",
        endpoint,
        headers: shared,
        query,
        config: { requestTimeout: 3000, maxAttempts: 2, retryDelay: 1000 }
      }
    ])
    assert.deepStrictEqual(options, { eventId: "e-1" })
    assert.deepStrictEqual(keys, ["openai/m", "groq/m@prod", "mistral/m"])
    assert.deepStrictEqual(losses, [])
  })

  it("decides conditions, endpoints and bodies by the input", () => {
    const byInput = Route.make({
      provider: "custom-x",
      endpoint: ({ prompt }: Input) => `v1/${prompt}`,
      query: ({ prompt }: Input) => ({ prompt }),
      success: Schema.String
    })
    const long = ({ prompt }: Input) => prompt.length > 5
    const route = Route.fallback(Route.when(long, Route.fallback(a, b), byInput), leafOf("mistral"))
    const compiled = (prompt: string) => success(Route.compile(route, { prompt, bits: [] }))
    assert.deepStrictEqual(compiled("long enough").keys, ["openai/m", "groq/m", "mistral/m"])
    assert.deepStrictEqual(compiled("short").keys, ["custom-x/endpoint by input", "mistral/m"])
    assert.deepInclude(compiled("short").legs[0], { endpoint: "v1/short", query: { prompt: "short" } })
  })

  const both = Route.fallback(a, b)
  const losing: ReadonlyArray<readonly [Route.Route<Input, string>, ...ReadonlyArray<string>]> = [
    [Route.retry(a, { ...retry, jitter: 0.1 }), "jitter of openai/m"],
    [Route.retry(a, { attempts: 2, delay: 0 }), "retryAfter of openai/m"],
    [Route.retry(a, { ...retry, attempts: 6, backoff: "constant" }), "attempts of openai/m"],
    [Route.retry(a, { ...retry, attempts: 2, delay: 5001 }), "delay of openai/m"],
    [Route.retry(a, { ...retry, attempts: 2, delay: 0.5 }), "delay of openai/m"],
    // 2, 4 seconds, and then 5 instead of 8.
    [Route.retry(a, { ...retry, attempts: 4, delay: "2 seconds" }), "delay of openai/m"],
    [Route.retry(a, { ...retry, on: ["RateLimited"] }), "retryOn of openai/m"],
    [Route.retry(a, Schedule.recurs(1)), "schedule of openai/m"],
    [a.pipe(Route.retry(retry), Route.timeout("1 second")), "lastAttemptTimeout of openai/m"],
    [Route.deadline(a, "5 seconds"), "deadline"],
    [a.pipe(Route.deadline("5 seconds"), Route.deadline("9 seconds")), "deadline", "deadline"],
    [Route.fallbackOn(both, ["RateLimited"]), "fallbackOn"],
    [Route.fallbackOn(both, () => true), "fallbackOn"],
    [Route.fallbackOn(Route.fallback(both, leafOf("mistral")), []), "fallbackOn", "fallbackOn"],
    [Route.retry(both, { attempts: 9 }), "attempts", "delay", "retryAfter", "attempts", "delay", "retryAfter"],
    [Route.timeout(a, 0), "invalid"],
    [Route.fallback(a, Route.fallback(b, leafOf("mistral")).pipe(Route.retry({ attempts: 0 }))), "invalid"]
  ]

  it("reports a loss for what the gateway cannot do, and fails by default", () => {
    for (const [route, ...expected] of losing) {
      const found = kinds(failure(Route.compile(route, input)))
      assert.deepStrictEqual(expected.some((one) => one.includes(" of ")) ? found : found.map(withoutTarget), [
        ...expected
      ])
    }
  })

  const withoutTarget = (text: string): string => text.replace(/ of .*/, "")

  it("reports no loss for what the gateway can do", () => {
    for (const route of [
      Route.retry(a, retry),
      Route.retry(a, { ...retry, attempts: 5, delay: "5 seconds", backoff: "constant" }),
      Route.retry(a, { ...retry, attempts: 3, delay: "2500 millis" }),
      // A policy of one attempt has no losses.
      Route.retry(a, { attempts: 1, delay: "1 minute", jitter: 1, on: ["Timeout"] }),
      Route.timeout(both, "1 minute"),
      Route.fallback(a).pipe(Route.fallbackOn(["RateLimited"]))
    ]) {
      assert.deepStrictEqual(success(Route.compile(route, input)).losses, [], Route.describe(route))
    }
  })

  it("accepts only the losses that `allow` names", () => {
    const route = Route.fallback(a.pipe(Route.retry({ attempts: 2, jitter: 1, delay: 0 })), b).pipe(
      Route.deadline("5 seconds")
    )
    const losses = failure(Route.compile(route, input))
    assert.deepStrictEqual(kinds(losses), ["deadline", "jitter of openai/m", "retryAfter of openai/m"])
    const left = failure(Route.compile(route, input, "universal", { allow: ["jitter", "retryAfter", "schedule"] }))
    assert.deepStrictEqual(kinds(left), ["deadline"])
    const compiled = success(Route.compile(route, input, "universal", { allow: ["jitter", "retryAfter", "deadline"] }))
    assert.deepStrictEqual(compiled.losses, losses)
    assert.strictEqual(compiled.legs.length, 2)
    // An invalid route is never accepted.
    const invalid = Route.compile(Route.timeout(a, 0), input, "universal", { allow: ["invalid"] })
    assert.deepStrictEqual(failure(invalid), [
      { kind: "invalid", detail: "timeout: expected 1 millisecond or more, finite, in whole milliseconds" }
    ])
  })

  it("fails with the name of a target that cannot encode the input", () => {
    const { node } = b
    if (node._tag !== "Leaf") throw new Error("expected a leaf")
    const picky = Route.fromNode({ ...node, build: () => Result.fail({ field: "messages", accepted: "text only" }) })
    assert.deepStrictEqual(failure(Route.compile(Route.fallback(a, picky), input)), [
      { kind: "invalid", target: "groq/m", detail: "messages: expected text only" }
    ])
  })

  it.prop(
    "keeps the numbers of the route, and lists what differs",
    {
      spec: randomSpecs({
        attempts: [1, 2, 5, 7],
        delays: [0, 100, 5000, 6000],
        jitters: [0, 0, 0.5],
        timeouts: [undefined, undefined, 1000],
        deadlines: [undefined, undefined, undefined, undefined, 9000],
        depth: 3,
        leaves: 5
      }),
      input: inputs
    },
    ({ input, spec }) => {
      const { facts, route } = build(spec)
      const first = Route.compile(route, input)
      const losses = Result.isFailure(first) ? first.failure : []
      const allow = [...new Set(losses.map(({ kind }) => kind))]
      assert.strictEqual(Result.isFailure(first), losses.length > 0)
      const compiled = success(Route.compile(route, input, "universal", { allow }))
      assert.deepStrictEqual(compiled.losses, losses)
      for (const one of allow) {
        const without = failure(
          Route.compile(route, input, "universal", { allow: allow.filter((kind) => kind !== one) })
        )
        assert.deepStrictEqual([...new Set(without.map(({ kind }) => kind))], [one])
      }
      const way = facts.filter(({ when }) => when.every(([number, answer]) => input.bits[number] === answer))
      assert.deepStrictEqual(
        compiled.keys,
        way.map(({ key }) => key)
      )
      assert.strictEqual(compiled.legs.length, way.length)
      for (const [index, { policy }] of way.entries()) {
        // An allowed loss is sent as the gateway's maximum.
        const config = compiled.legs[index]?.config
        const retried = policy !== undefined && policy.attempts > 1
        assert.strictEqual(config?.maxAttempts, retried ? Math.min(policy.attempts, 5) : 1)
        assert.strictEqual(config?.retryDelay, retried ? Math.min(policy.delay, 5000) : undefined)
        assert.strictEqual(config?.backoff, retried ? policy.backoff : undefined)
      }
    },
    { arbitrary: { runs: 200, seed: 5 } }
  )
})

describe("compile to a dynamic route", () => {
  it("makes a chain of models", () => {
    const route = Route.fallback(
      chat("openai").pipe(Route.timeout("2 seconds")),
      chat("groq").pipe(Route.retry({ attempts: 1 }), Route.timeout("5 seconds"))
    )
    const model = (provider: string, timeout: number, fallback: string, id: string): Route.DynamicElement => ({
      id,
      type: "model",
      properties: { provider, model: "m", timeout, retries: 0 },
      outputs: { success: { elementId: "end" }, fallback: { elementId: fallback } }
    })
    assert.deepStrictEqual(success(Route.compile(route, input, "dynamic")), {
      target: "dynamic",
      elements: [
        { id: "start", type: "start", outputs: { next: { elementId: "target-1" } } },
        model("openai", 2000, "target-2", "target-1"),
        model("groq", 5000, "end", "target-2"),
        { id: "end", type: "end", outputs: {} }
      ],
      losses: []
    })
  })

  it("counts attempts after the first in `retries`, and reports a missing timeout", () => {
    const route = chat("openai").pipe(Route.retry(retry))
    assert.deepStrictEqual(kinds(failure(Route.compile(route, input, "dynamic"))), [
      "delay of openai/m",
      "lastAttemptTimeout of openai/m"
    ])
    const { elements } = success(Route.compile(route, input, "dynamic", { allow: ["delay", "lastAttemptTimeout"] }))
    const properties = elements.flatMap((element) => (element.type === "model" ? [element.properties] : []))
    assert.deepStrictEqual(properties, [{ provider: "openai", model: "m", timeout: 30_000, retries: 2 }])
  })

  const timed = Route.timeout("2 seconds")
  const losing: ReadonlyArray<readonly [Route.Route<Input, string>, ...ReadonlyArray<string>]> = [
    [timed(a), "dialect of openai/m"],
    [timed(chat("openai", { body: { seed: 1 } })), "dialect of openai/m"],
    [timed(chat("openai").pipe(Route.metadata({ team: "x" }))), "options of openai/m"],
    [timed(Route.when(() => false, chat("openai"), chat("groq"))), "predicate"],
    [timed(chat("openai")).pipe(Route.deadline("9 seconds")), "deadline"],
    [timed(Route.fallback(chat("openai"), chat("groq"))).pipe(Route.fallbackOn(["Timeout"])), "fallbackOn"],
    [timed(chat("openai")).pipe(Route.retry(Schedule.recurs(2))), "schedule of openai/m"],
    [timed(Route.map(chat("openai"), (text) => text)), "dialect of openai/m"],
    [Route.timeout(chat("openai"), 0), "invalid", "lastAttemptTimeout of openai/m"],
    [
      timed(chat("openai")).pipe(Route.retry({ attempts: 7, delay: "6 seconds", jitter: 1, on: ["Timeout"] })),
      ...["attempts", "delay", "jitter", "retryAfter", "retryOn", "lastAttemptTimeout", "delay"].map(
        (kind) => `${kind} of openai/m`
      )
    ]
  ]

  it("reports a loss for what a dynamic route cannot do", () => {
    for (const [route, ...expected] of losing) {
      assert.deepStrictEqual(kinds(failure(Route.compile(route, input, "dynamic"))), expected, Route.describe(route))
    }
  })

  /** The models that each branch of a compiled balance tries, by share. */
  const branchesOf = (route: Route.Route<Input, string>, allow: ReadonlyArray<Route.LossKind> = []) => {
    const { elements, losses } = success(Route.compile(timed(route), input, "dynamic", { allow }))
    const byId = new Map(elements.map((element) => [element.id, element]))
    const chain = (id: string): ReadonlyArray<string> => {
      const element = byId.get(id)
      return element?.type === "model"
        ? [element.properties.provider, ...chain(element.outputs.fallback.elementId)]
        : element?.type === "percentage"
          ? [element.id]
          : []
    }
    const splits = elements.flatMap((element) =>
      element.type === "percentage"
        ? [Object.fromEntries(Object.entries(element.outputs).map(([share, to]) => [share, chain(to.elementId)]))]
        : []
    )
    const [start] = elements
    const first = start?.type === "start" ? chain(start.outputs.next.elementId) : []
    return { first, splits, losses: kinds(losses) }
  }
  const slugs = ["openai", "groq", "mistral", "deepseek", "cerebras", "grok", "cohere"]
  const weighed = (...weights: ReadonlyArray<number>) => {
    const [one = chat("openai"), ...more] = weights.map((_, i) => chat(slugs[i] ?? ""))
    return Route.balance([one, ...more], { by: "weight", weights })
  }
  const allow = ["balance"] as const

  it("turns a balance of two by weight into a percentage, each falling back to the other", () => {
    assert.deepStrictEqual(branchesOf(weighed(3, 1)), {
      first: ["split-1"],
      splits: [{ "75%": ["openai", "groq"], else: ["groq", "openai"] }],
      losses: []
    })
  })

  it("joins the elements before and after a balance to each of its branches", () => {
    const { first, splits } = branchesOf(Route.fallback(chat("grok"), weighed(1, 1), chat("cohere")))
    assert.deepStrictEqual(first, ["grok", "split-1"])
    assert.deepStrictEqual(splits, [{ "50%": ["openai", "groq", "cohere"], else: ["groq", "openai", "cohere"] }])
  })

  it("loses the order of the others in a balance of three or more", () => {
    const route = weighed(1, 2, 7)
    assert.deepStrictEqual(kinds(failure(Route.compile(timed(route), input, "dynamic"))), ["balance"])
    assert.deepStrictEqual(branchesOf(route, allow).splits, [
      {
        "10%": ["openai", "groq", "mistral"],
        "20%": ["groq", "openai", "mistral"],
        else: ["mistral", "openai", "groq"]
      }
    ])
  })

  it("gives equal weights different names, whose sum is at most 100", () => {
    for (const weights of [
      [1, 1, 1],
      [1, 1, 1, 1, 1, 1],
      [1, 1, 1e-9],
      [1e-9, 1e-9, 1],
      [1, 1, 1, 1, 1, 1e-9]
    ]) {
      const [split = {}] = branchesOf(weighed(...weights), allow).splits
      const shares = Object.keys(split).map((share) => Number(share.replace(/%$/, "")))
      assert.strictEqual(shares.length, weights.length)
      assert.strictEqual(Object.keys(split).at(-1), "else")
      const sum = weights.reduce((all, weight) => all + weight, 0)
      let total = 0
      shares.slice(0, -1).forEach((share, i) => {
        total += share
        assert.closeTo(share, ((weights[i] ?? 0) / sum) * 100, 1e-5)
        assert.isAtLeast(share, 0)
      })
      assert.isAtMost(total, 100 + 1e-9)
    }
  })

  it("puts a weight of 0 last, and never first", () => {
    assert.deepStrictEqual(branchesOf(weighed(0, 3, 1)), {
      first: ["split-1"],
      splits: [{ "75%": ["groq", "mistral", "openai"], else: ["mistral", "groq", "openai"] }],
      losses: []
    })
    assert.deepStrictEqual(branchesOf(weighed(0, 1)), { first: ["groq", "openai"], splits: [], losses: [] })
  })

  it("keeps the declared order of a balance that no percentage can express", () => {
    const [a, b, c] = [chat("openai"), chat("groq"), chat("mistral")]
    const inner = Route.balance([a, b], { by: "weight" })
    const six = branchesOf(weighed(1, 1, 1, 1, 1, 1), allow).splits[0] ?? {}
    assert.strictEqual(Object.keys(six).length, 6)
    assert.deepStrictEqual(branchesOf(weighed(1, 1, 1, 1, 1, 1, 1), allow), {
      first: slugs,
      splits: [],
      losses: ["balance"]
    })
    for (const by of ["roundRobin", "leastInFlight", "latency", "session"] as const) {
      assert.deepStrictEqual(kinds(failure(Route.compile(timed(Route.balance([a, b], { by })), input, "dynamic"))), [
        "balance"
      ])
    }
    assert.deepStrictEqual(branchesOf(Route.balance([inner, c], { by: "weight" }), allow), {
      first: ["split-1"],
      splits: [{ "50%": ["openai", "groq", "mistral"], else: ["mistral", "openai", "groq"] }],
      losses: ["balance"]
    })
  })

  it("omits headers and credentials of a target", () => {
    const { node } = chat("openai")
    if (node._tag !== "Leaf") throw new Error("expected a leaf")
    const secret = "sk-1234567890"
    const route = timed(Route.fromNode({ ...node, headers: { authorization: Redacted.make(secret) } }))
    assert.deepStrictEqual(kinds(failure(Route.compile(route, input, "dynamic"))), ["dialect of openai/m"])
    const compiled = success(Route.compile(route, input, "dynamic", { allow: ["dialect"] }))
    assert.notInclude(JSON.stringify(compiled), secret)
  })

  it("clamps nothing: accepted numbers stay unchanged", () => {
    const route = chat("openai").pipe(
      Route.retry({ ...retry, attempts: 50, delay: "1 minute" }),
      Route.timeout("1 hour")
    )
    const allow = ["attempts", "delay", "lastAttemptTimeout"] as const
    const { elements } = success(Route.compile(route, input, "dynamic", { allow }))
    assert.deepInclude(elements[1], {
      properties: { provider: "openai", model: "m", timeout: Duration.toMillis("1 hour"), retries: 49 }
    })
  })
})
