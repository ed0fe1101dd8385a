/**
 * OpenAI batch files: `{ "custom_id", "method", "url", "body" }` on each line.
 *
 * Without a route file, a body goes to OpenAI unchanged, to the model that it names. With one it is read as a chat
 * request, and the route determines the models; a body that a neutral request cannot express is rejected with the
 * field's name. Shapes: https://platform.openai.com/docs/api-reference/batch.
 */
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Batch from "../../Batch.ts"
import type * as Chat from "../../Chat.ts"
import type { GatewayError } from "../../GatewayError.ts"
import { strayField } from "../../internal/data/json.ts"
import { type Fields, isFields } from "../../internal/dialect/codec.ts"
import { decodeUsage } from "../../internal/dialect/openai.ts"
import { errorOf } from "../../internal/dialect/server/openaiErrorWriter.ts"
import { noSuchField, readChat } from "../../internal/dialect/server/openaiRequestReader.ts"
import * as Provider from "../../Provider.ts"
import * as Route from "../../Route.ts"
import {
  type EntryReader,
  estimated,
  type InputEntry,
  idOf,
  idsIn,
  jsonLines,
  type MakeParser,
  type Malformed
} from "./entry.ts"

/** A request that is forwarded unchanged. */
export interface PassThrough {
  /** Path at OpenAI, without `/v1/`. */
  readonly endpoint: string
  readonly body: Fields
}

/** An answer that is written unchanged. */
export interface AnsweredLine {
  readonly body: Schema.Json
}

const endpoints = ["chat/completions", "responses", "embeddings", "completions", "moderations"]
const chatEndpoint = "chat/completions"
const urls = (names: ReadonlyArray<string>): string => names.map((name) => `/v1/${name}`).join(", ")

/** The model in a body, which every request of a file has. */
const modelOf = (body: Fields): string | undefined =>
  typeof body.model === "string" && body.model !== "" ? body.model : undefined

const lines = <A>(
  allowed: ReadonlyArray<string>,
  read: (passed: PassThrough) => Result.Result<A, string>
): MakeParser<A> =>
  jsonLines((object, line): InputEntry<A> => {
    const { body, custom_id, method, url, ...rest } = object
    const { name, problem } = idOf(custom_id, "custom_id", line)
    const malformed = (problem: string): Malformed => ({ _tag: "Malformed", ...name, line, problem })
    if (problem !== undefined) return malformed(problem)
    if (custom_id === undefined) return malformed("custom_id: expected a text")
    if ("params" in rest && body === undefined) {
      return malformed(
        "params: expected method, url and body, as in OpenAI's batch files: this is a line of Anthropic's"
      )
    }
    const stray = strayField(rest, [])
    if (stray !== undefined) return malformed(`${stray}: expected one of custom_id, method, url, body`)
    if (method !== "POST") {
      const isMistral = method === undefined && url === undefined
      return malformed(`method: expected POST${isMistral ? ", and a url: Mistral's lines have neither" : ""}`)
    }
    // Azure writes its paths without a version.
    const endpoint = allowed.find((name) => url === `/v1/${name}` || url === `/${name}`)
    if (endpoint === undefined) return malformed(`url: expected ${urls(allowed)}`)
    if (!isFields(body)) return malformed("body: expected an object")
    if (body.stream !== undefined && body.stream !== null && body.stream !== false) {
      return malformed("body.stream: expected false, or nothing")
    }
    const input = read({ endpoint, body })
    return Result.isSuccess(input) ? { _tag: "Item", ...name, line, input: input.success } : malformed(input.failure)
  })

const accepted = 'OpenAI batch lines: {"custom_id", "method": "POST", "url": "/v1/chat/completions", "body"}'

/**
 * Whether the first line of an input is one of these, or one of another vendor's batches, for which the reader has its
 * own message.
 */
export const looksLike = (object: Record<string, unknown>): boolean =>
  "custom_id" in object && ("body" in object || "params" in object || "url" in object)

/** Reads bodies unchanged. */
export const passing: EntryReader<PassThrough> = {
  accepted,
  entries: lines(endpoints, (passed) =>
    modelOf(passed.body) === undefined
      ? Result.fail("body.model: expected the name of a model")
      : Result.succeed(passed)
  ),
  ids: idsIn("custom_id")
}

const chatOf = ({ body }: PassThrough): Result.Result<Chat.Request, string> =>
  Result.mapBoth(readChat(body, "refuse"), {
    onSuccess: ({ request }) => request,
    onFailure: ({ accepted, field }) =>
      `body.${field}: expected ${accepted === noSuchField ? `${accepted} with --route; without it the body goes to OpenAI as it is` : accepted}`
  })

/** Reads bodies as chat requests, for a route. */
export const chats: EntryReader<Chat.Request> = {
  accepted,
  entries: lines([chatEndpoint], chatOf),
  ids: idsIn("custom_id")
}

const success = Schema.Struct({ body: Schema.Json })

/** Codec of such answers in a journal. */
export const answered: Schema.Codec<AnsweredLine> = success

/** Route to OpenAI for unchanged bodies. It makes three attempts, as no route file states a number. */
export const passOn = (apiKey: Redacted.Redacted<string> | undefined): Route.Route<PassThrough, AnsweredLine> => {
  const route: Route.Route<PassThrough, AnsweredLine> = Provider.request(Provider.openai, {
    endpoint: ({ endpoint }: PassThrough) => endpoint,
    query: ({ body }: PassThrough) => body,
    success: Schema.Json,
    apiKey
  }).pipe(Route.map((body) => ({ body })))
  const { node } = route
  if (node._tag !== "Leaf") return route
  // The model and the tokens of an answer are in its body, which a generic leaf does not read.
  return Route.fromNode({
    ...node,
    decode: (body) =>
      Result.map(node.decode(body), (decoded) => ({
        ...decoded,
        ...(isFields(body) && { usage: usageOf(body.usage), model: modelOf(body) })
      }))
  }).pipe(Route.retry({ attempts: 3 }))
}

/** Chats count `prompt_tokens`, responses `input_tokens`. */
const usageOf = (usage: unknown): Chat.Usage =>
  decodeUsage(
    isFields(usage) && usage.prompt_tokens === undefined
      ? { ...usage, prompt_tokens: usage.input_tokens, completion_tokens: usage.output_tokens }
      : usage
  )

/** Estimates a body's tokens, in and out, as `Batch` does for chats. */
export const tokensOf = ({ body }: PassThrough): number => {
  const limit = body.max_completion_tokens ?? body.max_tokens ?? body.max_output_tokens
  return estimated(body, typeof limit === "number" ? limit : undefined)
}

// Lines of the output.

const codeOf = (tag: string): string => tag.replace(/(?!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase()

/** The provider's own code, where present, is more specific than ours. */
const errorBody = ({ message, reason }: GatewayError): unknown => {
  const written = errorOf(reason._tag, message, reason._tag === "InvalidRequest" ? reason.field : undefined)
  return { ...written, code: reason.code ?? written.code }
}

/** Formats a result as a line of OpenAI's output and error files. */
export const outputLine = <Out>(result: Batch.Result<Out>, bodyOf: (value: Out) => unknown): string => {
  const { attempts, id } = result
  if (result._tag === "DeadLetter") {
    const { error } = result
    const eventId = error.eventId ?? attempts.at(-1)?.eventId
    const code = codeOf(error.reason._tag)
    const status = error.reason.status
    // OpenAI writes `error` where there was no answer, and the answer where there was one.
    const answer = status !== undefined && status >= 400 ? status : undefined
    return JSON.stringify({
      id: `batch_req_${eventId ?? id}`,
      custom_id: id,
      response:
        answer === undefined
          ? null
          : {
              status_code: answer,
              request_id: error.logId ?? eventId ?? null,
              body: { error: errorBody(error) }
            },
      error: answer === undefined ? { code, message: error.message } : null
    })
  }
  return JSON.stringify({
    id: `batch_req_${result.eventId}`,
    custom_id: id,
    response: {
      status_code: attempts.at(-1)?.status ?? 200,
      request_id: result.logId ?? result.eventId,
      body: result._tag === "Success" ? bodyOf(result.value) : null
    },
    error: null
  })
}
