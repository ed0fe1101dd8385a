/**
 * OpenAI Responses without stored state: each request holds the complete conversation, and thinking comes back
 * encrypted.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/responses.
 */
import { defined } from "../data/defined.ts"
import { callIdFor } from "./callIds.ts"
import type {
  AssistantMessage,
  DecodeOptions,
  FilePart,
  ImagePart,
  Input,
  Json,
  Message,
  Opaque,
  Reply,
  Request,
  TextPart,
  TokenLogprob,
  ToolCall,
  ToolChoice
} from "./chat.ts"
import { checked, sourceOf } from "./checked.ts"
import {
  attempt,
  chatDialect,
  type Dialect,
  type Fields,
  fields,
  isFields,
  list,
  nonEmptyText,
  optionalText,
  refuse,
  text,
  toolArguments,
  unsupported,
  writeJson
} from "./codec.ts"
import { finish, finishReasonOf, isEmpty, someOutput } from "./finish.ts"
import { loseAll, loseOf, ownTools } from "./hints.ts"
import { citationsOf, decodeUsage, effortsOf, encodeSettings, logprobsOf, sampling } from "./openai.ts"
import type { Writing } from "./openaiMessages.ts"
import { makeParts, saidBy } from "./parts.ts"

/** See `Chat.openaiResponses`. */
export const openaiResponses: Dialect<Input, Reply> = /*#__PURE__*/ chatDialect({
  id: "openai-responses",
  encode: (input, model, encoding) =>
    attempt(() => {
      const request = checked(input, { temperature: 2 })
      const lose = loseOf(request, encoding)
      const writing = { model, isOpenai: true, showsThinking: true, lose }
      if (request.stop?.length) unsupported("stop", "nothing: Responses has no stop sequences")
      loseAll(request, ["seed", "frequencyPenalty", "presencePenalty"], lose, "firm")
      const {
        logprobs,
        reasoning_effort: effort,
        top_k: _,
        verbosity,
        ...settings
      } = encodeSettings({ ...request, frequencyPenalty: undefined, presencePenalty: undefined }, writing)
      const { temperature, top_p } = sampling(request, 2, lose)
      const levels = effortsOf(model)
      // Models that do not think reject the field; an unknown one gets it only with an effort.
      const thinks = levels.length > 0 && (!levels.includes("max") || effort !== undefined || /gpt-\d/.test(model))
      const include = [
        ...(thinks ? ["reasoning.encrypted_content"] : []),
        ...(logprobs === undefined ? [] : ["message.output_text.logprobs"])
      ]
      const format = encodeFormat(request)
      const shown = request.reasoning?.show === true
      return {
        model,
        input: request.messages.flatMap((message, i) => encodeMessage(message, `messages[${i}]`, writing)),
        store: false,
        ...(include.length > 0 && { include }),
        ...defined({ max_output_tokens: request.maxTokens, temperature, top_p, ...settings }),
        ...((effort !== undefined || shown) && {
          reasoning: { ...defined({ effort }), ...(shown && { summary: "auto" }) }
        }),
        ...((format !== undefined || verbosity !== undefined) && { text: defined({ format, verbosity }) }),
        ...encodeTools(request, writing),
        ...request.extra
      }
    }),
  decode: (body, options) => attempt(() => decodeResponse(body, options))
})

const encodeFormat = ({ output }: Request): object | undefined => {
  if (output === undefined) return undefined
  const { description, name = "output", schema, strict } = output
  return schema === undefined
    ? { type: "json_object" }
    : { type: "json_schema", name, schema, ...defined({ description, strict }) }
}

const encodeTools = (request: Request, { lose }: Writing): Record<string, unknown> => {
  const { parallelToolCalls, toolChoice, tools = [] } = request
  const own = ownTools(request, "openai")
  if (tools.length + own.length === 0) return {}
  const functions = tools.map(({ cache, description, name, parameters, strict = false }, i) => {
    if (cache !== undefined) lose(`tools[${i}].cache`, "nothing")
    // The default here is `true`.
    return { type: "function", name, ...defined({ description }), parameters, strict }
  })
  return {
    tools: [...functions, ...own],
    ...defined({ tool_choice: encodeChoice(toolChoice), parallel_tool_calls: parallelToolCalls })
  }
}

const named = (name: string) => ({ type: "function", name })

const encodeChoice = (choice: ToolChoice | undefined): unknown => {
  if (typeof choice !== "object") return choice
  return "allowed" in choice
    ? { type: "allowed_tools", mode: choice.mode, tools: choice.allowed.map(named) }
    : named(choice.name)
}

const encodeMessage = (message: Message, field: string, writing: Writing): ReadonlyArray<object> => {
  switch (message.role) {
    case "assistant":
      return encodeSaid(message, field, writing)
    case "tool": {
      const { content, isError, toolCallId } = message
      if (isError === true) writing.lose(`${field}.isError`, "nothing")
      const call_id = callIdFor(toolCallId, writing.model, true)
      return [{ type: "function_call_output", call_id, output: encodeContent(content, `${field}.content`, writing) }]
    }
    default:
      return [{ role: message.role, content: encodeContent(message.content, `${field}.content`, writing) }]
  }
}

const encodeContent = (
  content: string | ReadonlyArray<TextPart | ImagePart | FilePart>,
  field: string,
  { lose }: Writing
): unknown =>
  typeof content === "string"
    ? content
    : content.map((part, i) => {
        const at = `${field}[${i}]`
        const { cache } = part
        if (cache?.ttl !== undefined) lose(`${at}.cache.ttl`, "nothing")
        return {
          ...(part.type === "text" ? { type: "input_text", text: part.text } : encodeMedia(part, at)),
          ...(cache && { prompt_cache_breakpoint: { mode: "explicit" } })
        }
      })

const encodeMedia = (part: ImagePart | FilePart, at: string): object => {
  const source = sourceOf(part, at)
  if (source.type === "id" && source.origin !== "openai") unsupported(`${at}.fileId.origin`, "openai")
  if (source.kind === "audio" || source.kind === "video") unsupported(at, "text, an image or a document")
  const data = source.type === "data" ? `data:${source.mediaType};base64,${source.data}` : undefined
  const id = source.type === "id" ? source.id : undefined
  const url = source.type === "url" ? source.url : undefined
  if (source.kind === "image") {
    const detail = part.type === "image" ? part.detail : undefined
    return { type: "input_image", ...defined({ image_url: url ?? data, file_id: id, detail }) }
  }
  const name = part.type === "file" ? part.name : undefined
  const fallback = source.mediaType === "application/pdf" ? "document.pdf" : "document"
  return {
    type: "input_file",
    ...defined({
      file_url: url,
      file_id: id,
      file_data: data,
      filename: data === undefined ? undefined : (name ?? fallback)
    })
  }
}

const encodeSaid = ({ content, toolCalls = [] }: AssistantMessage, field: string, writing: Writing) => {
  const items: Array<object> = []
  const parts = typeof content === "string" ? [{ type: "text" as const, text: content }] : content
  parts.forEach((part, i) => {
    if (part.type === "refusal") items.push(saying({ type: "refusal", refusal: part.text }))
    else if (part.type === "text") {
      if (part.text !== "") items.push(saying({ type: "output_text", text: part.text }))
    } else {
      const { opaque, text } = part
      // Thinking belongs to the item after it, and is rejected alone.
      const isLast =
        toolCalls.length === 0 &&
        parts.slice(i + 1).every(({ text, type }) => type === "reasoning" || (type === "text" && text === ""))
      if (opaque?.origin !== "openai" || opaque.value === "" || isLast) {
        writing.lose(`${field}.content[${i}]`, "thinking that OpenAI has encrypted", undefined, "always")
        return
      }
      items.push({
        type: "reasoning",
        ...defined({ id: opaque.id }),
        summary: text === "" ? [] : [{ type: "summary_text", text }],
        encrypted_content: opaque.value
      })
    }
  })
  toolCalls.forEach((call, i) => {
    items.push({
      type: "function_call",
      call_id: callIdFor(call.id, writing.model, true),
      name: call.name,
      arguments: writeJson(call.arguments, `${field}.toolCalls[${i}].arguments`)
    })
  })
  return items
}

const saying = (part: object) => ({ role: "assistant", content: [part] })

const decodeResponse = (raw: unknown, options: DecodeOptions | undefined): Reply => {
  const body = fields(raw, "body")
  const said = makeParts()
  const toolCalls: Array<ToolCall> = []
  const parts: Array<Json> = []
  const logprobs: Array<TokenLogprob> = []
  list(body.output, "output").forEach((value, i) => {
    const at = `output[${i}]`
    const item = fields(value, at)
    switch (item.type) {
      case "message":
        list(item.content, `${at}.content`).forEach((part, j) => {
          const where = `${at}.content[${j}]`
          const own = fields(part, where)
          if (own.type === "refusal") said.say("refusal", text(own.refusal, `${where}.refusal`))
          else if (own.type === "output_text") {
            said.say("text", text(own.text, `${where}.text`))
            citationsOf(own.annotations).forEach(said.cite)
            logprobs.push(...(logprobsOf({ logprobs: { content: own.logprobs } }) ?? []))
          } else if (isPart(own)) parts.push(own)
        })
        return
      case "reasoning": {
        for (const piece of thoughtsOf(item)) said.say("reasoning", piece)
        const opaque = opaqueOf(item)
        if (opaque !== undefined) said.sign(opaque, "reasoning")
        return
      }
      case "function_call":
      case "custom_tool_call":
        toolCalls.push({
          id: nonEmptyText(item.call_id, `${at}.call_id`),
          name: nonEmptyText(item.name, `${at}.name`),
          arguments:
            item.type === "function_call"
              ? toolArguments(item.arguments, `${at}.arguments`)
              : text(item.input, `${at}.input`)
        })
        return
      default: {
        if (!isPart(item)) return
        parts.push(item)
        const media = mediaOf(item)
        if (media !== undefined) said.add(media)
      }
    }
  })
  const reply: Reply = {
    text: said.text(),
    toolCalls,
    finishReason: said.joined("refusal") === "" ? finish(reasonOf(body), toolCalls) : "contentFilter",
    usage: decodeUsage(body.usage),
    ...saidBy(said),
    ...defined({
      parts: parts.length > 0 ? parts : undefined,
      logprobs: logprobs.length > 0 ? logprobs : undefined,
      tier: optionalText(body.service_tier),
      model: optionalText(body.model),
      id: optionalText(body.id)
    }),
    raw
  }
  return options?.allowEmpty || !isEmpty(reply) ? reply : refuse("output", someOutput)
}

/** Returns why a response ended. Rejects one that failed, or that has not ended. */
export const reasonOf = ({ incomplete_details: details, status }: Fields) => {
  if (status === "incomplete") {
    const reason = isFields(details) ? optionalText(details.reason) : undefined
    return reason === "max_output_tokens" || reason === "content_filter"
      ? (finishReasonOf(reason, "incomplete_details.reason") ?? "other")
      : "other"
  }
  if (status === "completed" || status === "cancelled") return status === "completed" ? "stop" : "other"
  return refuse("status", "completed or incomplete")
}

const piecesOf = (pieces: unknown): ReadonlyArray<string> =>
  Array.isArray(pieces) ? pieces.flatMap((piece) => (isFields(piece) ? (optionalText(piece.text) ?? []) : [])) : []

/** Returns the visible text of an item of thinking. */
export const thoughtsOf = ({ content, summary }: Fields): ReadonlyArray<string> => [
  ...piecesOf(summary),
  ...piecesOf(content)
]

/** Returns the value that an item of thinking must be sent back with. */
export const opaqueOf = (item: Fields): Opaque | undefined => {
  const value = optionalText(item.encrypted_content)
  return value === undefined ? undefined : { origin: "openai", value, ...defined({ id: optionalText(item.id) }) }
}

/** Whether an item is output without a neutral form, such as calls and results of OpenAI's own tools. */
export const isPart = (item: Fields): item is Fields & { readonly [key: string]: Json } => typeof item.type === "string"

/** Returns the neutral form of an image that OpenAI's own tool made. */
export const mediaOf = ({ output_format: format, result, type }: Fields): ImagePart | undefined => {
  const data = type === "image_generation_call" ? optionalText(result) : undefined
  return data === undefined ? undefined : { type: "image", data, mediaType: `image/${optionalText(format) ?? "png"}` }
}
