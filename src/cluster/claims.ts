/**
 * Items of the queue that this worker holds, and their ends.
 *
 * Effect's SQL store of `PersistedQueue` does the claiming: `FOR UPDATE SKIP LOCKED`, a lease that is refreshed while
 * the worker lives, and redelivery of a dead worker's items when it lapses. This module adds the rest through the scope
 * of a taken item:
 *
 * - The store acknowledges an item when that scope closes, after the handler's writes. Closed **inside** a transaction,
 *   the acknowledgement is part of it. So a result, the end of its item and its removal from the queue are one
 *   transaction. (A connection that breaks in the middle delays the ends of its worker for at most a lease; nothing is
 *   lost.)
 * - The store counts an attempt when it claims, even for an item that only waited in a killed worker, and would give up
 *   on it without a trace in the results. So it gets no limit; instead we count how often an item was **sent** without
 *   an end, which is written down before it is sent. An item that was in flight at two crashes runs alone among its
 *   like from then on, so that an item that kills its worker does not take its neighbours with it.
 * - The store takes and acknowledges items one by one. Our own statements cover many items at a time: looking items up,
 *   writing down that they are sent, and how they ended.
 * - The store polls, every {@link pollMillis} while the queue is empty, and without a pause while it is not.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as PersistedQueue from "effect/persistence/PersistedQueue"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Json } from "../BatchJournal.ts"
import { GatewayError, Unknown } from "../GatewayError.ts"
import { type AnswerFacts, records } from "../internal/batch/record.ts"
import { batched } from "./batched.ts"
import { ClusterError, fromJournal, fromSql, isRefusedValue } from "./error.ts"
import { read } from "./outcome.ts"
import { queueTable } from "./schema.ts"

/** Milliseconds between looks into an empty queue. */
const pollMillis = 250
/** Longest look into the queue, in milliseconds. */
const lookMillis = 300
/** Number of sends without an end from which an item runs alone among its like. */
const suspectFrom = 2
/** Ratio of claims to allowed sends from which an item counts as killing its worker before it is sent. */
const claimsPerSend = 4
/** How long finished items stay in the queue, where nothing reads them any more. */
const keptMinutes = Duration.minutes(10)

/** Element of the queue. */
export interface Element {
  readonly id: string
  readonly input: Json
}

/** A held item. */
export interface Claim {
  readonly seq: string
  readonly id: string
  readonly input: Json
  /** Identifies this delivery of the item within the worker. */
  readonly key: string
  /** Event id of an earlier delivery that was sent and did not end. */
  readonly eventId: string | undefined
}

/** How an item ended. */
export interface ClaimEnding {
  readonly kind: "done" | "dead"
  readonly record: Json
}

/** The required handling of a claim. */
export type ClaimStanding =
  | { readonly _tag: "run"; readonly claim: Claim }
  /** To be run when {@link Claims.alone} allows it. */
  | { readonly _tag: "suspect"; readonly claim: Claim }
  | { readonly _tag: "poison"; readonly claim: Claim; readonly times: number }
  | { readonly _tag: "unreadable"; readonly claim: Claim }

export interface Options {
  readonly job: string
  readonly worker: string
  readonly maxAttempts: number
  /** Milliseconds. */
  readonly lease: number
  /** How long to retry writing an end, in milliseconds. */
  readonly patience: number
  readonly cost: (facts: AnswerFacts) => number | undefined
}

interface Held {
  readonly claim: Claim
  /** Id of the item in the queue. */
  readonly queueId: string
  readonly scope: Scope.Closeable
  /** Whether it holds the permit that only one suspect has at a time. */
  isAlone: boolean
  sent: boolean
}

interface Row {
  readonly seq: string
  readonly id: string
  readonly sends: number
  readonly event: string | null
  readonly ended: boolean
}

interface Ended {
  readonly held: Held
  readonly ending: ClaimEnding
  /** The record as JSON text. */
  readonly text: string
}

/** Characters of records after which a transaction accepts no more records. */
const endsLength = 8_000_000

/** Splits ends into parts of one transaction each. */
const parts = (all: ReadonlyArray<Ended>): ReadonlyArray<ReadonlyArray<Ended>> => {
  const out: Array<Array<Ended>> = []
  let length = endsLength
  for (const one of all) {
    if (length >= endsLength) {
      out.push([])
      length = 0
    }
    out.at(-1)?.push(one)
    length += one.text.length
  }
  return out
}

/** Written for an item whose result the database rejects. */
const refusedEnd = new GatewayError({
  method: "Cluster.worker",
  reason: new Unknown({ code: "unwritable", detail: "its result has a value that the database cannot keep" })
})

export interface Claims {
  /** Waits for an item. Interruptible while it waits; a claimed item is then returned. */
  readonly take: Effect.Effect<ClaimStanding, ClusterError>
  /** Waits until a suspect may run, as the only one of this worker. */
  readonly alone: (key: string) => Effect.Effect<void>
  /** Writes down that an item is about to be sent. */
  readonly sent: (key: string, eventId: string) => Effect.Effect<void, ClusterError>
  /** Ends an item, in one transaction. */
  readonly end: (key: string, ending: ClaimEnding) => Effect.Effect<void, ClusterError>
  /** The job is finished: nothing can be claimed any more, so ending need not wait for claims. */
  readonly finish: Effect.Effect<void>
  /** Removes items that ended long ago. */
  readonly cleanup: Effect.Effect<void, PersistedQueue.PersistedQueueError>
}

const isElement = (value: unknown): value is Element =>
  typeof value === "object" && value !== null && "id" in value && typeof value.id === "string" && "input" in value

/** Delays after a failed write: short at first, then five seconds. */
const again = (patience: number) =>
  Schedule.min([Schedule.exponential(100, 2), Schedule.spaced(5000)]).pipe(Schedule.upTo({ duration: patience }))

/** The store of the queue. */
export const queueStore = (options?: { readonly lease: number }) =>
  PersistedQueue.makeStoreSql({
    tableName: queueTable,
    pollInterval: pollMillis,
    ...(options !== undefined && { lockExpiration: options.lease, lockRefreshInterval: options.lease / 4 })
  })

/** Begins to hold items. When the scope closes, held items are returned, and other workers can take them at once. */
export const make = Effect.fnUntraced(function* (
  sql: SqlClient,
  { cost, job, lease, maxAttempts, patience, worker }: Options
): Effect.fn.Return<Claims, SqlError, Scope.Scope | SqlClient> {
  const store = yield* queueStore({ lease })
  const held = new Map<string, Held>()
  const suspects = Semaphore.makeUnsafe(1)
  let deliveries = 0
  let finished = false

  // Effect acknowledges when the scope closes, retries for a lease, and then dies. In any case the lease lapses.
  const letGo = (scope: Scope.Closeable): Effect.Effect<void> =>
    Effect.asVoid(Effect.exit(Scope.close(scope, Exit.interrupt())))

  const giveBack = Effect.suspend(() => {
    const all = [...held.values()]
    // A worker that stops in an orderly way does not count against its items.
    const sent = JSON.stringify(all.filter((one) => one.sent).map(({ claim }) => claim.seq))
    return Effect.andThen(
      Effect.exit(sql`
        UPDATE gateway_batch_items i SET sends = sends - 1
        FROM json_array_elements_text(${sent}::json) AS x WHERE i.seq = x::bigint AND i.sends > 0`),
      Effect.forEach(all, ({ scope }) => letGo(scope), { concurrency: 8, discard: true })
    )
  })
  // A running look into the queue would claim a returned item for a whole lease with no one to run it. A database that
  // is gone delays nothing: the leases lapse by themselves.
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => (finished ? Effect.void : Effect.sleep(lookMillis))).pipe(
      Effect.andThen(Effect.forkDetach(giveBack)),
      Effect.flatMap((giving) => Effect.timeoutOption(Fiber.await(giving), 3000)),
      Effect.asVoid
    )
  )

  const lookUp = yield* batched(64, (seqs: ReadonlyArray<string>) =>
    Effect.map(
      sql<Row>`
        SELECT i.seq::text AS seq, i.id, i.sends, i.event_id AS event, i.ended
        FROM json_array_elements_text(${JSON.stringify(seqs)}::json) AS x
        JOIN gateway_batch_items i ON i.seq = x::bigint AND i.job = ${job}`,
      (rows) => {
        const bySeq = new Map(rows.map((row) => [row.seq, row]))
        return seqs.map((seq) => bySeq.get(seq) ?? "gone")
      }
    )
  )

  const standing = Effect.fnUntraced(function* (scope: Scope.Closeable) {
    const taken = yield* Scope.provide(
      store.take({
        name: job,
        maxAttempts: 2_000_000_000,
        retryDelay: () => Effect.die("items are not retried by the queue")
      }),
      scope
    )
    const [seq = ""] = taken.id.split(".")
    const row = yield* lookUp(seq)
    // The previous worker wrote the item's end without learning so, or the job was deleted.
    if (row === "gone" || row.ended) {
      yield* Effect.exit(Scope.close(scope, Exit.void))
      return undefined
    }
    const element = isElement(taken.element) ? taken.element : undefined
    const claim: Claim = {
      seq,
      id: row.id,
      input: element?.input ?? null,
      key: `${seq}.${deliveries++}`,
      eventId: row.event ?? undefined
    }
    const isPoison = row.sends >= maxAttempts || taken.attempts > maxAttempts * claimsPerSend
    const isSuspect = !isPoison && row.sends >= suspectFrom
    held.set(claim.key, { claim, queueId: taken.id, scope, isAlone: false, sent: false })
    const out: ClaimStanding =
      element === undefined
        ? { _tag: "unreadable", claim }
        : isPoison
          ? { _tag: "poison", claim, times: row.sends }
          : { _tag: isSuspect ? "suspect" : "run", claim }
    return out
  })

  const takeOne = Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Scope.make(), (scope) =>
      Effect.onExit(restore(standing(scope)), (exit) =>
        // From here on `held` owns it.
        Exit.isFailure(exit) ? letGo(scope) : Effect.void
      )
    )
  )
  const take: Claims["take"] = Effect.flatMap(
    Effect.mapError(takeOne, (error) =>
      error._tag === "SqlError"
        ? fromSql(error)
        : new ClusterError({ reason: "failed", detail: "the queue cannot be read", cause: error })
    ),
    (found) => (found === undefined ? take : Effect.succeed(found))
  )

  /** Retries transient failures, but not values that the database rejects. */
  const retried = <A>(self: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError | ClusterError> =>
    Effect.retry(
      Effect.catchDefect(self, (cause) =>
        Effect.fail(new ClusterError({ reason: "failed", detail: "the queue cannot be written", cause }))
      ),
      { schedule: again(patience), while: (error) => error._tag !== "SqlError" || !isRefusedValue(error) }
    )

  const ours = (error: SqlError | ClusterError): ClusterError => (error._tag === "SqlError" ? fromSql(error) : error)

  const rowOf = ({ held: { claim }, ending: { kind, record }, text }: Ended) => {
    const { cacheHit, facts, latency, reason, requests, tokensIn, tokensOut } = read(record)
    return {
      seq: claim.seq,
      id: claim.id,
      kind,
      record: text,
      reason,
      // PostgreSQL accepts neither U+0000 nor half of a surrogate pair as text.
      target: facts?.target.replaceAll("\0", "").replace(/\p{Surrogate}/gu, "\ufffd"),
      requests,
      tokens_in: tokensIn,
      tokens_out: tokensOut,
      cost: facts === undefined ? undefined : cost(facts),
      cache_hit: cacheHit,
      latency
    }
  }

  const write = Effect.fnUntraced(function* (all: ReadonlyArray<Ended>): Effect.fn.Return<void, SqlError> {
    // Effect refreshes the leases of all held items in one statement on another connection. Acknowledgements that lock
    // the same rows one by one could deadlock with it, and they are repeated within the transaction, which is lost
    // then. So all rows are locked first: a failure here is rolled back at once.
    const queueIds = JSON.stringify(all.map(({ held: { queueId } }) => queueId))
    yield* sql`
      SELECT 1 FROM ${sql(queueTable)}
      WHERE queue_name = ${job} AND id = ANY (ARRAY(SELECT json_array_elements_text(${queueIds}::json)))
      ORDER BY sequence FOR UPDATE`
    const rows = JSON.stringify(all.map(rowOf))
    // A deleted item has no result.
    yield* sql`
      WITH ended AS (
        SELECT * FROM json_to_recordset(${rows}::json) AS x(seq bigint, id text, kind text, record text, reason text,
          target text, requests int, tokens_in float8, tokens_out float8, cost float8, cache_hit boolean, latency float8)
      ), results AS (
        INSERT INTO gateway_batch_results
          (job, id, seq, kind, record, reason, target, requests, tokens_in, tokens_out, cost, cache_hit, latency, worker)
        SELECT ${job}, id, seq, kind, record, reason, target, requests, tokens_in, tokens_out, cost, cache_hit, latency,
          ${worker}::bigint
        FROM ended WHERE EXISTS (SELECT 1 FROM gateway_batch_items i WHERE i.seq = ended.seq) ORDER BY id
        ON CONFLICT (job, id) DO NOTHING
      )
      UPDATE gateway_batch_items i SET ended = true FROM ended WHERE i.seq = ended.seq`
    yield* Effect.forEach(all, ({ held: { scope } }) => Scope.close(scope, Exit.void), {
      concurrency: "unbounded",
      discard: true
    })
  })

  const { dead } = records<never>("ids")
  const lost = Effect.fnUntraced(function* ({ held, ending }: Ended): Effect.fn.Return<Ended, ClusterError> {
    const { latency } = read(ending.record)
    const record = yield* Effect.mapError(dead({ error: refusedEnd, latency, inDoubt: undefined }), fromJournal)
    return { held, ending: { kind: "dead", record }, text: JSON.stringify(record) }
  })
  /** If the database rejects a value, only that item ends as a dead letter, and the others are written. */
  const endAll = (all: ReadonlyArray<Ended>, isLast = false): Effect.Effect<void, ClusterError> =>
    Effect.catch(retried(sql.withTransaction(write(all))), (error) => {
      const [one] = all
      if (error._tag !== "SqlError" || !isRefusedValue(error) || one === undefined || isLast) {
        return Effect.fail(ours(error))
      }
      return all.length > 1
        ? Effect.forEach(all, (one) => endAll([one]), { discard: true })
        : Effect.flatMap(lost(one), (one) => endAll([one], true))
    })
  const end = yield* batched(128, (all: ReadonlyArray<Ended>) =>
    Effect.as(
      Effect.forEach(parts(all), (part) => endAll(part), { discard: true }),
      all.map(() => null)
    )
  )

  const send = yield* batched(128, (all: ReadonlyArray<{ readonly seq: string; readonly event: string }>) =>
    Effect.as(
      Effect.mapError(
        retried(
          sql`
            UPDATE gateway_batch_items i SET sends = sends + 1, event_id = x.event
            FROM json_to_recordset(${JSON.stringify(all)}::json) AS x(seq bigint, event text) WHERE i.seq = x.seq`
        ),
        ours
      ),
      all.map(() => null)
    )
  )

  const heldAs = (key: string): Effect.Effect<Held> =>
    Effect.suspend(() => {
      const one = held.get(key)
      return one === undefined ? Effect.die(new Error(`nothing is held as ${key}`)) : Effect.succeed(one)
    })

  return {
    take,
    alone: (key) =>
      Effect.flatMap(heldAs(key), (one) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.map(restore(suspects.take(1)), () => {
            one.isAlone = true
          })
        )
      ),
    sent: (key, event) =>
      Effect.flatMap(heldAs(key), (one) =>
        Effect.map(send({ seq: one.claim.seq, event }), () => {
          one.sent = true
        })
      ),
    end: (key, ending) =>
      Effect.flatMap(heldAs(key), (one) =>
        Effect.flatMap(end({ held: one, ending, text: JSON.stringify(ending.record) }), () => {
          held.delete(key)
          return one.isAlone ? Effect.asVoid(suspects.release(1)) : Effect.void
        })
      ),
    finish: Effect.sync(() => {
      finished = true
    }),
    cleanup: store.cleanup({ timeToLive: keptMinutes, failedTimeToLive: undefined })
  }
})
