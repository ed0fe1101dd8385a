/** A request's wishes for the answer beyond text: calls of tools, JSON of a schema, and the number of answers. */
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import type { Json } from "../../internal/dialect/chat.ts"
import type { Issue } from "../../internal/dialect/codec.ts"
import type { Fields } from "./schemaCheck.ts"
import { valueFor } from "./schemaValue.ts"

/** A tool with the arguments that the echo calls it with. */
export interface Called {
  readonly name: string
  /** An object. */
  readonly arguments: Json
  /** Input of OpenAI's custom tools, in place of arguments. */
  readonly input?: string
}

export interface Wish {
  readonly call?: Called
  /** JSON text to answer with. */
  readonly json?: string
  /** From 1. */
  readonly choices: number
}

/** A tool as its dialect describes it. */
interface Described {
  readonly name: string
  readonly parameters: unknown
  readonly isCustom?: boolean
}

/** The tool that must be called. */
type Choice = { readonly any: true; readonly among?: ReadonlyArray<string> } | { readonly name: string } | undefined

/** A request as its dialect reads it. Paths are for messages. */
interface Asked {
  readonly tools: ReadonlyArray<Described>
  readonly choice: Choice
  readonly choiceAt: string
  /** `true` stands for any JSON object. */
  readonly schema?: unknown
  readonly schemaAt: string
  /** The answer is a text that the schema lists, without quotation marks. */
  readonly isBare?: boolean
  readonly choices?: unknown
  readonly choicesAt?: string
}

/** Largest number of answers to one request, as at OpenAI. */
const maxChoices = 128

const items = (u: unknown): ReadonlyArray<unknown> => (Array.isArray(u) ? u : [])

const record = (u: unknown): Fields => (isRecord(u) ? u : {})

const fail = (field: string, accepted: string): Result.Result<never, Issue> => Result.fail({ field, accepted })

const unmade = "a schema for which the echo finds a value: without contradictions, endless recursion and look-arounds"

const callOf = ({ choice, choiceAt, tools }: Asked): Result.Result<Called | undefined, Issue> => {
  if (choice === undefined) return Result.succeed(undefined)
  const tool = tools.find(({ name }) =>
    "name" in choice ? name === choice.name : choice.among === undefined || choice.among.includes(name)
  )
  if (tool === undefined) {
    return fail(choiceAt, "name" in choice ? "the name of one of the tools" : "tools of which one can be called")
  }
  const { isCustom = false, name, parameters = { type: "object" } } = tool
  if (isCustom) return Result.succeed({ name, arguments: {}, input: "input" })
  const value = valueFor(isRecord(parameters) ? { type: "object", ...parameters } : parameters)
  if (!isRecord(value)) return fail(`the parameters of the tool ${JSON.stringify(name)}`, unmade)
  const args: Json = JSON.parse(JSON.stringify(value))
  return Result.succeed({ name, arguments: args })
}

const jsonOf = ({ isBare = false, schema, schemaAt }: Asked): Result.Result<string | undefined, Issue> => {
  if (schema === undefined) return Result.succeed(undefined)
  const value = schema === true ? {} : valueFor(schema)
  if (isBare && typeof value !== "string") return fail(schemaAt, "a schema of texts for text/x.enum")
  return value === undefined ? fail(schemaAt, unmade) : Result.succeed(isBare ? String(value) : JSON.stringify(value))
}

const wishOf = (asked: Asked): Result.Result<Wish, Issue> =>
  Result.gen(function* () {
    const { choices = 1, choicesAt = "n" } = asked
    if (typeof choices !== "number" || !Number.isInteger(choices) || choices < 1 || choices > maxChoices) {
      return yield* fail(choicesAt, `a whole number from 1 to ${maxChoices}`)
    }
    const call = yield* callOf(asked)
    if (call !== undefined) return { call, choices }
    const json = yield* jsonOf(asked)
    return json === undefined ? { choices } : { json, choices }
  })

const described = (u: unknown, parameters: string): ReadonlyArray<Described> =>
  isRecord(u) && typeof u["name"] === "string" ? [{ name: u["name"], parameters: u[parameters] ?? undefined }] : []

/** Tools of OpenAI, and those of Workers AI, which may lack the outer object. */
const functions = (tools: unknown): ReadonlyArray<Described> =>
  items(tools).flatMap((tool) => {
    if (!isRecord(tool)) return []
    if (tool["type"] === "custom") return nameIn(tool).map((name) => ({ name, parameters: {}, isCustom: true }))
    return described(isRecord(tool["function"]) ? tool["function"] : tool, "parameters")
  })

const nameIn = (u: unknown): ReadonlyArray<string> => {
  const name = isRecord(u) ? (record(u["function"])["name"] ?? record(u["custom"])["name"] ?? u["name"]) : undefined
  return typeof name === "string" ? [name] : []
}

const openAiChoice = (choice: unknown): Choice => {
  if (choice === "required" || choice === "any") return { any: true }
  if (!isRecord(choice)) return undefined
  if (choice["type"] === "allowed_tools") {
    // Chat completions nest what Responses write flat.
    const own = isRecord(choice["allowed_tools"]) ? choice["allowed_tools"] : choice
    return own["mode"] === "required" ? { any: true, among: items(own["tools"]).flatMap(nameIn) } : undefined
  }
  const [name] = [undefined, "function", "custom"].some((type) => type === choice["type"]) ? nameIn(choice) : []
  return name === undefined ? undefined : { name }
}

/** `{ type: "json_schema", json_schema: { schema } }`, its flat form, Workers AI's bare schema, or any object. */
const formatOf = (format: unknown): unknown => {
  if (!isRecord(format)) return undefined
  if (format["type"] === "json_object") return isRecord(format["schema"]) ? format["schema"] : true
  if (format["type"] !== "json_schema") return undefined
  const own = format["json_schema"]
  return isRecord(own) ? (own["schema"] ?? own) : (format["schema"] ?? true)
}

export const chatWish = (body: Fields): Result.Result<Wish, Issue> =>
  wishOf({
    tools: functions(body["tools"]),
    choice: openAiChoice(body["tool_choice"]),
    choiceAt: "tool_choice",
    schema: formatOf(body["response_format"]),
    schemaAt: "response_format.json_schema.schema",
    choices: body["n"] ?? undefined
  })

/** The wishes of old completions, which call no tools. */
export const completionWish = (body: Fields): Result.Result<Wish, Issue> =>
  wishOf({ tools: [], choice: undefined, choiceAt: "", schemaAt: "", choices: body["n"] ?? undefined })

export const responsesWish = (body: Fields): Result.Result<Wish, Issue> =>
  wishOf({
    tools: functions(body["tools"]),
    choice: openAiChoice(body["tool_choice"]),
    choiceAt: "tool_choice",
    schema: formatOf(record(body["text"])["format"]),
    schemaAt: "text.format.schema"
  })

export const anthropicWish = (body: Fields): Result.Result<Wish, Issue> => {
  const choice = record(body["tool_choice"])
  const { name, type } = choice
  const format = record(body["output_config"])["format"] ?? body["output_format"]
  return wishOf({
    tools: items(body["tools"]).flatMap((tool) => described(tool, "input_schema")),
    choice: type === "any" ? { any: true } : type === "tool" && typeof name === "string" ? { name } : undefined,
    choiceAt: "tool_choice",
    schema: formatOf(format),
    schemaAt: body["output_config"] === undefined ? "output_format.schema" : "output_config.format.schema"
  })
}

/** Google accepts both spellings of its JSON names. */
const either = (self: Fields, name: string): unknown =>
  self[name] ?? self[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)]

export const googleWish = (body: Fields): Result.Result<Wish, Issue> => {
  const calling = record(either(record(either(body, "toolConfig")), "functionCallingConfig"))
  const config = record(either(body, "generationConfig"))
  const allowed = either(calling, "allowedFunctionNames")
  const declared = items(body["tools"]).flatMap((tool) => items(either(record(tool), "functionDeclarations")))
  const schema = either(config, "responseJsonSchema") ?? either(config, "responseSchema")
  const type = either(config, "responseMimeType")
  const isEnum = type === "text/x.enum"
  return wishOf({
    tools: declared.flatMap((own) =>
      described(own, either(record(own), "parametersJsonSchema") === undefined ? "parameters" : "parametersJsonSchema")
    ),
    choice:
      String(calling["mode"]).toUpperCase() === "ANY"
        ? { any: true, ...(Array.isArray(allowed) && allowed.length > 0 ? { among: allowed.map(String) } : {}) }
        : undefined,
    choiceAt: "toolConfig.functionCallingConfig",
    schema: type === "application/json" ? (schema ?? true) : isEnum ? (schema ?? {}) : undefined,
    isBare: isEnum,
    schemaAt: "generationConfig.responseSchema",
    choices: either(config, "candidateCount"),
    choicesAt: "generationConfig.candidateCount"
  })
}
