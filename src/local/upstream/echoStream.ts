/**
 * Answers of the echo in the dialects of OpenAI, Anthropic, Google and Workers AI, complete and as events.
 */
import { isRecord } from "../../internal/data/json.ts"
import type { Reply } from "../../internal/dialect/chat.ts"
import type { Delta } from "../../internal/dialect/delta.ts"
import { completionOf } from "../../internal/dialect/server/openaiReplyWriter.ts"
import { makeChunkWriter } from "../../internal/dialect/server/openaiStreamWriter.ts"
import { data, dataLine, type Events, events, named } from "./events.ts"
import { argumentPieces, chatFacts, chatUsage, type EchoReply } from "./reply.ts"

/** The usage that models of Workers AI report. */
export const workersAiUsage = (reply: EchoReply) => ({
  prompt_tokens: reply.promptTokens,
  completion_tokens: reply.completionTokens,
  total_tokens: reply.promptTokens + reply.completionTokens
})

function* deltasOf(reply: EchoReply): Generator<Delta> {
  const { call } = reply
  if (call === undefined) for (const text of reply.pieces) yield { type: "text", text }
  else {
    yield { type: "toolCall", index: 0, id: `call_${reply.id}`, name: call.name, arguments: "" }
    const pieces = call.input === undefined ? argumentPieces(call) : []
    for (const piece of pieces) yield { type: "toolCall", index: 0, arguments: piece }
  }
  yield { type: "usage", usage: chatUsage(reply) }
  yield { type: "finish", reason: call === undefined ? "stop" : "toolCalls" }
}

/** The choices of an answer, as many as the request wants. */
const chosen = (
  body: Readonly<Record<string, unknown>>,
  count: number
): ReadonlyArray<Readonly<Record<string, unknown>>> => {
  const [choice] = Array.isArray(body["choices"]) ? body["choices"] : []
  return isRecord(choice) ? Array.from({ length: count }, (_, index) => ({ ...choice, index })) : []
}

const replyBody = (reply: EchoReply): Reply => ({
  text: reply.text,
  toolCalls: reply.call === undefined ? [] : [{ id: `call_${reply.id}`, ...reply.call }],
  finishReason: reply.call === undefined ? "stop" : "toolCalls",
  usage: chatUsage(reply),
  raw: null
})

/** The call of a custom tool, which has a text in place of arguments. */
const customCall = ({ call, id }: EchoReply): ReadonlyArray<object> | undefined =>
  call?.input === undefined
    ? undefined
    : [{ id: `call_${id}`, type: "custom", custom: { name: call.name, input: call.input } }]

/** The choices with their calls replaced, where they have any. */
const recalled = (choices: unknown, place: "delta" | "message", calls: ReadonlyArray<object>): unknown =>
  Array.isArray(choices)
    ? choices.map((choice) =>
        isRecord(choice) && isRecord(choice[place]) && "tool_calls" in choice[place]
          ? { ...choice, [place]: { ...choice[place], tool_calls: calls } }
          : choice
      )
    : choices

export const openAiCompletion = (reply: EchoReply): unknown => {
  const made = completionOf(replyBody(reply), chatFacts(reply))
  const custom = customCall(reply)
  const body = custom === undefined ? made : { ...made, choices: recalled(made["choices"], "message", custom) }
  return reply.choices === 1 ? body : { ...body, choices: chosen(body, reply.choices) }
}

/** A chunk for each choice. Facts about all choices, such as the usage, occur once. */
function* forEach(chunk: string, reply: EchoReply): Generator<string> {
  const { choices: count } = reply
  const custom = customCall(reply)?.map((call, index) => ({ index, ...call }))
  const isPlain = (count === 1 && custom === undefined) || !chunk.startsWith("{")
  const read: unknown = isPlain ? undefined : JSON.parse(chunk)
  const body =
    isRecord(read) && custom !== undefined ? { ...read, choices: recalled(read["choices"], "delta", custom) } : read
  const choices = isRecord(body) ? chosen(body, count) : []
  if (!isRecord(body) || choices.length === 0) yield dataLine(chunk)
  else for (const choice of choices) yield data({ ...body, choices: [choice] })
}

export const openAiChat = (reply: EchoReply): Events =>
  events(function* () {
    const writer = makeChunkWriter(chatFacts(reply), reply.includeUsage)
    for (const delta of deltasOf(reply)) {
      for (const chunk of writer.delta(delta)) yield* forEach(chunk, reply)
    }
    for (const chunk of writer.end()) yield* forEach(chunk, reply)
  })

const textChoices = ({ choices }: EchoReply, text: string, finish: "stop" | null) =>
  Array.from({ length: choices }, (_, index) => ({ text, index, logprobs: null, finish_reason: finish }))

/** An object of OpenAI's old completions. */
export const openAiTextCompletion = (reply: EchoReply, text: string) => ({
  id: `cmpl-${reply.id}`,
  object: "text_completion",
  created: reply.created,
  model: reply.model,
  choices: textChoices(reply, text, "stop"),
  system_fingerprint: "fp_echo",
  usage: workersAiUsage(reply)
})

export const openAiText = (reply: EchoReply): Events =>
  events(function* () {
    const { usage, ...last } = openAiTextCompletion(reply, "")
    for (const text of reply.pieces) yield data({ ...last, choices: textChoices(reply, text, null) })
    yield data(last)
    if (reply.includeUsage) yield data({ ...last, choices: [], usage })
    yield dataLine("[DONE]")
  })

/** Anthropic's usage, with the fields that it always writes. */
export const anthropicUsage = (reply: EchoReply, outputTokens: number) => ({
  input_tokens: reply.promptTokens,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
  output_tokens: outputTokens,
  service_tier: "standard",
  inference_geo: null
})

/** The head of an Anthropic message, before anything was generated. */
export const anthropicMessage = (reply: EchoReply) => ({
  id: `msg_${reply.id}`,
  type: "message",
  role: "assistant",
  model: reply.model,
  content: [],
  stop_reason: null,
  stop_sequence: null,
  container: null,
  usage: anthropicUsage(reply, 0)
})

/** The block of an answer, as it is at the end or at the start of a stream. */
const anthropicBlock = ({ call, id }: EchoReply, text: string, input: unknown): unknown =>
  call === undefined ? { type: "text", text } : { type: "tool_use", id: `toolu_${id}`, name: call.name, input }

const anthropicStop = ({ call }: EchoReply): string => (call === undefined ? "end_turn" : "tool_use")

export const anthropicComplete = (reply: EchoReply): unknown => ({
  ...anthropicMessage(reply),
  content: [anthropicBlock(reply, reply.text, reply.call?.arguments)],
  stop_reason: anthropicStop(reply),
  usage: anthropicUsage(reply, reply.completionTokens)
})

export const anthropic = (reply: EchoReply): Events =>
  events(function* () {
    yield named({ type: "message_start", message: anthropicMessage(reply) })
    yield named({ type: "content_block_start", index: 0, content_block: anthropicBlock(reply, "", {}) })
    yield named({ type: "ping" })
    const delta = (value: object): string => named({ type: "content_block_delta", index: 0, delta: value })
    if (reply.call === undefined) for (const text of reply.pieces) yield delta({ type: "text_delta", text })
    else {
      for (const piece of argumentPieces(reply.call)) yield delta({ type: "input_json_delta", partial_json: piece })
    }
    yield named({ type: "content_block_stop", index: 0 })
    yield named({
      type: "message_delta",
      delta: { stop_reason: anthropicStop(reply), stop_sequence: null, container: null },
      usage: {
        input_tokens: reply.promptTokens,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 0,
        output_tokens: reply.completionTokens
      }
    })
    yield named({ type: "message_stop" })
  })

/** In JSON mode the answer is already parsed; the binding returns `{ response: { … } }`. */
const parsed = (reply: EchoReply, isJson: boolean): unknown => (isJson ? JSON.parse(reply.text) : reply.text)

export const workersAiComplete = (reply: EchoReply): unknown => ({
  result: {
    ...(reply.call === undefined
      ? { response: parsed(reply, reply.isJson) }
      : { response: null, tool_calls: [reply.call] }),
    usage: workersAiUsage(reply)
  },
  success: true,
  errors: [],
  messages: []
})

export const workersAi = (reply: EchoReply): Events =>
  events(function* () {
    if (reply.call === undefined) for (const response of reply.pieces) yield data({ response })
    else yield data({ response: "", tool_calls: [reply.call] })
    yield data({ response: "", usage: workersAiUsage(reply) })
    yield "data: [DONE]"
  })

export const googleResponse = (reply: EchoReply, text: string = reply.text, finished = true): unknown => ({
  candidates: Array.from({ length: reply.choices }, (_, index) => ({
    content: {
      role: "model",
      parts:
        reply.call === undefined
          ? [{ text }]
          : [{ functionCall: { name: reply.call.name, args: reply.call.arguments } }]
    },
    ...(finished ? { finishReason: "STOP" } : {}),
    index
  })),
  usageMetadata: {
    promptTokenCount: reply.promptTokens,
    candidatesTokenCount: reply.completionTokens,
    totalTokenCount: reply.promptTokens + reply.completionTokens
  },
  modelVersion: reply.model,
  responseId: reply.id
})

/** The parts of a streamed answer; the last part is marked as such. */
export function* googleParts(reply: EchoReply): Generator<unknown> {
  let held: string | undefined
  for (const text of reply.pieces) {
    if (held !== undefined) yield googleResponse(reply, held, false)
    held = text
  }
  yield googleResponse(reply, held ?? "", true)
}

/** The parts as a JSON array, in texts of bounded size. */
export const googleArray = (reply: EchoReply): Events =>
  events(function* () {
    let text = "["
    for (const part of googleParts(reply)) {
      text += `${text === "[" ? "" : ","}${JSON.stringify(part)}`
      if (text.length < 65_536) continue
      yield text
      text = ""
    }
    yield `${text}]`
  })

export const google = (reply: EchoReply): Events =>
  events(function* () {
    for (const part of googleParts(reply)) yield data(part)
  })
