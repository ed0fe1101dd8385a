/**
 * Files, parts in tool results, cache points, citations and other content beside text, in each dialect.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "effect-ai-gateway/Chat"
import { streaming } from "../src/internal/dialect/streaming.ts"
import { type Dialect, issueOf, sent } from "./fixtures/chat/encoded.ts"

/** The encoded form of a user's parts. */
const parts = (dialect: Dialect, model: string, content: Chat.PromptMessage["content"]): unknown => {
  const { contents, input, messages } = sent(dialect, model, { messages: [Chat.user(content)] }).body
  const [turn] = (messages ?? contents ?? input) as ReadonlyArray<{
    readonly content?: unknown
    readonly parts?: unknown
  }>
  return turn?.parts ?? turn?.content
}

const claude = "claude-haiku-4-5"
const pdf = { type: "file", data: "JVBERi0=", mediaType: "application/pdf", name: "a.pdf" } as const
const note = { type: "file", data: "aMOp", mediaType: "text/markdown" } as const
const sound = { type: "file", data: "UklGRg==", mediaType: "audio/wav" } as const
const film = { type: "file", url: "https://example.com/a.mp4", mediaType: "video/mp4" } as const
const picture = { type: "image", data: "aGk=", mediaType: "image/png" } as const

describe("a file", () => {
  it("is encoded in each provider's form", () => {
    assert.deepStrictEqual(parts(Chat.anthropic, claude, [pdf, note]), [
      {
        type: "document",
        source: { type: "base64", media_type: "application/pdf", data: "JVBERi0=" },
        title: "a.pdf"
      },
      { type: "document", source: { type: "text", media_type: "text/plain", data: "hé" } }
    ])
    assert.deepStrictEqual(parts(Chat.openai, "gpt-5.2", [pdf, sound]), [
      { type: "file", file: { filename: "a.pdf", file_data: "data:application/pdf;base64,JVBERi0=" } },
      { type: "input_audio", input_audio: { data: "UklGRg==", format: "wav" } }
    ])
    assert.deepStrictEqual(parts(Chat.google, "gemini-3-flash", [sound, film]), [
      { inlineData: { mimeType: "audio/wav", data: "UklGRg==" } },
      { fileData: { fileUri: "https://example.com/a.mp4", mimeType: "video/mp4" } }
    ])
  })

  it("ignores the case of its type, and has a name that fits the type of its data: URL", () => {
    const loud = { type: "file", data: "aGk=", mediaType: "IMAGE/PNG" } as const
    for (const [dialect, model] of [
      [Chat.anthropic, claude],
      [Chat.google, "gemini-3-flash"],
      [Chat.openai, "gpt-5.2"],
      [Chat.openaiResponses, "gpt-5.2"]
    ] as const) {
      assert.deepStrictEqual(parts(dialect, model, [loud]), parts(dialect, model, [picture]))
      assert.deepStrictEqual(parts(dialect, model, [{ ...loud, type: "image" }]), parts(dialect, model, [picture]))
    }
    const inUrl = { type: "file", url: "data:application/pdf;base64,JVBERi0=" } as const
    assert.include(JSON.stringify(parts(Chat.openai, "gpt-5.2", [inUrl])), '"filename":"document.pdf"')
    assert.include(JSON.stringify(parts(Chat.openaiResponses, "gpt-5.2", [inUrl])), '"filename":"document.pdf"')
  })

  it("is an image if it has an image type, and data if it is a data: URL", () => {
    const image = { type: "file", url: "data:image/png;base64,aGk=" } as const
    assert.deepStrictEqual(parts(Chat.anthropic, claude, [image]), [
      { type: "image", source: { type: "base64", media_type: "image/png", data: "aGk=" } }
    ])
    assert.deepStrictEqual(parts(Chat.workersAi, "@cf/a/b", [image]), [
      { type: "image_url", image_url: { url: "data:image/png;base64,aGk=" } }
    ])
  })

  it("is sent only to the provider that stores it", () => {
    const own = (origin: string) => [{ type: "file", fileId: { origin, id: "f1" } }] as const
    assert.deepStrictEqual(parts(Chat.anthropic, claude, own("anthropic")), [
      { type: "document", source: { type: "file", file_id: "f1" } }
    ])
    assert.deepStrictEqual(parts(Chat.openai, "gpt-5.2", own("openai")), [{ type: "file", file: { file_id: "f1" } }])
    assert.deepStrictEqual(parts(Chat.google, "gemini-3-flash", own("google")), [{ fileData: { fileUri: "f1" } }])
    for (const [dialect, model, origin] of [
      [Chat.anthropic, claude, "openai"],
      [Chat.openai, "gpt-5.2", "anthropic"],
      [Chat.openaiCompatible, "m", "openai"],
      [Chat.google, "gemini-3-flash", "openai"],
      [Chat.workersAi, "@cf/a/b", "openai"]
    ] as const) {
      const issue = issueOf(dialect, model, { messages: [Chat.user(own(origin))] })
      assert.match(issue.field, /^messages\[0\]\.content\[0\]/)
      assert.strictEqual(issue.isUnsupported, true, dialect.id)
    }
  })

  it("skips a provider that does not take it, with the field and what it takes", () => {
    const cases = [
      [Chat.anthropic, claude, sound],
      [Chat.anthropic, claude, film],
      [Chat.anthropic, claude, { type: "file", data: "aGk=", mediaType: "application/zip" }],
      [Chat.anthropic, claude, { type: "file", url: "https://example.com/a.txt", mediaType: "text/plain" }],
      [Chat.openai, "gpt-5.2", film],
      [Chat.openai, "gpt-5.2", { type: "file", url: "https://example.com/a.pdf" }],
      [Chat.openai, "gpt-5.2", { type: "file", data: "aGk=", mediaType: "audio/ogg" }],
      [Chat.workersAi, "@cf/a/b", pdf]
    ] as const
    for (const [dialect, model, part] of cases) {
      const issue = issueOf(dialect, model, { messages: [Chat.user([part])] })
      assert.match(issue.field, /^messages\[0\]\.content\[0\]/)
      assert.isNotEmpty(issue.accepted)
      assert.strictEqual(issue.isUnsupported, true, `${dialect.id} ${JSON.stringify(part)}`)
    }
    // Such data cannot be sent to any provider as text.
    const broken = { type: "file", data: "/w==", mediaType: "text/plain" } as const
    const issue = issueOf(Chat.anthropic, claude, { messages: [Chat.user([broken])] })
    assert.deepStrictEqual(issue, { field: "messages[0].content[0].data", accepted: "base64 of UTF-8 text" })
  })
})

describe("blank text", () => {
  const image = { type: "image", data: "aGk=", mediaType: "image/png" } as const
  const request: Chat.Request = {
    messages: [
      Chat.system(""),
      Chat.system([{ type: "text", text: "" }]),
      Chat.user([{ type: "text", text: "", cache: {} }, image]),
      Chat.assistant(""),
      Chat.user("a"),
      Chat.assistant([{ type: "text", text: "" }]),
      Chat.user("b")
    ]
  }

  it("is omitted where it would be rejected", () => {
    const toClaude = sent(Chat.anthropic, claude, request)
    const source = { type: "base64", media_type: "image/png", data: "aGk=" }
    assert.deepStrictEqual(toClaude.body.messages, [
      { role: "user", content: [{ type: "image", source }] },
      { role: "user", content: "a" },
      { role: "user", content: "b" }
    ])
    assert.notProperty(toClaude.body, "system")
    assert.deepStrictEqual(toClaude.dropped, ["messages[2].content[0].cache"])
    const toGemini = sent(Chat.google, "gemini-3-flash", request)
    assert.deepStrictEqual(toGemini.body, {
      contents: [
        { role: "user", parts: [{ inlineData: { mimeType: "image/png", data: "aGk=" } }] },
        { role: "user", parts: [{ text: "a" }] },
        { role: "user", parts: [{ text: "b" }] }
      ]
    })
  })

  it("is omitted for Claude when it is only spaces, which other models write before calls", () => {
    const call = { id: "toolu_1", name: "f", arguments: {} }
    const { body } = sent(Chat.anthropic, claude, {
      messages: [Chat.user("a"), Chat.assistant("\n\n", [call]), Chat.tool(call, [{ type: "text", text: " " }])]
    })
    assert.deepStrictEqual((body.messages as ReadonlyArray<unknown>).slice(1), [
      { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "f", input: {} }] },
      { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: [] }] }
    ])
  })

  it("skips Claude and Gemini when it is all that a user says, because others take it", () => {
    for (const [dialect, model] of [
      [Chat.anthropic, claude],
      [Chat.google, "gemini-3-flash"]
    ] as const) {
      for (const content of ["", [{ type: "text", text: "" }]] as const) {
        const issue = issueOf(dialect, model, { messages: [Chat.user(content)] })
        assert.deepStrictEqual(issue, {
          field: "messages[0].content",
          accepted: "a non-empty string",
          isUnsupported: true
        })
      }
    }
  })

  it("does not end a conversation in which a model answered only with an image", () => {
    const reply = Result.getOrThrow(
      Chat.google.decode({
        candidates: [
          { content: { parts: [{ inlineData: { mimeType: "image/png", data: "aGk=" } }] }, finishReason: "STOP" }
        ]
      })
    )
    const next = { messages: [Chat.user("Draw."), Chat.fromReply(reply), Chat.user("Again.")] }
    assert.strictEqual((sent(Chat.google, "gemini-3-pro", next).body.contents as ReadonlyArray<unknown>).length, 2)
    assert.strictEqual((sent(Chat.anthropic, claude, next).body.messages as ReadonlyArray<unknown>).length, 2)
  })
})

describe("the result of a tool", () => {
  const calls = [
    { id: "1", name: "shot", arguments: {} },
    { id: "2", name: "shot", arguments: {} }
  ]
  const request: Chat.Request = {
    messages: [
      Chat.user("Look."),
      Chat.assistant("", calls),
      Chat.tool({ id: "1", name: "shot" }, [{ type: "text", text: "Here:" }, picture]),
      Chat.tool({ id: "2", name: "shot" }, "gone", { isError: true }),
      Chat.user("And?")
    ]
  }

  it("keeps its parts and its failure at Anthropic", () => {
    const { body, dropped } = sent(Chat.anthropic, claude, request)
    assert.deepNestedInclude(body, {
      "messages[2].content": [
        {
          type: "tool_result",
          tool_use_id: "1",
          content: [
            { type: "text", text: "Here:" },
            { type: "image", source: { type: "base64", media_type: "image/png", data: "aGk=" } }
          ]
        },
        { type: "tool_result", tool_use_id: "2", content: "gone", is_error: true }
      ]
    })
    assert.deepStrictEqual(dropped, [])
  })

  it("keeps its parts and its failure at Google; older models get files in a separate turn", () => {
    const data = { inlineData: { mimeType: "image/png", data: "aGk=" } }
    const { body } = sent(Chat.google, "gemini-3-flash", request)
    assert.deepNestedInclude(body, {
      "contents[2].parts": [
        { functionResponse: { id: "1", name: "shot", response: { output: "Here:" }, parts: [data] } },
        { functionResponse: { id: "2", name: "shot", response: { error: "gone" } } }
      ]
    })
    const older = sent(Chat.google, "gemini-2.5-flash", request)
    assert.lengthOf(older.body.contents as ReadonlyArray<unknown>, 5)
    assert.deepNestedInclude(older.body, {
      "contents[2].parts[0]": { functionResponse: { id: "1", name: "shot", response: { output: "Here:" } } },
      "contents[3]": { role: "user", parts: [{ text: "Files of the tool call 1:" }, data] }
    })
    assert.deepStrictEqual(older.dropped, ["messages[2].content: files in a turn of the user"])
  })

  it("is followed by its files at OpenAI, after the results of all tools", () => {
    const { body, dropped } = sent(Chat.openai, "gpt-5.2", request)
    assert.deepStrictEqual((body.messages as ReadonlyArray<unknown>).slice(2), [
      { role: "tool", tool_call_id: "1", content: "Here:\n(The files follow in the next message.)" },
      { role: "tool", tool_call_id: "2", content: "gone" },
      {
        role: "user",
        content: [
          { type: "text", text: "Files of the tool call 1:" },
          { type: "image_url", image_url: { url: "data:image/png;base64,aGk=" } }
        ]
      },
      { role: "user", content: "And?" }
    ])
    assert.deepStrictEqual(dropped, ["messages[2].content: files in a user message", "messages[3].isError"])
  })

  it("skips Workers AI when it holds a file, and is text otherwise", () => {
    assert.strictEqual(issueOf(Chat.workersAi, "@cf/a/b", request).field, "messages[2].content[1]")
    const text: Chat.Request = {
      messages: [Chat.user("a"), Chat.assistant("", calls), Chat.tool("1", [{ type: "text", text: "b" }])]
    }
    assert.deepNestedInclude(sent(Chat.workersAi, "@cf/a/b", text).body, { "messages[2].content": "b" })
  })
})

describe("a cache point", () => {
  const mark = { cache: { ttl: "1h" } } as const
  const request: Chat.Request = {
    messages: [Chat.system([{ type: "text", text: "Be brief.", ...mark }]), Chat.user([{ ...pdf, cache: {} }])],
    tools: [{ name: "f", parameters: { type: "object" }, cache: { ttl: "30m" } }]
  }

  it("marks the block at Anthropic, at most four times", () => {
    const { body, dropped } = sent(Chat.anthropic, claude, request)
    const hour = { type: "ephemeral", ttl: "1h" }
    assert.deepNestedInclude(body, {
      system: [{ type: "text", text: "Be brief.", cache_control: hour }],
      "messages[0].content[0].cache_control": { type: "ephemeral" },
      "tools[0].cache_control": hour
    })
    assert.deepStrictEqual(dropped, ["tools[0].cache.ttl: 1h"])
    const many = sent(Chat.anthropic, claude, {
      messages: [Chat.user([1, 2, 3, 4, 5].map((i) => ({ type: "text" as const, text: `${i}`, cache: {} })))]
    })
    assert.strictEqual(JSON.stringify(many.body).split("cache_control").length - 1, 4)
    assert.deepStrictEqual(many.dropped, ["messages[0].content[4].cache"])
    // Without a mark the system message stays one string.
    assert.strictEqual(sent(Chat.anthropic, claude, { messages: [Chat.system("a"), Chat.user("b")] }).body.system, "a")
  })

  it("marks the part at OpenAI, and is reported where there is none", () => {
    const { body, dropped } = sent(Chat.openai, "gpt-5.2", request)
    assert.deepNestedInclude(body, {
      "messages[0].content": [{ type: "text", text: "Be brief.", prompt_cache_breakpoint: { mode: "explicit" } }]
    })
    assert.deepStrictEqual(dropped, ["messages[0].content[0].cache.ttl", "tools[0].cache"])
    assert.deepStrictEqual([...sent(Chat.google, "gemini-3-flash", request).dropped].sort(), [
      "messages[0].content[0].cache",
      "messages[1].content[0].cache",
      "messages[1].content[0].name",
      "tools[0].cache"
    ])
  })
})

/** The reply, complete and streamed. */
const both = (dialect: Dialect, body: unknown, events: ReadonlyArray<object>): Chat.Reply => {
  const reply = Result.getOrThrow(dialect.decode(body))
  const decoder = streaming[dialect.id]?.decoder()
  if (decoder === undefined) throw new Error(dialect.id)
  const deltas = events.flatMap((event) => decoder.event({ data: JSON.stringify(event), event: "message" }).deltas)
  const streamed = Result.getOrThrow(Chat.collect([...deltas, ...decoder.end().deltas]))
  const { raw: _, ...rest } = reply
  const { raw: _raw, ...other } = streamed
  assert.deepStrictEqual(other, rest)
  assert.deepStrictEqual(Schema.decodeUnknownSync(Chat.ReplySchema)(JSON.parse(JSON.stringify(streamed))), streamed)
  return reply
}

describe("an answer", () => {
  it("keeps its citations and its stop sequence from Claude", () => {
    const citation = { type: "web_search_result_location", url: "https://a.example", title: "A", cited_text: "q" }
    const body = {
      content: [
        { type: "text", text: "It is " },
        { type: "text", text: "so.", citations: [citation] },
        { type: "text", text: " Yes." }
      ],
      stop_reason: "stop_sequence",
      stop_sequence: "END",
      usage: { input_tokens: 6, output_tokens: 7, cache_creation: { ephemeral_1h_input_tokens: 2 } }
    }
    const block = (index: number, ...deltas: ReadonlyArray<object>) => [
      { type: "content_block_start", index, content_block: { type: "text", text: "" } },
      ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
      { type: "content_block_stop", index }
    ]
    const text = (words: string) => ({ type: "text_delta", text: words })
    const end = {
      type: "message_delta",
      delta: { stop_reason: "stop_sequence", stop_sequence: "END" },
      usage: body.usage
    }
    const source = { type: "citations_delta", citation }
    const reply = both(Chat.anthropic, body, [
      ...block(0, text("It "), text("is ")),
      ...block(1, text("so."), source),
      ...block(2, text(" Yes.")),
      end
    ])
    // The source of a search may arrive before the text, or within it.
    for (const deltas of [
      [source, text("so.")],
      [text("so"), source, text(".")]
    ]) {
      both(Chat.anthropic, body, [...block(0, text("It is ")), ...block(1, ...deltas), ...block(2, text(" Yes.")), end])
      const unended = [...block(0, text("It is ")), ...block(1, ...deltas), ...block(2, text(" Yes."))]
      both(Chat.anthropic, body, [...unended.filter(({ type }) => type !== "content_block_stop"), end])
    }
    assert.strictEqual(reply.text, "It is so. Yes.")
    assert.strictEqual(reply.stopSequence, "END")
    assert.strictEqual(reply.usage.cacheWriteLongTokens, 2)
    assert.deepStrictEqual(reply.content, [
      { type: "text", text: "It is so.", citations: [{ url: "https://a.example", title: "A", quote: "q" }] },
      { type: "text", text: " Yes." }
    ])
    // Citations are for readers.
    const next = sent(Chat.anthropic, claude, { messages: [Chat.user("a"), Chat.fromReply(reply), Chat.user("b")] })
    assert.notInclude(JSON.stringify(next.body), "a.example")
  })

  it("keeps its citations, log probabilities and tier from OpenAI", () => {
    const annotations = [
      { type: "url_citation", url_citation: { url: "https://a.example", title: "A", start_index: 0, end_index: 2 } }
    ]
    const content = [{ token: "Hi", logprob: -0.1, bytes: [], top_logprobs: [{ token: "Hi", logprob: -0.1 }] }]
    const body = {
      service_tier: "flex",
      model: "m",
      choices: [{ index: 0, message: { content: "Hi", annotations }, logprobs: { content }, finish_reason: "stop" }],
      usage: { prompt_tokens: 9, completion_tokens: 4, prompt_tokens_details: { audio_tokens: 3 } }
    }
    const reply = both(Chat.openai, body, [
      { service_tier: "flex", model: "m", choices: [{ index: 0, delta: { content: "Hi" }, logprobs: { content } }] },
      { choices: [{ index: 0, delta: { annotations }, finish_reason: "stop" }] },
      { choices: [], usage: body.usage }
    ])
    assert.deepInclude(reply, {
      tier: "flex",
      logprobs: [{ token: "Hi", logprob: -0.1, top: [{ token: "Hi", logprob: -0.1 }] }],
      content: [{ type: "text", text: "Hi", citations: [{ url: "https://a.example", title: "A", start: 0, end: 2 }] }]
    })
    assert.strictEqual(reply.usage.audioInputTokens, 3)
  })

  it.each([
    [
      Chat.openai,
      [],
      (url: string) => ({
        choices: [{ index: 0, delta: { content: "x", annotations: [{ type: "url_citation", url_citation: { url } }] } }]
      })
    ],
    [
      Chat.anthropic,
      [
        { type: "message_start", message: {} },
        { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }
      ],
      (url: string) => ({
        type: "content_block_delta",
        index: 0,
        delta: { type: "citations_delta", citation: { type: "web_search_result_location", url, cited_text: "q" } }
      })
    ],
    [
      Chat.openaiResponses,
      [],
      (url: string) => ({
        type: "response.output_text.annotation.added",
        output_index: 0,
        annotation: { type: "url_citation", url }
      })
    ],
    [
      Chat.google,
      [],
      (url: string) => ({
        candidates: [
          { content: { parts: [{ text: "x" }] }, groundingMetadata: { groundingChunks: [{ web: { uri: url } }] } }
        ]
      })
    ]
  ] as const)("holds back no more than a thousand sources of a stream without end: $id", (dialect, first, source) => {
    const decoder = streaming[dialect.id]?.decoder() ?? assert.fail(dialect.id)
    const read = (event: object) => decoder.event({ data: JSON.stringify(event), event: "message" }).deltas
    const deltas = [...first, ...Array.from({ length: 2500 }, (_, n) => source(`https://a.example/${n}`))].flatMap(read)
    assert.strictEqual(deltas.filter(({ type }) => type === "citation").length, 2000)
  })

  it("keeps sources that a stream names before its text, within it, and repeatedly", () => {
    const annotation = (url: string, start_index: number, end_index: number) => ({
      type: "url_citation",
      url_citation: { url, start_index, end_index }
    })
    const [a, b] = [annotation("https://a.example", 0, 2), annotation("https://b.example", 2, 5)]
    const choice = (delta: object, more: object = {}) => ({ choices: [{ index: 0, delta, ...more }] })
    const openai = both(
      Chat.openai,
      { choices: [{ message: { content: "Hi you", annotations: [a, b] }, finish_reason: "stop" }] },
      [
        choice({ annotations: [a] }),
        choice({ content: "Hi", annotations: [a] }),
        choice({ content: " you", annotations: [b] }),
        choice({}, { finish_reason: "stop" })
      ]
    )
    // Their positions count from the beginning of the part.
    assert.deepStrictEqual(openai.content, [
      {
        type: "text",
        text: "Hi you",
        citations: [
          { url: "https://a.example", start: 0, end: 2 },
          { url: "https://b.example", start: 2, end: 5 }
        ]
      }
    ])
    const flat = [a, b].map(({ type, url_citation }) => ({ type, ...url_citation }))
    const item = { type: "message", content: [{ type: "output_text", text: "Hi you", annotations: flat }] }
    const response = { status: "completed", output: [item] }
    const said = (delta: string) => ({ type: "response.output_text.delta", output_index: 0, delta })
    const [first, second] = flat.map((own) => ({
      type: "response.output_text.annotation.added",
      output_index: 0,
      annotation: own
    }))
    both(Chat.openaiResponses, response, [
      said("Hi"),
      first ?? {},
      said(" you"),
      second ?? {},
      { type: "response.content_part.done", output_index: 0 },
      { type: "response.output_item.done", output_index: 0, item },
      { type: "response.completed", response }
    ])
    const groundingMetadata = { groundingChunks: [{ web: { uri: "https://a.example", title: "A" } }] }
    const candidate = (parts: ReadonlyArray<object>, more: object = {}) => ({
      candidates: [{ content: { parts }, ...more }]
    })
    both(
      Chat.google,
      candidate([{ text: "Hm.", thought: true }, { text: "Hi you" }], { groundingMetadata, finishReason: "STOP" }),
      [
        candidate([{ text: "Hm.", thought: true }], { groundingMetadata }),
        candidate([{ text: "Hi" }], { groundingMetadata }),
        candidate([{ text: " you" }], { groundingMetadata, finishReason: "STOP" })
      ]
    )
  })

  it("keeps its sources and its images from Gemini", () => {
    const image = { inlineData: { mimeType: "image/png", data: "aGk=" } }
    const groundingMetadata = {
      groundingChunks: [{ web: { uri: "https://a.example", title: "A" } }],
      groundingSupports: [{ segment: { startIndex: 0, endIndex: 3, text: "Hi." }, groundingChunkIndices: [0] }]
    }
    const candidate = (parts: ReadonlyArray<object>, more: object = {}) => ({
      candidates: [{ content: { parts }, ...more }]
    })
    const end = { finishReason: "STOP", groundingMetadata }
    const cited = both(Chat.google, candidate([{ text: "Hi." }], end), [
      candidate([{ text: "Hi" }]),
      candidate([{ text: "." }], end)
    ])
    assert.deepStrictEqual(cited.content, [
      { type: "text", text: "Hi.", citations: [{ url: "https://a.example", title: "A", quote: "Hi." }] }
    ])
    const drawn = both(Chat.google, candidate([image], { finishReason: "STOP" }), [
      candidate([image], { finishReason: "STOP" })
    ])
    assert.deepInclude(drawn, {
      text: "",
      parts: [image],
      content: [{ type: "image", data: "aGk=", mediaType: "image/png" }]
    })
    const illustrated = both(Chat.google, candidate([{ text: "Hi." }, image], end), [
      candidate([{ text: "Hi." }]),
      candidate([image]),
      candidate([], end)
    ])
    assert.deepStrictEqual(illustrated.content, [
      { type: "text", text: "Hi.", citations: [{ url: "https://a.example", title: "A", quote: "Hi." }] },
      { type: "image", data: "aGk=", mediaType: "image/png" }
    ])
  })
})
