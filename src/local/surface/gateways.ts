/**
 * Gateways of the account, as the management API returns them. The options define them, and requests cannot change
 * them.
 */
import * as Result from "effect/Result"
import type { Gateway } from "../gateway/settings.ts"
import type { GatewayState } from "../gateway/state.ts"
import { apiSuccess, badRequest, type Refusal } from "../wire/errors.ts"
import type { Answer } from "../wire/protocol.ts"
import { whole } from "./models.ts"

// The state does not record when it was made, and the options do not change.
const madeAt = "2026-01-01T00:00:00Z"

/** One gateway. */
export const gatewayBody = (core: GatewayState, gateway: Gateway): Readonly<Record<string, unknown>> => ({
  id: gateway.id,
  created_at: madeAt,
  modified_at: madeAt,
  is_default: gateway.id === core.settings.defaultGateway,
  authentication: gateway.authentication,
  cache_invalidate_on_update: false,
  cache_ttl: gateway.cacheTtl,
  collect_logs: gateway.collectLogs,
  rate_limiting_interval: gateway.rateLimit?.intervalSeconds ?? 0,
  rate_limiting_limit: gateway.rateLimit?.limit ?? 0,
  rate_limiting_technique: gateway.rateLimit?.technique ?? "fixed",
  retry_max_attempts: gateway.maxAttempts,
  retry_delay: gateway.retryDelay,
  retry_backoff: gateway.backoff,
  log_management: core.settings.keep.logs,
  log_management_strategy: "DELETE_OLDEST",
  logpush: false,
  zdr: false
})

/** A page of gateways; fails for an unknown parameter. */
export const listGateways = (core: GatewayState, params: URLSearchParams): Result.Result<Answer, Refusal> =>
  Result.gen(function* () {
    const unknown = [...params.keys()].find((name) => !["page", "per_page", "search"].includes(name))
    if (unknown !== undefined) {
      return yield* Result.fail(badRequest(`unknown query parameter ${JSON.stringify(unknown)}`))
    }
    const page = yield* whole(params, "page", 1, 1_000_000)
    const perPage = yield* whole(params, "per_page", 20, 100)
    const part = (params.get("search") ?? "").toLowerCase()
    const found = [...core.settings.gateways.values()].filter(({ id }) => id.toLowerCase().includes(part))
    const result = found.slice((page - 1) * perPage, page * perPage).map((gateway) => gatewayBody(core, gateway))
    return apiSuccess(result, {
      result_info: { count: result.length, page, per_page: perPage, total_count: found.length }
    })
  })
