/**
 * The prompt of a request, read in its dialect.
 */
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import type { Issue } from "../../internal/dialect/codec.ts"
import { readChat } from "../../internal/dialect/server/openaiRequestReader.ts"

/** Tokens are words here: easy to predict in a test. */
export const words = (text: string): number => {
  const pattern = /\S+/g
  let count = 0
  while (pattern.test(text)) count++
  return count
}

export const items = (u: unknown): ReadonlyArray<unknown> => (Array.isArray(u) ? u : [])

// A message's content: plain text, or parts of which only those with text count.
export const contentText = (content: unknown): string => {
  if (typeof content === "string") return content
  return items(content)
    .flatMap((part) => (isRecord(part) && typeof part["text"] === "string" ? [part["text"]] : []))
    .join("\n")
}

export interface Prompt {
  /** Text of the last message of the user. */
  readonly last: string
  /** Words of the complete request. */
  readonly tokens: number
  /** Whether a stream ends with its usage, where the client can choose. */
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

export const chatPrompt = (body: Readonly<Record<string, unknown>>): Prompt => {
  if (Array.isArray(body["messages"])) return promptOf(body["messages"], "content", [body["system"]])
  return plain(contentText(body["prompt"]))
}

/** Translates Mistral's word for a required call. */
const asOpenAi = (body: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
  body["tool_choice"] === "any" ? { ...body, tool_choice: "required" } : body

/** Reads OpenAI's requests with the library's own reader; fields that only a model would act on are skipped. */
export const openAiPrompt = (body: Readonly<Record<string, unknown>>): Result.Result<Prompt, Issue> =>
  Array.isArray(body["messages"])
    ? Result.map(readChat(asOpenAi(body), "skip"), ({ includeUsage, request }) => ({
        ...promptIn(request.messages.map(({ content, role }) => ({ role, text: contentText(content) }))),
        includeUsage
      }))
    : Result.succeed(chatPrompt(body))

export const responsesPrompt = (body: Readonly<Record<string, unknown>>): Prompt =>
  typeof body["input"] === "string"
    ? plain(body["input"], [body["instructions"]])
    : promptOf(items(body["input"]), "content", [body["instructions"]])

export const googlePrompt = (body: Readonly<Record<string, unknown>>): Prompt => {
  const system = isRecord(body["systemInstruction"]) ? body["systemInstruction"]["parts"] : undefined
  return promptOf(items(body["contents"]), "parts", [system])
}

/** Reads the old completions: one text, or the last of several; OpenAI's tokens are texts too. */
export const completionPrompt = (body: Readonly<Record<string, unknown>>): Prompt => {
  const { prompt, stream_options: options } = body
  const texts = Array.isArray(prompt)
    ? prompt.map((one) => (Array.isArray(one) ? one.join(" ") : String(one)))
    : [contentText(prompt)]
  return {
    last: texts.at(-1) ?? "",
    tokens: texts.reduce((sum, text) => sum + words(text), 0),
    includeUsage: isRecord(options) && options["include_usage"] === true
  }
}

/** Reads Workers AI's messages, a prompt, or an input of OpenAI's Responses. */
export const workersAiPrompt = (body: Readonly<Record<string, unknown>>): Prompt =>
  body["messages"] === undefined && body["prompt"] === undefined ? responsesPrompt(body) : chatPrompt(body)

/** Input of `countTokens`: contents, or a request that contains them. */
export const googleCountPrompt = (body: Readonly<Record<string, unknown>>): Prompt => {
  const inner = body["generateContentRequest"]
  return googlePrompt(isRecord(inner) ? inner : body)
}
