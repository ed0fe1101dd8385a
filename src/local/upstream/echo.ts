/**
 * The deterministic upstream: reads the prompt in the dialect of the endpoint and answers in the same dialect.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Hash from "effect/Hash"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { isRecord } from "../../internal/data/json.ts"
import type { Issue } from "../../internal/dialect/codec.ts"
import { errorOfStatus } from "../../internal/dialect/server/openaiErrorWriter.ts"
import { completionOf } from "../../internal/dialect/server/openaiReplyWriter.ts"
import { readChat } from "../../internal/dialect/server/openaiRequestReader.ts"
import { CurrentShare, type Share } from "../wire/collect.ts"
import * as Delay from "../wire/delay.ts"
import { badRequest, dataPlaneError, json, jsonHeaders } from "../wire/errors.ts"
import type { Answer, Handler, UpstreamRequest } from "../wire/protocol.ts"
import { maxText, type StreamShape, shape, streamHeader } from "../wire/streamShape.ts"
import { textStream } from "../wire/textStream.ts"
import { asksForEvents, dialectOf, isEmbeddingModel, wantsStream } from "./dialect.ts"
import * as EchoStream from "./echoStream.ts"
import { modelsAnswer } from "./modelList.ts"
import { providerError } from "./providerErrors.ts"
import { chatFacts, chatUsage, type EchoReply } from "./reply.ts"

export interface Options {
  readonly text: (request: { readonly provider: string; readonly model: string; readonly prompt: string }) => string
  readonly dimensions: number
  readonly stream: StreamShape
}

/** A reply, and how much it is. */
interface Made {
  readonly reply: EchoReply
  readonly length: number
  readonly kept: number
}

export const defaultText: Options["text"] = ({ provider, model, prompt }) => `${provider}/${model}: ${prompt}`

/** Tokens are words here: easy to predict in a test. */
export const words = (text: string): number => {
  const pattern = /\S+/g
  let count = 0
  while (pattern.test(text)) count++
  return count
}

const items = (u: unknown): ReadonlyArray<unknown> => (Array.isArray(u) ? u : [])

// A message's content: plain text, or parts of which only those with text count.
const contentText = (content: unknown): string => {
  if (typeof content === "string") return content
  return items(content)
    .flatMap((part) => (isRecord(part) && typeof part["text"] === "string" ? [part["text"]] : []))
    .join("\n")
}

interface Prompt {
  /** Text of the last message of the user. */
  readonly last: string
  /** Words of everything that was sent. */
  readonly tokens: number
  /** Whether a stream is to end with its usage, where the client has a say in it. */
  readonly includeUsage?: boolean
}

const promptOf = (messages: ReadonlyArray<unknown>, content: string, others: ReadonlyArray<unknown>): Prompt =>
  promptIn(
    messages.flatMap((message) =>
      isRecord(message) ? [{ role: message["role"], text: contentText(message[content]) }] : []
    ),
    others
  )

const promptIn = (
  texts: ReadonlyArray<{ readonly role: unknown; readonly text: string }>,
  others: ReadonlyArray<unknown> = []
): Prompt => {
  const user = texts.filter(({ role }) => role === "user" || role === undefined)
  return {
    last: (user[user.length - 1] ?? texts[texts.length - 1])?.text ?? "",
    tokens: [...others.map(contentText), ...texts.map(({ text }) => text)].reduce((sum, text) => sum + words(text), 0)
  }
}

const plain = (text: string, others: ReadonlyArray<unknown> = []): Prompt =>
  promptOf([{ role: "user", content: text }], "content", others)

const chatPrompt = (body: Readonly<Record<string, unknown>>): Prompt => {
  if (Array.isArray(body["messages"])) return promptOf(body["messages"], "content", [body["system"]])
  return plain(contentText(body["prompt"]))
}

/** OpenAI's own requests are read as they are read everywhere; fields that only a model would act on are passed over. */
const openAiPrompt = (body: Readonly<Record<string, unknown>>): Result.Result<Prompt, Issue> =>
  Array.isArray(body["messages"])
    ? Result.map(readChat(body, "skip"), ({ includeUsage, request }) => ({
        ...promptIn(request.messages.map(({ content, role }) => ({ role, text: contentText(content) }))),
        includeUsage
      }))
    : Result.succeed(chatPrompt(body))

const responsesPrompt = (body: Readonly<Record<string, unknown>>): Prompt =>
  typeof body["input"] === "string"
    ? plain(body["input"], [body["instructions"]])
    : promptOf(items(body["input"]), "content", [body["instructions"]])

const googlePrompt = (body: Readonly<Record<string, unknown>>): Prompt => {
  const system = isRecord(body["systemInstruction"]) ? body["systemInstruction"]["parts"] : undefined
  return promptOf(items(body["contents"]), "parts", [system])
}

const hash = (text: string): string => (Hash.string(text) >>> 0).toString(16).padStart(8, "0")

// A request's own wishes come before those of the upstream, field by field.
const shapeOf = ({ stream }: UpstreamRequest, options: Options): StreamShape => ({ ...options.stream, ...stream })

const replyOf = (request: UpstreamRequest, options: Options, prompt: Prompt, now: number): Made => {
  const model = request.model ?? "unknown"
  const full = options.text({ provider: request.provider, model, prompt: prompt.last })
  const wanted = shapeOf(request, options)
  const { events, words: size = 1 } = wanted
  const { kept, length, pieces, text } = shape(full, wanted)
  const reply: EchoReply = {
    id: hash(`${request.provider}/${model}/${events === undefined ? "" : `${events}*${size} `}${full}`),
    model,
    get text() {
      return text()
    },
    pieces,
    created: Math.floor(now / 1000),
    promptTokens: prompt.tokens,
    completionTokens: events === undefined ? words(full) : events * size,
    includeUsage: prompt.includeUsage === true
  }
  return { reply, length, kept }
}

const openAiChat = (reply: EchoReply): unknown =>
  completionOf(
    { text: reply.text, toolCalls: [], finishReason: "stop", usage: chatUsage(reply), raw: null },
    chatFacts(reply)
  )

const anthropic = (reply: EchoReply): unknown => ({
  ...EchoStream.anthropicMessage(reply),
  content: [{ type: "text", text: reply.text }],
  stop_reason: "end_turn",
  usage: EchoStream.anthropicUsage(reply, reply.completionTokens)
})

const workersAi = (result: unknown): unknown => ({ result, success: true, errors: [], messages: [] })

// Unit-length numbers from the text alone; near-equal texts do not get near-equal vectors. The text is hashed once.
const vector = (text: string, dimensions: number): ReadonlyArray<number> => {
  const seed = Hash.string(text)
  const raw = Array.from({ length: dimensions }, (_, i) => ((Hash.string(`${i}:${seed}`) >>> 0) % 2001) / 1000 - 1)
  const length = Math.hypot(...raw) || 1
  return raw.map((x) => x / length)
}

const texts = (u: unknown): ReadonlyArray<string> =>
  typeof u === "string" ? [u] : items(u).filter((text): text is string => typeof text === "string")

// The official SDK asks for base64 (little-endian 32-bit floats) unless told otherwise.
const encodeVector = (values: ReadonlyArray<number>, format: unknown): unknown => {
  if (format !== "base64") return values
  const view = new DataView(new ArrayBuffer(values.length * 4))
  for (const [i, value] of values.entries()) view.setFloat32(i * 4, value, true)
  return Base64.encode(new Uint8Array(view.buffer))
}

/** Limits of what an embeddings request makes the echo compute. */
const maxDimensions = 4096
const maxInputs = 2048
const maxNumbers = 4_194_304

/** The field of an embeddings request that exceeds a limit, and what it accepts. */
const tooMuch = (inputs: number, dimensions: number): readonly [field: string, accepted: string] | undefined => {
  if (!(Number.isInteger(dimensions) && dimensions >= 1 && dimensions <= maxDimensions)) {
    return ["dimensions", `a whole number from 1 to ${maxDimensions}`]
  }
  return inputs > maxInputs || inputs * dimensions > maxNumbers
    ? ["input", `at most ${maxInputs} texts, and ${maxNumbers} numbers in all vectors`]
    : undefined
}

/** OpenAI's answer to a request that it cannot read. */
const refused = ({ accepted, field }: Issue): Answer =>
  json(400, { error: errorOfStatus(400, `${field}: expected ${accepted}`, field) })

const openAiEmbeddings = (body: Readonly<Record<string, unknown>>, model: string, options: Options): Answer => {
  const input = texts(body["input"])
  const size = typeof body["dimensions"] === "number" ? body["dimensions"] : options.dimensions
  const problem = tooMuch(input.length, size)
  if (problem !== undefined) {
    const [field, accepted] = problem
    return refused({ field, accepted })
  }
  const tokens = input.reduce((sum, text) => sum + words(text), 0)
  return json(200, {
    object: "list",
    data: input.map((text, index) => ({
      object: "embedding",
      index,
      embedding: encodeVector(vector(text, size), body["encoding_format"])
    })),
    model,
    usage: { prompt_tokens: tokens, total_tokens: tokens }
  })
}

/** SDKs would take any success for an empty answer. */
const unknownEndpoint = (request: UpstreamRequest): Answer => {
  const [path = ""] = request.endpoint.split("?", 1)
  const message = `The echo has no endpoint ${request.method} ${path} at ${request.provider}; give the provider an upstream that has`
  return json(404, providerError(request, 404, message))
}

const isEmbedding = ({ model }: UpstreamRequest): boolean => model !== undefined && isEmbeddingModel(model)

const workersAiEmbeddings = (body: Readonly<Record<string, unknown>>, options: Options): Answer => {
  const input = texts(body["text"])
  const problem = tooMuch(input.length, options.dimensions)
  if (problem !== undefined) {
    const errors = [{ code: 5006, message: `text: expected ${problem[1]}` }]
    return json(400, { result: null, success: false, errors, messages: [] })
  }
  const data = input.map((text) => vector(text, options.dimensions))
  return json(200, workersAi({ shape: [data.length, options.dimensions], data, pooling: "mean" }))
}

const workersAiText = (reply: EchoReply): Answer =>
  json(200, workersAi({ response: reply.text, usage: EchoStream.workersAiUsage(reply) }))

/** A whole answer, or the events of a streamed one. What a stream keeps until its end counts to the request. */
const answer = (request: UpstreamRequest, options: Options, now: number, share: Share): Answer | Iterable<string> => {
  const body = isRecord(request.json) ? request.json : {}
  const stream = wantsStream(body)
  const reply = (prompt: Prompt, write: (reply: EchoReply) => Answer | Iterable<string>): Answer | Iterable<string> => {
    const { kept, length, reply } = replyOf(request, options, prompt, now)
    if (length > maxText && shapeOf(request, options).events !== undefined) {
      const field = request.stream?.events === undefined ? "stream.events" : `${streamHeader} events`
      return dataPlaneError(
        badRequest(`${field}: expected at most ${maxText} characters of text in all events together`)
      )
    }
    const written = write(reply)
    const full = "status" in written ? undefined : share.take(kept)
    return full === undefined ? written : dataPlaneError(full)
  }
  // Nothing but lists is read with GET.
  switch (request.method === "POST" ? dialectOf(request.provider, request.endpoint) : "other") {
    case "openai-chat": {
      const prompt = openAiPrompt(body)
      if (Result.isFailure(prompt)) return refused(prompt.failure)
      return reply(prompt.success, (chat) => (stream ? EchoStream.openAiChat(chat) : json(200, openAiChat(chat))))
    }
    case "openai-responses":
      return reply(responsesPrompt(body), (response) =>
        stream ? EchoStream.openAiResponses(response) : json(200, EchoStream.openAiResponse(response, "completed"))
      )
    case "openai-embeddings":
      return openAiEmbeddings(body, request.model ?? "unknown", options)
    case "anthropic":
      return reply(chatPrompt(body), (message) =>
        stream ? EchoStream.anthropic(message) : json(200, anthropic(message))
      )
    case "google":
      return reply(googlePrompt(body), (response) => json(200, EchoStream.googleResponse(response)))
    case "google-stream":
      return reply(googlePrompt(body), (response) =>
        // Without `alt=sse` Google streams a JSON array.
        asksForEvents(request.endpoint)
          ? EchoStream.google(response)
          : { status: 200, headers: jsonHeaders, body: textStream(EchoStream.googleArray(response)) }
      )
    case "workers-ai":
      if (isEmbedding(request)) return workersAiEmbeddings(body, options)
      return reply(chatPrompt(body), (text) => (stream ? EchoStream.workersAi(text) : workersAiText(text)))
    case "other":
      return modelsAnswer(request) ?? unknownEndpoint(request)
  }
}

const encoder = new TextEncoder()

const ended = (event: string): string => `${event}\n\n`

function* mapped(texts: Iterable<string>, change: (text: string) => string): Generator<string> {
  for (const text of texts) yield change(text)
}

const bodyOf = (
  events: Iterable<string>,
  { delay, delayFirst }: StreamShape
): Effect.Effect<ReadableStream<Uint8Array>> => {
  if (delay === undefined && delayFirst === undefined) return Effect.sync(() => textStream(mapped(events, ended)))
  const pause = Delay.pauses(delayFirst, delay)
  const bytes = Stream.mapEffect(Stream.fromIterable(events, { chunkSize: 1 }), (event, index) => {
    const duration = pause(index)
    const chunk = Effect.sync(() => encoder.encode(ended(event)))
    return duration === undefined ? chunk : Effect.delay(chunk, duration)
  })
  return Stream.toReadableStreamEffect(bytes, { strategy: { highWaterMark: 0 } })
}

/** One event at a time, when it is asked for. */
const streamed = (events: Iterable<string>, shape: StreamShape): Effect.Effect<Answer> =>
  Effect.map(bodyOf(events, shape), (body) => ({
    status: 200,
    headers: { "content-type": "text/event-stream", "cache-control": "no-cache" },
    body
  }))

export const handler =
  (options: Options): Handler =>
  (request) =>
    Effect.flatMap(Effect.all([Clock.currentTimeMillis, CurrentShare]), ([now, share]) => {
      const made = answer(request, options, now, share)
      return "status" in made ? Effect.succeed(made) : streamed(made, shapeOf(request, options))
    })
