/**
 * Keeps V8's heap at a size that suits a job. By default the young generation grows to more than 100 MB on a large
 * machine, and the old one to several times of what is alive, which is little here.
 */
import * as v8 from "node:v8"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

/** Bytes of the young generation, beyond which it no longer grows. */
const enough = 24 * 1024 * 1024
const lookEvery = "250 millis"

/**
 * By how many percent the old generation may outgrow what was alive before it is collected again. With 50 collecting
 * takes 15 % more time than with 100, and the process stays 30 MB smaller. It has to be so from the start: what has
 * once been taken is hardly given back.
 */
const slack = 70

// These are read whenever the heap grows. `--max-semi-space-size` is read only when a process starts.
const growYoung = (factor: number): void => v8.setFlagsFromString(`--semi-space-growth-factor=${factor}`)
const growOld = (percent: number): void => v8.setFlagsFromString(`--heap-growing-percent=${percent}`)

// What V8 does by itself.
const usual = { young: 2, old: 0 }

/** Holds the heap back as long as the scope is open. */
export const modest: Effect.Effect<void, never, Scope.Scope> = Effect.gen(function* () {
  // Not known: the binary has held it back until here.
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
