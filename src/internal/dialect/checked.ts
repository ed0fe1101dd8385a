/**
 * The checks that every request passes before a dialect sees it. Fields that no dialect knows are refused, so that nothing
 * is dropped unseen.
 */
import { strayField } from "../data/json.ts"
import type { FilePart, ImagePart, Input, Message, Output, Reasoning, Request, Tool, ToolChoice } from "./chat.ts"
import {
  type Content,
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

export const namePattern = /^[A-Za-z0-9_-]{1,64}$/
export const nameAccepted = "1 to 64 letters, digits, `_` or `-`"

/** The request behind an input, after the checks that hold for every dialect. */
export const checked = (input: Input, limits: { readonly temperature: number }): Request => {
  const request = toRequest(input)
  // A text has no field that could be wrong.
  if (typeof input === "string") return request
  onlyKnown(fields(request, "request"), requestFields)
  oneOf(request.losses, "losses", ["refuse", "dropHints"])
  if (list(request.messages, "messages").length === 0) refuse("messages", "at least one message")
  request.messages.forEach((message, i) => {
    checkMessage(message, `messages[${i}]`)
  })
  const { extra, output, reasoning, seed, serverTools, stop, tools, toolChoice } = request
  checkLength(request.maxTokens, "maxTokens")
  // A hint that is to be dropped is brought down to the bound.
  within(request.temperature, "temperature", 0, limits.temperature, request.losses === "dropHints" ? pass : unsupported)
  within(request.topP, "topP", 0, 1)
  within(request.frequencyPenalty, "frequencyPenalty", -2, 2)
  within(request.presencePenalty, "presencePenalty", -2, 2)
  checkLength(request.topK, "topK")
  if (!(request.logprobs === undefined || [...Array(21).keys()].includes(request.logprobs))) {
    refuse("logprobs", "a whole number from 0 to 20")
  }
  if (seed !== undefined && !Number.isSafeInteger(seed)) refuse("seed", "a whole number")
  if (stop !== undefined) checkTexts(stop, "stop")
  if (tools !== undefined) checkTools(tools)
  if (serverTools !== undefined) {
    list(serverTools, "serverTools").forEach((own, i) => {
      const at = `serverTools[${i}]`
      const { origin, tool, ...stray } = fields(own, at)
      onlyKnown(stray, ["origin", "tool"], `${at}.`)
      nonEmptyText(origin, `${at}.origin`)
      fields(tool, `${at}.tool`)
    })
  }
  if (toolChoice !== undefined) checkToolChoice(toolChoice, tools ?? [])
  checkFlag(request.parallelToolCalls, "parallelToolCalls")
  if (output !== undefined) checkOutput(output)
  if (reasoning !== undefined) checkReasoning(reasoning)
  oneOf(request.verbosity, "verbosity", ["low", "medium", "high"])
  oneOf(request.tier, "tier", ["auto", "default", "flex", "priority", "fast"])
  optionally(request.user, "user", nonEmptyText)
  optionally(request.cacheKey, "cacheKey", nonEmptyText)
  if (request.metadata !== undefined) {
    for (const [key, value] of Object.entries(fields(request.metadata, "metadata"))) text(value, `metadata.${key}`)
  }
  if (extra !== undefined) fields(extra, "extra")
  return request
}

/** The fields of a request. */
export const requestFields = [
  "messages",
  "maxTokens",
  "temperature",
  "topP",
  "topK",
  "frequencyPenalty",
  "presencePenalty",
  "stop",
  "seed",
  "tools",
  "toolChoice",
  "serverTools",
  "parallelToolCalls",
  "output",
  "reasoning",
  "logprobs",
  "verbosity",
  "tier",
  "cacheKey",
  "metadata",
  "user",
  "losses",
  "extra"
] satisfies ReadonlyArray<keyof Request>

const pass = (): undefined => undefined

const oneOf = (value: unknown, field: string, values: ReadonlyArray<string>): void => {
  if (value !== undefined && !values.some((known) => known === value)) refuse(field, `one of ${values.join(", ")}`)
}

const optionally = (value: unknown, field: string, check: (value: unknown, field: string) => unknown): void => {
  if (value !== undefined) check(value, field)
}

/** Refuses what no dialect would write: `max_tokens` of an SDK would vanish otherwise. */
const onlyKnown = (value: Fields, names: ReadonlyArray<string>, path = ""): void => {
  const stray = strayField(value, names)
  if (stray !== undefined) refuse(path + stray, `one of ${names.join(", ")}`)
}

/** Refuses a list that holds anything but texts. Returns how many there are. */
export const checkTexts = (value: ReadonlyArray<string>, field: string): number => {
  list(value, field).forEach((item, i) => void nonEmptyText(item, `${field}[${i}]`))
  return value.length
}

/** Refuses a bound that is set and is no whole number from 1. */
export const checkLength = (value: number | undefined, field: string): void => {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) refuse(field, "a whole number from 1")
}

/** `tooLarge` refuses what is larger: of what one dialect does not take another one may take more. */
const within = (
  value: number | undefined,
  field: string,
  min: number,
  max: number,
  tooLarge: (field: string, accepted: string) => undefined = refuse
): void => {
  if (value === undefined || (typeof value === "number" && value >= min && value <= max)) return
  const no = Number.isFinite(value) && value > max ? tooLarge : refuse
  no(field, `a number from ${min} to ${max}`)
}

const media = ["text", "image", "file"] as const

const checkMessage = (message: Message, field: string): void => {
  const own = fields(message, field)
  const known = (...names: ReadonlyArray<string>) => onlyKnown(own, ["role", "content", ...names], `${field}.`)
  switch (message.role) {
    case "system":
    case "user":
      known()
      checkContent(message.content, `${field}.content`, message.role === "user" ? media : ["text"])
      return
    case "assistant": {
      known("toolCalls")
      const { content, toolCalls = [] } = message
      const calls = list(toolCalls, `${field}.toolCalls`).length
      // Nothing may stand beside calls. A caller without types may give no content at all.
      if (calls === 0 || content?.length !== 0) {
        checkContent(content, `${field}.content`, ["text", "reasoning", "refusal"])
      }
      toolCalls.forEach((call, i) => {
        const at = `${field}.toolCalls[${i}]`
        onlyKnown(fields(call, at), ["id", "name", "arguments", "signature", "opaque"], `${at}.`)
        nonEmptyText(call.id, `${at}.id`)
        nonEmptyText(call.name, `${at}.name`)
        if (!isJson(call.arguments)) refuse(`${at}.arguments`, "a JSON value")
        optionally(call.opaque, `${at}.opaque`, checkOpaque)
      })
      return
    }
    case "tool":
      known("toolCallId", "name", "isError")
      nonEmptyText(message.toolCallId, `${field}.toolCallId`)
      checkFlag(message.isError, `${field}.isError`)
      checkContent(message.content, `${field}.content`, media)
      return
    default:
      refuse(`${field}.role`, "system, user, assistant or tool")
  }
}

const sourceFields = ["url", "data", "fileId", "mediaType", "cache"]

/** Fields of parts beside their type. */
const partFields: Readonly<Record<string, ReadonlyArray<string>>> = {
  text: ["text", "cache", "citations", "opaque"],
  reasoning: ["text", "opaque", "redacted"],
  refusal: ["text"],
  image: [...sourceFields, "detail"],
  file: [...sourceFields, "name"]
}

/** Checks text, or parts of the `types` that the speaker has. */
const checkContent = (content: Content, field: string, types: ReadonlyArray<string>): void => {
  if (typeof content === "string") return
  if (list(content, field).length === 0) refuse(field, "a string, or at least one part")
  content.forEach((part, i) => {
    const at = `${field}[${i}]`
    const own = fields(part, at)
    const { type } = part
    if (!types.includes(type)) {
      const accepted = types.join(" or ")
      if (type !== "image" && type !== "file") refuse(`${at}.type`, accepted)
      refuse(at, `${accepted}: ${type}s are for messages of users and tools`)
    }
    onlyKnown(own, ["type", ...(partFields[type] ?? [])], `${at}.`)
    if (part.type === "image" || part.type === "file") sourceOf(part, at)
    else text(part.text, `${at}.text`)
    optionally(own.opaque, `${at}.opaque`, checkOpaque)
    optionally(own.cache, `${at}.cache`, checkCache)
    optionally(own.citations, `${at}.citations`, list)
    optionally(own.name, `${at}.name`, nonEmptyText)
    checkFlag(own.redacted, `${at}.redacted`)
    oneOf(own.detail, `${at}.detail`, ["auto", "low", "high", "original"])
  })
}

const checkOpaque = (value: unknown, at: string): void => {
  const own = fields(value, at)
  onlyKnown(own, ["origin", "value", "id"], `${at}.`)
  nonEmptyText(own.origin, `${at}.origin`)
  text(own.value, `${at}.value`)
  optionally(own.id, `${at}.id`, nonEmptyText)
}

const checkCache = (value: unknown, at: string): void => {
  const own = fields(value, at)
  onlyKnown(own, ["ttl"], `${at}.`)
  oneOf(own.ttl, `${at}.ttl`, ["5m", "30m", "1h"])
}

/** Where an image or a file is: an address to be fetched, the data itself, or what a provider keeps under an id. */
export type Source = { readonly kind: "image" | "audio" | "video" | "document" } & (
  | { readonly type: "url"; readonly url: string; readonly mediaType: string | undefined }
  | { readonly type: "data"; readonly data: string; readonly mediaType: string }
  | { readonly type: "id"; readonly id: string; readonly origin: string; readonly mediaType: string | undefined }
)

const kindOf = (mediaType = ""): Source["kind"] => {
  const [kind] = mediaType.split("/")
  return kind === "image" || kind === "audio" || kind === "video" ? kind : "document"
}

/** Reads where a part is; a `data:` URL counts as data. */
export const sourceOf = (part: ImagePart | FilePart, field: string): Source => {
  const { data, fileId, url } = part
  const isImage = part.type === "image"
  const fits = (type: unknown): type is string =>
    typeof type === "string" && (isImage ? /^image\/[\w.+-]+$/ : /^\w+\/[\w.+-]+$/).test(type)
  const wrong = (): never =>
    refuse(`${field}.mediaType`, `a media type such as ${isImage ? "image/png" : "application/pdf"}`)
  if (part.mediaType !== undefined && !fits(part.mediaType)) wrong()
  if ([url, data, fileId].filter((given) => given !== undefined).length !== 1) {
    refuse(field, "exactly one of url, data and fileId")
  }
  const { mediaType } = part
  const kind = isImage ? "image" : kindOf(mediaType)
  if (fileId !== undefined) {
    const { id, origin } = fields(fileId, `${field}.fileId`)
    return {
      kind,
      type: "id",
      id: nonEmptyText(id, `${field}.fileId.id`),
      origin: nonEmptyText(origin, `${field}.fileId.origin`),
      mediaType
    }
  }
  if (data !== undefined) {
    return { kind, type: "data", data: nonEmptyText(data, `${field}.data`), mediaType: mediaType ?? wrong() }
  }
  const address = nonEmptyText(url, `${field}.url`)
  if (!/^data:/i.test(address)) return { kind, type: "url", url: address, mediaType }
  const match = /^data:([^;,]*);base64,(?=.)/i.exec(address)
  return match !== null && fits(match[1])
    ? sourceOf({ type: part.type, data: address.slice(match[0].length), mediaType: match[1] }, field)
    : refuse(`${field}.url`, `an address, or data:${isImage ? "image/" : ""}…;base64,…`)
}

const checkFlag = (value: unknown, field: string): void => {
  if (value !== undefined && typeof value !== "boolean") refuse(field, "a boolean")
}

const checkName = (name: unknown, field: string): void => {
  if (!(typeof name === "string" && namePattern.test(name))) refuse(field, nameAccepted)
}

const checkTools = (tools: ReadonlyArray<Tool>): void => {
  const seen = new Set<string>()
  list(tools, "tools")
  tools.forEach((tool, i) => {
    const at = `tools[${i}]`
    onlyKnown(fields(tool, at), ["name", "description", "parameters", "strict", "cache"], `${at}.`)
    checkName(tool.name, `${at}.name`)
    if (seen.has(tool.name)) refuse(`${at}.name`, "a name that no other tool has")
    seen.add(tool.name)
    if (tool.description !== undefined) text(tool.description, `${at}.description`)
    if (!isFields(tool.parameters)) refuse(`${at}.parameters`, "a JSON Schema object")
    checkFlag(tool.strict, `${at}.strict`)
    optionally(tool.cache, `${at}.cache`, checkCache)
  })
}

const checkToolChoice = (choice: ToolChoice, tools: ReadonlyArray<Tool>): void => {
  if (tools.length === 0) refuse("toolChoice", "nothing, as there are no tools")
  if (choice === "auto" || choice === "none" || choice === "required") return
  const own = isFields(choice)
    ? choice
    : refuse("toolChoice", "auto, none, required, the name of a tool or allowed tools")
  const known = (name: unknown, field: string): void => {
    if (!tools.some((tool) => tool.name === name)) refuse(field, "the name of a tool")
  }
  if (!("allowed" in choice)) {
    onlyKnown(own, ["name"], "toolChoice.")
    known(choice.name, "toolChoice.name")
    return
  }
  onlyKnown(own, ["allowed", "mode"], "toolChoice.")
  if (choice.mode !== "auto" && choice.mode !== "required") refuse("toolChoice.mode", "auto or required")
  if (list(choice.allowed, "toolChoice.allowed").length === 0) refuse("toolChoice.allowed", "at least one tool")
  choice.allowed.forEach((name, i) => {
    known(name, `toolChoice.allowed[${i}]`)
  })
}

const checkReasoning = (reasoning: Reasoning): void => {
  onlyKnown(fields(reasoning, "reasoning"), ["effort", "budget", "show"], "reasoning.")
  oneOf(reasoning.effort, "reasoning.effort", efforts)
  checkLength(reasoning.budget, "reasoning.budget")
  if (reasoning.effort !== undefined && reasoning.budget !== undefined) {
    refuse("reasoning.budget", "nothing beside effort")
  }
  checkFlag(reasoning.show, "reasoning.show")
}

const checkOutput = (output: Output): void => {
  if (!isFields(output) || output.type !== "json") refuse("output.type", "json")
  checkName(output.name ?? "output", "output.name")
  checkFlag(output.strict, "output.strict")
  onlyKnown(fields(output, "output"), ["type", "name", "schema", "strict", "description"], "output.")
  optionally(output.description, "output.description", text)
  // Without a schema there is nothing to be strict about.
  if ((output.strict || output.schema !== undefined) && !isFields(output.schema)) {
    refuse("output.schema", "a JSON Schema object")
  }
}
