/**
 * OpenAI batch files: `{ "custom_id", "method", "url", "body" }` on each line.
 *
 * Without a route file a body goes to OpenAI as it is, to the model that it names. With one it is read as a chat request, and the route says
 * which models are asked; what a neutral request cannot say is refused with the field's name. Shapes:
 * https://platform.openai.com/docs/api-reference/batch.
 */
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Batch from "../../Batch.ts"
import type * as Chat from "../../Chat.ts"
import { defined } from "../../internal/data/defined.ts"
import { strayField } from "../../internal/data/json.ts"
import {
  attempt,
  type Fields,
  fields,
  isFields,
  list,
  refuse,
  text,
  toolArguments
} from "../../internal/dialect/codec.ts"
import { decodeUsage } from "../../internal/dialect/openai.ts"
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
  type Malformed,
  requestOf
} from "./entry.ts"

/** A request that is passed on as it is. */
export interface PassThrough {
  /** Path at OpenAI, without `/v1/`. */
  readonly endpoint: string
  readonly body: Fields
}

/** An answer that is handed out as it is. */
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
    const stray = strayField(rest, [])
    if (stray !== undefined) return malformed(`${stray}: expected one of custom_id, method, url, body`)
    if (method !== "POST") return malformed("method: expected POST")
    const endpoint = allowed.find((name) => url === `/v1/${name}`)
    if (endpoint === undefined) return malformed(`url: expected ${urls(allowed)}`)
    if (!isFields(body)) return malformed("body: expected an object")
    if (body.stream !== undefined && body.stream !== null && body.stream !== false) {
      return malformed("body.stream: expected false, or nothing")
    }
    const input = read({ endpoint, body })
    return Result.isSuccess(input) ? { _tag: "Item", ...name, line, input: input.success } : malformed(input.failure)
  })

const accepted = 'OpenAI batch lines: {"custom_id", "method": "POST", "url": "/v1/chat/completions", "body"}'

/** Whether the first line of an input is one of these. */
export const looksLike = (object: Record<string, unknown>): boolean => "custom_id" in object && "body" in object

/** Bodies as they are. */
export const passing: EntryReader<PassThrough> = {
  accepted,
  entries: lines(endpoints, (passed) =>
    modelOf(passed.body) === undefined
      ? Result.fail("body.model: expected the name of a model")
      : Result.succeed(passed)
  ),
  ids: idsIn("custom_id")
}

// Bodies as neutral requests. OpenAI takes `null` for no value.

const given = (value: unknown): unknown => (value === null ? undefined : value)

const only = (value: Fields, names: ReadonlyArray<string>, at: string): void => {
  const stray = Object.keys(value).find((name) => value[name] !== null && !names.includes(name))
  if (stray !== undefined) {
    refuse(`${at}${stray}`, "no such field with --route; without it the body goes to OpenAI as it is")
  }
}

const partOf = (value: unknown, at: string): unknown => {
  const part = fields(value, at)
  if (part.type === "text") {
    only(part, ["type", "text"], `${at}.`)
    return { type: "text", text: text(part.text, `${at}.text`) }
  }
  if (part.type !== "image_url") return refuse(`${at}.type`, "text or image_url")
  only(part, ["type", "image_url"], `${at}.`)
  const image = fields(part.image_url, `${at}.image_url`)
  only(image, image.detail === "auto" ? ["url", "detail"] : ["url"], `${at}.image_url.`)
  return { type: "image", url: text(image.url, `${at}.image_url.url`) }
}

const contentOf = (value: unknown, at: string): unknown =>
  typeof value === "string" ? value : list(value, at).map((part, i) => partOf(part, `${at}[${i}]`))

const callOf = (value: unknown, at: string): unknown => {
  const call = fields(value, at)
  const own = fields(call.function, `${at}.function`)
  return {
    id: text(call.id, `${at}.id`),
    name: text(own.name, `${at}.function.name`),
    arguments: toolArguments(own.arguments, `${at}.function.arguments`)
  }
}

const toolText = (value: unknown, at: string): string =>
  typeof value === "string"
    ? value
    : list(value, at)
        .map((part, i) => text(fields(part, `${at}[${i}]`).text, `${at}[${i}].text`))
        .join("")

const messageOf = (value: unknown, i: number): unknown => {
  const at = `messages[${i}]`
  const message = fields(value, at)
  const known = (...names: ReadonlyArray<string>) => only(message, ["role", "content", ...names], `${at}.`)
  switch (message.role) {
    case "system":
    case "developer":
      known()
      return { role: "system", content: contentOf(message.content, `${at}.content`) }
    case "user":
      known()
      return { role: "user", content: contentOf(message.content, `${at}.content`) }
    case "assistant": {
      known("tool_calls")
      const calls = given(message.tool_calls)
      return {
        role: "assistant",
        content: contentOf(given(message.content) ?? (calls === undefined ? undefined : []), `${at}.content`),
        ...(calls !== undefined && {
          toolCalls: list(calls, `${at}.tool_calls`).map((call, j) => callOf(call, `${at}.tool_calls[${j}]`))
        })
      }
    }
    case "tool":
      known("tool_call_id")
      return {
        role: "tool",
        toolCallId: text(message.tool_call_id, `${at}.tool_call_id`),
        content: toolText(message.content, `${at}.content`)
      }
    default:
      return refuse(`${at}.role`, "system, developer, user, assistant or tool")
  }
}

/** `strict` promises what not every target of a route can keep. */
const notStrict = (value: Fields, at: string): void => {
  if (value.strict === true) refuse(`${at}.strict`, "false with --route; without it the body goes to OpenAI as it is")
}

const toolOf = (value: unknown, i: number): unknown => {
  const at = `tools[${i}]`
  const tool = fields(value, at)
  if (tool.type !== "function") refuse(`${at}.type`, "function")
  const own = fields(tool.function, `${at}.function`)
  only(own, ["name", "description", "parameters", "strict"], `${at}.function.`)
  notStrict(own, `${at}.function`)
  const { description, name, parameters } = own
  return { name, parameters: parameters ?? { type: "object", properties: {} }, ...defined({ description }) }
}

const choiceOf = (value: unknown): unknown =>
  isFields(value)
    ? { name: text(fields(value.function, "tool_choice.function").name, "tool_choice.function.name") }
    : value

const outputOf = (value: unknown): unknown => {
  const format = fields(value, "response_format")
  if (format.type === "text") return undefined
  if (format.type === "json_object") return { type: "json" }
  if (format.type !== "json_schema") return refuse("response_format.type", "text, json_object or json_schema")
  const own = fields(format.json_schema, "response_format.json_schema")
  only(own, ["name", "schema", "strict"], "response_format.json_schema.")
  notStrict(own, "response_format.json_schema")
  return { type: "json", ...defined({ name: own.name, schema: own.schema }) }
}

const bodyFields = [
  "model",
  "messages",
  "max_tokens",
  "max_completion_tokens",
  "temperature",
  "top_p",
  "stop",
  "seed",
  "tools",
  "tool_choice",
  "response_format",
  "stream",
  "n"
]

const chatOf = ({ body }: PassThrough): Result.Result<Chat.Request, string> =>
  Result.match(
    attempt((): unknown => {
      only(body, bodyFields, "")
      const n = given(body.n)
      if (n !== undefined && n !== 1) refuse("n", "1")
      const [stop, tools, choice, format] = [body.stop, body.tools, body.tool_choice, body.response_format].map(given)
      return {
        messages: list(body.messages, "messages").map(messageOf),
        ...defined({
          maxTokens: given(body.max_completion_tokens) ?? given(body.max_tokens),
          temperature: given(body.temperature),
          topP: given(body.top_p),
          stop: typeof stop === "string" ? [stop] : stop,
          seed: given(body.seed),
          tools: tools === undefined ? undefined : list(tools, "tools").map(toolOf),
          toolChoice: choice === undefined ? undefined : choiceOf(choice),
          output: format === undefined ? undefined : outputOf(format)
        })
      }
    }),
    {
      onSuccess: requestOf,
      onFailure: ({ accepted, field }) => Result.fail(`body.${field}: expected ${accepted}`)
    }
  )

/** Bodies as chat requests, for a route. */
export const chats: EntryReader<Chat.Request> = {
  accepted,
  entries: lines([chatEndpoint], chatOf),
  ids: idsIn("custom_id")
}

const success = Schema.Struct({ body: Schema.Json })

/** How such answers are kept in a journal. */
export const answered: Schema.Codec<AnsweredLine> = success

/** The way to OpenAI for bodies as they are: three attempts, as there is no route that says how many. */
export const passOn = (apiKey: Redacted.Redacted<string> | undefined): Route.Route<PassThrough, AnsweredLine> => {
  const route: Route.Route<PassThrough, AnsweredLine> = Provider.request(Provider.openai, {
    endpoint: ({ endpoint }: PassThrough) => endpoint,
    query: ({ body }: PassThrough) => body,
    success: Schema.Json,
    apiKey
  }).pipe(Route.map((body) => ({ body })))
  const { node } = route
  if (node._tag !== "Leaf") return route
  // The model and the tokens of an answer are in its body, which a leaf for any request knows nothing of.
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

/** Tokens that a body will use, in and out; as `Batch` estimates those of chats. */
export const tokensOf = ({ body }: PassThrough): number => {
  const limit = body.max_completion_tokens ?? body.max_tokens ?? body.max_output_tokens
  return estimated(body, typeof limit === "number" ? limit : undefined)
}

// The lines that come out.

const finishReasons: Readonly<Record<Chat.FinishReason, string>> = {
  stop: "stop",
  length: "length",
  toolCalls: "tool_calls",
  contentFilter: "content_filter",
  other: "stop"
}

/** A reply of any provider as a chat completion. */
export const completion = (reply: Chat.Reply, created: number, model: string | undefined): unknown => {
  const { finishReason, id, text, toolCalls, usage } = reply
  return {
    id: id ?? "chatcmpl",
    object: "chat.completion",
    created,
    model: reply.model ?? model ?? "unknown",
    choices: [
      {
        index: 0,
        message: {
          role: "assistant",
          content: text === "" && toolCalls.length > 0 ? null : text,
          refusal: null,
          ...(toolCalls.length > 0 && {
            tool_calls: toolCalls.map((call) => ({
              id: call.id,
              type: "function",
              function: { name: call.name, arguments: JSON.stringify(call.arguments) }
            }))
          })
        },
        logprobs: null,
        finish_reason: finishReasons[finishReason]
      }
    ],
    usage: {
      prompt_tokens: usage.inputTokens ?? 0,
      completion_tokens: usage.outputTokens ?? 0,
      total_tokens: usage.totalTokens ?? (usage.inputTokens ?? 0) + (usage.outputTokens ?? 0)
    }
  }
}

const codeOf = (tag: string): string => tag.replace(/(?!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase()

/** A result as a line of OpenAI's output and error files. */
export const outputLine = <Out>(result: Batch.Result<Out>, bodyOf: (value: Out) => unknown): string => {
  const { attempts, id } = result
  if (result._tag === "DeadLetter") {
    const { error } = result
    const eventId = error.eventId ?? attempts.at(-1)?.eventId
    const code = codeOf(error.reason._tag)
    const status = error.reason.status
    // OpenAI says `error` where there was no answer, and gives the answer where there was one.
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
              body: { error: { message: error.message, type: code, param: null, code: error.reason.code ?? null } }
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
