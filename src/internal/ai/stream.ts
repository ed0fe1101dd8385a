/**
 * How the models of `env.AI` stream, by name, and the readers of their answers.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { GatewayError, StreamInterrupted } from "../../GatewayError.ts"
import type { GatewayResponse, ResponseReader } from "../../GatewayResponse.ts"
import { defined } from "../data/defined.ts"
import { usageAttributes } from "../data/telemetry.ts"
import * as anthropicDialect from "../dialect/anthropic.ts"
import { anthropic } from "../dialect/anthropicStream.ts"
import type { Input, Reply, Usage } from "../dialect/chat.ts"
import type { Dialect } from "../dialect/codec.ts"
import type { Delta, DeltaDecoder, Streaming } from "../dialect/delta.ts"
import { deltasOf, isCommit } from "../dialect/deltaDecoder.ts"
import { makePump, type Pump, unlimited } from "../dialect/deltaPump.ts"
import * as openaiDialect from "../dialect/openai.ts"
import { openai, openaiCompatible } from "../dialect/openaiStream.ts"
import * as workersAiDialect from "../dialect/workersAi.ts"
import { workersAi } from "../dialect/workersAiStream.ts"
import { textBody } from "../transport/body.ts"
import type { AiTarget } from "./backend.ts"
import { resumable } from "./resume.ts"

/** How the answers of a model stream, and how complete ones are read. */
export interface Dialectal {
  readonly query: Streaming["query"]
  readonly decoder: Streaming["decoder"]
  readonly decode: Dialect<Input, Reply>["decode"]
}

const streamed: Streaming["query"] = (query) => ({ ...query, stream: true })

/**
 * Returns the dialect of a target. Third parties other than Anthropic answer in chunks like OpenAI's. Only OpenAI
 * itself, and servers of dynamic routes, are known to accept the request for usage.
 */
export const dialectOf = (target: AiTarget | undefined): Dialectal => {
  if (target?.kind === "workers-ai") {
    return { query: streamed, decoder: workersAi.decoder, decode: workersAiDialect.workersAi.decode }
  }
  if (target?.kind === "dynamic" || target?.provider === "openai") {
    return { query: openai.query, decoder: openai.decoder, decode: openaiDialect.openai.decode }
  }
  return target?.provider === "anthropic"
    ? { query: streamed, decoder: anthropic.decoder, decode: anthropicDialect.anthropic.decode }
    : { query: streamed, decoder: openaiCompatible.decoder, decode: openaiDialect.openaiCompatible.decode }
}

/** Resumes a run from an event on. */
export type Resume = (from: number) => Effect.Effect<GatewayResponse, GatewayError>

/** Tracks the progress of an answer. */
const watch = (decoder: DeltaDecoder) => {
  let committed = false
  let finished = false
  let over = false
  const see = (decoded: ReturnType<DeltaDecoder["end"]>) => {
    committed ||= decoded.deltas.some(isCommit)
    finished ||= decoded.deltas.some(({ type }) => type === "finish")
    over ||= decoded.done === true || decoded.fault !== undefined
    return decoded
  }
  const watched: DeltaDecoder = { event: (event) => see(decoder.event(event)), end: () => see(decoder.end()) }
  return {
    decoder: watched,
    /** Whether the loss of the connection, or its end, loses a part of an answer that has begun. */
    isLost: (how: "broken" | "ended"): boolean => committed && !over && (how === "broken" || !finished)
  }
}

/** Returns the same answer with another reader. */
const readBy = (response: GatewayResponse, reader: () => ResponseReader) => ({
  reader,
  maxBytes: response.maxBytes,
  invalid: (issue: string, text: string) => response.invalid(issue, text),
  fault: (body: string) => response.fault(body)
})

const isJson = ({ headers }: GatewayResponse): boolean =>
  /^application\/(?:[\w.+-]+\+)?json\b/i.test(headers["content-type"] ?? "")

/** Options for opening an answer. */
export interface Opening {
  readonly query: Record<string, unknown>
  readonly dialect: Dialectal
  /** Replaces the dialect's own decoder. */
  readonly decoder: Streaming["decoder"] | undefined
  readonly resume: Resume | undefined
}

/** Opens an answer for its deltas. A pump that is not read to its end must be cancelled. */
export const openDeltas = (response: GatewayResponse, opening: Opening): Effect.Effect<Pump, GatewayError> => {
  const { dialect, query, resume } = opening
  const decoder = (opening.decoder ?? dialect.decoder)(query)
  if (!isJson(response)) {
    if (resume === undefined) return Effect.succeed(makePump(response, decoder))
    const watched = watch(decoder)
    const reader = () => resumable(response.reader(), resume, watched.isLost)
    return Effect.succeed(makePump(readBy(response, reader), watched.decoder))
  }
  // Guardrails, and some providers, answer in one piece although a stream was requested.
  return Effect.flatMap(response.result, (body) => {
    if (opening.decoder !== undefined) {
      const event = textBody(`data: ${JSON.stringify(body)}\n\n`).reader()
      const reader = () => ({ read: Effect.orDie(event.read), cancel: event.cancel })
      return Effect.succeed(makePump(readBy(response, reader), decoder))
    }
    const reply = dialect.decode(body)
    if (Result.isFailure(reply)) {
      const { accepted, field } = reply.failure
      return Effect.fail(response.invalid(`${field}: expected ${accepted}`, ""))
    }
    let left: ReadonlyArray<Delta> | undefined = deltasOf(reply.success)
    const next = Effect.sync(() => {
      const deltas = left
      left = undefined
      return deltas
    })
    return Effect.succeed<Pump>({ next: () => next, isFinished: () => true, cancel: Effect.void })
  })
}

/** Returns an error of a stream under the name of its own operation. */
export const renamed = (method: string, error: GatewayError, reason = error.reason): GatewayError => {
  const { eventId, logId, model, provider, step } = error
  return new GatewayError({ method, reason, ...defined({ eventId, logId, model, provider, step }) })
}

/** Reads from a pump and counts deltas, so that a failure reports what had arrived. */
export const counted = (method: string, pump: Pump) => {
  let events = 0
  let partial = ""
  let committed = false
  let finished = false
  let usage: Usage | undefined
  let model: string | undefined
  const see = (batch: ReadonlyArray<Delta> | undefined): ReadonlyArray<Delta> | undefined => {
    for (const delta of batch ?? []) {
      events++
      committed ||= isCommit(delta)
      finished ||= delta.type === "finish"
      if (delta.type === "text") partial += delta.text
      else if (delta.type === "usage") usage = delta.usage
      else if (delta.type === "meta") model = delta.model ?? model
    }
    return batch
  }
  const interrupted = (error: GatewayError): GatewayError => {
    const { _tag: failure, code, detail, status } = error.reason
    if (!committed || failure === "StreamInterrupted") return renamed(method, error)
    const facts = defined({ status, code, detail })
    return renamed(method, error, new StreamInterrupted({ events, partial, failure, ...facts }))
  }
  return {
    next: Effect.mapBoth(pump.next(unlimited), { onSuccess: see, onFailure: interrupted }),
    finished: () => finished,
    /** Facts for a span. */
    attributes: () => ({
      ...usageAttributes(usage),
      "gen_ai.response.model": model,
      "ai_gateway.deltas": events
    })
  }
}
