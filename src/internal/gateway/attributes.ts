/**
 * What an answer adds to a span.
 */
import type { GatewayResponse } from "../../GatewayResponse.ts"

/** What an answer adds to a span. */
export const answerAttributes = ({ meta, status }: GatewayResponse) => ({
  "http.response.status_code": status,
  "ai_gateway.log_id": meta.logId,
  "ai_gateway.step": meta.step
})
