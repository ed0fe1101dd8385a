/**
 * OpenAI chat completions, which many providers, the gateway's `compat` endpoint and newer Workers AI models use.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/chat (`object` and `create`).
 */
import { defined } from "../data/defined.ts"
import { isMistral } from "./callIds.ts"
import type {
  Citation,
  DecodeOptions,
  ImagePart,
  Input,
  Json,
  Output,
  Reply,
  ReplyPart,
  Request,
  TokenLogprob,
  ToolCall,
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
  unsupported,
  words
} from "./codec.ts"
import { finish, finishReasonOf, isEmpty, someOutput } from "./finish.ts"
import {
  allowedTools,
  type Effort,
  effortOf,
  efforts,
  type Lose,
  loseAll,
  loseOf,
  ownTools,
  temperatureOf
} from "./hints.ts"
import { encodeMessages, type Writing } from "./openaiMessages.ts"

type Options = {
  readonly id: string
  readonly maxTokens: "max_completion_tokens" | "max_tokens"
}

const make = (options: Options): Dialect<Input, Reply> =>
  chatDialect({
    id: options.id,
    encode: (input, model, encoding) =>
      attempt(() => {
        // Most inputs are a string, which has no other fields.
        if (typeof input === "string") return { model, messages: [{ role: "user", content: input }] }
        const request = checked(input, { temperature: 2 })
        const lose = loseOf(request, encoding)
        const writing = { model, isOpenai: options.maxTokens === "max_completion_tokens", lose }
        return {
          model,
          messages: encodeMessages(request.messages, writing),
          ...defined({ [options.maxTokens]: request.maxTokens, response_format: encodeOutput(request.output) }),
          ...encodeSettings(request, writing),
          ...sampling(request, 2, lose),
          ...encodeTools(request, writing),
          ...request.extra
        }
      }),
    decode: (body, options) => attempt(() => decodeCompletion(fields(body, "body"), "", body, options))
  })

/** See `Chat.openai`. */
export const openai: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "openai", maxTokens: "max_completion_tokens" })

/** See `Chat.openaiCompatible`. */
export const openaiCompatible: Dialect<Input, Reply> = /*#__PURE__*/ make({
  id: "openai-compatible",
  maxTokens: "max_tokens"
})

/** Encodes the fields that have the same name at Workers AI and OpenAI. */
export const sampling = (request: Request, hottest: number, lose: Lose): Record<string, unknown> => {
  const { frequencyPenalty, presencePenalty, seed, stop, topP } = request
  return defined({
    temperature: temperatureOf(request, hottest, lose),
    top_p: topP,
    stop: stop?.length ? stop : undefined,
    seed,
    frequency_penalty: frequencyPenalty,
    presence_penalty: presencePenalty
  })
}

const named = (name: string) => ({ type: "function", function: { name } })

export const encodeTools = (request: Request, { isOpenai, lose }: Writing): Record<string, unknown> => {
  const { parallelToolCalls, toolChoice, tools: all } = request
  ownTools(request, undefined)
  // OpenAI can express a subset of the tools; other servers of its dialect often cannot.
  const some = isOpenai && typeof toolChoice === "object" && "allowed" in toolChoice ? toolChoice : undefined
  const { choice, tools } = some && all ? { choice: some, tools: all } : allowedTools(request)
  // OpenAI rejects an empty list, which means the same as none.
  if (tools.length === 0) return {}
  return {
    tools: tools.map(({ cache, description, name, parameters, strict }, i) => {
      if (cache !== undefined) lose(`tools[${i}].cache`, "nothing")
      return { type: "function", function: defined({ name, description, parameters, strict }) }
    }),
    ...defined({
      tool_choice:
        typeof choice !== "object"
          ? choice
          : "allowed" in choice
            ? { type: "allowed_tools", allowed_tools: { mode: choice.mode, tools: choice.allowed.map(named) } }
            : named(choice.name),
      parallel_tool_calls: parallelToolCalls
    })
  }
}

/**
 * Returns the efforts of an OpenAI model, lowest first: none if it does not think, all if it is unknown (Azure's
 * `gpt-35-turbo`).
 */
export const effortsOf = (model: string): ReadonlyArray<Effort> => {
  const [, major, minor = 0] = /gpt-(\d)(?!\d)(?:\.(\d+))?/i.exec(model) ?? []
  const version = Number(major) + Number(minor) / 10
  const levels = ["low", "medium", "high"] as const
  if (/(^|\/)o\d/.test(model)) return levels
  if (version < 5 || /chat/.test(model)) return []
  if (version < 5.1) return ["minimal", ...levels]
  if (version < 6) return ["none", ...levels, ...(version < 5.2 ? [] : ["xhigh" as const])]
  return version >= 6 ? [...levels, "xhigh", "max"] : efforts
}

/** Encodes settings that some models, and some servers of this dialect, lack. */
export const encodeSettings = (
  request: Request,
  { isOpenai, lose, model, showsThinking }: Writing
): Record<string, unknown> => {
  const { cacheKey, extra, logprobs, metadata, reasoning, tier, topK, user, verbosity } = request
  // Mistral rejects unknown fields.
  const mistral = isMistral(model)
  const levels = isOpenai ? effortsOf(model) : mistral ? [] : efforts
  const effort = effortOf(request, levels, lose)
  const isThinking = isOpenai && levels.length > 0 && levels.length < efforts.length
  const lost = (isLost: boolean, names: ReadonlyArray<keyof Request>, how?: "firm") => {
    if (isLost) loseAll(request, names, lose, how)
  }
  lost(isThinking, ["frequencyPenalty", "presencePenalty"], "firm")
  lost(isThinking && effort !== "none", ["temperature", "topP"], "firm")
  lost(isOpenai || mistral, ["topK"], "firm")
  lost(!isOpenai, ["verbosity", "tier", "cacheKey"])
  lost(isOpenai && levels.length === 0, ["verbosity"])
  lost(mistral, ["user"])
  const isStored = extra?.store === true
  lost(!isStored, ["metadata"])
  if (reasoning?.show === true && isOpenai && !showsThinking) lose("reasoning.show", "nothing")
  if (logprobs !== undefined && ((isThinking && effort !== "none") || mistral)) unsupported("logprobs", "nothing")
  return defined({
    reasoning_effort: effort,
    user: mistral ? undefined : user,
    top_k: topK,
    logprobs: logprobs === undefined ? undefined : true,
    top_logprobs: logprobs || undefined,
    verbosity: isOpenai && levels.length > 0 ? verbosity : undefined,
    service_tier: isOpenai ? tier : undefined,
    prompt_cache_key: isOpenai ? cacheKey : undefined,
    metadata: isStored ? metadata : undefined
  })
}

const encodeOutput = (output: Output | undefined): unknown => {
  if (output === undefined) return undefined
  const { description, name = "output", schema, strict } = output
  // Only here the name is required: https://github.com/cloudflare/ai/issues/559
  return schema === undefined
    ? { type: "json_object" }
    : { type: "json_schema", json_schema: defined({ name, description, schema, strict }) }
}

/** Reads a completion; `at` is the path of the body inside an envelope, with its final dot. */
export const decodeCompletion = (body: Fields, at: string, raw: unknown, options?: DecodeOptions): Reply => {
  const choices = list(body.choices, `${at}choices`)
  if (choices.length === 0) refuse(`${at}choices`, "at least one choice")
  const choice = fields(choices[0], `${at}choices[0]`)
  const field = `${at}choices[0].message`
  const message = fields(choice.message, field)
  const toolCalls = decodeToolCalls(toolCallsOf(message), `${field}.tool_calls`)
  const content = decodeContent(message.content, `${field}.content`)
  const refusal = optionalText(message.refusal)
  const reasoning =
    optionalText(message.reasoning_content) ?? optionalText(message.reasoning) ?? optionalText(content.reasoning)
  const reason = finishReasonOf(choice.finish_reason, `${at}choices[0].finish_reason`) ?? "other"
  const parts = [...content.parts, ...partsOf(message)]
  const reply: Reply = {
    text: content.text || (refusal ?? ""),
    toolCalls,
    finishReason: refusal === undefined ? finish(reason, toolCalls) : "contentFilter",
    usage: decodeUsage(body.usage),
    ...defined({
      reasoning,
      refusal,
      content: contentOf(reasoning, content.text, citationsOf(message.annotations), refusal, parts),
      logprobs: logprobsOf(choice),
      tier: optionalText(body.service_tier),
      parts: parts.length > 0 ? parts : undefined,
      model: optionalText(body.model),
      id: optionalText(body.id)
    }),
    raw
  }
  return options?.allowEmpty || !isEmpty(reply) ? reply : refuse(`${field}.content`, someOutput)
}

/**
 * Returns the parts of a message if text and reasoning do not hold all of it, equal to those that `parts.ts` collects
 * from its stream.
 */
const contentOf = (
  thought: string | undefined,
  said: string,
  citations: ReadonlyArray<Citation>,
  refusal: string | undefined,
  parts: ReadonlyArray<Json>
): ReadonlyArray<ReplyPart> | undefined => {
  const more: ReadonlyArray<ReplyPart> = [
    ...(refusal === undefined ? [] : [{ type: "refusal" as const, text: refusal }]),
    ...parts.flatMap((part) => imageOf(part) ?? [])
  ]
  // Sources without text belong to no part.
  if (more.length === 0 && (citations.length === 0 || said === "")) return undefined
  return [
    ...(thought === undefined ? [] : [{ type: "reasoning" as const, text: thought }]),
    ...(said === "" ? [] : [{ type: "text" as const, text: said, ...(citations.length > 0 && { citations }) }]),
    ...more
  ]
}

/** Returns the sources of a text, nested as in completions or flat as in responses. */
export const citationsOf = (annotations: unknown): ReadonlyArray<Citation> =>
  Array.isArray(annotations)
    ? annotations.filter(isFields).flatMap((annotation) => {
        const own = isFields(annotation.url_citation) ? annotation.url_citation : annotation
        const url = optionalText(own.url)
        return url === undefined
          ? []
          : defined({ url, title: optionalText(own.title), start: count(own.start_index), end: count(own.end_index) })
      })
    : []

/** Returns the neutral form of an image of OpenRouter. */
export const imageOf = (part: Json): ImagePart | undefined => {
  const url = isFields(part) && isFields(part.image_url) && optionalText(part.image_url.url)
  return url ? { type: "image", url } : undefined
}

const logprobOf = (value: unknown): ReadonlyArray<TokenLogprob> =>
  isFields(value) && typeof value.token === "string" && typeof value.logprob === "number"
    ? [{ token: value.token, logprob: value.logprob }]
    : []

/** Returns the log probabilities of a choice, or of a piece of one. */
export const logprobsOf = ({ logprobs }: Fields): ReadonlyArray<TokenLogprob> | undefined => {
  const tokens = isFields(logprobs) && logprobs.content
  if (!Array.isArray(tokens) || tokens.length === 0) return undefined
  return tokens.flatMap((token) =>
    logprobOf(token).map((own) =>
      Array.isArray(token.top_logprobs) && token.top_logprobs.length > 0
        ? { ...own, top: token.top_logprobs.flatMap(logprobOf) }
        : own
    )
  )
}

/**
 * Returns the calls of a message, or of a piece of one, including the single one of a server that only supports
 * `functions`.
 */
export const toolCallsOf = ({ function_call: call, tool_calls: calls }: Fields): unknown =>
  isFields(call) && !(Array.isArray(calls) && calls.length > 0) ? [{ index: 0, function: call }] : calls

/** Returns the output of a message, or of a piece of one, outside its content: images of OpenRouter, audio. */
export const partsOf = ({ audio, images }: Fields): ReadonlyArray<Json> => [
  ...(Array.isArray(images) ? images : []),
  ...(isFields(audio) && Object.keys(audio).length > 0 ? [{ type: "audio", audio }] : [])
]

/** Reads content: text, nothing, or parts. Mistral's reasoning models put their thinking into parts. */
export const decodeContent = (content: unknown, field: string) => {
  const read = { text: "", reasoning: "", parts: [] as Json[] }
  if (!Array.isArray(content)) {
    read.text = words(content ?? "", field)
    return read
  }
  content.forEach((item, i) => {
    const part = fields(item, `${field}[${i}]`)
    if (part.type === "text") read.text += words(part.text, `${field}[${i}].text`)
    else if (part.type !== "thinking") read.parts.push(item)
    else if (Array.isArray(part.thinking)) {
      for (const step of part.thinking) if (isFields(step)) read.reasoning += optionalText(step.text) ?? ""
    }
  })
  return read
}

/** Reads tool calls: OpenAI's shapes, and the flat `{ name, arguments }` of native Workers AI. */
export const decodeToolCalls = (calls: unknown, field: string): ReadonlyArray<ToolCall> => {
  const unique = uniqueIds()
  return list(calls ?? [], field).map((item, i) => {
    const call = fields(item, `${field}[${i}]`)
    const { arguments: args, input, name } = bodyOf(call)
    const at = `${field}[${i}]${isFields(call.function) ? ".function" : ""}`
    return {
      id: unique(
        call.id === undefined || call.id === null || call.id === "" ? `call_${i}` : text(call.id, `${field}[${i}].id`)
      ),
      name: nonEmptyText(name, `${at}.name`),
      // A custom tool takes text, which is not JSON.
      arguments: isFields(call.custom) ? text(input, `${at}.input`) : toolArguments(args, `${at}.arguments`),
      ...defined({ signature: signatureOf(call) })
    }
  })
}

/** Makes ids unique within a reply: some servers give all calls of an answer the same one. */
export const uniqueIds = (): ((id: string) => string) => {
  const used = new Set<string>()
  return (id) => {
    let own = id
    while (used.has(own)) own += "_"
    used.add(own)
    return own
  }
}

/** Returns the object that holds the name of a call. */
export const bodyOf = (call: Fields): Fields =>
  isFields(call.function) ? call.function : isFields(call.custom) ? call.custom : call

export const signatureOf = (call: Fields): string | undefined => {
  const google = isFields(call.extra_content) ? call.extra_content.google : undefined
  return isFields(google) ? optionalText(google.thought_signature) : undefined
}

/** The larger of two counts, if known. */
const larger = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || (b !== undefined && b > a) ? b : a

/** Reads OpenAI's usage, whose totals include cached and reasoning tokens, with the fields of other providers. */
export const decodeUsage = (usage: unknown): Usage => {
  if (!isFields(usage)) return {}
  let cachedInputTokens: number | undefined
  let cacheWriteTokens: number | undefined
  let reasoningTokens: number | undefined
  let audioInputTokens: number | undefined
  let audioOutputTokens: number | undefined
  // Details are in groups, in some answers beside them; if one is counted twice, a zero means nothing.
  const look = (group: Fields, name = ""): void => {
    for (const key in group) {
      const value = group[key]
      if (name === "" && isFields(value)) look(value, key)
      // Without audio, most count 0.
      else if (key === "audio_tokens" && /^(prompt|input)/.test(name)) audioInputTokens = count(value) || undefined
      else if (key === "audio_tokens") audioOutputTokens = count(value) || undefined
      else if (key === "reasoning_tokens") reasoningTokens = larger(reasoningTokens, count(value))
      else if (/^cache_(write|creation)_/.test(key)) cacheWriteTokens = larger(cacheWriteTokens, count(value))
      else if (/^(num_)?cached_tokens$|_cache_hit_|^cache_read_/.test(key)) {
        cachedInputTokens = larger(cachedInputTokens, count(value))
      }
    }
  }
  look(usage)
  const inputTokens = count(usage.prompt_tokens) ?? count(usage.input_tokens)
  const answered = count(usage.completion_tokens) ?? count(usage.output_tokens)
  const total = count(usage.total_tokens)
  const both = sum(answered, reasoningTokens)
  // Some count thinking separately from the answer. Only the sum shows it: 279 + 6 + 89 = 374.
  const beside = both && (total === undefined ? both > 2 * (answered ?? 0) : total === sum(inputTokens, both))
  const outputTokens = beside ? both : answered
  return defined({
    inputTokens,
    outputTokens,
    totalTokens: total ?? sum(inputTokens, outputTokens),
    cachedInputTokens,
    cacheWriteTokens,
    reasoningTokens,
    audioInputTokens,
    audioOutputTokens
  })
}
