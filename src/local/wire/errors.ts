/** Refusals of the local gateway, in the form of each surface. */
import * as Data from "effect/Data"
import type { Answer } from "./protocol.ts"
import { textStream } from "./textStream.ts"

/** An answer that the gateway itself gives in place of a provider's. */
export class Refusal extends Data.TaggedError("Refusal")<{
  readonly status: number
  readonly code: number
  readonly message: string
  /** Response headers with the known facts of the request: ids, step. */
  readonly headers: Readonly<Record<string, string>>
}> {}

/** Codes that the gateway itself answers with. */
export const code = {
  gatewayNotFound: 2001,
  malformedRun: 2002,
  rateLimited: 2003,
  upstreamFailed: 2005,
  unknownProvider: 2008,
  unauthorized: 2009,
  badModelFormat: 2019,
  noStoredKey: 2040,
  /** Cloudflare has not published the code of a gateway timeout; this is the one of Workers AI. */
  timeout: 3007,
  noRoute: 7000,
  badParameter: 7001,
  logNotFound: 7002,
  modelNotFound: 7003,
  /** Not a published code either. */
  busy: 7005,
  forbidden: 9109,
  apiUnauthorized: 10000
} as const

export const refuse = (
  status: number,
  code: number,
  message: string,
  headers: Readonly<Record<string, string>> = {}
): Refusal => new Refusal({ status, code, message, headers })

export const badRequest = (message: string): Refusal => refuse(400, code.badParameter, message)

// Exactly this content type: the Workers binding parses nothing else as JSON.
export const jsonHeaders = { "content-type": "application/json" } as const

export const json = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { ...headers, ...jsonHeaders },
  body: JSON.stringify(body)
})

/** The data plane's shape: a singular `error` that holds an array. */
export const dataPlaneError = (refusal: Refusal): Answer =>
  json(
    refusal.status,
    {
      success: false,
      result: [],
      messages: [],
      error: [{ code: refusal.code, message: refusal.message }],
      name: "AiGatewayError",
      httpCode: refusal.status,
      internalCode: refusal.code,
      message: refusal.message,
      description: refusal.message
    },
    refusal.headers
  )

/** The REST API's shape. */
export const apiError = (refusal: Refusal): Answer =>
  json(
    refusal.status,
    {
      success: false,
      errors: [{ code: refusal.code, message: refusal.message }],
      messages: [],
      result: null
    },
    refusal.headers
  )

/** Workers AI behind the binding: no gateway took part. */
export const bindingError = (refusal: Refusal): Answer =>
  json(
    refusal.status,
    {
      internalCode: refusal.code,
      message: refusal.message,
      name: "InferenceUpstreamError",
      description: refusal.message
    },
    refusal.headers
  )

/** The run API's shape. */
export const runError =
  (model: string | undefined) =>
  (refusal: Refusal): Answer =>
    json(
      refusal.status,
      { state: "Failed", error: { code: String(refusal.code), message: refusal.message }, model: model ?? null },
      refusal.headers
    )

/** Success in the REST API's envelope. */
export const apiSuccess = (result: unknown, more: Readonly<Record<string, unknown>> = {}): Answer =>
  json(200, { success: true, errors: [], messages: [], result, ...more })

function* inEnvelope(result: Iterable<string>): Generator<string> {
  yield `{"success":true,"errors":[],"messages":[],"result":`
  yield* result
  yield "}"
}

/** {@link apiSuccess} of a result in pieces of JSON, made when the client requests them. */
export const apiSuccessPieces = (result: Iterable<string>): Answer => ({
  status: 200,
  headers: jsonHeaders,
  body: textStream(inEnvelope(result))
})
