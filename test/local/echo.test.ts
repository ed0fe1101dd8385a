import { createAnthropic } from "@ai-sdk/anthropic"
import { createOpenAI } from "@ai-sdk/openai"
import { assert, describe, it } from "@effect/vitest"
import { generateText, streamText } from "ai"
import * as Effect from "effect/Effect"
import OpenAI from "openai"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { call, dataPlane } from "./support.ts"

const messages = [
  { role: "system", content: "Be brief" },
  { role: "user", content: "First" },
  { role: "assistant", content: "Yes" },
  {
    role: "user",
    content: [
      { type: "text", text: "Say hello" },
      { type: "image_url", image_url: { url: "x" } }
    ]
  }
]

interface Event {
  readonly type?: string
  readonly response?: string
  readonly choices?: ReadonlyArray<{
    readonly delta: { readonly content?: string }
    readonly finish_reason: string | null
  }>
  readonly usage?: { readonly prompt_tokens: number }
}

/** `data:` values of a stream of events, without `[DONE]`. */
const events = (text: string): ReadonlyArray<Event> =>
  text
    .split("\n\n")
    .flatMap((event) => event.split("\n").filter((line) => line.startsWith("data: ")))
    .map((line) => line.slice(6))
    .filter((data) => data !== "[DONE]")
    .map((data) => JSON.parse(data))

describe("dialects", () => {
  const post = (path: string, body: unknown, options?: LocalGateway.Options) =>
    Effect.flatMap(LocalGateway.make(options), (gateway) => call(gateway, "POST", `${dataPlane}/${path}`, body))

  it.effect("answers OpenAI chat with the user's last text, counting words as tokens", () =>
    Effect.gen(function* () {
      for (const path of [
        "openai/chat/completions",
        "openai/v1/chat/completions",
        "azure-openai/res/gpt/chat/completions?api-version=1"
      ]) {
        const { json } = yield* post(path, { model: "gpt", messages })
        const provider = path.split("/")[0]
        assert.strictEqual(json.choices[0].message.content, `${provider}/gpt: Say hello`)
        assert.deepStrictEqual(json.usage, {
          prompt_tokens: 6,
          completion_tokens: 3,
          total_tokens: 9,
          prompt_tokens_details: { cached_tokens: 0 },
          completion_tokens_details: { reasoning_tokens: 0 }
        })
        assert.strictEqual(json.choices[0].finish_reason, "stop")
      }
      const azure = yield* post("azure-openai/res/deployment-1/chat/completions", { messages })
      assert.strictEqual(azure.json.model, "deployment-1")
    })
  )

  it.effect("gives the same answer to the same request", () =>
    Effect.gen(function* () {
      const one = yield* post("openai/chat/completions", { model: "gpt", messages })
      const two = yield* post("openai/chat/completions", { model: "gpt", messages })
      assert.strictEqual(one.text, two.text)
    })
  )

  it.effect("speaks Anthropic messages", () =>
    Effect.gen(function* () {
      const body = { model: "claude", max_tokens: 5, system: "Be brief", messages: [{ role: "user", content: "Hi" }] }
      const { json } = yield* post("anthropic/v1/messages", body)
      assert.deepStrictEqual(json.content, [{ type: "text", text: "anthropic/claude: Hi" }])
      assert.strictEqual(json.stop_reason, "end_turn")
      assert.deepInclude(json.usage, { input_tokens: 3, output_tokens: 2, cache_read_input_tokens: 0 })
      const stream = events((yield* post("anthropic/v1/messages", { ...body, stream: true })).text)
      assert.deepStrictEqual(
        stream.map(({ type }) => type),
        [
          "message_start",
          "content_block_start",
          "ping",
          "content_block_delta",
          "content_block_delta",
          "content_block_stop",
          "message_delta",
          "message_stop"
        ]
      )
    })
  )

  it.effect("includes the fields that strict clients require", () =>
    Effect.gen(function* () {
      const hello = [{ role: "user", content: "Hi" }]
      const message = (yield* post("anthropic/v1/messages", { model: "claude", max_tokens: 5, messages: hello })).json
      assert.isNull(message.container)
      const cache = { cache_creation_input_tokens: 0, cache_read_input_tokens: 0 }
      const usage = {
        input_tokens: 1,
        ...cache,
        cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
        output_tokens: 2,
        service_tier: "standard",
        inference_geo: null
      }
      assert.deepStrictEqual(message.usage, usage)
      const body = { model: "claude", max_tokens: 5, messages: hello, stream: true }
      const stream = events((yield* post("anthropic/v1/messages", body)).text)
      assert.deepNestedInclude(Object(stream[0]), { "message.usage": { ...usage, output_tokens: 0 } })
      assert.deepNestedInclude(Object(stream.at(-2)), {
        usage: { input_tokens: 1, ...cache, output_tokens: 2 },
        "delta.container": null
      })

      const chat = (yield* post("openrouter/chat/completions", { model: "gpt", messages: hello })).json
      assert.deepInclude(chat, { system_fingerprint: "fp_echo", service_tier: "default" })
      assert.deepInclude(chat.choices[0], { logprobs: null })
      assert.deepInclude(chat.choices[0].message, { refusal: null, annotations: [] })
      const ask = { model: "gpt", messages: hello, stream: true, stream_options: { include_usage: true } }
      const chunks = events((yield* post("openrouter/chat/completions", ask)).text)
      for (const chunk of chunks) {
        assert.deepInclude(Object(chunk), { system_fingerprint: "fp_echo", service_tier: "default", id: chat.id })
        // OpenRouter's own client would reject `null`.
        assert.isNotNull(chunk.usage)
      }
      assert.deepNestedInclude(Object(chunks[0]), {
        "choices[0].delta": { role: "assistant", content: "", refusal: null }
      })
      assert.deepInclude(Object(chunks.at(-1)), { choices: [], usage: chat.usage })

      const response = (yield* post("openai/responses", { model: "gpt", input: "Hi" })).json
      assert.deepInclude(response, { frequency_penalty: 0, presence_penalty: 0, completed_at: response.created_at })
    })
  )

  it.effect("rejects a chat request that OpenAI could not read, as OpenAI does, by name", () =>
    Effect.gen(function* () {
      for (const [body, param] of [
        [{ messages: [{ role: "user", content: 5 }] }, "messages[0].content"],
        [{ messages: [{ role: "robot", content: "Hi" }] }, "messages[0].role"],
        [{ messages, temperature: "warm" }, "temperature"]
      ] as const) {
        const { json, status } = yield* post("openai/chat/completions", { model: "gpt", ...body })
        assert.strictEqual(status, 400)
        assert.deepInclude(json.error, { type: "invalid_request_error", param, code: null })
      }
      // The echo ignores fields that only a model would act on.
      const more = { n: 2, logprobs: true, reasoning_effort: "high", tools: [{ type: "custom" }], unknown: 1 }
      const { json } = yield* post("openai/chat/completions", { model: "gpt", messages, ...more })
      assert.strictEqual(json.choices[0].message.content, "openai/gpt: Say hello")
    })
  )

  it.effect("speaks Google, complete and streamed", () =>
    Effect.gen(function* () {
      const body = {
        contents: [{ role: "user", parts: [{ text: "Hi" }] }],
        systemInstruction: { parts: [{ text: "Be brief" }] }
      }
      const path = "google-ai-studio/v1beta/models/gemini-2.5"
      const { json } = yield* post(`${path}:generateContent`, body)
      assert.strictEqual(json.candidates[0].content.parts[0].text, "google-ai-studio/gemini-2.5: Hi")
      assert.strictEqual(json.candidates[0].finishReason, "STOP")
      assert.deepStrictEqual(json.usageMetadata, { promptTokenCount: 3, candidatesTokenCount: 2, totalTokenCount: 5 })
      const sse = events((yield* post(`${path}:streamGenerateContent?alt=sse`, body)).text)
      assert.strictEqual(sse.length, 2)
      const array = yield* post(`${path}:streamGenerateContent`, body)
      assert.strictEqual(array.json.length, 2)
      assert.strictEqual(array.json[1].candidates[0].finishReason, "STOP")
    })
  )

  it.effect("speaks Workers AI: text, messages, streams and embeddings", () =>
    Effect.gen(function* () {
      for (const path of ["workers-ai/@cf/meta/llama", "workers-ai/run/@cf/meta/llama"]) {
        const { json } = yield* post(path, { prompt: "Hi" })
        assert.strictEqual(json.success, true)
        assert.strictEqual(json.result.response, "workers-ai/@cf/meta/llama: Hi")
        assert.deepStrictEqual(json.result.usage, { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 })
      }
      const stream = yield* post("workers-ai/@cf/meta/llama", { messages, stream: true })
      const pieces = events(stream.text).map(({ response }) => response)
      assert.strictEqual(pieces.join(""), "workers-ai/@cf/meta/llama: Say hello")
      assert.isTrue(stream.text.endsWith("data: [DONE]\n\n"))
      const { json } = yield* post(
        "workers-ai/@cf/baai/bge-base-en-v1.5",
        { text: ["a", "b"] },
        {
          upstreams: { "workers-ai": Upstream.echo({ dimensions: 3 }) }
        }
      )
      assert.deepStrictEqual(json.result.shape, [2, 3])
      assert.strictEqual(json.result.data[1].length, 3)
      assert.approximately(Math.hypot(...json.result.data[0]), 1, 1e-9)
      assert.notDeepEqual(json.result.data[0], json.result.data[1])
    })
  )

  it.effect("returns OpenAI embeddings as numbers or base64, in the requested size", () =>
    Effect.gen(function* () {
      const body = { model: "e", input: ["a b", "c"], dimensions: 3 }
      const plain = (yield* post("openai/embeddings", body)).json
      assert.deepStrictEqual([plain.data.length, plain.data[1].embedding.length, plain.usage.total_tokens], [2, 3, 3])
      const packed = (yield* post("openai/embeddings", { ...body, encoding_format: "base64" })).json
      const bytes = Uint8Array.from(atob(packed.data[1].embedding), (c) => c.charCodeAt(0))
      assert.strictEqual(new DataView(bytes.buffer).getFloat32(8, true), Math.fround(plain.data[1].embedding[2]))
    })
  )

  it.effect("accepts its own text", () =>
    Effect.gen(function* () {
      const upstreams = { openai: Upstream.echo({ text: ({ prompt }) => prompt.toUpperCase() }) }
      const { json } = yield* post("openai/chat/completions", { model: "gpt", messages }, { upstreams })
      assert.strictEqual(json.choices[0].message.content, "SAY HELLO")
    })
  )

  it.effect.each(["", "  ", "one", " two words ", "line\nbreak  x"])("a streamed text %j is whole", (text) =>
    Effect.gen(function* () {
      const upstreams = { openai: Upstream.echo({ text: () => text }) }
      const body = { model: "gpt", messages, stream: true, stream_options: { include_usage: true } }
      const chunks = events((yield* post("openai/chat/completions", body, { upstreams })).text)
      assert.strictEqual(chunks.map(({ choices }) => choices?.[0]?.delta.content ?? "").join(""), text)
      assert.strictEqual(chunks.at(-2)?.choices?.[0]?.finish_reason, "stop")
      assert.strictEqual(chunks.at(-1)?.usage?.prompt_tokens, 6)
    })
  )
})

describe("official SDKs", () => {
  const prompt = "Say hello"

  /** A gateway, and a `fetch` into it. */
  const connected = Effect.gen(function* () {
    const gateway = yield* LocalGateway.make()
    const context = yield* Effect.context<never>()
    const fetch = (input: string | URL | Request, init?: RequestInit): Promise<Response> =>
      Effect.runPromiseWith(context)(gateway.handle(new Request(input, init)))
    return { gateway, fetch, baseURL: gateway.url("default", "openai"), apiKey: "sk-test" }
  })

  it.effect("openai works: chat, stream, responses, embeddings", () =>
    Effect.gen(function* () {
      const { apiKey, baseURL, fetch } = yield* connected
      const client = new OpenAI({ apiKey, baseURL, fetch, maxRetries: 0 })
      const body = { model: "gpt", messages: [{ role: "user" as const, content: prompt }] }
      const whole = yield* Effect.promise(() => client.chat.completions.create(body))
      assert.strictEqual(whole.choices[0]?.message.content, "openai/gpt: Say hello")
      const text = yield* Effect.promise(async () => {
        const stream = await client.chat.completions.create({ ...body, stream: true })
        let out = ""
        for await (const chunk of stream) out += chunk.choices[0]?.delta.content ?? ""
        return out
      })
      assert.strictEqual(text, "openai/gpt: Say hello")
      const response = yield* Effect.promise(() => client.responses.create({ model: "gpt", input: prompt }))
      assert.strictEqual(response.output_text, "openai/gpt: Say hello")
      const streamed = yield* Effect.promise(async () => {
        const stream = client.responses.stream({ model: "gpt", input: prompt })
        return (await stream.finalResponse()).output_text
      })
      assert.strictEqual(streamed, "openai/gpt: Say hello")
      const embeddings = yield* Effect.promise(() => client.embeddings.create({ model: "e", input: ["a", "b"] }))
      assert.strictEqual(embeddings.data.length, 2)
      assert.approximately(Math.hypot(...(embeddings.data[1]?.embedding ?? [])), 1, 1e-6)
    })
  )

  it.effect("AI SDK works with OpenAI", () =>
    Effect.gen(function* () {
      const { apiKey, baseURL, fetch } = yield* connected
      const provider = createOpenAI({ apiKey, baseURL, fetch })
      for (const model of [provider("gpt"), provider.chat("gpt")]) {
        const whole = yield* Effect.promise(() => generateText({ model, prompt, maxRetries: 0 }))
        assert.strictEqual(whole.text, "openai/gpt: Say hello")
        assert.strictEqual(whole.usage.inputTokens, 2)
        const streamed = yield* Effect.promise(async () => streamText({ model, prompt, maxRetries: 0 }).text)
        assert.strictEqual(streamed, "openai/gpt: Say hello")
      }
    })
  )

  it.effect("AI SDK works with Anthropic", () =>
    Effect.gen(function* () {
      const { apiKey, fetch, gateway } = yield* connected
      const model = createAnthropic({ apiKey, baseURL: gateway.url("default", "anthropic"), fetch })("claude-haiku-4-5")
      const whole = yield* Effect.promise(() => generateText({ model, prompt, maxRetries: 0 }))
      assert.strictEqual(whole.text, "anthropic/claude-haiku-4-5: Say hello")
      assert.strictEqual(whole.finishReason, "stop")
      const streamed = yield* Effect.promise(async () => streamText({ model, prompt, maxRetries: 0 }).text)
      assert.strictEqual(streamed, "anthropic/claude-haiku-4-5: Say hello")
    })
  )

  it.effect("read a scripted error like the provider's own", () =>
    Effect.gen(function* () {
      const { apiKey, baseURL, fetch, gateway } = yield* connected
      yield* gateway.script("openai", [{ status: 429, retryAfter: 3 }])
      const client = new OpenAI({ apiKey, baseURL, fetch, maxRetries: 0 })
      const error = yield* Effect.promise(() =>
        client.chat.completions.create({ model: "gpt", messages: [] }).then(
          () => undefined,
          (error: unknown) => error
        )
      )
      assert.instanceOf(error, OpenAI.RateLimitError)
      assert.strictEqual(error instanceof OpenAI.RateLimitError ? error.type : "", "rate_limit_error")
    })
  )
})
