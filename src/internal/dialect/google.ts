/**
 * Google's `generateContent`, at AI Studio and at Vertex.
 *
 * Shapes: https://ai.google.dev/api/generate-content and https://ai.google.dev/gemini-api/docs/thought-signatures. The
 * model is part of the URL.
 */
import { defined } from "../data/defined.ts"
import type {
  Citation,
  DecodeOptions,
  FilePart,
  ImagePart,
  Input,
  Json,
  Opaque,
  Reply,
  Request,
  TokenLogprob,
  Tool,
  ToolCall,
  ToolChoice,
  Usage
} from "./chat.ts"
import { checked } from "./checked.ts"
import {
  attempt,
  chatDialect,
  count,
  type Dialect,
  type Fields,
  fields,
  isFields,
  list,
  nonEmptyText,
  optionalText,
  refuse,
  sum,
  text,
  toolArguments,
  unsupported
} from "./codec.ts"
import { finish, finishReasonOf, isEmpty, someOutput } from "./finish.ts"
import { encodeContents, type Writing } from "./googleContents.ts"
import { allowedTools, checkParallel, effortOf, loseAll, loseOf, ownTools, temperatureOf } from "./hints.ts"
import { gemini, geminiBudget } from "./models.ts"
import { makeParts, type Parts, saidBy } from "./parts.ts"

type Options = {
  readonly id: string
  /** Whether calls have ids: AI Studio matches calls and results by id; Vertex rejects the field. */
  readonly callIds: boolean
}

const make = ({ callIds, id }: Options): Dialect<Input, Reply> =>
  chatDialect({
    id,
    encode: (input, model, encoding) =>
      attempt(() => {
        const request = checked(input, { temperature: 2 })
        const lose = loseOf(request, encoding)
        const writing = { callIds, facts: gemini(model), lose }
        const { generationConfig, ...extra } = request.extra ?? {}
        loseAll(request, ["verbosity", "user", "metadata", "cacheKey"], lose)
        checkParallel(request, lose)
        const config = {
          ...encodeConfig(request, model, writing),
          ...(generationConfig !== undefined && fields(generationConfig, "extra.generationConfig"))
        }
        return {
          ...encodeContents(request.messages, writing),
          ...encodeTools(request, writing),
          ...(Object.keys(config).length > 0 && { generationConfig: config }),
          ...encodeTier(request, writing),
          ...extra
        }
      }),
    decode: (body, options) => attempt(() => decodeResponse(body, options))
  })

/** See `Chat.google`. */
export const google: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "google", callIds: true })

/** See `Chat.googleVertex`. */
export const googleVertex: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "google-vertex", callIds: false })

const encodeConfig = (request: Request, model: string, writing: Writing): Record<string, unknown> => {
  const { frequencyPenalty, logprobs, maxTokens, output, presencePenalty, seed, stop, topK, topP } = request
  const { callIds, facts, lose } = writing
  if (output?.description !== undefined) lose("output.description", "nothing")
  // Older models either call functions or produce JSON.
  if (output !== undefined && request.tools?.length && /gemini/i.test(model) && !facts.isLevelled) {
    unsupported("output", "nothing beside tools")
  }
  if (logprobs !== undefined && callIds) unsupported("logprobs", "nothing: AI Studio has none")
  const penalties = { frequencyPenalty, presencePenalty }
  const hasPenalties = !(callIds && /gemini-2\.5/i.test(model))
  if (!hasPenalties) loseAll(request, ["frequencyPenalty", "presencePenalty"], lose, "firm")
  return defined({
    maxOutputTokens: maxTokens,
    temperature: temperatureOf(request, 2, lose),
    topP,
    topK,
    ...(hasPenalties ? penalties : {}),
    stopSequences: stop?.length === 0 ? undefined : stop,
    seed,
    responseLogprobs: logprobs === undefined ? undefined : true,
    logprobs: logprobs || undefined,
    responseMimeType: output === undefined ? undefined : "application/json",
    // This field takes JSON Schema; `responseSchema` takes a dialect of OpenAPI.
    responseJsonSchema: output?.schema,
    thinkingConfig: encodeThinking(request, model, writing)
  })
}

const encodeThinking = (
  request: Request,
  model: string,
  { facts, lose }: Writing
): Record<string, unknown> | undefined => {
  const { reasoning } = request
  if (reasoning === undefined) return undefined
  const { budget, effort, show } = reasoning
  const shown = show === undefined ? {} : { includeThoughts: show }
  if (facts.isLevelled) {
    const level = effortOf(request, facts.levels, lose)
    return { ...(level !== undefined && { thinkingLevel: level.toUpperCase() }), ...shown }
  }
  if (!/gemini-2\.5/i.test(model)) {
    if (effort !== "none") lose("reasoning", "nothing")
    return undefined
  }
  const [least, most] = facts.budget
  if (effort === "none" && least > 0) lose("reasoning.effort", "minimal or more", "minimal", "firm")
  if (budget !== undefined && (budget < least || budget > most)) {
    const accepted = `${least} to ${most}`
    lose("reasoning.budget", accepted, accepted)
  }
  const tokens =
    budget === undefined ? effort && geminiBudget(effort, facts.budget) : Math.max(least, Math.min(most, budget))
  return { ...(tokens !== undefined && { thinkingBudget: tokens }), ...shown }
}

const encodeTier = ({ tier }: Request, { lose }: Writing): Record<string, unknown> => {
  switch (tier) {
    case "flex":
    case "priority":
      return { serviceTier: tier }
    case "default":
      return { serviceTier: "standard" }
    case "fast":
      lose("tier", "default, flex or priority")
  }
  return {}
}

const encodeTools = (request: Request, { lose }: Writing): Record<string, unknown> => {
  const { toolChoice, tools: all = [] } = request
  const own = ownTools(request, "google")
  // The choice can only name several tools if a call is required.
  const required = typeof toolChoice === "object" && "allowed" in toolChoice && toolChoice.mode === "required"
  const { choice, tools } = required ? { choice: toolChoice, tools: all } : allowedTools(request)
  if (tools.length + own.length === 0) return {}
  const declarations = tools.map((tool) => {
    const at = `tools[${all.indexOf(tool)}]`
    const { cache, description, name, parameters } = tool
    if (cache !== undefined) lose(`${at}.cache`, "nothing")
    if (/^\d|^-/.test(name)) unsupported(`${at}.name`, "a name that starts with a letter or _")
    return { name, ...defined({ description }), parametersJsonSchema: parameters }
  })
  return {
    tools: [...(tools.length > 0 ? [{ functionDeclarations: declarations }] : []), ...own],
    ...(tools.length > 0 && toolConfig(choice, tools))
  }
}

const toolConfig = (choice: ToolChoice | undefined, tools: ReadonlyArray<Tool>): Record<string, unknown> => {
  // Like `AUTO`, with arguments that fit the schemas; `ANY` enforces them by itself.
  const free = tools.some(({ strict }) => strict === true) ? "VALIDATED" : choice === undefined ? undefined : "AUTO"
  const mode = choice === "none" ? "NONE" : choice === undefined || choice === "auto" ? free : "ANY"
  if (mode === undefined) return {}
  const names = typeof choice !== "object" ? undefined : "allowed" in choice ? choice.allowed : [choice.name]
  return { toolConfig: { functionCallingConfig: { mode, ...defined({ allowedFunctionNames: names }) } } }
}

const decodeResponse = (raw: unknown, options: DecodeOptions | undefined): Reply => {
  const body = fields(raw, "body")
  const feedback = isFields(body.promptFeedback) ? body.promptFeedback : {}
  const facts = {
    usage: decodeUsage(body.usageMetadata),
    ...defined({ model: optionalText(body.modelVersion), id: optionalText(body.responseId) }),
    raw
  }
  const candidates = list(body.candidates ?? [], "candidates")
  if (candidates.length === 0) {
    // Google answers a blocked prompt with 200 and no candidate.
    return optionalText(feedback.blockReason) === undefined
      ? refuse("candidates", "at least one candidate")
      : { text: "", toolCalls: [], finishReason: "contentFilter", ...facts }
  }
  const candidate = fields(candidates[0], "candidates[0]")
  const reason = finishReasonOf(candidate.finishReason, "candidates[0].finishReason") ?? "other"
  const { parts, said, toolCalls } = decodeParts(candidate.content, facts.id)
  citationsOf(candidate).forEach(said.cite)
  const logprobs = logprobsOf(candidate)
  const reply: Reply = {
    text: said.text(),
    ...saidBy(said),
    ...defined({
      parts: parts.length > 0 ? parts : undefined,
      logprobs: logprobs.length > 0 ? logprobs : undefined
    }),
    toolCalls,
    finishReason: finish(reason, toolCalls),
    ...facts
  }
  return options?.allowEmpty || !isEmpty(reply) ? reply : refuse("candidates[0].content.parts", someOutput)
}

const decodeParts = (
  content: unknown,
  replyId: string | undefined
): { readonly parts: ReadonlyArray<Json>; readonly said: Parts; readonly toolCalls: ReadonlyArray<ToolCall> } => {
  const field = "candidates[0].content.parts"
  const { parts: all } = fields(content ?? {}, "candidates[0].content")
  const said = makeParts()
  const toolCalls: Array<ToolCall> = []
  const parts: Array<Json> = []
  list(all ?? [], field).forEach((item, i) => {
    const part = fields(item, `${field}[${i}]`)
    if (part.functionCall !== undefined) {
      const at = `${field}[${i}].functionCall`
      const call = fields(part.functionCall, at)
      toolCalls.push({
        id: optionalText(call.id) ?? `call_${replyId === undefined ? "" : `${replyId}_`}${toolCalls.length}`,
        name: nonEmptyText(call.name, `${at}.name`),
        arguments: toolArguments(call.args, `${at}.args`),
        ...defined({ signature: optionalText(part.thoughtSignature) })
      })
    } else if (part.text !== undefined) {
      const piece = text(part.text, `${field}[${i}].text`)
      const type = part.thought === true ? "reasoning" : "text"
      const opaque = opaqueOf(part)
      said.say(type, piece)
      if (opaque !== undefined) said.sign(opaque, type)
    } else if (isPart(part)) {
      parts.push(part)
      const media = mediaOf(part)
      if (media !== undefined) said.add(media)
    }
  })
  return { parts, said, toolCalls }
}

/** Returns the value that a text must be sent back with. */
export const opaqueOf = ({ thoughtSignature }: Fields): Opaque | undefined => {
  const value = optionalText(thoughtSignature)
  return value === undefined ? undefined : { origin: "google", value }
}

/** Returns the neutral form of an image, or of another file, that the model made. */
export const mediaOf = ({ inlineData }: Fields): ImagePart | FilePart | undefined => {
  if (!isFields(inlineData)) return undefined
  const [data, mediaType] = [optionalText(inlineData.data), optionalText(inlineData.mimeType)]
  if (data === undefined || mediaType === undefined) return undefined
  return { type: mediaType.startsWith("image/") ? "image" : "file", data, mediaType }
}

/** Returns the sources of an answer. Google counts bytes, so positions are omitted. */
export const citationsOf = ({ groundingMetadata }: Fields): ReadonlyArray<Citation> => {
  if (!isFields(groundingMetadata) || !Array.isArray(groundingMetadata.groundingChunks)) return []
  const quotes = new Map<number, string>()
  for (const support of Array.isArray(groundingMetadata.groundingSupports) ? groundingMetadata.groundingSupports : []) {
    const quote = isFields(support) && isFields(support.segment) ? optionalText(support.segment.text) : undefined
    if (quote === undefined || !Array.isArray(support.groundingChunkIndices)) continue
    for (const index of support.groundingChunkIndices) if (!quotes.has(index)) quotes.set(index, quote)
  }
  return groundingMetadata.groundingChunks.flatMap((chunk, i) => {
    const web = isFields(chunk) ? (chunk.web ?? chunk.retrievedContext ?? chunk.maps) : undefined
    return isFields(web)
      ? [defined({ url: optionalText(web.uri), title: optionalText(web.title), quote: quotes.get(i) })]
      : []
  })
}

/** Returns the log probabilities of a candidate, or of a piece of one. */
export const logprobsOf = ({ logprobsResult }: Fields): ReadonlyArray<TokenLogprob> => {
  if (!isFields(logprobsResult) || !Array.isArray(logprobsResult.chosenCandidates)) return []
  const read = (value: unknown): ReadonlyArray<{ readonly token: string; readonly logprob: number }> =>
    isFields(value) && typeof value.token === "string" && typeof value.logProbability === "number"
      ? [{ token: value.token, logprob: value.logProbability }]
      : []
  const tops = Array.isArray(logprobsResult.topCandidates) ? logprobsResult.topCandidates : []
  return logprobsResult.chosenCandidates.flatMap((chosen, i) => {
    const top = isFields(tops[i]) && Array.isArray(tops[i].candidates) ? tops[i].candidates.flatMap(read) : []
    return read(chosen).map((own) => (top.length > 0 ? { ...own, top } : own))
  })
}

/** Whether a part is output without a neutral form: an image, code that was run, and its result. */
export const isPart = (part: Fields): part is Fields & { readonly [key: string]: Json } =>
  part.thought !== true && Object.keys(part).some((key) => key !== "thoughtSignature" && key !== "thought")

// Here thinking is counted separately from the candidates, and server-side tools' additions separately from the prompt.
export const decodeUsage = (usage: unknown): Usage => {
  if (!isFields(usage)) return {}
  const prompt = count(usage.promptTokenCount)
  const candidates = count(usage.candidatesTokenCount)
  const reasoningTokens = count(usage.thoughtsTokenCount)
  const inputTokens = prompt === undefined ? undefined : prompt + (count(usage.toolUsePromptTokenCount) ?? 0)
  const total = count(usage.totalTokenCount)
  // The sum identifies proxies that count as OpenAI does.
  const inside = total !== undefined && total === sum(inputTokens, candidates)
  const thinking = inside ? 0 : (reasoningTokens ?? 0)
  const outputTokens =
    candidates === undefined && reasoningTokens === undefined ? undefined : (candidates ?? 0) + thinking
  return defined({
    inputTokens,
    outputTokens,
    totalTokens: total ?? sum(inputTokens, outputTokens),
    cachedInputTokens: count(usage.cachedContentTokenCount),
    reasoningTokens,
    toolInputTokens: count(usage.toolUsePromptTokenCount) || undefined,
    audioInputTokens: heard(usage.promptTokensDetails),
    audioOutputTokens: heard(usage.candidatesTokensDetails)
  })
}

const heard = (details: unknown): number | undefined => {
  const own = Array.isArray(details) ? details.find((item) => isFields(item) && item.modality === "AUDIO") : undefined
  return isFields(own) ? count(own.tokenCount) || undefined : undefined
}
