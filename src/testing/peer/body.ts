/**
 * Bodies that arrive piece by piece on the clock of the program, without promises: an instant of a test clock ends when
 * everything in it has happened.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Reason } from "../../GatewayError.ts"
import { joinBytes } from "../../internal/data/bytes.ts"
import { type Body, type BodyReader, bodyFailure, textOf, tooLarge, webOf } from "../../internal/transport/body.ts"
import { type Piece, toMillis } from "./line.ts"

/** How a body ended. */
export type BodyEnd = "answered" | "failed" | "interrupted"

const encoder = new TextEncoder()

/** The error of a connection that breaks. */
export const reset = (): Error => Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" })

/** A body of pieces. `onEnd` is called once, with how it ended. */
export const bodyOf = (
  pieces: ReadonlyArray<Piece>,
  context: Context.Context<never>,
  onEnd: (end: BodyEnd) => void
): Body => {
  let at = 0
  let isOpen = true
  const end = (how: BodyEnd): void => {
    if (isOpen) onEnd(how)
    isOpen = false
  }
  const step: Effect.Effect<Uint8Array | undefined, Reason> = Effect.suspend(() => {
    const piece = pieces[at++]
    if (piece === undefined) {
      end("answered")
      return Effect.succeed(undefined)
    }
    if (typeof piece === "string") return Effect.succeed(encoder.encode(piece))
    if (piece instanceof Uint8Array) return Effect.succeed(piece)
    if ("wait" in piece) return Effect.flatMap(Effect.sleep(toMillis(piece.wait)), () => step)
    if (piece.end === "never") return Effect.never
    end("failed")
    return Effect.fail(bodyFailure(reset()))
  })
  const read = Effect.onInterrupt(step, () => Effect.sync(() => end("interrupted")))
  const cancel = Effect.sync(() => end("interrupted"))

  const collect = (isEnough: (size: number) => boolean) =>
    Effect.suspend(() => {
      const chunks: Array<Uint8Array> = []
      let size = 0
      const more: Effect.Effect<{ readonly chunks: ReadonlyArray<Uint8Array>; readonly size: number }, Reason> =
        Effect.flatMap(read, (chunk) => {
          if (chunk === undefined) return Effect.succeed({ chunks, size })
          chunks.push(chunk)
          size += chunk.length
          return isEnough(size) ? Effect.succeed({ chunks, size }) : more
        })
      return more
    })
  const whole = <A>(max: number, of: (chunks: ReadonlyArray<Uint8Array>) => A): Effect.Effect<A, Reason> =>
    Effect.flatMap(
      collect((size) => size > max),
      ({ chunks, size }) =>
        size > max ? Effect.flatMap(cancel, () => Effect.fail(tooLarge(max))) : Effect.sync(() => of(chunks))
    )
  const reader: BodyReader = { read, cancel }
  return {
    text: (max) => whole(max, textOf),
    bytes: (max) => whole(max, joinBytes),
    head: (max) =>
      Effect.ensuring(
        Effect.map(
          collect((size) => size >= max),
          ({ chunks }) => textOf(chunks, max)
        ),
        cancel
      ),
    reader: () => reader,
    web: (head) => webOf(webStream(reader, context), head),
    cancel
  }
}

const webStream = ({ cancel, read }: BodyReader, context: Context.Context<never>): ReadableStream<Uint8Array> => {
  const gone = new AbortController()
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const chunk = await Effect.runPromiseWith(context)(read, { signal: gone.signal })
        if (chunk === undefined) controller.close()
        else controller.enqueue(chunk)
      },
      cancel: () => {
        gone.abort()
        return Effect.runPromiseWith(context)(cancel)
      }
    },
    { highWaterMark: 0 }
  )
}
