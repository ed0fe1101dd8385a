/** Log entry of one leg. */

import { dialectOf, modelType, usageOf, usageOfEvents, usageScanner } from "../upstream/dialect.ts"
import type { Observer } from "../wire/body.ts"
import { parseBoundedJson, text } from "../wire/message.ts"
import type { Answer } from "../wire/protocol.ts"
import type { GatewayJob, LegPlan } from "./job.ts"
import type { LogEntry, LogStore } from "./logStore.ts"
import { redactEndpoint } from "./providers.ts"
import type { ResolvedOptions } from "./requestOptions.ts"
import type { Gateway } from "./settings.ts"

/** Result of a leg. */
export interface LegRecord {
  readonly id: string
  readonly eventId: string
  readonly startedAt: number
  readonly endedAt: number
  readonly status: number
  readonly cached: boolean
  readonly answer: Answer | undefined
  /** When the entry becomes readable. */
  readonly visibleAt: number
}

interface TokenCounts {
  readonly input: number | null
  readonly output: number | null
}

/** Characters of a stream's text that the log keeps. */
const headLimit = 64 * 1024

/** The text of a buffered body; `undefined` for a stream. */
const bodyText = (answer: Answer): string | undefined => {
  if (typeof answer.body === "string") return answer.body
  if (answer.body instanceof ReadableStream) return undefined
  return answer.body === null ? "" : text(answer.body)
}

const usageIn = (body: string | undefined, contentType: string): TokenCounts => {
  if (body === undefined) return { input: null, output: null }
  return contentType.startsWith("text/event-stream") ? usageOfEvents(body) : usageOf(parseBoundedJson(body))
}

const costOf = ({ customCost }: ResolvedOptions, { input, output }: TokenCounts): number => {
  if (customCost === undefined) return 0
  return customCost.total ?? customCost.perTokenIn * (input ?? 0) + customCost.perTokenOut * (output ?? 0)
}

/** Makes the entry of a leg that ended, or whose stream began. */
export const entryOf = (
  gateway: Gateway,
  job: GatewayJob,
  plan: LegPlan,
  index: number,
  result: LegRecord
): LogEntry => {
  const { body, endpoint, headers, model, provider } = plan.request
  const { answer, cached, status } = result
  const { customCost, collectPayload, metadata } = plan.options
  const response = answer === undefined ? undefined : bodyText(answer)
  const usage = cached ? { input: 0, output: 0 } : usageIn(response, answer?.headers["content-type"] ?? "")
  return {
    id: result.id,
    gateway: gateway.id,
    created_at: result.startedAt,
    provider,
    model: model ?? "",
    model_type: modelType(dialectOf(provider, endpoint), model),
    path: redactEndpoint(endpoint),
    request_type: job.requestType,
    request_content_type: headers["content-type"] ?? "",
    response_content_type: answer?.headers["content-type"],
    status_code: status,
    success: status >= 200 && status < 300,
    cached,
    duration: result.endedAt - result.startedAt,
    tokens_in: usage.input,
    tokens_out: usage.output,
    cost: cached ? 0 : costOf(plan.options, usage),
    custom_cost: customCost !== undefined,
    step: index,
    metadata,
    event_id: result.eventId,
    user_agent: job.userAgent,
    authentication: job.authenticated,
    compatibilityMode: job.requestType === "compat",
    feedback: null,
    score: null,
    request_size: body?.length ?? 0,
    response_size: response === undefined ? 0 : new TextEncoder().encode(response).length,
    request: collectPayload ? text(body) : undefined,
    request_complete: true,
    response: collectPayload ? response : undefined,
    response_complete: response !== undefined,
    visible_at: result.visibleAt
  }
}

/** Collects the beginning of a text that arrives as bytes, without decoding or holding a large chunk. */
const makeHead = () => {
  const decoder = new TextDecoder()
  let text = ""
  let complete = true
  return {
    push: (bytes: Uint8Array): void => {
      // A UTF-16 code unit has at most three bytes, and those of the previous one may still be incomplete.
      const room = 3 * (headLimit - text.length)
      if (bytes.length > room) complete = false
      if (room > 0) text += decoder.decode(bytes.subarray(0, room), { stream: true })
    },
    end: (): { readonly text: string; readonly complete: boolean } => {
      text += decoder.decode()
      return { text: text.slice(0, headLimit), complete: complete && text.length <= headLimit }
    }
  }
}

/** Observer of a stream that is not logged. */
export const unobserved: Observer = { chunk: () => undefined, end: () => undefined }

/** Completes the entry of a stream when the stream ends, and makes it visible. */
export const streamObserver = (
  logs: LogStore,
  id: string,
  options: ResolvedOptions,
  now: () => number,
  freshLogDelay: number
): Observer => {
  const decoder = new TextDecoder()
  const usage = usageScanner()
  const kept = makeHead()
  let size = 0
  return {
    chunk: (bytes) => {
      size += bytes.length
      usage.push(decoder.decode(bytes, { stream: true }))
      kept.push(bytes)
    },
    end: (how) =>
      logs.update(id, (entry) => {
        const { input, output } = usage.end()
        const { complete, text } = kept.end()
        return {
          ...entry,
          duration: now() - entry.created_at,
          success: entry.success && how === "answered",
          tokens_in: input,
          tokens_out: output,
          cost: costOf(options, { input, output }),
          response_size: size,
          response: options.collectPayload ? text : undefined,
          response_complete: how === "answered" && complete,
          visible_at: now() + freshLogDelay
        }
      })
  }
}
