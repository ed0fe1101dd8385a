/**
 * Checks of stored routes: JSON Schemas (draft 2020-12) for the answer, to the extent that Effect's Schema enforces
 * them.
 */
import * as JsonSchema from "effect/JsonSchema"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as SchemaRepresentation from "effect/SchemaRepresentation"
import type { Problem } from "../../GatewayOptions.ts"
import { isRecord, parseJson } from "../data/json.ts"
import type { Json } from "../dialect/chat.ts"

/** A JSON Schema. */
export type JsonSchemaJson = Readonly<Record<string, Json>>

type Check = (value: unknown, path: string, root: Reading) => void

interface Reading {
  readonly refuse: (field: string, accepted: string) => void
}

const types = ["null", "boolean", "object", "array", "number", "integer", "string"]

const value =
  (accepted: string, isRight: (value: unknown) => boolean): Check =>
  (given, path, { refuse }) => {
    if (!isRight(given)) refuse(path, accepted)
  }

const isType = (given: unknown): boolean => typeof given === "string" && types.includes(given)
const isText = (given: unknown): boolean => typeof given === "string"
const isCount = (given: unknown): boolean => Number.isSafeInteger(given) && Number(given) >= 0

const anything = value("", () => true)
const text = value("a text", isText)
const flag = value("true or false", (given) => typeof given === "boolean")
const number = value("a number", Number.isFinite)
const count = value("a whole number of 0 or more", isCount)

const schema: Check = (given, path, root) => {
  if (typeof given === "boolean") return
  if (!isRecord(given)) return root.refuse(path, "a JSON Schema")
  for (const [name, one] of Object.entries(given)) {
    const check = Object.hasOwn(keywords, name) ? keywords[name] : undefined
    if (check === undefined) root.refuse(`${path}.${name}`, `one of ${Object.keys(keywords).join(", ")}`)
    else check(one, `${path}.${name}`, root)
  }
  if (given["contentSchema"] !== undefined && given["contentMediaType"] !== "application/json") {
    root.refuse(`${path}.contentMediaType`, "application/json beside contentSchema")
  }
}

const schemas: Check = (given, path, root) => {
  if (!Array.isArray(given) || given.length === 0) return root.refuse(path, "a list of JSON Schemas")
  given.forEach((one, i) => {
    schema(one, `${path}[${i}]`, root)
  })
}

const named: Check = (given, path, root) => {
  if (!isRecord(given)) return root.refuse(path, "JSON Schemas by name")
  for (const [name, one] of Object.entries(given)) schema(one, `${path}[${JSON.stringify(name)}]`, root)
}

/** The supported keywords. Any other one would have no effect, so it is rejected. */
const keywords: Readonly<Record<string, Check>> = {
  type: value(`one of ${types.join(", ")}, or a list of them`, (given) =>
    Array.isArray(given) ? given.length > 0 && given.every(isType) : isType(given)
  ),
  enum: value("a list of values", (given) => Array.isArray(given) && given.length > 0),
  const: anything,
  properties: named,
  required: value("a list of names", (given) => Array.isArray(given) && given.every(isText)),
  additionalProperties: schema,
  patternProperties: named,
  propertyNames: schema,
  minProperties: count,
  maxProperties: count,
  items: schema,
  prefixItems: schemas,
  minItems: count,
  maxItems: count,
  uniqueItems: flag,
  minLength: count,
  maxLength: count,
  pattern: text,
  minimum: number,
  maximum: number,
  exclusiveMinimum: number,
  exclusiveMaximum: number,
  multipleOf: number,
  contentMediaType: text,
  contentSchema: schema,
  allOf: schemas,
  anyOf: schemas,
  oneOf: schemas,
  not: schema,
  $ref: text,
  $defs: named,
  // By definition these check nothing.
  $schema: text,
  $comment: text,
  title: text,
  description: text,
  default: anything,
  examples: anything,
  deprecated: flag,
  readOnly: flag,
  writeOnly: flag,
  format: text
}

/** Schemas that were read, with their sources. */
const sources = new WeakMap<object, JsonSchemaJson>()

/** Accepts a value with `true`, or returns a description of the expected value. */
type Verdict = (given: unknown) => true | string

/**
 * Finds the JSON strings in an object that have a schema of their own, which Effect does not check, each with the
 * fields that lead to it.
 */
const contentsOf = (
  json: unknown,
  fields: ReadonlyArray<string> = []
): ReadonlyArray<readonly [ReadonlyArray<string>, JsonSchemaJson]> => {
  if (!isRecord(json)) return []
  const { contentSchema, properties } = json as { readonly contentSchema?: unknown; readonly properties?: unknown }
  const own = isRecord(contentSchema) ? [[fields, contentSchema as JsonSchemaJson] as const] : []
  const inner = isRecord(properties) ? Object.entries(properties) : []
  return [...own, ...inner.flatMap(([name, one]) => contentsOf(one, [...fields, name]))]
}

/** Counts all of them, wherever they stand. */
const countOf = (json: unknown): number =>
  isRecord(json) || Array.isArray(json)
    ? Object.values(json).reduce<number>(
        (sum, one) => sum + countOf(one),
        isRecord(json) && "contentSchema" in json ? 1 : 0
      )
    : 0

/** Counts those that are checked. */
const reachedOf = (json: unknown): number => contentsOf(json).reduce((sum, [, one]) => sum + 1 + reachedOf(one), 0)

const verdictOf = (json: JsonSchemaJson, $defs: Json | undefined): Verdict => {
  const read = SchemaRepresentation.fromJsonSchemaDocument(
    JsonSchema.fromSchemaDraft2020_12($defs === undefined ? json : { ...json, $defs }),
    // A route file is as trusted as the program that reads it.
    { patterns: "apply" }
  )
  // Otherwise fields that a closed object does not name would be stripped and not rejected.
  const decode = Schema.decodeUnknownResult(Schema.make<Schema.Codec<unknown>>(read.ast), { onExcessProperty: "error" })
  const texts = contentsOf(json).map(([fields, one]) => [fields, verdictOf(one, $defs)] as const)
  return (given) => {
    const decoded = decode(given)
    if (Result.isFailure(decoded)) return decoded.failure.message
    for (const [fields, verdict] of texts) {
      const text = fields.reduce<unknown>((from, name) => (isRecord(from) ? from[name] : undefined), given)
      if (typeof text !== "string") continue
      const value = parseJson(text)
      const said = value === undefined ? "JSON" : verdict(value)
      if (said !== true) return `${said} in the JSON of ${fields.map((name) => `[${JSON.stringify(name)}]`).join("")}`
    }
    return true
  }
}

/** Returns the Schema of a stored check, or everything that is wrong with it. */
export const fromJsonSchema = (
  json: JsonSchemaJson
): Result.Result<Schema.ConstraintDecoder<unknown>, ReadonlyArray<Problem>> => {
  const problems: Array<Problem> = []
  schema(json, "validate", { refuse: (field, accepted) => void problems.push({ field, accepted }) })
  const { $defs, ...rest } = json
  // Inner schemas count theirs when they are read.
  if (problems.length === 0 && countOf(json) !== reachedOf(rest)) {
    problems.push({ field: "validate", accepted: "contentSchema only for fields under properties" })
  }
  if (problems.length > 0) return Result.fail(problems)
  try {
    const made = Schema.Unknown.check(Schema.makeFilter(verdictOf(rest, $defs)))
    sources.set(made, json)
    return Result.succeed(made)
  } catch (cause) {
    const accepted = `a JSON Schema that Effect can check: ${cause instanceof Error ? cause.message : String(cause)}`
    return Result.fail([{ field: "validate", accepted: accepted.replace(/\s+/g, " ") }])
  }
}

const typeOf = ({ _tag }: SchemaAST.AST): JsonSchema.Type | undefined =>
  _tag === "String" ? "string" : _tag === "Arrays" ? "array" : _tag === "Number" ? "number" : undefined

/** Whether JSON Schema has an equivalent check. The length of a string is counted differently there. */
const isWritableCheck = (check: SchemaAST.Check<never>, type: JsonSchema.Type | undefined): boolean => {
  const { annotations } = check
  const compiled = annotations?.toJsonSchema?.({ type, schemas: [] })
  if (compiled !== undefined) return !Array.isArray(compiled) && annotations?.representation?.schemas === undefined
  return check._tag === "FilterGroup" && check.checks.every((one) => isWritableCheck(one, type))
}

/** Whether a Schema is JSON in a string, the only transformation that JSON Schema can express. */
const isJsonText = (ast: SchemaAST.AST): boolean =>
  Schema.toJsonSchemaDocument(Schema.make<Schema.Top>(ast)).schema["contentSchema"] !== undefined

/** Whether JSON Schema can express everything that a Schema checks. It cannot express functions. */
const isWritable = (ast: SchemaAST.AST): boolean => {
  if (ast.encoding !== undefined && !isJsonText(ast)) return false
  const type = typeOf(ast)
  if (ast.checks?.every((check) => isWritableCheck(check, type)) === false) return false
  switch (ast._tag) {
    case "String":
    case "Number":
    case "Boolean":
    case "Null":
    case "Unknown":
    case "Any":
    case "Never":
      return true
    case "Literal":
      return typeof ast.literal !== "bigint"
    case "Arrays":
      return [...ast.elements, ...ast.rest].every(isWritable)
    case "Objects":
      return ast.indexSignatures.length === 0 && ast.propertySignatures.every(({ type }) => isWritable(type))
    case "Union":
      return ast.types.every(isWritable)
    default:
      return false
  }
}

/**
 * Replaces Effect's schema of encoded numbers, which allows names such as `NaN`, by that of plain numbers: answers are
 * not encoded.
 */
export const plainNumber = (json: unknown): unknown => {
  if (!isRecord(json) || !Array.isArray(json["anyOf"])) return json
  const { anyOf, ...rest } = json
  const [first, second] = json["anyOf"]
  return first?.type === "number" && Array.isArray(second?.enum) && second.enum.includes("NaN")
    ? { ...rest, ...first }
    : json
}

/** Returns the JSON Schema of a check, or `undefined` if there is no equivalent. */
export const toJsonSchema = (check: Schema.ConstraintDecoder<unknown>): JsonSchemaJson | undefined => {
  const source = sources.get(check)
  if (source !== undefined) return source
  const { ast } = check
  if (!isWritable(ast)) return undefined
  const { definitions, schema } = Schema.toJsonSchemaDocument(Schema.make<Schema.Top>(ast))
  const whole = Object.keys(definitions).length === 0 ? schema : { ...schema, $defs: definitions }
  const json: JsonSchemaJson = JSON.parse(JSON.stringify(whole, (_, one) => plainNumber(one)))
  return Result.isSuccess(fromJsonSchema(json)) ? json : undefined
}
