/**
 * Fits JSON Schemas to each dialect: a provider rejects a request with a keyword that it does not know.
 *
 * An omitted keyword only makes the schema less precise for the model: the answer is decoded with the full schema in
 * any case.
 */
import * as Result from "effect/Result"
import { isRecord } from "../data/json.ts"
import type { JsonSchema } from "./chat.ts"

/** A schema in the form that is sent, and whether the provider can be told to enforce it. */
export interface SentSchema {
  readonly schema: JsonSchema
  readonly strict: boolean
}

/** The schemas that the target would have accepted, in words. */
type Accepted = string

/** Keywords with one nested schema, and with several. */
const inner = ["items", "additionalProperties", "not"]
const lists = ["anyOf", "oneOf", "allOf", "prefixItems"]
const maps = ["properties", "$defs", "definitions"]

/** Lists the schemas directly below one. */
const below = (schema: Readonly<Record<string, unknown>>): ReadonlyArray<unknown> => [
  ...inner.flatMap((name) => (isRecord(schema[name]) ? [schema[name]] : [])),
  ...lists.flatMap((name) => (Array.isArray(schema[name]) ? schema[name] : [])),
  ...maps.flatMap((name) => (isRecord(schema[name]) ? Object.values(schema[name]) : []))
]

const every = (schema: unknown, holds: (one: Readonly<Record<string, unknown>>) => boolean): boolean =>
  !isRecord(schema) || (holds(schema) && below(schema).every((one) => every(one, holds)))

const isObjectSchema = ({ properties, type }: Readonly<Record<string, unknown>>): boolean =>
  type === "object" || isRecord(properties)

/** Keywords of OpenAI's strict mode. */
const strictKeywords = new Set([
  ...["type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"],
  ...["$ref", "$defs", "title", "description"]
])

/** Every schema in strict mode has one of them. */
const typing = new Set(["type", "enum", "const", "anyOf", "$ref"])

/**
 * Whether OpenAI accepts a schema in strict mode: closed objects, every property required, a type everywhere, and no
 * other keyword.
 */
const isStrict = (schema: JsonSchema): boolean =>
  every(schema, (one) => {
    const keywords = Object.keys(one)
    if (keywords.some((name) => !strictKeywords.has(name))) return false
    // OpenAI rejects a schema that accepts anything.
    if (!keywords.some((name) => typing.has(name))) return false
    if (!isObjectSchema(one)) return true
    const { additionalProperties, properties = {}, required } = one
    const names = Object.keys(isRecord(properties) ? properties : {})
    return (
      additionalProperties === false &&
      Array.isArray(required) &&
      names.every((name: string) => required.includes(name))
    )
  })

/** Keywords that Anthropic rejects; their meaning goes into the description. */
const unknownToAnthropic = [
  ...["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  ...["minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "not"],
  ...["minProperties", "maxProperties", "contains", "contentMediaType", "contentEncoding", "contentSchema"]
]

const anthropicFormats = new Set([
  ...["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"]
])

/** Maximum number of optional properties; Anthropic compiles the schema, and fails with more. */
const maxOptional = 24

const hint = (name: string, value: unknown): string => `${name}: ${JSON.stringify(value)}`

const closedForAnthropic = (schema: unknown): unknown => {
  if (Array.isArray(schema)) return schema.map(closedForAnthropic)
  if (!isRecord(schema)) return schema
  const hints: Array<string> = []
  const out: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(schema)) {
    if (unknownToAnthropic.includes(name)) hints.push(hint(name, value))
    else if (name === "format" && !(typeof value === "string" && anthropicFormats.has(value)))
      hints.push(hint(name, value))
    else if (name === "oneOf") out["anyOf"] = closedForAnthropic(value)
    else if (maps.includes(name) && isRecord(value)) {
      out[name] = Object.fromEntries(Object.entries(value).map(([key, one]) => [key, closedForAnthropic(one)]))
    } else out[name] = inner.includes(name) || lists.includes(name) ? closedForAnthropic(value) : value
  }
  if (isObjectSchema(schema)) out["additionalProperties"] = false
  if (hints.length > 0) {
    const { description } = schema
    out["description"] = [...(typeof description === "string" ? [description] : []), ...hints].join("; ")
  }
  return out
}

const isOpen = (schema: Readonly<Record<string, unknown>>): boolean => {
  const { additionalProperties, patternProperties, properties } = schema
  if (patternProperties !== undefined || additionalProperties === true || isRecord(additionalProperties)) return true
  // An object with unknown properties would become an empty one.
  return schema["type"] === "object" && properties === undefined && additionalProperties !== false
}

const optionalCount = (schema: unknown): number => {
  if (!isRecord(schema)) return 0
  const { properties, required } = schema
  const names = isRecord(properties) ? Object.keys(properties) : []
  const own = names.filter((name) => !(Array.isArray(required) && required.includes(name))).length
  return below(schema).reduce<number>((sum, one) => sum + optionalCount(one), own)
}

/** Returns the name of the definition behind a reference: a JSON pointer in the fragment of a URI. */
const refName = (ref: unknown): string | undefined => {
  const name = typeof ref === "string" ? /^#\/(?:\$defs|definitions)\/([^/]+)$/.exec(ref)?.[1] : undefined
  try {
    return name && decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~")
  } catch {
    return name
  }
}

/**
 * Replaces a reference at the root by the object behind it. The schemas of classes and recursive ones are such
 * references, which providers do not follow.
 */
export const atRoot = (schema: JsonSchema): JsonSchema => {
  const { $defs, $ref, ...beside } = schema
  const name = refName($ref)
  if (name === undefined || !isRecord($defs)) return schema
  const { [name]: root, ...others } = $defs
  if (!isRecord(root)) return schema
  const kept = JSON.stringify([root, others]).includes(JSON.stringify($ref)) ? $defs : others
  return { ...root, ...beside, ...(Object.keys(kept).length > 0 && { $defs: kept }) }
}

/** Whether a definition refers to itself. */
const isRecursive = (schema: JsonSchema): boolean => {
  const definitions = [schema["$defs"], schema["definitions"]].filter(isRecord)
  const find = (name: string): unknown => definitions.find((own) => Object.hasOwn(own, name))?.[name]
  const open = new Set<string>()
  /** Definitions that are not recursive: several places may refer to one. */
  const done = new Set<string>()
  const leadsBack = (name: string): boolean => {
    if (open.has(name)) return true
    if (done.has(name)) return false
    open.add(name)
    const found = visit(find(name))
    open.delete(name)
    done.add(name)
    return found
  }
  const visit = (one: unknown): boolean => {
    if (!isRecord(one)) return false
    if (one["$ref"] === "#") return true
    const name = refName(one["$ref"])
    if (name !== undefined && leadsBack(name)) return true
    const { $defs: _, definitions: __, ...rest } = one
    return below(rest).some(visit)
  }
  return visit(schema)
}

const forAnthropic = (schema: JsonSchema): Result.Result<SentSchema, Accepted> => {
  if (!every(schema, (one) => !isOpen(one))) {
    return Result.fail("objects with known properties: Anthropic closes all others")
  }
  if (isRecursive(schema)) return Result.fail("a schema that does not refer to itself")
  if (optionalCount(schema) > maxOptional) return Result.fail(`at most ${maxOptional} optional properties`)
  const closed = closedForAnthropic(schema)
  return isRecord(closed) ? Result.succeed({ schema: closed, strict: false }) : Result.fail("an object")
}

/** Routes fit their schemas once, and the writer of requests would do so for every request. */
const known = new WeakMap<JsonSchema, Result.Result<SentSchema, Accepted>>()

const fitAnthropic = (schema: JsonSchema): Result.Result<SentSchema, Accepted> => {
  const found = known.get(schema)
  if (found !== undefined) return found
  const made = forAnthropic(schema)
  known.set(schema, made)
  // A fitted schema fits unchanged.
  if (Result.isSuccess(made)) known.set(made.success.schema, made)
  return made
}

/** Returns the schema of an answer in the form of a dialect, or the accepted form in words. */
export const schemaFor = (dialect: string, schema: JsonSchema): Result.Result<SentSchema, Accepted> =>
  dialect === "anthropic"
    ? fitAnthropic(schema)
    : Result.succeed({ schema, strict: (dialect === "openai" || dialect === "openai-responses") && isStrict(schema) })

/**
 * Returns JSON without the code fence that some models put around it. Runs in linear time: a pattern would try each run
 * of spaces repeatedly.
 */
export const unfenced = (text: string): string => {
  const trimmed = text.trim()
  if (!trimmed.startsWith("```") || !trimmed.endsWith("```")) return text
  const end = trimmed.indexOf("\n")
  const language = trimmed.slice(3, end).trim().toLowerCase()
  return end > 0 && end < trimmed.length - 3 && (language === "" || language === "json")
    ? trimmed.slice(end + 1, -3)
    : text
}
