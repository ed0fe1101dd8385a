/**
 * The shape of a stored route, as a Schema. The combinators check ranges.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { decisions } from "../../GatewayError.ts"
import { backoffs } from "../../GatewayOptions.ts"
import { strategies } from "../admission/choice.ts"
import type { DurationJson, OptionsJson, RouteNodeJson } from "./json.ts"

const isDurationJson = (u: unknown): u is DurationJson =>
  typeof u === "number"
    ? Number.isFinite(u)
    : typeof u === "string" && /^-?[\d.]+ [a-z]+$/.test(u) && Option.isSome(Duration.fromInput(u as DurationJson))

// The result of one pure call, so that bundlers drop it together with Schema where no route is read.
const makeRead = () => {
  const opt = Schema.optionalKey
  const accepts = <S extends Schema.Schema<unknown>>(schema: S, accepted: string) =>
    schema.annotate({ expected: accepted })
  const duration = Schema.declare(isDurationJson, { expected: `a duration such as "5 seconds", or milliseconds` })
  const reasons = [...new Set(decisions.map(({ reason }) => reason))]
  const on = Schema.Array(accepts(Schema.Literals(reasons), `one of ${reasons.join(", ")}`))
  const backoff = Schema.Literals(backoffs)
  const options: Schema.Codec<OptionsJson> = Schema.Struct({
    cache: opt(
      Schema.Struct({
        ttl: opt(
          Schema.declare((u): u is DurationJson | "off" => u === "off" || isDurationJson(u), {
            expected: `a duration such as "1 hour", or "off"`
          })
        ),
        key: opt(Schema.String),
        skip: opt(Schema.Boolean)
      })
    ),
    metadata: opt(Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Number, Schema.Boolean]))),
    log: opt(Schema.Struct({ collect: opt(Schema.Boolean), payload: opt(Schema.Boolean) })),
    eventId: opt(Schema.String),
    timeout: opt(duration),
    retries: opt(Schema.Struct({ attempts: opt(Schema.Number), delay: opt(duration), backoff: opt(backoff) })),
    byokAlias: opt(Schema.String),
    zeroDataRetention: opt(Schema.Boolean),
    noWholesale: opt(Schema.Boolean),
    customCost: opt(
      Schema.Struct({
        perTokenIn: opt(Schema.Number),
        perTokenOut: opt(Schema.Number),
        perCacheReadToken: opt(Schema.Number),
        perCacheWriteToken: opt(Schema.Number),
        totalCost: opt(Schema.Number)
      })
    )
  })
  const node: Schema.Codec<RouteNodeJson> = Schema.Struct({
    options: opt(options),
    deadline: opt(duration),
    circuitBreaker: opt(
      Schema.Union([
        Schema.Literal("off"),
        Schema.Struct({
          window: opt(duration),
          minimumCalls: opt(Schema.Number),
          failureRate: opt(Schema.Number),
          slowCalls: opt(
            Schema.Union([Schema.Literal("off"), Schema.Struct({ after: duration, rate: opt(Schema.Number) })])
          ),
          openFor: opt(duration),
          maxOpenFor: opt(duration)
        })
      ])
    ),
    limits: opt(
      Schema.Union([
        Schema.Literal("off"),
        Schema.Struct({
          requestsPerMinute: opt(Schema.Number),
          tokensPerMinute: opt(Schema.Number),
          concurrency: opt(
            Schema.Union([
              Schema.Number,
              Schema.Literal("adaptive"),
              Schema.Struct({
                initial: opt(Schema.Number),
                min: opt(Schema.Number),
                max: opt(Schema.Number),
                tolerance: opt(Schema.Number)
              })
            ])
          ),
          burst: opt(Schema.Number),
          skew: opt(duration),
          queue: opt(Schema.Struct({ size: opt(Schema.Number), maxWait: opt(duration) }))
        })
      ])
    ),
    hedge: opt(
      Schema.Union([
        Schema.Literal("off"),
        Schema.Struct({
          after: Schema.Union([
            duration,
            Schema.Struct({ percentile: Schema.Number, atLeast: opt(duration), atMost: opt(duration) })
          ]),
          max: opt(Schema.Number),
          sideEffects: opt(Schema.Boolean)
        })
      ])
    ),
    timeout: opt(duration),
    firstTokenTimeout: opt(duration),
    idleTimeout: opt(duration),
    restart: opt(Schema.Number),
    retry: opt(
      Schema.Struct({
        attempts: opt(Schema.Number),
        delay: opt(duration),
        backoff: opt(backoff),
        maxDelay: opt(duration),
        jitter: opt(Schema.Number),
        retryAfter: opt(Schema.Boolean),
        on: opt(on)
      })
    ),
    fallbackOn: opt(on),
    validate: opt(Schema.Record(Schema.String, Schema.Json)),
    fallback: opt(Schema.Array(Schema.suspend(() => node))),
    race: opt(Schema.Array(Schema.suspend(() => node))),
    sideEffects: opt(Schema.Boolean),
    balance: opt(Schema.Array(Schema.suspend(() => node))),
    by: opt(accepts(Schema.Literals(strategies), `one of ${strategies.join(", ")}`)),
    weights: opt(Schema.Array(Schema.Number)),
    route: opt(Schema.suspend(() => node)),
    provider: opt(Schema.String),
    model: opt(Schema.String),
    kind: opt(Schema.Literals(["chat", "embeddings"])),
    endpoint: opt(Schema.String),
    dialect: opt(Schema.String),
    key: opt(Schema.String),
    headers: opt(Schema.Record(Schema.String, Schema.String)),
    credentials: opt(Schema.Array(Schema.String)),
    body: opt(Schema.Record(Schema.String, Schema.Json)),
    allowEmpty: opt(Schema.Boolean),
    contextWindow: opt(Schema.Number),
    resource: opt(Schema.String),
    deployment: opt(Schema.String),
    apiVersion: opt(Schema.String),
    project: opt(Schema.String),
    region: opt(Schema.String),
    version: opt(Schema.String)
  })
  return Schema.decodeUnknownResult(
    Schema.Struct({
      version: Schema.Literal(1).annotateKey({ messageMissingKey: "1" }),
      route: node.annotateKey({ messageMissingKey: "a route" })
    }),
    { errors: "all", onExcessProperty: "error" }
  )
}

/** Checks the shape of a stored route. */
export const readShape = /*#__PURE__*/ makeRead()
