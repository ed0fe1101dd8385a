/**
 * Puts items into the queue of a job.
 */
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fingerprint, Json } from "../BatchJournal.ts"
import { type GatewayError, invalid } from "../GatewayError.ts"
import { records } from "../internal/batch/record.ts"
import { unkeptError } from "../internal/batch/unkept.ts"
import { maxIdLength } from "../internal/data/idIndex.ts"
import { unwritable } from "../internal/data/writable.ts"
import * as Route from "../Route.ts"
import { type Element, queueStore } from "./claims.ts"
import { ClusterError, fromJournal, mapSql } from "./error.ts"
import { checkJob, fingerprintOf, merge, parse } from "./jobs.ts"
import { read } from "./outcome.ts"
import { prepare } from "./schema.ts"

const method = "Cluster.submit"
/** Items in one transaction. */
const batchSize = 500
/** Characters of inputs after which a transaction accepts no more. */
const batchLength = 8_000_000
/** Number of ids that are named when inputs differ. */
const namedIds = 10

/** A submission: an item, or an input that could not become one and is a dead letter from the beginning. */
export type Submission<In> =
  | { readonly id: string; readonly input: In }
  | { readonly id: string; readonly error: GatewayError }

/** Options of a submission. */
export interface Options<In, E, R> {
  /** 1 to 100 letters, digits, dots, colons, hyphens and underscores. */
  readonly job: string
  /** Ids: 1 to 512 characters. */
  readonly items: Stream.Stream<Submission<In>, E, R> | Iterable<Submission<In>>
  readonly input: Schema.Codec<In, unknown>
  /**
   * The route that workers will use: its description becomes part of the job's fingerprint. Default: that of the first
   * worker.
   */
  readonly route?: Route.Route<In, unknown> | undefined
  /** Further identity of the job. */
  readonly fingerprint?: Fingerprint | undefined
  /** Whether to submit although the fingerprint differs. Default `false`. */
  readonly force?: boolean | undefined
  /** Whether to put dead letters whose items are submitted again back into the queue. Default `false`. */
  readonly retryFailed?: boolean | undefined
  /** Whether these are all items, so that workers may end when all have ended. Default `true`. */
  readonly seal?: boolean | undefined
  /** Receives the progress after each transaction. */
  readonly onProgress?: ((submitted: Submitted) => Effect.Effect<void>) | undefined
}

/** Result of a submission. */
export interface Submitted {
  /** New items. */
  readonly added: number
  /** Items that the job already had. */
  readonly known: number
  /** Dead letters that were put back. */
  readonly retried: number
  /** Known items whose input differed: the first input stays. The first ten ids are named. */
  readonly changed: { readonly count: number; readonly ids: ReadonlyArray<string> }
}

interface Encoded {
  readonly id: string
  readonly input: Json | undefined
  readonly error: GatewayError | undefined
  readonly digest: string
  /** Characters of the input. */
  readonly length: number
}

// U+0000 is no text to PostgreSQL, and a half of a surrogate pair would become another character.
/** Whether a text can be an item's id. */
export const isId = (id: string): boolean => id !== "" && id.length <= maxIdLength && !/\0|\p{Surrogate}/u.test(id)

const isStream = <In, E, R>(
  items: Stream.Stream<Submission<In>, E, R> | Iterable<Submission<In>>
): items is Stream.Stream<Submission<In>, E, R> => Stream.isStream(items)

/** Groups items into transactions. */
const grouped = <E, R>(self: Stream.Stream<Encoded, E, R>): Stream.Stream<ReadonlyArray<Encoded>, E, R> =>
  Stream.mapAccum(
    self,
    (): { readonly batch: Array<Encoded>; readonly length: number } => ({ batch: [], length: 0 }),
    (open, item) => {
      open.batch.push(item)
      const length = open.length + item.length
      return open.batch.length < batchSize && length < batchLength
        ? [{ batch: open.batch, length }, []]
        : [{ batch: [], length: 0 }, [open.batch]]
    },
    { onHalt: ({ batch }) => (batch.length === 0 ? [] : [batch]) }
  )

const openJob = (
  sql: SqlClient,
  job: string,
  fingerprint: Fingerprint,
  force: boolean
): Effect.Effect<void, ClusterError> =>
  mapSql(
    sql.withTransaction(
      Effect.gen(function* () {
        yield* sql`
          INSERT INTO gateway_batch_jobs (job, fingerprint, sealed) VALUES (${job}, ${fingerprintOf(fingerprint)}, false)
          ON CONFLICT (job) DO NOTHING`
        const [row] = yield* sql<{ readonly fingerprint: string }>`
          SELECT fingerprint FROM gateway_batch_jobs WHERE job = ${job} FOR UPDATE`
        const merged = yield* merge(job, parse(row?.fingerprint ?? "{}"), fingerprint, force)
        yield* sql`UPDATE gateway_batch_jobs SET sealed = false WHERE job = ${job}`
        if (merged !== undefined) {
          yield* sql`UPDATE gateway_batch_jobs SET fingerprint = ${fingerprintOf(merged)} WHERE job = ${job}`
        }
      })
    )
  )

/** Submits items. See `Cluster.submit`. */
export const submit = Effect.fnUntraced(function* <In, E = never, R = never>(
  options: Options<In, E, R>
): Effect.fn.Return<Submitted, ClusterError | GatewayError | E, SqlClient | R> {
  const { fingerprint, force = false, items, job, onProgress, retryFailed = false, route, seal = true } = options
  yield* checkJob(method, job)
  const sql = yield* prepare(true)
  const encode = Schema.encodeUnknownEffect(Schema.toCodecJson(options.input))
  const { dead } = records<never>("ids")
  let [added, known, retried, changed] = [0, 0, 0, 0]
  const changedIds: Array<string> = []
  const submitted = (): Submitted => ({ added, known, retried, changed: { count: changed, ids: [...changedIds] } })
  let index = 0

  const prepared = Effect.fnUntraced(function* (
    item: Submission<In>
  ): Effect.fn.Return<Encoded, ClusterError | GatewayError> {
    const at = index++
    if (!isId(item.id)) return yield* invalid(method, `id of item ${at}`, `a text of 1 to ${maxIdLength} characters`)
    const buriedFor = (error: GatewayError): Encoded => ({
      id: item.id,
      input: undefined,
      error,
      digest: "error",
      length: 0
    })
    if ("error" in item) return buriedFor(item.error)
    const encoded = yield* Effect.result(encode(item.input))
    // One bad input must not block the inputs after it.
    const found = unwritable(encoded._tag === "Success" ? encoded.success : item.input)
    if (found !== undefined) {
      return buriedFor(invalid(method, found.at === "" ? "input" : `input: ${found.at}`, found.accepted))
    }
    if (encoded._tag === "Failure") {
      return yield* new ClusterError({
        reason: "encoding",
        detail: `the input of item ${at} does not match its schema`,
        cause: encoded.failure
      })
    }
    const input = encoded.success
    const text = JSON.stringify(input)
    const { length } = text
    return { id: item.id, input, error: undefined, digest: `${length}:${Hash.string(text)}`, length }
  })

  return yield* Effect.scoped(
    Effect.gen(function* () {
      const store = yield* mapSql(queueStore())
      yield* openJob(sql, job, { ...(route !== undefined && { route: Route.describe(route) }), ...fingerprint }, force)

      const offer = (seq: string, name: string, element: Element) =>
        store
          .offer({ name: job, id: name, element, isCustomId: true })
          .pipe(
            Effect.mapError(
              (cause) =>
                new ClusterError({ reason: "failed", detail: `item ${seq} cannot be put into the queue`, cause })
            )
          )
      const buried = Effect.fnUntraced(function* (
        seq: string,
        { error, id }: Encoded
      ): Effect.fn.Return<void, ClusterError | SqlError> {
        if (error === undefined) return
        const common = { latency: 0, inDoubt: undefined }
        const record = yield* dead({ error, ...common }).pipe(
          Effect.catch(() => dead({ error: unkeptError(error), ...common })),
          Effect.mapError(fromJournal)
        )
        const { reason, requests } = read(record)
        yield* sql`
          WITH result AS (
            INSERT INTO gateway_batch_results (job, id, seq, kind, record, reason, requests, latency)
            VALUES (${job}, ${id}, ${seq}::bigint, 'dead', ${JSON.stringify(record)}, ${reason ?? null}, ${requests}::int, 0)
            ON CONFLICT (job, id) DO NOTHING
          )
          UPDATE gateway_batch_items SET ended = true WHERE seq = ${seq}::bigint`
      })

      const write = Effect.fnUntraced(function* (batch: ReadonlyArray<Encoded>) {
        // The first input of an id counts, as it would in two batches.
        const byId = new Map<string, Encoded>()
        for (const item of batch) if (!byId.has(item.id)) byId.set(item.id, item)
        const ids = JSON.stringify(batch.map(({ digest, id }) => ({ id, digest })))
        const put = Effect.fnUntraced(function* (
          rows: ReadonlyArray<{ readonly seq: string; readonly id: string; readonly round: number }>
        ) {
          yield* Effect.forEach(
            rows,
            ({ id, round, seq }) => {
              const item = byId.get(id)
              if (item === undefined) return Effect.void
              return item.input === undefined
                ? buried(seq, item)
                : offer(seq, round === 0 ? seq : `${seq}.${round}`, { id, input: item.input })
            },
            // The one connection of the transaction writes them one after the other.
            { concurrency: 16, discard: true }
          )
        })
        const inserted = yield* sql<{ readonly seq: string; readonly id: string; readonly round: number }>`
          INSERT INTO gateway_batch_items (job, id, digest)
          SELECT ${job}, x ->> 'id', x ->> 'digest'
          FROM json_array_elements(${ids}::json) WITH ORDINALITY AS t(x, n) ORDER BY n
          ON CONFLICT (job, id) DO NOTHING
          RETURNING seq::text, id, round`
        // The queue delivers items in the order in which they were added.
        yield* put(inserted)
        const isNew = new Set(inserted.map(({ id }) => id))
        const old =
          inserted.length === batch.length
            ? []
            : batch.filter((item) => !isNew.has(item.id) || byId.get(item.id) !== item)
        const oldIds = JSON.stringify(old.map(({ digest, id }) => ({ id, digest })))
        const differing =
          old.length === 0
            ? []
            : yield* sql<{ readonly id: string }>`
                SELECT i.id FROM json_array_elements(${oldIds}::json) AS x
                JOIN gateway_batch_items i ON i.job = ${job} AND i.id = x ->> 'id' AND i.digest <> x ->> 'digest'`
        const again =
          old.length === 0 || !retryFailed
            ? []
            : yield* sql<{ readonly seq: string; readonly id: string; readonly round: number }>`
                WITH gone AS (
                  DELETE FROM gateway_batch_results r USING json_array_elements(${oldIds}::json) AS x
                  WHERE r.job = ${job} AND r.id = x ->> 'id' AND r.kind = 'dead' RETURNING r.seq
                )
                UPDATE gateway_batch_items i SET ended = false, sends = 0, event_id = NULL, round = round + 1,
                  digest = (SELECT x ->> 'digest' FROM json_array_elements(${oldIds}::json) AS x WHERE x ->> 'id' = i.id LIMIT 1)
                FROM gone WHERE i.seq = gone.seq RETURNING i.seq::text, i.id, i.round`
        yield* put(again)
        return { inserted: inserted.length, differing, again, old: old.length }
      })

      const writeAll = Effect.fnUntraced(function* (batch: ReadonlyArray<Encoded>) {
        const done = yield* mapSql(
          Effect.retry(sql.withTransaction(write(batch)), {
            // Two submissions of the same items may deadlock.
            while: (error) => error._tag === "SqlError" && error.isRetryable && error.reason._tag !== "ConnectionError",
            schedule: Schedule.exponential(50),
            times: 5
          })
        )
        const retriedIds = new Set(done.again.map(({ id }) => id))
        added += done.inserted
        retried += done.again.length
        known += done.old - done.again.length
        for (const { id } of done.differing) {
          if (retriedIds.has(id)) continue
          changed++
          if (changedIds.length < namedIds) changedIds.push(id)
        }
        if (onProgress !== undefined) yield* onProgress(submitted())
      })

      yield* (isStream(items) ? items : Stream.fromIterable(items)).pipe(
        Stream.mapEffect(prepared),
        grouped,
        Stream.runForEach(writeAll)
      )
      if (seal) yield* mapSql(sql`UPDATE gateway_batch_jobs SET sealed = true WHERE job = ${job}`)
      return submitted()
    })
  )
})
