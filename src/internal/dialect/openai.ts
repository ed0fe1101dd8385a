/**
 * OpenAI chat completions, which many providers, the gateway's `compat` endpoint and newer Workers AI models speak.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/chat (`object` and `create`).
 */
import { defined } from "../data/defined.ts"
import type {
  FinishReason,
  Input,
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
  finish,
  image,
  isFields,
  list,
  nonEmptyText,
  optionalText,
  refuse,
  sum,
  text,
  toolArguments,
  writeJson
} from "./codec.ts"

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
          messages: request.messages.map((message, i) => encodeMessage(message, `messages[${i}]`, model)),
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
    decode: (body) => attempt(() => decodeCompletion(fields(body, "body"), "", body))
  })

/** See `Chat.openai`. */
export const openai: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "openai", maxTokens: "max_completion_tokens" })

/** See `Chat.openaiCompatible`. */
export const openaiCompatible: Dialect<Input, Reply> = /*#__PURE__*/ make({
  id: "openai-compatible",
  maxTokens: "max_tokens"
})

/** Mistral refuses fields that it does not know, and so do its models where others serve them. */
export const isMistral = (model: unknown): boolean => typeof model === "string" && /\w[sx]tral/i.test(model)

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

const encodeMessage = (message: Message, field: string, model: string): Record<string, unknown> => {
  const { content, role } = message
  if (role === "tool") return { role, tool_call_id: message.toolCallId, content }
  const calls = role === "assistant" ? message.toolCalls : undefined
  return {
    role,
    content: encodeContent(content, field),
    ...defined({ tool_calls: calls?.length ? encodeToolCalls(calls, field, model) : undefined })
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

export const encodeToolCalls = (calls: ReadonlyArray<ToolCall>, field: string, model: string): ReadonlyArray<unknown> =>
  calls.map(({ arguments: args, id, name, signature }, i) => ({
    id,
    type: "function",
    function: { name, arguments: writeJson(args, `${field}.toolCalls[${i}].arguments`) },
    // Google's compatible endpoint keeps the token here; other servers may refuse a field they do not know.
    ...(signature !== undefined &&
      /gemini/i.test(model) && { extra_content: { google: { thought_signature: signature } } })
  }))

/** A finish reason of this dialect; `other` for what it does not name. */
export const finishReasonOf = (reason: unknown): FinishReason => {
  switch (reason) {
    case "stop":
    case "length":
      return reason
    case "model_length":
      return "length"
    case "tool_calls":
    case "function_call":
      return "toolCalls"
    case "content_filter":
      return "contentFilter"
    default:
      return "other"
  }
}

/** Reads a completion; `at` is the path of the body inside an envelope, with its final dot. */
export const decodeCompletion = (body: Fields, at: string, raw: unknown): Reply => {
  const choices = list(body.choices, `${at}choices`)
  if (choices.length === 0) refuse(`${at}choices`, "at least one choice")
  const choice = fields(choices[0], `${at}choices[0]`)
  const field = `${at}choices[0].message`
  const message = fields(choice.message, field)
  const toolCalls = decodeToolCalls(message.tool_calls, `${field}.tool_calls`)
  const content = decodeContent(message.content, `${field}.content`)
  const refusal = optionalText(message.refusal)
  const finishReason = refusal === undefined ? finish(finishReasonOf(choice.finish_reason), toolCalls) : "contentFilter"
  const said = content?.text ?? refusal
  // No content is right beside tool calls, and when the answer was cut off before it began.
  if (said === undefined && toolCalls.length === 0 && finishReason !== "length" && finishReason !== "contentFilter") {
    refuse(`${field}.content`, "a string")
  }
  return {
    text: said ?? "",
    toolCalls,
    finishReason,
    usage: decodeUsage(body.usage),
    ...defined({
      reasoning: optionalText(message.reasoning_content) ?? optionalText(message.reasoning) ?? content?.reasoning,
      model: optionalText(body.model),
      id: optionalText(body.id)
    }),
    raw
  }
}

// Mistral's reasoning models answer with parts, of which some hold the thinking.
export const decodeContent = (
  content: unknown,
  field: string
): { readonly text: string; readonly reasoning?: string | undefined } | undefined => {
  if (content === undefined || content === null) return undefined
  if (!Array.isArray(content)) return { text: text(content, field) }
  let said = ""
  let thought = ""
  list(content, field).forEach((item, i) => {
    const part = fields(item, `${field}[${i}]`)
    if (part.type === "text") said += text(part.text, `${field}[${i}].text`)
    else if (part.type === "thinking" && Array.isArray(part.thinking)) {
      for (const step of part.thinking) if (isFields(step)) thought += optionalText(step.text) ?? ""
    }
  })
  return { text: said, reasoning: optionalText(thought) }
}

/** Reads tool calls: OpenAI's shape, and the flat `{ name, arguments }` of native Workers AI. */
export const decodeToolCalls = (calls: unknown, field: string): ReadonlyArray<ToolCall> =>
  calls === undefined || calls === null
    ? []
    : list(calls, field).map((item, i) => {
        const call = fields(item, `${field}[${i}]`)
        const nested = isFields(call.function) ? call.function : undefined
        const { arguments: args, name } = nested ?? call
        const at = `${field}[${i}]${nested === undefined ? "" : ".function"}`
        return {
          id:
            call.id === undefined || call.id === null || call.id === ""
              ? `call_${i}`
              : text(call.id, `${field}[${i}].id`),
          name: nonEmptyText(name, `${at}.name`),
          arguments: toolArguments(args, `${at}.arguments`),
          ...defined({ signature: signatureOf(call) })
        }
      })

export const signatureOf = (call: Fields): string | undefined => {
  const google = isFields(call.extra_content) ? call.extra_content.google : undefined
  return isFields(google) ? optionalText(google.thought_signature) : undefined
}

/** Reads OpenAI's usage, in which cached and reasoning tokens are part of the totals. */
export const decodeUsage = (usage: unknown): Usage => {
  if (!isFields(usage)) return {}
  const prompt = isFields(usage.prompt_tokens_details) ? usage.prompt_tokens_details : {}
  const completion = isFields(usage.completion_tokens_details) ? usage.completion_tokens_details : {}
  const inputTokens = count(usage.prompt_tokens)
  const outputTokens = count(usage.completion_tokens)
  return defined({
    inputTokens,
    outputTokens,
    totalTokens: count(usage.total_tokens) ?? sum(inputTokens, outputTokens),
    // DeepSeek counts its cache in a field of its own.
    cachedInputTokens: count(prompt.cached_tokens) ?? count(usage.prompt_cache_hit_tokens),
    cacheWriteTokens: count(prompt.cache_write_tokens),
    reasoningTokens: count(completion.reasoning_tokens)
  })
}
