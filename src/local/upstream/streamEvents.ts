/**
 * Meaning of single stream events in their dialect: whether they carry a delta, how they finish the answer, and how an
 * error looks.
 */

import { isRecord } from "../../internal/data/json.ts"
import { errorOfStatus } from "../../internal/dialect/server/openaiErrorWriter.ts"
import { parseBoundedJson } from "../wire/message.ts"
import type { WireDialect } from "./dialect.ts"

/** One event, as faults need it. */
export interface Parsed {
  /** The name of the event, if it has one. */
  readonly event: string | undefined
  /** `undefined` for a comment, or a lone `retry` field. */
  readonly data: string | undefined
}

/** Reads the lines of one event. */
export const parse = (text: string): Parsed => {
  let event: string | undefined
  const data: Array<string> = []
  for (const line of text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/)) {
    const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (name === "event") event = value
    if (name === "data") data.push(value)
  }
  return { event, data: data.length === 0 ? undefined : data.join("\n") }
}

/** Writes an event; data may have several lines. */
export const write = ({ data = "", event }: Parsed): string =>
  [
    ...(event === undefined ? [] : [`event: ${event}`]),
    ...data.split("\n").map((line) => `data: ${line}`),
    "",
    ""
  ].join("\n")

const first = (u: unknown): unknown => (Array.isArray(u) ? u[0] : undefined)

const isFilled = (u: unknown): boolean =>
  typeof u === "string" ? u !== "" : Array.isArray(u) ? u.length > 0 : isRecord(u)

const chatDelta = (json: Readonly<Record<string, unknown>>): boolean => {
  const choice = first(json["choices"])
  const delta = isRecord(choice) ? choice["delta"] : undefined
  if (!isRecord(delta)) return false
  return ["content", "reasoning", "reasoning_content", "refusal", "tool_calls", "function_call"].some((field) =>
    isFilled(delta[field])
  )
}

/** Newer models of Workers AI write OpenAI's events. */
const spoken = (dialect: WireDialect, json: Readonly<Record<string, unknown>>): WireDialect => {
  if (dialect !== "workers-ai") return dialect
  if (Array.isArray(json["choices"])) return "openai-chat"
  return String(json["type"]).startsWith("response.") ? "openai-responses" : dialect
}

/** Whether an event carries something that a consumer could act on: text, reasoning, a tool call. */
export const isDelta = (dialect: WireDialect, { data }: Parsed): boolean => {
  if (data === undefined || data === "[DONE]") return false
  const json = parseBoundedJson(data)
  if (!isRecord(json)) return dialect === "other"
  switch (spoken(dialect, json)) {
    case "openai-chat":
      return chatDelta(json)
    case "openai-responses":
      return typeof json["type"] === "string" && json["type"].endsWith(".delta") && isFilled(json["delta"])
    case "anthropic":
      return json["type"] === "content_block_delta"
    case "google":
    case "google-stream": {
      const candidate = first(json["candidates"])
      const content = isRecord(candidate) ? candidate["content"] : undefined
      const parts = isRecord(content) ? content["parts"] : undefined
      return Array.isArray(parts) && parts.some((part) => isRecord(part) && Object.values(part).some(isFilled))
    }
    case "workers-ai":
      return isFilled(json["response"]) || isFilled(json["tool_calls"])
    default:
      return true
  }
}

// Choices or candidates, with one field of each replaced.
const mapFirst = (u: unknown, change: (record: Readonly<Record<string, unknown>>) => object): unknown =>
  Array.isArray(u) ? u.map((item) => (isRecord(item) ? change(item) : item)) : u

/** The event without its finish; `undefined` when nothing else is in it. */
export const unfinished = (dialect: WireDialect, parsed: Parsed): Parsed | undefined => {
  const { data, event } = parsed
  if (data === undefined) return parsed
  if (data === "[DONE]") return undefined
  const json = parseBoundedJson(data)
  if (!isRecord(json)) return parsed
  switch (spoken(dialect, json)) {
    case "openai-responses":
      return /^response\.(completed|incomplete|failed)$/.test(String(json["type"])) ? undefined : parsed
    case "anthropic":
      return json["type"] === "message_delta" || json["type"] === "message_stop" ? undefined : parsed
    case "google":
    case "google-stream": {
      const candidates = mapFirst(json["candidates"], ({ finishReason: _, ...rest }) => rest)
      return { event, data: JSON.stringify({ ...json, candidates }) }
    }
    default: {
      const choice = first(json["choices"])
      if (!isRecord(choice) || typeof choice["finish_reason"] !== "string") return parsed
      if (!chatDelta(json)) return undefined
      const choices = mapFirst(json["choices"], (item) => ({ ...item, finish_reason: null }))
      return { event, data: JSON.stringify({ ...json, choices }) }
    }
  }
}

/** An event like the given one, with another text. */
export const withText = (dialect: WireDialect, { data = "", event }: Parsed, text: string): Parsed => {
  const json = parseBoundedJson(data)
  const base = isRecord(json) ? json : {}
  const made = (): unknown => {
    switch (spoken(dialect, base)) {
      case "openai-chat": {
        const choices = mapFirst(base["choices"], (item) => ({
          ...item,
          delta: { content: text },
          finish_reason: null
        }))
        return { ...base, choices }
      }
      case "openai-responses":
        return { ...base, type: "response.output_text.delta", delta: text }
      case "anthropic":
        return { ...base, delta: { type: "text_delta", text } }
      case "google":
      case "google-stream":
        return { ...base, candidates: [{ content: { role: "model", parts: [{ text }] }, index: 0 }] }
      case "workers-ai":
        return { response: text }
      default:
        return text
    }
  }
  return { event, data: JSON.stringify(made()) }
}

const message = "scripted error inside the stream"

const errorBody = (dialect: WireDialect, sequence: number): unknown => {
  switch (dialect) {
    case "openai-responses":
      return { type: "error", code: "server_error", message, param: null, sequence_number: sequence }
    case "anthropic":
      return { type: "error", error: { type: "overloaded_error", message } }
    case "google":
    case "google-stream":
      return { error: { code: 503, message, status: "UNAVAILABLE" } }
    case "workers-ai":
      return { errors: [{ code: 3040, message }], success: false, result: null, messages: [] }
    default:
      return { error: errorOfStatus(500, message) }
  }
}

/** An error inside a stream. `body` replaces the dialect's own error: text as it is, anything else as JSON. */
export const errorEvent = (dialect: WireDialect, sequence: number, body: unknown): Parsed => ({
  event: dialect === "anthropic" || dialect === "openai-responses" ? "error" : undefined,
  data: typeof body === "string" ? body : JSON.stringify(body ?? errorBody(dialect, sequence))
})
