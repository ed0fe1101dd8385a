/** Determines which gateway a request addresses, and whether the caller may use it. */
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { Gateway } from "../gateway/settings.ts"
import type { GatewayState } from "../gateway/state.ts"
import { code, type Refusal, refuse } from "../wire/errors.ts"
import { bearer, type HeaderMap } from "../wire/message.ts"

/** Whether a header carries the gateway's token. */
export const holdsToken = (core: GatewayState, header: string | undefined): boolean => {
  const { token } = core.settings
  return token !== undefined && bearer(header) === Redacted.value(token)
}

const knownAccount = (core: GatewayState, account: string): boolean =>
  !core.settings.fixedAccount || account === core.settings.account

const notFound = (id: string): Refusal =>
  refuse(
    400,
    code.gatewayNotFound,
    `Please configure AI Gateway in the Cloudflare dashboard: there is no gateway ${JSON.stringify(id.slice(0, 100))}`
  )

/** The gateway of a data plane request. */
export const dataPlane = (
  core: GatewayState,
  account: string,
  id: string,
  headers: HeaderMap
): Result.Result<Gateway, Refusal> => {
  const { gateways, token } = core.settings
  const gateway = knownAccount(core, account) ? gateways.get(id) : undefined
  // Without a gateway there is no exemption from authentication.
  const required = gateway?.authentication ?? token !== undefined
  if (required && !holdsToken(core, headers["cf-aig-authorization"])) {
    return Result.fail(refuse(401, code.unauthorized, "Unauthorized: cf-aig-authorization is missing or wrong"))
  }
  return gateway === undefined ? Result.fail(notFound(id)) : Result.succeed(gateway)
}

/** The REST API's front door: the token, then the account. */
export const api = (core: GatewayState, account: string, headers: HeaderMap): Result.Result<void, Refusal> => {
  if (core.settings.token !== undefined && !holdsToken(core, headers["authorization"])) {
    return Result.fail(refuse(401, code.apiUnauthorized, "Authentication error"))
  }
  return knownAccount(core, account)
    ? Result.void
    : Result.fail(refuse(404, code.modelNotFound, "Could not route to this account, perhaps the identifier is invalid"))
}

/** A gateway by id, for callers that are already authorized. */
export const gateway = (core: GatewayState, id: string): Result.Result<Gateway, Refusal> => {
  const found = core.settings.gateways.get(id)
  return found === undefined ? Result.fail(notFound(id)) : Result.succeed(found)
}
