import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as ErrorSchema from "effect-ai-gateway/ErrorSchema"
import * as GatewayError from "effect-ai-gateway/GatewayError"

const Stored = Schema.fromJsonString(ErrorSchema.GatewayError)
const Text = Schema.optionalKey(Schema.String)
const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000_000 }))
const Wait = Schema.Duration.annotate({
  toCodecArbitrary: () => Schema.link<Duration.Duration>()(Count, SchemaTransformation.durationFromMillis)
})
const Cost = Schema.Struct({ usd: Count, estimatedUsd: Count, unpriced: Count })
const facts = { status: Schema.optionalKey(Count), code: Text, detail: Text }
const origin = Schema.Literals(["client", "gateway", "api", "provider"])
const retryAfter = Schema.optionalKey(Wait)

/** Instances of a class, from its fields as they are in memory. */
const of = <Props, Self>(Class: new (props: Props) => Self, fields: Schema.Codec<Props>): Arbitrary.Arbitrary<Self> =>
  Arbitrary.map(Arbitrary.schema(fields), (props) => new Class(props))

/** Written here a second time; a reason without a line does not compile. */
const reasons: { readonly [T in GatewayError.ReasonTag]: Arbitrary.Arbitrary<GatewayError.Reason & { _tag: T }> } = {
  TransportFailure: of(
    GatewayError.TransportFailure,
    Schema.Struct({ ...facts, kind: Schema.Literals(["connect", "reset", "stale", "unknown"]) })
  ),
  Timeout: of(
    GatewayError.Timeout,
    Schema.Struct({
      ...facts,
      phase: Schema.Literals(["firstByte", "idle", "deadline", "upstream"]),
      limit: retryAfter
    })
  ),
  RateLimited: of(GatewayError.RateLimited, Schema.Struct({ ...facts, origin, retryAfter })),
  QuotaExhausted: of(
    GatewayError.QuotaExhausted,
    Schema.Struct({ ...facts, kind: Schema.Literals(["spend", "credits", "allocation"]), origin, retryAfter })
  ),
  Unauthorized: of(GatewayError.Unauthorized, Schema.Struct({ ...facts, origin })),
  InvalidRequest: of(GatewayError.InvalidRequest, Schema.Struct({ ...facts, origin, field: Text, accepted: Text })),
  ContextLengthExceeded: of(GatewayError.ContextLengthExceeded, Schema.Struct({ ...facts })),
  ContentBlocked: of(
    GatewayError.ContentBlocked,
    Schema.Struct({
      ...facts,
      by: Schema.Literals(["guardrail", "dlp", "provider"]),
      subject: Schema.Literals(["prompt", "response", "unknown"])
    })
  ),
  NotFound: of(
    GatewayError.NotFound,
    Schema.Struct({ ...facts, what: Schema.Literals(["gateway", "model", "log", "route", "run", "endpoint"]) })
  ),
  ProviderUnavailable: of(GatewayError.ProviderUnavailable, Schema.Struct({ ...facts, origin, retryAfter })),
  InvalidResponse: of(GatewayError.InvalidResponse, Schema.Struct({ ...facts, issue: Text })),
  Unsupported: of(GatewayError.Unsupported, Schema.Struct({ ...facts, field: Schema.String, accepted: Schema.String })),
  StreamInterrupted: of(GatewayError.StreamInterrupted, Schema.Struct({ ...facts, events: Count })),
  Rejected: of(
    GatewayError.Rejected,
    Schema.Struct({ ...facts, by: Schema.Literals(["limiter", "breaker", "budget", "cost"]), retryAfter })
  ),
  BindingMissing: of(GatewayError.BindingMissing, Schema.Struct({ ...facts, member: Schema.String })),
  Unknown: of(GatewayError.Unknown, Schema.Struct({ ...facts }))
}

const attemptOf = (reason: Arbitrary.Arbitrary<GatewayError.Reason>): Arbitrary.Arbitrary<GatewayError.Attempt> =>
  Arbitrary.map(
    Arbitrary.all({
      reason,
      failed: Arbitrary.schema(Schema.Boolean),
      rest: Arbitrary.schema(
        Schema.Struct({
          target: Schema.String,
          provider: Schema.String,
          model: Text,
          endpoint: Schema.String,
          logId: Text,
          eventId: Text,
          step: Schema.optionalKey(Count),
          cacheStatus: Text,
          status: Schema.optionalKey(Count),
          outcome: Schema.Literals(["success", "failure", "interrupted"]),
          startedAt: Count,
          duration: Wait,
          resent: Schema.optionalKey(Schema.Boolean),
          superseded: Schema.optionalKey(Schema.Boolean),
          usage: Schema.optionalKey(
            Schema.Struct({ inputTokens: Schema.optionalKey(Count), reasoningTokens: Schema.optionalKey(Count) })
          ),
          cost: Schema.optionalKey(Cost)
        })
      )
    }),
    ({ failed, reason, rest: { cost, usage, ...rest } }) => ({
      ...rest,
      // Arbitrary objects may have no prototype.
      ...(usage === undefined ? {} : { usage: { ...usage } }),
      ...(cost === undefined ? {} : { cost: { ...cost } }),
      ...(failed ? { error: reason } : {})
    })
  )

const errorOf = (reason: Arbitrary.Arbitrary<GatewayError.Reason>): Arbitrary.Arbitrary<GatewayError.GatewayError> =>
  Arbitrary.map(
    Arbitrary.all({
      reason,
      attempts: Arbitrary.array(attemptOf(reason), { maxLength: 3 }),
      ended: Arbitrary.schema(Schema.Literals(["stop", "attempts", "deadline", "budget", "open"])),
      skipped: Arbitrary.array(
        Arbitrary.map(reason, (one) => ({ target: "a", reason: one })),
        { maxLength: 2 }
      ),
      rest: Arbitrary.schema(
        Schema.Struct({
          method: Schema.String,
          provider: Text,
          model: Text,
          logId: Text,
          eventId: Text,
          step: Schema.optionalKey(Count)
        })
      )
    }),
    // An error outside of a router knows of no run.
    ({ attempts, ended, reason, rest, skipped }) =>
      new GatewayError.GatewayError({ ...rest, reason, ...(attempts.length === 0 ? {} : { attempts, ended, skipped }) })
  )

/** The fields of a value and of all in it, each object with its class, as the assertion does not look into errors. */
const open = (value: unknown): unknown =>
  Duration.isDuration(value)
    ? { millis: Duration.toMillis(value) }
    : Array.isArray(value)
      ? value.map(open)
      : typeof value === "object" && value !== null
        ? {
            class: Object.getPrototypeOf(value),
            fields: Object.entries(value)
              .map(([key, field]) => [key, open(field)])
              .sort()
          }
        : value

/** The stored form by the rule that the documentation gives. */
const plain = (value: unknown): unknown =>
  Duration.isDuration(value)
    ? Duration.toMillis(value)
    : Array.isArray(value)
      ? value.map(plain)
      : typeof value === "object" && value !== null
        ? Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)]))
        : value

const rateLimited = new GatewayError.GatewayError({
  method: "Router.run",
  reason: new GatewayError.RateLimited({ origin: "provider", status: 429, retryAfter: Duration.millis(1500) }),
  provider: "openai",
  model: "gpt-4.1-mini",
  attempts: [
    {
      target: "openai/gpt-4.1-mini",
      provider: "openai",
      endpoint: "chat/completions",
      outcome: "failure",
      startedAt: 1_700_000_000_000,
      duration: Duration.seconds(2),
      error: new GatewayError.Unknown({ status: 418 })
    }
  ]
})

const stored = {
  _tag: "GatewayError",
  method: "Router.run",
  reason: { _tag: "RateLimited", origin: "provider", status: 429, retryAfter: 1500 },
  provider: "openai",
  model: "gpt-4.1-mini",
  attempts: [
    {
      target: "openai/gpt-4.1-mini",
      provider: "openai",
      endpoint: "chat/completions",
      outcome: "failure",
      startedAt: 1_700_000_000_000,
      duration: 2000,
      error: { _tag: "Unknown", status: 418 }
    }
  ]
}

describe("GatewayError", () => {
  for (const [tag, reason] of Object.entries(reasons)) {
    it.prop(`comes back as it was: ${tag}`, { error: errorOf(reason) }, ({ error }) => {
      const line = Schema.encodeSync(Stored)(error)
      assert.deepStrictEqual(JSON.parse(line), plain(error))
      const back = Schema.decodeSync(Stored)(line)
      assert.deepStrictEqual(open(back), open(error))
      assert.strictEqual(back.message, error.message)
    })
  }

  it("is stored as plain JSON, also through codecs that are derived from it", () => {
    const { GatewayError } = ErrorSchema
    for (const codec of [
      GatewayError,
      Schema.toCodecJson(GatewayError),
      Schema.toCodecJson(Schema.toType(GatewayError))
    ]) {
      assert.deepStrictEqual<unknown>(Schema.encodeSync(codec)(rateLimited), stored)
      assert.deepStrictEqual(open(Schema.decodeUnknownSync(codec)(stored)), open(rateLimited))
    }
  })

  it("can be the error of an Exit, as RPC and workflows send it", () => {
    const codec = Schema.toCodecJson(Schema.Exit(Schema.Void, ErrorSchema.GatewayError, Schema.Defect()))
    const sent = JSON.stringify(Schema.encodeSync(codec)(Exit.fail(rateLimited)))
    const back = Schema.decodeUnknownSync(codec)(JSON.parse(sent))
    assert.deepStrictEqual(
      Exit.findErrorOption(back).pipe(open),
      Exit.findErrorOption(Exit.fail(rateLimited)).pipe(open)
    )
  })

  it.effect("is handled by its reason after decoding", () =>
    Effect.gen(function* () {
      const error = yield* Schema.decodeUnknownEffect(ErrorSchema.GatewayError)(stored)
      const seconds = yield* Effect.fail(error).pipe(
        Effect.catchReason("GatewayError", "RateLimited", ({ retryAfter }) =>
          Effect.succeed(retryAfter === undefined ? undefined : Duration.toSeconds(retryAfter))
        )
      )
      assert.strictEqual(seconds, 1.5)
      assert.isTrue(error.isRetryable)
      assert.instanceOf(error, GatewayError.GatewayError)
      assert.include(error.stack, "GatewayError: Router.run")
      assert.instanceOf(error.reason, GatewayError.RateLimited)
      assert.instanceOf(error.attempts?.[0]?.error, GatewayError.Unknown)
    })
  )

  it("drops what a newer version wrote beside the known fields", () => {
    const newer = {
      ...stored,
      message: "another message",
      stack: "a stack",
      region: "eu",
      reason: { ...stored.reason, message: "another message", bucket: 7 },
      attempts: stored.attempts.map((attempt) => ({ ...attempt, hop: 1, error: { ...attempt.error, shard: 2 } }))
    }
    const back = Schema.decodeUnknownSync(ErrorSchema.GatewayError)(newer)
    assert.deepStrictEqual(open(back), open(rateLimited))
    assert.strictEqual(back.message, rateLimited.message)
  })

  it("takes an undefined field for an absent one", () => {
    const reason = Object.assign(new GatewayError.Unknown({}), { detail: undefined })
    const loose = Object.assign(new GatewayError.GatewayError({ method: "Router.run", reason }), {
      provider: undefined
    })
    const error = Schema.encodeSync(ErrorSchema.GatewayError)(loose)
    assert.deepStrictEqual<unknown>(error, { _tag: "GatewayError", method: "Router.run", reason: { _tag: "Unknown" } })
  })

  for (const [name, bad, at] of [
    ["no object", [], ""],
    ["another tag", { ...stored, _tag: "HttpError" }, `["_tag"]`],
    ["no method", { ...stored, method: undefined }, `["method"]`],
    ["no reason", { _tag: "GatewayError", method: "Router.run" }, `["reason"]`],
    ["a reason that is not known", { ...stored, reason: { ...stored.reason, _tag: "Haunted" } }, `["reason"]`],
    [
      "an origin that is not known",
      { ...stored, reason: { _tag: "Unauthorized", origin: "moon" } },
      `["reason"]["origin"]`
    ],
    ["a field that is missing", { ...stored, reason: { _tag: "BindingMissing" } }, `["reason"]["member"]`],
    ["a wait as text", { ...stored, reason: { ...stored.reason, retryAfter: "1.5s" } }, `["reason"]["retryAfter"]`],
    ["a status as text", { ...stored, reason: { ...stored.reason, status: "429" } }, `["reason"]["status"]`],
    [
      "an endless attempt",
      { ...stored, attempts: [{ ...stored.attempts[0], duration: null }] },
      `["attempts"][0]["duration"]`
    ],
    [
      "an error of an attempt",
      { ...stored, attempts: [...stored.attempts, { ...stored.attempts[0], error: { _tag: "Unknown", code: 1 } }] },
      `["attempts"][1]["error"]["code"]`
    ]
  ] as const) {
    it.effect(`refuses ${name}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Schema.decodeUnknownEffect(ErrorSchema.GatewayError)(bad))
        assert.isTrue(Schema.isSchemaError(error))
        assert.match(error.message, at === "" ? /^Expected object$/ : /\n {2}at \[/)
        assert.include(error.message, at === "" ? "" : `at ${at}`)
      })
    )
  }
})

describe("Reason", () => {
  for (const wait of [Duration.infinity, Duration.negativeInfinity]) {
    it(`refuses a wait of ${Duration.format(wait)}, which JSON cannot hold`, () => {
      const reason = new GatewayError.RateLimited({ origin: "api", retryAfter: wait })
      assert.throws(
        () => Schema.encodeSync(ErrorSchema.Reason)(reason),
        `Expected a finite duration\n  at ["retryAfter"]`
      )
    })
  }

  it("refuses a look-alike of a class", () => {
    const { message, name } = new GatewayError.Unknown({})
    assert.isFalse(Schema.is(ErrorSchema.Reason)({ _tag: "Unknown", message, name }))
    assert.isTrue(Schema.is(ErrorSchema.Reason)(new GatewayError.Unknown({})))
  })

  it.prop("makes test data", { reason: ErrorSchema.Reason }, ({ reason }) => {
    assert.isTrue(Schema.is(ErrorSchema.Reason)(reason))
    assert.deepStrictEqual(Schema.encodeSync(ErrorSchema.Reason)(reason)._tag, reason._tag)
  })
})

describe("Attempt", () => {
  const anyReason = Arbitrary.flatMap(
    Arbitrary.schema(Schema.Literals(GatewayError.decisions.map(({ reason }) => reason))),
    (tag): Arbitrary.Arbitrary<GatewayError.Reason> => reasons[tag]
  )

  it.prop("comes back as it was", { attempt: attemptOf(anyReason) }, ({ attempt }) => {
    const line = JSON.stringify(Schema.encodeSync(ErrorSchema.Attempt)(attempt))
    assert.deepStrictEqual(JSON.parse(line), plain(attempt))
    assert.deepStrictEqual(open(Schema.decodeUnknownSync(ErrorSchema.Attempt)(JSON.parse(line))), open(attempt))
  })

  it("keeps the sign of a duration, when the clock was set back, and fractions", () => {
    const attempt = Schema.decodeUnknownSync(ErrorSchema.Attempt)({ ...stored.attempts[0], duration: -12.5 })
    assert.strictEqual(Duration.toMillis(attempt.duration), -12.5)
    assert.strictEqual(Schema.encodeSync(ErrorSchema.Attempt)(attempt).duration, -12.5)
  })
})

/** Neither side may have a value that the other has not; unused, as only the compiler looks at it. */
type Same<A, B> = [A, B] extends [B, A] ? true : false
const types: ReadonlyArray<true> = [
  true satisfies Same<ErrorSchema.ReasonEncoded["_tag"], GatewayError.ReasonTag>,
  true satisfies Same<(typeof ErrorSchema.Reason)["Type"], GatewayError.Reason>,
  true satisfies Same<NonNullable<ErrorSchema.GatewayErrorEncoded["attempts"]>[number], ErrorSchema.AttemptEncoded>,
  true satisfies Same<keyof ErrorSchema.AttemptEncoded, keyof GatewayError.Attempt>,
  true satisfies Same<ErrorSchema.GatewayErrorEncoded extends Schema.Json ? true : false, true>
]

describe("the types", () => {
  it("cover every reason, and the stored form is JSON", () => {
    assert.deepStrictEqual(types, [true, true, true, true, true])
  })
})
