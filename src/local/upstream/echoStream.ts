import type { Delta } from "../../internal/dialect/delta.ts"
import { makeChunkWriter } from "../../internal/dialect/server/openaiStreamWriter.ts"
import { chatFacts, chatUsage, type EchoReply } from "./reply.ts"

/** Events without the blank line that ends each. */
type Events = Iterable<string>

const dataLine = (text: string): string => `data: ${text}`

const data = (value: unknown): string => dataLine(JSON.stringify(value))

/** An event whose name is its `type`. */
type Named = Readonly<Record<string, unknown>> & { readonly type: string }

const named = (value: Named): string => `event: ${value.type}\n${data(value)}`

const events = (write: () => Generator<string>): Events => ({ [Symbol.iterator]: write })

/** The usage that models of Workers AI report. */
export const workersAiUsage = (reply: EchoReply) => ({
  prompt_tokens: reply.promptTokens,
  completion_tokens: reply.completionTokens,
  total_tokens: reply.promptTokens + reply.completionTokens
})

function* deltasOf(reply: EchoReply): Generator<Delta> {
  for (const text of reply.pieces) yield { type: "text", text }
  yield { type: "usage", usage: chatUsage(reply) }
  yield { type: "finish", reason: "stop" }
}

export const openAiChat = (reply: EchoReply): Events =>
  events(function* () {
    const writer = makeChunkWriter(chatFacts(reply), reply.includeUsage)
    for (const delta of deltasOf(reply)) yield* writer.delta(delta).map(dataLine)
    yield* writer.end().map(dataLine)
  })

const outputText = (text: string) => ({ type: "output_text", text, annotations: [], logprobs: [] })

const messageItem = (reply: EchoReply, status: "in_progress" | "completed") => ({
  id: `msg_${reply.id}`,
  type: "message",
  status,
  role: "assistant",
  content: status === "completed" ? [outputText(reply.text)] : []
})

/** An object of OpenAI's Responses API. */
export const openAiResponse = (reply: EchoReply, status: "in_progress" | "completed") => ({
  id: `resp_${reply.id}`,
  object: "response",
  created_at: reply.created,
  status,
  background: false,
  completed_at: status === "completed" ? reply.created : null,
  error: null,
  frequency_penalty: 0,
  incomplete_details: null,
  instructions: null,
  max_output_tokens: null,
  max_tool_calls: null,
  metadata: {},
  model: reply.model,
  output: status === "completed" ? [messageItem(reply, "completed")] : [],
  parallel_tool_calls: true,
  presence_penalty: 0,
  previous_response_id: null,
  reasoning: { effort: null, summary: null },
  service_tier: "default",
  store: false,
  temperature: 1,
  text: { format: { type: "text" } },
  tool_choice: "auto",
  tools: [],
  top_logprobs: 0,
  top_p: 1,
  truncation: "disabled",
  usage:
    status === "completed"
      ? {
          input_tokens: reply.promptTokens,
          input_tokens_details: { cached_tokens: 0 },
          output_tokens: reply.completionTokens,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: reply.promptTokens + reply.completionTokens
        }
      : null
})

export const openAiResponses = (reply: EchoReply): Events => {
  const place = { item_id: `msg_${reply.id}`, output_index: 0, content_index: 0 }
  return events(function* () {
    let sequence = 0
    const event = (value: Named): string => named({ ...value, sequence_number: sequence++ })
    yield event({ type: "response.created", response: openAiResponse(reply, "in_progress") })
    yield event({ type: "response.in_progress", response: openAiResponse(reply, "in_progress") })
    yield event({ type: "response.output_item.added", output_index: 0, item: messageItem(reply, "in_progress") })
    yield event({ type: "response.content_part.added", ...place, part: outputText("") })
    for (const delta of reply.pieces) yield event({ type: "response.output_text.delta", ...place, delta, logprobs: [] })
    yield event({ type: "response.output_text.done", ...place, text: reply.text, logprobs: [] })
    yield event({ type: "response.content_part.done", ...place, part: outputText(reply.text) })
    yield event({ type: "response.output_item.done", output_index: 0, item: messageItem(reply, "completed") })
    yield event({ type: "response.completed", response: openAiResponse(reply, "completed") })
  })
}

/** What Anthropic counts, with the fields that it always writes. */
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

export const anthropic = (reply: EchoReply): Events =>
  events(function* () {
    yield named({ type: "message_start", message: anthropicMessage(reply) })
    yield named({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } })
    yield named({ type: "ping" })
    for (const text of reply.pieces) {
      yield named({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } })
    }
    yield named({ type: "content_block_stop", index: 0 })
    yield named({
      type: "message_delta",
      delta: { stop_reason: "end_turn", stop_sequence: null, container: null },
      usage: {
        input_tokens: reply.promptTokens,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 0,
        output_tokens: reply.completionTokens
      }
    })
    yield named({ type: "message_stop" })
  })

export const workersAi = (reply: EchoReply): Events =>
  events(function* () {
    for (const response of reply.pieces) yield data({ response })
    yield data({ response: "", usage: workersAiUsage(reply) })
    yield "data: [DONE]"
  })

export const googleResponse = (reply: EchoReply, text: string = reply.text, finished = true): unknown => ({
  candidates: [
    {
      content: { role: "model", parts: [{ text }] },
      ...(finished ? { finishReason: "STOP" } : {}),
      index: 0
    }
  ],
  usageMetadata: {
    promptTokenCount: reply.promptTokens,
    candidatesTokenCount: reply.completionTokens,
    totalTokenCount: reply.promptTokens + reply.completionTokens
  },
  modelVersion: reply.model,
  responseId: reply.id
})

/** The parts of a streamed answer; the last one says that it is the last. */
export function* googleParts(reply: EchoReply): Generator<unknown> {
  let held: string | undefined
  for (const text of reply.pieces) {
    if (held !== undefined) yield googleResponse(reply, held, false)
    held = text
  }
  yield googleResponse(reply, held ?? "", true)
}

/** The parts as a JSON array, in texts of some size. */
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
