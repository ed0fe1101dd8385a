import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { pipe } from "effect/Function"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { parse } from "./support/mermaid.ts"
import { build, type Input, leafOf, oneOf, randomSpecs } from "./support/randomRoutes.ts"

const a = leafOf("openai")
const b = leafOf("groq")
const input: Input = { prompt: "hello", bits: [] }

/** The request of a target, and its reading of a body. */
const requests = <In, Out>(route: Route.Route<In, Out>, value: In) =>
  route.planned.targets.map(({ leaf }) => leaf.build(value))
const answers = <In, Out>(route: Route.Route<In, Out>, body: unknown) =>
  route.planned.targets.map(({ leaf }) => leaf.decode(body))

const only = <In, Out>(route: Route.Route<In, Out>) => {
  const [target, ...rest] = route.planned.targets
  if (target === undefined || rest.length > 0) throw new Error("expected one target")
  return target
}

describe("combinators", () => {
  const byRate = (error: GatewayError) => error.reason._tag === "RateLimited"
  const both: ReadonlyArray<
    readonly [name: string, first: Route.Route<Input, string>, piped: Route.Route<Input, string>]
  > = [
    ["retry", Route.retry(a, { attempts: 2 }), a.pipe(Route.retry({ attempts: 2 }))],
    ["timeout", Route.timeout(a, "2 seconds"), a.pipe(Route.timeout("2 seconds"))],
    ["deadline", Route.deadline(a, "9 seconds"), a.pipe(Route.deadline("9 seconds"))],
    ["options", Route.options(a, { noWholesale: true }), a.pipe(Route.options({ noWholesale: true }))],
    ["cache", Route.cache(a, { ttl: "1 hour" }), a.pipe(Route.cache({ ttl: "1 hour" }))],
    ["metadata", Route.metadata(a, { team: "x" }), a.pipe(Route.metadata({ team: "x" }))],
    ["fallbackOn", Route.fallbackOn(a, ["RateLimited"]), a.pipe(Route.fallbackOn(["RateLimited"]))],
    ["fallbackOn with a function", Route.fallbackOn(a, byRate), a.pipe(Route.fallbackOn(byRate))],
    ["retry with a problem", Route.retry(a, { attempts: 0 }), a.pipe(Route.retry({ attempts: 0 }))]
  ]
  for (const [name, first, piped] of both) {
    it(`${name}: both forms make the same node, and leave the route alone`, () => {
      const before = Route.describe(a)
      assert.deepStrictEqual(first.node, piped.node)
      assert.notStrictEqual(first.node, a.node)
      assert.strictEqual(Route.describe(a), before)
      assert.isTrue(Route.isRoute(first))
    })
  }

  it("a schedule is kept unchanged, in both forms", () => {
    const schedule = Schedule.spaced("1 second")
    for (const route of [Route.retry(a, schedule), a.pipe(Route.retry(schedule))]) {
      assert.strictEqual(only(route).retry, schedule)
    }
  })

  it("map and mapInput: both forms adapt both ends", () => {
    const body = { choices: [{ message: { content: "hi" } }] }
    for (const route of [Route.map(a, (text) => text.length), a.pipe(Route.map((text) => text.length))]) {
      assert.deepStrictEqual(answers(route, body), [Result.succeed({ value: 2 })])
    }
    const toInput = (prompt: string): Input => ({ prompt, bits: [] })
    for (const route of [Route.mapInput(a, toInput), a.pipe(Route.mapInput(toInput))]) {
      assert.deepStrictEqual(requests(route, "hello"), requests(a, input))
    }
  })

  it("when: both forms, with and without a label", () => {
    const predicate = ({ prompt }: Input) => prompt.length > 3
    const plain = Route.when(predicate, a, b)
    const labelled = Route.when({ label: "long", predicate, onTrue: a, onFalse: b })
    const unlabelled = Route.when({ predicate, onTrue: a, onFalse: b })
    assert.deepStrictEqual(plain.node, unlabelled.node)
    assert.strictEqual(
      Route.describe(labelled),
      "when long\n  openai m (chat/completions)\notherwise\n  groq m (chat/completions)"
    )
    assert.include(Route.describe(plain), "when condition\n")
  })

  it("fallback takes one route or many, and nests", () => {
    assert.deepStrictEqual(Route.targets(Route.fallback(a)), ["openai/m"])
    const nested = Route.fallback(Route.fallback(a, b), leafOf("mistral"))
    assert.deepStrictEqual(Route.targets(nested), ["openai/m", "groq/m", "mistral/m"])
  })

  it("isRoute accepts only routes", () => {
    assert.isTrue(Route.isRoute(a))
    for (const other of [undefined, null, 1, "x", {}, a.node, () => a]) assert.isFalse(Route.isRoute(other))
  })
})

describe("descriptions", () => {
  it.each([
    [1, "1 attempt,"],
    [2, "2 attempts,"]
  ])("count %d in words", (attempts, words) => {
    assert.include(Route.describe(Route.retry(Provider.openai.chat("m"), { attempts })), words)
  })

  it.each([
    ["1 second", "1 second"],
    ["60 seconds", "1 minute"],
    ["2 minutes", "2 minutes"],
    ["1 millis", "1 milli"]
  ] as const)("and stored forms write %s as %s", (given, written) => {
    const stored = Result.getOrThrow(Route.toJson(Route.deadline(Provider.openai.chat("m"), given)))
    assert.include(JSON.stringify(stored), `"${written}"`)
    assert.isTrue(Result.isSuccess(Route.fromJson(stored)))
  })
})

describe("settings", () => {
  const settings = (route: Route.Route<Input, string>) => {
    const { options, retry, timeout } = only(route)
    return { options, retry, timeout }
  }

  it("the innermost retry and timeout win", () => {
    const inner = a.pipe(Route.retry({ attempts: 2, jitter: 0.5 }), Route.timeout("1 second"))
    const outer = inner.pipe(Route.retry({ attempts: 9 }), Route.timeout("9 seconds"), Route.retry(Schedule.forever))
    assert.deepStrictEqual(settings(outer), settings(inner))
    assert.strictEqual(Route.bounds(outer).attempts, 2)
    const invalid = inner.pipe(Route.retry({ attempts: 0 }))
    assert.deepStrictEqual(settings(invalid), settings(inner))
  })

  it("settings around a fallback apply to the targets that have none", () => {
    const route = Route.fallback(a.pipe(Route.retry({ attempts: 2 })), b).pipe(
      Route.retry({ attempts: 5 }),
      Route.timeout("2 seconds")
    )
    assert.deepStrictEqual(
      route.planned.targets.map(({ retry, timeout }) => [retry && "attempts" in retry && retry.attempts, timeout]),
      [
        [2, 2000],
        [5, 2000]
      ]
    )
  })

  it("options merge field by field, and the inner field wins", () => {
    const inner = a.pipe(Route.options({ metadata: { team: "in", a: 1 }, cache: { key: "k" }, byokAlias: "in" }))
    const outer = inner.pipe(
      Route.metadata({ team: "out", b: true }),
      Route.cache({ ttl: "1 hour", key: "out" }),
      Route.options({ byokAlias: "out", log: { payload: false } })
    )
    const { cache, ...rest } = settings(outer).options
    assert.deepStrictEqual(rest, {
      metadata: { team: "in", b: true, a: 1 },
      byokAlias: "in",
      log: { payload: false }
    })
    assert.strictEqual(cache?.key, "k")
    assert.isDefined(cache?.ttl)
  })

  it("the innermost fallbackOn wins for the fallbacks below it, and only for those", () => {
    const inner = Route.fallback(a, b).pipe(Route.fallbackOn(["Timeout"]))
    const { plan } = Route.fallback(inner, leafOf("mistral")).pipe(
      Route.fallbackOn(["RateLimited"]),
      Route.fallbackOn(["Unknown"])
    ).planned
    assert.isTrue(plan._tag === "Fallback" && plan.plans[0]?._tag === "Fallback")
    if (plan._tag !== "Fallback" || plan.plans[0]?._tag !== "Fallback") return
    assert.deepStrictEqual([plan.on, plan.plans[0].on], [["RateLimited"], ["Timeout"]])
  })

  it("deadlines do not override each other: both apply", () => {
    const { plan } = a.pipe(Route.deadline("9 seconds"), Route.deadline("5 seconds")).planned
    assert.isTrue(plan._tag === "Deadline" && plan.millis === 5000)
    assert.isTrue(plan._tag === "Deadline" && plan.plan._tag === "Deadline" && plan.plan.millis === 9000)
  })

  it("the plan is made once", () => {
    const route = Route.fallback(a, b)
    assert.strictEqual(route.planned, route.planned)
  })
})

describe("laws of map and mapInput", () => {
  const open = Route.make({
    provider: "openai",
    endpoint: (text: string) => `x/${text.length}`,
    query: (text: string) => ({ text }),
    success: Schema.Struct({ value: Schema.Json })
  })
  const tree = Route.when((text: string) => text.length > 4, Route.fallback(open, open), open)
  const body = Schema.Union([Schema.Struct({ value: Schema.Json }), Schema.Json])
  const f = ({ value }: { readonly value: Schema.Json }) => JSON.stringify(value)
  const g = (text: string) => text.length
  const h = (number: number) => "x".repeat(number % 9)
  const way = (route: Route.Route<string, unknown>, text: string) => {
    const { plan } = route.planned
    return plan._tag === "When" && plan.predicate(text)
  }

  const seeded = { arbitrary: { runs: 100, seed: 6 } }

  it.prop(
    "map and mapInput of the identity change nothing",
    { body, text: Schema.String },
    ({ body, text }) => {
      const same = (value: { readonly value: Schema.Json }) => value
      assert.deepStrictEqual(answers(Route.map(tree, same), body), answers(tree, body))
      const mapped = Route.mapInput(tree, (value: string) => value)
      assert.deepStrictEqual(requests(mapped, text), requests(tree, text))
      assert.strictEqual(way(mapped, text), way(tree, text))
    },
    seeded
  )

  it.prop(
    "map and mapInput compose",
    { body, number: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 99 })) },
    (one) => {
      const twice = tree.pipe(Route.map(f), Route.map(g))
      const once = Route.map(tree, (value) => g(f(value)))
      assert.deepStrictEqual(answers(twice, one.body), answers(once, one.body))
      const inTwice = tree.pipe(
        Route.mapInput(h),
        Route.mapInput((text: string) => text.length + one.number)
      )
      const inOnce = Route.mapInput(tree, (text: string) => h(text.length + one.number))
      assert.deepStrictEqual(requests(inTwice, "abc"), requests(inOnce, "abc"))
      assert.strictEqual(way(inTwice, "abc"), way(inOnce, "abc"))
      assert.strictEqual(way(inOnce, "abc"), h(3 + one.number).length > 4)
    },
    seeded
  )

  it.prop(
    "neither changes the requests, their number, or the keys",
    {
      spec: randomSpecs({
        attempts: [1, 3],
        delays: [100],
        jitters: [0],
        timeouts: [undefined, 500],
        deadlines: [undefined, 9000],
        depth: 3,
        leaves: 6
      })
    },
    ({ spec }) => {
      const { route } = build(spec)
      const mapped = route.pipe(
        Route.map((text) => text.length),
        Route.mapInput((prompt: string): Input => ({ prompt, bits: [] }))
      )
      assert.strictEqual(Route.describe(mapped), Route.describe(route))
      assert.strictEqual(Route.toMermaid(mapped), Route.toMermaid(route))
      assert.deepStrictEqual(Route.bounds(mapped), Route.bounds(route))
    },
    { arbitrary: { runs: 60, seed: 4 } }
  )

  it("usage and model pass through map; a body that does not decode never reaches it", () => {
    const { node } = open
    if (node._tag !== "Leaf") throw new Error("expected a leaf")
    const counted = Route.fromNode({
      ...node,
      decode: (body: unknown) =>
        Result.map(node.decode(body), (one) => ({ ...one, model: "m2", usage: { inputTokens: 3 } }))
    })
    assert.deepStrictEqual(answers(Route.map(counted, f), { value: 1 }), [
      Result.succeed({ value: "1", model: "m2", usage: { inputTokens: 3 } })
    ])
    const never = Route.map(counted, () => assert.fail("must not be called"))
    assert.isTrue(answers(never, { value: undefined }).every(Result.isFailure))
  })
})

describe("keys of targets", () => {
  const labelled = (label?: string) =>
    leafOf("openai", {
      headers: { authorization: Redacted.make("sk-key-of-somebody", label === undefined ? {} : { label }) }
    })

  it("default to provider and model, and to the endpoint without a model", () => {
    const bare = Route.make({ provider: "custom-x", endpoint: "v1/run", query: () => ({}), success: Schema.Unknown })
    const byInput = Route.make({
      provider: "custom-x",
      endpoint: () => "v1",
      query: () => ({}),
      success: Schema.Unknown
    })
    assert.deepStrictEqual(
      [a, leafOf("openai", { model: "gpt" }), bare, byInput].map((route) => Route.targets(route)[0]),
      ["openai/m", "openai/gpt", "custom-x/v1/run", "custom-x/endpoint by input"]
    )
  })

  it("show which stored or labelled key is used, and never the key", () => {
    assert.deepStrictEqual(Route.targets(labelled("eu")), ["openai/m@eu"])
    assert.deepStrictEqual(Route.targets(labelled()), ["openai/m"])
    assert.deepStrictEqual(Route.targets(Route.options(labelled("eu"), { byokAlias: "prod" })), ["openai/m@prod@eu"])
    assert.deepStrictEqual(Route.targets(leafOf("openai", { key: "mine" })), ["mine"])
  })

  it("equal descriptions of two targets get two keys; the same target in two places is one", () => {
    assert.deepStrictEqual(Route.targets(Route.fallback(a, b, leafOf("openai"), a, leafOf("openai"))), [
      "openai/m",
      "groq/m",
      "openai/m#2",
      "openai/m",
      "openai/m#3"
    ])
  })

  it("no two targets share a key, whatever it looks like", () => {
    const odd = Route.fallback(
      a,
      leafOf("openai"),
      leafOf("openai", { model: "m#2" }),
      leafOf("openai", { model: "m#2" })
    )
    const keys = Route.targets(odd)
    assert.strictEqual(new Set(keys).size, 4, keys.join(" "))
    assert.deepStrictEqual(Route.problems(odd), [])
  })

  it("an explicit key that is taken is a problem", () => {
    const accepted = "a key that no other target has"
    const mine = leafOf("openai", { key: "mine" })
    assert.deepStrictEqual(Route.problems(Route.fallback(mine, leafOf("groq", { key: "mine" }))), [
      { field: "key mine", accepted }
    ])
    assert.deepStrictEqual(Route.problems(Route.fallback(a, leafOf("groq", { key: "openai/m" }))), [
      { field: "key openai/m", accepted }
    ])
    assert.deepStrictEqual(Route.problems(Route.fallback(mine, b, mine)), [])
  })
})

describe("problems", () => {
  const attempts = "a whole number from 1 to 100"
  const limit = "1 millisecond or more, finite, in whole milliseconds"
  const delay = "a finite duration of 0 or more"
  const reasons = "reasons such as RateLimited"
  const twice = (text: string) => `either \`Route.timeout\` or the option \`timeout\`, not both${text}`
  const table: ReadonlyArray<readonly [Route.Route<Input, string>, field: string, accepted: string]> = [
    ...[0, -1, 1.5, 101, Number.NaN, Number.POSITIVE_INFINITY].map(
      (bad) => [Route.retry(a, { attempts: bad }), "retry.attempts", attempts] as const
    ),
    ...[-1, Number.NaN, Number.POSITIVE_INFINITY, "-1 second" as const].map(
      (bad) => [Route.retry(a, { attempts: 2, delay: bad }), "retry.delay", delay] as const
    ),
    [
      Route.retry(a, { attempts: 2, delay: 200, maxDelay: 199 }),
      "retry.maxDelay",
      "a finite duration that is not shorter than delay"
    ],
    ...[-0.1, 1.1, Number.NaN].map(
      (bad) => [Route.retry(a, { attempts: 2, jitter: bad }), "retry.jitter", "a number from 0 to 1"] as const
    ),
    // From plain JavaScript.
    [Route.retry(a, JSON.parse(`{"attempts":2,"backoff":"cubic"}`)), "retry.backoff", "constant, linear, exponential"],
    [Route.retry(a, JSON.parse(`{"delay":100}`)), "retry.attempts", attempts],
    [Route.retry(a, JSON.parse("3")), "retry.attempts", attempts],
    [Route.retry(a, JSON.parse("null")), "retry.attempts", attempts],
    ...[`"RateLimited"`, `["RateLimitted"]`, "null"].map(
      (bad) => [Route.retry(a, JSON.parse(`{"attempts":2,"on":${bad}}`)), "retry.on", reasons] as const
    ),
    [
      Route.retry(a, JSON.parse(`{"attempts":2,"maxdelay":5}`)),
      "retry.maxdelay",
      "one of attempts, delay, backoff, maxDelay, jitter, retryAfter, on"
    ],
    ...[`"RateLimited"`, `["RateLimitted"]`, "null"].map(
      (bad) => [Route.fallbackOn(a, JSON.parse(bad)), "fallbackOn", `${reasons}, or a function of the error`] as const
    ),
    [Reflect.apply(Route.fallback, undefined, [a, undefined]), "fallback[1]", "a route"],
    [Reflect.apply(Route.fallback, undefined, [{}, a]), "fallback[0]", "a route"],
    [
      Route.options(a, JSON.parse("null")),
      "options",
      "an object with cache, metadata, log, eventId, timeout, retries, byokAlias, zeroDataRetention, noWholesale, customCost"
    ],
    ...["authorization", "event-id", "max-attempts", "retry-delay", "backoff", "request-timeout"].map(
      (name) =>
        [
          Route.make({
            provider: "openai",
            endpoint: "chat/completions",
            model: "m",
            headers: { [`cf-aig-${name}`]: "5" },
            query: (input: Input) => input,
            success: Schema.String
          }),
          `openai/m: headers.cf-aig-${name}`,
          "a header for the provider; use `Route.options`"
        ] as const
    ),
    ...[0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY].flatMap((bad) => [
      [Route.timeout(a, bad), "timeout", limit] as const,
      [Route.deadline(a, bad), "deadline", limit] as const
    ]),
    [Route.cache(a, { ttl: "59 seconds" }), "cache.ttl", `60 seconds to 30 days in whole seconds, or "off"`],
    [Route.metadata(a, { "cf.x": 1 }), `metadata key "cf.x"`, "a name that is not empty and not reserved (`cf.`)"],
    [Route.options(a, { retries: { attempts: 6 } }), "retries.attempts", "a whole number from 1 to 5"],
    [
      a.pipe(Route.metadata({ a: 1, b: 2, c: 3 }), Route.metadata({ d: 4, e: 5, f: 6 })),
      "openai/m: metadata",
      "at most 5 entries (got 6)"
    ],
    [
      a.pipe(Route.options({ retries: { attempts: 2 } }), Route.retry({ attempts: 2 })),
      "openai/m: retries.attempts",
      "one owner of retries: either `Route.retry` or the option `retries`, not both"
    ],
    [a.pipe(Route.timeout("1 second"), Route.options({ timeout: "2 seconds" })), "openai/m: timeout", twice("")],
    [Reflect.apply(Route.fallback, undefined, []), "fallback", "at least one route"],
    [Reflect.apply(Route.when, undefined, [() => true, a]), "when", "two routes"]
  ]

  it("each names the field and what is accepted", () => {
    for (const [route, field, accepted] of table) {
      assert.deepStrictEqual(Route.problems(route)[0], { field, accepted }, `${field}, ${accepted}`)
      assert.include(
        Route.describe(route) + Route.toMermaid(route),
        field.startsWith("openai/m") ? "openai" : "INVALID"
      )
    }
  })

  it("all are listed, and the limits themselves are accepted", () => {
    const route = Route.fallback(a.pipe(Route.timeout(0)), b.pipe(Route.retry({ attempts: 0 }), Route.deadline(0)))
    assert.deepStrictEqual(
      Route.problems(route).map(({ field }) => field),
      ["timeout", "deadline", "retry.attempts"]
    )
    const fine = Route.fallback(
      a.pipe(Route.retry({ attempts: 1, delay: 0, maxDelay: 0, jitter: 1 }), Route.timeout(1), Route.deadline(1)),
      b.pipe(Route.retry({ attempts: 100, delay: 200, maxDelay: 200, jitter: 0, on: [] }), Route.fallbackOn([])),
      leafOf("mistral").pipe(Route.options({ retries: { attempts: 1 } }), Route.retry({ attempts: 2 }))
    )
    assert.deepStrictEqual(Route.problems(fine), [])
  })
})

const drawn = Route.fallback(
  a.pipe(
    Route.retry({ attempts: 3, delay: "100 millis", jitter: 0.5, retryAfter: false, on: ["RateLimited", "Timeout"] })
  ),
  Route.when({
    label: "long prompt",
    predicate: ({ prompt }: Input) => prompt.length > 9,
    onTrue: b.pipe(Route.retry(Schedule.recurs(2)), Route.deadline("3 seconds")),
    onFalse: leafOf("mistral", { key: "small" })
  })
).pipe(
  Route.timeout("2 seconds"),
  Route.fallbackOn(["RateLimited"]),
  Route.deadline("20 seconds"),
  Route.cache({ ttl: "1 hour" }),
  Route.metadata({ team: "support" })
)

describe("describe and toMermaid", () => {
  it("print a route", () => {
    assert.strictEqual(Route.describe(a), "openai m (chat/completions)")
    assert.strictEqual(
      Route.describe(drawn),
      `options metadata={"team":"support"}
  options cache-ttl=3600, skip-cache=false
    deadline 20s
      fall back on RateLimited
        timeout 2s until the first byte of each attempt
          fallback
            retry 3 attempts, exponential from 100ms up to 5s, jitter 0.5, ignoring hints, on RateLimited, Timeout
              openai m (chat/completions)
            when long prompt
              deadline 3s
                retry by a schedule
                  groq m (chat/completions)
            otherwise
              mistral m (chat/completions)`
    )
    const odd = a.pipe(
      Route.fallbackOn([]),
      Route.fallbackOn(() => true),
      Route.retry({ attempts: 2, on: [] }),
      Route.timeout(0)
    )
    assert.strictEqual(
      Route.describe(odd),
      `INVALID timeout: expected 1 millisecond or more, finite, in whole milliseconds
  retry 2 attempts, exponential from 200ms up to 5s, on nothing
    fall back on a function
      fall back on nothing
        openai m (chat/completions)`
    )
  })

  it("draw a route", () => {
    assert.strictEqual(
      Route.toMermaid(a),
      `flowchart TD
  request(["request"])
  answer(["answer"])
  failure(["failure"])
  n1["openai/m"]
  request --> n1
  n1 --> answer
  n1 -.-> failure`
    )
    assert.strictEqual(
      Route.toMermaid(drawn),
      `flowchart TD
  request(["request"])
  answer(["answer"])
  failure(["failure"])
  subgraph n1["deadline 20s"]
    n2{"long prompt"}
    subgraph n3["deadline 3s"]
      n4["groq/m<br/>retried by a schedule<br/>first byte within 2s"]
    end
    n5["small<br/>first byte within 2s"]
    n6["openai/m<br/>up to 3 attempts<br/>first byte within 2s"]
  end
  request --> n6
  n4 --> answer
  n4 -.-> failure
  n2 -- yes --> n4
  n5 --> answer
  n5 -.-> failure
  n2 -- no --> n5
  n6 --> answer
  n6 -.-> n2`
    )
    assert.strictEqual(
      Route.toMermaid(Route.retry(a, { attempts: 0 }))
        .split("\n")
        .at(-1),
      "  %% INVALID retry.attempts: expected a whole number from 1 to 100"
    )
  })

  it("characters with a meaning in Mermaid are escaped", () => {
    const key = `a "b" [c] {d} (e) #f <g> & \`h\`\n%%{init: {"theme": "dark"}}%% end`
    const { boxes, nodes } = parse(Route.toMermaid(Route.deadline(leafOf("openai", { key }), "1 second")))
    assert.deepStrictEqual(nodes.get("n2"), [key.replace("\n", " ")])
    assert.deepStrictEqual(boxes.get("n2"), ["deadline 1s"])
    assert.deepStrictEqual([boxes.get("answer"), boxes.get("failure"), boxes.get("request")], [[], [], []])
  })

  it.prop(
    "every chart parses: each target is a node, every node is reached, and arrows end at declared nodes",
    {
      spec: randomSpecs({
        attempts: [1, 3],
        delays: [100],
        jitters: [0],
        timeouts: [undefined, 500],
        deadlines: [undefined, 9000],
        depth: 3,
        leaves: 6
      }),
      labels: Schema.Array(Schema.String),
      odd: oneOf("", `"`, `]`, `}`, "\r\n", "#quot;", "<br/>", "%%", "`", " --> ", "\u2028", "subgraph x", "&lt;")
    },
    ({ labels, odd, spec }) => {
      let made = 0
      const { route } = build(spec, (provider) =>
        leafOf(provider, { key: `${provider}${labels[made++] ?? ""}${odd}x` })
      )
      const text = Route.toMermaid(pipe(route, made % 2 === 0 ? Route.timeout(0) : Route.retry({ attempts: 2 })))
      const { arrows, comments, nodes } = parse(text)
      const first = new Set([...nodes.values()].map(([line]) => line))
      for (const key of Route.targets(route)) assert.isTrue(first.has(key.replace(/[\r\n\u2028\u2029]+/g, " ")), key)
      const led = new Set(arrows.map(({ to }) => to))
      for (const id of nodes.keys()) assert.strictEqual(led.has(id), id !== "request", id)
      assert.strictEqual(comments.length, made % 2 === 0 ? 1 : 0)
    },
    { arbitrary: { runs: 150, seed: 3 } }
  )

  it("show no credential, and neither does any other way of printing a route", () => {
    const secret = "sk-live-4f9a8b7c6d5e"
    const headers = {
      authorization: Redacted.make(`Bearer ${secret}`, { label: "eu" }),
      "x-api-key": Redacted.make(secret)
    }
    const route = Route.fallback(leafOf("openai", { headers }), b, leafOf("openai", { headers, key: "mine" })).pipe(
      Route.retry({ attempts: 2, retryAfter: false }),
      Route.timeout(0)
    )
    const compiled = Route.compile(leafOf("openai", { headers }), input)
    const everything = [
      Route.describe(route),
      Route.toMermaid(route),
      String(route),
      JSON.stringify(route),
      JSON.stringify([route.node, route.planned, compiled]),
      ...[route, route.node, route.planned, compiled, Route.bounds(route), Route.problems(route)].map((one) =>
        inspect(one, { depth: 20, showHidden: true, getters: true })
      )
    ].join("\n")
    assert.notInclude(everything, secret)
    assert.strictEqual(JSON.stringify(route), `{"_id":"Route","targets":["openai/m@eu","groq/m","mine"]}`)
    assert.isTrue(Result.isSuccess(compiled))
    const sent = Result.isSuccess(compiled) ? compiled.success.legs[0].headers["x-api-key"] : undefined
    assert.isTrue(Redacted.isRedacted(sent) && Redacted.value(sent) === secret)
  })
})
