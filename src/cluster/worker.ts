/**
 * A worker: a batch whose items come from the queue and whose journal is the database.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { SqlClient } from "effect/sql/SqlClient"
import * as Batch from "../Batch.ts"
import type * as BatchJournal from "../BatchJournal.ts"
import { GatewayError, InvalidRequest, invalid, Rejected } from "../GatewayError.ts"
import { records } from "../internal/batch/record.ts"
import { millisOf } from "../internal/data/duration.ts"
import type * as Route from "../Route.ts"
import type * as Router from "../Router.ts"
import * as Claims from "./claims.ts"
import { ClusterError, fromJournal, mapSql, toJournal } from "./error.ts"
import { checkJob, fingerprintOf, merge, parse } from "./jobs.ts"
import * as Limiter from "./limiter.ts"
import { prepare } from "./schema.ts"

/** Milliseconds between two checks of the job, and between two signs of life. */
const tick = 500
const beat = 4000
const cleanupEvery = 600_000
/** Method that the worker's own dead letters name. */
const method = "Cluster.worker"

/** An item, as per-item routes and options see it. */
export interface Item<In> {
  readonly id: string
  readonly input: In
}

/** Limits over all workers of a job. Give every worker the same. */
export interface Limits<In> extends Limiter.SharedLimits {
  /** As in `Batch.Limits`. */
  readonly tokens?: ((input: In) => number) | undefined
  /** Key of the limits; jobs with the same key share them. Default: the job's own. */
  readonly key?: string | undefined
}

type Shared =
  | "concurrency"
  | "itemDeadline"
  | "quotaPatience"
  | "outagePatience"
  | "throttlePatience"
  | "isFatal"
  | "options"
  | "execution"
  | "cost"

/** Options of a worker. Options that are not listed here are as in `Batch.Options`. */
export interface Options<In, Out> extends Pick<Batch.Options<Item<In>, In, Out>, Shared> {
  readonly job: string
  /** One route, whose description must match that of the submission, or one for each item. */
  readonly route: Route.Route<In, Out> | ((item: Item<In>) => Route.Route<In, Out>)
  /** The schema with which the items were submitted. */
  readonly input: Schema.Codec<In, unknown>
  /** How values are stored, as in `Batch.JournalOptions`. */
  readonly value: Batch.ValueCodec<Out>
  readonly limits?: Limits<In> | undefined
  /** Identity of the job, in addition to its route; a worker for something else is rejected. */
  readonly fingerprint?: BatchJournal.Fingerprint | undefined
  /** Whether to work although the fingerprint differs. Default `false`. */
  readonly force?: boolean | undefined
  /** Whether to keep waiting for items when the job is finished. Default `false`. */
  readonly follow?: boolean | undefined
  /**
   * How long after its last sign of life the items of a dead worker go to others: whole seconds, 2 seconds to an hour.
   * A worker that is cut off for longer may have its items run twice, and recorded once. Default 1 minute.
   */
  readonly lease?: Duration.Input | undefined
  /**
   * How often an item may be sent without an end before it is a dead letter (`Rejected`, `budget`, code `poison`): 1 to
   * 100. Default 5.
   */
  readonly maxAttempts?: number | undefined
  /** How long the worker continues without the database. Default 2 minutes. */
  readonly patience?: Duration.Input | undefined
  /** Name of the worker in `status`, for example the machine's. Default `"worker"`. */
  readonly name?: string | undefined
}

/** A running worker. */
export interface Worker {
  /** Its number in the database. */
  readonly id: string
  /**
   * Ends when the job is finished, or after `drain` when items in flight have ended. Otherwise fails with the cause of
   * the end.
   */
  readonly done: Effect.Effect<Batch.Summary, GatewayError | ClusterError>
  /** Summary of this worker. */
  readonly summary: Effect.Effect<Batch.Summary>
  /** Progress every second or at the given interval. */
  readonly progress: (interval?: Duration.Input) => Stream.Stream<Batch.Progress>
  /** Takes no more items; items in flight end. */
  readonly drain: Effect.Effect<void>
}

interface Checked {
  readonly lease: number
  readonly maxAttempts: number
  readonly patience: number
}

const check = Effect.fnUntraced(function* ({
  job,
  lease,
  maxAttempts = 5,
  patience
}: Pick<Options<never, never>, "job" | "lease" | "maxAttempts" | "patience">): Effect.fn.Return<Checked, GatewayError> {
  yield* checkJob(method, job)
  const leaseMillis = lease === undefined ? 60_000 : millisOf(lease)
  if (!(leaseMillis >= 2000 && leaseMillis <= 3_600_000 && leaseMillis % 1000 === 0)) {
    return yield* invalid(method, "lease", "whole seconds, 2 seconds to 1 hour")
  }
  if (!(Number.isInteger(maxAttempts) && maxAttempts >= 1 && maxAttempts <= 100)) {
    return yield* invalid(method, "maxAttempts", "a whole number from 1 to 100")
  }
  const patienceMillis = patience === undefined ? 120_000 : millisOf(patience)
  if (!(patienceMillis >= 1000)) return yield* invalid(method, "patience", "a duration of at least 1 second")
  return { lease: leaseMillis, maxAttempts, patience: patienceMillis }
})

/** Earlier workers may have had another fingerprint; the first one to name a field sets it. */
const joinJob = (
  sql: SqlClient,
  job: string,
  mine: BatchJournal.Fingerprint,
  force: boolean
): Effect.Effect<void, ClusterError> =>
  mapSql(
    sql.withTransaction(
      Effect.gen(function* () {
        const [row] = yield* sql<{ readonly fingerprint: string }>`
          SELECT fingerprint FROM gateway_batch_jobs WHERE job = ${job} FOR UPDATE`
        if (row === undefined) {
          return yield* new ClusterError({
            reason: "noJob",
            detail: `there is no job ${job}: nothing was submitted to it`
          })
        }
        const merged = yield* merge(job, parse(row.fingerprint), mine, force)
        if (merged !== undefined) {
          yield* sql`UPDATE gateway_batch_jobs SET fingerprint = ${fingerprintOf(merged)} WHERE job = ${job}`
        }
      })
    )
  )

/** The journal of a worker. It learns about earlier workers item by item, with each delivery. */
const journalOf = (
  sql: SqlClient,
  job: string,
  claims: Claims.Claims,
  onOpen: (learn: BatchJournal.OpenOptions["onEntry"]) => void
): BatchJournal.Journal => {
  const written: BatchJournal.Appended = { durable: Effect.void }
  // Writes meet again in the statements that many items share.
  const write = (entry: BatchJournal.Entry) =>
    entry._tag === "sent"
      ? claims.sent(entry.id, entry.eventId)
      : claims.end(entry.id, { kind: entry._tag, record: entry.record })
  return {
    open: ({ fingerprint, force, onEntry }) =>
      Effect.as(
        Effect.mapError(joinJob(sql, job, fingerprint, force), toJournal),
        (() => {
          onOpen(onEntry)
          const opened: BatchJournal.OpenJournal = {
            damage: [],
            append: (entries) =>
              Effect.mapError(
                Effect.as(Effect.forEach(entries, write, { concurrency: "unbounded", discard: true }), written),
                toJournal
              ),
            read: () => Effect.die(new Error("a worker hands out nothing again"))
          }
          return opened
        })()
      )
  }
}

/**
 * Items that are claimed ahead of their admission: few, because other workers cannot have them, and more than one, to
 * claim them together.
 */
const ahead = (concurrency: Batch.Options<never, never, never>["concurrency"]): number =>
  Math.max(2, Math.min(16, Math.ceil((typeof concurrency === "number" ? concurrency : 32) / 8)))

interface Delivery<In> extends Item<In> {
  readonly key: string
}

const poison = (times: number): GatewayError =>
  new GatewayError({
    method,
    reason: new Rejected({
      by: "budget",
      code: "poison",
      detail: times === 0 ? "its workers died before it was sent" : `sent ${times} times, and each time its worker died`
    })
  })

const unreadable = new GatewayError({
  method,
  reason: new InvalidRequest({ origin: "client", field: "input", accepted: "what the schema of the worker says" })
})

/** Starts a worker in the scope, which ends it: items in flight are interrupted and returned to the queue. */
export const start = Effect.fnUntraced(function* <In, Out>(
  options: Options<In, Out>
): Effect.fn.Return<Worker, GatewayError | ClusterError, Router.Router | SqlClient | Scope.Scope> {
  const { follow = false, force = false, job, limits, name = "worker" } = options
  const { lease, maxAttempts, patience } = yield* check(options)
  const sql = yield* prepare(false)
  const clock = yield* Clock.Clock
  const shared =
    limits === undefined
      ? undefined
      : {
          limiter: yield* Limiter.make(sql, limits),
          key: limits.key ?? `job:${job}`,
          tokens: limits.tokens
        }
  const [row] = yield* mapSql(sql<{ readonly worker: string }>`
    INSERT INTO gateway_batch_workers (job, name)
    SELECT job, ${name} FROM gateway_batch_jobs WHERE job = ${job} RETURNING worker::text`)
  if (row === undefined) {
    return yield* new ClusterError({ reason: "noJob", detail: `there is no job ${job}: nothing was submitted to it` })
  }
  const worker = row.worker
  yield* Effect.addFinalizer(() =>
    Effect.ignore(
      Effect.timeout(
        sql`UPDATE gateway_batch_workers SET stopped_at = now(), in_flight = 0 WHERE worker = ${worker}::bigint`,
        3000
      )
    )
  )
  const claims = yield* mapSql(
    Claims.make(sql, { job, worker, maxAttempts, lease, patience, cost: (facts) => options.cost?.(facts) })
  )
  const { dead } = records<Out>("ids")
  const decode = Schema.decodeUnknownEffect(Schema.toCodecJson(options.input))
  let learn: BatchJournal.OpenOptions["onEntry"] = () => undefined
  const ready = yield* Queue.bounded<Delivery<In>, ClusterError | Cause.Done>(1)
  const scope = yield* Effect.scope

  const bury = (claim: Claims.Claim, error: GatewayError) =>
    Effect.flatMap(Effect.mapError(dead({ error, latency: 0, inDoubt: undefined }), fromJournal), (record) =>
      Effect.uninterruptible(claims.end(claim.key, { kind: "dead", record }))
    )

  const feed = Effect.gen(function* () {
    // `watch` decides how long the worker continues without the database.
    const standing = yield* Effect.retry(claims.take, Schedule.spaced(tick))
    const { claim } = standing
    if (standing._tag === "poison") return yield* bury(claim, poison(standing.times))
    const input = yield* Effect.exit(standing._tag === "unreadable" ? Effect.fail(undefined) : decode(claim.input))
    if (Exit.isFailure(input)) return yield* bury(claim, unreadable)
    if (claim.eventId !== undefined) learn({ _tag: "sent", id: claim.key, eventId: claim.eventId, location: 0 })
    const offered = Queue.offer(ready, { id: claim.id, key: claim.key, input: input.value })
    // Taking continues in the meantime: many may have to wait for each other.
    yield* standing._tag === "suspect"
      ? Effect.forkIn(Effect.andThen(claims.alone(claim.key), offered), scope)
      : offered
  })

  const isFinished = Effect.map(
    sql<{ readonly finished: boolean }>`
      SELECT sealed AND NOT EXISTS (SELECT 1 FROM gateway_batch_items i WHERE i.job = j.job AND NOT i.ended) AS finished
      FROM gateway_batch_jobs j WHERE job = ${job}`,
    ([row]) => row?.finished ?? true
  )

  const {
    concurrency,
    execution,
    itemDeadline,
    options: own,
    outagePatience,
    quotaPatience,
    throttlePatience
  } = options
  const running = yield* Effect.mapError(
    Batch.start<Delivery<In>, In, Out, ClusterError>(Stream.fromQueue(ready), {
      route: options.route,
      input: ({ input }) => input,
      id: ({ key }) => key,
      concurrency,
      execution,
      itemDeadline,
      quotaPatience,
      outagePatience,
      throttlePatience,
      options: own,
      isFatal: options.isFatal,
      cost: options.cost,
      ...(shared !== undefined && {
        limits: { limiter: shared.limiter, key: shared.key, tokens: shared.tokens }
      }),
      journal: {
        store: journalOf(sql, job, claims, (on) => {
          learn = on
        }),
        value: options.value,
        fingerprint: options.fingerprint,
        force
      }
    }),
    (error) => (error._tag === "JournalError" ? fromJournal(error) : error)
  )

  const look = Effect.fnUntraced(function* (last: { beat: number; cleanup: number; answered: number }) {
    const now = clock.currentTimeMillisUnsafe()
    if (now - last.beat >= beat) {
      const { concurrency, inFlight } = yield* snapshot
      yield* sql`
        UPDATE gateway_batch_workers SET seen_at = now(), in_flight = ${inFlight}::int, concurrency = ${concurrency}::int
        WHERE worker = ${worker}::bigint`
      last.beat = now
    }
    if (now - last.cleanup >= cleanupEvery) {
      yield* Effect.ignore(claims.cleanup)
      last.cleanup = now
    }
    const finished = !follow && (yield* isFinished)
    last.answered = now
    if (finished) yield* Effect.andThen(claims.finish, Queue.end(ready))
    return finished
  })
  const snapshot = Effect.map(
    Stream.runHead(Stream.take(running.progress(0), 1)),
    (head): { readonly inFlight: number; readonly concurrency: number } =>
      head._tag === "Some" ? head.value : { inFlight: 0, concurrency: 0 }
  )
  const watch = Effect.gen(function* () {
    const startedAt = clock.currentTimeMillisUnsafe()
    const last = { beat: 0, cleanup: startedAt, answered: startedAt }
    while (true) {
      const looked = yield* Effect.result(look(last))
      if (looked._tag === "Success" && looked.success) return yield* Effect.never
      if (looked._tag === "Failure" && clock.currentTimeMillisUnsafe() - last.answered > patience) {
        return yield* mapSql(Effect.fail(looked.failure))
      }
      yield* Effect.sleep(tick)
    }
  })

  const takers = Effect.forEach(Array.from({ length: ahead(concurrency) }), () => Effect.forever(feed), {
    concurrency: "unbounded",
    discard: true
  })
  const draining = Deferred.makeUnsafe<void>()
  const feeding = Effect.andThen(Effect.raceFirst(takers, Deferred.await(draining)), Effect.never)
  const over = Deferred.makeUnsafe<void, GatewayError | ClusterError>()
  const results = Stream.runDrain(running.results).pipe(
    Effect.mapError((error) => (error._tag === "JournalError" ? fromJournal(error) : error))
  )
  yield* Effect.raceFirst(results, Effect.raceFirst(feeding, watch)).pipe(
    Effect.onExit((exit) => Effect.sync(() => Deferred.doneUnsafe(over, exit))),
    Effect.exit,
    Effect.forkScoped
  )
  return {
    id: worker,
    done: Effect.andThen(Deferred.await(over), running.summary),
    summary: running.summary,
    progress: running.progress,
    drain: Effect.andThen(Deferred.succeed(draining, undefined), running.drain)
  }
})
