/**
 * Answers of the echo in OpenAI's Responses, complete and as events.
 */
import { type Events, type Named, named, events as writing } from "./events.ts"
import { argumentPieces, type EchoReply } from "./reply.ts"

const outputText = (text: string) => ({ type: "output_text", text, annotations: [], logprobs: [] })

const itemId = ({ call, id }: EchoReply): string =>
  `${call === undefined ? "msg" : call.input === undefined ? "fc" : "ctc"}_${id}`

/** The one item of the output: a message, or the call of a tool. */
const item = (reply: EchoReply, status: "in_progress" | "completed") => {
  const { call } = reply
  const isComplete = status === "completed"
  if (call === undefined) {
    const content = isComplete ? [outputText(reply.text)] : []
    return { id: itemId(reply), type: "message", status, role: "assistant", content }
  }
  if (call.input !== undefined) {
    const input = isComplete ? call.input : ""
    return { id: itemId(reply), type: "custom_tool_call", status, call_id: `call_${reply.id}`, name: call.name, input }
  }
  return {
    id: itemId(reply),
    type: "function_call",
    status,
    call_id: `call_${reply.id}`,
    name: call.name,
    arguments: isComplete ? JSON.stringify(call.arguments) : ""
  }
}

/** An object of OpenAI's Responses API. */
export const response = (reply: EchoReply, status: "in_progress" | "completed") => ({
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
  output: status === "completed" ? [item(reply, "completed")] : [],
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

/** The events between the start of the item and its end. */
function* middle(reply: EchoReply, event: (value: Named) => string): Generator<string> {
  const { call } = reply
  const place = { item_id: itemId(reply), output_index: 0 }
  if (call?.input !== undefined) {
    yield event({ type: "response.custom_tool_call_input.delta", ...place, delta: call.input })
    yield event({ type: "response.custom_tool_call_input.done", ...place, input: call.input })
    return
  }
  if (call !== undefined) {
    for (const delta of argumentPieces(call)) {
      yield event({ type: "response.function_call_arguments.delta", ...place, delta })
    }
    const { name } = call
    const args = JSON.stringify(call.arguments)
    yield event({ type: "response.function_call_arguments.done", ...place, name, arguments: args })
    return
  }
  const part = { ...place, content_index: 0 }
  yield event({ type: "response.content_part.added", ...part, part: outputText("") })
  for (const delta of reply.pieces) yield event({ type: "response.output_text.delta", ...part, delta, logprobs: [] })
  yield event({ type: "response.output_text.done", ...part, text: reply.text, logprobs: [] })
  yield event({ type: "response.content_part.done", ...part, part: outputText(reply.text) })
}

export const events = (reply: EchoReply): Events =>
  writing(function* () {
    let sequence = 0
    const event = (value: Named): string => named({ ...value, sequence_number: sequence++ })
    yield event({ type: "response.created", response: response(reply, "in_progress") })
    yield event({ type: "response.in_progress", response: response(reply, "in_progress") })
    yield event({ type: "response.output_item.added", output_index: 0, item: item(reply, "in_progress") })
    yield* middle(reply, event)
    yield event({ type: "response.output_item.done", output_index: 0, item: item(reply, "completed") })
    yield event({ type: "response.completed", response: response(reply, "completed") })
  })
