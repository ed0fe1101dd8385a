/**
 * The place where routers find the code that watches them: a bundle that neither listens nor looks has none of it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { RouterEvent, TargetState } from "../../RouterEvent.ts"
import type { RouterState } from "./state.ts"

/** Is called in the turn of each event. */
export type Listener = (event: RouterEvent) => void

/** Watches one router. */
export interface Watching {
  readonly listen: (listener: Listener) => Effect.Effect<void, never, Scope.Scope>
  readonly snapshot: Effect.Effect<ReadonlyArray<TargetState>>
}

type Watch = (state: RouterState) => Watching

let known: Watch | undefined

/** Puts the code in its place. */
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
