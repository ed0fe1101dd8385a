/**
 * Recognizes failures that are probably not an item's own: of the gateway, of the providers, of credentials, of the
 * route.
 */
import type { Attempt, GatewayError, Reason } from "../../GatewayError.ts"

/**
 * `unreachable`: no connection could be made, which no item can cause. `transport`: connections broke. `refused`: every
 * target rejected credentials or a model of the route; waiting alone does not help. `outage`: any other shared fault.
 */
export type SharedFault = "unreachable" | "transport" | "refused" | "outage"

const isUnreachable = (reason: Reason): boolean =>
  reason._tag === "TransportFailure" && reason.kind === "connect" && reason.code !== "network_error"

/**
 * Whether a target rejected credentials or the route's model. In a forwarded request the item names the model, not the
 * route.
 */
const isRefused = (reason: Reason, attempt: Attempt | undefined): boolean =>
  reason._tag === "Unauthorized" ||
  (reason._tag === "NotFound" && reason.what !== "log" && reason.what !== "run" && attempt?.model !== undefined)

/** Issues of answers from a portal, a proxy or a wrong address instead of a provider. */
const foreign = [
  "not JSON",
  "a redirect to another address",
  "a challenge page",
  "a page of a firewall",
  "an answer that `fetch` does not deliver, such as a 407"
]

/** Statuses about how a request is sent, which is the same for all items: method, proxy, protocol, header fields. */
const sending = [405, 406, 407, 411, 415, 417, 421, 426, 428, 431]

const isShared = (reason: Reason, attempt: Attempt | undefined): boolean => {
  switch (reason._tag) {
    case "InvalidResponse":
      return reason.issue !== undefined && foreign.includes(reason.issue)
    case "InvalidRequest":
      return reason.status !== undefined && sending.includes(reason.status)
    case "TransportFailure":
    case "Timeout":
    case "RateLimited":
    case "QuotaExhausted":
    case "ProviderUnavailable":
      return true
    default:
      return isRefused(reason, attempt)
  }
}

/**
 * The fault of a failed item, judged by its targets' last answers; `undefined` when one of them concerns the item
 * itself.
 */
export const sharedFault = ({ attempts = [], reason }: GatewayError): SharedFault | undefined => {
  const last = new Map<string, Attempt>()
  for (const attempt of attempts) if (attempt.error !== undefined) last.set(attempt.target, attempt)
  const made = [...last.values()]
  const found: ReadonlyArray<readonly [Reason, Attempt | undefined]> = [
    ...made.flatMap((attempt) => (attempt.error === undefined ? [] : [[attempt.error, attempt] as const])),
    [reason, made.at(-1)]
  ]
  if (!found.every(([reason, attempt]) => isShared(reason, attempt))) return undefined
  if (found.some(([reason]) => isUnreachable(reason))) return "unreachable"
  if (found.every(([reason, attempt]) => isRefused(reason, attempt))) return "refused"
  return found.every(([reason]) => reason._tag === "TransportFailure") ? "transport" : "outage"
}

/** The party that answered a failed request; `undefined` when nothing was sent. */
export const answeredBy = ({ attempts = [] }: GatewayError): "provider" | "gateway" | undefined => {
  const answers = attempts.filter(({ error, status }) => error !== undefined && status !== undefined)
  if (answers.length === 0) return undefined
  const byProvider = answers.some((attempt) => {
    const { error } = attempt
    return error !== undefined && !isShared(error, attempt) && !("origin" in error && error.origin !== "provider")
  })
  return byProvider ? "provider" : "gateway"
}
