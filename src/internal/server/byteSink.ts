/**
 * A web stream of bytes to which a fiber writes only on its reader's demand: nothing is made ahead of a slow reader.
 */
import type * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

/** A stream of bytes, from the writer's side. */
export interface ByteSink {
  readonly stream: ReadableStream<Uint8Array>
  /** Waits until the reader asks for more. */
  readonly asked: Effect.Effect<void>
  /** When the reader began to wait; `undefined` while it does not. */
  readonly waitingSince: () => number | undefined
  /** Answers the reader. Has no effect once the stream has ended or the reader has left. */
  readonly write: (bytes: Uint8Array) => void
  readonly close: () => void
  /** Breaks the stream, so that no reader takes its part for the complete answer. */
  readonly fail: (error: unknown) => void
}

/** Makes a sink. `onCancel` is called once, when the reader leaves before the stream has ended. */
export const makeByteSink = (now: () => number, onCancel: () => Promise<void>): ByteSink => {
  const latch = Latch.makeUnsafe(false)
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  let answered: (() => void) | undefined
  let since: number | undefined
  const stream = new ReadableStream<Uint8Array>(
    {
      start: (own) => {
        controller = own
      },
      // The stream pulls again only after this promise, so at most one answer waits for a reader that has stopped
      // reading.
      pull: () =>
        new Promise((resolve) => {
          answered = resolve
          since = now()
          latch.openUnsafe()
        }),
      cancel: () => {
        controller = undefined
        since = undefined
        return onCancel()
      }
    },
    { highWaterMark: 0 }
  )
  const answer = (say: (controller: ReadableStreamDefaultController<Uint8Array>) => void): void => {
    since = undefined
    if (controller === undefined) return
    latch.closeUnsafe()
    say(controller)
    answered?.()
    answered = undefined
  }
  const end = (say: (controller: ReadableStreamDefaultController<Uint8Array>) => void): void =>
    answer((own) => {
      controller = undefined
      say(own)
    })
  return {
    stream,
    asked: latch.await,
    waitingSince: () => since,
    write: (bytes) => answer((controller) => controller.enqueue(bytes)),
    close: () => end((own) => own.close()),
    fail: (error) => end((own) => own.error(error))
  }
}
