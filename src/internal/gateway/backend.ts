/**
 * The interface that a transport implements for a gateway. `GatewayService` adds validation, records and memory.
 */
import * as Effect from "effect/Effect"
import { GatewayError, InvalidResponse, invalid } from "../../GatewayError.ts"
import type * as GatewayLog from "../../GatewayLog.ts"
import type * as GatewayOptions from "../../GatewayOptions.ts"
import type { GatewayResponse } from "../../GatewayResponse.ts"
import type { Leg, UniversalRequest } from "../../UniversalRequest.ts"
import { defined } from "../data/defined.ts"
import { isId } from "../data/headers.ts"
import { jsonText } from "../data/json.ts"
import { isWhole } from "../data/numbers.ts"

/** One gateway behind one transport. Inputs have been validated; log entries are returned as the wire has them. */
export interface Backend {
  readonly run: (
    legs: UniversalRequest,
    options: GatewayOptions.GatewayOptions,
    method: string,
    beforeResend?: Effect.Effect<void, GatewayError>,
    /** Additional headers of the request. Those of the options and the legs take precedence. */
    headers?: Readonly<Record<string, string>>
  ) => Effect.Effect<GatewayResponse, GatewayError>
  readonly getLog: (logId: string) => Effect.Effect<unknown, GatewayError>
  readonly patchLog: (logId: string, patch: object) => Effect.Effect<void, GatewayError>
  readonly getUrl: (provider: string | undefined) => Effect.Effect<string, GatewayError>
  /** Checks the query itself, because only one transport supports logs. */
  readonly listLogs: (query: GatewayLog.Query) => Effect.Effect<GatewayLog.Page, GatewayError>
}

/**
 * Checks an id of an account, gateway or log, which becomes part of a URL, unencoded over the binding. Fails with
 * `InvalidRequest`.
 */
export const checkId = (method: string, field: string, id: string, max = 64): Effect.Effect<void, GatewayError> =>
  isId(id, max)
    ? Effect.void
    : Effect.fail(invalid(method, field, `1 to ${max} letters, digits, hyphens, underscores or dots`))

/** Length of the longest string in V8: a larger answer could arrive, but could not be read. */
const maxMaxBytes = 536_870_888

/** Checks the size limit of answers. Fails with `InvalidRequest`. */
export const checkMaxBytes = (method: string, max: number | undefined): Effect.Effect<void, GatewayError> =>
  isWhole(max, 1, maxMaxBytes)
    ? Effect.void
    : Effect.fail(invalid(method, "maxAnswerBytes", `a whole number from 1 to ${maxMaxBytes}`))

/** Returns the failure for the first of the problems, if any. */
export const refusal = (
  method: string,
  [problem]: ReadonlyArray<GatewayOptions.Problem>
): Effect.Effect<never, GatewayError> | undefined =>
  problem && Effect.fail(invalid(method, problem.field, problem.accepted))

/** Fails with the first of the problems, if any. */
export const refuse = (
  method: string,
  problems: ReadonlyArray<GatewayOptions.Problem>
): Effect.Effect<void, GatewayError> => refusal(method, problems) ?? Effect.void

/** The failure of a log operation whose answer has the wrong shape. */
export const undecodable = (method: string, issue: string, logId?: string): GatewayError =>
  new GatewayError({ method, reason: new InvalidResponse({ issue }), ...defined({ logId }) })

/** Returns the model of a leg: from its body, or from its path for Google and Workers AI. */
export const modelOf = ({ endpoint, query }: Leg): string | undefined =>
  typeof query === "object" && query !== null && "model" in query && typeof query.model === "string"
    ? query.model
    : /(?:^|\/)models\/([^/:?]+):|^(@[a-z]+\/[^?]+)/.exec(endpoint)?.slice(1).find(Boolean)

/** The failure of a value that has no JSON form. */
export const noJson = (method: string, field: string): GatewayError =>
  invalid(method, field, "a JSON value (no bigint, no cycle, not undefined)")

/** Returns the JSON text of a value, or fails with `InvalidRequest` if it has none. */
export const encodeJson = (method: string, field: string, value: unknown): Effect.Effect<string, GatewayError> =>
  Effect.suspend(() => {
    const text = jsonText(value)
    // Only make the error when it is needed: reading the stack costs more than the rest of a call.
    return text === undefined ? Effect.fail(noJson(method, field)) : Effect.succeed(text)
  })
