/**
 * One job on many machines: a queue, results and limits in PostgreSQL.
 *
 * `submit` puts items into Effect's `PersistedQueue`, any number of `worker`s take them and run them through a route,
 * `status` reports the job's progress, and `collect` reads the results. The `SqlClient` is yours: with `@effect/sql-pg`
 * a `PgClient.layer`. Requires PostgreSQL 13 or later; the first submission creates the tables, all named
 * `gateway_batch_…`.
 *
 * **Each item ends exactly once.** Delivery is at least once: items of a dead worker return to the queue after its
 * lease. Results are by item id, and a result, the end of its item and its removal from the queue are one transaction,
 * so a crash at any moment neither loses a result nor records one twice. Requests that a dead worker had in flight, at
 * most its concurrency, are sent again after a look into the gateway's logs.
 *
 * **An item that kills its workers** becomes a dead letter after `maxAttempts` sends without an end, and does not take
 * others with it.
 *
 * **Limits hold over all workers**: see `limiter`.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { SqlClient } from "effect/sql/SqlClient"
import type * as Batch from "../Batch.ts"
import type { GatewayError } from "../GatewayError.ts"
import type * as Limiter from "../Limiter.ts"
import type * as Router from "../Router.ts"
import type { ClusterError } from "./error.ts"
import { make, type SharedLimits } from "./limiter.ts"
import { prepare } from "./schema.ts"
import * as Status from "./status.ts"
import * as Submit from "./submit.ts"
import * as Worker from "./worker.ts"

export { ClusterError, minimumVersion } from "./error.ts"
export type { SharedLimits } from "./limiter.ts"
export type { CollectOptions, Status, TargetStatus, WorkerStatus } from "./status.ts"
export type { Options as SubmitOptions, Submission, Submitted } from "./submit.ts"
export type { Item, Limits, Options as WorkerOptions, Worker } from "./worker.ts"

/**
 * Puts items into a job, which the first submission creates. Items with a known id stay as they are: repeat a
 * submission that broke off.
 *
 * Fails with `ClusterError`, before anything is written, when the database cannot be used or the job is for another
 * route or input; with `InvalidRequest` for an invalid name or id; and with the items' failures. Items that were
 * submitted before a failure stay, and workers then wait for the rest.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Redacted from "effect/Redacted"
 * import * as PgClient from "@effect/sql-pg/PgClient"
 * import * as Chat from "effect-ai-gateway/Chat"
 * import * as Cluster from "effect-ai-gateway/cluster"
 *
 * export const program = Cluster.submit({
 *   job: "reviews",
 *   items: [{ id: "r1", input: { messages: [{ role: "user", content: "Is this good or bad: …" }] } }],
 *   input: Chat.RequestSchema
 * }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make("postgres://localhost/batch") })))
 * ```
 *
 * @category jobs
 */
export const submit: <In, E = never, R = never>(
  options: Submit.Options<In, E, R>
) => Effect.Effect<Submit.Submitted, ClusterError | GatewayError | E, SqlClient | R> = /*#__PURE__*/ Effect.fn(
  "Cluster.submit"
)(Submit.submit)

/**
 * Starts a worker in the current scope. Closing the scope interrupts items in flight and returns them to the queue; use
 * `drain` to finish them first.
 *
 * Fails with `ClusterError` (`noJob`, `otherJob`, or a database that cannot be used) and with `InvalidRequest` naming
 * the option. `done` fails like the results of `Batch.start`, and with `ClusterError` when the database was unreachable
 * for longer than `patience`. A worker keeps about 30 bytes for each item that it has taken.
 *
 * @category workers
 */
export const startWorker: <In, Out>(
  options: Worker.Options<In, Out>
) => Effect.Effect<Worker.Worker, GatewayError | ClusterError, Router.Router | SqlClient | Scope.Scope> =
  /*#__PURE__*/ Effect.fn("Cluster.startWorker")(Worker.start)

/**
 * Works on a job until it is finished: all items have been submitted and have ended, here or elsewhere. Fails as
 * {@link startWorker} does.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Batch from "effect-ai-gateway/Batch"
 * import * as Chat from "effect-ai-gateway/Chat"
 * import * as Cluster from "effect-ai-gateway/cluster"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * // Needs a Router and a SqlClient.
 * export const program = Cluster.worker({
 *   job: "reviews",
 *   route: Provider.openai.chat("gpt-4.1-mini"),
 *   input: Chat.RequestSchema,
 *   value: Batch.withoutRaw(Chat.ReplySchema),
 *   concurrency: 64,
 *   limits: { requestsPerMinute: 500 }
 * }).pipe(Effect.tap((summary) => Effect.log(summary)))
 * ```
 *
 * @category workers
 */
export const worker = <In, Out>(
  options: Worker.Options<In, Out>
): Effect.Effect<Batch.Summary, GatewayError | ClusterError, Router.Router | SqlClient> =>
  Effect.scoped(Effect.flatMap(startWorker(options), ({ done }) => done))

/**
 * Reads the progress of a job as one snapshot, which takes about a second for a million items. Fails with
 * `ClusterError` (`noJob`, or a database that cannot be used).
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Redacted from "effect/Redacted"
 * import * as PgClient from "@effect/sql-pg/PgClient"
 * import * as Cluster from "effect-ai-gateway/cluster"
 *
 * export const open = Cluster.status("reviews").pipe(
 *   Effect.map(({ open }) => open),
 *   Effect.provide(PgClient.layer({ url: Redacted.make("postgres://localhost/batch") }))
 * )
 * ```
 *
 * @category jobs
 */
export const status: (job: string) => Effect.Effect<Status.Status, ClusterError | GatewayError, SqlClient> =
  /*#__PURE__*/ Effect.fn("Cluster.status")(Status.status)

/**
 * Streams the results of a job, in the order of submission or of ids, page by page: memory does not grow with their
 * number. `index` counts the results from 0.
 *
 * While the job runs, it returns the results so far; an item that ends behind the current page is omitted.
 *
 * @category jobs
 */
export const collect: <Out>(
  options: Status.CollectOptions<Out>
) => Stream.Stream<Batch.Result<Out>, ClusterError | GatewayError, SqlClient> = Status.collect

/**
 * Makes a limiter shared by all processes with the same database and the same key, also outside jobs. Within any 60
 * seconds of the other side's own count, requests and (if the estimates hold) tokens never exceed the limit.
 *
 * It requires a submitted job, whose submission creates the tables. It counts by the database's clock, which must
 * therefore not be set forward by hand. Without the database no request is admitted: `acquire` waits. `skew` is 4
 * seconds by default, and covers the time between admission and sending, for example for writing down that an item is
 * sent.
 *
 * @category limits
 */
export const limiter = Effect.fn("Cluster.limiter")(function* (
  limits: SharedLimits
): Effect.fn.Return<Limiter.Limiter, GatewayError | ClusterError, SqlClient | Scope.Scope> {
  return yield* make(yield* prepare(false), limits)
})
