import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "../../../src/Chat.ts"
import * as Classifier from "../../../src/Classifier.ts"
import type { Delta } from "../../../src/internal/dialect/delta.ts"
import { deltasOf, isCommit } from "../../../src/internal/dialect/deltaDecoder.ts"
import { streaming } from "../../../src/internal/dialect/streaming.ts"
import { data, runText } from "../../fixtures/streams/drive.ts"

const dialects = [
  Chat.openai,
  Chat.openaiCompatible,
  Chat.openaiResponses,
  Chat.anthropic,
  Chat.anthropicJsonTool,
  Chat.google,
  Chat.googleVertex,
  Chat.workersAi
]

const finish: Delta = { type: "finish", reason: "stop" }
const collect = (...deltas: ReadonlyArray<Delta>) => Result.getOrThrow(Chat.collect(deltas))
const issue = (...deltas: ReadonlyArray<Delta>) => Result.getOrThrow(Result.flip(Chat.collect(deltas)))

describe("streaming", () => {
  it("knows every chat dialect", () => {
    assert.deepStrictEqual(Object.keys(streaming).sort(), dialects.map(({ id }) => id).sort())
  })

  it("requests a stream, and does not change the rest of a request", () => {
    const query = { model: "m", messages: [], extra: 1 }
    const asked = Object.fromEntries(Object.entries(streaming).map(([id, { query: ask }]) => [id, ask(query)]))
    const stream = { ...query, stream: true }
    const counted = { ...stream, stream_options: { include_usage: true } }
    assert.deepStrictEqual(asked, {
      openai: counted,
      "openai-compatible": counted,
      "openai-responses": stream,
      anthropic: stream,
      "anthropic-json-tool": stream,
      google: query,
      "google-vertex": query,
      "workers-ai": stream
    })
    assert.deepStrictEqual(query, { model: "m", messages: [], extra: 1 })
  })

  it("changes the path only at Google", () => {
    for (const [id, { endpoint }] of Object.entries(streaming)) {
      if (!id.startsWith("google")) assert.strictEqual(endpoint("v1/chat/completions?a=b"), "v1/chat/completions?a=b")
    }
  })
})

describe("every decoder", () => {
  const body = (value: unknown) => JSON.stringify(value)
  const errors: ReadonlyArray<readonly [name: string, text: string]> = [
    ["OpenAI", body({ error: { message: "The server had an error", type: "server_error", code: null, param: null } })],
    ["Anthropic", body({ type: "error", error: { type: "overloaded_error", message: "Overloaded" } })],
    ["Google", body({ error: { code: 503, message: "The model is overloaded.", status: "UNAVAILABLE" } })],
    ["Google, in a list", body([{ error: { code: 429, message: "Quota", status: "RESOURCE_EXHAUSTED" } }])],
    ["vLLM", body({ object: "error", message: "out of memory", code: 500 })],
    ["a text", body({ error: "upstream failed" })],
    ["the gateway", body({ success: false, error: [{ code: 2005, message: "Failed" }], name: "AiGatewayError" })],
    ["Cloudflare's API", body({ success: false, errors: [{ code: 3040, message: "Capacity" }], result: null })],
    ["Cloudflare's API, errors only", body({ errors: [{ code: 3040, message: "Capacity" }] })],
    ["behind the binding", body({ internalCode: 3040, message: "Capacity", name: "InferenceUpstreamError" })],
    ["a run", body({ state: "Failed", error: { code: 500, message: "x" } })],
    ["beside a choice", body({ error: { code: 502, message: "x" }, choices: [{ index: 0, delta: { content: "" } }] })]
  ]

  for (const [id, { decoder }] of Object.entries(streaming)) {
    for (const [name, text] of errors) {
      it(`${id} passes an error on unchanged: ${name}`, () => {
        assert.deepStrictEqual(runText(decoder(), `data: ${text}\n\n`), {
          deltas: [],
          fault: { issue: "an error event", body: text }
        })
      })
    }

    it(`${id} treats any event named error as one`, () => {
      assert.deepStrictEqual(runText(decoder(), "event: error\ndata: upstream went away\n\n"), {
        deltas: [],
        fault: { issue: "an error event", body: "upstream went away" }
      })
    })

    it(`${id} does not quote the content of an unreadable event`, () => {
      for (const text of [`{"secret prompt`, `"secret prompt"`, `["secret prompt"]`, "secret prompt", "7", "null"]) {
        assert.deepStrictEqual(runText(decoder(), `data: ${text}\n\n`), {
          deltas: [],
          fault: { issue: "event: expected a JSON object" }
        })
      }
    })

    it(`${id} skips empty events and unknown ones`, () => {
      const own = decoder()
      for (const text of ["", "{}", `{"type":"new_thing","object":"new"}`]) {
        assert.deepStrictEqual(own.event({ event: "message", data: text }), { deltas: [] })
      }
    })

    it(`${id} treats an end without an answer as a fault`, () => {
      for (const stream of ["", ": ping\n\n", "data: [DONE]\n\n", data({})]) {
        const { deltas, fault } = runText(decoder(), stream)
        assert.deepStrictEqual(deltas, [])
        assert.match(fault?.issue ?? "", /: expected one before /)
        assert.isUndefined(fault?.body)
      }
    })
  }

  it("passes on bodies that the classifier reads", () => {
    const reasons = errors.map(
      ([, text]) => Classifier.classify({ status: 200, body: text, surface: "gateway" }).reason._tag
    )
    assert.notInclude(reasons.slice(0, 4), "Unknown")
  })
})

describe("isCommit", () => {
  it("is true for deltas that a consumer can act on", () => {
    const commits: ReadonlyArray<Delta> = [
      { type: "text", text: " " },
      { type: "reasoning", text: "x" },
      { type: "part", part: null },
      { type: "toolCall", index: 0, id: "a", arguments: "" },
      { type: "toolCall", index: 0, name: "a", arguments: "" },
      { type: "toolCall", index: 0, signature: "a", arguments: "" },
      { type: "toolCall", index: 0, arguments: "{" },
      finish
    ]
    const preamble: ReadonlyArray<Delta> = [
      { type: "text", text: "" },
      { type: "reasoning", text: "" },
      { type: "toolCall", index: 0, arguments: "" },
      { type: "usage", usage: { inputTokens: 1 } },
      { type: "meta", model: "m" },
      { type: "restart" }
    ]
    assert.deepStrictEqual(
      commits.map(isCommit),
      commits.map(() => true)
    )
    assert.deepStrictEqual(
      preamble.map(isCommit),
      preamble.map(() => false)
    )
  })
})

describe("deltasOf", () => {
  it("gives everything in a reply, and then its finish", () => {
    const reply: Chat.Reply = {
      text: "Hi",
      reasoning: "Hm",
      toolCalls: [{ id: "a", name: "f", arguments: { x: [1] }, signature: "s" }],
      parts: [{ type: "image" }],
      finishReason: "toolCalls",
      usage: { inputTokens: 1 },
      model: "m",
      id: "i",
      raw: {}
    }
    assert.deepStrictEqual(deltasOf(reply), [
      { type: "meta", model: "m", id: "i" },
      { type: "reasoning", text: "Hm" },
      { type: "text", text: "Hi" },
      { type: "toolCall", index: 0, id: "a", name: "f", arguments: '{"x":[1]}', signature: "s" },
      { type: "part", part: { type: "image" } },
      { type: "usage", usage: { inputTokens: 1 } },
      { type: "finish", reason: "toolCalls" }
    ])
    const empty: Chat.Reply = { text: "", toolCalls: [], finishReason: "length", usage: {}, raw: null }
    assert.deepStrictEqual(deltasOf(empty), [{ type: "finish", reason: "length" }])
  })

  it("keeps the order of texts and images, among parts without a form", () => {
    const image = { inlineData: { mimeType: "image/png", data: "aGk=" } }
    const google = [
      { executableCode: { code: "1" } },
      { text: "a" },
      image,
      { text: "b" },
      { executableCode: { code: "2" } }
    ]
    const bodies: ReadonlyArray<readonly [Chat.Dialect<Chat.Input, Chat.Reply>, object]> = [
      [Chat.google, { candidates: [{ finishReason: "STOP", content: { parts: google } }] }],
      [
        Chat.openaiResponses,
        {
          status: "completed",
          service_tier: "flex",
          output: [
            { type: "web_search_call", id: "ws_1" },
            { type: "image_generation_call", result: "aGk=" },
            { type: "message", content: [{ type: "output_text", text: "a" }] }
          ]
        }
      ],
      [
        Chat.openai,
        {
          choices: [
            {
              message: {
                content: "",
                annotations: [{ type: "url_citation", url_citation: { url: "https://example.com" } }],
                tool_calls: [{ id: "a", function: { name: "f", arguments: "{}" } }]
              },
              finish_reason: "tool_calls"
            }
          ]
        }
      ]
    ]
    for (const [dialect, body] of bodies) {
      const reply = Result.getOrThrow(dialect.decode(body))
      assert.deepStrictEqual(collect(...deltasOf(reply)), { ...reply, raw: null }, dialect.id)
    }
  })

  it("keeps an image that a dialect gives without the part behind it", () => {
    const image = { type: "image", data: "aGk=", mediaType: "image/png" } as const
    const reply: Chat.Reply = { text: "", toolCalls: [], content: [image], finishReason: "stop", usage: {}, raw: null }
    assert.deepStrictEqual(collect(...deltasOf(reply)).content, [image])
  })

  it("does not replace arguments that cannot be written", () => {
    // The depth limit depends on the engine; a ring exceeds all of them.
    const ring: Array<Chat.Json> = []
    ring.push(ring)
    const calls = [{ id: "a", name: "f", arguments: ring }]
    const deltas = deltasOf({ text: "", toolCalls: calls, finishReason: "toolCalls", usage: {}, raw: null })
    assert.deepStrictEqual(issue(...deltas), { field: "toolCalls[0].arguments", accepted: "JSON" })
  })
})

describe("collect", () => {
  it("joins a name that arrives in pieces, and uses a repeated one once", () => {
    const reply = collect(
      { type: "toolCall", index: 0, id: "a", name: "get_", arguments: "" },
      { type: "toolCall", index: 0, name: "time", arguments: "" },
      { type: "toolCall", index: 1, id: "b", name: "f", arguments: "{" },
      { type: "toolCall", index: 1, name: "f", arguments: "}" },
      { type: "finish", reason: "toolCalls" }
    )
    assert.deepStrictEqual(
      reply.toolCalls.map(({ name }) => name),
      ["get_time", "f"]
    )
  })

  it("keeps output without a neutral form, except what a restart discards", () => {
    const reply = collect(
      { type: "part", part: 1 },
      { type: "restart" },
      { type: "part", part: { type: "image" } },
      { type: "finish", reason: "stop" }
    )
    assert.deepStrictEqual(reply.parts, [{ type: "image" }])
  })

  it("joins fragments, call by call", () => {
    const reply = collect(
      { type: "meta", model: "m", id: "i" },
      { type: "reasoning", text: "a" },
      { type: "reasoning", text: "b" },
      { type: "text", text: "c" },
      { type: "toolCall", index: 1, id: "y", name: "g", arguments: "" },
      { type: "toolCall", index: 0, id: "x", name: "f", arguments: '{"a"' },
      { type: "text", text: "d" },
      { type: "toolCall", index: 0, arguments: ":1}", signature: "s" },
      { type: "usage", usage: { inputTokens: 1 } },
      { type: "finish", reason: "toolCalls" },
      { type: "usage", usage: { outputTokens: 2 } }
    )
    assert.deepStrictEqual(reply, {
      text: "cd",
      reasoning: "ab",
      toolCalls: [
        { id: "x", name: "f", arguments: { a: 1 }, signature: "s" },
        { id: "y", name: "g", arguments: {} }
      ],
      finishReason: "toolCalls",
      usage: { outputTokens: 2 },
      model: "m",
      id: "i",
      raw: null
    })
  })

  it("gives an empty reply for an empty answer", () => {
    assert.deepStrictEqual(collect(finish), { text: "", toolCalls: [], finishReason: "stop", usage: {}, raw: null })
  })

  it("makes ids, and makes the reason consistent with the calls", () => {
    const reply = collect({ type: "toolCall", index: 3, name: "f", arguments: "" }, finish)
    assert.deepStrictEqual(reply.toolCalls, [{ id: "call_0", name: "f", arguments: {} }])
    assert.strictEqual(reply.finishReason, "toolCalls")
    assert.strictEqual(collect({ type: "finish", reason: "toolCalls" }).finishReason, "other")
  })

  it("discards everything before a restart", () => {
    const reply = collect(
      { type: "meta", model: "m", id: "i" },
      { type: "text", text: "a" },
      { type: "reasoning", text: "b" },
      { type: "toolCall", index: 0, id: "x", name: "f", arguments: "{" },
      { type: "usage", usage: { inputTokens: 1 } },
      finish,
      { type: "restart" },
      { type: "text", text: "z" },
      finish
    )
    assert.deepStrictEqual(reply, { text: "z", toolCalls: [], finishReason: "stop", usage: {}, raw: null })
  })

  it("names a missing or invalid part", () => {
    assert.deepStrictEqual(issue(), { field: "finish", accepted: "one: the answer is not complete" })
    assert.strictEqual(issue({ type: "text", text: "a" }).field, "finish")
    assert.strictEqual(issue(finish, { type: "restart" }).field, "finish")
    assert.deepStrictEqual(issue(finish, { type: "text", text: "a" }, finish), {
      field: "finish",
      accepted: "only one"
    })
    assert.deepStrictEqual(issue({ type: "toolCall", index: 0, name: "f", arguments: '{"secret' }, finish), {
      field: "toolCalls[0].arguments",
      accepted: "JSON"
    })
    assert.deepStrictEqual(issue({ type: "toolCall", index: 0, arguments: "{}" }, finish), {
      field: "toolCalls[0].name",
      accepted: "a non-empty string"
    })
  })
})
