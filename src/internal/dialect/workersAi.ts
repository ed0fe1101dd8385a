/**
 * Workers AI `run`: the native shape, and the OpenAI shape in which newer models answer on the same path.
 *
 * Shapes: https://developers.cloudflare.com/workers-ai/features/function-calling/, …/features/json-mode/ and the model
 * types of `@cloudflare/workers-types`. The model is part of the URL, or an argument of the binding.
 */
import { defined } from "../data/defined.ts"
import type { DecodeOptions, Input, Message, PromptMessage, Reply, Request } from "./chat.ts"
import { checked, sourceOf } from "./checked.ts"
import {
  attempt,
  chatDialect,
  type Dialect,
  type Fields,
  fields,
  isFields,
  optionalText,
  refuse,
  textsOf,
  unsupported,
  writeJson
} from "./codec.ts"
import { finish, finishReasonOf, isEmpty, someOutput } from "./finish.ts"
import { checkParallel, loseAll, loseOf } from "./hints.ts"
import { decodeCompletion, decodeToolCalls, decodeUsage, encodeTools, sampling } from "./openai.ts"
import { encodeCalling, encodeResult, type Writing } from "./openaiMessages.ts"

/** See `Chat.workersAi`. */
export const workersAi: Dialect<Input, Reply> = /*#__PURE__*/ chatDialect({
  id: "workers-ai",
  encode: (input, model, encoding) =>
    attempt(() => {
      const request = checked(input, { temperature: 5 })
      const lose = loseOf(request, encoding)
      const writing = { model, isOpenai: false, lose }
      const { logprobs, output, reasoning, topK } = request
      loseAll(request, ["verbosity", "tier", "cacheKey", "metadata", "user"], lose)
      if (reasoning !== undefined)
        lose("reasoning", "nothing", undefined, reasoning.effort === "none" ? "firm" : undefined)
      if (logprobs !== undefined) unsupported("logprobs", "nothing: Workers AI has none")
      if (output?.description !== undefined) lose("output.description", "nothing")
      checkParallel(request, lose)
      return {
        messages: request.messages.map((message, i) => encodeMessage(message, `messages[${i}]`, writing)),
        ...defined({ max_tokens: request.maxTokens, top_k: topK }),
        ...sampling(request, 5, lose),
        ...encodeTools({ ...request, parallelToolCalls: undefined }, writing),
        ...encodeOutput(request),
        ...request.extra
      }
    }),
  decode: (raw, options) =>
    attempt(() => {
      const { at, value } = unwrap(raw)
      const body = typeof value === "string" ? { response: value } : fields(value, at === "" ? "body" : at.slice(0, -1))
      return body.choices === undefined
        ? decodeNative(body, at, raw, options)
        : decodeCompletion(body, at, raw, options)
    })
})

// The bare schema, without OpenAI's wrapper: https://github.com/cloudflare/ai/issues/559
const encodeOutput = ({ output }: Request): Record<string, unknown> =>
  output === undefined
    ? {}
    : {
        response_format:
          output.schema === undefined ? { type: "json_object" } : { type: "json_schema", json_schema: output.schema }
      }

const encodeMessage = (message: Message, field: string, writing: Writing): Record<string, unknown> => {
  switch (message.role) {
    case "assistant": {
      return {
        role: "assistant",
        // Never null: the binding rejects it, unlike OpenAI.
        content: textsOf(message.content).join("\n"),
        ...encodeCalling(message, field, writing)
      }
    }
    case "tool": {
      const { content, name } = message
      const file = typeof content === "string" ? -1 : content.findIndex((part) => part.type !== "text")
      if (file >= 0) unsupported(`${field}.content[${file}]`, "text")
      return { role: "tool", ...encodeResult(message, field, writing), ...defined({ name }) }
    }
    default:
      return { role: message.role, content: encodeContent(message.content, `${field}.content`, writing) }
  }
}

// Text models only take strings; parts are sent if there is an image.
const encodeContent = (content: PromptMessage["content"], field: string, { lose }: Writing): unknown => {
  if (typeof content === "string") return content
  content.forEach((part, i) => {
    if (part.cache !== undefined) lose(`${field}[${i}].cache`, "nothing")
  })
  if (content.every(({ type }) => type === "text")) return textsOf(content).join("\n")
  return content.map((part, i) => {
    const at = `${field}[${i}]`
    if (part.type === "text") return { type: "text", text: part.text }
    const source = sourceOf(part, at)
    if (source.kind !== "image") unsupported(at, "text or an image")
    if (source.type !== "data") return unsupported(`${at}.${source.type === "id" ? "fileId" : "url"}`, noAddress)
    const detail = part.type === "image" ? part.detail : undefined
    if (part.type === "file" && part.name !== undefined) lose(`${at}.name`, "nothing")
    return {
      type: "image_url",
      image_url: { url: `data:${source.mediaType};base64,${source.data}`, ...defined({ detail }) }
    }
  })
}

const noAddress = "a data: URL, or data: Workers AI fetches no images"

/** Returns the content of `{ success, result }` and `{ state, result }`, in any order or bare, with its path. */
export const unwrap = (raw: unknown): { readonly value: unknown; readonly at: string } => {
  let value = raw
  let at = ""
  while (isFields(value) && ("success" in value || "state" in value) && "result" in value) {
    if (value.success === false) refuse(`${at}success`, "true")
    if (value.state !== undefined && value.state !== "Completed") refuse(`${at}state`, "Completed")
    value = value.result
    at = `${at}result.`
  }
  return { value, at }
}

const decodeNative = (body: Fields, at: string, raw: unknown, options: DecodeOptions | undefined): Reply => {
  const toolCalls = decodeToolCalls(body.tool_calls, `${at}tool_calls`)
  const said = decodeResponse(body.response, `${at}response`)
  const reply: Reply = {
    text: said ?? "",
    toolCalls,
    // Most native answers have no reason for their end.
    finishReason: finish(finishReasonOf(body.finish_reason, `${at}finish_reason`) ?? "stop", toolCalls),
    usage: decodeUsage(body.usage),
    ...defined({ model: optionalText(body.model), id: optionalText(body.id) }),
    raw
  }
  return options?.allowEmpty || !isEmpty(reply) ? reply : refuse(`${at}response`, someOutput)
}

// In JSON mode the answer sometimes arrives parsed; a model that answers `42` arrives as a number.
const decodeResponse = (response: unknown, field: string): string | undefined => {
  if (response === undefined || response === null) return undefined
  return typeof response === "string" ? response : writeJson(response, field)
}
