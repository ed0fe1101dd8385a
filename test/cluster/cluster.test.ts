import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, layer } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import * as Cluster from "effect-ai-gateway/cluster"
import { GatewayError, InvalidRequest } from "effect-ai-gateway/GatewayError"
import * as Route from "effect-ai-gateway/Route"
import { failureOf, leaf, names, reasonIn, world } from "../batch/support.ts"
import { client, missing } from "./postgres.ts"
import { brief, collected, items, Live, queued, text, until, work } from "./support.ts"

if (missing !== undefined) console.warn(`test/cluster: ${missing}`)

const reasonOf = (exit: Exit.Exit<unknown, unknown>): string | undefined => {
  const error = failureOf(exit)
  return error instanceof Cluster.ClusterError ? error.reason : undefined
}

const tables = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql<{ readonly name: string }>`
    SELECT relname AS name FROM pg_class WHERE relname LIKE 'gateway_batch%' AND relkind = 'r'`
  return rows.map(({ name }) => name)
})

/** Runs against a separate database in the same server. */
const inDatabase = <A, E, R>(name: string, setUp: string, self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { config } = yield* PgClient.PgClient
    const sql = yield* SqlClient.SqlClient
    yield* sql.unsafe(`CREATE DATABASE ${name}`)
    if (setUp !== "") yield* sql.unsafe(setUp)
    const url = config.url === undefined ? "" : Redacted.value(config.url).replace(/postgres$/, name)
    return yield* Effect.provide(self, client(url, 3))
  })

describe.skipIf(missing !== undefined)(missing ?? "cluster", () => {
  layer(Live, { excludeTestServices: true, timeout: 120_000 })((it) => {
    it.effect("rejects an unusable database before anything is written", () =>
      Effect.gen(function* () {
        const submit = Cluster.submit({ job: "early", items: items(1), ...text })
        // Nothing has been submitted yet.
        const w = yield* world()
        const early = [
          yield* Effect.exit(Cluster.status("early")),
          yield* Effect.exit(Effect.provide(Cluster.worker(work("early")), w.layer)),
          yield* Effect.exit(collected("early")),
          yield* Effect.exit(Effect.scoped(Cluster.limiter({ requestsPerMinute: 1 })))
        ]
        assert.deepStrictEqual(early.map(reasonOf), ["noJob", "noJob", "noJob", "noJob"])
        assert.deepStrictEqual(yield* tables, [])

        const away = "postgres://someone:hidden-password@127.0.0.1:1/none"
        const unreachable = yield* Effect.flip(Effect.provide(submit, client(away)))
        assert.strictEqual(unreachable.message, "the database cannot be reached (ECONNREFUSED 127.0.0.1:1)")

        const old = yield* inDatabase(
          "old",
          "ALTER DATABASE old SET search_path = public, pg_catalog",
          Effect.gen(function* () {
            const sql = yield* SqlClient.SqlClient
            yield* sql.unsafe(
              `CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT '120022' $$`
            )
            return [yield* Effect.exit(submit), yield* tables] as const
          })
        )
        assert.strictEqual(reasonOf(old[0]), "version")
        assert.include(String(failureOf(old[0])), "PostgreSQL 12; expected 13 or later")
        assert.deepStrictEqual(old[1], [])

        const newer = yield* inDatabase(
          "newer",
          "",
          Effect.gen(function* () {
            const sql = yield* SqlClient.SqlClient
            yield* submit
            yield* sql`INSERT INTO gateway_batch_schema (migration_id, name) VALUES (99, 'later')`
            return [
              yield* Effect.exit(Cluster.submit({ job: "later", items: items(1), ...text })),
              yield* Effect.exit(Cluster.status("early")),
              yield* sql`SELECT 1 FROM gateway_batch_jobs`
            ] as const
          })
        )
        assert.deepStrictEqual([reasonOf(newer[0]), reasonOf(newer[1]), newer[2].length], ["newer", "newer", 1])

        for (const job of ["", "a b", "-a", "x".repeat(101)]) {
          const exit = yield* Effect.exit(Cluster.submit({ job, items: items(1), ...text }))
          assert.strictEqual(reasonIn(exit)?._tag, "InvalidRequest")
        }
        assert.deepStrictEqual(yield* tables, [])
      })
    )

    it.effect("ends each item once with two workers, and returns the results in order", () =>
      Effect.gen(function* () {
        const w = yield* world((prompt) =>
          prompt === "i7" ? { status: 400, body: { error: { message: "no" } } } : undefined
        )
        const given = [
          ...items(60),
          {
            id: "bad",
            error: new GatewayError({
              method: "x",
              reason: new InvalidRequest({ origin: "client", field: "line 61", accepted: "JSON" })
            })
          }
        ]
        const told: Array<number> = []
        const submitted = yield* Cluster.submit({
          job: "two",
          items: Stream.fromIterable(given),
          ...text,
          route: leaf(),
          onProgress: ({ added }) => Effect.sync(() => void told.push(added))
        })
        assert.deepStrictEqual(submitted, { added: 61, known: 0, retried: 0, changed: { count: 0, ids: [] } })
        assert.deepStrictEqual(told, [61])
        const summaries = yield* Effect.all(
          [1, 2].map((n) => Cluster.worker({ ...work("two"), concurrency: 4, name: `w${n}`, cost: () => 0.5 })),
          { concurrency: 2 }
        ).pipe(Effect.provide(w.layer))
        assert.strictEqual(w.requests.length, 60)
        assert.deepStrictEqual(
          summaries.map(({ state }) => state),
          ["complete", "complete"]
        )
        assert.strictEqual(
          summaries.reduce((sum, { succeeded }) => sum + succeeded, 0),
          59
        )

        const expected = given.map(({ id }) =>
          id === "i7" || id === "bad" ? `${id} InvalidRequest` : `${id} answer to ${id}`
        )
        assert.deepStrictEqual((yield* collected("two")).map(brief), expected)
        assert.deepStrictEqual(
          (yield* collected("two")).map(({ index }) => index),
          names(61).map((_, i) => i)
        )
        assert.deepStrictEqual((yield* collected("two", "id")).map(brief), [...expected].sort())

        const status = yield* Cluster.status("two")
        assert.deepStrictEqual(
          {
            ...status,
            workers: [],
            latency: undefined,
            submittedAt: 0,
            lastEndedAt: 0,
            targets: Object.values(status.targets)
          },
          {
            job: "two",
            state: "finished",
            items: 61,
            succeeded: 59,
            deadLetters: 2,
            open: 0,
            inFlight: 0,
            requests: 60,
            cacheHits: 0,
            tokensIn: 59,
            tokensOut: 118,
            cost: 29.5,
            costKnown: 59,
            reasons: { InvalidRequest: 2 },
            perSecond: 1,
            workers: [],
            latency: undefined,
            submittedAt: 0,
            lastEndedAt: 0,
            targets: [{ answered: 59, tokensIn: 59, tokensOut: 118, cost: 29.5 }]
          }
        )
        assert.deepStrictEqual(status.workers.map(({ alive, name }) => [alive, name]).sort(), [
          [false, "w1"],
          [false, "w2"]
        ])
        assert.strictEqual(
          status.workers.reduce((sum, { ended }) => sum + ended, 0),
          60
        )
      })
    )

    it.effect("adds only new items when a submission is repeated, and reports differences", () =>
      Effect.gen(function* () {
        const w = yield* world((prompt, nth) =>
          prompt === "i1" && nth === 0 ? { status: 400, body: { error: { message: "no" } } } : undefined
        )
        const submit = (all: ReadonlyArray<{ readonly id: string; readonly input: string }>, options = {}) =>
          Cluster.submit({ job: "again", items: all, ...text, ...options })
        const counts = ({ added, changed, known, retried }: Cluster.Submitted) => [added, known, retried, changed.count]
        assert.deepStrictEqual(counts(yield* submit(items(3))), [3, 0, 0, 0])
        assert.deepStrictEqual(counts(yield* submit(items(5))), [2, 3, 0, 0])
        const twice = yield* submit([
          { id: "i4", input: "another" },
          { id: "i5", input: "i5" },
          { id: "i5", input: "x" }
        ])
        assert.deepStrictEqual(twice, { added: 1, known: 2, retried: 0, changed: { count: 2, ids: ["i4", "i5"] } })
        yield* Effect.provide(Cluster.worker(work("again")), w.layer)
        const all = yield* collected("again")
        assert.deepStrictEqual(
          all.map(brief),
          names(6).map((id) => (id === "i1" ? "i1 InvalidRequest" : `${id} answer to ${id}`))
        )
        assert.deepStrictEqual(w.requests.map(({ prompt }) => prompt).sort(), names(6))

        assert.deepStrictEqual(counts(yield* submit(items(6))), [0, 6, 0, 0])
        yield* Effect.provide(Cluster.worker(work("again")), w.layer)
        assert.strictEqual(w.requests.length, 6)
        assert.deepStrictEqual(counts(yield* submit(items(6), { retryFailed: true })), [0, 5, 1, 0])
        assert.strictEqual((yield* Cluster.status("again")).state, "running")
        yield* Effect.provide(Cluster.worker(work("again")), w.layer)
        assert.deepStrictEqual(
          (yield* collected("again")).map(brief),
          names(6).map((id) => `${id} answer to ${id}`)
        )
        assert.strictEqual(w.requests.length, 7)
      })
    )

    it.effect("rejects another route or input unless forced", () =>
      Effect.gen(function* () {
        const w = yield* world()
        const other = leaf("groq")
        yield* Cluster.submit({ job: "mine", items: items(2), ...text, route: leaf(), fingerprint: { input: "a" } })
        const resubmitted = yield* Effect.exit(
          Cluster.submit({ job: "mine", items: items(3), ...text, fingerprint: { input: "b" } })
        )
        assert.strictEqual(reasonOf(resubmitted), "otherJob")
        assert.include(String(failureOf(resubmitted)), "input differ")
        const refused = yield* Effect.exit(Effect.provide(Cluster.worker({ ...work("mine"), route: other }), w.layer))
        assert.strictEqual(reasonOf(refused), "otherJob")
        assert.include(String(failureOf(refused)), "route differ")
        assert.strictEqual(w.requests.length, 0)
        assert.strictEqual((yield* Cluster.status("mine")).items, 2)
        yield* Effect.provide(Cluster.worker({ ...work("mine"), route: other, force: true }), w.layer)
        assert.deepStrictEqual(
          w.requests.map(({ provider }) => provider),
          ["groq", "groq"]
        )
      })
    )

    it.effect("drains a worker: items in flight end, and others can take the rest at once", () =>
      Effect.gen(function* () {
        const w = yield* world(() => ({ delay: 100 }))
        yield* Cluster.submit({ job: "drain", items: items(20), ...text })
        const first = yield* Effect.scoped(
          Effect.gen(function* () {
            const worker = yield* Cluster.startWorker({ ...work("drain"), concurrency: 4, lease: 60_000 })
            yield* until(Effect.sync(() => w.requests.length >= 4))
            yield* worker.drain
            return yield* worker.done
          })
        ).pipe(Effect.provide(w.layer))
        assert.strictEqual(first.state, "drained")
        const sent = w.requests.length
        assert.strictEqual(first.succeeded, sent)
        assert.isBelow(sent, 20)
        // With a lease of a minute it would hang if an item was held.
        yield* Effect.provide(Cluster.worker({ ...work("drain"), lease: 60_000 }), w.layer)
        assert.strictEqual(w.requests.length, 20)
        assert.strictEqual((yield* collected("drain")).length, 20)
      })
    )

    it.effect("returns the items of an interrupted worker, with sent ones in doubt", () =>
      Effect.gen(function* () {
        const w = yield* world((_, nth) => (nth === 0 ? { never: true } : undefined))
        yield* Cluster.submit({ job: "stop", items: items(3), ...text })
        const first = yield* Effect.forkChild(
          Effect.provide(Cluster.worker({ ...work("stop"), lease: 60_000 }), w.layer)
        )
        yield* until(Effect.sync(() => w.requests.length === 3))
        yield* Fiber.interrupt(first)
        const sql = yield* SqlClient.SqlClient
        // An orderly stop does not count against the items.
        assert.deepStrictEqual(
          yield* sql`SELECT sends FROM gateway_batch_items WHERE job = 'stop' AND (sends <> 0 OR event_id IS NULL)`,
          []
        )
        const summary = yield* Effect.provide(Cluster.worker({ ...work("stop"), lease: 60_000 }), w.layer)
        assert.deepStrictEqual([summary.succeeded, summary.inDoubt], [3, 3])
        const all = yield* collected("stop")
        assert.deepStrictEqual(
          all.map(brief),
          names(3).map((id) => `${id} answer to ${id}`)
        )
        const [one] = all
        assert.strictEqual(one !== undefined && "inDoubt" in one ? one.inDoubt?.found : undefined, "unknown")
      })
    )

    it.effect("ends a worker in an outage without dead letters, repeatedly, and keeps its items for the next one", () =>
      Effect.gen(function* () {
        let isDown = true
        const w = yield* world(() => (isDown ? { status: 503 } : undefined))
        yield* Cluster.submit({ job: "outage", items: items(40), ...text })
        const options = { ...work("outage"), lease: 60_000, maxAttempts: 1, concurrency: 4, outagePatience: 0 }
        for (const _ of [1, 2, 3]) {
          const exit = yield* Effect.exit(Effect.provide(Cluster.worker(options), w.layer))
          assert.strictEqual(reasonIn(exit)?._tag, "ProviderUnavailable")
        }
        assert.isAtMost(w.requests.length, 36)
        assert.deepStrictEqual(yield* collected("outage"), [])
        isDown = false
        yield* Effect.provide(Cluster.worker(options), w.layer)
        assert.deepStrictEqual(
          (yield* collected("outage")).map(brief),
          names(40).map((id) => `${id} answer to ${id}`)
        )
      })
    )

    it.effect("waits for a submission that is not sealed, and forever with follow", () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* Cluster.submit({ job: "open", items: items(1), ...text, seal: false })
        const worker = yield* Effect.forkChild(Effect.provide(Cluster.worker(work("open")), w.layer))
        yield* until(Effect.sync(() => w.requests.length === 1))
        yield* Effect.sleep(800)
        assert.strictEqual((yield* Cluster.status("open")).state, "submitting")
        assert.isUndefined(worker.pollUnsafe())
        yield* Cluster.submit({ job: "open", items: items(2), ...text })
        assert.strictEqual((yield* Fiber.join(worker)).succeeded, 2)

        const following = yield* Effect.forkChild(
          Effect.provide(Cluster.worker({ ...work("open"), follow: true }), w.layer)
        )
        yield* Effect.sleep(800)
        assert.isUndefined(following.pollUnsafe())
        yield* Cluster.submit({ job: "open", items: items(3), ...text })
        yield* until(Effect.sync(() => w.requests.length === 3))
        yield* Fiber.interrupt(following)
      })
    )

    it.effect("writes a result, the end of its item and its removal from the queue in one transaction", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const w = yield* world()
        yield* Cluster.submit({ job: "atomic", items: items(1), ...text })
        // The last statement of the transaction is rejected, twice.
        yield* sql.unsafe("CREATE SEQUENCE refusals")
        yield* sql.unsafe(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.state = 'completed' AND NEW.queue_name = 'atomic' AND nextval('refusals') <= 1 THEN RAISE EXCEPTION 'refused'; END IF;
          RETURN NEW; END $$`)
        yield* sql.unsafe(
          "CREATE TRIGGER refuse BEFORE UPDATE ON gateway_batch_queue FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        const before = yield* queued
        // The rejected transaction stays open for a lease; then only the rest of a refreshed one remains.
        const worker = yield* Effect.forkChild(
          Effect.provide(Cluster.worker({ ...work("atomic"), lease: 4000 }), w.layer)
        )
        yield* until(
          Effect.map(sql<{ readonly n: boolean }>`SELECT is_called AS n FROM refusals`, ([row]) => row?.n === true)
        )
        // Nothing of the rejected transaction remains.
        assert.deepStrictEqual(yield* collected("atomic"), [])
        assert.deepStrictEqual(yield* queued, before)
        yield* Fiber.join(worker)
        assert.deepStrictEqual((yield* collected("atomic")).map(brief), ["i0 answer to i0"])
        assert.strictEqual(w.requests.length, 1)
        yield* sql.unsafe("DROP TRIGGER refuse ON gateway_batch_queue")
      })
    )

    it.effect(
      "rolls back and repeats an end that deadlocks with the refresh of leases",
      () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const w = yield* world((prompt) => ({ delay: prompt === "i0" ? 0 : 100 }))
          yield* Cluster.submit({ job: "cross", items: items(3), ...text })
          const lock = (id: string) => sql`
            SELECT 1 FROM gateway_batch_queue q JOIN gateway_batch_items i ON q.id = i.seq::text
            WHERE i.job = 'cross' AND i.id = ${id} FOR UPDATE OF q`
          const [isHeld, release, isLocked] = [
            Deferred.makeUnsafe<void>(),
            Deferred.makeUnsafe<void>(),
            Deferred.makeUnsafe<void>()
          ]
          // No end succeeds, so that the last two are written together.
          const holding = yield* Effect.forkChild(
            sql.withTransaction(
              Effect.andThen(
                sql`LOCK TABLE gateway_batch_results IN EXCLUSIVE MODE`,
                Effect.andThen(Deferred.succeed(isHeld, undefined), Deferred.await(release))
              )
            )
          )
          yield* Deferred.await(isHeld)
          // With a lease of a minute, repeats in a failed transaction continue for a minute.
          const worker = yield* Effect.forkChild(
            Effect.provide(Cluster.worker({ ...work("cross"), lease: 60_000 }), w.layer)
          )
          yield* until(Effect.sync(() => w.requests.length === 3))
          const waits = Effect.map(
            sql`SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`,
            (rows) => rows.length > 0
          )
          const refreshing = yield* Effect.forkChild(
            sql.withTransaction(
              Effect.gen(function* () {
                // The other side detects the deadlock.
                yield* sql`SET LOCAL deadlock_timeout = '30s'`
                yield* lock("i2")
                yield* Deferred.succeed(isLocked, undefined)
                yield* Fiber.join(holding)
                yield* Effect.timeoutOption(until(waits), 2000)
                yield* lock("i1")
              })
            )
          )
          yield* Effect.sleep(1000)
          yield* Deferred.succeed(release, undefined)
          yield* Deferred.await(isLocked)
          yield* Fiber.join(refreshing)
          assert.strictEqual((yield* Fiber.join(worker)).succeeded, 3)
          assert.strictEqual((yield* collected("cross")).length, 3)
        }),
      60_000
    )

    it.effect("runs items that were in flight at two crashes one by one, without blocking others", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const w = yield* world((prompt) => (prompt.startsWith("s") ? { never: true } : undefined))
        yield* Cluster.submit({ job: "suspects", items: items(12, "s"), ...text, seal: false })
        yield* sql`UPDATE gateway_batch_items SET sends = 2 WHERE job = 'suspects'`
        yield* Cluster.submit({ job: "suspects", items: items(12), ...text })
        const worker = yield* Effect.forkChild(
          Effect.provide(Cluster.worker({ ...work("suspects"), concurrency: 4 }), w.layer)
        )
        yield* until(Effect.map(collected("suspects"), (all) => all.length === 12))
        const suspects = () => w.requests.filter(({ prompt }) => prompt.startsWith("s")).length
        yield* until(Effect.sync(() => suspects() > 0))
        assert.strictEqual(suspects(), 1)
        yield* Fiber.interrupt(worker)
        const calm = yield* world()
        yield* Effect.provide(Cluster.worker({ ...work("suspects"), lease: 60_000 }), calm.layer)
        assert.deepStrictEqual(calm.requests.map(({ prompt }) => prompt).sort(), [...names(12, "s")].sort())
      })
    )

    it.effect("leaves no result for an item that ends after its job was deleted", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const isDeleted = yield* Deferred.make<void>()
        const w = yield* world(() => ({ after: Deferred.await(isDeleted) }))
        yield* Cluster.submit({ job: "deleted", items: items(1), ...text })
        const worker = yield* Effect.forkChild(Effect.provide(Cluster.worker(work("deleted")), w.layer))
        yield* until(Effect.sync(() => w.requests.length === 1))
        yield* sql`DELETE FROM gateway_batch_items WHERE job = 'deleted'`
        yield* Deferred.succeed(isDeleted, undefined)
        assert.strictEqual((yield* Fiber.join(worker)).succeeded, 1)
        assert.deepStrictEqual(yield* collected("deleted"), [])
      })
    )

    it.effect("turns a connection that is lost in a transaction into an error, not a defect", () =>
      Effect.gen(function* () {
        const cut = yield* inDatabase(
          "cut",
          "",
          Effect.gen(function* () {
            const sql = yield* SqlClient.SqlClient
            const submit = Cluster.submit({ job: "cut", items: items(1), ...text })
            yield* submit
            yield* sql.unsafe(`CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$`)
            yield* sql.unsafe(
              "CREATE TRIGGER cut BEFORE INSERT OR UPDATE ON gateway_batch_jobs FOR EACH ROW EXECUTE FUNCTION cut()"
            )
            return yield* Effect.exit(submit)
          })
        )
        assert.include(["unreachable", "failed"], reasonOf(cut))
      })
    )

    it.effect("splits a submission of large items", () =>
      Effect.gen(function* () {
        const told: Array<number> = []
        yield* Cluster.submit({
          job: "large",
          items: ["a", "b", "c"].map((id) => ({ id, input: id.repeat(4_000_000) })),
          ...text,
          onProgress: ({ added }) => Effect.sync(() => void told.push(added))
        })
        assert.deepStrictEqual(told, [2, 3])
      })
    )

    it.effect("makes unreadable items dead letters, and rejects unwritable ones", () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* Cluster.submit({
          job: "types",
          items: [
            { id: "n", input: 5 },
            { id: "s", input: 6 }
          ],
          input: Schema.Number
        })
        yield* Effect.provide(Cluster.worker(work("types")), w.layer)
        assert.deepStrictEqual((yield* collected("types")).map(brief), ["n InvalidRequest", "s InvalidRequest"])
        const odd = "NUL \0 and half \ud83d of a pair"
        yield* Cluster.submit({ job: "odd", items: [{ id: odd.slice(5, 9), input: odd }], ...text })
        yield* Effect.provide(Cluster.worker({ ...work("odd"), route: leaf().pipe(Route.map(() => odd)) }), w.layer)
        assert.deepStrictEqual((yield* collected("odd")).map(brief), [`${odd.slice(5, 9)} ${odd}`])
        for (const id of ["", "x".repeat(513), "a\0b", "half \ud83d"]) {
          const exit = yield* Effect.exit(Cluster.submit({ job: "ids", items: [{ id, input: "x" }], ...text }))
          assert.strictEqual(reasonIn(exit)?._tag, "InvalidRequest")
        }
      })
    )

    it.effect("rejects options that are out of range", () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* Cluster.submit({ job: "options", items: items(1), ...text })
        const cases = [
          [{ lease: 1500 }, "lease"],
          [{ lease: "2 hours" }, "lease"],
          [{ maxAttempts: 0 }, "maxAttempts"],
          [{ patience: 10 }, "patience"],
          [{ limits: { requestsPerMinute: 0 } }, "requestsPerMinute"],
          [{ job: "no/job" }, "job"]
        ] as const
        for (const [options, field] of cases) {
          const exit = yield* Effect.exit(Effect.provide(Cluster.worker({ ...work("options"), ...options }), w.layer))
          const reason = reasonIn(exit)
          assert.strictEqual(reason?._tag === "InvalidRequest" ? reason.field : String(exit), field)
        }
        assert.strictEqual(w.requests.length, 0)
      })
    )

    it.effect("keeps one limit across two workers", () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* Cluster.submit({ job: "limited", items: items(400), ...text })
        const startedAt = Date.now()
        const workers = yield* Effect.forkChild(
          Effect.all(
            [1, 2].map(() =>
              Cluster.worker({ ...work("limited"), concurrency: 32, limits: { requestsPerMinute: 240, burst: 0.05 } })
            ),
            { concurrency: 2 }
          ).pipe(Effect.provide(w.layer))
        )
        // Long enough to see the rate behind the burst.
        yield* until(Effect.sync(() => w.requests.length >= 20))
        yield* Effect.sleep(1500)
        const times = w.requests.map(({ at }) => at)
        yield* Fiber.interrupt(workers)
        // A burst of twelve, and four a second.
        const elapsed = (Math.max(...times) - startedAt) / 1000
        assert.isAtMost(times.length, 12 + Math.ceil(elapsed * 4))
      })
    )
  })
})
