/**
 * Translates answers of `Chat` to the parts of `effect/ai`. Streams are in `deltas.ts`.
 */
import * as AiError from "effect/ai/AiError"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Result from "effect/Result"
import type * as Chat from "../Chat.ts"
import { defined } from "../internal/data/defined.ts"
import { isRecord, jsonText, parseJson } from "../internal/data/json.ts"
import { unfenced } from "../internal/dialect/outputSchema.ts"
import type { Routed } from "../Router.ts"
import type { AnswerMetadata, Json, PartMetadata } from "./GatewayModel.ts"
import { attemptsOf, costOf, skippedOf } from "./metadata.ts"
import { argumentsOf } from "./schema.ts"

const finishReasons: Readonly<Record<Chat.FinishReason, Response.FinishReason>> = {
  stop: "stop",
  length: "length",
  toolCalls: "tool-calls",
  contentFilter: "content-filter",
  pause: "pause",
  other: "other"
}

const less = (total: number | undefined, ...parts: ReadonlyArray<number | undefined>): number | undefined =>
  total === undefined
    ? undefined
    : Math.max(
        0,
        parts.reduce<number>((rest, part = 0) => rest - part, total)
      )

/** Tokens. Counts that a provider does not report stay unknown. */
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

/** A signature as JSON. */
export const opaqueOf = (opaque: Chat.Opaque | undefined): PartMetadata["opaque"] =>
  opaque === undefined
    ? undefined
    : { origin: opaque.origin, value: opaque.value, ...(opaque.id !== undefined && { id: opaque.id }) }

/** Metadata of a part, when there is any. */
export const withMetadata = (
  given: { readonly [K in keyof PartMetadata]: PartMetadata[K] | undefined }
): {
  readonly metadata?: { readonly gateway: PartMetadata }
} => {
  const gateway: PartMetadata = defined(given)
  return Object.keys(gateway).length === 0 ? {} : { metadata: { gateway } }
}

/** The tools that a call offered, and whether other names may be called too. */
export interface Offered {
  readonly tools: ReadonlyArray<Tool.Any>
  readonly toolCallValidation?: "strict" | "deferred" | undefined
  readonly responseFormat: { readonly type: "text" | "json" }
}

/** Makes the part of a tool call, for the toolkit. */
export const callPart = (
  { tools, toolCallValidation }: Offered,
  { arguments: params, id, name, opaque, signature }: Chat.ToolCall
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
    ...withMetadata({ opaque: opaqueOf(opaque), signature })
  })
}

/**
 * Whether arguments are safe from prototype pollution when a handler merges them. Streams parse them in the same way.
 */
const isSafe = (params: Chat.Json): boolean => {
  const text = jsonText(params) ?? ""
  if (!/"(?:__proto__|constructor)"/.test(text)) return true
  try {
    Tool.unsafeSecureJsonParse(text)
    return true
  } catch {
    return false
  }
}

/** Returns a picture or a sound that arrived as base64, from Google, from OpenAI's own tool or in OpenAI's shape. */
const fileOf = (part: Chat.Json): Response.FilePartEncoded | undefined => {
  if (!isRecord(part)) return undefined
  const { image_url: image, inlineData, output_format: format = "png", result, type } = part
  if (type === "image_generation_call" && typeof result === "string" && result !== "") {
    return { type: "file", mediaType: `image/${String(format)}`, data: result }
  }
  if (isRecord(inlineData) && typeof inlineData.mimeType === "string" && typeof inlineData.data === "string") {
    return { type: "file", mediaType: inlineData.mimeType, data: inlineData.data }
  }
  return isRecord(image) && typeof image.url === "string" ? fromDataUrl(image.url) : undefined
}

const fromDataUrl = (url: string): Response.FilePartEncoded | undefined => {
  const [, mediaType, data] = /^data:([\w./+-]+);base64,(.+)$/s.exec(url) ?? []
  return mediaType === undefined || data === undefined ? undefined : { type: "file", mediaType, data }
}

const filePart = ({
  data,
  mediaType,
  url = ""
}: Chat.ImagePart | Chat.FilePart): ReadonlyArray<Response.FilePartEncoded> => {
  const part =
    data === undefined || mediaType === undefined ? fromDataUrl(url) : ({ type: "file", mediaType, data } as const)
  return part === undefined ? [] : [part]
}

/** Facts for the finish part that the run itself does not know. */
export interface AnswerFacts extends Pick<Chat.Reply, "stopSequence" | "tier" | "logprobs"> {
  readonly execution: AnswerMetadata["execution"]
  readonly cacheStatus: string | undefined
  readonly otherParts: ReadonlyArray<Chat.Json>
}

type RunFacts = Pick<
  Routed<unknown>,
  "attempts" | "cost" | "eventId" | "logId" | "model" | "provider" | "skipped" | "target" | "usage"
>

/** Makes the last part of every answer. */
export const finishPart = (
  reason: Chat.FinishReason,
  { attempts, cost, eventId, logId, model, provider, skipped, target, usage }: RunFacts,
  { cacheStatus, execution, logprobs = [], otherParts, stopSequence, tier }: AnswerFacts
): Response.FinishPartEncoded => ({
  type: "finish",
  reason: finishReasons[reason],
  usage: usageOf(usage),
  metadata: {
    gateway: {
      target,
      provider,
      model: model ?? null,
      logId: logId ?? null,
      eventId,
      execution,
      cacheStatus: cacheStatus ?? null,
      attempts: attemptsOf(attempts),
      skipped: skippedOf(skipped),
      cost: costOf(cost),
      stopSequence: stopSequence ?? null,
      tier: tier ?? null,
      // The neutral types are read-only, and those of `effect/ai` are not.
      otherParts: otherParts as Array<Json>,
      logprobs: logprobs as ReadonlyArray<object> as Array<Json>
    }
  }
})

export const withoutFiles = (parts: ReadonlyArray<Chat.Json>): ReadonlyArray<Chat.Json> =>
  parts.filter((part) => fileOf(part) === undefined)

export const filesOf = (parts: ReadonlyArray<Chat.Json>): ReadonlyArray<Response.FilePartEncoded> =>
  parts.flatMap((part) => fileOf(part) ?? [])

export const metadataPart = (
  id: string | undefined,
  modelId: string | undefined,
  timestamp: string
): Response.PartEncoded & Response.StreamPartEncoded => ({
  type: "response-metadata",
  id,
  modelId,
  timestamp
})

/** Makes the part of a source. `n` is its number within the answer. */
export const sourcePart = (
  { end, quote, start, title, url }: Chat.Citation,
  n: number
): Response.UrlSourcePartEncoded | Response.DocumentSourcePartEncoded => {
  const common = { type: "source", id: `source_${n}`, metadata: { gateway: defined({ quote, start, end }) } } as const
  return url !== undefined && URL.canParse(url)
    ? { ...common, sourceType: "url", url, title: title ?? url }
    : { ...common, sourceType: "document", mediaType: "text/plain", title: title ?? quote ?? "" }
}

const saidBy = (part: Chat.ReplyPart, sources: () => number): ReadonlyArray<Response.PartEncoded> => {
  switch (part.type) {
    case "text":
      return [
        { type: "text", text: part.text, ...withMetadata({ opaque: opaqueOf(part.opaque) }) },
        ...(part.citations ?? []).map((citation) => sourcePart(citation, sources()))
      ]
    case "refusal":
      return [{ type: "text", text: part.text, ...withMetadata({ refusal: true }) }]
    case "reasoning":
      return [
        {
          type: "reasoning",
          text: part.text,
          ...withMetadata({ opaque: opaqueOf(part.opaque), redacted: part.redacted })
        }
      ]
    case "image":
    case "file":
      // A file with only an address stays among the parts without a form.
      return filePart(part)
  }
}

const plain = ({ reasoning = "", text }: Chat.Reply): ReadonlyArray<Chat.ReplyPart> => [
  ...(reasoning === "" ? [] : [{ type: "reasoning" as const, text: reasoning }]),
  ...(text === "" ? [] : [{ type: "text" as const, text }])
]

/**
 * The error for an object that the model declined or that was filtered: it cannot be decoded, and a retry does not
 * help.
 */
const refusalOf = ({ attempts, cost, eventId, logId }: Routed<Chat.Reply>): AiError.AiErrorReason =>
  new AiError.ContentPolicyError({
    description: "the model refused to answer with an object, or its answer was filtered",
    metadata: {
      gateway: {
        reason: "ContentBlocked",
        status: null,
        code: null,
        logId: logId ?? null,
        eventId,
        ended: null,
        attempts: attemptsOf(attempts),
        cost: costOf(cost)
      }
    }
  })

/** Returns the parts of an answer. `timestamp`: ISO 8601. */
export const partsOf = (
  routed: Routed<Chat.Reply>,
  offered: Offered,
  timestamp: string
): Result.Result<Array<Response.PartEncoded>, AiError.AiErrorReason> => {
  const { content, finishReason, id, parts: other = [], toolCalls } = routed.value
  // Effect parses the text of an object unchanged.
  const reply =
    offered.responseFormat.type === "json" ? { ...routed.value, text: unfenced(routed.value.text) } : routed.value
  if (
    offered.responseFormat.type === "json" &&
    finishReason === "contentFilter" &&
    parseJson(reply.text) === undefined
  ) {
    return Result.fail(refusalOf(routed))
  }
  const said = content === undefined || reply !== routed.value ? plain(reply) : content
  let sources = 0
  const parts: Array<Response.PartEncoded> = [
    metadataPart(id, routed.model, timestamp),
    ...said.flatMap((part) => saidBy(part, () => ++sources)),
    ...(said.some((part) => part.type === "image" || part.type === "file") ? [] : filesOf(other))
  ]
  for (const call of toolCalls) {
    if (!isSafe(call.arguments)) {
      const description = `the arguments of the call of ${call.name} would change a prototype`
      return Result.fail(new AiError.InvalidOutputError({ description }))
    }
    const part = callPart(offered, call)
    if (Result.isFailure(part)) return Result.fail(part.failure)
    parts.push(part.success)
  }
  const { cacheStatus, execution } = routed
  parts.push(finishPart(finishReason, routed, { ...reply, execution, cacheStatus, otherParts: withoutFiles(other) }))
  return Result.succeed(parts)
}
