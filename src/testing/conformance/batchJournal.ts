/** The promises of every `BatchJournal.Journal`, wherever it writes. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Entry, Journal, Json, Known, OpenJournal, OpenOptions } from "../../BatchJournal.ts"
import { type Case, holds, includes, same } from "./check.ts"

/** A journal under test. */
export interface BatchJournalOptions<R = never> {
  /** A new journal without entries. */
  readonly make: Effect.Effect<Journal, unknown, R>
}

const done = (id: string, record: Json = { value: id }): Entry => ({ _tag: "done", id, record })

const plain: OpenOptions = { fingerprint: {}, force: false, onEntry: () => undefined }

/** Everything that a journal reports when it is opened, records included. */
const told = (journal: Journal, options: Partial<OpenOptions> = {}) =>
  Effect.scoped(
    Effect.gen(function* () {
      const known: Array<Known> = []
      const open = yield* journal.open({ ...plain, ...options, onEntry: (entry) => known.push(entry) })
      const entries = yield* Effect.forEach(known, ({ _tag, eventId = "", id, location }) =>
        _tag === "sent"
          ? Effect.succeed<Entry>({ _tag, id, eventId })
          : Effect.map(open.read(location), (record): Entry => ({ _tag, id, record }))
      )
      return { entries, damage: open.damage }
    })
  )

const use = (
  journal: Journal,
  body: (open: OpenJournal) => Effect.Effect<unknown, unknown>,
  fingerprint: OpenOptions["fingerprint"] = {}
) => Effect.scoped(Effect.flatMap(journal.open({ ...plain, fingerprint }), body))

const ids = Array.from({ length: 200 }, (_, i) => `item-${i}`)
const idsOf = (entries: ReadonlyArray<Entry>): ReadonlyArray<string> => entries.map(({ id }) => id)

/** Lists the promises of a journal, each as its own case. */
export const batchJournal = <R>({ make }: BatchJournalOptions<R>): ReadonlyArray<Case<R>> => {
  const promise = (name: string, check: (journal: Journal) => Effect.Effect<unknown, unknown>): Case<R> => ({
    name,
    run: Effect.asVoid(Effect.flatMap(make, check))
  })
  return [
    promise("tells what was written, in order, over several openings", (journal) =>
      Effect.gen(function* () {
        const record = { text: 'quote " and é, \u2028 and \n', list: [1, null, true, { deep: [0.5] }], empty: "" }
        const first: ReadonlyArray<Entry> = [{ _tag: "sent", id: "a", eventId: "event-1" }, done("a", record)]
        const second: ReadonlyArray<Entry> = [{ _tag: "dead", id: "b", record: { reason: "x" } }, done("c", null)]
        for (const entries of [first, second]) {
          yield* use(journal, (open) => Effect.flatMap(open.append(entries), ({ durable }) => durable))
        }
        const { damage, entries } = yield* told(journal)
        yield* same(entries, [...first, ...second])
        yield* same(damage, [])
      })
    ),
    promise("keeps the order of those who append at once, and tells when that is durable", (journal) =>
      Effect.gen(function* () {
        yield* use(journal, (open) =>
          Effect.gen(function* () {
            const fibers = yield* Effect.forEach(ids, (id) => Effect.forkChild(open.append([done(id)])))
            const appended = yield* Effect.forEach(fibers, Fiber.join)
            yield* Effect.forEach(appended.slice(-3), ({ durable }) => durable)
          })
        )
        yield* same(idsOf((yield* told(journal)).entries), ids)
      })
    ),
    promise("writes what was appended before it was closed, also when no one waited", (journal) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const open = yield* Scope.provide(journal.open(plain), scope)
        for (const id of ids.slice(0, 50)) {
          yield* Effect.forkDetach(open.append([done(id)]), { startImmediately: true })
        }
        yield* Scope.close(scope, Exit.void)
        yield* same(idsOf((yield* told(journal)).entries), ids.slice(0, 50))
      })
    ),
    promise("belongs to one job, unless it is forced", (journal) =>
      Effect.gen(function* () {
        yield* use(journal, (open) => open.append([done("a")]), { route: "r1", input: "i1" })
        const other = yield* Effect.flip(told(journal, { fingerprint: { route: "r2", input: "i1" } }))
        yield* includes(other, { reason: "otherJob" })
        yield* holds(other.message.includes("route"), "the name that differs", other.message)
        for (const fingerprint of [{ route: "r1" }, { another: "x" }]) {
          yield* same((yield* told(journal, { fingerprint })).entries.length, 1)
        }
        yield* told(journal, { fingerprint: { route: "r2" }, force: true })
        // The journal belongs to the other job from now on.
        yield* told(journal, { fingerprint: { route: "r2", input: "i1" } })
        yield* includes(yield* Effect.flip(told(journal, { fingerprint: { route: "r1" } })), { reason: "otherJob" })
      })
    ),
    promise("is open once at a time", (journal) =>
      Effect.gen(function* () {
        yield* use(journal, () =>
          Effect.flatMap(Effect.flip(Effect.scoped(journal.open(plain))), (error) =>
            includes(error, { reason: "locked" })
          )
        )
        yield* use(journal, () => Effect.void)
      })
    )
  ]
}
