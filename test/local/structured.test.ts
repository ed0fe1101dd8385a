/** Calls of tools and JSON of schemas: the echo answers an SDK's request in its dialect, complete and streamed. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { call, dataPlane, type Reply } from "./support.ts"

/** An answer of a shape that the test checks. */
type Loose = Reply["json"]

const messages = [{ role: "user", content: "Hi" }]

const weather = {
  type: "object",
  properties: {
    city: { type: "string", minLength: 3 },
    days: { type: "integer", minimum: 1, maximum: 7 },
    unit: { type: "string", enum: ["celsius", "fahrenheit"] }
  },
  required: ["city", "days", "unit"],
  additionalProperties: false
}
const made = { city: "city", days: 1, unit: "celsius" }

const datas = (reply: Reply): ReadonlyArray<Loose> =>
  reply.text
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice(6)))

const joined = (parts: ReadonlyArray<unknown>): unknown =>
  JSON.parse(parts.filter((part) => part !== undefined).join(""))

interface Dialect {
  readonly name: string
  readonly path: string
  readonly streamPath?: string
  readonly body: object
  /** How the request names the required tool, or any. */
  readonly tool: object
  readonly anyTool: object
  /** A tool that does not exist. */
  readonly noTool: object
  readonly json: (schema: unknown) => object
  readonly called: (json: Loose) => readonly [name: unknown, args: unknown, finish: unknown]
  readonly streamedCall: (events: ReadonlyArray<Loose>) => readonly [name: unknown, args: unknown, finish: unknown]
  readonly text: (json: Loose) => unknown
  readonly streamedText: (events: ReadonlyArray<Loose>) => unknown
}

const functions = ["other", "weather"].map((name) => ({ type: "function", function: { name, parameters: weather } }))
const flat = ["other", "weather"].map((name) => ({ type: "function", name, parameters: weather }))
const google = "google-ai-studio/v1beta/models/gemini-2.5-flash"
const declared = [{ functionDeclarations: ["other", "weather"].map((name) => ({ name, parameters: weather })) }]
const calling = (config: object) => ({ tools: declared, toolConfig: { functionCallingConfig: config } })

const dialects: ReadonlyArray<Dialect> = [
  {
    name: "OpenAI chat",
    path: "openai/chat/completions",
    body: { model: "gpt", messages },
    tool: { tools: functions, tool_choice: { type: "function", function: { name: "weather" } } },
    anyTool: { tools: functions.slice(1), tool_choice: "required" },
    noTool: { tools: functions, tool_choice: { type: "function", function: { name: "nothing" } } },
    json: (schema) => ({ response_format: { type: "json_schema", json_schema: { name: "x", strict: true, schema } } }),
    called: ({ choices: [{ finish_reason, message }] }) => {
      const { arguments: args, name } = message.tool_calls[0].function
      return [name, JSON.parse(args), finish_reason]
    },
    streamedCall: (events) => {
      const choices = events.map(({ choices: [choice] }) => choice)
      const calls = choices.flatMap(({ delta }) => delta.tool_calls ?? [])
      return [calls[0].function.name, joined(calls.map((one) => one.function.arguments)), choices.at(-1).finish_reason]
    },
    text: ({ choices: [{ message }] }) => JSON.parse(message.content),
    streamedText: (events) => joined(events.map(({ choices: [choice] }) => choice.delta.content))
  },
  {
    name: "OpenAI Responses",
    path: "openai/responses",
    body: { model: "gpt", input: "Hi" },
    tool: { tools: flat, tool_choice: { type: "function", name: "weather" } },
    anyTool: { tools: flat.slice(1), tool_choice: "required" },
    noTool: { tools: flat, tool_choice: { type: "function", name: "nothing" } },
    json: (schema) => ({ text: { format: { type: "json_schema", name: "x", schema } } }),
    called: ({ output: [item], status }) => [item.name, JSON.parse(item.arguments), status && "tool_calls"],
    streamedCall: (events) => {
      const [done] = events.filter(({ type }) => type === "response.function_call_arguments.done")
      const pieces = events.filter(({ type }) => type === "response.function_call_arguments.delta")
      assert.strictEqual(pieces.map(({ delta }) => delta).join(""), done.arguments)
      const [item] = events.at(-1).response.output
      return [item.name, JSON.parse(item.arguments), "tool_calls"]
    },
    text: ({ output: [item] }) => JSON.parse(item.content[0].text),
    streamedText: (events) =>
      joined(events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta))
  },
  {
    name: "Anthropic",
    path: "anthropic/v1/messages",
    body: { model: "claude", max_tokens: 9, messages },
    tool: {
      tools: ["other", "weather"].map((name) => ({ name, input_schema: weather })),
      tool_choice: { type: "tool", name: "weather" }
    },
    anyTool: { tools: [{ name: "weather", input_schema: weather }], tool_choice: { type: "any" } },
    noTool: { tools: [], tool_choice: { type: "any" } },
    json: (schema) => ({ output_config: { format: { type: "json_schema", schema } } }),
    called: ({ content: [block], stop_reason }) => [
      block.name,
      block.input,
      stop_reason === "tool_use" && "tool_calls"
    ],
    streamedCall: (events) => {
      const [{ content_block: block }] = events.filter(({ type }) => type === "content_block_start")
      const [end] = events.filter(({ type }) => type === "message_delta")
      const args = joined(events.map(({ delta }) => delta?.partial_json))
      return [block.name, args, end.delta.stop_reason === "tool_use" && "tool_calls"]
    },
    text: ({ content: [block] }) => JSON.parse(block.text),
    streamedText: (events) => joined(events.map(({ delta }) => delta?.text))
  },
  {
    name: "Google",
    path: `${google}:generateContent`,
    streamPath: `${google}:streamGenerateContent?alt=sse`,
    body: { contents: [{ role: "user", parts: [{ text: "Hi" }] }] },
    tool: calling({ mode: "ANY", allowedFunctionNames: ["weather"] }),
    anyTool: {
      ...calling({ mode: "any" }),
      tools: [{ function_declarations: [{ name: "weather", parameters: weather }] }]
    },
    noTool: calling({ mode: "ANY", allowedFunctionNames: ["nothing"] }),
    json: (responseSchema) => ({ generationConfig: { responseMimeType: "application/json", responseSchema } }),
    called: ({ candidates: [{ content }] }) => {
      const { args, name } = content.parts[0].functionCall
      return [name, args, "tool_calls"]
    },
    streamedCall: (events) => {
      const { args, name } = events[0].candidates[0].content.parts[0].functionCall
      assert.strictEqual(events.length, 1)
      return [name, args, "tool_calls"]
    },
    text: ({ candidates: [{ content }] }) => JSON.parse(content.parts[0].text),
    streamedText: (events) => joined(events.map(({ candidates: [{ content }] }) => content.parts[0].text))
  },
  {
    name: "Workers AI",
    path: "workers-ai/@cf/meta/llama-3.3-70b-instruct-fp8-fast",
    body: { messages },
    tool: { tools: functions, tool_choice: { type: "function", function: { name: "weather" } } },
    anyTool: { tools: [{ name: "weather", parameters: weather }], tool_choice: "required" },
    noTool: { tools: [], tool_choice: "required" },
    json: (schema) => ({ response_format: { type: "json_schema", json_schema: schema } }),
    called: ({ result: { tool_calls: calls } }) => [calls[0].name, calls[0].arguments, "tool_calls"],
    streamedCall: (events) => [events[0].tool_calls[0].name, events[0].tool_calls[0].arguments, "tool_calls"],
    text: ({ result }) => result.response,
    streamedText: (events) => joined(events.map(({ response }) => response))
  }
]

const ask = Effect.fnUntraced(function* (dialect: Dialect, wish: object) {
  const gateway = yield* LocalGateway.make()
  const path = dialect.streamPath ?? dialect.path
  return {
    whole: yield* call(gateway, "POST", `${dataPlane}/${dialect.path}`, { ...dialect.body, ...wish }),
    streamed: yield* call(gateway, "POST", `${dataPlane}/${path}`, { ...dialect.body, ...wish, stream: true })
  }
})

describe.each(dialects)("$name", (dialect) => {
  it.effect("calls the requested tool, with arguments that fit", () =>
    Effect.gen(function* () {
      for (const wish of [dialect.tool, dialect.anyTool]) {
        const { streamed, whole } = yield* ask(dialect, wish)
        assert.deepStrictEqual(dialect.called(whole.json), ["weather", made, "tool_calls"])
        assert.deepStrictEqual(dialect.streamedCall(datas(streamed)), ["weather", made, "tool_calls"])
      }
    })
  )

  it.effect("answers with JSON that satisfies the schema", () =>
    Effect.gen(function* () {
      const { streamed, whole } = yield* ask(dialect, dialect.json(weather))
      assert.deepStrictEqual(dialect.text(whole.json), made)
      assert.deepStrictEqual(dialect.streamedText(datas(streamed)), made)
    })
  )

  it.effect("rejects a missing tool, and an unsatisfiable schema", () =>
    Effect.gen(function* () {
      for (const wish of [dialect.noTool, dialect.json({ type: "integer", minimum: 5, maximum: 1 })]) {
        const { streamed, whole } = yield* ask(dialect, wish)
        for (const { status, text } of [whole, streamed]) {
          assert.strictEqual(status, 400)
          assert.match(text, /tool|schema|Schema/)
        }
      }
    })
  )

  it.effect("still answers in text when tools are only offered", () =>
    Effect.gen(function* () {
      const { tool_choice: _, toolConfig: __, ...offered } = dialect.tool as Record<string, unknown>
      const { whole } = yield* ask(dialect, offered)
      assert.include(whole.text, ": Hi")
    })
  )
})

describe("several answers to one request", () => {
  it.effect("n returns as many choices, complete and streamed", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const url = `${dataPlane}/openai/chat/completions`
      const body = { model: "gpt", messages, n: 3, stream_options: undefined }
      const { json } = yield* call(gateway, "POST", url, body)
      assert.deepStrictEqual(
        json.choices.map(({ index, message }: Loose) => [index, message.content]),
        [0, 1, 2].map((index) => [index, "openai/gpt: Hi"])
      )
      assert.strictEqual(json.usage.completion_tokens, 6)
      const ask = { ...body, stream: true, stream_options: { include_usage: true } }
      const events = datas(yield* call(gateway, "POST", url, ask))
      const texts = ["", "", ""]
      for (const { choices } of events) for (const { delta, index } of choices) texts[index] += delta.content ?? ""
      assert.deepStrictEqual(texts, ["openai/gpt: Hi", "openai/gpt: Hi", "openai/gpt: Hi"])
      assert.deepStrictEqual(events.filter(({ usage }) => usage).length, 1)
      const ended = events.flatMap(({ choices }) => choices.filter((one: Loose) => one.finish_reason === "stop"))
      assert.deepStrictEqual(
        ended.map(({ index }) => index),
        [0, 1, 2]
      )
      for (const n of [0, 129, 1.5, "2"]) {
        const wrong = yield* call(gateway, "POST", url, { ...body, n })
        assert.deepStrictEqual([wrong.status, wrong.json.error.param], [400, "n"])
      }
    })
  )

  it.effect("candidateCount does so at Google", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = { contents: [{ parts: [{ text: "Hi" }] }], generationConfig: { candidateCount: 2 } }
      const { json } = yield* call(gateway, "POST", `${dataPlane}/${google}:generateContent`, body)
      assert.deepStrictEqual(
        json.candidates.map(({ index }: Loose) => index),
        [0, 1]
      )
    })
  )
})

describe("custom tools of OpenAI's", () => {
  const ask = Effect.fnUntraced(function* (path: string, body: object) {
    return yield* call(yield* LocalGateway.make(), "POST", `${dataPlane}/openai/${path}`, { model: "gpt", ...body })
  })
  const chat = { messages, tools: [{ type: "custom", custom: { name: "py" } }] }
  const responses = { input: "Hi", tools: [{ type: "custom", name: "py" }] }

  it.effect.each([{ tool_choice: "required" }, { tool_choice: { type: "custom", custom: { name: "py" } } }])(
    "are called with a text in a chat: %j",
    (choice) =>
      Effect.gen(function* () {
        const [made] = (yield* ask("chat/completions", { ...chat, ...choice })).json.choices
        const custom = { name: "py", input: "input" }
        assert.strictEqual(made.finish_reason, "tool_calls")
        assert.deepInclude(made.message.tool_calls[0], { type: "custom", custom })
        const events = datas(yield* ask("chat/completions", { ...chat, ...choice, stream: true }))
        const calls = events.flatMap(({ choices: [one] }) => one?.delta.tool_calls ?? [])
        assert.strictEqual(calls.length, 1)
        assert.deepInclude(calls[0], { index: 0, type: "custom", custom })
      })
  )

  it.effect.each([{ tool_choice: "required" }, { tool_choice: { type: "custom", name: "py" } }])(
    "are called with a text in Responses: %j",
    (choice) =>
      Effect.gen(function* () {
        const [item] = (yield* ask("responses", { ...responses, ...choice })).json.output
        assert.deepInclude(item, { type: "custom_tool_call", name: "py", input: "input" })
        const events = datas(yield* ask("responses", { ...responses, ...choice, stream: true }))
        assert.deepInclude(
          events.find(({ type }) => type === "response.custom_tool_call_input.done"),
          { input: "input" }
        )
        assert.deepStrictEqual(events.at(-1).response.output, [item])
      })
  )
})

describe("Google's enums", () => {
  const ask = Effect.fnUntraced(function* (responseSchema: unknown) {
    const generationConfig = { responseMimeType: "text/x.enum", responseSchema }
    const contents = [{ role: "user", parts: [{ text: "Hi" }] }]
    const url = `${dataPlane}/${google}:generateContent`
    return yield* call(yield* LocalGateway.make(), "POST", url, { contents, generationConfig })
  })

  it.effect("`text/x.enum` answers with one of the texts, without quotation marks", () =>
    Effect.gen(function* () {
      const { json } = yield* ask({ type: "STRING", enum: ["RED", "BLUE"] })
      assert.strictEqual(json.candidates[0].content.parts[0].text, "RED")
    })
  )

  it.effect("`text/x.enum` rejects a schema of something else", () =>
    Effect.gen(function* () {
      const { json, status } = yield* ask({ type: "NUMBER" })
      assert.strictEqual(status, 400)
      assert.include(json.error.message, "generationConfig.responseSchema: expected a schema of texts")
    })
  )
})
