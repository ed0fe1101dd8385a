/** Progress of a job, and its results. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Result, ValueCodec } from "../Batch.ts"
import type { Json } from "../BatchJournal.ts"
import type { GatewayError } from "../GatewayError.ts"
import { records } from "../internal/batch/record.ts"
import { defined } from "../internal/data/defined.ts"
import { ClusterError, fromJournal, mapSql } from "./error.ts"
import { checkJob } from "./jobs.ts"
import { prepare } from "./schema.ts"

/** Seconds without a sign of life after which a worker counts as dead. */
const silence = 15
/** Results in one page. */
const pageSize = 500

/** A worker, as the database knows it. */
export interface WorkerStatus {
  readonly id: string
  readonly name: string
  /** Whether it gave a sign of life in the last 15 seconds. */
  readonly alive: boolean
  readonly inFlight: number
  /** Its limit of items at once. */
  readonly concurrency: number
  /** Items that it has ended. */
  readonly ended: number
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  readonly seenAt: number
  readonly stoppedAt?: number
}

/** Totals of one target. */
export interface TargetStatus {
  readonly answered: number
  readonly tokensIn: number
  readonly tokensOut: number
  /** US dollars, where known. */
  readonly cost: number
}

/** Progress of a job. */
export interface Status {
  readonly job: string
  /** `submitting`: not all items have been submitted, or a submission broke off. */
  readonly state: "submitting" | "running" | "finished"
  readonly items: number
  readonly succeeded: number
  readonly deadLetters: number
  /** Items that have not ended. */
  readonly open: number
  /** Items in flight of live workers, as of their last sign of life. */
  readonly inFlight: number
  /** Requests of items that have ended. */
  readonly requests: number
  readonly cacheHits: number
  readonly tokensIn: number
  readonly tokensOut: number
  /** US dollars of the successes with a known cost. */
  readonly cost: number
  readonly costKnown: number
  /** Dead letters by reason. */
  readonly reasons: Readonly<Record<string, number>>
  readonly targets: Readonly<Record<string, TargetStatus>>
  /** Milliseconds of items in their worker, when there are successes. */
  readonly latency?: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number }
  /** Items that ended per second, over the last minute. */
  readonly perSecond: number
  readonly workers: ReadonlyArray<WorkerStatus>
  /** Milliseconds since the epoch. */
  readonly submittedAt: number
  readonly lastEndedAt?: number
}

const noJob = (job: string): ClusterError =>
  new ClusterError({ reason: "noJob", detail: `there is no job ${job}: nothing was submitted to it` })

interface Totals {
  readonly succeeded: number
  readonly dead: number
  readonly requests: number
  readonly hits: number
  readonly tokens_in: number
  readonly tokens_out: number
  readonly cost: number
  readonly cost_known: number
  readonly recent: number
  readonly last: number | null
  readonly p50: number | null
  readonly p90: number | null
  readonly p99: number | null
  readonly max: number | null
}

interface ByWorker {
  readonly id: string
  readonly name: string
  readonly alive: boolean
  readonly in_flight: number
  readonly concurrency: number
  readonly ended: number
  readonly started: number
  readonly seen: number
  readonly stopped: number | null
}

/** Reads the progress of a job from one snapshot. See `Cluster.status`. */
export const status = Effect.fnUntraced(function* (
  job: string
): Effect.fn.Return<Status, ClusterError | GatewayError, SqlClient> {
  yield* checkJob("Cluster.status", job)
  const sql = yield* prepare(false)
  const read = Effect.gen(function* () {
    yield* sql`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY`
    const [head] = yield* sql<{ readonly sealed: boolean; readonly created: number; readonly now: number }>`
      SELECT sealed, extract(epoch FROM created_at)::float8 * 1000 AS created FROM gateway_batch_jobs WHERE job = ${job}`
    if (head === undefined) return yield* noJob(job)
    const [items] = yield* sql<{ readonly items: number; readonly open: number }>`
      SELECT count(*)::float8 AS items, (count(*) FILTER (WHERE NOT ended))::float8 AS open
      FROM gateway_batch_items WHERE job = ${job}`
    const [totals] = yield* sql<Totals>`
      SELECT (count(*) FILTER (WHERE kind = 'done'))::float8 AS succeeded,
        (count(*) FILTER (WHERE kind = 'dead'))::float8 AS dead,
        coalesce(sum(requests), 0)::float8 AS requests,
        (count(*) FILTER (WHERE cache_hit))::float8 AS hits,
        coalesce(sum(tokens_in), 0)::float8 AS tokens_in, coalesce(sum(tokens_out), 0)::float8 AS tokens_out,
        coalesce(sum(cost), 0)::float8 AS cost, count(cost)::float8 AS cost_known,
        (count(*) FILTER (WHERE ended_at > now() - interval '1 minute' AND worker IS NOT NULL))::float8 AS recent,
        extract(epoch FROM max(ended_at))::float8 * 1000 AS last,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY latency) FILTER (WHERE kind = 'done') AS p50,
        percentile_disc(0.9) WITHIN GROUP (ORDER BY latency) FILTER (WHERE kind = 'done') AS p90,
        percentile_disc(0.99) WITHIN GROUP (ORDER BY latency) FILTER (WHERE kind = 'done') AS p99,
        max(latency) FILTER (WHERE kind = 'done') AS max
      FROM gateway_batch_results WHERE job = ${job}`
    const reasons = yield* sql<{ readonly reason: string; readonly n: number }>`
      SELECT coalesce(reason, 'Unknown') AS reason, count(*)::float8 AS n
      FROM gateway_batch_results WHERE job = ${job} AND kind = 'dead' GROUP BY 1 ORDER BY 2 DESC`
    const targets = yield* sql<TargetStatus & { readonly target: string }>`
      SELECT target, count(*)::float8 AS answered, sum(tokens_in)::float8 AS "tokensIn",
        sum(tokens_out)::float8 AS "tokensOut", coalesce(sum(cost), 0)::float8 AS cost
      FROM gateway_batch_results WHERE job = ${job} AND target IS NOT NULL GROUP BY target ORDER BY 2 DESC`
    const workers = yield* sql<ByWorker>`
      SELECT w.worker::text AS id, w.name, w.in_flight, w.concurrency,
        w.stopped_at IS NULL AND w.seen_at > clock_timestamp() - make_interval(secs => ${silence}::float8) AS alive,
        coalesce(r.ended, 0) AS ended,
        extract(epoch FROM w.started_at)::float8 * 1000 AS started,
        extract(epoch FROM w.seen_at)::float8 * 1000 AS seen,
        extract(epoch FROM w.stopped_at)::float8 * 1000 AS stopped
      FROM gateway_batch_workers w LEFT JOIN (
        SELECT worker, count(*)::float8 AS ended FROM gateway_batch_results WHERE job = ${job} GROUP BY worker
      ) r ON r.worker = w.worker
      WHERE w.job = ${job} ORDER BY w.worker`
    return { head, items, totals, reasons, targets, workers }
  })
  const { head, items, reasons, targets, totals, workers } = yield* mapSql(sql.withTransaction(read))
  const open = items?.open ?? 0
  const { max, p50, p90, p99 } = totals ?? { max: null, p50: null, p90: null, p99: null }
  return {
    job,
    state: !head.sealed ? "submitting" : open > 0 ? "running" : "finished",
    items: items?.items ?? 0,
    succeeded: totals?.succeeded ?? 0,
    deadLetters: totals?.dead ?? 0,
    open,
    inFlight: workers.reduce((sum, { alive, in_flight }) => sum + (alive ? in_flight : 0), 0),
    requests: totals?.requests ?? 0,
    cacheHits: totals?.hits ?? 0,
    tokensIn: totals?.tokens_in ?? 0,
    tokensOut: totals?.tokens_out ?? 0,
    cost: totals?.cost ?? 0,
    costKnown: totals?.cost_known ?? 0,
    reasons: Object.fromEntries(reasons.map(({ n, reason }) => [reason, n])),
    targets: Object.fromEntries(targets.map(({ target, ...rest }) => [target, rest])),
    ...(p50 !== null && p90 !== null && p99 !== null && max !== null && { latency: { p50, p90, p99, max } }),
    perSecond: (totals?.recent ?? 0) / 60,
    workers: workers.map(({ alive, concurrency, ended, id, in_flight, name, seen, started, stopped }) => ({
      id,
      name,
      alive,
      inFlight: alive ? in_flight : 0,
      concurrency,
      ended,
      startedAt: started,
      seenAt: seen,
      ...(stopped !== null && { stoppedAt: stopped })
    })),
    submittedAt: head.created,
    ...defined({ lastEndedAt: totals?.last ?? undefined })
  }
})

/** Options of a collection. */
export interface CollectOptions<Out> {
  readonly job: string
  /** The codec with which the workers stored values. */
  readonly value: ValueCodec<Out>
  /** Default `"submission"`. Ids are sorted by code points. */
  readonly order?: "submission" | "id" | undefined
}

interface Row {
  readonly id: string
  readonly seq: string
  readonly kind: string
  readonly record: string
}

/** Reads results page by page, so that no snapshot stays open during slow consumption. See `Cluster.collect`. */
export const collect = <Out>(
  options: CollectOptions<Out>
): Stream.Stream<Result<Out>, ClusterError | GatewayError, SqlClient> => {
  const { job, order = "submission" } = options
  const codec = records(options.value)
  let index = 0
  const resultOf = Effect.fnUntraced(function* ({
    id,
    kind,
    record
  }: Row): Effect.fn.Return<Result<Out>, ClusterError> {
    const stored: Json = JSON.parse(record)
    const common = { id, index: index++, replayed: true } as const
    if (kind === "dead") {
      const { error, inDoubt, latency } = yield* Effect.mapError(codec.readDead(stored), fromJournal)
      const ran = { attempts: error.attempts ?? [], latency: Duration.millis(latency), ...defined({ inDoubt }) }
      return { _tag: "DeadLetter", ...common, error, ...ran }
    }
    const { attempts, facts, inDoubt, latency, value } = yield* Effect.mapError(codec.readDone(stored), fromJournal)
    const ran = { ...facts, attempts, latency: Duration.millis(latency), ...defined({ inDoubt }) }
    return value === undefined
      ? { _tag: "DoneBefore", ...common, ...ran }
      : { _tag: "Success", ...common, value: value.value, ...ran }
  })
  return Stream.unwrap(
    Effect.gen(function* () {
      yield* checkJob("Cluster.collect", job)
      const sql = yield* prepare(false)
      const known = yield* mapSql(sql`SELECT 1 FROM gateway_batch_jobs WHERE job = ${job}`)
      if (known.length === 0) return yield* noJob(job)
      const page = (last: string | undefined) =>
        order === "id"
          ? sql<Row>`
              SELECT id, seq::text AS seq, kind, record FROM gateway_batch_results
              WHERE job = ${job} AND id > ${last ?? ""} ORDER BY id LIMIT ${pageSize}::int`
          : sql<Row>`
              SELECT id, seq::text AS seq, kind, record FROM gateway_batch_results
              WHERE job = ${job} AND seq > ${last ?? "-1"}::bigint ORDER BY gateway_batch_results.seq LIMIT ${pageSize}::int`
      return Stream.paginate(Option.none<string>(), (last) =>
        Effect.gen(function* () {
          const rows = yield* mapSql(page(Option.getOrUndefined(last)))
          const results = yield* Effect.forEach(rows, resultOf)
          const end = rows.at(-1)
          const next = end === undefined || rows.length < pageSize ? undefined : order === "id" ? end.id : end.seq
          return [results, next === undefined ? Option.none() : Option.some(Option.some(next))] as const
        })
      )
    })
  )
}
