import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { build as bundle } from "esbuild"
import * as Chat from "../src/Chat.ts"
import * as anthropic from "./fixtures/chat/anthropic.ts"
import { build, Conversation, canonical } from "./fixtures/chat/arbitrary.ts"
import * as embeddings from "./fixtures/chat/embeddings.ts"
import * as google from "./fixtures/chat/google.ts"
import * as openai from "./fixtures/chat/openai.ts"
import * as workersAi from "./fixtures/chat/workersAi.ts"

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
const embeddingDialects = [Chat.openaiEmbeddings, Chat.workersAiEmbeddings]
const bodies: ReadonlyArray<unknown> = [openai, anthropic, google, workersAi, embeddings].flatMap((module) =>
  Object.values<unknown>(module)
)

/** A value whose type is wrong, as from plain JavaScript. */
const lie = <A>(value: unknown): A => value as A

const paths = (value: unknown): ReadonlyArray<ReadonlyArray<string>> => [
  [],
  ...(typeof value === "object" && value !== null
    ? Object.entries(value).flatMap(([key, inner]) => paths(inner).map((path) => [key, ...path]))
    : [])
]

const replace = (value: unknown, [key, ...rest]: ReadonlyArray<string>, by: unknown): unknown => {
  if (key === undefined) return by
  const copy: Record<string, unknown> = lie(Array.isArray(value) ? [...value] : { ...lie<object>(value) })
  copy[key] = replace(copy[key], rest, by)
  return copy
}

/** The value with one random place replaced by something else. */
const mangle = (value: unknown, place: number, by: unknown): unknown => {
  const all = paths(value)
  return replace(value, all[place % all.length] ?? [], by)
}

/** A trip over the wire that keeps -0, which JSON text does not distinguish from 0. */
const lossless = (value: unknown): unknown => {
  if (Object.is(value, -0)) return value
  if (typeof value !== "object" || value === null) return canonical({ value }).value
  if (Array.isArray(value)) return value.map(lossless)
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, lossless(inner)]))
}

const Place = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 }))
const Junk = Schema.Union([Schema.Json, Schema.Undefined, Schema.Number])

describe("constructors", () => {
  it("make messages", () => {
    assert.deepStrictEqual(Chat.user("a"), { role: "user", content: "a" })
    assert.deepStrictEqual(Chat.system("a"), { role: "system", content: "a" })
    assert.deepStrictEqual(Chat.assistant("a"), { role: "assistant", content: "a" })
    const call = { id: "1", name: "f", arguments: {} }
    assert.deepStrictEqual(Chat.assistant("a", [call]), { role: "assistant", content: "a", toolCalls: [call] })
    assert.deepStrictEqual(Chat.tool("1", "x"), { role: "tool", toolCallId: "1", content: "x" })
    assert.deepStrictEqual(Chat.tool(call, "x"), { role: "tool", toolCallId: "1", name: "f", content: "x" })
    const request: Chat.Request = { messages: [] }
    assert.strictEqual(Chat.toRequest(request), request)
    assert.deepStrictEqual(Chat.toRequest("a"), { messages: [Chat.user("a")] })
  })

  it("continue the conversation after a reply with tool calls, in every dialect", () => {
    const reply = Result.getOrThrow(Chat.google.decode(google.functionCalls))
    const request: Chat.Request = {
      messages: [Chat.user("x"), Chat.fromReply(reply), ...reply.toolCalls.map((call) => Chat.tool(call, "ok"))]
    }
    for (const dialect of dialects) assert.isTrue(Result.isSuccess(dialect.encode(request, "m")), dialect.id)
    const text = Result.getOrThrow(Chat.openai.decode(openai.completion))
    assert.deepStrictEqual(Chat.fromReply(text), Chat.assistant("Good morning!"))
  })
})

describe("invalid requests", () => {
  const secret = "4f9c-secret"
  const messages = [Chat.user(secret)]
  const tools = [{ name: "f", parameters: { type: "object" } }]
  const image = (part: object): Chat.Input =>
    lie({ messages: [Chat.user([lie<Chat.ImagePart>({ type: "image", ...part })])] })
  const message = (value: unknown): Chat.Input => lie({ messages: [...messages, value] })
  const cases: ReadonlyArray<readonly [what: unknown, field: string, accepted?: string]> = [
    [null, "request"],
    [{}, "messages"],
    [{ messages: [] }, "messages", "at least one message"],
    // Names of SDKs would disappear otherwise.
    [{ messages, max_tokens: 5 }, "max_tokens"],
    [{ messages, model: "m" }, "model"],
    [message({ role: "user", content: secret, name: "ada" }), "messages[1].name"],
    [message({ role: "system", content: secret, cache_control: {} }), "messages[1].cache_control"],
    [message({ role: "assistant", content: secret, tool_calls: [] }), "messages[1].tool_calls"],
    [message({ role: "tool", tool_call_id: "a", content: "x" }), "messages[1].tool_call_id"],
    [message(null), "messages[1]"],
    [message({ role: "robot", content: secret }), "messages[1].role", "system, user, assistant or tool"],
    [message({ role: "user" }), "messages[1].content"],
    [message({ role: "user", content: [] }), "messages[1].content"],
    [message({ role: "user", content: [null] }), "messages[1].content[0]"],
    [message({ role: "user", content: [{ type: "text" }] }), "messages[1].content[0].text"],
    [message({ role: "user", content: [{ type: "audio" }] }), "messages[1].content[0].type", "text or image or file"],
    [message({ role: "system", content: [{ type: "image", url: secret }] }), "messages[1].content[0]"],
    [message({ role: "assistant", content: [{ type: "image", url: secret }] }), "messages[1].content[0]"],
    [message({ role: "assistant", content: [] }), "messages[1].content"],
    [message({ role: "assistant", toolCalls: [] }), "messages[1].content"],
    [message({ role: "assistant", content: "", toolCalls: null }), "messages[1].toolCalls"],
    [message({ role: "assistant", content: "", toolCalls: [null] }), "messages[1].toolCalls[0]"],
    [message({ role: "assistant", content: "", toolCalls: [{ id: "" }] }), "messages[1].toolCalls[0].id"],
    [message({ role: "assistant", content: "", toolCalls: [{ id: "a" }] }), "messages[1].toolCalls[0].name"],
    [
      message({ role: "assistant", content: "", toolCalls: [{ id: "a", name: "f" }] }),
      "messages[1].toolCalls[0].arguments"
    ],
    [message({ role: "tool", content: secret }), "messages[1].toolCallId"],
    [message({ role: "tool", toolCallId: "a", content: 1 }), "messages[1].content"],
    [image({}), "messages[0].content[0]", "exactly one of url, data and fileId"],
    [image({ url: "https://x", data: "aGk=", mediaType: "image/png" }), "messages[0].content[0]"],
    [image({ data: "aGk=" }), "messages[0].content[0].mediaType"],
    [image({ data: "aGk=", mediaType: "text/plain" }), "messages[0].content[0].mediaType"],
    [image({ data: "", mediaType: "image/png" }), "messages[0].content[0].data"],
    [image({ url: "" }), "messages[0].content[0].url"],
    [image({ url: "data:text/plain,hello" }), "messages[0].content[0].url"],
    [{ messages, maxTokens: 0 }, "maxTokens", "a whole number from 1"],
    [{ messages, maxTokens: 1.5 }, "maxTokens"],
    [{ messages, maxTokens: Number.NaN }, "maxTokens"],
    [{ messages, temperature: Number.NaN }, "temperature"],
    [{ messages, temperature: -0.1 }, "temperature"],
    [{ messages, temperature: 5.01 }, "temperature"],
    [{ messages, topP: 1.01 }, "topP", "a number from 0 to 1"],
    [{ messages, seed: 0.5 }, "seed"],
    [{ messages, stop: "END" }, "stop"],
    [{ messages, stop: ["END", ""] }, "stop[1]"],
    [{ messages, tools: {} }, "tools"],
    [{ messages, tools: [null] }, "tools[0]"],
    [{ messages, tools: [{ ...tools[0], name: `my tool ${secret}` }] }, "tools[0].name"],
    [{ messages, tools: [{ ...tools[0], name: "x".repeat(65) }] }, "tools[0].name"],
    [{ messages, tools: [tools[0], tools[0]] }, "tools[1].name", "a name that no other tool has"],
    [{ messages, tools: [{ ...tools[0], description: 1 }] }, "tools[0].description"],
    [{ messages, tools: [{ name: "f", parameters: "{}" }] }, "tools[0].parameters"],
    [{ messages, toolChoice: "auto" }, "toolChoice"],
    [{ messages, tools, toolChoice: "always" }, "toolChoice"],
    [{ messages, tools, toolChoice: { name: "g" } }, "toolChoice.name", "the name of a tool"],
    [{ messages, output: { type: "xml" } }, "output.type"],
    [{ messages, output: { type: "json", name: "a b", schema: {} } }, "output.name"],
    [{ messages, output: { type: "json", schema: [] } }, "output.schema"],
    [{ messages, extra: [] }, "extra"]
  ]

  it.each(dialects.map((dialect) => [dialect.id, dialect] as const))(
    "%s names the field and what it takes",
    (_, dialect) => {
      for (const [what, field, accepted] of cases) {
        const issue = Result.getOrThrow(Result.flip(dialect.encode(lie(what), "m")))
        assert.strictEqual(issue.field, field, JSON.stringify(what))
        if (accepted !== undefined) assert.strictEqual(issue.accepted, accepted)
        assert.notInclude(JSON.stringify(issue), secret)
      }
    }
  )

  it("arguments without a JSON form are rejected, not thrown", () => {
    const cycle: Record<string, unknown> = {}
    cycle.self = cycle
    const request = message({ role: "assistant", content: "", toolCalls: [{ id: "a", name: "f", arguments: cycle }] })
    const issue = Result.getOrThrow(Result.flip(Chat.openai.encode(request, "m")))
    assert.strictEqual(issue.field, "messages[1].toolCalls[0].arguments")
  })
})

describe("all dialects", () => {
  it("have their own ids", () => {
    const ids = [...dialects, ...embeddingDialects].map((dialect) => dialect.id)
    assert.strictEqual(new Set(ids).size, ids.length)
  })

  it("put extra in last", () => {
    const request: Chat.Request = {
      messages: [Chat.user("x")],
      temperature: 0.5,
      extra: { temperature: 1, custom: [1] }
    }
    for (const dialect of dialects) {
      const body = Result.getOrThrow(dialect.encode(request, "m"))
      assert.strictEqual(body.temperature, 1, dialect.id)
      assert.deepStrictEqual(body.custom, [1])
    }
  })

  it.prop("encode any request to JSON or an issue", { request: Chat.RequestSchema }, ({ request }) => {
    for (const dialect of dialects) {
      const body = Result.getOrUndefined(dialect.encode(request, "m"))
      // A body must not contain values that JSON would drop (undefined) or change (NaN).
      if (body !== undefined) assert.deepStrictEqual(lossless(body), body)
    }
  })

  it.prop("encode every ordinary conversation", { conversation: Conversation }, ({ conversation }) => {
    const { request } = build(conversation)
    for (const dialect of dialects) {
      // Responses has no stop sequences.
      const own = dialect === Chat.openaiResponses ? { ...request, stop: undefined } : request
      const result = dialect.encode(own, "m")
      assert.isTrue(Result.isSuccess(result), JSON.stringify(Result.getFailure(result)))
    }
  })

  it.prop(
    "never throw, however a request is broken",
    { conversation: Conversation, place: Place, junk: Junk },
    ({ conversation, junk, place }) => {
      const { request } = build(conversation)
      const opaque = { origin: "openai", value: "v", id: "rs_1" }
      const file = {
        type: "file",
        data: "aGk=",
        mediaType: "application/pdf",
        name: "a",
        cache: { ttl: "1h" }
      } as const
      const citations = [{ url: "https://example.com", start: 0 }]
      const whole = {
        ...request,
        messages: [
          Chat.user([file, { type: "image", fileId: { origin: "openai", id: "f" }, detail: "low" }]),
          Chat.assistant(
            [
              { type: "reasoning", text: "a", opaque },
              { type: "text", text: "b", citations, opaque },
              { type: "refusal", text: "c" }
            ],
            [{ id: "1", name: "f", arguments: {}, opaque }]
          ),
          Chat.tool("1", [file], { isError: true }),
          ...request.messages
        ],
        reasoning: { effort: "low" },
        serverTools: [{ origin: "openai", tool: {} }],
        metadata: { a: "b" },
        losses: "dropHints",
        logprobs: 1,
        tools: [{ name: "f", parameters: {} }],
        toolChoice: { name: "f" },
        output: { type: "json" }
      }
      for (const dialect of dialects) dialect.encode(lie(mangle(whole, place, junk)), "m")
      for (const dialect of embeddingDialects) {
        dialect.encode(lie(mangle({ input: ["a", "b"], dimensions: 3, extra: {} }, place, junk)), "m")
      }
    }
  )

  it.prop("never throw on any JSON body", { body: Schema.Json }, ({ body }) => {
    for (const dialect of [...dialects, ...embeddingDialects]) dialect.decode(body)
  })

  it.prop(
    "never throw on a broken body, and what they accept is a reply",
    { which: Place, place: Place, junk: Schema.Json },
    ({ junk, place, which }) => {
      const body = mangle(bodies[which % bodies.length], place, junk)
      for (const dialect of dialects) {
        const reply = Result.getOrUndefined(dialect.decode(body))
        if (reply !== undefined) assert.isTrue(Schema.is(Chat.ReplySchema)(reply), JSON.stringify(body))
      }
      for (const dialect of embeddingDialects) dialect.decode(body)
    }
  )
})

describe("schemas", () => {
  const Line = Schema.fromJsonString(Chat.RequestSchema)
  const ReplyLine = Schema.fromJsonString(Chat.ReplySchema)

  it.prop("keep requests through a journal", { conversation: Conversation }, ({ conversation }) => {
    const { request } = build(conversation)
    const read = Schema.decodeSync(Line)(Schema.encodeSync(Line)(request))
    assert.deepStrictEqual(read, canonical(request))
  })

  it("keep replies through a journal, with raw", () => {
    for (const [dialect, body] of [
      [Chat.openai, openai.toolCalls],
      [Chat.anthropic, anthropic.toolUse],
      [Chat.google, google.functionCalls],
      [Chat.workersAi, workersAi.native]
    ] as const) {
      const reply = Result.getOrThrow(dialect.decode(body))
      assert.deepStrictEqual(Schema.decodeSync(ReplyLine)(Schema.encodeSync(ReplyLine)(reply)), canonical(reply))
    }
  })

  it("accept only requests", () => {
    const isRequest = Schema.is(Chat.RequestSchema)
    assert.isTrue(
      isRequest({
        messages: [
          Chat.system("s"),
          Chat.user([{ type: "image", url: "https://x" }]),
          Chat.assistant([{ type: "text", text: "t" }], [{ id: "1", name: "f", arguments: null, signature: "s" }]),
          Chat.tool("1", "x")
        ],
        toolChoice: { name: "f" },
        tools: [{ name: "f", parameters: { type: "object" } }],
        output: { type: "json", schema: {} },
        extra: { a: [1] }
      })
    )
    assert.isFalse(isRequest({ messages: "x" }))
    assert.isFalse(isRequest({ messages: [{ role: "assistant", content: [{ type: "image", url: "x" }] }] }))
    assert.isFalse(isRequest({ messages: [], toolChoice: "always" }))
  })
})

describe("bundles", () => {
  it("hold only the dialect that is used, and no Schema", async () => {
    const { metafile, outputFiles } = await bundle({
      stdin: {
        contents: `import * as Chat from "./Chat.ts"; globalThis.use = [Chat.openai, Chat.user]`,
        resolveDir: fileURLToPath(new URL("../src", import.meta.url)),
        loader: "ts"
      },
      bundle: true,
      format: "esm",
      metafile: true,
      write: false
    })
    const used = Object.values(metafile.outputs).flatMap(({ inputs }) =>
      Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : []))
    )
    assert.isTrue(used.some((path) => path.endsWith("dialect/openai.ts")))
    for (const other of ["anthropic.ts", "google.ts", "workersAi.ts", "embeddings.ts", "Schema.js"]) {
      assert.isFalse(
        used.some((path) => path.endsWith(`/${other}`)),
        other
      )
    }
    assert.include(outputFiles[0]?.text, "max_completion_tokens")
  })
})
