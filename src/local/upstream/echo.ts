/**
 * The deterministic upstream: reads the prompt in the dialect of the endpoint and answers in the same dialect.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { isRecord } from "../../internal/data/json.ts"
import type { Issue } from "../../internal/dialect/codec.ts"
import { CurrentShare, type Share } from "../wire/collect.ts"
import * as Delay from "../wire/delay.ts"
import { badRequest, dataPlaneError, json, jsonHeaders } from "../wire/errors.ts"
import type { Answer, Handler, UpstreamRequest } from "../wire/protocol.ts"
import { maxText, type StreamShape, shape, streamHeader } from "../wire/streamShape.ts"
import { textStream } from "../wire/textStream.ts"
import { asksForEvents, dialectOf, wantsStream } from "./dialect.ts"
import * as EchoStream from "./echoStream.ts"
import * as Embeddings from "./embeddings.ts"
import { modelsAnswer } from "./modelList.ts"
import * as Prompts from "./prompts.ts"
import { providerError } from "./providerErrors.ts"
import { type EchoReply, jsonPieces } from "./reply.ts"
import * as Responses from "./responsesStream.ts"
import * as Wishes from "./wish.ts"
import { answersAsOpenAi, enveloped, taskAnswer } from "./workersAiTasks.ts"

export interface Options {
  readonly text: (request: { readonly provider: string; readonly model: string; readonly prompt: string }) => string
  readonly dimensions: number
  readonly stream: StreamShape
}

/** A reply and its size. */
interface Made {
  readonly reply: EchoReply
  readonly length: number
  readonly kept: number
}

/** A complete answer, or the events of a streamed one. */
type Written = Answer | Iterable<string>

/** The prompt of a request, and its wishes for the answer. */
type Asked = Result.Result<readonly [Prompts.Prompt, Wishes.Wish], Issue>

export const defaultText: Options["text"] = ({ provider, model, prompt }) => `${provider}/${model}: ${prompt}`

const hash = (text: string): string => (Hash.string(text) >>> 0).toString(16).padStart(8, "0")

// A request's own wishes override those of the upstream, field by field.
const shapeOf = ({ stream }: UpstreamRequest, options: Options): StreamShape => ({ ...options.stream, ...stream })

const textFor = (request: UpstreamRequest, options: Options, prompt: string): string =>
  options.text({ provider: request.provider, model: request.model ?? "unknown", prompt })

/** A call of a tool, or JSON of a schema: cut into pieces, but never repeated or truncated. */
const structured = (request: UpstreamRequest, prompt: Prompts.Prompt, wish: Wishes.Wish, now: number): Made => {
  const { call, choices, json: text = "" } = wish
  const model = request.model ?? "unknown"
  const said = call === undefined ? text : JSON.stringify(call)
  const reply: EchoReply = {
    id: hash(`${request.provider}/${model}/${said}`),
    model,
    text,
    pieces: jsonPieces(text),
    created: Math.floor(now / 1000),
    promptTokens: prompt.tokens,
    completionTokens: Prompts.words(said) * choices,
    includeUsage: prompt.includeUsage === true,
    choices,
    isJson: call === undefined,
    ...(call === undefined ? {} : { call })
  }
  return { reply, length: said.length, kept: said.length }
}

const replyOf = (
  request: UpstreamRequest,
  options: Options,
  prompt: Prompts.Prompt,
  wish: Wishes.Wish,
  now: number
): Made => {
  if (wish.call !== undefined || wish.json !== undefined) return structured(request, prompt, wish, now)
  const model = request.model ?? "unknown"
  const full = textFor(request, options, prompt.last)
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
    completionTokens: (events === undefined ? Prompts.words(full) : events * size) * wish.choices,
    includeUsage: prompt.includeUsage === true,
    isJson: false,
    choices: wish.choices
  }
  return { reply, length: length * wish.choices, kept }
}

/** The provider's answer to a request that it cannot read. */
const refusedBy =
  (request: UpstreamRequest) =>
  ({ accepted, field }: Issue): Answer =>
    json(400, providerError(request, 400, `${field}: expected ${accepted}`, field))

/** A 404 for endpoints that the echo does not know: SDKs would take any success for an empty answer. */
const unknownEndpoint = (request: UpstreamRequest): Answer => {
  const [path = ""] = request.endpoint.split("?", 1)
  const message = `The echo has no endpoint ${request.method} ${path} at ${request.provider}; give the provider an upstream that has`
  return json(404, providerError(request, 404, message))
}

/** Keeps the accessor of the text: a stream does not need the complete text. */
const withUsage = (reply: EchoReply): EchoReply => Object.create(reply, { includeUsage: { value: true } })

const asking = (prompt: Prompts.Prompt, wish: Result.Result<Wishes.Wish, Issue>): Asked =>
  Result.map(wish, (wanted) => [prompt, wanted] as const)

/**
 * A complete answer, or the events of a streamed one. The part of a stream that is kept until its end counts towards
 * the request.
 */
const answer = (request: UpstreamRequest, options: Options, now: number, share: Share): Written => {
  const body = isRecord(request.json) ? request.json : {}
  const refused = refusedBy(request)
  const { dimensions } = options
  const model = request.model ?? "unknown"
  const said = (made: Result.Result<unknown, Issue>): Answer =>
    Result.match(made, { onSuccess: (value) => json(200, value), onFailure: refused })
  const reply = (asked: Asked, write: (reply: EchoReply) => Written): Written => {
    if (Result.isFailure(asked)) return refused(asked.failure)
    const [prompt, wish] = asked.success
    const { kept, length, reply } = replyOf(request, options, prompt, wish, now)
    if (length > maxText && (shapeOf(request, options).events !== undefined || wish.choices > 1)) {
      const field = request.stream?.events === undefined ? "stream.events" : `${streamHeader} events`
      return dataPlaneError(
        badRequest(`${field}: expected at most ${maxText} characters of text in all events together`)
      )
    }
    const written = write(reply)
    const full = "status" in written ? undefined : share.take(kept)
    return full === undefined ? written : dataPlaneError(full)
  }
  /** One answer in two forms. */
  const either = (
    asked: Asked,
    events: (reply: EchoReply) => Iterable<string>,
    complete: (reply: EchoReply) => unknown
  ): Written => reply(asked, (made) => (wantsStream(body) ? events(made) : json(200, complete(made))))

  // GET requests read only lists.
  switch (request.method === "POST" ? dialectOf(request.provider, request.endpoint) : "other") {
    case "openai-chat": {
      const asked = Result.flatMap(Prompts.openAiPrompt(body), (prompt) => asking(prompt, Wishes.chatWish(body)))
      return either(asked, EchoStream.openAiChat, EchoStream.openAiCompletion)
    }
    case "openai-completions": {
      const asked = asking(Prompts.completionPrompt(body), Wishes.completionWish(body))
      return either(asked, EchoStream.openAiText, (made) => EchoStream.openAiTextCompletion(made, made.text))
    }
    case "openai-responses":
      return either(asking(Prompts.responsesPrompt(body), Wishes.responsesWish(body)), Responses.events, (made) =>
        Responses.response(made, "completed")
      )
    case "openai-embeddings":
      return said(Embeddings.openAiEmbeddings(body, model, dimensions))
    case "anthropic":
      return either(
        asking(Prompts.chatPrompt(body), Wishes.anthropicWish(body)),
        EchoStream.anthropic,
        EchoStream.anthropicComplete
      )
    case "anthropic-count":
      return json(200, { input_tokens: Prompts.chatPrompt(body).tokens })
    case "google":
      return reply(asking(Prompts.googlePrompt(body), Wishes.googleWish(body)), (made) =>
        json(200, EchoStream.googleResponse(made))
      )
    case "google-stream":
      return reply(asking(Prompts.googlePrompt(body), Wishes.googleWish(body)), (made) =>
        // Without `alt=sse` Google streams a JSON array.
        asksForEvents(request.endpoint)
          ? EchoStream.google(made)
          : { status: 200, headers: jsonHeaders, body: textStream(EchoStream.googleArray(made)) }
      )
    case "google-count":
      return json(200, { totalTokens: Prompts.googleCountPrompt(body).tokens })
    case "google-embedding":
      return said(Embeddings.googleEmbedding(body, dimensions))
    case "google-embeddings":
      return said(Embeddings.googleEmbeddings(body, dimensions))
    case "workers-ai": {
      const say = (prompt: string): string => textFor(request, options, prompt)
      const task = taskAnswer(request, { dimensions, say }, refused)
      if (task !== undefined) return task
      if (answersAsOpenAi(model)) {
        const asksResponses = body["messages"] === undefined && body["prompt"] === undefined
        return asksResponses
          ? either(asking(Prompts.responsesPrompt(body), Wishes.responsesWish(body)), Responses.events, (made) =>
              enveloped(Responses.response(made, "completed"))
            )
          : either(
              asking(Prompts.chatPrompt(body), Wishes.chatWish(body)),
              (made) => EchoStream.openAiChat(withUsage(made)),
              (made) => enveloped(EchoStream.openAiCompletion(made))
            )
      }
      return either(
        asking(Prompts.workersAiPrompt(body), Wishes.chatWish(body)),
        EchoStream.workersAi,
        EchoStream.workersAiComplete
      )
    }
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

/** Sends one event at a time, on demand. */
const streamed = (events: Iterable<string>, shape: StreamShape): Effect.Effect<Answer> =>
  Effect.map(bodyOf(events, shape), (body) => ({
    status: 200,
    headers: { "content-type": "text/event-stream", "cache-control": "no-cache" },
    body
  }))

/** Header in which a provider identifies the request for its support. */
const requestIdHeader = (provider: string): string | undefined => {
  if (provider === "anthropic") return "request-id"
  return provider === "workers-ai" || provider.startsWith("google-") ? undefined : "x-request-id"
}

/** A handler that counts its requests from 1. */
export const handler = (options: Options): Handler => {
  let count = 0
  return (request) =>
    Effect.flatMap(Effect.all([Clock.currentTimeMillis, CurrentShare]), ([now, share]) => {
      const made = answer(request, options, now, share)
      const whole = "status" in made ? Effect.succeed(made) : streamed(made, shapeOf(request, options))
      const name = requestIdHeader(request.provider)
      const id = `req_${String(++count).padStart(24, "0")}`
      return name === undefined
        ? whole
        : Effect.map(whole, (answer) => ({ ...answer, headers: { ...answer.headers, [name]: id } }))
    })
}
