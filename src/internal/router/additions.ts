/**
 * Additions of a run to each of its requests: headers of the caller, and the session in the fields that a target
 * supports.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { type GatewayError, invalid } from "../../GatewayError.ts"
import type { GatewayOptions } from "../../GatewayOptions.ts"
import type { LegInput } from "../../UniversalRequest.ts"
import { headerValueAccepted, isHeaderName, isHeaderValue } from "../data/headers.ts"
import { isObject, isRecord } from "../data/json.ts"
import { isCredential } from "../data/secrets.ts"
import { optionHeaders } from "../options/encoding.ts"
import type { Leaf } from "../route/node.ts"
import type { RunOptions } from "./options.ts"

/** Checked headers of a run, and its session in the form that is sent. */
export interface Additions {
  readonly headers: Readonly<Record<string, string>>
  readonly sessionId: string | undefined
}

/** Names of further credential headers, which targets only recognize by their value. */
const otherCredential = /(?:^|-)(?:(?:access|auth|functions|private|subscription)-key|assertion|credentials?|jwt)$/

/** Headers that the transport writes, of one connection and of the body. */
const transports =
  /^(?:connection|content-(?:encoding|length|type)|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade)$/

const sessionHeader = "cf-aig-session-id"
const affinityHeader = "x-session-affinity"
const cacheKeyField = "prompt_cache_key"

/** Maximum number of characters in a session. */
const maxSession = 1024

/** The accepted range of a header that is out of it. */
const refused = (name: string, value: unknown, hasSession: boolean): string | undefined => {
  if (!isHeaderName(name)) return "lower-case header names"
  if (isCredential(name) || otherCredential.test(name)) return "no credential; give it to the target"
  if (optionHeaders.includes(name)) return "a header that the router does not write; use `options`"
  if (transports.test(name)) return "a header that the transport does not write"
  if (hasSession && (name === sessionHeader || name === affinityHeader)) return "nothing beside `session`"
  return typeof value === "string" && isHeaderValue(value) ? undefined : headerValueAccepted
}

const problemOf = ({ headers, session }: RunOptions): readonly [field: string, accepted: string] | undefined => {
  if (session !== undefined && (typeof session !== "string" || session === "" || session.length > maxSession)) {
    return ["session", `a text of 1 to ${maxSession} characters`]
  }
  if (headers === undefined) return undefined
  if (!isObject(headers)) return ["headers", "an object of header values"]
  for (const [name, value] of Object.entries(headers)) {
    const accepted = refused(name, value, session !== undefined)
    if (accepted !== undefined) return [`headers.${name}`, accepted]
  }
  return undefined
}

/**
 * Hashes a session: 128 bits of the SHA-256, in hexadecimal. The hash is cryptographic because a session may be the
 * address of a user. A simulation replaces it, because nothing can wait for a promise in virtual time.
 */
export const SessionHash = Context.Reference<(text: string) => Effect.Effect<string>>("effect-ai-gateway/SessionHash", {
  defaultValue: () => (text) =>
    Effect.map(
      Effect.promise(() => crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))),
      (digest) => Array.from(new Uint8Array(digest, 0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("")
    )
})

/** Checks the additions of a run. Fails with `InvalidRequest`, before anything is sent. */
export const additionsOf = (method: string, given: RunOptions): Effect.Effect<Additions, GatewayError> => {
  const { headers, session } = given
  const problem = problemOf(given)
  if (problem !== undefined) return Effect.fail(invalid(method, ...problem))
  const copy = { ...headers }
  return session === undefined
    ? Effect.succeed({ headers: copy, sessionId: undefined })
    : Effect.map(
        Effect.flatMap(SessionHash, (hash) => hash(session)),
        (sessionId) => ({ headers: copy, sessionId })
      )
}

/** The provider of a request. `compat` has it in the model's name. */
const providerOf = ({ model, provider }: Leaf<never, unknown>): string | undefined =>
  provider === "compat" ? model?.slice(0, model.indexOf("/")) : provider

/** Providers that keep a session on one replica by a header, and names that can stand for them. */
const knowsAffinity = /^(?:workers-ai|fireworks|cloudflare|custom|dynamic)$/

/** Providers that find the cached prompt by a field of the body. */
const knowsCacheKey = /^(?:openai|fireworks)$/

/**
 * Whether the gateway never looks up answers by the body. If a target says nothing about its cache, its gateway may
 * cache: a key in the body would then stop sessions from sharing answers.
 */
const isFreeOfCache = ({ cache }: GatewayOptions): boolean => cache?.skip === true || cache?.key !== undefined

/** Adds the headers and the session of a run to a request. The target's own settings win. */
export const add = <L extends LegInput>(
  additions: Additions | undefined,
  target: { readonly leaf: Leaf<never, unknown>; readonly options: GatewayOptions },
  leg: L
): L => {
  if (additions === undefined) return leg
  const { headers, sessionId } = additions
  if (sessionId === undefined) return { ...leg, headers: { ...headers, ...leg.headers } }
  const { leaf, options } = target
  const { query } = leg
  const provider = providerOf(leaf) ?? ""
  const own = knowsAffinity.test(provider) ? { [affinityHeader]: sessionId } : {}
  const isKeyed =
    knowsCacheKey.test(provider) &&
    leaf.spec?.kind === "chat" &&
    isFreeOfCache(options) &&
    isRecord(query) &&
    !Object.hasOwn(query, cacheKeyField)
  return {
    ...leg,
    headers: { ...headers, [sessionHeader]: sessionId, ...own, ...leg.headers },
    ...(isKeyed && { query: { ...query, [cacheKeyField]: sessionId } })
  }
}
