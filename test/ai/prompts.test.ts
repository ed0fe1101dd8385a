/**
 * The requests that providers get for prompts, and the parts of their answers that come back with the next turn.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Chat from "effect/ai/Chat"
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Prompt from "effect/ai/Prompt"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type GatewayLanguageModel, GatewayModel } from "effect-ai-gateway/ai"
import * as Provider from "effect-ai-gateway/Provider"
import { call, kit, openai, reply, runs, scripted } from "./support.ts"

describe("prompts", () => {
  const sent = (prompt: Prompt.RawInput, route: GatewayLanguageModel.ChatRoute = openai) => {
    const { layer, seen } = scripted({}, route)
    return Effect.map(Effect.provide(LanguageModel.generateText({ prompt }), layer), () => seen[0]?.body)
  }

  it.effect("send texts, pictures, calls and results", () =>
    Effect.gen(function* () {
      const body = yield* sent([
        { role: "system", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "What is this?" },
            { type: "file", mediaType: "image/png", data: new Uint8Array([1, 2, 3]) },
            { type: "file", mediaType: "image/*", data: "/9j/4AAQ" },
            { type: "file", mediaType: "image/*", data: new URL("https://example.com/cat.png") }
          ]
        },
        {
          role: "assistant",
          content: [
            { type: "text", text: "Let me look." },
            { type: "tool-call", id: "call_1", name: "lookup", params: { id: "7" }, providerExecuted: false }
          ]
        },
        {
          role: "tool",
          content: [{ type: "tool-result", id: "call_1", name: "lookup", isFailure: false, result: { ok: true } }]
        },
        { role: "user", content: "And?" }
      ])
      assert.deepInclude(body, {
        messages: [
          { role: "system", content: "Be brief." },
          {
            role: "user",
            content: [
              { type: "text", text: "What is this?" },
              { type: "image_url", image_url: { url: "data:image/png;base64,AQID" } },
              { type: "image_url", image_url: { url: "data:image/jpeg;base64,/9j/4AAQ" } },
              { type: "image_url", image_url: { url: "https://example.com/cat.png" } }
            ]
          },
          {
            role: "assistant",
            content: "Let me look.",
            tool_calls: [call("call_1", "lookup", '{"id":"7"}')]
          },
          { role: "tool", tool_call_id: "call_1", content: '{"ok":true}' },
          { role: "user", content: "And?" }
        ]
      })
      assert.notProperty(body, "tools")
      assert.notProperty(body, "tool_choice")
    })
  )

  const refused: ReadonlyArray<readonly [name: string, prompt: Prompt.RawInput, place: string]> = [
    [
      "a picture of unknown type",
      [{ role: "user", content: [{ type: "file", mediaType: "image/*", data: "AAAA" }] }],
      "prompt[0].content[0].mediaType"
    ],
    [
      "a tool that a provider ran",
      [
        { role: "user", content: "hi" },
        {
          role: "assistant",
          content: [{ type: "tool-call", id: "a", name: "search", params: {}, providerExecuted: true }]
        }
      ],
      "prompt[1].content[0]"
    ],
    [
      "a file of unknown type in the result of a tool",
      [
        {
          role: "tool",
          content: [
            {
              type: "tool-result",
              id: "a",
              name: "look",
              isFailure: false,
              result: "x",
              modelOutput: [{ type: "file", mediaType: "audio/*", data: "AAAA" }]
            }
          ]
        }
      ],
      "prompt[0].content[0].modelOutput[0]"
    ]
  ]
  for (const [name, prompt, place] of refused) {
    it.effect(`reject ${name} by its place, before anything is sent`, () =>
      Effect.gen(function* () {
        const { layer, seen } = scripted({})
        const error = yield* Effect.flip(Effect.provide(LanguageModel.generateText({ prompt }), layer))
        assert.strictEqual(error.reason._tag, "InvalidUserInputError")
        assert.include(error.message, place)
        assert.strictEqual(seen.length, 0)
      })
    )
  }

  it.effect("send files, names, hints, and results that are files or failures", () =>
    Effect.gen(function* () {
      const cache = { gateway: { cache: { ttl: "1h" } } } as const
      const body = yield* sent(
        [
          { role: "system", content: "Long rules.", options: cache },
          {
            role: "user",
            content: [
              { type: "file", mediaType: "application/pdf", data: "AAAA", fileName: "a.pdf" },
              { type: "text", text: "Read it.", options: cache }
            ]
          },
          {
            role: "assistant",
            content: [
              { type: "file", mediaType: "image/png", data: "AAAA" },
              { type: "tool-call", id: "toolu_1", name: "look", params: {}, providerExecuted: false }
            ]
          },
          {
            role: "tool",
            content: [
              {
                type: "tool-result",
                id: "toolu_1",
                name: "look",
                isFailure: true,
                result: "x",
                modelOutput: [
                  { type: "text", text: "a picture" },
                  { type: "file", mediaType: "image/png", data: "AAAA" }
                ]
              }
            ]
          }
        ],
        Provider.anthropic.messages("claude-haiku-4-5")
      )
      const text = JSON.stringify(body)
      for (const part of [
        '"system":[{"type":"text","text":"Long rules.","cache_control":{"type":"ephemeral","ttl":"1h"}}]',
        '"type":"document"',
        '"title":"a.pdf"',
        '"text":"Read it.","cache_control"',
        '"is_error":true',
        '{"type":"text","text":"a picture"}',
        '"type":"image"'
      ]) {
        assert.include(text, part)
      }
    })
  )

  it.effect("return signed thinking to its provider, complete and streamed", () => {
    const thinking = [
      { type: "thinking", thinking: "Let me look.", signature: "sig-1" },
      { type: "redacted_thinking", data: "secret-2" },
      { type: "tool_use", id: "toolu_1", name: "lookup", input: { id: "7" } }
    ]
    const message = (content: ReadonlyArray<object>, stop: string) => ({
      body: {
        id: "m1",
        type: "message",
        role: "assistant",
        model: "claude",
        content,
        stop_reason: stop,
        usage: { input_tokens: 1, output_tokens: 2 }
      }
    })
    const event = (type: string, value: object) => `event: ${type}\ndata: ${JSON.stringify({ type, ...value })}\n\n`
    const block = (index: number, start: object, ...deltas: ReadonlyArray<object>) =>
      [
        event("content_block_start", { index, content_block: start }),
        ...deltas.map((delta) => event("content_block_delta", { index, delta })),
        event("content_block_stop", { index })
      ].join("")
    const streamed = {
      headers: { "content-type": "text/event-stream" },
      stream: [
        event("message_start", {
          message: {
            id: "m1",
            type: "message",
            role: "assistant",
            model: "claude",
            content: [],
            usage: { input_tokens: 1, output_tokens: 1 }
          }
        }),
        block(
          0,
          { type: "thinking", thinking: "", signature: "" },
          { type: "thinking_delta", thinking: "Let me look." },
          { type: "signature_delta", signature: "sig-1" }
        ),
        block(1, { type: "redacted_thinking", data: "secret-2" }),
        block(
          2,
          { type: "tool_use", id: "toolu_1", name: "lookup", input: {} },
          { type: "input_json_delta", partial_json: '{"id":"7"}' }
        ),
        event("message_delta", { delta: { stop_reason: "tool_use" }, usage: { output_tokens: 2 } }),
        event("message_stop", {})
      ]
    }
    const last = message([{ type: "text", text: "It is there." }], "end_turn")
    const { layer, seen } = scripted(
      { anthropic: [message(thinking, "tool_use"), last, streamed, last] },
      Provider.anthropic.messages("claude-opus-4-5")
    )
    return runs(
      Effect.gen(function* () {
        for (const isStream of [false, true]) {
          const chat = yield* Chat.empty
          const first = { prompt: "Is it there?", toolkit: kit } as const
          if (isStream) yield* Stream.runDrain(chat.streamText(first))
          else yield* chat.generateText(first)
          assert.strictEqual((yield* chat.generateText({ prompt: [], toolkit: kit })).text, "It is there.")
          const body = seen.at(-1)?.body as { messages: ReadonlyArray<{ role: string; content: unknown }> }
          assert.deepStrictEqual(body.messages[1], { role: "assistant", content: thinking })
        }
      }),
      layer
    )
  })

  it.effect("keep a refusal and its mark, and name the sources of an answer", () => {
    const annotations = [
      { type: "url_citation", url_citation: { url: "https://example.com/a", title: "A", start_index: 0, end_index: 5 } }
    ]
    const { layer, seen } = scripted({
      openai: [
        reply({ content: null, refusal: "I will not." }, "stop"),
        reply({ content: "Hello", annotations }, "stop")
      ]
    })
    return Effect.gen(function* () {
      const chat = yield* Chat.empty
      const refused = yield* chat.generateText({ prompt: "Do it." })
      assert.deepStrictEqual([refused.text, refused.finishReason], ["I will not.", "content-filter"])
      const answer = yield* chat.generateText({ prompt: "Why?" })
      assert.include(JSON.stringify(seen[1]?.body), '"refusal":"I will not."')
      const source = answer.content.find((part) => part.type === "source")
      assert.deepInclude(source, { sourceType: "url", title: "A" })
      assert.deepInclude(source?.metadata, { gateway: { start: 0, end: 5 } })
    }).pipe(Effect.provide(layer))
  })

  it.effect("report which hints a target did not get", () => {
    const { layer } = scripted({}, Provider.anthropic.messages("claude-haiku-4-5"))
    return Effect.gen(function* () {
      const { content } = yield* Effect.provideService(
        LanguageModel.generateText({ prompt: "hi" }),
        GatewayModel.Config,
        { request: { seed: 7, losses: "dropHints" } }
      )
      const finish = content.at(-1)
      assert.deepStrictEqual(finish?.type === "finish" && finish.metadata.gateway?.attempts[0]?.dropped, ["seed"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("reject a tool that only one provider has", () => {
    const Search = Tool.providerDefined({
      id: "openai.web_search",
      customName: "WebSearch",
      providerName: "web_search",
      parameters: Schema.Struct({}),
      success: Schema.String
    })()
    const { layer, seen } = scripted({})
    return Effect.gen(function* () {
      const error = yield* Effect.flip(
        LanguageModel.generateText({ prompt: "hi", toolkit: Toolkit.make(Search), disableToolCallResolution: true })
      )
      assert.strictEqual(error.reason._tag, "ToolConfigurationError")
      assert.strictEqual(seen.length, 0)
    }).pipe(Effect.provide(layer))
  })

  it.effect("return a signature of Gemini with the call in the next turn of a Chat", () => {
    const parts = [{ functionCall: { name: "lookup", args: { id: "7" } }, thoughtSignature: "sig-1" }]
    const google = (content: ReadonlyArray<object>) => ({
      body: { candidates: [{ index: 0, content: { role: "model", parts: content }, finishReason: "STOP" }] }
    })
    const { layer, seen } = scripted(
      { "google-ai-studio": [google(parts), google([{ text: "It is there." }])] },
      Provider.googleAiStudio.chat("gemini-3-pro")
    )
    return runs(
      Effect.gen(function* () {
        const chat = yield* Chat.empty
        yield* chat.generateText({ prompt: "Is it there?", toolkit: kit })
        const answer = yield* chat.generateText({ prompt: [], toolkit: kit })
        assert.strictEqual(answer.text, "It is there.")
        assert.include(JSON.stringify(seen[1]?.body), '"thoughtSignature":"sig-1"')
        assert.include(JSON.stringify(seen[1]?.body), "found 7")
      }),
      layer
    )
  })
})
