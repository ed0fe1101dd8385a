/**
 * Server-sent events of the echo upstream, one writer per dialect. Every stream has its dialect's finish event.
 */
import type { Reply } from "./echo.ts"
import { json } from "./errors.ts"
import type { Answer } from "./protocol.ts"

const sse = (events: ReadonlyArray<string>): Answer => ({
  status: 200,
  headers: { "content-type": "text/event-stream", "cache-control": "no-cache" },
  body: events.map((event) => `${event}\n\n`).join("")
})

const data = (value: unknown): string => `data: ${JSON.stringify(value)}`

/** An event whose name is its `type`. */
type Named = Readonly<Record<string, unknown>> & { readonly type: string }

const named = (value: Named): string => `event: ${value.type}\n${data(value)}`

// Words with the space before them, so that the pieces joined are the text. At least one, so that streams have a delta.
const pieces = (text: string): ReadonlyArray<string> => text.match(/\s*\S+|\s+$/g) ?? [""]

export const openAiUsage = (reply: Reply) => ({
  prompt_tokens: reply.promptTokens,
  completion_tokens: reply.completionTokens,
  total_tokens: reply.promptTokens + reply.completionTokens
})

export const openAiChat = (reply: Reply): Answer => {
  const chunk = (choices: ReadonlyArray<unknown>, more: object = {}): string =>
    data({
      id: `chatcmpl-${reply.id}`,
      object: "chat.completion.chunk",
      created: reply.created,
      model: reply.model,
      choices,
      ...more
    })
  const choice = (delta: object, finish: string | null): unknown => ({
    index: 0,
    delta,
    logprobs: null,
    finish_reason: finish
  })
  return sse([
    chunk([choice({ role: "assistant", content: "" }, null)]),
    ...pieces(reply.text).map((content) => chunk([choice({ content }, null)])),
    chunk([choice({}, "stop")]),
    ...(reply.includeUsage ? [chunk([], { usage: openAiUsage(reply) })] : []),
    "data: [DONE]"
  ])
}

const outputText = (text: string) => ({ type: "output_text", text, annotations: [], logprobs: [] })

const messageItem = (reply: Reply, status: "in_progress" | "completed") => ({
  id: `msg_${reply.id}`,
  type: "message",
  status,
  role: "assistant",
  content: status === "completed" ? [outputText(reply.text)] : []
})

/** An object of OpenAI's Responses API. */
export const openAiResponse = (reply: Reply, status: "in_progress" | "completed") => ({
  id: `resp_${reply.id}`,
  object: "response",
  created_at: reply.created,
  status,
  background: false,
  error: null,
  incomplete_details: null,
  instructions: null,
  max_output_tokens: null,
  metadata: {},
  model: reply.model,
  output: status === "completed" ? [messageItem(reply, "completed")] : [],
  parallel_tool_calls: true,
  previous_response_id: null,
  reasoning: { effort: null, summary: null },
  service_tier: "default",
  store: false,
  temperature: 1,
  text: { format: { type: "text" } },
  tool_choice: "auto",
  tools: [],
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

export const openAiResponses = (reply: Reply): Answer => {
  const place = { item_id: `msg_${reply.id}`, output_index: 0, content_index: 0 }
  const events: ReadonlyArray<Named> = [
    { type: "response.created", response: openAiResponse(reply, "in_progress") },
    { type: "response.in_progress", response: openAiResponse(reply, "in_progress") },
    { type: "response.output_item.added", output_index: 0, item: messageItem(reply, "in_progress") },
    { type: "response.content_part.added", ...place, part: outputText("") },
    ...pieces(reply.text).map((delta) => ({ type: "response.output_text.delta", ...place, delta, logprobs: [] })),
    { type: "response.output_text.done", ...place, text: reply.text, logprobs: [] },
    { type: "response.content_part.done", ...place, part: outputText(reply.text) },
    { type: "response.output_item.done", output_index: 0, item: messageItem(reply, "completed") },
    { type: "response.completed", response: openAiResponse(reply, "completed") }
  ]
  return sse(events.map((event, index) => named({ ...event, sequence_number: index })))
}

/** The head of an Anthropic message, before anything was generated. */
export const anthropicMessage = (reply: Reply) => ({
  id: `msg_${reply.id}`,
  type: "message",
  role: "assistant",
  model: reply.model,
  content: [],
  stop_reason: null,
  stop_sequence: null,
  usage: { input_tokens: reply.promptTokens, output_tokens: 0 }
})

export const anthropic = (reply: Reply): Answer => {
  const events: ReadonlyArray<Named> = [
    { type: "message_start", message: anthropicMessage(reply) },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    { type: "ping" },
    ...pieces(reply.text).map((text) => ({
      type: "content_block_delta",
      index: 0,
      delta: { type: "text_delta", text }
    })),
    { type: "content_block_stop", index: 0 },
    {
      type: "message_delta",
      delta: { stop_reason: "end_turn", stop_sequence: null },
      usage: { output_tokens: reply.completionTokens }
    },
    { type: "message_stop" }
  ]
  return sse(events.map(named))
}

export const workersAi = (reply: Reply): Answer =>
  sse([
    ...pieces(reply.text).map((response) => data({ response })),
    data({ response: "", usage: openAiUsage(reply) }),
    "data: [DONE]"
  ])

export const googleResponse = (reply: Reply, text: string = reply.text, finished = true): unknown => ({
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

/** Google streams events only when asked with `alt=sse`, and a JSON array otherwise. */
export const google = (reply: Reply, endpoint: string): Answer => {
  const parts = pieces(reply.text)
  const chunks = parts.map((text, index) => googleResponse(reply, text, index === parts.length - 1))
  return /[?&]alt=sse(&|$)/.test(endpoint) ? sse(chunks.map(data)) : json(200, chunks)
}
