/**
 * Performs a step of the pipeline for many items at once.
 *
 * Items that arrive during the step form its next group, and a group grows as long as turns of the event loop add to
 * it. On a busy processor most items then pass a stage together, at a fraction of the cost of single items; on one that
 * waits for answers nothing is delayed.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"

/** A step that accepts items. */
export interface Groups<A> {
  /** Adds an item; `false`: the step is closed. */
  readonly offer: (item: A) => boolean
  /** Accepts no more items. Ends when the last group is through. */
  readonly close: Effect.Effect<void>
}

/** Starts a step in the scope, which closes it. It is uninterruptible. `fail` receives the cause of its failure. */
export const start = Effect.fnUntraced(function* <A>(
  step: (group: ReadonlyArray<A>) => Effect.Effect<void>,
  fail: (cause: Cause.Cause<never>) => void
): Effect.fn.Return<Groups<A>, never, Scope.Scope> {
  const items = yield* Queue.unbounded<A, Cause.Done>()
  const grown = (group: Array<A>): Effect.Effect<ReadonlyArray<A>> =>
    Effect.flatMap(Effect.andThen(Effect.yieldNow, Queue.clear(items)), (more) => {
      for (const item of more) group.push(item)
      return more.length === 0 ? Effect.succeed(group) : grown(group)
    })
  const each = (group: Array<A>): Effect.Effect<void> =>
    Effect.catchCause(Effect.flatMap(grown(group), step), (cause) => Effect.sync(() => fail(cause)))
  const all: Effect.Effect<void> = Effect.matchCauseEffect(Queue.takeAll(items), {
    onFailure: () => Effect.void,
    onSuccess: (group) => Effect.flatMap(each(group), () => all)
  })
  const fiber = yield* Effect.forkDetach(Effect.uninterruptible(all))
  const close = Effect.asVoid(Effect.andThen(Queue.end(items), Fiber.await(fiber)))
  yield* Effect.addFinalizer(() => close)
  return { offer: (item) => Queue.offerUnsafe(items, item), close }
}, Effect.uninterruptible)
