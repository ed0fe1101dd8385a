/**
 * Calls the Workers binding: structurally, as methods (its fields are private), with copies (it modifies its arguments)
 * and with our own signal (so that interruption reaches the wire).
 */
import * as Effect from "effect/Effect"
import { BindingMissing, GatewayError } from "../../GatewayError.ts"
import { tryRequest } from "../hotpath/promise.ts"
import { headersOf, type RawResponse, webBody } from "./body.ts"

/**
 * The part of `env.AI.gateway(id)` that this library uses. Results are checked, because the platform's types are
 * inconsistent.
 */
export interface GatewayBinding {
  run(data: object, options?: object): Promise<unknown>
  getLog(logId: string): Promise<unknown>
  patchLog(logId: string, data: object): Promise<unknown>
  getUrl(provider?: string): Promise<string>
}

/** The part of `env.AI` that this library uses. */
export interface AiBinding {
  gateway(gatewayId: string, options?: object): GatewayBinding
  run(model: string, inputs: object, options?: object): Promise<unknown>
  models(params?: object): Promise<unknown>
  /** Missing in the platform's types. Without it, runs may lack their log ids, and streamed ones cannot be resumed. */
  fetch?(url: string, init?: object): Promise<unknown>
}

/** Checks that a value has the methods that will be called. Fails with `BindingMissing`. */
export const requireMethods = (
  method: string,
  binding: unknown,
  names: ReadonlyArray<string>
): Effect.Effect<void, GatewayError> => {
  const missing = (member: string): Effect.Effect<never, GatewayError> =>
    Effect.fail(new GatewayError({ method, reason: new BindingMissing({ member }) }))
  if (typeof binding !== "object" || binding === null) return missing("AI")
  for (const name of names) {
    if (!(name in binding) || typeof Reflect.get(binding, name) !== "function") return missing(`AI.${name}`)
  }
  return Effect.void
}

const isResponse = (u: unknown): u is Response =>
  typeof u === "object" && u !== null && "status" in u && "headers" in u && "text" in u && typeof u.text === "function"

const isStream = (u: unknown): u is ReadableStream =>
  typeof u === "object" && u !== null && "getReader" in u && typeof u.getReader === "function"

const responseOf = (result: unknown): Response => {
  if (isResponse(result)) return result
  // Nothing is known about the head of a parsed body, except that it was JSON.
  return isStream(result) ? new Response(result) : Response.json(result ?? null)
}

const answerOf = (result: unknown, abort: Effect.Effect<void>): RawResponse => {
  const response = responseOf(result)
  return {
    status: response.status,
    headers: headersOf(response),
    // Workers decompress bodies themselves, and compress a body again when it is forwarded with its headers.
    body: webBody(response, abort),
    resent: false
  }
}

/**
 * Calls the binding. A `Response` carries its own status and headers. Anything else is a parsed body: an overlapping
 * call of the application can strip `returnRawResponse` from ours, and then status, headers and log id are unknown.
 * `onThrown` makes the failure from whatever was thrown, synchronously or not.
 */
export const call = <E>(
  invoke: (signal: AbortSignal) => Promise<unknown>,
  onThrown: (thrown: unknown) => E
): Effect.Effect<RawResponse, E> =>
  tryRequest(invoke, (result, abort) => Effect.succeed(answerOf(result, abort)), onThrown)
