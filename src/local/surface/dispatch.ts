/** Finds the surface of a request: the path selects it, after the guard has accepted the caller. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { GatewayState } from "../gateway/state.ts"
import { sizeOf } from "../wire/body.ts"
import type { Share } from "../wire/collect.ts"
import { apiError, code, refuse } from "../wire/errors.ts"
import { bearer, type Incoming, inBytes, incoming as read } from "../wire/message.ts"
import type { Answer, Disconnect } from "../wire/protocol.ts"
import * as Access from "./access.ts"
import * as Admin from "./admin.ts"
import * as PrivateSurface from "./binding.ts"
import * as BrowserGuard from "./browserGuard.ts"
import * as DataPlane from "./dataPlane.ts"
import * as ApiSurface from "./restApi.ts"

/**
 * The clients that can reach the gateway. `public` servers require the token even where a binding or an operator
 * otherwise needs none.
 */
export type Exposure = "trusted" | "public"

const unauthorized = () => Effect.succeed(apiError(refuse(401, code.apiUnauthorized, "Authentication error")))

const admits = (core: GatewayState, incoming: Incoming): boolean =>
  Access.holdsToken(core, incoming.headers["authorization"]) ||
  Access.holdsToken(core, incoming.headers["cf-aig-authorization"])

const admitsAdmin = (core: GatewayState, incoming: Incoming): boolean => {
  const secret = core.settings.adminToken ?? core.settings.token
  return secret === undefined || bearer(incoming.headers["authorization"]) === Redacted.value(secret)
}

const notFound = () => Effect.succeed(apiError(refuse(404, code.noRoute, "No route for that URI")))

const noOperator = () => Effect.succeed(apiError(refuse(403, code.forbidden, "__admin: web pages have no access")))

const dispatch = (
  core: GatewayState,
  exposure: Exposure,
  caller: BrowserGuard.Caller,
  incoming: Incoming
): Effect.Effect<Answer, Disconnect> => {
  const [first] = incoming.segments
  // Under the binding's host everything else is out of reach: a page can make a browser send a plain GET under that
  // name.
  if (!caller.isBinding) {
    if (first === "v1" && incoming.segments.length >= 3) return DataPlane.handle(core, incoming)
    if (first === "accounts" && incoming.segments.length >= 3) return ApiSurface.handle(core, incoming)
    if (first === "__admin") {
      // No binding calls these paths.
      if (incoming.isEnveloped) return notFound()
      if (caller.isPage) return noOperator()
      return admitsAdmin(core, incoming) ? Admin.handle(core, incoming) : unauthorized()
    }
  }
  const binding = PrivateSurface.handle(core, incoming)
  if (binding === undefined) return notFound()
  return exposure === "trusted" || admits(core, incoming) ? binding : unauthorized()
}

const busy = () => refuse(503, code.busy, "no room for an answer: see `inFlightBytes`", { "retry-after": "1" })

/** The answer as bytes, if there is room for it. */
const fitting = (answer: Answer, share: Share): Answer => {
  const made = inBytes(answer)
  return share.answer(sizeOf(made)) ? made : apiError(busy())
}

/** The complete gateway. */
export const handle = (
  core: GatewayState,
  exposure: Exposure,
  request: Request,
  share: Share
): Effect.Effect<Answer, Disconnect> =>
  Effect.suspend(() => {
    // Checked before an envelope is opened: a page could write any headers inside it.
    const headers = Object.fromEntries(request.headers)
    const identified = BrowserGuard.identify(core.settings.allowed, headers)
    if (Result.isFailure(identified)) {
      return Effect.succeed(BrowserGuard.seal(apiError(identified.failure), undefined))
    }
    const caller = identified.success
    if (BrowserGuard.isPreflight(request.method, headers)) {
      return Effect.succeed(BrowserGuard.preflight(headers, caller))
    }
    // Applies to requests without a body too: their answers need room.
    const full = share.take(0)
    if (full !== undefined) return Effect.succeed(BrowserGuard.seal(apiError(full), caller.origin))
    return read(request).pipe(
      Effect.flatMap((incoming) => dispatch(core, exposure, caller, incoming)),
      Effect.catchTag("Refusal", (refusal) => Effect.succeed(apiError(refusal))),
      Effect.map((answer) => BrowserGuard.seal(fitting(answer, share), caller.origin))
    )
  })
