/**
 * OpenAI chat completions, which many providers, the gateway's `compat` endpoint and newer Workers AI models speak.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/chat (`object` and `create`).
 */
import { defined } from "../data/defined.ts"
import { callIdFor, isMistral } from "./callIds.ts"
import type {
  AssistantMessage,
  DecodeOptions,
  Input,
  Json,
  Message,
  Output,
  PromptMessage,
  Reply,
  Request,
  ToolCall,
  ToolChoice,
  Usage
} from "./chat.ts"
import {
  attempt,
  chatDialect,
  checked,
  count,
  type Dialect,
  type Fields,
  fields,
  image,
  isFields,
  list,
  nonEmptyText,
  optionalText,
  refuse,
  spoken,
  sum,
  text,
  thoughtOf,
  toolArguments,
  words,
  writeJson
} from "./codec.ts"
import { finish, finishReasonOf, isEmpty, someOutput } from "./finish.ts"

type Options = {
  readonly id: string
  readonly maxTokens: "max_completion_tokens" | "max_tokens"
}

const make = (options: Options): Dialect<Input, Reply> =>
  chatDialect({
    id: options.id,
    encode: (input, model) =>
      attempt(() => {
        // Most inputs are a text, which has none of the rest.
        if (typeof input === "string") return { model, messages: [{ role: "user", content: input }] }
        const request = checked(input, { temperature: 2 })
        return {
          model,
          messages: request.messages.map((message, i) =>
            encodeMessage(message, `messages[${i}]`, model, options.maxTokens === "max_completion_tokens")
          ),
          ...defined({
            [options.maxTokens]: request.maxTokens,
            user: isMistral(model) ? undefined : request.user,
            response_format: encodeOutput(request.output)
          }),
          ...sampling(request),
          ...encodeTools(request),
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

/** Fields that Workers AI and OpenAI call the same. */
export const sampling = ({ seed, stop, temperature, topP }: Request): Record<string, unknown> =>
  defined({ temperature, top_p: topP, stop: stop?.length ? stop : undefined, seed })

export const encodeTools = ({ tools, toolChoice }: Request): Record<string, unknown> =>
  // An empty list is refused by OpenAI, and says the same as none.
  tools?.length
    ? {
        tools: tools.map(({ description, name, parameters, strict }) => ({
          type: "function",
          function: defined({ name, description, parameters, strict })
        })),
        ...defined({ tool_choice: encodeToolChoice(toolChoice) })
      }
    : {}

const encodeToolChoice = (choice: ToolChoice | undefined): unknown =>
  typeof choice === "object" ? { type: "function", function: { name: choice.name } } : choice

const encodeOutput = (output: Output | undefined): unknown => {
  if (output === undefined) return undefined
  const { name = "output", schema, strict } = output
  // The name is required here, unlike anywhere else: https://github.com/cloudflare/ai/issues/559
  return schema === undefined
    ? { type: "json_object" }
    : { type: "json_schema", json_schema: defined({ name, schema, strict }) }
}

const encodeMessage = (message: Message, field: string, model: string, bounded: boolean): Record<string, unknown> => {
  const { content, role } = message
  if (role === "tool") return { role, tool_call_id: callIdFor(message.toolCallId, model, bounded), content }
  return {
    role,
    content: encodeContent(spoken(content), field),
    ...(role === "assistant" && encodeCalling(message, field, model, bounded))
  }
}

/** The tool calls of a message, with the thinking before them for models that refuse the next turn without it. */
export const encodeCalling = (
  { content, toolCalls }: AssistantMessage,
  field: string,
  model: string,
  bounded = false
): Record<string, unknown> => {
  if (!toolCalls?.length) return {}
  const thought = thoughtOf(content)
  // DeepSeek wants the field although nothing was thought (https://api-docs.deepseek.com/guides/thinking_mode); Kimi refuses an empty one.
  const wanted = /deepseek(?!.*distill)/i.test(model) || (thought !== "" && /kimi/i.test(model))
  return {
    ...(wanted && { reasoning_content: thought }),
    tool_calls: encodeToolCalls(toolCalls, field, model, bounded)
  }
}

const encodeContent = (content: PromptMessage["content"], field: string): unknown => {
  if (typeof content === "string") return content
  // No parts stand beside tool calls, where OpenAI takes an empty text.
  if (content.length === 0) return ""
  return content.map((part, i) => {
    if (part.type === "text") return { type: "text", text: part.text }
    const source = image(part, `${field}.content[${i}]`)
    const url = source.type === "url" ? source.url : `data:${source.mediaType};base64,${source.data}`
    return { type: "image_url", image_url: { url } }
  })
}

const encodeToolCalls = (
  calls: ReadonlyArray<ToolCall>,
  field: string,
  model: string,
  bounded: boolean
): ReadonlyArray<unknown> =>
  calls.map(({ arguments: args, id, name, signature }, i) => ({
    id: callIdFor(id, model, bounded),
    type: "function",
    function: { name, arguments: writeJson(args, `${field}.toolCalls[${i}].arguments`) },
    // Google's compatible endpoint keeps the token here; other servers may refuse a field they do not know.
    ...(signature !== undefined &&
      /gemini/i.test(model) && { extra_content: { google: { thought_signature: signature } } })
  }))

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
  const reason = finishReasonOf(choice.finish_reason, `${at}choices[0].finish_reason`) ?? "other"
  const parts = [...content.parts, ...partsOf(message)]
  const reply: Reply = {
    text: content.text || (refusal ?? ""),
    toolCalls,
    finishReason: refusal === undefined ? finish(reason, toolCalls) : "contentFilter",
    usage: decodeUsage(body.usage),
    ...defined({
      reasoning:
        optionalText(message.reasoning_content) ?? optionalText(message.reasoning) ?? optionalText(content.reasoning),
      parts: parts.length > 0 ? parts : undefined,
      model: optionalText(body.model),
      id: optionalText(body.id)
    }),
    raw
  }
  return options?.allowEmpty || !isEmpty(reply) ? reply : refuse(`${field}.content`, someOutput)
}

/** The calls of a message, or of a piece of one; the single one of a server that knows `functions` only is a call too. */
export const toolCallsOf = ({ function_call: call, tool_calls: calls }: Fields): unknown =>
  isFields(call) && !(Array.isArray(calls) && calls.length > 0) ? [{ index: 0, function: call }] : calls

/** Output of a message, or of a piece of one, that stands beside its content: images of OpenRouter, audio. */
export const partsOf = ({ audio, images }: Fields): ReadonlyArray<Json> => [
  ...(Array.isArray(images) ? images : []),
  ...(isFields(audio) && Object.keys(audio).length > 0 ? [{ type: "audio", audio }] : [])
]

/**
 * Reads content: text, nothing, or parts. Mistral's reasoning models put their
 * thinking into some of them.
 */
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
      // A custom tool takes text, which is no JSON.
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

/** Where the name of a call stands. */
export const bodyOf = (call: Fields): Fields =>
  isFields(call.function) ? call.function : isFields(call.custom) ? call.custom : call

export const signatureOf = (call: Fields): string | undefined => {
  const google = isFields(call.extra_content) ? call.extra_content.google : undefined
  return isFields(google) ? optionalText(google.thought_signature) : undefined
}

/** The larger of two counts, either of which may be unknown. */
const larger = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || (b !== undefined && b > a) ? b : a

/** Reads OpenAI's usage, in which cached and reasoning tokens are part of the totals, with the fields that others have. */
export const decodeUsage = (usage: unknown): Usage => {
  if (!isFields(usage)) return {}
  let cachedInputTokens: number | undefined
  let cacheWriteTokens: number | undefined
  let reasoningTokens: number | undefined
  // Details stand in groups, in some answers beside them; where one thing is counted twice, a zero says nothing.
  const look = (group: Fields, isOuter: boolean): void => {
    for (const key in group) {
      const value = group[key]
      if (isOuter && isFields(value)) look(value, false)
      else if (key === "reasoning_tokens") reasoningTokens = larger(reasoningTokens, count(value))
      else if (/^cache_(write|creation)_/.test(key)) cacheWriteTokens = larger(cacheWriteTokens, count(value))
      else if (/^(num_)?cached_tokens$|_cache_hit_|^cache_read_/.test(key)) {
        cachedInputTokens = larger(cachedInputTokens, count(value))
      }
    }
  }
  look(usage, true)
  const inputTokens = count(usage.prompt_tokens) ?? count(usage.input_tokens)
  const answered = count(usage.completion_tokens) ?? count(usage.output_tokens)
  const total = count(usage.total_tokens)
  const both = sum(answered, reasoningTokens)
  // Some count thinking beside the answer. Only the sum tells: 279 + 6 + 89 = 374.
  const beside = both && (total === undefined ? both > 2 * (answered ?? 0) : total === sum(inputTokens, both))
  const outputTokens = beside ? both : answered
  return defined({
    inputTokens,
    outputTokens,
    totalTokens: total ?? sum(inputTokens, outputTokens),
    cachedInputTokens,
    cacheWriteTokens,
    reasoningTokens
  })
}
