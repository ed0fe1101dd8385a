import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as BatchJournal from "effect-ai-gateway/BatchJournal"
import * as BreakerStore from "effect-ai-gateway/BreakerStore"
import * as Limiter from "effect-ai-gateway/Limiter"
import { Conformance } from "effect-ai-gateway/testing"

const suites = {
  "a BreakerStore in memory": Conformance.breakerStore({
    make: Effect.sync(BreakerStore.memory),
    pass: TestClock.adjust
  }),
  "a Limiter in memory": Conformance.limiter({ make: Limiter.make, pass: TestClock.adjust })
}

for (const [what, cases] of Object.entries(suites)) {
  describe(what, () => {
    for (const { name, run } of cases) it.effect(name, () => run)
  })
}

/** The names of the broken promises. */
const broken = (cases: ReadonlyArray<Conformance.Case>) =>
  Effect.map(
    Effect.forEach(cases, ({ name, run }) => Effect.map(Effect.exit(run), ({ _tag }) => ({ name, _tag }))),
    (ends) => ends.flatMap(({ _tag, name }) => (_tag === "Failure" ? [name] : []))
  )

describe("the suites", () => {
  it.effect("detect a store that lets everyone probe", () =>
    Effect.gen(function* () {
      const make = Effect.sync((): BreakerStore.BreakerStore => {
        const memory = BreakerStore.memory()
        let last: BreakerStore.BreakerAdmission | undefined
        return {
          ...memory,
          admit: (key) =>
            Effect.map(memory.admit(key), (one) => {
              if (one._tag !== "Refused") last = one
              return one._tag === "Refused" && last?._tag === "Probe" ? last : one
            })
        }
      })
      const names = yield* broken(Conformance.breakerStore({ make, pass: TestClock.adjust }))
      assert.include(names, "admits one probe, also of many that ask at once, and refuses the others with a hint")
    })
  )

  it.effect("detect a journal that forgets, and one that can be opened twice", () =>
    Effect.gen(function* () {
      const make = Effect.map(
        BatchJournal.memory,
        (memory): BatchJournal.Journal => ({
          open: (options) =>
            Effect.map(memory.open(options), (open) => ({
              ...open,
              append: (entries) => open.append(entries.filter(({ id }) => id !== "item-7"))
            }))
        })
      )
      const names = yield* broken(Conformance.batchJournal({ make }))
      assert.include(names, "keeps the order of those who append at once, and tells when that is durable")
      const unlocked = Effect.sync(
        (): BatchJournal.Journal => ({
          open: (options) => Effect.flatMap(BatchJournal.memory, (journal) => journal.open(options))
        })
      )
      assert.include(yield* broken(Conformance.batchJournal({ make: unlocked })), "is open once at a time")
    })
  )

  it.effect("detect a limiter that admits everyone", () =>
    Effect.gen(function* () {
      const make = () => Limiter.make({})
      const names = yield* broken(Conformance.limiter({ make, pass: TestClock.adjust }))
      assert.includeMembers(names, [
        "admits a minute's requests and no more, by key",
        "gives places in order, and urgent ones first"
      ])
    })
  )
})
