/**
 * From answers of `Chat`, whole or in deltas, to the parts of `effect/ai`.
 */
import * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Result from "effect/Result"
import type * as Chat from "../Chat.ts"
import { isRecord } from "../internal/data/json.ts"
import type { Routed, StreamSummary } from "../Router.ts"
import type { AnswerMetadata, Json } from "./GatewayModel.ts"
import { attemptsOf, costOf, skippedOf } from "./metadata.ts"
import { argumentsOf, unfenced } from "./schema.ts"

const finishReasons: Readonly<Record<Chat.FinishReason, Response.FinishReason>> = {
  stop: "stop",
  length: "length",
  toolCalls: "tool-calls",
  contentFilter: "content-filter",
  other: "other"
}

const less = (total: number | undefined, ...parts: ReadonlyArray<number | undefined>): number | undefined =>
  total === undefined
    ? undefined
    : Math.max(
        0,
        parts.reduce<number>((rest, part = 0) => rest - part, total)
      )

/** Tokens: what a provider does not report stays unknown. */
export const usageOf = (usage: Chat.Usage | undefined): Response.FinishPartEncoded["usage"] => {
  const { cacheWriteTokens, cachedInputTokens, inputTokens, outputTokens, reasoningTokens } = usage ?? {}
  return {
    inputTokens: {
      uncached: less(inputTokens, cachedInputTokens, cacheWriteTokens),
      total: inputTokens,
      cacheRead: cachedInputTokens,
      cacheWrite: cacheWriteTokens
    },
    outputTokens: { total: outputTokens, text: less(outputTokens, reasoningTokens), reasoning: reasoningTokens }
  }
}

/** The tools that a call offered, and whether other names may be called too. */
export interface Offered {
  readonly tools: ReadonlyArray<Tool.Any>
  readonly toolCallValidation?: "strict" | "deferred" | undefined
  readonly responseFormat: { readonly type: "text" | "json" }
}

/** One call of the model, for the toolkit. */
const callPart = (
  { tools, toolCallValidation }: Offered,
  { arguments: params, id, name, signature }: Chat.ToolCall
): Result.Result<Response.ToolCallPartEncoded, AiError.AiErrorReason> => {
  const tool = tools.find((one) => one.name === name)
  if (tool === undefined && toolCallValidation !== "deferred") {
    const availableTools = tools.map((one) => one.name)
    return Result.fail(new AiError.ToolNotFoundError({ toolName: name, availableTools }))
  }
  return Result.succeed({
    type: "tool-call",
    id,
    name,
    params: tool === undefined ? params : argumentsOf(tool, params),
    ...(signature !== undefined && { metadata: { gateway: { signature } } })
  })
}

/** A picture or a sound that came as base64, from Google or from clients of OpenAI's shape. */
const fileOf = (part: Chat.Json): Response.FilePartEncoded | undefined => {
  if (!isRecord(part)) return undefined
  const { image_url: image, inlineData } = part
  if (isRecord(inlineData) && typeof inlineData.mimeType === "string" && typeof inlineData.data === "string") {
    return { type: "file", mediaType: inlineData.mimeType, data: inlineData.data }
  }
  const url = isRecord(image) ? image.url : undefined
  const found = typeof url === "string" ? /^data:([\w./+-]+);base64,(.+)$/s.exec(url) : null
  return found?.[1] === undefined || found[2] === undefined
    ? undefined
    : { type: "file", mediaType: found[1], data: found[2] }
}

/** The last part of every answer. */
const finishPart = (
  reason: Chat.FinishReason,
  answer: Pick<
    Routed<unknown>,
    "attempts" | "cost" | "eventId" | "logId" | "model" | "provider" | "skipped" | "target" | "usage"
  >,
  {
    cacheStatus = null,
    execution,
    otherParts
  }: Pick<AnswerMetadata, "execution"> & {
    readonly cacheStatus: string | null | undefined
    readonly otherParts: ReadonlyArray<Chat.Json>
  }
): Response.FinishPartEncoded => {
  const { attempts, cost, eventId, logId = null, model = null, provider, skipped, target, usage } = answer
  return {
    type: "finish",
    reason: finishReasons[reason],
    usage: usageOf(usage),
    metadata: {
      gateway: {
        target,
        provider,
        model,
        logId,
        eventId,
        execution,
        cacheStatus,
        attempts: attemptsOf(attempts),
        skipped: skippedOf(skipped),
        cost: costOf(cost),
        // The neutral types are read-only, and those of `effect/ai` are not.
        otherParts: otherParts as Array<Json>
      }
    }
  }
}

const withoutFiles = (parts: ReadonlyArray<Chat.Json>): ReadonlyArray<Chat.Json> =>
  parts.filter((part) => fileOf(part) === undefined)

const filesOf = (parts: ReadonlyArray<Chat.Json>): ReadonlyArray<Response.FilePartEncoded> =>
  parts.flatMap((part) => fileOf(part) ?? [])

const metadataPart = (
  id: string | undefined,
  modelId: string | undefined,
  timestamp: string
): Response.PartEncoded & Response.StreamPartEncoded => ({
  type: "response-metadata",
  id,
  modelId,
  timestamp
})

/** An answer as parts. `timestamp`: ISO 8601. */
export const partsOf = (
  routed: Routed<Chat.Reply>,
  offered: Offered,
  timestamp: string
): Result.Result<Array<Response.PartEncoded>, AiError.AiErrorReason> => {
  const { finishReason, id, parts: other = [], reasoning, text, toolCalls } = routed.value
  const parts: Array<Response.PartEncoded> = [metadataPart(id, routed.model, timestamp)]
  if (reasoning !== undefined && reasoning !== "") parts.push({ type: "reasoning", text: reasoning })
  // Effect reads the text of an object as it is.
  if (text !== "") parts.push({ type: "text", text: offered.responseFormat.type === "json" ? unfenced(text) : text })
  parts.push(...filesOf(other))
  for (const call of toolCalls) {
    const part = callPart(offered, call)
    if (Result.isFailure(part)) return Result.fail(part.failure)
    parts.push(part.success)
  }
  parts.push(
    finishPart(finishReason, routed, {
      execution: routed.execution,
      cacheStatus: routed.cacheStatus,
      otherParts: withoutFiles(other)
    })
  )
  return Result.succeed(parts)
}

type Parts = Result.Result<Array<Response.StreamPartEncoded>, AiError.AiErrorReason>

interface OpenCall {
  readonly id: string
  name: string
  json: string
  signature: string | undefined
  isAnnounced: boolean
}

/** The parts of one stream, in order. */
export class StreamParts {
  private readonly offered: Offered
  private readonly timestamp: string
  private readonly calls = new Map<number, OpenCall>()
  private readonly other: Array<Chat.Json> = []
  private block: "text" | "reasoning" | undefined
  private blocks = 0
  private usage: Chat.Usage | undefined
  /** Absent until the answer is complete. */
  finishReason: Chat.FinishReason | undefined
  /** The provider's id of the answer. */
  id: string | undefined

  constructor(offered: Offered, timestamp: string) {
    this.offered = offered
    this.timestamp = timestamp
  }

  /** What a delta adds. */
  add(delta: Chat.Delta): Array<Response.StreamPartEncoded> {
    switch (delta.type) {
      case "text":
      case "reasoning":
        return this.said(delta.type, delta.text)
      case "toolCall":
        return this.called(delta)
      case "part":
        this.other.push(delta.part)
        return filesOf([delta.part]).slice()
      case "meta":
        this.id = delta.id
        return [metadataPart(delta.id, delta.model, this.timestamp)]
      case "usage":
        this.usage = delta.usage
        return []
      case "finish":
        this.finishReason = delta.reason
        return []
      case "restart":
        // Routes that restart are refused before they run.
        return []
    }
  }

  /** What stands at the end of an answer. */
  end(
    summary: StreamSummary,
    answer: Pick<AnswerMetadata, "execution"> & { readonly cacheStatus: string | undefined }
  ): Parts {
    const parts = this.close()
    const reason = this.finishReason ?? "other"
    for (const call of this.calls.values()) {
      if (!call.isAnnounced) parts.push(this.announce(call))
      parts.push({ type: "tool-params-end", id: call.id })
      const whole = callOf(call)
      if (whole === undefined) {
        // An answer that was cut off at its length says so, and its last call cannot be made.
        if (reason === "length" || reason === "contentFilter") continue
        const description = `the arguments of the call of ${call.name} are not JSON`
        return Result.fail(new AiError.InvalidOutputError({ description }))
      }
      const part = callPart(this.offered, whole)
      if (Result.isFailure(part)) return Result.fail(part.failure)
      parts.push(part.success)
    }
    const usage = summary.usage ?? this.usage
    const facts = usage === undefined ? summary : { ...summary, usage }
    parts.push(finishPart(reason, facts, { ...answer, otherParts: withoutFiles(this.other) }))
    return Result.succeed(parts)
  }

  private said(block: "text" | "reasoning", text: string): Array<Response.StreamPartEncoded> {
    const parts = this.block === block ? [] : this.close()
    if (this.block !== block) {
      this.block = block
      parts.push({ type: `${block}-start`, id: String(++this.blocks) })
    }
    parts.push({ type: `${block}-delta`, id: String(this.blocks), delta: text })
    return parts
  }

  private called(delta: Chat.Delta & { readonly type: "toolCall" }): Array<Response.StreamPartEncoded> {
    const known = this.calls.get(delta.index)
    const call = known ?? {
      id: delta.id ?? `call_${delta.index}`,
      name: "",
      json: "",
      signature: undefined,
      isAnnounced: false
    }
    this.calls.set(delta.index, call)
    call.name += delta.name ?? ""
    call.json += delta.arguments
    call.signature = delta.signature ?? call.signature
    // A name may come in pieces, and it is complete when arguments follow.
    if (delta.arguments === "") return []
    const parts = call.isAnnounced ? [] : [...this.close(), this.announce(call)]
    parts.push({ type: "tool-params-delta", id: call.id, delta: delta.arguments })
    return parts
  }

  private announce(call: OpenCall): Response.StreamPartEncoded {
    call.isAnnounced = true
    return { type: "tool-params-start", id: call.id, name: call.name }
  }

  private close(): Array<Response.StreamPartEncoded> {
    const { block } = this
    this.block = undefined
    return block === undefined ? [] : [{ type: `${block}-end`, id: String(this.blocks) }]
  }
}

/** A call whose arguments are complete. */
const callOf = ({ id, json, name, signature }: OpenCall): Chat.ToolCall | undefined => {
  try {
    const value = json === "" ? {} : (Tool.unsafeSecureJsonParse(json) as Chat.Json)
    return { id, name, arguments: value, signature }
  } catch {
    return undefined
  }
}
