/** Streams over a source that is pulled in batches and cancelled at the end. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** A source of batches. */
export interface Puller<A, E> {
  /** The next batch, or `undefined` at the end. Empty batches are skipped. */
  readonly next: Effect.Effect<ReadonlyArray<A> | undefined, E>
  /** Called once, however the stream ends. */
  readonly cancel: Effect.Effect<void>
}

const isNonEmpty = <A>(batch: ReadonlyArray<A>): batch is readonly [A, ...Array<A>] => batch.length > 0

/** Makes a stream; the source is opened when the stream runs. */
export const fromPuller = <A, E>(open: () => Puller<A, E>): Stream.Stream<A, E> =>
  Stream.unwrap(
    Effect.map(
      Effect.acquireRelease(Effect.sync(open), ({ cancel }) => cancel),
      ({ next }) => {
        const pull: Effect.Effect<readonly [A, ...Array<A>], E | Cause.Done> = Effect.flatMap(next, (batch) =>
          batch === undefined ? Cause.done() : isNonEmpty(batch) ? Effect.succeed(batch) : pull
        )
        return Stream.fromPull(Effect.succeed(pull))
      }
    )
  )
