/**
 * Workers AI `run`: the native shape, and the OpenAI shape in which newer models answer on the same path.
 *
 * Shapes: https://developers.cloudflare.com/workers-ai/features/function-calling/, …/features/json-mode/ and the
 * model types of `@cloudflare/workers-types`. The model is part of the address, or an argument of the binding.
 */
import { defined } from "../data/defined.ts"
import { callIdFor } from "./callIds.ts"
import type { DecodeOptions, Input, Message, PromptMessage, Reply, Request } from "./chat.ts"
import {
  attempt,
  chatDialect,
  checked,
  type Dialect,
  type Fields,
  fields,
  image,
  isFields,
  optionalText,
  refuse,
  textsOf,
  unsupported,
  writeJson
} from "./codec.ts"
import { finish, finishReasonOf, isEmpty, someOutput } from "./finish.ts"
import { decodeCompletion, decodeToolCalls, decodeUsage, encodeCalling, encodeTools, sampling } from "./openai.ts"

/** See `Chat.workersAi`. */
export const workersAi: Dialect<Input, Reply> = /*#__PURE__*/ chatDialect({
  id: "workers-ai",
  encode: (input, model) =>
    attempt(() => {
      const request = checked(input, { temperature: 5 })
      return {
        messages: request.messages.map((message, i) => encodeMessage(message, `messages[${i}]`, model)),
        ...defined({ max_tokens: request.maxTokens }),
        ...sampling(request),
        ...encodeTools(request),
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

// The bare schema is wanted here, without OpenAI's wrapper: https://github.com/cloudflare/ai/issues/559
const encodeOutput = ({ output }: Request): Record<string, unknown> =>
  output === undefined
    ? {}
    : {
        response_format:
          output.schema === undefined ? { type: "json_object" } : { type: "json_schema", json_schema: output.schema }
      }

const encodeMessage = (message: Message, field: string, model: string): Record<string, unknown> => {
  switch (message.role) {
    case "assistant": {
      return {
        role: "assistant",
        // Never null: the binding refuses it, unlike OpenAI.
        content: textsOf(message.content).join("\n"),
        ...encodeCalling(message, field, model)
      }
    }
    case "tool": {
      const { content, name, toolCallId } = message
      return { role: "tool", tool_call_id: callIdFor(toolCallId, model, false), ...defined({ name }), content }
    }
    default:
      return { role: message.role, content: encodeContent(message.content, `${field}.content`) }
  }
}

// Text models take strings only; parts are sent where there is an image.
const encodeContent = (content: PromptMessage["content"], field: string): unknown =>
  typeof content === "string" || !content.some((part) => part.type === "image")
    ? textsOf(content).join("\n")
    : content.map((part, i) => {
        if (part.type === "text") return { type: "text", text: part.text }
        const source = image(part, `${field}[${i}]`)
        return source.type === "data"
          ? { type: "image_url", image_url: { url: `data:${source.mediaType};base64,${source.data}` } }
          : unsupported(`${field}[${i}].url`, "a data: URL, or data: Workers AI fetches no images")
      })

/** What lies inside `{ success, result }` and `{ state, result }`, in any order and none, with its path. */
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
    // Most native answers do not say why they ended.
    finishReason: finish(finishReasonOf(body.finish_reason, `${at}finish_reason`) ?? "stop", toolCalls),
    usage: decodeUsage(body.usage),
    ...defined({ model: optionalText(body.model), id: optionalText(body.id) }),
    raw
  }
  return options?.allowEmpty || !isEmpty(reply) ? reply : refuse(`${at}response`, someOutput)
}

// In JSON mode the answer comes parsed, sometimes; a model that answers `42` comes as a number.
const decodeResponse = (response: unknown, field: string): string | undefined => {
  if (response === undefined || response === null) return undefined
  return typeof response === "string" ? response : writeJson(response, field)
}
