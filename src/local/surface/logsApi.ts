/**
 * The logs of one gateway: list, read, feedback, bodies, bulk deletion.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import { type LogMetadata, maxMetadata } from "../gateway/headerValues.ts"
import { metaInfo, parse } from "../gateway/logFilters.ts"
import { type LogEntry, listItem, single } from "../gateway/logStore.ts"
import type { Gateway } from "../gateway/settings.ts"
import { type GatewayState, logsKey } from "../gateway/state.ts"
import * as Faults from "../upstream/faults.ts"
import { apiError, apiSuccess, badRequest, code, type Refusal, refuse } from "../wire/errors.ts"
import { type Incoming, jsonBody } from "../wire/message.ts"
import { type Answer, Disconnect, type UpstreamRequest } from "../wire/protocol.ts"

type Handled = Effect.Effect<Answer, Refusal | Disconnect>

const list = Effect.fnUntraced(function* (core: GatewayState, gateway: Gateway, params: URLSearchParams) {
  if (params.has("limit")) return yield* badRequest("limit: expected with DELETE only; use per_page")
  const query = yield* Effect.fromResult(parse(params, "list"))
  const now = yield* Clock.currentTimeMillis
  const found = query.sort(core.logs.all(gateway.id, now).filter(query.matches))
  const page = found.slice((query.page - 1) * query.perPage, query.page * query.perPage)
  return apiSuccess(page.map(listItem), {
    result_info: {
      count: page.length,
      page: query.page,
      per_page: query.perPage,
      total_count: found.length,
      ...(query.metaInfo ? metaInfo(found) : {})
    }
  })
})

const remove = Effect.fnUntraced(function* (core: GatewayState, gateway: Gateway, params: URLSearchParams) {
  const query = yield* Effect.fromResult(parse(params, "delete"))
  const now = yield* Clock.currentTimeMillis
  const found = query.sort(core.logs.all(gateway.id, now).filter(query.matches))
  core.logs.remove(found.slice(0, query.limit).map((entry) => entry.id))
  return apiSuccess({ success: true })
})

const isFlat = (u: unknown): u is LogMetadata =>
  isRecord(u) &&
  Object.keys(u).length <= 5 &&
  JSON.stringify(u).length <= maxMetadata &&
  Object.values(u).every((value) => ["string", "number", "boolean"].includes(typeof value))

/** The change that a PATCH requests. */
const change = (body: unknown): Result.Result<(entry: LogEntry) => LogEntry, Refusal> => {
  if (!isRecord(body)) return Result.fail(badRequest("expected an object with feedback, score or metadata"))
  const unknown = Object.keys(body).find((key) => !["feedback", "score", "metadata"].includes(key))
  if (unknown !== undefined) {
    return Result.fail(badRequest(`unknown field ${JSON.stringify(unknown)}: expected feedback, score or metadata`))
  }
  const { feedback, metadata, score } = body
  if (feedback !== undefined && feedback !== null && feedback !== 1 && feedback !== -1) {
    return Result.fail(badRequest("feedback: expected 1, -1 or null"))
  }
  if (score !== undefined && score !== null && !(typeof score === "number" && Number.isFinite(score))) {
    return Result.fail(badRequest("score: expected a number or null"))
  }
  if (metadata !== undefined && metadata !== null && !isFlat(metadata)) {
    return Result.fail(
      badRequest(
        `metadata: expected at most 5 strings, numbers or booleans of at most ${maxMetadata} characters as JSON, or null`
      )
    )
  }
  return Result.succeed((entry) => ({
    ...entry,
    ...(feedback === undefined ? {} : { feedback }),
    ...(score === undefined ? {} : { score }),
    ...(metadata === undefined ? {} : { metadata })
  }))
}

/**
 * JSON or plain text. The entry's content type comes from a caller or an upstream, so it does not determine how a body
 * is served.
 */
const typeOfStored = (contentType: string | undefined): string =>
  /^application\/json\b/i.test(contentType ?? "") ? "application/json" : "text/plain; charset=utf-8"

const payload = (body: string | undefined, contentType: string | undefined): Handled =>
  body === undefined
    ? Effect.fail(refuse(404, code.logNotFound, "Log Not Found"))
    : Effect.succeed({ status: 200, headers: { "content-type": typeOfStored(contentType) }, body })

const one = Effect.fnUntraced(function* (
  core: GatewayState,
  gateway: Gateway,
  incoming: Incoming,
  id: string,
  part: string | undefined
) {
  const entry = core.logs.get(gateway.id, id, yield* Clock.currentTimeMillis)
  if (entry === undefined) return yield* refuse(404, code.logNotFound, "Log Not Found")
  if (part === "request" && incoming.method === "GET") return yield* payload(entry.request, entry.request_content_type)
  if (part === "response" && incoming.method === "GET")
    return yield* payload(entry.response, entry.response_content_type)
  if (part !== undefined) return yield* refuse(404, code.noRoute, "No route for that URI")
  if (incoming.method === "GET") return apiSuccess(single(entry))
  if (incoming.method !== "PATCH") return yield* refuse(405, code.badParameter, "expected GET or PATCH")
  const apply = yield* Effect.fromResult(change(yield* jsonBody(incoming)))
  core.logs.update(id, apply)
  return apiSuccess({})
})

/** Answers a request below `…/gateways/{id}/logs`, unless a script overrides the answer. */
export const handle = (
  core: GatewayState,
  gateway: Gateway,
  incoming: Incoming,
  path: ReadonlyArray<string>
): Handled => {
  const fault = core.nextFault(logsKey)
  const own = dispatch(core, gateway, incoming, path)
  if (fault === undefined) return own
  const request: UpstreamRequest = {
    provider: logsKey,
    endpoint: incoming.url.pathname.slice(1),
    method: incoming.method,
    model: undefined,
    headers: incoming.headers,
    body: undefined,
    json: undefined
  }
  const answered = Effect.catchTag(own, "Refusal", (refusal) => Effect.succeed(apiError(refusal)))
  return Faults.react(fault, request, () => answered).pipe(
    // This surface has no provider whose connection could break, so the client's breaks.
    Effect.catchTag("UpstreamFailure", () => Effect.fail(new Disconnect())),
    Effect.flatMap((answer) => (answer.broken === true ? Effect.fail(new Disconnect()) : Effect.succeed(answer)))
  )
}

const dispatch = (core: GatewayState, gateway: Gateway, incoming: Incoming, path: ReadonlyArray<string>): Handled => {
  const [id, part, ...more] = path
  if (more.length > 0) return Effect.fail(refuse(404, code.noRoute, "No route for that URI"))
  if (id !== undefined && id !== "") return one(core, gateway, incoming, id, part)
  switch (incoming.method) {
    case "GET":
      return list(core, gateway, incoming.url.searchParams)
    case "DELETE":
      return remove(core, gateway, incoming.url.searchParams)
    default:
      return Effect.fail(refuse(405, code.badParameter, "expected GET or DELETE"))
  }
}
