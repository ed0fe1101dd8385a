/**
 * Keeps V8's heap at a size that suits a job. By default the young generation grows to more than 100 MB on a large machine, and the old one to
 * several times of what is alive, which is little here.
 */
import * as v8 from "node:v8"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

/** Bytes of the young generation, beyond which it no longer grows. */
const enough = 12 * 1024 * 1024
const lookEvery = "250 millis"

/**
 * By how many percent the old generation may outgrow what was alive before it is collected again: freely while the process is small, as collecting costs
 * time, and less and less as it becomes large.
 */
const slackFor = (resident: number): number => {
  const megabytes = resident / 1e6
  return megabytes < 160 ? 200 : megabytes < 190 ? 100 : megabytes < 215 ? 50 : 25
}

// These are read whenever the heap grows. `--max-semi-space-size` is read only when a process starts.
const growYoung = (factor: number): void => v8.setFlagsFromString(`--semi-space-growth-factor=${factor}`)
const growOld = (percent: number): void => v8.setFlagsFromString(`--heap-growing-percent=${percent}`)

/** Calls `set` with a value that is another one than before. */
const changing = (first: number, set: (value: number) => void): ((value: number) => void) => {
  let now = first
  return (value) => {
    if (value !== now) set(value)
    now = value
  }
}

// What V8 does by itself.
const usual = { young: 2, old: 0 }

/** Holds the heap back as long as the scope is open. */
export const modest: Effect.Effect<void, never, Scope.Scope> = Effect.gen(function* () {
  const young = changing(usual.young, growYoung)
  const old = changing(usual.old, growOld)
  const look = Effect.sync(() => {
    const space = v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")
    young(space !== undefined && space.space_size >= enough ? 1 : usual.young)
    old(slackFor(process.memoryUsage.rss()))
  })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      young(usual.young)
      old(usual.old)
    })
  )
  yield* look
  yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(lookEvery)))
})
