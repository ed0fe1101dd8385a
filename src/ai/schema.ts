/**
 * Schemas in the form that all providers of a route accept, and checks of the answers against them.
 */
import type { CodecTransformer } from "effect/ai/LanguageModel"
import * as OpenAiStructuredOutput from "effect/ai/OpenAiStructuredOutput"
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Chat from "../Chat.ts"
import { isRecord, parseJson } from "../internal/data/json.ts"
import { atRoot, schemaFor, unfenced } from "../internal/dialect/outputSchema.ts"
import { rebuild, withoutValues } from "../internal/route/node.ts"
import * as Route from "../Route.ts"

// Anthropic rejects them. The description of a field states the same in words, and the codec checks the answer.
const bounds = new Set([
  "minimum",
  "maximum",
  "exclusiveMinimum",
  "exclusiveMaximum",
  "multipleOf",
  "minItems",
  "maxItems"
])

const withoutBounds = (schema: Chat.JsonSchema): Record<string, unknown> => {
  const out: Record<string, unknown> = {}
  for (const [keyword, value] of Object.entries(schema)) {
    if (bounds.has(keyword)) continue
    out[keyword] =
      (keyword === "properties" || keyword === "$defs") && isRecord(value)
        ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, inner(one)]))
        : keyword === "items" || keyword === "anyOf"
          ? inner(value)
          : value
  }
  return out
}

const inner = (value: unknown): unknown =>
  Array.isArray(value) ? value.map(inner) : isRecord(value) ? withoutBounds(value) : value

const transformed = new WeakMap<object, unknown>()

/**
 * Transforms a schema for OpenAI's strict mode, without the keywords that Anthropic rejects: closed objects, every
 * field required.
 */
export const transformer: CodecTransformer = (schema) => {
  const known = transformed.get(schema)
  if (known !== undefined)
    return known as ReturnType<typeof OpenAiStructuredOutput.toCodecOpenAI<never, never, never, never>>
  const { codec, jsonSchema } = OpenAiStructuredOutput.toCodecOpenAI(schema)
  const made = { codec, jsonSchema: withoutBounds(jsonSchema) }
  transformed.set(schema, made)
  return made
}

const parameters = new WeakMap<Tool.Any, Chat.JsonSchema>()

/**
 * The JSON Schema of a tool's arguments. Only strict tools use the strict form, which differs from the arguments that
 * the handler takes.
 */
export const parametersOf = (tool: Tool.Any): Chat.JsonSchema => {
  const known = parameters.get(tool)
  if (known !== undefined) return known
  const isStrict = Tool.getStrictMode(tool) === true
  const schema = isStrict ? Tool.getJsonSchema(tool, { transformer }) : atRoot(Tool.getJsonSchema(tool))
  // OpenAI rejects an object without this keyword, which Effect omits for a tool without parameters.
  const made = schema.type === "object" && schema.properties === undefined ? { ...schema, properties: {} } : schema
  parameters.set(tool, made)
  return made
}

type PlainCodec = Schema.Codec<unknown, unknown>

const decodeIn = (schema: Schema.Constraint, value: unknown): Exit.Exit<unknown, Schema.SchemaError> =>
  Schema.decodeUnknownExit(schema as PlainCodec)(value)

/**
 * Returns the arguments in the form that the handler of a tool takes. A strict tool is called with `null` for an absent
 * field and with objects for tuples, and every tool with JSON, in which a date is a string. Arguments that do not
 * decode are returned unchanged: the toolkit reports them as the tool wants it.
 */
export const argumentsOf = (tool: Tool.Any, given: unknown): unknown => {
  // A schema that needs services of its handler cannot decode here.
  const plain = tool.parametersSchema as Schema.Constraint as PlainCodec
  if (Tool.isDynamic(tool) || !Schema.isSchema(plain)) return given
  const isStrict = Tool.getStrictMode(tool) === true
  if (!isStrict && Exit.isSuccess(decodeIn(plain, given))) return given
  const decoded = decodeIn(isStrict ? transformer(plain).codec : Schema.toCodecJson(plain), given)
  if (Exit.isFailure(decoded)) return given
  const encoded = Schema.encodeUnknownExit(plain)(decoded.value)
  return Exit.isSuccess(encoded) ? encoded.value : given
}

/**
 * The reason why a text is not an answer for a schema; absent when it is one, or when only the caller's services can
 * decide.
 */
const issueOf = (codec: Schema.Constraint, text: string): string | undefined => {
  const value = parseJson(unfenced(text))
  if (value === undefined) return "the answer is not JSON"
  const exit = decodeIn(codec, value)
  if (Exit.isSuccess(exit)) return undefined
  const found = exit.cause.reasons.find(Cause.isFailReason)
  return found === undefined ? undefined : `expected ${withoutValues(found.error.message)}`
}

/** Fits the schema of the output to the dialect of each target. A target that cannot take it is skipped. */
const fitted = (route: Route.Route<Chat.Request, Chat.Reply>, schema: Chat.JsonSchema) =>
  Route.fromNode(
    rebuild<Chat.Request, Chat.Reply, Chat.Request, Chat.Reply>(
      route.node,
      ({ build, ...leaf }, again) => {
        const sent = schemaFor(leaf.chat?.dialect ?? "", schema)
        return {
          ...leaf,
          spec: undefined,
          unchecked: leaf.unchecked && again(leaf.unchecked),
          build: (input) =>
            Result.isFailure(sent)
              ? Result.fail({ field: "schema", accepted: sent.failure, isUnsupported: true })
              : build({ ...input, output: { type: "json", ...input.output, ...sent.success } })
        }
      },
      (predicate) => predicate
    )
  )

/**
 * A route whose targets answer with JSON for a schema. Any other answer is an `InvalidResponse`, and the router calls
 * the next target. Filtered answers and tool calls are not checked.
 */
export const holding = (
  route: Route.Route<Chat.Request, Chat.Reply>,
  schema: Schema.Constraint
): Route.Route<Chat.Request, Chat.Reply> => {
  const { codec, jsonSchema } = transformer(schema as PlainCodec)
  return Route.validate(
    fitted(route, jsonSchema),
    ({ finishReason, text, toolCalls }) =>
      toolCalls.length > 0 || finishReason === "contentFilter" || (issueOf(codec, text) ?? true)
  )
}
