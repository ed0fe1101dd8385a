/** Shared parts of the tests of the binding double: scripted replies, deferred promises, readers of failures. */
import { assert } from "@effect/vitest"
import { type AiGatewayUniversalRequest, makeBinding } from "./bindingDouble.ts"

/** A promise that is resolved from outside. */
export interface Deferred<A> {
  readonly promise: Promise<A>
  readonly resolve: (value: A) => void
}

export const deferred = <A>(): Deferred<A> => {
  let resolve: (value: A) => void = () => {}
  const promise = new Promise<A>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}

/** One request that reached the service. */
export interface Sent {
  readonly method: string
  readonly url: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body: string
  readonly signal: AbortSignal
}

/** A binding whose service answers with `replies` in order (an `Error` is thrown), and what it was sent. */
export const scripted = (...replies: ReadonlyArray<Response | Promise<Response> | Error>) => {
  const sent: Array<Sent> = []
  let next = 0
  const ai = makeBinding(async (request) => {
    const reply = replies[next++]
    const { method, signal, url } = request
    const headers = Object.fromEntries(request.headers)
    const path = url.slice("https://workers-binding.ai".length)
    sent.push({ method, url, path, headers, body: await request.text(), signal })
    if (reply === undefined) throw new Error("more requests than replies")
    if (reply instanceof Error) throw reply
    return reply
  })
  return { ai, sent }
}

/** A response with `body` as JSON. */
export const json = (body: unknown, init: { status?: number; headers?: Record<string, string> } = {}): Response =>
  new Response(JSON.stringify(body), {
    status: init.status ?? 200,
    headers: { "content-type": "application/json", ...init.headers }
  })

/** A response with a log id in its headers. */
export const withLogId = (logId: string, body: unknown = { from: logId }, status = 200): Response =>
  json(body, { status, headers: { "cf-aig-log-id": logId } })

/** The value with which `promise` rejects. */
export const rejection = async (promise: Promise<unknown>): Promise<unknown> => {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => ({ error })
  )
  assert(outcome !== undefined, "expected a rejection")
  return outcome.error
}

/** Name and message of the `Error` that `promise` rejects with; its only own properties besides the stack. */
export const failure = async (promise: Promise<unknown>): Promise<{ name: string; message: string }> => {
  const error = await rejection(promise)
  assert(error instanceof Error)
  const own = Object.getOwnPropertyNames(error).filter((key) => key !== "stack")
  assert.deepStrictEqual(own.sort(), ["message", "name"])
  return { name: error.name, message: error.message }
}

/** `text` as a stream of bytes. */
export const stream = (text: string): ReadableStream<Uint8Array> => new Blob([text]).stream()

/** A leg of a universal request. */
export const leg = (headers: Record<string, unknown> = {}): AiGatewayUniversalRequest => ({
  provider: "openai",
  endpoint: "chat/completions",
  headers,
  query: { model: "m" }
})
