/**
 * The checks that every request passes before a dialect sees it. Fields that no dialect knows are rejected, so that
 * nothing is dropped in silence.
 *
 * A table of fields describes a request. A Schema would do the same at twenty times the bytes.
 */
import type { FilePart, ImagePart, Input, Request } from "./chat.ts"
import {
  type Fields,
  fields,
  isFields,
  isJson,
  list,
  nonEmptyText,
  refuse,
  text,
  toRequest,
  unsupported
} from "./codec.ts"
import { efforts } from "./hints.ts"

/** Rejects an invalid value; it is only called with a value. */
type Check = (value: unknown, at: string) => unknown

const oneOf =
  (...values: ReadonlyArray<string>): Check =>
  (value, at) =>
    values.some((known) => known === value) || refuse(at, `one of ${values.join(", ")}`)

const flag: Check = (value, at) => typeof value === "boolean" || refuse(at, "a boolean")

const any: Check = () => undefined

const schema: Check = (value, at) => isFields(value) || refuse(at, "a JSON Schema object")

const namePattern = /^[A-Za-z0-9_-]{1,64}$/
const name: Check = (value, at) =>
  (typeof value === "string" && namePattern.test(value)) || refuse(at, "1 to 64 letters, digits, `_` or `-`")

const number =
  (min: number, max: number): Check =>
  (value, at) =>
    (typeof value === "number" && value >= min && value <= max) || refuse(at, `a number from ${min} to ${max}`)

const wholeFrom1: Check = (value, at) =>
  (Number.isSafeInteger(value) && Number(value) >= 1) || refuse(at, "a whole number from 1")

const each =
  (check: Check): Check =>
  (value, at) =>
    list(value, at).forEach((item, i) => {
      check(item, `${at}[${i}]`)
    })

/** Checks the fields of an object, and rejects unknown ones: `max_tokens` of an SDK would disappear otherwise. */
const known = (value: Fields, checks: Readonly<Record<string, Check>>, at = ""): void => {
  for (const key of Object.keys(value)) {
    if (value[key] === undefined) continue
    if (!Object.hasOwn(checks, key)) refuse(at + key, `one of ${Object.keys(checks).join(", ")}`)
    checks[key]?.(value[key], at + key)
  }
}

/** Checks an object, including `needed` fields that are missing. */
const object =
  (checks: Readonly<Record<string, Check>>, ...needed: ReadonlyArray<string>): Check =>
  (value, at) => {
    const own = fields(value, at)
    known(own, checks, `${at}.`)
    for (const key of needed) if (own[key] === undefined) checks[key]?.(undefined, `${at}.${key}`)
  }

/** Rejects a list that holds anything except strings. Returns its length. */
export const checkTexts = (value: ReadonlyArray<string>, field: string): number => {
  each(nonEmptyText)(value, field)
  return value.length
}

/** Rejects a bound that is set and is not a whole number from 1. */
export const checkLength = (value: number | undefined, field: string): void => {
  if (value !== undefined) wholeFrom1(value, field)
}

const opaque = object({ origin: nonEmptyText, value: text, id: nonEmptyText }, "origin", "value")
const cache = object({ ttl: oneOf("5m", "30m", "1h") })
const fileId = object({ origin: nonEmptyText, id: nonEmptyText }, "origin", "id")
const source = { type: any, url: any, data: any, fileId, mediaType: any, cache }

/** Checks of parts, by type. */
const parts: Readonly<Record<string, Check>> = {
  text: object({ type: any, text, cache, citations: list, opaque }, "text"),
  reasoning: object({ type: any, text, opaque, redacted: flag }, "text"),
  refusal: object({ type: any, text }, "text"),
  image: object({ ...source, detail: oneOf("auto", "low", "high", "original") }),
  file: object({ ...source, name: nonEmptyText })
}

/** Checks content: text, or parts of the given types. */
const content =
  (...types: ReadonlyArray<string>): Check =>
  (value, at) => {
    if (typeof value === "string") return
    if (!Array.isArray(value) || value.length === 0) refuse(at, "a string, or at least one part")
    each((part, own) => {
      const { type } = fields(part, own)
      if (typeof type === "string" && types.includes(type)) parts[type]?.(part, own)
      else refuse(isMedia(part) ? own : `${own}.type`, types.join(" or "))
      if (isMedia(part)) sourceOf(part, own)
    })(value, at)
  }

const isMedia = (part: unknown): part is ImagePart | FilePart =>
  isFields(part) && (part.type === "image" || part.type === "file")

const media = content("text", "image", "file")

const toolCall = object(
  {
    id: nonEmptyText,
    name: nonEmptyText,
    arguments: (value, at) => isJson(value) || refuse(at, "a JSON value"),
    signature: any,
    opaque
  },
  "id",
  "name",
  "arguments"
)

const said = content("text", "reasoning", "refusal")

/** Checks of messages, by role. */
const messages: Readonly<Record<string, Check>> = {
  system: object({ role: any, content: content("text") }, "content"),
  user: object({ role: any, content: media }, "content"),
  assistant: (value, at) => {
    const { content: own, toolCalls = [] } = fields(value, at)
    const isCalling = list(toolCalls, `${at}.toolCalls`).length > 0
    // Calls need no content. A caller without types may give none at all.
    const isNothing = isCalling && Array.isArray(own) && own.length === 0
    object({ role: any, content: isNothing ? any : said, toolCalls: each(toolCall) }, "content")(value, at)
  },
  tool: object(
    { role: any, toolCallId: nonEmptyText, name: any, content: media, isError: flag },
    "toolCallId",
    "content"
  )
}

const message: Check = (value, at) => {
  const { role } = fields(value, at)
  const check = typeof role === "string" && Object.hasOwn(messages, role) ? messages[role] : undefined
  if (check === undefined) refuse(`${at}.role`, "system, user, assistant or tool")
  else check(value, at)
}

const tool = object({ name, description: text, parameters: schema, strict: flag, cache }, "name", "parameters")

const some =
  (check: Check, what: string): Check =>
  (value, at) => {
    if (list(value, at).length === 0) refuse(at, `at least one ${what}`)
    each(check)(value, at)
  }

/** Checks of the fields of a request. */
const request: { readonly [key in keyof Required<Request>]: Check } = {
  messages: some(message, "message"),
  maxTokens: wholeFrom1,
  temperature: any,
  topP: number(0, 1),
  topK: wholeFrom1,
  frequencyPenalty: number(-2, 2),
  presencePenalty: number(-2, 2),
  stop: each(nonEmptyText),
  seed: (value, at) => Number.isSafeInteger(value) || refuse(at, "a whole number"),
  tools: (value, at) => {
    const seen = new Set<unknown>()
    each((item, own) => {
      tool(item, own)
      const called = fields(item, own).name
      if (seen.has(called)) refuse(`${own}.name`, "a name that no other tool has")
      seen.add(called)
    })(value, at)
  },
  toolChoice: (value, at) => {
    if (value === "auto" || value === "none" || value === "required") return
    if (!isFields(value)) refuse(at, "auto, none, required, the name of a tool or allowed tools")
    else if ("allowed" in value)
      object({ allowed: some(any, "tool"), mode: oneOf("auto", "required") }, "allowed", "mode")(value, at)
    else object({ name: any })(value, at)
  },
  serverTools: each(object({ origin: nonEmptyText, tool: fields }, "origin", "tool")),
  parallelToolCalls: flag,
  output: (value, at) => {
    const own = fields(value, at)
    if (own.type !== "json") refuse(`${at}.type`, "json")
    known(own, { type: any, name, schema, strict: flag, description: text }, `${at}.`)
    // Without a schema, `strict` has no meaning.
    if (own.strict === true) schema(own.schema, `${at}.schema`)
  },
  reasoning: (value, at) => {
    const own = fields(value, at)
    known(own, { effort: oneOf(...efforts), budget: wholeFrom1, show: flag }, `${at}.`)
    if (own.effort !== undefined && own.budget !== undefined) refuse(`${at}.budget`, "nothing beside effort")
  },
  logprobs: (value, at) =>
    Number.isInteger(value) ? number(0, 20)(value, at) : refuse(at, "a whole number from 0 to 20"),
  verbosity: oneOf("low", "medium", "high"),
  tier: oneOf("auto", "default", "flex", "priority", "fast"),
  cacheKey: nonEmptyText,
  metadata: (value, at) => Object.entries(fields(value, at)).forEach(([key, own]) => void text(own, `${at}.${key}`)),
  user: nonEmptyText,
  losses: oneOf("refuse", "dropHints"),
  extra: fields
}

/** Names of the fields of a request. */
export const requestFields: ReadonlyArray<string> = /*#__PURE__*/ Object.keys(request)

/** Returns the request for an input, after the checks of every dialect. */
export const checked = (input: Input, limits: { readonly temperature: number }): Request => {
  const own = toRequest(input)
  // A plain string has no invalid field.
  if (typeof input === "string") return own
  known(fields(own, "request"), request)
  if (own.messages === undefined) refuse("messages", "an array")
  const { losses, temperature, toolChoice, tools = [] } = own
  const { temperature: max } = limits
  if (temperature !== undefined) {
    const isHigher = Number.isFinite(temperature) && temperature > max
    // If one dialect's bound is exceeded, another may accept more; a hint that may be dropped is reduced to the bound.
    if (!isHigher) number(0, max)(temperature, "temperature")
    else if (losses !== "dropHints") unsupported("temperature", `a number from 0 to ${max}`)
  }
  if (toolChoice === undefined) return own
  if (tools.length === 0) refuse("toolChoice", "nothing, because there are no tools")
  const check = (called: string, at: string): void => {
    if (!tools.some((tool) => tool.name === called)) refuse(at, "the name of a tool")
  }
  if (typeof toolChoice === "string") return own
  if ("allowed" in toolChoice) toolChoice.allowed.forEach((called, i) => void check(called, `toolChoice.allowed[${i}]`))
  else check(toolChoice.name, "toolChoice.name")
  return own
}

/** The source of an image or a file: a URL to fetch, the data itself, or an id of a provider's file. */
export type Source = { readonly kind: "image" | "audio" | "video" | "document" } & (
  | { readonly type: "url"; readonly url: string; readonly mediaType: string | undefined }
  | { readonly type: "data"; readonly data: string; readonly mediaType: string }
  | { readonly type: "id"; readonly id: string; readonly origin: string; readonly mediaType: string | undefined }
)

const kinds = ["image", "audio", "video"] as const

/** Returns the source of a part; a `data:` URL counts as data. */
export const sourceOf = (part: ImagePart | FilePart, field: string): Source => {
  const { data, fileId, mediaType: given, url } = part
  // A caller without types can pass anything; media types ignore case.
  const mediaType = typeof given === "string" ? given.toLowerCase() : given
  const isImage = part.type === "image"
  const fits = (type: unknown): type is string =>
    typeof type === "string" && (isImage ? /^image\/[\w.+-]+$/i : /^\w+\/[\w.+-]+$/).test(type)
  const wrong = (): never =>
    refuse(`${field}.mediaType`, `a media type such as ${isImage ? "image/png" : "application/pdf"}`)
  if (mediaType !== undefined && !fits(mediaType)) wrong()
  if ([url, data, fileId].filter((given) => given !== undefined).length !== 1) {
    refuse(field, "exactly one of url, data and fileId")
  }
  const kind = isImage ? "image" : (kinds.find((own) => mediaType?.startsWith(own)) ?? "document")
  if (fileId !== undefined) {
    return { kind, type: "id", ...fileId, mediaType }
  }
  if (data !== undefined) {
    return { kind, type: "data", data: nonEmptyText(data, `${field}.data`), mediaType: mediaType ?? wrong() }
  }
  const address = nonEmptyText(url, `${field}.url`)
  if (!/^data:/i.test(address)) return { kind, type: "url", url: address, mediaType }
  const match = /^data:([^;,]*);base64,(?=.)/i.exec(address)
  return match !== null && fits(match[1])
    ? sourceOf({ type: part.type, data: address.slice(match[0].length), mediaType: match[1] }, field)
    : refuse(`${field}.url`, `a web address, or data:${isImage ? "image/" : ""}…;base64,…`)
}
