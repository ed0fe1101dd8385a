/**
 * What a transport must do for a gateway. `GatewayService` adds validation, records and memory on top.
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

/** One gateway behind one transport. Inputs have been validated; log entries are as the wire gives them. */
export interface Backend {
  readonly run: (
    legs: UniversalRequest,
    options: GatewayOptions.GatewayOptions,
    method: string,
    beforeResend?: Effect.Effect<void, GatewayError>,
    /** Further headers of the request, all of them lower than those of the options and the legs. */
    headers?: Readonly<Record<string, string>>
  ) => Effect.Effect<GatewayResponse, GatewayError>
  readonly getLog: (logId: string) => Effect.Effect<unknown, GatewayError>
  readonly patchLog: (logId: string, patch: object) => Effect.Effect<void, GatewayError>
  readonly getUrl: (provider: string | undefined) => Effect.Effect<string, GatewayError>
  /** Checks the query itself: only one transport has this at all. */
  readonly listLogs: (query: GatewayLog.Query) => Effect.Effect<GatewayLog.Page, GatewayError>
}

/**
 * Ids of accounts, gateways and logs become parts of a URL, unencoded over the binding. Fails with `InvalidRequest`.
 */
export const checkId = (method: string, field: string, id: string, max = 64): Effect.Effect<void, GatewayError> =>
  isId(id, max)
    ? Effect.void
    : Effect.fail(invalid(method, field, `1 to ${max} letters, digits, hyphens, underscores or dots`))

/** Length of the longest string in V8: a larger answer could be received, but not read. */
const maxMaxBytes = 536_870_888

/** Checks the size limit of answers. Fails with `InvalidRequest`. */
export const checkMaxBytes = (method: string, max: number | undefined): Effect.Effect<void, GatewayError> =>
  isWhole(max, 1, maxMaxBytes)
    ? Effect.void
    : Effect.fail(invalid(method, "maxAnswerBytes", `a whole number from 1 to ${maxMaxBytes}`))

/** The failure that the first of the problems is, if there is one. */
export const refusal = (
  method: string,
  [problem]: ReadonlyArray<GatewayOptions.Problem>
): Effect.Effect<never, GatewayError> | undefined =>
  problem && Effect.fail(invalid(method, problem.field, problem.accepted))

/** Fails with the first of the problems, if there is one. */
export const refuse = (
  method: string,
  problems: ReadonlyArray<GatewayOptions.Problem>
): Effect.Effect<void, GatewayError> => refusal(method, problems) ?? Effect.void

/** An answer of the log operations that is not what was asked for. */
export const undecodable = (method: string, issue: string, logId?: string): GatewayError =>
  new GatewayError({ method, reason: new InvalidResponse({ issue }), ...defined({ logId }) })

/** The model that a leg names: in its body, or in its path, as Google and Workers AI have it. */
export const modelOf = ({ endpoint, query }: Leg): string | undefined =>
  typeof query === "object" && query !== null && "model" in query && typeof query.model === "string"
    ? query.model
    : /(?:^|\/)models\/([^/:?]+):|^(@[a-z]+\/[^?]+)/.exec(endpoint)?.slice(1).find(Boolean)

/** The failure of a value that has no JSON text. */
export const noJson = (method: string, field: string): GatewayError =>
  invalid(method, field, "a JSON value (no bigint, no cycle, not undefined)")

/** JSON text of a value, or `InvalidRequest` when it has none. */
export const encodeJson = (method: string, field: string, value: unknown): Effect.Effect<string, GatewayError> =>
  Effect.suspend(() => {
    const text = jsonText(value)
    // The error is made only here: it looks at the stack, which costs more than the rest of a call.
    return text === undefined ? Effect.fail(noJson(method, field)) : Effect.succeed(text)
  })
