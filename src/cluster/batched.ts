/** Combines the requests of many fibers into one statement: while one runs, the next collects. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"

interface Asked<A, B, E> {
  readonly value: A
  readonly answer: Deferred.Deferred<B, E>
}

const one = <B>(answers: ReadonlyArray<B>, index: number): Exit.Exit<B> => {
  const answer = answers[index]
  return answer === undefined
    ? Exit.die(new Error("a statement has fewer answers than questions"))
    : Exit.succeed(answer)
}

/** `run` returns an answer for each value, in order. The scope ends it. */
export const batched = Effect.fnUntraced(function* <A, B, E>(
  most: number,
  run: (values: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<B>, E>
): Effect.fn.Return<(value: A) => Effect.Effect<B, E>, never, Scope.Scope> {
  const waiting = yield* Queue.unbounded<Asked<A, B, E>>()
  const round = Effect.flatMap(Queue.takeBetween(waiting, 1, most), (asked) =>
    Effect.map(Effect.exit(run(asked.map(({ value }) => value))), (exit) => {
      for (const [index, { answer }] of asked.entries()) {
        Deferred.doneUnsafe(answer, Exit.isSuccess(exit) ? one(exit.value, index) : Exit.failCause(exit.cause))
      }
    })
  )
  yield* Effect.forkScoped(Effect.forever(round))
  return (value) =>
    Effect.suspend(() => {
      const answer = Deferred.makeUnsafe<B, E>()
      Queue.offerUnsafe(waiting, { value, answer })
      return Deferred.await(answer)
    })
})
