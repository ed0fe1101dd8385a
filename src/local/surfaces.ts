/**
 * Which surface a request belongs to. The path decides; the host does not matter.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Access from "./access.ts"
import * as Admin from "./admin.ts"
import * as ApiSurface from "./apiSurface.ts"
import type { Core } from "./core.ts"
import * as DataPlane from "./dataPlane.ts"
import { apiError, code, refuse } from "./errors.ts"
import { bearer, type Incoming, incoming as read, toResponse } from "./http.ts"
import * as PrivateSurface from "./privateSurface.ts"
import type { Answer, Disconnect } from "./protocol.ts"

/** Who can reach the gateway. `public` servers ask for the token also where a binding or an operator needs none. */
export type Exposure = "trusted" | "public"

const unauthorized = () => Effect.succeed(apiError(refuse(401, code.apiUnauthorized, "Authentication error")))

const admits = (core: Core, incoming: Incoming): boolean =>
  Access.holdsToken(core, incoming.headers["authorization"]) ||
  Access.holdsToken(core, incoming.headers["cf-aig-authorization"])

const admitsAdmin = (core: Core, incoming: Incoming): boolean => {
  const secret = core.settings.adminToken ?? core.settings.token
  return secret === undefined || bearer(incoming.headers["authorization"]) === Redacted.value(secret)
}

const dispatch = (core: Core, exposure: Exposure, incoming: Incoming): Effect.Effect<Answer, Disconnect> => {
  const [first] = incoming.segments
  if (first === "v1" && incoming.segments.length >= 3) return DataPlane.handle(core, incoming)
  if (first === "accounts" && incoming.segments.length >= 3) return ApiSurface.handle(core, incoming)
  if (first === "__admin") {
    // Browsers send an origin with whatever a page posts; no page is an operator.
    if (incoming.headers["origin"] !== undefined || !admitsAdmin(core, incoming)) return unauthorized()
    return Admin.handle(core, incoming)
  }
  const binding = PrivateSurface.handle(core, incoming)
  if (binding === undefined) return Effect.succeed(apiError(refuse(404, code.noRoute, "No route for that URI")))
  return exposure === "trusted" || admits(core, incoming) ? binding : unauthorized()
}

/** The whole gateway. */
export const handle = (core: Core, exposure: Exposure, request: Request): Effect.Effect<Response, Disconnect> =>
  read(request).pipe(
    Effect.flatMap((incoming) => dispatch(core, exposure, incoming)),
    Effect.catchTag("Refusal", (refusal) => Effect.succeed(apiError(refusal))),
    Effect.map(toResponse)
  )
