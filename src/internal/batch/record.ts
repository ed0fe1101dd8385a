/** The JSON that a batch stores of a result. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { JournalError, type Json } from "../../BatchJournal.ts"
import * as ErrorSchema from "../../ErrorSchema.ts"
import type { Attempt, Cost, GatewayError, Skipped } from "../../GatewayError.ts"
import { plainJsonOf } from "../data/plainJson.ts"
import { inspect, problemOf, unwritable } from "../data/writable.ts"
import type { Usage } from "../dialect/chat.ts"

/** Facts about an answer besides its value. */
export interface AnswerFacts {
  readonly target: string
  readonly provider: string
  readonly model?: string
  readonly logId?: string
  readonly eventId: string
  readonly usage?: Usage
  /** The cost of all attempts together; absent without prices. */
  readonly cost?: Cost
  readonly cacheStatus?: string
  readonly step?: number
  readonly execution: "client" | "gateway"
  /** Targets that were skipped; absent when there were none. */
  readonly skipped?: ReadonlyArray<Skipped>
}

/** Findings about an item that an earlier run had sent without learning the outcome. */
export interface InDoubt {
  /** The event id with which it was sent. */
  readonly eventId: string
  /**
   * `success`: the gateway has a log of an answer, whose body is lost; it was paid for, and is paid for again.
   * `failure`: it was answered with failures only. `nothing`: the gateway knows of no request. `unknown`: the logs were
   * unavailable.
   */
  readonly found: "success" | "failure" | "nothing" | "unknown"
  readonly logIds: ReadonlyArray<string>
}

/** Stored form of a success. */
export interface DoneRecord<Out> {
  readonly value: { readonly value: Out } | undefined
  readonly facts: AnswerFacts
  readonly attempts: ReadonlyArray<Attempt>
  readonly latency: number
  readonly inDoubt: InDoubt | undefined
}

/** Stored form of a dead letter; its error has the attempts. */
export interface DeadRecord {
  readonly error: GatewayError
  readonly latency: number
  readonly inDoubt: InDoubt | undefined
}

/** How values are stored: through a schema, in its JSON form, or not at all. */
export type ValueCodec<Out> = Schema.Codec<Out, unknown> | "ids"

const number = Schema.optionalKey(Schema.Number)
const text = Schema.optionalKey(Schema.String)
const inDoubt = Schema.optionalKey(
  Schema.Struct({
    eventId: Schema.String,
    found: Schema.Literals(["success", "failure", "nothing", "unknown"]),
    logIds: Schema.Array(Schema.String)
  })
)
export const AnswerFacts = Schema.Struct({
  target: Schema.String,
  provider: Schema.String,
  model: text,
  logId: text,
  eventId: Schema.String,
  usage: Schema.optionalKey(
    Schema.Struct({
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
  ),
  cost: Schema.optionalKey(ErrorSchema.Cost),
  cacheStatus: text,
  step: number,
  execution: Schema.Literals(["client", "gateway"]),
  skipped: Schema.optionalKey(Schema.Array(ErrorSchema.Skipped))
})
const Done = Schema.Struct({
  value: Schema.optionalKey(Schema.Json),
  facts: AnswerFacts,
  attempts: Schema.Array(ErrorSchema.Attempt),
  latency: Schema.Number,
  inDoubt
})
const Dead = Schema.Struct({ error: ErrorSchema.GatewayError, latency: Schema.Number, inDoubt })

const encodeAttempt = Schema.encodeEffect(ErrorSchema.Attempt)
const encodeSkipped = Schema.encodeEffect(ErrorSchema.Skipped)
const encodeError = Schema.encodeEffect(ErrorSchema.GatewayError)
const decodeDone = Schema.decodeUnknownEffect(Done)
const decodeDead = Schema.decodeUnknownEffect(Dead)

/** Interfaces have no index signature, so they are not `Json`; the same fields as a plain type are. */
type Plain<A> = { readonly [K in keyof A]: A[K] }
const plain = <A>(value: A): Plain<A> => value

const answerKept = "the answer cannot be kept"
const errorKept = "an error cannot be kept"

const bad =
  (what: string) =>
  (cause: Schema.SchemaError): JournalError =>
    new JournalError({ reason: "encoding", detail: `${what}: ${cause.message}`, cause })

/** Attempts without an error, as most are, need no Schema: their stored form has the same fields. */
const attemptRecord = ({ cost, duration, error, usage, waited, ...fields }: Attempt): Json => ({
  ...fields,
  ...(usage !== undefined && { usage: plain(usage) }),
  ...(cost !== undefined && { cost: plain(cost) }),
  ...(waited !== undefined && { waited: Duration.toMillis(waited) }),
  duration: Duration.toMillis(duration)
})

const hasNoError = ({ error }: Attempt): boolean => error === undefined

/** Those fields, whatever else the answer has, except `skipped`, which has a schema. */
const factsRecord = ({
  cacheStatus,
  cost,
  eventId,
  execution,
  logId,
  model,
  provider,
  step,
  target,
  usage
}: AnswerFacts): { readonly [field: string]: Json } => ({
  target,
  provider,
  eventId,
  execution,
  ...(model !== undefined && { model }),
  ...(logId !== undefined && { logId }),
  ...(usage !== undefined && { usage: plain(usage) }),
  ...(cost !== undefined && { cost: plain(cost) }),
  ...(cacheStatus !== undefined && { cacheStatus }),
  ...(step !== undefined && { step })
})

const doneRecord = (
  { facts, inDoubt, latency }: DoneRecord<unknown>,
  value: Json | undefined,
  attempts: ReadonlyArray<Json>,
  skipped: ReadonlyArray<Json> = []
): Json => ({
  ...(value !== undefined && { value }),
  facts: { ...factsRecord(facts), ...(skipped.length > 0 && { skipped }) },
  attempts,
  latency,
  ...(inDoubt !== undefined && { inDoubt: plain(inDoubt) })
})

/**
 * Accepts a record that every journal can write and read back, without fields that are `undefined`; fails with the path
 * of a value that JSON cannot hold.
 */
const checked = (what: string, record: Json): Effect.Effect<Json, JournalError> => {
  const { omits, problem } = inspect(record)
  return problem === undefined
    ? Effect.succeed(omits ? JSON.parse(JSON.stringify(record)) : record)
    : Effect.fail(new JournalError({ reason: "encoding", detail: `${what}: ${problemOf(problem)}` }))
}

/** Both directions. They fail with `JournalError` (`encoding`), also when a record is not JSON. */
export interface Records<Out> {
  readonly done: (record: DoneRecord<Out>) => Effect.Effect<Json, JournalError>
  readonly dead: (record: DeadRecord) => Effect.Effect<Json, JournalError>
  readonly readDone: (record: Json) => Effect.Effect<DoneRecord<Out>, JournalError>
  readonly readDead: (record: Json) => Effect.Effect<DeadRecord, JournalError>
}

/** The records of results whose values are stored through one codec. */
export const records = <Out>(codec: ValueCodec<Out>): Records<Out> => {
  const json = codec === "ids" ? undefined : Schema.toCodecJson(codec)
  const plainJson = codec === "ids" ? undefined : plainJsonOf(codec)
  const encode = json === undefined ? undefined : Schema.encodeEffect(json)
  /** The value in its stored form, when no schema is needed. */
  const asItIs = (value: DoneRecord<Out>["value"]): { readonly kept: Json | undefined } | undefined => {
    if (value === undefined || encode === undefined) return { kept: undefined }
    const kept = plainJson?.(value.value)
    return kept === undefined ? undefined : { kept }
  }
  const decodeValue = json === undefined ? undefined : Schema.decodeUnknownEffect(json)
  return {
    done: (done: DoneRecord<Out>): Effect.Effect<Json, JournalError> => {
      const { attempts, facts, value } = done
      const { skipped = [] } = facts
      const plainly = asItIs(value)
      if (plainly !== undefined && skipped.length === 0 && attempts.every(hasNoError)) {
        return checked(answerKept, doneRecord(done, plainly.kept, attempts.map(attemptRecord)))
      }
      return Effect.flatMap(
        Effect.mapError(
          Effect.map(
            Effect.all([
              value === undefined || encode === undefined ? Effect.undefined : encode(value.value),
              Effect.forEach(attempts, (attempt) => encodeAttempt(attempt)),
              Effect.forEach(skipped, (one) => encodeSkipped(one))
            ]),
            ([kept, attempts, skipped]) => doneRecord(done, kept, attempts, skipped)
          ),
          (cause) => {
            const found = value === undefined ? undefined : unwritable(value.value)
            return found === undefined
              ? bad("the value of an item does not match its schema")(cause)
              : new JournalError({ reason: "encoding", detail: `${answerKept}: ${problemOf(found)}` })
          }
        ),
        (record) => checked(answerKept, record)
      )
    },
    dead: ({ error, inDoubt, latency }: DeadRecord): Effect.Effect<Json, JournalError> =>
      Effect.flatMap(Effect.mapError(encodeError(error), bad(errorKept)), (encoded) =>
        checked(errorKept, {
          error: encoded,
          latency,
          ...(inDoubt !== undefined && { inDoubt: plain(inDoubt) })
        })
      ),
    readDone: (record: Json): Effect.Effect<DoneRecord<Out>, JournalError> =>
      decodeDone(record).pipe(
        Effect.flatMap((done) =>
          Effect.map(
            done.value === undefined || decodeValue === undefined
              ? Effect.succeed(undefined)
              : Effect.map(decodeValue(done.value), (value) => ({ value })),
            (value) => ({ ...done, value, inDoubt: done.inDoubt })
          )
        ),
        Effect.mapError(bad("a stored result does not match its schema"))
      ),
    readDead: (record: Json): Effect.Effect<DeadRecord, JournalError> =>
      Effect.mapBoth(decodeDead(record), {
        onFailure: bad("a kept dead letter cannot be read"),
        onSuccess: (dead) => ({ ...dead, inDoubt: dead.inDoubt })
      })
  }
}
