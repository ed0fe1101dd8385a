/**
 * Shared parts of the tests of streamed responses.
 */
import * as Effect from "effect/Effect"
import type * as Chat from "effect-ai-gateway/Chat"
import type * as StreamResponse from "effect-ai-gateway/StreamResponse"

export { settle } from "./settle.ts"

export const say = (text: string): Chat.Delta => ({ type: "text", text })
export const finish: Chat.Delta = { type: "finish", reason: "stop" }

export const text = (response: Response): Effect.Effect<string> => Effect.promise(() => response.text())

export const readerOf = ({ body }: Response): ReadableStreamDefaultReader<Uint8Array> => {
  if (body === null) throw new Error("the response has no body")
  return body.getReader()
}

/** Waits in real time until a condition holds; the test's own limit is the limit. */
export const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const timer = setInterval(() => {
      if (!condition()) return
      clearInterval(timer)
      resume(Effect.void)
    }, 2)
    return Effect.sync(() => clearInterval(timer))
  })

/** An event of a body. */
export interface Event {
  readonly event: string | undefined
  readonly data: string
}

/** The events of a body that this library wrote, without comments. */
export const eventsOf = (body: string): ReadonlyArray<Event> =>
  body
    .split("\n\n")
    .filter((block) => block !== "" && !block.startsWith(":"))
    .map((block) => ({
      event: /^event: (.*)$/m.exec(block)?.[1],
      data: /^data: (.*)$/m.exec(block)?.[1] ?? ""
    }))

export const dataOf = (body: string): ReadonlyArray<unknown> =>
  eventsOf(body).map(({ data }) => (data === "[DONE]" ? data : JSON.parse(data)))

/** Keeps the summaries of responses. */
export const recorder = () => {
  const summaries: Array<StreamResponse.Summary> = []
  return {
    summaries,
    onEnd: (summary: StreamResponse.Summary): Effect.Effect<void> => Effect.sync(() => void summaries.push(summary))
  }
}
