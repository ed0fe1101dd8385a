/**
 * Watches a router: notifies listeners, and describes its targets.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Reason } from "../../GatewayError.ts"
import type { LatencyState, RouterEvent, TargetState as Snapshot } from "../../RouterEvent.ts"
import type { Latency } from "../admission/latency.ts"
import { defined } from "../data/defined.ts"
import { monotonicMillisOf } from "../data/monotonic.ts"
import type { BeginRun, RouterState, TargetState, Tell } from "./state.ts"
import { type Listener, setWatching, type Watching } from "./watching.ts"

const listeners = new WeakMap<RouterState, Set<Listener>>()

const beginRun =
  (state: RouterState, clock: Clock.Clock): BeginRun =>
  ({ eventId, mode }, execution) => {
    const startedAt = monotonicMillisOf(clock)
    state.tell?.({ _tag: "RunStarted", eventId, mode, execution })
    let isOver = false
    return (exit) => {
      if (isOver) return
      isOver = true
      const duration = Duration.millis(monotonicMillisOf(clock) - startedAt)
      if (Exit.isSuccess(exit)) {
        const { target } = exit.value
        state.tell?.({ _tag: "RunEnded", eventId, mode, outcome: "success", duration, target })
        return
      }
      const error = Option.getOrUndefined(Exit.findErrorOption(exit))
      const outcome = error === undefined && Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failure"
      const told = defined({ error: error?.reason, ended: error?.ended })
      state.tell?.({ _tag: "RunEnded", eventId, mode, outcome, duration, ...told })
    }
  }

/** Removes the text of a provider, and the delivered part of an answer, from a reason. */
const silent = <R extends Reason>(reason: R): R => {
  const copy: R = Object.assign(Object.create(Object.getPrototypeOf(reason)), reason)
  if ("partial" in copy) Object.assign(copy, { partial: "" })
  return Object.assign(copy, { detail: undefined })
}

const withoutText = (event: RouterEvent): RouterEvent => {
  switch (event._tag) {
    case "AttemptEnded": {
      const { attempt } = event
      return attempt.error === undefined ? event : { ...event, attempt: { ...attempt, error: silent(attempt.error) } }
    }
    case "RunEnded":
      return event.error === undefined ? event : { ...event, error: silent(event.error) }
    case "Skipped":
      return { ...event, reason: silent(event.reason) }
    default:
      return event
  }
}

const listen = (state: RouterState, listener: Listener) =>
  Effect.withFiber((fiber) => {
    const known = listeners.get(state) ?? new Set<Listener>()
    listeners.set(state, known)
    // The same function may be registered twice.
    const own: Listener = (event) => {
      try {
        listener(event)
      } catch (cause) {
        Effect.runForkWith(fiber.context)(Effect.logError("a listener of a router threw an exception", cause))
      }
    }
    known.add(own)
    const clock = fiber.getRef(Clock.Clock)
    const tell: Tell = (event) => {
      const told: RouterEvent = withoutText({ ...event, at: clock.currentTimeMillisUnsafe() })
      for (const one of [...known]) one(told)
    }
    state.tell ??= tell
    state.beginRun ??= beginRun(state, clock)
    return Effect.addFinalizer(() =>
      Effect.sync(() => {
        known.delete(own)
        if (known.size > 0) return
        state.tell = undefined
        state.beginRun = undefined
      })
    )
  })

const duration = (millis: number | undefined): Duration.Duration | undefined =>
  millis === undefined ? undefined : Duration.millis(millis)

const latencyOf = (latency: Latency, now: number): LatencyState => ({
  ...defined({ p50: duration(latency.percentile(0.5, now)), p95: duration(latency.percentile(0.95, now)) }),
  n: latency.count(now)
})

const snapshotOf = (state: TargetState, now: number): Snapshot => {
  const { facts, inFlight, model, provider, purse, shown } = state
  const run = state.latency("run")
  const stream = state.latency("stream")
  const limits = state.limits?.lookAll(now) ?? []
  const breaker = facts?.look(now)
  return {
    target: shown,
    provider,
    inFlight,
    waiting: limits.reduce((sum, { waiting }) => sum + waiting, 0),
    limits,
    ...defined({
      model,
      breaker: breaker && { phase: breaker.phase, ...defined({ retryAfter: duration(breaker.millis) }) },
      latency: run && stream && { run: latencyOf(run, now), stream: latencyOf(stream, now) },
      purse: purse?.balance(now)
    })
  }
}

const watch = (state: RouterState): Watching => ({
  listen: (listener) => listen(state, listener),
  snapshot: Effect.map(Clock.Clock, (clock) => {
    const now = monotonicMillisOf(clock)
    return state.all().map((one) => snapshotOf(one, now))
  })
})

/** Marks a function that watches routers: a bundle that holds the function also holds that code. */
export const watches = <A>(self: A): A => {
  setWatching(watch)
  return self
}

/** Maximum number of events that a reader may lag behind. */
const capacity = 1_024

/** The events of a router, for one reader. A reader that is too slow loses the oldest ones, and gets their number. */
export const eventStream = ({ listen }: Watching): Stream.Stream<RouterEvent> =>
  Stream.unwrap(
    Effect.gen(function* () {
      let buffer: Array<RouterEvent> = []
      let lost = 0
      let wake: (() => void) | undefined
      yield* listen((event) => {
        if (buffer.length === capacity) {
          buffer.shift()
          lost++
        }
        buffer.push(event)
        wake?.()
      })
      const take = Effect.sync((): ReadonlyArray<RouterEvent> => {
        const [first] = buffer
        const told: ReadonlyArray<RouterEvent> =
          lost === 0 || first === undefined ? buffer : [{ _tag: "EventsLost", at: first.at, count: lost }, ...buffer]
        buffer = []
        lost = 0
        return told
      })
      const ready = Effect.callback<void>((resume) => {
        const go = (): void => {
          wake = undefined
          resume(Effect.void)
        }
        if (buffer.length > 0) return go()
        wake = go
        return Effect.sync(() => {
          wake = undefined
        })
      })
      return Stream.fromIterableEffectRepeat(Effect.andThen(ready, take))
    })
  )
