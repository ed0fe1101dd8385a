/**
 * Google's `generateContent`, at AI Studio and at Vertex.
 *
 * Shapes: https://ai.google.dev/api/generate-content and https://ai.google.dev/gemini-api/docs/thought-signatures. The
 * model is part of the address.
 */
import { defined } from "../data/defined.ts"
import type {
  AssistantMessage,
  DecodeOptions,
  Input,
  Json,
  Message,
  PromptMessage,
  Reply,
  Request,
  Tool,
  ToolCall,
  ToolChoice,
  ToolMessage,
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
  nonEmptyTexts,
  optionalText,
  refuse,
  spoken,
  sum,
  text,
  toolArguments,
  unsupported
} from "./codec.ts"
import { finish, finishReasonOf, isEmpty, someOutput } from "./finish.ts"

type Options = {
  readonly id: string
  /** AI Studio matches calls and answers by id; Vertex refuses the field. */
  readonly callIds: boolean
}

const make = (options: Options): Dialect<Input, Reply> =>
  chatDialect({
    id: options.id,
    encode: (input, model) =>
      attempt(() => {
        const request = checked(input, { temperature: 2 })
        const { generationConfig, ...extra } = request.extra ?? {}
        const config = {
          ...encodeConfig(request),
          ...(generationConfig !== undefined && fields(generationConfig, "extra.generationConfig"))
        }
        return {
          ...encodeContents(request.messages, options, model),
          ...encodeTools(request),
          ...(Object.keys(config).length > 0 && { generationConfig: config }),
          ...extra
        }
      }),
    decode: (body, options) => attempt(() => decodeResponse(body, options))
  })

/** See `Chat.google`. */
export const google: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "google", callIds: true })

/** See `Chat.googleVertex`. */
export const googleVertex: Dialect<Input, Reply> = /*#__PURE__*/ make({ id: "google-vertex", callIds: false })

const encodeConfig = ({ maxTokens, output, seed, stop, temperature, topP }: Request): Record<string, unknown> =>
  defined({
    maxOutputTokens: maxTokens,
    temperature,
    topP,
    stopSequences: stop?.length === 0 ? undefined : stop,
    seed,
    responseMimeType: output === undefined ? undefined : "application/json",
    // The field that takes JSON Schema; `responseSchema` takes a dialect of OpenAPI.
    responseJsonSchema: output?.schema
  })

const encodeTools = ({ tools, toolChoice }: Request): Record<string, unknown> =>
  tools === undefined || tools.length === 0
    ? {}
    : {
        tools: [
          {
            functionDeclarations: tools.map(({ description, name, parameters }, i) => ({
              name: /^\d|^-/.test(name)
                ? unsupported(`tools[${i}].name`, "a name that starts with a letter or _")
                : name,
              ...defined({ description }),
              parametersJsonSchema: parameters
            }))
          }
        ],
        ...toolConfig(toolChoice, tools)
      }

const toolConfig = (choice: ToolChoice | undefined, tools: ReadonlyArray<Tool>): Record<string, unknown> => {
  // Like `AUTO`, with arguments that fit the schemas; `ANY` holds to them by itself.
  const free = tools.some(({ strict }) => strict === true) ? "VALIDATED" : choice === undefined ? undefined : "AUTO"
  const mode = choice === "none" ? "NONE" : choice === undefined || choice === "auto" ? free : "ANY"
  if (mode === undefined) return {}
  const named = typeof choice === "object" ? { allowedFunctionNames: [choice.name] } : {}
  return { toolConfig: { functionCallingConfig: { mode, ...named } } }
}

const encodeContents = (messages: ReadonlyArray<Message>, options: Options, model: string): Record<string, unknown> => {
  const system: Array<unknown> = []
  const contents: Array<{ readonly role: string; readonly parts: ReadonlyArray<unknown> }> = []
  const names = new Map<string, string>()
  let results: Array<unknown> | undefined
  messages.forEach((message, i) => {
    const field = `messages[${i}]`
    // System messages move out of the turns, so they end none.
    if (message.role === "user" || message.role === "assistant") results = undefined
    switch (message.role) {
      case "system":
        system.push(...nonEmptyTexts(message.content, `${field}.content`).map((part) => ({ text: part })))
        return
      case "user":
        contents.push({ role: "user", parts: encodeParts(message.content, `${field}.content`) })
        return
      case "assistant":
        for (const call of message.toolCalls ?? []) names.set(call.id, call.name)
        contents.push({ role: "model", parts: encodeAssistant(message, field, options, model) })
        return
      default: {
        // As many answers as there were calls have to stand in one turn.
        if (results === undefined) {
          results = []
          contents.push({ role: "user", parts: results })
        }
        results.push(encodeResult(message, names.get(message.toolCallId), field, options))
      }
    }
  })
  if (contents.length === 0) unsupported("messages", "at least one message that is not a system message")
  return { ...(system.length > 0 && { systemInstruction: { parts: system } }), contents }
}

const encodeParts = (content: PromptMessage["content"], field: string): ReadonlyArray<unknown> =>
  typeof content === "string"
    ? [{ text: nonEmptyText(content, field) }]
    : content.map((part, i) => {
        if (part.type === "text") return { text: nonEmptyText(part.text, `${field}[${i}].text`) }
        const source = image(part, `${field}[${i}]`)
        return source.type === "data"
          ? { inlineData: { mimeType: source.mediaType, data: source.data } }
          : { fileData: { fileUri: source.url, ...defined({ mimeType: source.mediaType }) } }
      })

const encodeAssistant = (
  { content: all, toolCalls = [] }: AssistantMessage,
  field: string,
  { callIds }: Options,
  model: string
): ReadonlyArray<unknown> => {
  const content = spoken(all)
  return [
    ...(content === "" && toolCalls.length > 0 ? [] : encodeParts(content, `${field}.content`)),
    ...toolCalls.map(({ arguments: args, id, name, signature }, i) => ({
      functionCall: {
        ...(callIds && { id }),
        name,
        args: isFields(args) ? args : unsupported(`${field}.toolCalls[${i}].arguments`, "a JSON object")
      },
      ...defined({ thoughtSignature: signature ?? (i === 0 && needsSignature(model) ? noSignature : undefined) })
    }))
  ]
}

// From Gemini 3 on, the first call of a turn without a signature is refused. This value is documented for calls that
// another model made, which is what a fallback in mid-conversation leaves behind.
const noSignature = "skip_thought_signature_validator"
const needsSignature = (model: string): boolean => /gemini(?!-[12](?:\D|$))/i.test(model)

const encodeResult = (
  message: ToolMessage,
  called: string | undefined,
  field: string,
  { callIds }: Options
): unknown => ({
  functionResponse: {
    ...(callIds && { id: message.toolCallId }),
    name: nonEmptyText(message.name ?? called, `${field}.name`),
    response: { output: message.content }
  }
})

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
    // A blocked prompt is answered with 200 and no candidate.
    return optionalText(feedback.blockReason) === undefined
      ? refuse("candidates", "at least one candidate")
      : { text: "", toolCalls: [], finishReason: "contentFilter", ...facts }
  }
  const candidate = fields(candidates[0], "candidates[0]")
  const reason = finishReasonOf(candidate.finishReason, "candidates[0].finishReason") ?? "other"
  const { parts, said, thought, toolCalls } = decodeParts(candidate.content, facts.id)
  const reply: Reply = {
    text: said,
    ...defined({ reasoning: optionalText(thought), parts: parts.length > 0 ? parts : undefined }),
    toolCalls,
    finishReason: finish(reason, toolCalls),
    ...facts
  }
  return options?.allowEmpty || !isEmpty(reply) ? reply : refuse("candidates[0].content.parts", someOutput)
}

const decodeParts = (content: unknown, replyId: string | undefined) => {
  const field = "candidates[0].content.parts"
  const { parts: all } = fields(content ?? {}, "candidates[0].content")
  let said = ""
  let thought = ""
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
      if (part.thought === true) thought += piece
      else said += piece
    } else if (isPart(part)) parts.push(part)
  })
  return { parts, said, thought, toolCalls }
}

/** Whether a part is output without a neutral form: an image, code that was run, and what came of it. */
export const isPart = (part: Fields): part is Fields & { readonly [key: string]: Json } =>
  part.thought !== true && Object.keys(part).some((key) => key !== "thoughtSignature" && key !== "thought")

// Thinking is counted beside the candidates here, and what server-side tools put into the prompt beside the prompt.
export const decodeUsage = (usage: unknown): Usage => {
  if (!isFields(usage)) return {}
  const prompt = count(usage.promptTokenCount)
  const candidates = count(usage.candidatesTokenCount)
  const reasoningTokens = count(usage.thoughtsTokenCount)
  const inputTokens = prompt === undefined ? undefined : prompt + (count(usage.toolUsePromptTokenCount) ?? 0)
  const total = count(usage.totalTokenCount)
  // Proxies that count as OpenAI does are told by the sum.
  const inside = total !== undefined && total === sum(inputTokens, candidates)
  const thinking = inside ? 0 : (reasoningTokens ?? 0)
  const outputTokens =
    candidates === undefined && reasoningTokens === undefined ? undefined : (candidates ?? 0) + thinking
  return defined({
    inputTokens,
    outputTokens,
    totalTokens: total ?? sum(inputTokens, outputTokens),
    cachedInputTokens: count(usage.cachedContentTokenCount),
    reasoningTokens
  })
}
