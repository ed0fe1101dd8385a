/**
 * Codecs for `GatewayError`, its reasons and its attempts: for journals, queues and RPC.
 *
 * The stored form is plain JSON: the fields of the class next to its `_tag`, durations in milliseconds. Decoding builds
 * instances of the classes, so that `instanceof`, `message` and `Effect.catchReason` work on the decoded values.
 * Unknown fields are dropped, because a newer version may have written them; an unknown reason fails. Stack traces are
 * not stored.
 *
 * **Gotchas**
 *
 * A stored error holds `reason.detail`, the answer's own text: credentials are cut out of it, parts of a prompt are
 * not.
 *
 * The codecs are separate from `GatewayError` because `Schema` would double a Worker's bundle. Programs that neither
 * store nor send errors do not load this module.
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as Errors from "./GatewayError.ts"

const number = Schema.optionalKey(Schema.Finite)
const text = Schema.optionalKey(Schema.String)
// Negative when the clock was set back in the meantime. JSON has no number for infinity, and no wait or limit is
// infinite.
const finite = Schema.makeFilter((self: Duration.Duration) => Number.isFinite(Duration.toMillis(self)), {
  expected: "a finite duration"
})
const millis = Schema.Finite.pipe(
  Schema.decodeTo(Schema.Duration.check(finite), SchemaTransformation.durationFromMillis)
)
const retryAfter = Schema.optionalKey(millis)
const origin = Schema.Literals(["client", "gateway", "api", "provider"])
const facts = { status: number, code: text, detail: text }

/** Without `exactOptionalPropertyTypes` a program may pass `undefined` for a field that is absent. */
const withoutUndefined = <A extends object>(value: A): A => {
  const out = { ...value }
  for (const key in out) if (out[key] === undefined) delete out[key]
  return out
}

/**
 * A codec from a struct to the class that is built from its fields. The types require a schema for every field of the
 * class, and that each side accepts every value of the other.
 */
const instance = <
  Tag extends string,
  Props extends object,
  S extends Schema.Codec<Props & { readonly _tag: Tag }, unknown> & {
    readonly fields: Record<keyof Props, Schema.Constraint> & { readonly _tag: Schema.tag<Tag> }
  },
  Self extends S["Type"]
>(
  Class: new (props: Props) => Self,
  struct: S
): Schema.Codec<Self, S["Encoded"]> => {
  const transformation = SchemaTransformation.transform<Self, S["Type"]>({
    decode: (fields) => new Class(fields),
    encode: withoutUndefined
  })
  const type = Schema.instanceOf(Class, {
    identifier: struct.fields._tag.schema.literal,
    // The same form for codecs derived from the type alone; test data is derived from it too.
    toCodec: () => Schema.link<Self>()(struct, transformation)
  })
  return struct.pipe(Schema.decodeTo(type, transformation))
}

/** The fields of each reason. */
const reasons = Schema.Union([
  instance(
    Errors.TransportFailure,
    Schema.TaggedStruct("TransportFailure", {
      ...facts,
      kind: Schema.Literals(["connect", "reset", "stale", "unknown"])
    })
  ),
  instance(
    Errors.Timeout,
    Schema.TaggedStruct("Timeout", {
      ...facts,
      phase: Schema.Literals(["firstByte", "firstToken", "idle", "deadline", "upstream"]),
      limit: Schema.optionalKey(millis)
    })
  ),
  instance(Errors.RateLimited, Schema.TaggedStruct("RateLimited", { ...facts, origin, retryAfter })),
  instance(
    Errors.QuotaExhausted,
    Schema.TaggedStruct("QuotaExhausted", {
      ...facts,
      kind: Schema.Literals(["spend", "credits", "allocation"]),
      origin,
      retryAfter
    })
  ),
  instance(Errors.Unauthorized, Schema.TaggedStruct("Unauthorized", { ...facts, origin })),
  instance(
    Errors.InvalidRequest,
    Schema.TaggedStruct("InvalidRequest", { ...facts, origin, field: text, accepted: text })
  ),
  instance(
    Errors.Unsupported,
    Schema.TaggedStruct("Unsupported", { ...facts, field: Schema.String, accepted: Schema.String })
  ),
  instance(Errors.ContextLengthExceeded, Schema.TaggedStruct("ContextLengthExceeded", facts)),
  instance(
    Errors.ContentBlocked,
    Schema.TaggedStruct("ContentBlocked", {
      ...facts,
      by: Schema.Literals(["guardrail", "dlp", "provider"]),
      subject: Schema.Literals(["prompt", "response", "unknown"])
    })
  ),
  instance(
    Errors.NotFound,
    Schema.TaggedStruct("NotFound", {
      ...facts,
      what: Schema.Literals(["gateway", "model", "log", "route", "run", "endpoint"])
    })
  ),
  instance(Errors.ProviderUnavailable, Schema.TaggedStruct("ProviderUnavailable", { ...facts, origin, retryAfter })),
  instance(
    Errors.InvalidResponse,
    Schema.TaggedStruct("InvalidResponse", {
      ...facts,
      issue: text,
      by: Schema.optionalKey(Schema.Literal("validate"))
    })
  ),
  instance(
    Errors.StreamInterrupted,
    Schema.TaggedStruct("StreamInterrupted", {
      ...facts,
      events: Schema.Finite,
      partial: text,
      failure: Schema.optionalKey(
        Schema.Literals([
          "TransportFailure",
          "Timeout",
          "RateLimited",
          "QuotaExhausted",
          "Unauthorized",
          "InvalidRequest",
          "Unsupported",
          "ContextLengthExceeded",
          "ContentBlocked",
          "NotFound",
          "ProviderUnavailable",
          "InvalidResponse",
          "Rejected",
          "BindingMissing",
          "Unknown"
        ])
      )
    })
  ),
  instance(
    Errors.Rejected,
    Schema.TaggedStruct("Rejected", {
      ...facts,
      by: Schema.Literals(["limiter", "breaker", "budget", "cost"]),
      retryAfter
    })
  ),
  instance(Errors.BindingMissing, Schema.TaggedStruct("BindingMissing", { ...facts, member: Schema.String })),
  instance(Errors.Unknown, Schema.TaggedStruct("Unknown", facts))
])

const usage = Schema.Struct({
  inputTokens: number,
  outputTokens: number,
  totalTokens: number,
  cachedInputTokens: number,
  cacheWriteTokens: number,
  reasoningTokens: number,
  cacheWriteLongTokens: number,
  audioInputTokens: number,
  audioOutputTokens: number,
  toolInputTokens: number
})
const cost = Schema.Struct({ usd: Schema.Finite, estimatedUsd: Schema.Finite, unpriced: Schema.Finite })

const attemptFields = {
  target: Schema.String,
  number,
  cause: Schema.optionalKey(Schema.Literals(["first", "retry", "fallback", "hedge", "restart"])),
  provider: Schema.String,
  model: text,
  endpoint: Schema.String,
  logId: text,
  eventId: text,
  step: number,
  cacheStatus: text,
  status: number,
  outcome: Schema.Literals(["success", "failure", "interrupted"]),
  startedAt: Schema.Finite,
  waited: Schema.optionalKey(millis),
  duration: millis,
  resent: Schema.optionalKey(Schema.Boolean),
  superseded: Schema.optionalKey(Schema.Boolean),
  dropped: Schema.optionalKey(Schema.Array(Schema.String)),
  usage: Schema.optionalKey(usage),
  cost: Schema.optionalKey(cost),
  error: Schema.optionalKey(reasons)
} satisfies Record<keyof Errors.Attempt, Schema.Constraint>
const attempt = Schema.Struct(attemptFields)

const skipped = Schema.Struct({ target: Schema.String, reason: reasons })

// Uses `reasons` and `attempt` instead of the exports below: their types show when a reason or one of its values is
// missing.
const error = instance(
  Errors.GatewayError,
  Schema.TaggedStruct("GatewayError", {
    reason: reasons,
    method: Schema.String,
    provider: text,
    model: text,
    logId: text,
    eventId: text,
    step: number,
    attempts: Schema.optionalKey(Schema.Array(attempt)),
    skipped: Schema.optionalKey(Schema.Array(skipped)),
    ended: Schema.optionalKey(Schema.Literals(["stop", "attempts", "deadline", "budget", "cost", "open"])),
    cost: Schema.optionalKey(cost)
  })
)

/**
 * The stored form of a reason: its fields and its `_tag`, durations in milliseconds.
 *
 * @category models
 */
export type ReasonEncoded = (typeof reasons)["Encoded"]
/**
 * The stored form of an attempt.
 *
 * @category models
 */
export type AttemptEncoded = (typeof attempt)["Encoded"]
/**
 * The stored form of a `GatewayError`.
 *
 * @category models
 */
export type GatewayErrorEncoded = (typeof error)["Encoded"]

/**
 * Codec of `GatewayError.Reason`; both directions accept instances of the classes only. Decoding fails with
 * `SchemaError` for an unknown tag or a field of the wrong type, encoding for an infinite duration or a number that
 * JSON lacks; the message names the path.
 *
 * @category schemas
 */
export const Reason: Schema.Codec<Errors.Reason, ReasonEncoded> = reasons

/**
 * Codec of `GatewayError.Attempt`, for `LogTrail` and for `attempts` of a result; its `error` is a {@link Reason}.
 *
 * @category schemas
 */
export const Attempt: Schema.Codec<Errors.Attempt, AttemptEncoded> = attempt

/**
 * Codec of `GatewayError.Cost`.
 *
 * @category schemas
 */
export const Cost: Schema.Codec<Errors.Cost, (typeof cost)["Encoded"]> = cost

/**
 * Codec of `GatewayError.Skipped`.
 *
 * @category schemas
 */
export const Skipped: Schema.Codec<Errors.Skipped, (typeof skipped)["Encoded"]> = skipped

/**
 * Codec of `GatewayError.GatewayError` with its reason and its attempts. Fails as {@link Reason} does.
 *
 * Use it directly, inside other schemas, through `Schema.toCodecJson`, or as the `error` of an RPC.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import * as ErrorSchema from "effect-ai-gateway/ErrorSchema"
 * import { GatewayError, RateLimited } from "effect-ai-gateway/GatewayError"
 *
 * const Stored = Schema.fromJsonString(ErrorSchema.GatewayError)
 *
 * export const program = Effect.gen(function* () {
 *   const reason = new RateLimited({ origin: "provider", status: 429 })
 *   const line = yield* Schema.encodeEffect(Stored)(new GatewayError({ method: "Router.run", reason }))
 *   return yield* yield* Schema.decodeEffect(Stored)(line)
 * }).pipe(Effect.catchReason("GatewayError", "RateLimited", ({ status }) => Effect.succeed(status))) // 429
 * ```
 *
 * @category schemas
 */
export const GatewayError: Schema.Codec<Errors.GatewayError, GatewayErrorEncoded> = error
