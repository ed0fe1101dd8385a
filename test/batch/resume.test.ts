import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import * as BatchJournal from "effect-ai-gateway/BatchJournal"
import * as Chat from "effect-ai-gateway/Chat"
import * as Pricing from "effect-ai-gateway/Pricing"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { brief, drive, failureOf, leaf, names, over, runOnce, tagsOf, tick, world } from "./support.ts"

describe("a second run", () => {
  it.effect("reports the costs of earlier items again, failed ones included", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const pricing = Pricing.make({ "openai/m": { input: 10, output: 20 } })
      const w = yield* world((prompt) => (prompt === "i1" ? { status: 400 } : undefined), "client", { pricing })
      const options = { ...over(journal), ordered: true }
      const first = yield* runOnce(names(2), options, w)
      const second = yield* runOnce(names(2), options, w)
      const costs = ({ results }: typeof first) =>
        results.map((result) => [
          result._tag === "DeadLetter" ? result.error.cost : result.cost,
          result.attempts.map(({ cost, usage }) => ({ cost, usage }))
        ])
      assert.deepStrictEqual(costs(second), costs(first))
      const [done, dead] = first.results
      assert.deepInclude(done, { _tag: "Success", cost: { usd: 0.00005, estimatedUsd: 0, unpriced: 0 } })
      assert.isAbove(dead?._tag === "DeadLetter" ? (dead.error.cost?.estimatedUsd ?? 0) : 0, 0)
    })
  )

  it.effect("does not send finished items, and reports them again with all facts", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world((prompt, nth) =>
        prompt === "i1" ? { status: 400 } : nth === 0 && prompt === "i2" ? { status: 500 } : undefined
      )
      const options = { ...over(journal), route: leaf().pipe((route) => route) }
      const first = yield* runOnce(names(4), options, w)
      assert.strictEqual(first.results.length, 4)
      const sent = w.requests.length
      const second = yield* runOnce(names(6), { ...options, ordered: true }, w)
      assert.strictEqual(w.requests.length, sent + 2)
      assert.deepStrictEqual(second.results.map(brief), [
        "again i0 Success",
        "again i1 InvalidRequest",
        "again i2 ProviderUnavailable",
        "again i3 Success",
        "i4 Success",
        "i5 Success"
      ])
      for (const before of first.results) {
        const after = second.results.find(({ id }) => id === before.id)
        if (before._tag === "DeadLetter" && after?._tag === "DeadLetter") {
          assert.deepStrictEqual(after.error.reason, before.error.reason)
          assert.strictEqual(after.error.message, before.error.message)
          assert.deepStrictEqual(after.attempts, before.attempts)
        } else {
          assert.deepStrictEqual(after, { ...before, replayed: true })
        }
      }
      assert.deepInclude(second.summary, { succeeded: 2, deadLetters: 0, unmet: 0, items: 6 })
      assert.deepStrictEqual(second.summary.replayed, { succeeded: 2, deadLetters: 2 })
    })
  )

  it.effect("keeps the failed attempts before an answer", () =>
    Effect.gen(function* () {
      // Values of the first are stored through their schema, those of the second not at all.
      for (const value of [Schema.String, "ids"] as const) {
        const journal = yield* BatchJournal.memory
        const w = yield* world((_prompt, nth) => (nth === 0 ? { status: 500 } : undefined))
        const route = leaf().pipe(Route.retry({ attempts: 2, delay: 10 }))
        const options = { ...over(journal, { value }), route }
        const [before] = (yield* runOnce(names(1), options, w)).results
        const [after] = (yield* runOnce(names(1), options, w)).results
        const reasons = before?.attempts.map(({ error }) => error?._tag)
        assert.deepStrictEqual(reasons, ["ProviderUnavailable", undefined])
        assert.isTrue(after?.replayed)
        assert.deepStrictEqual(after?.attempts, before?.attempts)
      }
    })
  )

  it.effect("tries dead letters again on request, and the newest result counts", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      let healthy = false
      const w = yield* world((prompt) => (prompt === "i1" && !healthy ? { status: 400 } : undefined))
      yield* runOnce(names(3), over(journal), w)
      healthy = true
      const again = yield* runOnce(names(3), over(journal, { retryFailed: true }), w)
      assert.deepStrictEqual(again.results.map(brief).sort(), ["again i0 Success", "again i2 Success", "i1 Success"])
      const third = yield* runOnce(names(3), over(journal, { retryFailed: true }), w)
      assert.isTrue(third.results.every(({ _tag, replayed }) => _tag === "Success" && replayed))
      assert.strictEqual(w.requests.length, 4)
      assert.deepStrictEqual(tagsOf(journal, "i1"), ["sent", "dead", "sent", "done"])
    })
  )

  it.effect("recognizes finished items without stored values", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world()
      yield* runOnce(names(2), over(journal, { value: "ids" }), w)
      assert.notInclude(JSON.stringify(journal.entries), "answer to")
      const { results } = yield* runOnce(names(2), over(journal, { value: "ids" }), w)
      assert.deepStrictEqual(results.map(brief), ["again i0 DoneBefore", "again i1 DoneBefore"])
      assert.isTrue(results[0]?._tag === "DoneBefore" && results[0].logId === "log-1")
    })
  )

  it.effect("reports only selected items again", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world()
      yield* runOnce(names(3), over(journal), w)
      const none = yield* runOnce(names(4), over(journal, { replay: false }), w)
      assert.deepStrictEqual(none.results.map(brief), ["i3 Success"])
      assert.deepStrictEqual(none.summary.replayed, { succeeded: 3, deadLetters: 0 })
      const one = yield* runOnce(names(4), over(journal, { replay: (id) => id === "i1" }), w)
      assert.deepStrictEqual(one.results.map(brief), ["again i1 Success"])
    })
  )

  it.effect("reports items that the input no longer contains", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world()
      yield* runOnce(names(5), over(journal), w)
      for (const duplicates of ["fail", "unchecked"] as const) {
        assert.strictEqual((yield* runOnce(names(2), { ...over(journal), duplicates }, w)).summary.unmet, 3)
      }
    })
  )

  it.effect("is rejected by another job's journal, unless forced", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world()
      yield* runOnce(names(2), over(journal, { fingerprint: { input: "hash-1" } }), w)
      const refusedOf = (options: Batch.Options<string, string, string>) =>
        Effect.flatMap(drive(Effect.provide(Stream.runDrain(Batch.run(names(2), options)), w.layer)), ({ exit }) =>
          Effect.succeed(failureOf(exit))
        )
      const otherInput = yield* refusedOf(over(journal, { fingerprint: { input: "hash-2" } }))
      assert.isTrue(otherInput?._tag === "JournalError" && otherInput.reason === "otherJob")
      assert.include(otherInput?.message ?? "", "(input differ)")
      const otherRoute = yield* refusedOf({ ...over(journal), route: leaf("groq") })
      assert.include(otherRoute?.message ?? "", "(route differ)")
      assert.strictEqual(w.requests.length, 2)
      const forced = yield* runOnce(names(3), over(journal, { fingerprint: { input: "hash-2" }, force: true }), w)
      assert.strictEqual(forced.results.length, 3)
      assert.strictEqual(w.requests.length, 3)
    })
  )

  it.effect("is rejected while the first one runs", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world(() => ({ never: true }))
      const first = yield* Effect.forkChild(
        Effect.provide(Stream.runDrain(Batch.run(names(2), over(journal))), w.layer)
      )
      yield* tick(10)
      const exit = yield* Effect.exit(Effect.provide(Stream.runDrain(Batch.run(names(2), over(journal))), w.layer))
      const error = failureOf(exit)
      assert.isTrue(error?._tag === "JournalError" && error.reason === "locked")
      yield* Fiber.interrupt(first)
    })
  )

  it.effect("fails when a stored value does not match its schema", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world()
      yield* runOnce(names(2), over(journal), w)
      const short = Schema.String.check(Schema.isMaxLength(3))
      const { exit } = yield* runOnce(names(2), over(journal, { value: short }), w)
      const error = failureOf(exit)
      assert.isTrue(error?._tag === "JournalError" && error.reason === "encoding")
      assert.notInclude(error?.message ?? "", "answer to")
    })
  )
})

describe("durability", () => {
  /** A journal whose syncs end when the test decides. */
  const slow = Effect.gen(function* () {
    const memory = yield* BatchJournal.memory
    const gate = yield* Deferred.make<void, BatchJournal.JournalError>()
    const journal: BatchJournal.Journal = {
      open: (options) =>
        Effect.map(memory.open(options), (open) => ({
          ...open,
          append: (entries) =>
            Effect.map(open.append(entries), (appended) => ({ ...appended, durable: Deferred.await(gate) }))
        }))
    }
    return { memory, gate, journal }
  })

  it.effect("nothing is reported before it is durable, and places are reused earlier", () =>
    Effect.gen(function* () {
      const { gate, journal, memory } = yield* slow
      const w = yield* world(() => ({ delay: 10 }))
      const seen: Array<string> = []
      const fiber = yield* Batch.run(names(20), { ...over(journal), concurrency: 2, buffer: 8 }).pipe(
        Stream.runForEach(({ id }) => Effect.sync(() => seen.push(id))),
        Effect.provide(w.layer),
        Effect.forkChild
      )
      for (let i = 0; i < 20; i++) yield* tick(10)
      assert.deepStrictEqual(seen, [])
      // As many as the buffer holds, each written down.
      assert.strictEqual(w.requests.length, 8)
      assert.strictEqual(memory.entries.filter(({ _tag }) => _tag === "done").length, 8)
      yield* Deferred.succeed(gate, undefined)
      for (let i = 0; i < 20; i++) yield* tick(10)
      assert.strictEqual(seen.length, 20)
      yield* Fiber.join(fiber)
    })
  )

  it.effect("an item is written down before it is sent, and its result before the next one takes its place", () =>
    Effect.gen(function* () {
      const memory = yield* BatchJournal.memory
      let journalled = 0
      const counts: Array<readonly [sent: number, ended: number]> = []
      const w = yield* world(() => {
        const ended = memory.entries.filter(({ _tag }) => _tag !== "sent").length
        counts.push([memory.entries.length - ended, ended])
        return { delay: 10, status: journalled++ % 3 === 0 ? 400 : 200 }
      })
      yield* runOnce(names(9), { ...over(memory), concurrency: 1 }, w)
      assert.deepStrictEqual(
        counts,
        names(9).map((_, index) => [index + 1, index])
      )
    })
  )

  it.effect("unwritten answers never exceed the places, even with throttled items that return", () =>
    Effect.gen(function* () {
      const memory = yield* BatchJournal.memory
      const concurrency = 4
      let [answers, most] = [0, 0]
      const slowly: BatchJournal.Journal = {
        open: (options) =>
          Effect.map(memory.open(options), (open) => ({
            ...open,
            append: (entries) => Effect.delay(open.append(entries), 700)
          }))
      }
      const w = yield* world((prompt, nth) => {
        if (nth === 0 && Number(prompt.slice(1)) % 3 === 0) return { status: 429, delay: 10 }
        answers++
        most = Math.max(most, answers - memory.entries.filter(({ _tag }) => _tag === "done").length)
        return { delay: 10 }
      })
      const { summary } = yield* runOnce(names(60), { ...over(slowly), concurrency }, w)
      assert.strictEqual(summary.succeeded, 60)
      assert.strictEqual(most, concurrency)
    })
  )

  it.effect("a run with nothing to do writes nothing", () =>
    Effect.gen(function* () {
      const memory = yield* BatchJournal.memory
      let appends = 0
      const watched: BatchJournal.Journal = {
        open: (options) =>
          Effect.map(memory.open(options), (open) => ({
            ...open,
            append: (entries) =>
              Effect.andThen(
                Effect.sync(() => appends++),
                open.append(entries)
              )
          }))
      }
      const w = yield* world()
      yield* runOnce(names(3), over(watched), w)
      assert.isAbove(appends, 0)
      appends = 0
      const { summary } = yield* runOnce(names(3), over(watched), w)
      assert.deepStrictEqual([summary.state, summary.replayed.succeeded, appends], ["complete", 3, 0])
    })
  )

  it.effect("a stored reply is read back unchanged, whatever the application made of it", () =>
    Effect.gen(function* () {
      const usages = [{ inputTokens: 3 }, { inputTokens: Number.NaN }, { outputTokens: Number.POSITIVE_INFINITY }]
      const calls = [[], [{ id: "a", name: "f", arguments: { x: 1 } }]]
      const memory = yield* BatchJournal.memory
      const w = yield* world()
      const replies = usages.flatMap((usage) => calls.map((toolCalls) => ({ usage, toolCalls })))
      const options = {
        id: (index: number) => `i${index}`,
        input: () => "hi",
        route: (index: number) =>
          Provider.openai.chat("m").pipe(Route.map((reply) => ({ ...reply, ...replies[index] }))),
        journal: { store: memory, value: Batch.withoutRaw(Chat.ReplySchema) }
      }
      const once = Effect.map(
        drive(Effect.provide(Stream.runCollect(Batch.run([...replies.keys()], options)), w.layer)),
        ({ exit }) => exit
      )
      const kept = (results: ReadonlyArray<Batch.Result<Chat.Reply>>) =>
        results.map((result) => [result.id, result._tag === "Success" ? { ...result.value, raw: null } : result._tag])
      const first = kept(yield* yield* once).toSorted()
      assert.deepStrictEqual(kept(yield* yield* once).toSorted(), first)
      assert.strictEqual(first.length, replies.length)
    })
  )

  it.effect("ends at the same time are written together, with the sends that take their places", () =>
    Effect.gen(function* () {
      const memory = yield* BatchJournal.memory
      const groups: Array<string> = []
      const watched: BatchJournal.Journal = {
        open: (options) =>
          Effect.map(memory.open(options), (open) => ({
            ...open,
            append: (entries) => {
              groups.push(
                entries
                  .map(({ _tag }) => _tag[0])
                  .sort()
                  .join("")
              )
              return open.append(entries)
            }
          }))
      }
      // The test clock wakes one sleeper after the other, so items that should end together wait for one of them.
      let open: Latch.Latch | undefined
      const together = Effect.suspend(() => {
        if (open !== undefined) return open.await
        const own = Latch.makeUnsafe()
        open = own
        return Effect.delay(
          Effect.sync(() => {
            open = undefined
            own.openUnsafe()
          }),
          1_000
        )
      })
      const w = yield* world(() => ({ after: together }))
      yield* runOnce(names(12), { ...over(watched), concurrency: 4 }, w)
      assert.deepStrictEqual(groups, ["ssss", "ddddssss", "ddddssss", "dddd"])
    })
  )

  it.effect("an answer that has arrived is written down even if the batch is interrupted at that moment", () =>
    Effect.gen(function* () {
      const memory = yield* BatchJournal.memory
      const slowly: BatchJournal.Journal = {
        open: (options) =>
          Effect.map(memory.open(options), (open) => ({
            ...open,
            append: (entries) => Effect.delay(open.append(entries), entries[0]?._tag === "done" ? 1_000 : 0)
          }))
      }
      const w = yield* world(() => ({ delay: 100 }))
      const running = yield* Effect.forkChild(
        Effect.provide(Stream.runDrain(Batch.run(names(3), over(slowly))), w.layer)
      )
      for (let at = 0; at < 300; at += 50) yield* tick(50)
      assert.strictEqual(memory.entries.filter(({ _tag }) => _tag === "done").length, 0)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(running))
      yield* tick(2_000)
      yield* Fiber.join(interrupting)
      assert.strictEqual(memory.entries.filter(({ _tag }) => _tag === "done").length, 3)
      const { results } = yield* runOnce(names(3), over(memory), w)
      assert.isTrue(results.every(({ replayed }) => replayed))
      assert.strictEqual(w.requests.length, 3)
    })
  )

  it.effect("a failing journal ends the job, and contains every reported result", () =>
    Effect.gen(function* () {
      const memory = yield* BatchJournal.memory
      let left = 9
      const full = new BatchJournal.JournalError({ reason: "failed", detail: "the disk is full" })
      const journal: BatchJournal.Journal = {
        open: (options) =>
          Effect.map(memory.open(options), (open) => ({
            ...open,
            append: (entries) => Effect.suspend(() => (left-- > 0 ? open.append(entries) : Effect.fail(full)))
          }))
      }
      const w = yield* world(() => ({ delay: 10 }))
      const { exit, results, summary } = yield* runOnce(names(50), { ...over(journal), concurrency: 2 }, w)
      assert.strictEqual(failureOf(exit), full)
      assert.strictEqual(summary.state, "failed")
      for (const { id } of results) assert.include(tagsOf(memory, id), "done")
      left = 1_000
      const again = yield* runOnce(names(50), over(journal), w)
      assert.strictEqual(new Set(again.results.map(({ id }) => id)).size, 50)
      assert.strictEqual(again.results.length, 50)
    })
  )

  it.effect("turns a value that its schema rejects into a dead letter whose message quotes nothing of the answer", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world()
      const value = Schema.String.check(Schema.isMaxLength(3))
      const { exit, results } = yield* runOnce(names(3), over(journal, { value }), w)
      assert.isTrue(Exit.isSuccess(exit))
      assert.lengthOf(results, 3)
      for (const result of results) {
        assert(result._tag === "DeadLetter")
        assert.deepInclude(result.error.reason, { _tag: "InvalidResponse", code: "unwritable" })
        assert.notInclude(result.error.message, "answer to")
      }
    })
  )

  it.effect("replies are stored without the provider's body", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world()
      const options = {
        route: Provider.openai.chat("m"),
        id: (item: string) => item,
        input: (item: string) => item,
        journal: { store: journal, value: Batch.withoutRaw(Chat.ReplySchema) }
      }
      const run = drive(Effect.provide(Stream.runCollect(Batch.run(["a"], options)), w.layer))
      const [first] = yield* (yield* run).exit
      const [second] = yield* (yield* run).exit
      if (first?._tag !== "Success" || second?._tag !== "Success") return assert.fail("two successes")
      assert.isNotNull(first.value.raw)
      assert.deepStrictEqual(second.value, { ...first.value, raw: null })
    })
  )
})

describe("interruption", () => {
  it.effect.prop(
    "at any point, any number of times, ends each item exactly once and reports nothing twice as new",
    {
      stops: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 400 }))).check(
        Schema.isMaxLength(6)
      ),
      concurrency: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 8 })),
      ordered: Schema.Boolean,
      duplicates: Schema.Literals(["fail", "unchecked"])
    },
    ({ concurrency, duplicates, ordered, stops }) =>
      Effect.gen(function* () {
        const journal = yield* BatchJournal.memory
        const w = yield* world((prompt, nth) => {
          const number = Number(prompt.slice(1))
          return {
            delay: 20 + ((number * 37) % 90),
            ...(number % 7 === 0 && { status: 400 }),
            ...(number % 5 === 0 && nth === 0 && { status: 429 })
          }
        })
        const options = { ...over(journal), concurrency, duplicates, ordered }
        const fresh = new Map<string, number>()
        const note = (result: Batch.Result<string>) =>
          Effect.sync(() => {
            if (!result.replayed) fresh.set(result.id, (fresh.get(result.id) ?? 0) + 1)
          })
        for (const stop of stops) {
          const fiber = yield* Effect.forkChild(
            Effect.provide(Stream.runForEach(Batch.run(names(40), options), note), w.layer)
          )
          for (let at = 0; at < stop; at += 10) yield* tick(10)
          yield* Fiber.interrupt(fiber)
        }
        const { exit, results } = yield* runOnce(names(40), options, w)
        assert.isTrue(Exit.isSuccess(exit))
        for (const result of results) yield* note(result)
        assert.deepStrictEqual(results.map(({ id }) => id).sort(), [...names(40)].sort())
        if (ordered)
          assert.deepStrictEqual(
            results.map(({ id }) => id),
            names(40)
          )
        assert.deepStrictEqual(
          [...fresh.values()].filter((times) => times !== 1),
          []
        )
        for (const result of results) {
          assert.strictEqual(result._tag, Number(result.id.slice(1)) % 7 === 0 ? "DeadLetter" : "Success")
          assert.strictEqual(tagsOf(journal, result.id).filter((tag) => tag !== "sent").length, 1)
        }
        // One request each, one more where it was throttled, and the interrupted ones.
        const throttled = names(40).filter((_, number) => number % 5 === 0).length
        assert.isAtMost(w.requests.length, 40 + throttled + stops.length * concurrency)
      }),
    { arbitrary: { runs: 15 } }
  )
})
