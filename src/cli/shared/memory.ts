/**
 * Keeps V8's heap at a size that suits a job. By default the young generation grows to more than 100 MB on a large
 * machine, and the old one to several times the live data, which is small here.
 */
import * as v8 from "node:v8"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

/** Bytes of the young generation, beyond which it no longer grows. */
const enough = 24 * 1024 * 1024
const lookEvery = "250 millis"

/**
 * Percentage by which the old generation may outgrow the live data before it is collected again. At 50, collections
 * take 15 % more time than at 100, and the process stays 30 MB smaller. It must be set from the start: memory that was
 * once taken is rarely returned.
 */
const slack = 70

// These are read whenever the heap grows. `--max-semi-space-size` is read only when a process starts.
const growYoung = (factor: number): void => v8.setFlagsFromString(`--semi-space-growth-factor=${factor}`)
const growOld = (percent: number): void => v8.setFlagsFromString(`--heap-growing-percent=${percent}`)

// V8's own defaults.
const usual = { young: 2, old: 0 }

/** Holds the heap back while the scope is open. */
export const modest: Effect.Effect<void, never, Scope.Scope> = Effect.gen(function* () {
  // Unknown: the binary has held it back until here.
  let factor: number | undefined
  const setYoung = (to: number): void => {
    if (to !== factor) growYoung(to)
    factor = to
  }
  const look = Effect.sync(() => {
    const young = v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")
    setYoung(young !== undefined && young.space_size >= enough ? 1 : usual.young)
  })
  yield* Effect.acquireRelease(
    Effect.sync(() => growOld(slack)),
    () =>
      Effect.sync(() => {
        setYoung(usual.young)
        growOld(usual.old)
      })
  )
  yield* look
  yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(lookEvery)))
})
