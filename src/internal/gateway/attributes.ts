/**
 * Attributes of a request's span, and the headers that link the spans of the gateway to it.
 */
import type { GatewayResponse } from "../../GatewayResponse.ts"
import type { Leg } from "../../UniversalRequest.ts"
import { operationOf } from "../data/telemetry.ts"
import { factAttributes, type OpenSpan } from "../hotpath/span.ts"

/** Facts of a request at its beginning. */
export const requestAttributes = (
  provider: string,
  endpoint: string,
  query: unknown,
  model: string | undefined,
  gateway: string | undefined,
  eventId: string | undefined
) => ({
  "gen_ai.operation.name": operationOf(endpoint, query),
  "gen_ai.provider.name": provider,
  "gen_ai.request.model": model,
  "ai_gateway.id": gateway,
  "ai_gateway.event_id": eventId
})

/** Facts that an answer adds. */
export const answerAttributes = ({ meta, status }: GatewayResponse) => ({
  ...factAttributes(meta, status),
  "gen_ai.response.model": meta.model
})

/**
 * Headers that link a request to the span around it. None if the caller sets one of them: a parent belongs to one
 * trace.
 */
export const linkHeaders = (
  span: OpenSpan,
  requests: ReadonlyArray<Pick<Leg, "headers">>
): Readonly<Record<string, string>> | undefined => {
  const link = span.link()
  if (link === undefined) return undefined
  const isOwn = requests.some(({ headers = {} }) => Object.keys(link).some((name) => name in headers))
  return isOwn ? undefined : link
}
