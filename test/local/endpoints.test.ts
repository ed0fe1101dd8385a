/**
 * Endpoints other than chat: lists of models, token counts, embeddings, old completions, and models of Workers AI that
 * do not chat.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import { makeBinding } from "../support/bindingDouble.ts"
import { api, call, dataPlane, type Reply } from "./support.ts"

/** An answer of a shape that the test checks. */
type Loose = Reply["json"]

const send = Effect.fnUntraced(function* (method: string, path: string, body?: unknown) {
  return yield* call(yield* LocalGateway.make(), method, `${dataPlane}/${path}`, body)
})

const get = (path: string) => send("GET", path)
const post = (path: string, body: unknown) => send("POST", path, body)

const workersAi = Effect.fnUntraced(function* (model: string, input: unknown) {
  return yield* call(yield* LocalGateway.make(), "POST", `${api}/ai/run/${model}`, input)
})

const resultOf = ({ json, status }: Reply): Record<string, unknown> => {
  assert.deepStrictEqual([status, json.success], [200, true])
  return json.result
}

const google = "google-ai-studio/v1beta/models/gemini-2.5-flash"

describe("lists of models", () => {
  it.effect("have the shape of their provider", () =>
    Effect.gen(function* () {
      const openai = (yield* get("openai/models")).json
      assert.deepStrictEqual([openai.object, openai.data[0].object], ["list", "model"])
      assert.strictEqual((yield* get("groq/models")).json.data[0].owned_by, "groq")
      const anthropic = (yield* get("anthropic/v1/models?limit=5")).json
      assert.deepStrictEqual([anthropic.has_more, anthropic.data[0].type], [false, "model"])
      assert.strictEqual(anthropic.first_id, anthropic.data[0].id)
      const [model] = (yield* get("google-ai-studio/v1beta/models")).json.models
      assert.match(model.name, /^models\//)
      assert.include(model.supportedGenerationMethods, "generateContent")
    })
  )

  it.effect("have each model by its name", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* get("openai/v1/models/gpt-x")).json.id, "gpt-x")
      assert.strictEqual((yield* get("anthropic/v1/models/claude-x")).json.id, "claude-x")
      assert.strictEqual((yield* get("google-ai-studio/v1beta/models/g-x")).json.name, "models/g-x")
      assert.strictEqual((yield* get("openai/models/ft%3Agpt%3Ame")).json.id, "ft:gpt:me")
      assert.strictEqual((yield* get("openai/models/ft:gpt:me")).json.id, "ft:gpt:me")
    })
  )
})

describe("what clients of single providers require", () => {
  it.effect("OpenRouter's models have prices and modalities, and Mistral's have capabilities", () =>
    Effect.gen(function* () {
      const openRouter = (yield* get("openrouter/models")).json
      assert.deepInclude(openRouter, { total_count: openRouter.data.length, links: { next: null } })
      assert.deepStrictEqual(openRouter.data[0].pricing, { prompt: "0", completion: "0" })
      assert.deepStrictEqual(openRouter.data[0].architecture.input_modalities, ["text"])
      const [model] = (yield* get("mistral/v1/models")).json.data
      assert.deepStrictEqual([model.type, model.capabilities.function_calling], ["base", true])
    })
  )

  it.effect("OpenRouter's errors have the status as their code", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      for (const status of [401, 429, 500]) {
        yield* gateway.script("openrouter", [{ status }])
        const { json } = yield* call(gateway, "POST", `${dataPlane}/openrouter/chat/completions`, { messages: [] })
        assert.deepStrictEqual(json, { error: { code: status, message: `scripted status ${status}` } })
      }
    })
  )

  it.effect("Mistral's errors are flat", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("mistral", [{ status: 429 }])
      const { json } = yield* call(gateway, "POST", `${dataPlane}/mistral/v1/chat/completions`, { messages: [] })
      assert.deepInclude(json, { object: "error", message: "scripted status 429", param: null })
    })
  )

  it.effect("embeddings have an id", () =>
    Effect.gen(function* () {
      const { json } = yield* post("mistral/v1/embeddings", { model: "mistral-embed", input: ["a"] })
      assert.match(json.id, /^embd-[0-9a-f]{8}$/)
    })
  )

  it.effect("Mistral's `fim/completions` answers like a chat, and its `any` forces a call", () =>
    Effect.gen(function* () {
      const filled = (yield* post("mistral/v1/fim/completions", { model: "codestral", prompt: "x" })).json
      assert.strictEqual(filled.choices[0].message.content, "mistral/codestral: x")
      const tools = [{ type: "function", function: { name: "look", parameters: { type: "object" } } }]
      const messages = [{ role: "user", content: "Hi" }]
      const { json } = yield* post("mistral/v1/chat/completions", { model: "m", messages, tools, tool_choice: "any" })
      assert.strictEqual(json.choices[0].message.tool_calls[0].function.name, "look")
    })
  )
})

describe("token counts", () => {
  it.effect("are those of the answer's usage", () =>
    Effect.gen(function* () {
      const messages = [{ role: "user", content: "one two three" }]
      const claude = { model: "claude", system: "be brief", messages }
      const counted = yield* post("anthropic/v1/messages/count_tokens", claude)
      const answered = yield* post("anthropic/v1/messages", { ...claude, max_tokens: 5 })
      assert.deepStrictEqual(counted.json, { input_tokens: answered.json.usage.input_tokens })
      const contents = [{ role: "user", parts: [{ text: "one two three" }] }]
      const gemini = yield* post(`${google}:generateContent`, { contents })
      const { promptTokenCount: totalTokens } = gemini.json.usageMetadata
      assert.deepStrictEqual((yield* post(`${google}:countTokens`, { contents })).json, { totalTokens })
      const wrapped = { generateContentRequest: { model: "models/g", contents } }
      assert.deepStrictEqual((yield* post(`${google}:countTokens`, wrapped)).json, { totalTokens })
    })
  )
})

describe("embeddings of Google", () => {
  it.effect("arrive alone and in batches, in the requested size", () =>
    Effect.gen(function* () {
      const content = { parts: [{ text: "Hi" }] }
      const one = (yield* post(`${google}:embedContent`, { content })).json
      assert.strictEqual(one.embedding.values.length, 8)
      const requests = [{ content }, { content, outputDimensionality: 3 }]
      const many = (yield* post(`${google}:batchEmbedContents`, { requests })).json
      assert.deepStrictEqual(many.embeddings[0], one.embedding)
      assert.strictEqual(many.embeddings[1].values.length, 3)
      const wrong = yield* post(`${google}:embedContent`, { content, outputDimensionality: 0 })
      assert.deepStrictEqual([wrong.status, wrong.json.error.status], [400, "INVALID_ARGUMENT"])
      assert.include(wrong.json.error.message, "outputDimensionality")
    })
  )
})

describe("embeddings of OpenAI", () => {
  it.effect.each([{}, { input: [] }, { input: 5 }, { input: ["a", 1] }, { input: ["a", { text: "b" }] }])(
    "refuse what would be lost: %j",
    (body) =>
      Effect.gen(function* () {
        const { json, status } = yield* post("openai/embeddings", { model: "e", ...body })
        assert.deepStrictEqual([status, json.error.param], [400, "input"])
      })
  )

  it.effect("accept tokens in place of texts", () =>
    Effect.gen(function* () {
      const of = (input: unknown) =>
        Effect.map(post("openai/embeddings", { model: "e", input }), ({ json }) => json.data.length)
      assert.deepStrictEqual([yield* of([1, 2, 3]), yield* of([[1, 2], [3]]), yield* of("a")], [1, 2, 1])
    })
  )
})

describe("completions", () => {
  it.effect("answer the prompt, complete and streamed", () =>
    Effect.gen(function* () {
      const body = { model: "gpt-instruct", prompt: ["One", "Two"], n: 2 }
      const { json } = yield* post("openai/v1/completions", body)
      assert.strictEqual(json.object, "text_completion")
      assert.deepStrictEqual(
        json.choices.map(({ text }: { text: string }) => text),
        ["openai/gpt-instruct: Two", "openai/gpt-instruct: Two"]
      )
      assert.deepStrictEqual(json.usage, { prompt_tokens: 2, completion_tokens: 4, total_tokens: 6 })
      const { text } = yield* post("openai/completions", { ...body, n: 1, stream: true })
      const lines = text.split("\n").filter((line) => line !== "")
      assert.strictEqual(lines.at(-1), "data: [DONE]")
      const choices = lines.slice(0, -1).map((line) => JSON.parse(line.slice(6)).choices[0])
      assert.strictEqual(choices.map((choice) => choice.text).join(""), "openai/gpt-instruct: Two")
      assert.strictEqual(choices.at(-1)?.finish_reason, "stop")
    })
  )
})

describe("ids of requests", () => {
  it.effect("are in the provider's header, a different one for each request", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const id = (path: string, name: string) =>
        Effect.map(call(gateway, "GET", `${dataPlane}/${path}`), ({ headers }) => headers[name])
      assert.match(String(yield* id("openai/models", "x-request-id")), /^req_\w+$/)
      const ids = [yield* id("anthropic/v1/models", "request-id"), yield* id("anthropic/v1/models", "request-id")]
      assert.isDefined(ids[0])
      assert.notStrictEqual(ids[0], ids[1])
    })
  )
})

const say = (model: string, text: string): string => `workers-ai/${model}: ${text}`

describe("models of Workers AI that do not chat", () => {
  it.effect("rerank: contexts with the words of the query come first", () =>
    Effect.gen(function* () {
      const input = { query: "red wine", contexts: ["beer", "red wine", "white wine"].map((text) => ({ text })) }
      const ids = (result: Loose) => result.response.map(({ id }: { id: number }) => id)
      const reranked = resultOf(yield* workersAi("@cf/baai/bge-reranker-base", input))
      assert.deepStrictEqual(ids(reranked), [1, 2, 0])
      assert.deepStrictEqual(ids(resultOf(yield* workersAi("@cf/baai/bge-reranker-base", { ...input, top_k: 1 }))), [1])
      assert.deepStrictEqual(ids(resultOf(yield* workersAi("@cf/baai/bge-m3", input))), [1, 2, 0])
    })
  )

  it.effect("embed: texts, contexts, queries and documents", () =>
    Effect.gen(function* () {
      const shape = (model: string, input: unknown) =>
        Effect.map(workersAi(model, input), (reply) => resultOf(reply)["shape"])
      assert.deepStrictEqual(yield* shape("@cf/baai/bge-base-en-v1.5", { text: ["a", "b"] }), [2, 8])
      assert.deepStrictEqual(yield* shape("@cf/baai/bge-m3", { contexts: [{ text: "a" }] }), [1, 8])
      assert.deepStrictEqual(yield* shape("@cf/qwen/qwen3-embedding-0.6b", { documents: ["a", "b"] }), [2, 8])
      assert.deepStrictEqual(yield* shape("@cf/google/embeddinggemma-300m", { text: "a" }), [1, 8])
      assert.deepStrictEqual(yield* shape("@cf/pfnet/plamo-embedding-1b", { text: ["a"] }), [1, 8])
    })
  )

  it.effect("reject a body without texts", () =>
    Effect.gen(function* () {
      for (const input of [{}, { text: [] }, { text: ["a", 1] }, { prompt: "a" }]) {
        const { json, status } = yield* workersAi("@cf/baai/bge-base-en-v1.5", input)
        assert.deepStrictEqual([status, json.errors[0].code], [400, 5004])
        assert.include(json.errors[0].message, "text: expected")
      }
    })
  )

  it.effect("hear: arrays of bytes and base64", () =>
    Effect.gen(function* () {
      const model = "@cf/openai/whisper"
      const text = say(model, "3 bytes of audio")
      const heard = resultOf(yield* workersAi(model, { audio: [1, 2, 3] }))
      assert.deepStrictEqual([heard["text"], heard["word_count"]], [text, 5])
      assert.deepStrictEqual((heard["words"] as ReadonlyArray<unknown>)[0], {
        word: `workers-ai/${model}:`,
        start: 0,
        end: 1
      })
      assert.match(String(heard["vtt"]), /^WEBVTT\n/)
      const turbo: Loose = resultOf(yield* workersAi("@cf/openai/whisper-large-v3-turbo", { audio: "AAAA" }))
      assert.include(turbo.text, "3 bytes of audio")
      assert.strictEqual(turbo.segments[0].text, turbo.text)
      assert.strictEqual(turbo.transcription_info.language, "en")
      const nova: Loose = resultOf(
        yield* workersAi("@cf/deepgram/nova-3", { audio: { body: "AAAA", contentType: "audio/mpeg" } })
      )
      assert.include(nova.results.channels[0].alternatives[0].transcript, "3 bytes of audio")
    })
  )

  it.effect("speak: base64 or bytes of MP3", () =>
    Effect.gen(function* () {
      const { audio } = resultOf(yield* workersAi("@cf/myshell-ai/melotts", { prompt: "Hi" }))
      assert.strictEqual(atob(String(audio)).charCodeAt(0), 0xff)
      const aura = yield* workersAi("@cf/deepgram/aura-1", { text: "Hi" })
      assert.deepStrictEqual([aura.status, aura.headers["content-type"]], [200, "audio/mpeg"])
    })
  )

  it.effect("paint: base64 or bytes of PNG, over HTTP and the binding", () =>
    Effect.gen(function* () {
      const { image } = resultOf(yield* workersAi("@cf/black-forest-labs/flux-1-schnell", { prompt: "Hi" }))
      assert.strictEqual(atob(String(image)).slice(1, 4), "PNG")
      const diffused = yield* workersAi("@cf/stabilityai/stable-diffusion-xl-base-1.0", { prompt: "Hi" })
      assert.strictEqual(diffused.headers["content-type"], "image/png")
      const gateway = yield* LocalGateway.make()
      const ai = makeBinding((request) => Effect.runPromise(gateway.handle(request)))
      const stream = yield* Effect.promise(() => ai.run("@cf/lykon/dreamshaper-8-lcm", { prompt: "Hi" }))
      assert.instanceOf(stream, ReadableStream)
    })
  )

  it.effect("classify, detect, describe, translate and sum up", () =>
    Effect.gen(function* () {
      const run = (model: string, input: unknown) =>
        Effect.map(workersAi(model, input), (reply): Loose => resultOf(reply))
      const [best, other] = yield* run("@cf/huggingface/distilbert-sst-2-int8", { text: "Hi" })
      assert.deepStrictEqual([best.label, best.score + other.score], ["POSITIVE", 1])
      assert.isNumber((yield* run("@cf/microsoft/resnet-50", { image: [1] }))[0].score)
      assert.hasAllKeys((yield* run("@cf/facebook/detr-resnet-50", { image: [1] }))[0], ["label", "score", "box"])
      const llava = "@cf/llava-hf/llava-1.5-7b-hf"
      assert.deepStrictEqual(yield* run(llava, { image: [1], prompt: "What?" }), { description: say(llava, "What?") })
      const m2m = "@cf/meta/m2m100-1.2b"
      assert.deepStrictEqual(yield* run(m2m, { text: "Hi", target_lang: "fr" }), { translated_text: say(m2m, "Hi") })
      const bart = "@cf/facebook/bart-large-cnn"
      assert.deepStrictEqual(yield* run(bart, { input_text: "Hi" }), { summary: say(bart, "Hi") })
      const indic = "@cf/ai4bharat/indictrans2-en-indic-1B"
      assert.deepStrictEqual(yield* run(indic, { text: ["a"] }), { translations: [say(indic, "a")] })
      assert.strictEqual((yield* run("@cf/pipecat-ai/smart-turn-v2", { audio: [1] })).is_complete, true)
    })
  )

  it.effect("leave chat models alone, whatever their names", () =>
    Effect.gen(function* () {
      for (const model of ["@cf/meta/llama-3.2-11b-vision-instruct", "@cf/qwen/qwen2.5-coder-32b-instruct"]) {
        assert.strictEqual(resultOf(yield* workersAi(model, { prompt: "Hi" }))["response"], say(model, "Hi"))
      }
    })
  )
})

describe("newer chat models of Workers AI answer in OpenAI's shapes", () => {
  const messages = [{ role: "user", content: "Hi" }]
  const tools = [{ type: "function", function: { name: "look", parameters: { type: "object" } } }]

  it.effect.each([
    "@cf/openai/gpt-oss-120b",
    "@cf/zai-org/glm-4.7-flash",
    "@cf/moonshotai/kimi-k2.5",
    "@cf/nvidia/nemotron-3-120b-a12b",
    "@cf/google/gemma-4-26b-a4b-it",
    "@cf/deepseek-ai/deepseek-v4-flash-0731",
    "@cf/qwen/qwen3-30b-a3b-fp8",
    "@cf/aisingapore/gemma-sea-lion-v4-27b-it"
  ])("%s completes a chat", (model) =>
    Effect.gen(function* () {
      const answer: Loose = resultOf(yield* workersAi(model, { messages }))
      assert.strictEqual(answer.choices[0].message.content, say(model, "Hi"))
      assert.deepStrictEqual([answer.object, answer.model], ["chat.completion", model])
      const called: Loose = resultOf(yield* workersAi(model, { messages, tools, tool_choice: "required" }))
      assert.deepInclude(called.choices[0], { finish_reason: "tool_calls" })
      assert.strictEqual(called.choices[0].message.tool_calls[0].function.name, "look")
    })
  )

  it.effect("they stream chunks with the usage at the end, and faults count their deltas", () =>
    Effect.gen(function* () {
      const model = "@cf/moonshotai/kimi-k2.5"
      const gateway = yield* LocalGateway.make()
      const ask = () => call(gateway, "POST", `${api}/ai/run/${model}`, { messages, stream: true })
      const chunks = ({ text }: Reply): ReadonlyArray<Loose> =>
        text
          .split("\n")
          .filter((line) => line.startsWith("data: {"))
          .map((line) => JSON.parse(line.slice(6)))
      const texts = (all: ReadonlyArray<Loose>) => all.map(({ choices }) => choices?.[0]?.delta?.content ?? "").join("")
      const all = chunks(yield* ask())
      assert.strictEqual(texts(all), say(model, "Hi"))
      assert.strictEqual(all.at(-1).usage.prompt_tokens, 1)
      yield* gateway.script("workers-ai", [{ stream: { errorAfter: { deltas: 1 } } }])
      const failed = chunks(yield* ask())
      assert.strictEqual(texts(failed), `workers-ai/${model}:`)
      assert.strictEqual(failed.at(-1).errors[0].code, 3040)
    })
  )

  it.effect("gpt-oss answers `input` as OpenAI's Responses do", () =>
    Effect.gen(function* () {
      const model = "@cf/openai/gpt-oss-120b"
      const answer: Loose = resultOf(yield* workersAi(model, { input: "Hi", instructions: "Be brief" }))
      assert.deepStrictEqual([answer.object, answer.output[0].content[0].text], ["response", say(model, "Hi")])
    })
  )
})
