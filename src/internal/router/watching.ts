/**
 * The registry where routers find the code that watches them: a bundle that does not use it does not hold it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { RouterEvent, TargetState } from "../../RouterEvent.ts"
import type { RouterState } from "./state.ts"

/** Called synchronously with each event. */
export type Listener = (event: RouterEvent) => void

/** Watches one router. */
export interface Watching {
  readonly listen: (listener: Listener) => Effect.Effect<void, never, Scope.Scope>
  readonly snapshot: Effect.Effect<ReadonlyArray<TargetState>>
}

type Watch = (state: RouterState) => Watching

let known: Watch | undefined

/** Registers the code. */
export const setWatching = (watch: Watch): void => {
  known = watch
}

/** Watches the router of a state. */
export const watching = (state: RouterState): Watching => {
  const found = (): Watching => {
    if (known === undefined) throw new Error("a router is watched by Router.listen, Router.events or Router.snapshot")
    return known(state)
  }
  return {
    listen: (listener) => Effect.suspend(() => found().listen(listener)),
    snapshot: Effect.suspend(() => found().snapshot)
  }
}
