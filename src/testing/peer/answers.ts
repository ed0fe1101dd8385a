/** Good answers in the dialect of the request. */

/** Content of an answer. */
export interface Answer {
  readonly text: string
  readonly model: string
  readonly usage: { readonly input: number; readonly output: number }
}

/** The body of an answer, or the events of a streamed one. */
export type Written = { readonly body: unknown } | { readonly events: ReadonlyArray<string> }

const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`
const named = (type: string, value: object = {}): string => `event: ${type}\n${data({ type, ...value })}`

/** The words of a text, with the spaces before them. */
const wordsOf = (text: string): ReadonlyArray<string> => text.match(/^\s*\S*|\s+\S*/g)?.filter(Boolean) ?? []

/** The answer of an OpenAI-shaped provider. */
export const openai = ({ model, text, usage: { input, output } }: Answer) => ({
  id: "c1",
  object: "chat.completion",
  model,
  choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
  usage: { prompt_tokens: input, completion_tokens: output, total_tokens: input + output }
})

const openaiEvents = (answer: Answer): ReadonlyArray<string> => {
  const chunk = (delta: object, finish: string | null, more: object = {}) =>
    data({
      id: "c1",
      object: "chat.completion.chunk",
      model: answer.model,
      choices: [{ index: 0, delta, finish_reason: finish }],
      ...more
    })
  return [
    ...wordsOf(answer.text).map((content) => chunk({ role: "assistant", content }, null)),
    chunk({}, "stop", { usage: openai(answer).usage }),
    "data: [DONE]\n\n"
  ]
}

const anthropic = ({ model, text, usage: { input, output } }: Answer) => ({
  id: "msg_1",
  type: "message",
  role: "assistant",
  model,
  content: [{ type: "text", text }],
  stop_reason: "end_turn",
  stop_sequence: null,
  usage: { input_tokens: input, output_tokens: output }
})

const anthropicEvents = (answer: Answer): ReadonlyArray<string> => {
  const { input, output } = answer.usage
  const message = {
    ...anthropic(answer),
    content: [],
    stop_reason: null,
    usage: { input_tokens: input, output_tokens: 1 }
  }
  return [
    named("message_start", { message }),
    named("content_block_start", { index: 0, content_block: { type: "text", text: "" } }),
    ...wordsOf(answer.text).map((text) =>
      named("content_block_delta", { index: 0, delta: { type: "text_delta", text } })
    ),
    named("content_block_stop", { index: 0 }),
    named("message_delta", { delta: { stop_reason: "end_turn" }, usage: { output_tokens: output } }),
    named("message_stop")
  ]
}

const google = ({ model, usage: { input, output } }: Answer, text: string, isLast: boolean) => ({
  candidates: [{ index: 0, content: { role: "model", parts: [{ text }] }, ...(isLast && { finishReason: "STOP" }) }],
  usageMetadata: { promptTokenCount: input, candidatesTokenCount: output, totalTokenCount: input + output },
  modelVersion: model,
  responseId: "r1"
})

const googleEvents = (answer: Answer): ReadonlyArray<string> => {
  const words = wordsOf(answer.text)
  return words.map((text, index) => data(google(answer, text, index === words.length - 1)))
}

const workersAiUsage = ({ usage: { input, output } }: Answer) => ({
  prompt_tokens: input,
  completion_tokens: output,
  total_tokens: input + output
})

const workersAi = (answer: Answer) => ({
  result: { response: answer.text, usage: workersAiUsage(answer) },
  success: true,
  errors: [],
  messages: []
})

const workersAiEvents = (answer: Answer): ReadonlyArray<string> => [
  ...wordsOf(answer.text).map((response) => data({ response })),
  data({ response: "", usage: workersAiUsage(answer) }),
  "data: [DONE]\n\n"
]

const embeddings = (body: unknown, { model, usage: { input } }: Answer) => {
  const given = typeof body === "object" && body !== null && "input" in body ? body.input : ""
  const inputs = Array.isArray(given) ? given : [given]
  return {
    object: "list",
    model,
    data: inputs.map((_, index) => ({ object: "embedding", index, embedding: [0.5, 0.25, 0.125, 1] })),
    usage: { prompt_tokens: input, total_tokens: input }
  }
}

/** Writes an answer to a request, by its path and its body. */
export const write = (provider: string, path: string, body: unknown, answer: Answer): Written => {
  const streams = typeof body === "object" && body !== null && "stream" in body && body.stream === true
  if (/:(?:generateContent|streamGenerateContent)(?:\?|$)/.test(path)) {
    if (path.includes(":streamGenerateContent")) return { events: googleEvents(answer) }
    return { body: google(answer, answer.text, true) }
  }
  if (path.endsWith("/messages")) return streams ? { events: anthropicEvents(answer) } : { body: anthropic(answer) }
  if (path.endsWith("/embeddings")) return { body: embeddings(body, answer) }
  if (provider === "workers-ai" && !path.endsWith("/completions")) {
    return streams ? { events: workersAiEvents(answer) } : { body: workersAi(answer) }
  }
  return streams ? { events: openaiEvents(answer) } : { body: openai(answer) }
}
