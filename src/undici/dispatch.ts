/**
 * One request on an undici dispatcher. Undici's own `request` makes a Node stream of every body and needs an
 * `AbortSignal`; both cost more than the request.
 */
import type * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import { InvalidResponse, type Reason } from "../GatewayError.ts"
import { joinBytes } from "../internal/data/bytes.ts"
import { arrival } from "../internal/hotpath/eventLoopTurn.ts"
import { type Body, bodyFailure, type RawResponse, textOf, tooLarge, webOf } from "../internal/transport/body.ts"
import { acceptEncoding, decoded } from "../internal/transport/decompressed.ts"
import {
  isRedirect,
  redirected,
  resending,
  type Send,
  transportReason,
  wireHeaders
} from "../internal/transport/request.ts"
import { withheld } from "../internal/transport/withheld.ts"

/** A dispatcher of undici. */
export type Dispatcher = NodeHttpClient.Dispatcher["Service"]
type Handler = Parameters<Dispatcher["dispatch"]>[1]
type Controller = Parameters<NonNullable<Handler["onRequestStart"]>>[0]
type IncomingHeaders = Parameters<NonNullable<Handler["onResponseStart"]>>[2]

/** Bytes of a body that may wait here unread; beyond them the socket is not read. */
const maxUnread = 65_536

/** Converts header values to text, with the lower-case names of undici. */
const toHeaders = (incoming: IncomingHeaders): Record<string, string> => {
  const out: Record<string, string> = {}
  for (const name in incoming) {
    const value = incoming[name]
    if (value !== undefined) out[name] = typeof value === "string" ? value : value.join(", ")
  }
  return out
}

/** The unread part of a body, and the reader that waits for more. */
class Incoming {
  readonly #controller: Controller
  #chunks: Array<Uint8Array> = []
  #unread = 0
  /** Size limit in bytes, set when the body is read in one piece. */
  #most: number | undefined
  #end: { readonly error: Reason | undefined } | undefined
  #wake: (() => void) | undefined

  constructor(controller: Controller) {
    this.#controller = controller
  }

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk)
    this.#unread += chunk.length
    if (this.#most !== undefined) {
      this.#limit(this.#most)
      return
    }
    if (this.#unread >= maxUnread) this.#controller.pause()
    // One read of the socket may bring many chunks in one turn, so the reader is woken once for all of them.
    if (this.#chunks.length === 1) queueMicrotask(() => this.#notify())
  }

  end(error: Reason | undefined): void {
    this.#end ??= { error }
    queueMicrotask(() => this.#notify())
  }

  abort(reason: Reason = bodyFailure(new Error("aborted"))): void {
    if (this.#end !== undefined) return
    this.end(reason)
    this.#controller.abort(new Error("aborted"))
  }

  #limit(most: number): void {
    if (this.#unread <= most) return
    // The rest is not read, and the chunks so far are useless.
    this.#chunks = []
    this.abort(tooLarge(most))
  }

  #notify(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  // Looks once more before it waits: `resume` may have parsed the rest at once, and a fiber may have yielded since the
  // last look.
  readonly #arrival: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.#end !== undefined || (this.#most === undefined && this.#chunks.length > 0)) return resume(Effect.void)
    const wake = (): void => resume(Effect.void)
    const goOn = this.#most !== undefined ? arrival() : undefined
    this.#wake = goOn === undefined ? wake : () => goOn(wake)
  })

  #resume(): void {
    if (this.#controller.paused) this.#controller.resume()
  }

  /** All chunks, once the last one has arrived. Fails when they have more than `max` bytes. */
  all(max: number): Effect.Effect<ReadonlyArray<Uint8Array>, Reason> {
    const all: Effect.Effect<ReadonlyArray<Uint8Array>, Reason> = Effect.suspend(() => {
      const end = this.#end
      if (end === undefined) {
        this.#most = max
        this.#limit(max)
        this.#resume()
        return Effect.flatMap(this.#arrival, () => all)
      }
      if (end.error !== undefined) return Effect.fail(end.error)
      return this.#unread > max ? Effect.fail(tooLarge(max)) : Effect.succeed(this.#chunks)
    })
    return all
  }

  /** The waiting bytes, or the next ones, as one chunk; `undefined` at the end. */
  readonly next: Effect.Effect<Uint8Array | undefined, Reason> = Effect.suspend(() => {
    const chunks = this.#chunks
    const [first] = chunks
    if (first !== undefined) {
      this.#chunks = []
      this.#unread = 0
      this.#resume()
      return Effect.succeed(joined(chunks))
    }
    const end = this.#end
    if (end === undefined) return Effect.flatMap(this.#arrival, () => this.next)
    return end.error === undefined ? Effect.succeed(undefined) : Effect.fail(end.error)
  })
}

const joined = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const [first] = chunks
  return first !== undefined && chunks.length === 1 ? first : Buffer.concat(chunks)
}

/** The first `max` bytes as text. */
const headOf = (incoming: Incoming, max: number): Effect.Effect<string, Reason> => {
  const chunks: Array<Uint8Array> = []
  let size = 0
  const more: Effect.Effect<string, Reason> = Effect.flatMap(incoming.next, (chunk) => {
    if (chunk !== undefined) {
      chunks.push(chunk)
      size += chunk.length
      if (size < max) return more
    }
    return Effect.succeed(textOf(chunks, max))
  })
  return more
}

const bodyOf = (incoming: Incoming): Body => {
  const cancel = Effect.sync(() => incoming.abort())
  const read = <A>(self: Effect.Effect<A, Reason>): Effect.Effect<A, Reason> => Effect.onError(self, () => cancel)
  return {
    text: (max) => read(Effect.map(incoming.all(max), textOf)),
    bytes: (max) => read(Effect.map(incoming.all(max), joinBytes)),
    head: (max) => Effect.ensuring(headOf(incoming, max), cancel),
    reader: () => ({ read: read(incoming.next), cancel }),
    web: (head) =>
      webOf(
        new ReadableStream<Uint8Array>({
          pull: (controller) =>
            Effect.runPromise(incoming.next).then((chunk) =>
              chunk === undefined ? controller.close() : controller.enqueue(chunk)
            ),
          cancel: () => incoming.abort()
        }),
        head
      ),
    cancel
  }
}

const tooLargeForDispatcher = "a body of more bytes than the dispatcher accepts (maxResponseSize)"

const isTooLarge = (cause: unknown): boolean =>
  cause instanceof Error && "code" in cause && cause.code === "UND_ERR_RES_EXCEEDED_MAX_SIZE"

/** Makes a sender of a dispatcher. It follows no redirects and has no timeouts of its own: the route has them. */
export const makeSend = (dispatcher: Dispatcher, options: object): Send =>
  resending((request, resent) =>
    Effect.callback<RawResponse, Reason>((resumeNow) => {
      // Not inside undici's parser, which is not reentrant: the woken reader may read another body, or send.
      const goOn = arrival()
      const resume = (exit: Effect.Effect<RawResponse, Reason>): void =>
        queueMicrotask(() => goOn(() => resumeNow(exit)))
      const { origin, pathname, search } = new URL(request.url)
      let controller: Controller | undefined
      let incoming: Incoming | undefined
      let left = false
      const fail = (cause: unknown): void => {
        if (incoming === undefined) resume(Effect.fail(withheld(cause) ?? transportReason(cause, request.secrets)))
        else
          incoming.end(isTooLarge(cause) ? new InvalidResponse({ issue: tooLargeForDispatcher }) : bodyFailure(cause))
      }
      const handler: Handler = {
        onRequestStart: (started) => {
          controller = started
          // Nothing has been written yet. Throwing ends the request; aborting would also end its connection.
          if (left) throw new Error("aborted")
        },
        onResponseStart: (started, status, headers) => {
          if (status < 200) return
          const arriving = new Incoming(started)
          incoming = arriving
          if (isRedirect(status)) {
            arriving.abort()
            return resume(Effect.fail(redirected(status)))
          }
          resume(Effect.succeed(decoded({ status, headers: toHeaders(headers), body: bodyOf(arriving), resent })))
        },
        onResponseData: (_, chunk) => incoming?.push(chunk),
        onResponseEnd: () => incoming?.end(undefined),
        onResponseError: (_, error) => fail(error)
      }
      try {
        dispatcher.dispatch(
          {
            headersTimeout: 0,
            bodyTimeout: 0,
            ...options,
            method: request.method,
            origin,
            path: pathname + search,
            headers: { "accept-encoding": acceptEncoding, ...wireHeaders(request) },
            body: request.body ?? null
          },
          handler
        )
      } catch (cause) {
        fail(cause)
      }
      return Effect.sync(() => {
        left = true
        if (incoming === undefined) controller?.abort(new Error("aborted"))
        else incoming.abort()
      })
    })
  )
