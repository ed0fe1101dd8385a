import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import type * as Batch from "effect-ai-gateway/Batch"
import * as Cluster from "effect-ai-gateway/cluster"
import { leaf, names } from "../batch/support.ts"
import { client, start } from "./postgres.ts"

/** A server for a block of tests, with a client. */
export const Live = Layer.unwrap(Effect.map(start, (url) => client(url)))

/** Items that are their own prompts. */
export const items = (count: number, prefix = "i") => names(count, prefix).map((id) => ({ id, input: id }))

/** Options that submissions and workers of texts share. */
export const text = { input: Schema.String }

/** Options of a worker of texts. */
export const work = (job: string) => ({ job, route: leaf(), input: Schema.String, value: Schema.String, lease: 2000 })

export const collected = (job: string, order: "submission" | "id" = "submission") =>
  Stream.runCollect(Cluster.collect({ job, value: Schema.String, order }))

/** A result as short text. */
export const brief = (result: Batch.Result<string>): string =>
  `${result.id} ${result._tag === "Success" ? result.value : result._tag === "DeadLetter" ? result.error.reason._tag : result._tag}`

/** The contents of the queue, by state. */
export const queued = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql<{ readonly state: string; readonly n: number }>`
    SELECT state, count(*)::int AS n FROM gateway_batch_queue GROUP BY state ORDER BY state`
  return Object.fromEntries(rows.map(({ n, state }) => [state, n]))
})

/** Waits until something holds. */
export const until = <E, R>(holds: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.flatMap(holds, (yes) => (yes ? Effect.void : Effect.andThen(Effect.sleep(20), until(holds))))
