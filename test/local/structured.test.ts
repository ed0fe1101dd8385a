/**
 * Calls of tools and JSON of schemas: what an SDK asks for in its dialect is what the echo answers, complete and streamed.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { satisfies } from "../../src/local/upstream/schemaCheck.ts"
import { valueFor } from "../../src/local/upstream/schemaValue.ts"
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
  /** How the request names the tool that it wants, or any. */
  readonly tool: object
  readonly anyTool: object
  /** A tool that is not there. */
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
  it.effect("calls the tool that is asked for, with arguments that fit", () =>
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

  it.effect("refuses a tool that is not there, and a schema that nothing satisfies", () =>
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
  it.effect("n gives as many choices, complete and streamed", () =>
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

  it.effect("`text/x.enum` refuses a schema of something else", () =>
    Effect.gen(function* () {
      const { json, status } = yield* ask({ type: "NUMBER" })
      assert.strictEqual(status, 400)
      assert.include(json.error.message, "generationConfig.responseSchema: expected a schema of texts")
    })
  )
})

describe("values for schemas", () => {
  const satisfiable: ReadonlyArray<readonly [string, unknown]> = [
    ["anything", true],
    ["no keywords", {}],
    ["a multiple between bounds", { type: "integer", minimum: 3, maximum: 5, multipleOf: 2 }],
    ["an open interval", { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 0.001 }],
    ["a negative maximum", { type: "integer", maximum: -5 }],
    ["a large minimum", { type: "integer", minimum: 1_000_001, multipleOf: 7 }],
    ["a length", { type: "string", minLength: 20, maxLength: 25 }],
    ["a constant object", { const: { a: [1, null] } }],
    ["an enum of a type", { enum: [1, "a", null], type: "string" }],
    ["a type or null", { type: ["null", "string"] }],
    ["unique items", { type: "array", items: { type: "integer" }, minItems: 4, uniqueItems: true }],
    ["unique items of an enum", { type: "array", items: { enum: ["a", "b"] }, minItems: 2, uniqueItems: true }],
    [
      "unique objects",
      {
        type: "array",
        items: { type: "object", properties: { a: { type: "string" } }, required: ["a"] },
        minItems: 3,
        uniqueItems: true
      }
    ],
    ["a tuple", { type: "array", prefixItems: [{ type: "number" }, { type: "string" }], items: false }],
    ["a tuple of draft 7", { type: "array", items: [{ const: 1 }, { const: 2 }], additionalItems: false, minItems: 2 }],
    ["an item that must be there", { type: "array", contains: { const: 3 }, minItems: 2 }],
    ["no items", { type: "array", maxItems: 0 }],
    ["a number of properties", { type: "object", minProperties: 2, additionalProperties: { type: "integer" } }],
    ["a required name that is not described", { type: "object", required: ["a"] }],
    [
      "a discriminated union",
      {
        oneOf: ["a", "b"].map((kind) => ({
          type: "object",
          properties: { kind: { const: kind }, n: { type: "number" } },
          required: ["kind", "n"],
          additionalProperties: false
        }))
      }
    ],
    [
      "parts of an object",
      {
        allOf: [
          { type: "object", properties: { a: { type: "string" } }, required: ["a"] },
          { type: "object", properties: { b: { type: "number", minimum: 2 } }, required: ["b"] }
        ]
      }
    ],
    ["bounds in parts", { allOf: [{ type: "integer", minimum: 3 }, { maximum: 3 }] }],
    ["nothing of a kind", { not: { type: "string" } }],
    [
      "a condition",
      JSON.parse('{"properties":{"a":{"const":1}},"required":["a"],"if":{"required":["a"]},"then":{"maxProperties":1}}')
    ],
    [
      "a list that contains itself",
      {
        $ref: "#/$defs/node",
        $defs: {
          node: {
            type: "object",
            properties: {
              next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] },
              kids: { type: "array", items: { $ref: "#/$defs/node" } }
            },
            required: ["next", "kids"]
          }
        }
      }
    ],
    ["a root that contains itself", { type: "object", properties: { kids: { type: "array", items: { $ref: "#" } } } }],
    [
      "definitions of draft 7",
      { definitions: { a: { type: "boolean" } }, properties: { x: { $ref: "#/definitions/a" } } }
    ],
    [
      "an encoded name in a reference",
      {
        properties: { a: { $ref: "#/$defs/Foo%3CBar%3E" } },
        required: ["a"],
        $defs: { "Foo<Bar>": { type: "integer", minimum: 4 } }
      }
    ],
    [
      "references to an `$id` and an `$anchor`",
      {
        $id: "https://example.com/root.json",
        type: "object",
        properties: {
          a: { $ref: "Name" },
          b: { $ref: "#here" },
          c: { $ref: "https://example.com/root.json#/$defs/n" }
        },
        required: ["a", "b", "c"],
        $defs: { n: { $id: "Name", type: "string", minLength: 3 }, m: { $anchor: "here", type: "boolean" } }
      }
    ],
    ...["date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"].map(
      (format) =>
        [
          `unique texts of the format ${format}`,
          { type: "array", items: { type: "string", format }, minItems: 40, uniqueItems: true }
        ] as const
    ),
    ...["^[a-z]+$", "^[A-Z]{3}-\\d{4}$", "^x_"].map(
      (pattern) =>
        [
          `unique texts of the pattern ${pattern}`,
          { type: "array", items: { type: "string", pattern }, minItems: 4, uniqueItems: true }
        ] as const
    ),
    [
      "unique arrays",
      {
        type: "array",
        items: { type: "array", items: { type: "integer" }, minItems: 2 },
        minItems: 2,
        uniqueItems: true
      }
    ],
    ["a long address", { type: "string", format: "uri", minLength: 60 }],
    [
      "two formats, of which one",
      {
        oneOf: [
          { type: "string", format: "date-time" },
          { type: "string", format: "date" }
        ]
      }
    ],
    [
      "one of two properties",
      {
        type: "object",
        properties: { a: { type: "string" }, b: { type: "string" } },
        oneOf: [{ required: ["a"] }, { required: ["b"] }]
      }
    ],
    [
      "not two properties together",
      { type: "object", properties: { a: { type: "string" }, b: { type: "string" } }, not: { required: ["a", "b"] } }
    ],
    [
      "alternatives twice",
      { allOf: [{ anyOf: [{ type: "string" }, { type: "number" }] }, { anyOf: [{ type: "number" }] }] }
    ],
    [
      "conditions of several kinds",
      JSON.parse(`{"type":"object","properties":{"t":{"enum":["a","b"]}},"required":["t"],"allOf":[
        {"if":{"properties":{"t":{"const":"a"}}},"then":{"properties":{"x":{"type":"integer"}},"required":["x"]}},
        {"if":{"properties":{"t":{"const":"b"}}},"then":{"required":["y"]}}
      ]}`)
    ],
    [
      "properties that need others",
      {
        type: "object",
        properties: { a: { type: "string" } },
        required: ["a"],
        dependentRequired: { a: ["b"] },
        dependentSchemas: { b: { required: ["c"], properties: { c: { type: "integer" } } } }
      }
    ],
    [
      "names of a pattern",
      {
        type: "object",
        propertyNames: { pattern: "^[A-Z]{2}$" },
        minProperties: 2,
        additionalProperties: { type: "null" }
      }
    ],
    [
      "properties of a pattern",
      {
        type: "object",
        patternProperties: { "^x_": { type: "integer" } },
        additionalProperties: false,
        minProperties: 2
      }
    ],
    [
      "words of OpenAPI",
      {
        type: "ARRAY",
        minItems: "2",
        items: { type: "OBJECT", properties: { n: { type: "INTEGER", nullable: true } }, required: ["n"] }
      }
    ]
  ]

  it.each(satisfiable)("satisfies %s, the same each time", (_, schema) => {
    const value = valueFor(schema)
    assert.isDefined(value)
    assert.isTrue(satisfies(schema, schema, value), JSON.stringify(value))
    assert.deepStrictEqual(valueFor(schema), value)
  })

  it.each([
    "^[A-Z]{2}-\\d{4}$",
    "^(foo|bar)+$",
    "^\\+?[1-9]\\d{1,14}$",
    "^#(?:[0-9a-fA-F]{3}){1,2}$",
    "^[^a-zA-Z]+$",
    "^v\\d+(?:\\.\\d+)*$",
    "\\p{Lu}\\w{3,}",
    "^[\\w.-]+@[a-z]+\\.[a-z]{2,}$",
    "^\\u{1F600}$",
    "^$"
  ])("matches the pattern %s", (pattern) => {
    const value = valueFor({ type: "string", pattern })
    assert.match(String(value), new RegExp(pattern, "u"))
  })

  it("writes other texts of a pattern when they must differ", () => {
    const pattern = "^[A-Z]{3}-\\d{4}$"
    const value = valueFor({ type: "array", items: { type: "string", pattern }, minItems: 10, uniqueItems: true })
    assert.isArray(value)
    for (const text of value as ReadonlyArray<unknown>) assert.match(String(text), new RegExp(pattern))
  })

  it("takes the branch of a condition that holds", () => {
    const schema = JSON.parse(
      '{"properties":{"c":{"enum":["us","ca"]},"z":{"minLength":6}},"required":["c"],"if":{"properties":{"c":{"const":"us"}}},"then":{"required":["zip"]},"else":{"required":["post"]}}'
    )
    assert.deepInclude(valueFor(schema), { c: "us", zip: "zip" })
  })

  it("matches a pattern with a least length", () => {
    assert.match(
      String(valueFor({ type: "string", pattern: "^[a-z]+$", minLength: 30, maxLength: 40 })),
      /^[a-z]{30,40}$/
    )
  })

  it.each([
    ["nothing", false],
    ["a contradiction", { type: "integer", minimum: 5, maximum: 1 }],
    ["types that exclude each other", { allOf: [{ type: "string" }, { type: "number" }] }],
    ["an empty enum", { enum: [] }],
    ["a required property that cannot be", { type: "object", properties: { a: false }, required: ["a"] }],
    ["an object without an end", { type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }],
    ["a reference to nowhere", { $ref: "#/$defs/none" }],
    ["a reference to elsewhere", { $ref: "https://example.com/schema.json" }],
    ["a look-ahead", { type: "string", pattern: "^(?=a)b" }],
    ["a text that is too long", { type: "string", minLength: 1e9 }],
    ["an array that is too long", { type: "array", items: { type: "string" }, minItems: 1e9 }]
  ])("finds none for %s", (_, schema) => {
    assert.isUndefined(valueFor(schema))
  })

  it("gives up on definitions that double at each level", () => {
    const level = (n: number) => ({ $ref: `#/$defs/d${n + 1}` })
    const doubled = Array.from({ length: 40 }, (_, n) => [
      `d${n}`,
      { type: "object", properties: { a: level(n), b: level(n) }, required: ["a", "b"] }
    ])
    const $defs = { ...Object.fromEntries(doubled), d40: { type: "string" } }
    assert.isUndefined(valueFor({ $ref: "#/$defs/d0", $defs }))
  })
})
