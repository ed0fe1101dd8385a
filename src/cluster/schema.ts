/**
 * Creates and checks the tables of jobs.
 *
 * The queue's own table belongs to Effect's `PersistedQueue`, which migrates it; only its name is ours. Times leave the
 * database as milliseconds of its clock, and no `bigint` leaves it, so that the client's own settings do not matter.
 */
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { ClusterError, catchLost, fromSql, mapSql, minimumVersion } from "./error.ts"
import { rateFunction } from "./rateFunction.ts"

/** Prefix of all tables. */
export const prefix = "gateway_batch"
/** The table of Effect's queue. */
export const queueTable = `${prefix}_queue`
const migrationsTable = `${prefix}_schema`

const create = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  // `sealed`: all items have been submitted. Without it workers would stop in the middle of a slow submission.
  yield* sql`CREATE TABLE gateway_batch_jobs (
    job text PRIMARY KEY,
    fingerprint text NOT NULL,
    sealed boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  )`
  // Inputs are in the queue only. `seq` is the order of submission and the id in the queue. `sends` counts sends
  // without an end.
  yield* sql`CREATE TABLE gateway_batch_items (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    id text COLLATE "C" NOT NULL,
    digest text NOT NULL,
    round integer NOT NULL DEFAULT 0,
    sends integer NOT NULL DEFAULT 0,
    event_id text,
    ended boolean NOT NULL DEFAULT false,
    UNIQUE (job, id)
  ) WITH (fillfactor = 80)`
  yield* sql`CREATE INDEX gateway_batch_items_open ON gateway_batch_items (job, seq) WHERE NOT ended`
  // Records are text and not json, which rejects U+0000; answers may contain it.
  yield* sql`CREATE TABLE gateway_batch_results (
    job text NOT NULL,
    id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    record text NOT NULL,
    reason text,
    target text,
    requests integer NOT NULL,
    tokens_in double precision NOT NULL DEFAULT 0,
    tokens_out double precision NOT NULL DEFAULT 0,
    cost double precision,
    cache_hit boolean NOT NULL DEFAULT false,
    latency double precision NOT NULL,
    worker bigint,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job, id)
  )`
  yield* sql`CREATE UNIQUE INDEX gateway_batch_results_order ON gateway_batch_results (job, seq)`
  yield* sql`CREATE TABLE gateway_batch_workers (
    worker bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    name text NOT NULL,
    in_flight integer NOT NULL DEFAULT 0,
    concurrency integer NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz
  ) WITH (fillfactor = 50)`
  yield* sql`CREATE INDEX gateway_batch_workers_job ON gateway_batch_workers (job)`
  yield* sql`CREATE TABLE gateway_batch_rates (
    key text PRIMARY KEY,
    requests double precision NOT NULL,
    tokens double precision NOT NULL,
    refilled_at double precision NOT NULL
  ) WITH (fillfactor = 50)`
  yield* sql`CREATE TABLE gateway_batch_rate_slots (
    key text NOT NULL,
    slot bigint NOT NULL,
    requests double precision NOT NULL,
    tokens double precision NOT NULL,
    PRIMARY KEY (key, slot)
  ) WITH (fillfactor = 50)`
  yield* sql.unsafe(rateFunction)
})

const migrations = { "0001_create": create }
/** The version of the tables that this package knows. */
export const schemaVersion = Object.keys(migrations).length

const checkServer = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient
): Effect.fn.Return<void, ClusterError | SqlError> {
  const version = sql.onDialectOrElse({
    pg: () =>
      Effect.map(
        sql<{ readonly version: number }>`SELECT current_setting('server_version_num')::int AS version`,
        ([row]) => row?.version ?? 0
      ),
    orElse: () => Effect.succeed(undefined)
  })
  const found = yield* version
  if (found !== undefined && found >= minimumVersion * 10_000) return
  return yield* new ClusterError({
    reason: "version",
    detail:
      found === undefined
        ? `the database is not PostgreSQL; expected PostgreSQL ${minimumVersion} or later`
        : `the database is PostgreSQL ${Math.floor(found / 10_000)}; expected ${minimumVersion} or later`
  })
})

/** Version of the existing tables; 0 for none. */
const versionThere = Effect.fnUntraced(function* (sql: SqlClient.SqlClient): Effect.fn.Return<number, SqlError> {
  const there = yield* sql`SELECT 1 WHERE to_regclass(${migrationsTable}) IS NOT NULL`
  if (there.length === 0) return 0
  const [row] = yield* sql<{ readonly version: number }>`
    SELECT coalesce(max(migration_id), 0)::int AS version FROM ${sql(migrationsTable)}`
  return row?.version ?? 0
})

/**
 * Checks the server and the tables before anything is written. `create`: creates what is missing; otherwise a database
 * without tables has no jobs.
 */
export const prepare = Effect.fnUntraced(function* (
  create: boolean
): Effect.fn.Return<SqlClient.SqlClient, ClusterError, SqlClient.SqlClient> {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  yield* mapSql(checkServer(sql))
  const version = yield* mapSql(versionThere(sql))
  if (version > schemaVersion) {
    return yield* new ClusterError({
      reason: "newer",
      detail: `the tables have version ${version}, from a later effect-ai-gateway; this one supports ${schemaVersion}`
    })
  }
  if (version === schemaVersion) return sql
  if (!create && version === 0) return yield* noJobs
  yield* Effect.mapError(
    catchLost(Migrator.make({})({ loader: Migrator.fromRecord(migrations), table: migrationsTable })),
    (error) =>
      error._tag === "SqlError"
        ? fromSql(error)
        : new ClusterError({ reason: "failed", detail: "the tables cannot be created", cause: error })
  )
  return sql
})

const noJobs = new ClusterError({
  reason: "noJob",
  detail: "the database has no jobs: nothing was submitted to it"
})
