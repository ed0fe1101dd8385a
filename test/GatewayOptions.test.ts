import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as GatewayOptions from "../src/GatewayOptions.ts"

const whole = (minimum: number, maximum: number) =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))
const flag = Arbitrary.schema(Schema.Boolean)
// JSON has no negative zero.
const positiveZero = (n: number): number => (n === 0 ? 0 : n)

const maybe = <A>(self: Arbitrary.Arbitrary<A>): Arbitrary.Arbitrary<A | undefined> =>
  Arbitrary.map(Arbitrary.all({ is: flag, value: self }), ({ is, value }) => (is ? value : undefined))

/** The same whole milliseconds in every form that `Duration` accepts. */
const duration = (unit: number, minimum: number, maximum: number): Arbitrary.Arbitrary<Duration.Input> =>
  Arbitrary.map(Arbitrary.all({ n: whole(minimum, maximum), form: whole(0, 5) }), ({ form, n }) => {
    const millis = n * unit
    const forms: ReadonlyArray<Duration.Input> = [
      millis,
      `${millis} millis`,
      BigInt(millis) * 1_000_000n,
      { milliseconds: millis },
      [Math.floor(millis / 1000), (millis % 1000) * 1_000_000],
      Duration.millis(millis)
    ]
    return forms[form] ?? millis
  })

const text = Arbitrary.map(
  Arbitrary.array(whole(0x20, 0x7e), { maxLength: 20 }),
  (codes) => `a${String.fromCharCode(...codes)}~`
)

const entry = Arbitrary.schema(
  Schema.Tuple([Schema.String, Schema.Union([Schema.String, Schema.Finite, Schema.Boolean])])
)
const metadata = Arbitrary.map(Arbitrary.array(entry, { maxLength: 5 }), (entries) =>
  Object.fromEntries(
    entries
      // V8 reads an escaped key wrongly once it has seen one with a backslash in its place (nodejs/node#63785).
      .filter(([key]) => key !== "" && !key.startsWith("cf.") && !key.includes("\\"))
      .map(([key, value]) => [key, typeof value === "number" ? positiveZero(value) : value])
  )
)

const cost = Arbitrary.map(Arbitrary.schema(Schema.Finite), (n) => positiveZero(Math.abs(n)))

const input: Arbitrary.Arbitrary<GatewayOptions.Input> = Arbitrary.all({
  cache: maybe(
    Arbitrary.map(
      Arbitrary.all({
        ttl: maybe(duration(1000, 60, 2_592_000)),
        off: flag,
        key: maybe(text),
        skip: maybe(flag)
      }),
      ({ key, off, skip, ttl }) => (off ? { ttl: "off" as const, key, skip: skip || undefined } : { ttl, key, skip })
    )
  ),
  metadata: maybe(metadata),
  log: maybe(Arbitrary.all({ collect: maybe(flag), payload: maybe(flag) })),
  eventId: maybe(text),
  timeout: maybe(duration(1, 1, 10_000_000)),
  retries: maybe(
    Arbitrary.all({
      attempts: maybe(whole(1, 5)),
      delay: maybe(duration(1, 0, 5000)),
      backoff: maybe(Arbitrary.schema(Schema.Literals(GatewayOptions.backoffs)))
    })
  ),
  byokAlias: maybe(text),
  zeroDataRetention: maybe(flag),
  noWholesale: maybe(flag),
  customCost: maybe(
    Arbitrary.all({
      totalCost: cost,
      perTokenIn: maybe(cost),
      perTokenOut: maybe(cost),
      perCacheReadToken: maybe(cost),
      perCacheWriteToken: maybe(cost)
    })
  )
})

/** The options as the AI Gateway class of the binding sends them (protocol 1.7). */
const bindingHeaders = ({ extraHeaders, gateway }: GatewayOptions.BindingOptions): Record<string, string> => {
  const out: Record<string, string> = {}
  const set = (name: string, value: string | number | boolean): void => {
    out[name] = String(value)
  }
  if (gateway.skipCache !== undefined) set("cf-aig-skip-cache", gateway.skipCache)
  if (gateway.cacheTtl) set("cf-aig-cache-ttl", gateway.cacheTtl)
  if (gateway.cacheKey) set("cf-aig-cache-key", gateway.cacheKey)
  if (gateway.metadata) set("cf-aig-metadata", JSON.stringify(gateway.metadata))
  if (gateway.collectLog !== undefined) set("cf-aig-collect-log", gateway.collectLog)
  if (gateway.eventId !== undefined) set("cf-aig-event-id", gateway.eventId)
  if (gateway.requestTimeoutMs !== undefined) set("cf-aig-request-timeout", gateway.requestTimeoutMs)
  if (gateway.retries?.maxAttempts !== undefined) set("cf-aig-max-attempts", gateway.retries.maxAttempts)
  if (gateway.retries?.retryDelayMs !== undefined) set("cf-aig-retry-delay", gateway.retries.retryDelayMs)
  if (gateway.retries?.backoff !== undefined) set("cf-aig-backoff", gateway.retries.backoff)
  return { ...out, ...extraHeaders }
}

const throughJson = <A>(value: A): A => JSON.parse(JSON.stringify(value))

const failureOf = <A>(self: Effect.Effect<A, unknown>) => Effect.map(Effect.flip(self), (error) => String(error))

/** Every leaf with its path; a custom cost counts as one value. */
const leaves = (options: GatewayOptions.GatewayOptions): ReadonlyMap<string, unknown> => {
  const out = new Map<string, unknown>()
  for (const [name, value] of Object.entries(options)) {
    if (["cache", "metadata", "log", "retries"].includes(name)) {
      for (const [key, leaf] of Object.entries(value)) out.set(`${name}.${key}`, leaf)
    } else {
      out.set(name, value)
    }
  }
  return out
}

describe("encodings", () => {
  it.effect.prop("headers: decode what was encoded", { input }, ({ input }) =>
    Effect.gen(function* () {
      const options = yield* GatewayOptions.make(input)
      assert.deepStrictEqual(yield* GatewayOptions.fromHeaders(GatewayOptions.toHeaders(options)), options)
    })
  )

  it.effect.prop("binding: decode what was encoded", { input }, ({ input }) =>
    Effect.gen(function* () {
      const options = yield* GatewayOptions.make(input)
      const wire = throughJson(GatewayOptions.toBinding(options))
      assert.deepStrictEqual(yield* GatewayOptions.fromBinding(wire), options)
    })
  )

  it.effect.prop("leg: decode what was encoded", { input }, ({ input }) =>
    Effect.gen(function* () {
      const options = yield* GatewayOptions.make(input)
      const wire = throughJson(GatewayOptions.toLeg(options))
      assert.deepStrictEqual(yield* GatewayOptions.fromLeg(wire), options)
      assert.isUndefined(wire.headers["cf-aig-request-timeout"])
      assert.isUndefined(wire.headers["cf-aig-max-attempts"])
    })
  )

  it.prop("the gateway sees the same headers over the binding as over HTTP", { input }, ({ input }) => {
    const options = GatewayOptions.normalize(input)
    assert.deepStrictEqual(bindingHeaders(GatewayOptions.toBinding(options)), GatewayOptions.toHeaders(options))
  })

  it.prop("headers are lower case, printable ASCII and unchanged by a runtime's Headers", { input }, ({ input }) => {
    const headers = GatewayOptions.toHeaders(GatewayOptions.normalize(input))
    const carried = new Headers(headers)
    for (const [name, value] of Object.entries(headers)) {
      assert.match(name, /^cf-aig-[a-z-]+$/)
      assert.match(value, /^[\x20-\x7e]+$/)
      assert.strictEqual(carried.get(name), value)
    }
  })

  it.prop("metadata is ASCII JSON that parses back", { metadata }, ({ metadata }) => {
    const header = GatewayOptions.toHeaders({ metadata })["cf-aig-metadata"] ?? ""
    assert.match(header, /^[\x20-\x7e]+$/)
    assert.deepStrictEqual(Object.entries(JSON.parse(header)), Object.entries(metadata))
  })

  it.effect("keys that objects treat specially survive", () =>
    Effect.gen(function* () {
      const metadata = Object.fromEntries([
        ["__proto__", "a"],
        ["constructor", true],
        ["toString", 0],
        ["\u007f é \n\ud800", "日本 😀"]
      ])
      const options = yield* GatewayOptions.make({ metadata })
      const entries = (decoded: GatewayOptions.GatewayOptions) => Object.entries(decoded.metadata ?? {})
      const expected = Object.entries(metadata)
      assert.deepStrictEqual(entries(options), expected)
      assert.match(GatewayOptions.toHeaders(options)["cf-aig-metadata"] ?? "", /^[\x20-\x7e]+$/)
      assert.deepStrictEqual(entries(yield* GatewayOptions.fromHeaders(GatewayOptions.toHeaders(options))), expected)
      assert.deepStrictEqual(entries(yield* GatewayOptions.fromBinding(GatewayOptions.toBinding(options))), expected)
      assert.deepStrictEqual(entries(yield* GatewayOptions.fromLeg(GatewayOptions.toLeg(options))), expected)
    })
  )

  it.effect("names and units are those of the documentation", () =>
    Effect.gen(function* () {
      const options = yield* GatewayOptions.make({
        cache: { ttl: "1 hour", key: "k" },
        metadata: { team: "é", n: 1, ok: true },
        log: { collect: true, payload: false },
        eventId: "e-1",
        timeout: "2 seconds",
        retries: { attempts: 3, delay: "500 millis", backoff: "linear" },
        byokAlias: "prod",
        zeroDataRetention: true,
        noWholesale: true,
        customCost: { perTokenIn: 0.1, perCacheReadToken: 0.2, totalCost: 1 }
      })
      const rest = {
        "cf-aig-collect-log-payload": "false",
        "cf-aig-byok-alias": "prod",
        "cf-aig-zdr": "true",
        "cf-aig-no-wholesale": "true",
        "cf-aig-custom-cost": `{"per_token_in":0.1,"per_cache_read_token":0.2,"total_cost":1}`,
        "cf-aig-metadata": `{"team":"\\u00e9","n":1,"ok":true}`
      }
      const shared = {
        ...rest,
        "cf-aig-cache-ttl": "3600",
        "cf-aig-cache-key": "k",
        "cf-aig-skip-cache": "false",
        "cf-aig-collect-log": "true",
        "cf-aig-event-id": "e-1"
      }
      assert.deepStrictEqual(GatewayOptions.toHeaders(options), {
        ...shared,
        "cf-aig-request-timeout": "2000",
        "cf-aig-max-attempts": "3",
        "cf-aig-retry-delay": "500",
        "cf-aig-backoff": "linear"
      })
      assert.deepStrictEqual(GatewayOptions.toLeg(options), {
        config: { requestTimeout: 2000, maxAttempts: 3, retryDelay: 500, backoff: "linear" },
        headers: shared
      })
      assert.deepStrictEqual(GatewayOptions.toBinding(options), {
        gateway: {
          cacheTtl: 3600,
          cacheKey: "k",
          skipCache: false,
          metadata: { team: "é", n: 1, ok: true },
          collectLog: true,
          eventId: "e-1",
          requestTimeoutMs: 2000,
          retries: { maxAttempts: 3, retryDelayMs: 500, backoff: "linear" }
        },
        extraHeaders: rest
      })
    })
  )

  it("no options are no headers", () => {
    assert.deepStrictEqual(GatewayOptions.toHeaders(GatewayOptions.empty), {})
    assert.deepStrictEqual(GatewayOptions.toBinding(GatewayOptions.empty), { gateway: {}, extraHeaders: {} })
    assert.deepStrictEqual(GatewayOptions.toLeg(GatewayOptions.empty), { config: {}, headers: {} })
  })

  it.effect("`off` skips the cache instead of sending a life time of 0, which the binding drops", () =>
    Effect.gen(function* () {
      const options = yield* GatewayOptions.make({ cache: { ttl: "off" } })
      assert.deepStrictEqual(GatewayOptions.toHeaders(options), { "cf-aig-skip-cache": "true" })
      assert.deepStrictEqual(GatewayOptions.toBinding(options).gateway, { skipCache: true })
    })
  )
})

describe("decoding headers of others", () => {
  const cases: ReadonlyArray<readonly [headers: Record<string, string>, options: GatewayOptions.GatewayOptions]> = [
    [{ "cf-aig-cache-ttl": "0" }, { cache: { skip: true } }],
    [{ "cf-cache-ttl": "60" }, { cache: { ttl: Duration.seconds(60), skip: false } }],
    [{ "cf-skip-cache": "true" }, { cache: { skip: true } }],
    [
      { "cf-aig-cache-ttl": "120", "cf-cache-ttl": "60", "cf-aig-skip-cache": "false", "cf-skip-cache": "true" },
      { cache: { ttl: Duration.seconds(120), skip: false } }
    ],
    [{ "content-type": "text/plain", "x-mine": "\r" }, {}],
    [{ "cf-aig-metadata": "{}" }, {}],
    [{ "cf-aig-metadata": `{"a":"é"}` }, { metadata: { a: "é" } }]
  ]
  for (const [headers, options] of cases) {
    it.effect(`accept ${JSON.stringify(headers)}`, () =>
      Effect.map(GatewayOptions.fromHeaders(headers), (decoded) => assert.deepStrictEqual(decoded, options))
    )
  }

  const bad: ReadonlyArray<readonly [header: string, value: string, field: string]> = [
    ["cf-aig-cache-ttl", "abc", "cf-aig-cache-ttl"],
    ["cf-aig-cache-ttl", "-1", "cf-aig-cache-ttl"],
    ["cf-aig-cache-ttl", "6e3", "cf-aig-cache-ttl"],
    ["cf-aig-cache-ttl", "", "cf-aig-cache-ttl"],
    ["cf-aig-cache-ttl", "59", "cache.ttl"],
    ["cf-aig-cache-ttl", "60.5", "cache.ttl"],
    ["cf-aig-cache-ttl", "9".repeat(400), "cache.ttl"],
    ["cf-cache-ttl", "never", "cf-cache-ttl"],
    ["cf-aig-skip-cache", "yes", "cf-aig-skip-cache"],
    ["cf-aig-collect-log", "1", "cf-aig-collect-log"],
    ["cf-aig-metadata", "not json", "cf-aig-metadata"],
    ["cf-aig-metadata", "[1]", "cf-aig-metadata"],
    ["cf-aig-metadata", `{"a":{"b":1}}`, "cf-aig-metadata"],
    ["cf-aig-metadata", `{"a":null}`, "cf-aig-metadata"],
    ["cf-aig-metadata", `{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}`, "metadata"],
    ["cf-aig-request-timeout", "soon", "cf-aig-request-timeout"],
    ["cf-aig-request-timeout", "0", "timeout"],
    ["cf-aig-max-attempts", "6", "retries.attempts"],
    ["cf-aig-retry-delay", "5001", "retries.delay"],
    ["cf-aig-backoff", "random", "cf-aig-backoff"],
    ["cf-aig-event-id", "a\tb", "eventId"],
    ["cf-aig-custom-cost", `{"per_token":1}`, "cf-aig-custom-cost"],
    ["cf-aig-custom-cost", `{"per_token_in":"1"}`, "cf-aig-custom-cost"],
    ["cf-aig-custom-cost", "{}", "customCost"]
  ]
  for (const [header, value, field] of bad) {
    it.effect(`refuse ${header}: ${value.slice(0, 30)}`, () =>
      Effect.gen(function* () {
        const message = yield* failureOf(GatewayOptions.fromHeaders({ [header]: value }))
        assert.include(message, `GatewayOptions.fromHeaders: invalid ${field}: expected`)
      })
    )
  }

  it.effect("the config of a leg beats its headers, field by field", () =>
    Effect.gen(function* () {
      const decoded = yield* GatewayOptions.fromLeg({
        config: { maxAttempts: 2 },
        headers: { "cf-aig-max-attempts": "5", "cf-aig-backoff": "linear", "cf-aig-request-timeout": "10" }
      })
      assert.deepStrictEqual(decoded, {
        retries: { attempts: 2, backoff: "linear" },
        timeout: Duration.millis(10)
      })
    })
  )

  it.effect("the other decoders name their fields too", () =>
    Effect.gen(function* () {
      const leg = yield* failureOf(GatewayOptions.fromLeg({ config: { retryDelay: 6000 }, headers: {} }))
      assert.include(leg, "GatewayOptions.fromLeg: invalid retries.delay: expected 0 to 5 seconds")
      const binding = yield* failureOf(
        GatewayOptions.fromBinding({ gateway: { cacheTtl: 5 }, extraHeaders: { "cf-aig-zdr": "?" } })
      )
      assert.include(binding, "GatewayOptions.fromBinding: invalid cf-aig-zdr: expected true or false")
    })
  )
})

describe("make", () => {
  it.effect.prop("is idempotent and leaves the caller's objects alone", { input }, ({ input }) =>
    Effect.gen(function* () {
      for (const value of Object.values(input)) Object.freeze(value)
      Object.freeze(input)
      const options = yield* GatewayOptions.make(input)
      assert.deepStrictEqual(yield* GatewayOptions.make(options), options)
      if (options.metadata !== undefined) assert.notStrictEqual(options.metadata, input.metadata)
    })
  )

  it.effect("equal options have one form", () =>
    Effect.gen(function* () {
      const one = yield* GatewayOptions.make({ cache: { ttl: "1 minute" }, metadata: {}, log: {}, retries: {} })
      const other = yield* GatewayOptions.make({ cache: { ttl: 60_000_000_000n, skip: false } })
      assert.deepStrictEqual(one, other)
    })
  )

  const bounds: ReadonlyArray<GatewayOptions.Input> = [
    {},
    { cache: { ttl: "60 seconds" } },
    { cache: { ttl: "30 days" } },
    { cache: { ttl: "off", skip: true } },
    { cache: { ttl: "1 hour", skip: true } },
    { timeout: 1 },
    { retries: { attempts: 1, delay: 0 } },
    { retries: { attempts: 5, delay: "5 seconds" } },
    { metadata: { a: 1, b: "", c: false, d: -1.5, "cf-e": "x".repeat(600) } },
    { eventId: "a b" },
    { customCost: { totalCost: 0 } }
  ]
  for (const input of bounds) {
    it(`accepts ${JSON.stringify(input).slice(0, 60)}`, () => {
      assert.deepStrictEqual(GatewayOptions.problems(input), [])
    })
  }
})

describe("problems", () => {
  // Types keep most of these out; JSON does not, so they come in as JSON. `"1n"` stands for a bigint.
  const json = (text: string): GatewayOptions.Input => JSON.parse(text, (_, value) => (value === "1n" ? 1n : value))

  const bad: ReadonlyArray<readonly [name: string, input: GatewayOptions.Input, field: string]> = [
    ["a life time of 59 seconds", { cache: { ttl: "59 seconds" } }, "cache.ttl"],
    ["a life time of 31 days", { cache: { ttl: "31 days" } }, "cache.ttl"],
    ["a life time of 60 seconds and a half", { cache: { ttl: "60500 millis" } }, "cache.ttl"],
    ["a life time of 1500 ms", { cache: { ttl: 1500 } }, "cache.ttl"],
    ["a life time of 0", { cache: { ttl: 0 } }, "cache.ttl"],
    ["a negative life time", { cache: { ttl: -60_000 } }, "cache.ttl"],
    ["a life time of NaN", { cache: { ttl: Number.NaN } }, "cache.ttl"],
    ["an infinite life time", { cache: { ttl: Duration.infinity } }, "cache.ttl"],
    ["a life time of nonsense", json(`{"cache":{"ttl":"nonsense"}}`), "cache.ttl"],
    ["a life time of null", json(`{"cache":{"ttl":null}}`), "cache.ttl"],
    ["`off` with reading", { cache: { ttl: "off", skip: false } }, "cache.skip"],
    ["a flag that is a text", json(`{"cache":{"skip":"false"}}`), "cache.skip"],
    ["a field that does not exist", json(`{"cache":{"TTL":60000}}`), "cache.TTL"],
    ["an option that does not exist", json(`{"cacheTtl":60}`), "options.cacheTtl"],
    ["options that are null", json("null"), "options"],
    ["options that are a text", json(`"1 hour"`), "options"],
    ["options that are a list", json(`[{"eventId":"e"}]`), "options"],
    ["no object", json(`{"cache":null}`), "cache"],
    ["an empty cache key", { cache: { key: "" } }, "cache.key"],
    ["a cache key with CR and LF", { cache: { key: "a\r\nx-evil: 1" } }, "cache.key"],
    ["a cache key with a tab", { cache: { key: "a\tb" } }, "cache.key"],
    ["a cache key in Unicode", { cache: { key: "schlüssel" } }, "cache.key"],
    ["an event id with a line feed", { eventId: "a\nb" }, "eventId"],
    ["an event id with a tab", { eventId: "a\tb" }, "eventId"],
    ["an event id in Unicode", { eventId: "é" }, "eventId"],
    ["an event id with a leading space", { eventId: " a" }, "eventId"],
    ["an event id with a trailing space", { eventId: "a " }, "eventId"],
    ["an event id with DEL", { eventId: "a\u007f" }, "eventId"],
    ["an event id that is a number", json(`{"eventId":7}`), "eventId"],
    ["an alias with CR", { byokAlias: "a\rb" }, "byokAlias"],
    ["an empty alias", { byokAlias: "" }, "byokAlias"],
    ["six entries", { metadata: { a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 } }, "metadata"],
    ["metadata that is a list", json(`{"metadata":["a"]}`), "metadata"],
    ["metadata that is null", json(`{"metadata":null}`), "metadata"],
    ["a nested value", json(`{"metadata":{"a":{"b":1}}}`), "metadata.a"],
    ["a list as a value", json(`{"metadata":{"a":[1]}}`), "metadata.a"],
    ["a bigint", json(`{"metadata":{"a":"1n"}}`), "metadata.a"],
    ["null as a value", json(`{"metadata":{"a":null}}`), "metadata.a"],
    ["NaN as a value", { metadata: { a: Number.NaN } }, "metadata.a"],
    ["Infinity as a value", { metadata: { a: Number.POSITIVE_INFINITY } }, "metadata.a"],
    ["a reserved key", { metadata: { "cf.x": 1 } }, `metadata key "cf.x"`],
    ["an empty key", { metadata: { "": 1 } }, `metadata key ""`],
    ["a collect flag of 1", json(`{"log":{"collect":1}}`), "log.collect"],
    ["a payload flag of null", json(`{"log":{"payload":null}}`), "log.payload"],
    ["a log that is a text", json(`{"log":"off"}`), "log"],
    ["a timeout of 0", { timeout: 0 }, "timeout"],
    ["a negative timeout", { timeout: "-1 millis" }, "timeout"],
    ["half a millisecond", { timeout: "1.5 millis" }, "timeout"],
    ["no timeout", { timeout: "Infinity" }, "timeout"],
    ["a timeout of NaN", { timeout: Number.NaN }, "timeout"],
    ["0 attempts", { retries: { attempts: 0 } }, "retries.attempts"],
    ["6 attempts", { retries: { attempts: 6 } }, "retries.attempts"],
    ["1.5 attempts", { retries: { attempts: 1.5 } }, "retries.attempts"],
    ["NaN attempts", { retries: { attempts: Number.NaN } }, "retries.attempts"],
    ["attempts as a text", json(`{"retries":{"attempts":"3"}}`), "retries.attempts"],
    ["a delay of 5001 ms", { retries: { delay: 5001 } }, "retries.delay"],
    ["a negative delay", { retries: { delay: -1 } }, "retries.delay"],
    ["a delay of NaN, which `Duration` reads as 0", { retries: { delay: Number.NaN } }, "retries.delay"],
    ["a delay of NaN inside", { retries: { delay: { seconds: Number.NaN } } }, "retries.delay"],
    ["a delay in the JSON of a Duration", json(`{"retries":{"delay":{"_id":"Duration","millis":5}}}`), "retries.delay"],
    ["a delay without content", json(`{"retries":{"delay":{}}}`), "retries.delay"],
    ["another back-off", json(`{"retries":{"backoff":"jitter"}}`), "retries.backoff"],
    ["retries as a number", json(`{"retries":3}`), "retries"],
    ["a flag as a text", json(`{"zeroDataRetention":"true"}`), "zeroDataRetention"],
    ["a flag as a number", json(`{"noWholesale":0}`), "noWholesale"],
    ["no cost", { customCost: {} }, "customCost"],
    ["a negative cost", { customCost: { perTokenIn: -1 } }, "customCost.perTokenIn"],
    ["an infinite cost", { customCost: { totalCost: Number.POSITIVE_INFINITY } }, "customCost.totalCost"],
    ["a cost of null", json(`{"customCost":{"totalCost":null}}`), "customCost.totalCost"],
    ["an unknown cost", json(`{"customCost":{"totalCost":1,"per_token_in":1}}`), "customCost.per_token_in"]
  ]
  for (const [name, input, field] of bad) {
    it.effect(`name the field: ${name}`, () =>
      Effect.gen(function* () {
        const problems = GatewayOptions.problems(input)
        assert.deepStrictEqual(
          problems.map((problem) => problem.field),
          [field]
        )
        const error = yield* Effect.flip(GatewayOptions.make(input))
        const accepted = problems[0]?.accepted ?? ""
        assert.isAbove(accepted.length, 3)
        assert.deepInclude({ ...error.reason }, { _tag: "InvalidRequest", origin: "client", field, accepted })
        assert.strictEqual(error.message, `GatewayOptions.make: invalid ${field}: expected ${accepted}`)
      })
    )
  }

  it("are complete", () => {
    const input: GatewayOptions.Input = { eventId: " ", timeout: 0, retries: { attempts: 9, delay: -1 } }
    assert.deepStrictEqual(
      GatewayOptions.problems(input).map(({ field }) => field),
      ["eventId", "timeout", "retries.attempts", "retries.delay"]
    )
  })

  it("print no value", () => {
    const secret = "sk-\r\nsecret"
    const input: GatewayOptions.Input = { cache: { key: secret }, eventId: secret, byokAlias: secret }
    assert.notInclude(JSON.stringify(GatewayOptions.problems(input)), "secret")
  })
})

describe("merge", () => {
  const options = Arbitrary.map(input, GatewayOptions.normalize)

  it.prop("lets the inner side win, field by field", { outer: options, inner: options }, ({ inner, outer }) => {
    const merged = leaves(GatewayOptions.merge(outer, inner))
    const expected = new Map([...leaves(outer), ...leaves(inner)])
    assert.deepStrictEqual([...merged].sort(), [...expected].sort())
  })

  it.prop("is associative", { a: options, b: options, c: options }, ({ a, b, c }) => {
    const left = GatewayOptions.merge(GatewayOptions.merge(a, b), c)
    const right = GatewayOptions.merge(a, GatewayOptions.merge(b, c))
    assert.deepStrictEqual(left, right)
    assert.deepStrictEqual(GatewayOptions.toHeaders(left), GatewayOptions.toHeaders(right))
  })

  it.prop("empty is neutral", { options }, ({ options }) => {
    assert.deepStrictEqual(GatewayOptions.merge(GatewayOptions.empty, options), options)
    assert.deepStrictEqual(GatewayOptions.merge(options, GatewayOptions.empty), options)
  })

  it("switches caching off and on again", () => {
    const hour = GatewayOptions.normalize({ cache: { ttl: "1 hour" } })
    const off = GatewayOptions.normalize({ cache: { ttl: "off" } })
    assert.deepStrictEqual(GatewayOptions.merge(hour, off).cache?.skip, true)
    assert.deepStrictEqual(GatewayOptions.merge(off, hour), hour)
  })

  it.effect("can make too many entries, which validation finds", () =>
    Effect.gen(function* () {
      const merged = GatewayOptions.merge({ metadata: { a: 1, b: 2, c: 3 } }, { metadata: { d: 4, e: 5, f: 6 } })
      assert.include(yield* failureOf(GatewayOptions.make(merged)), "at most 5 entries (got 6)")
    })
  )
})
