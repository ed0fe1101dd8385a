/**
 * Routes that answer with a value of a schema: the requests of the leaves, and how their answers are read.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Problem } from "../../GatewayOptions.ts"
import { defined } from "../data/defined.ts"
import { isRecord, strayField } from "../data/json.ts"
import type { Input, JsonSchema, Reply } from "../dialect/chat.ts"
import { toRequest } from "../dialect/codec.ts"
import { judgedPump } from "../dialect/judgedPump.ts"
import { atRoot, schemaFor, unfenced } from "../dialect/outputSchema.ts"
import { plainNumber } from "./jsonSchema.ts"
import { type DecodedAnswer, type Leaf, type Node, type Rejection, rebuild, withoutValues } from "./node.ts"

/** Options of `Route.object`. */
export interface ObjectOptions {
  /** Label of the schema, for providers that require one: 1 to 64 letters, digits, `_` or `-`. Default: `output`. */
  readonly name?: string | undefined
}

const jsonSchemaOf = (schema: Schema.Top): JsonSchema | undefined => {
  try {
    const { definitions, schema: own } = Schema.toJsonSchemaDocument(schema, { onExcessProperty: "error" })
    const whole = Object.keys(definitions).length === 0 ? own : { ...own, $defs: definitions }
    const json: unknown = JSON.parse(JSON.stringify(whole, (_, one) => plainNumber(one)))
    const rooted = isRecord(json) ? atRoot(json) : {}
    return rooted["type"] === "object" ? rooted : undefined
  } catch {
    // Some schemas have no JSON Schema: a function, a class without an encoding.
    return undefined
  }
}

type Read<A> = (reply: Reply) => Result.Result<A, Rejection>

const reader = <A>(schema: Schema.ConstraintDecoder<A>): Read<A> => {
  const decode = Schema.decodeUnknownResult(Schema.toCodecJson(schema))
  return ({ finishReason, text }) => {
    let json: unknown
    try {
      json = JSON.parse(unfenced(text))
    } catch {
      const why = finishReason === "length" ? ", because it was cut off" : ""
      return Result.fail({ issue: `object: the answer is not JSON${why}` })
    }
    const decoded = decode(json)
    return Result.isSuccess(decoded)
      ? Result.succeed(decoded.success)
      : Result.fail({ issue: `object: expected ${withoutValues(decoded.failure.message)}` })
  }
}

const withObject = <A>(
  leaf: Leaf<Input, Reply>,
  json: JsonSchema,
  name: string | undefined,
  read: Read<A>,
  again: (leaf: Leaf<Input, Reply>) => Leaf<Input, A>
): Leaf<Input, A> => {
  const { chat, ofReply, unchecked, ...rest } = leaf
  const sent = schemaFor(chat?.dialect ?? "", json)
  return {
    ...rest,
    isValidated: true,
    unchecked: unchecked && again(unchecked),
    // The dialect alone no longer describes it.
    spec: undefined,
    build: (input) => {
      const request = toRequest(input)
      if (request.output !== undefined) return Result.fail({ field: "output", accepted: "nothing below Route.object" })
      if (request.tools !== undefined) {
        return Result.fail({ field: "tools", accepted: "nothing below Route.object: agents use Route.validate" })
      }
      if (chat === undefined) return Result.fail({ field: "object", accepted: "a chat target", isUnsupported: true })
      if (Result.isFailure(sent)) {
        return Result.fail({ field: "object.schema", accepted: sent.failure, isUnsupported: true })
      }
      return leaf.build({ ...request, output: { type: "json", ...sent.success, ...defined({ name }) } })
    },
    decode: (body) =>
      Result.flatMap(
        leaf.decode(body),
        ({ value, ...answer }): Result.Result<DecodedAnswer<A>, Rejection> =>
          Result.mapBoth(read(value), {
            onSuccess: (value) => ({ ...answer, value }),
            onFailure: (rejection) => ({ ...rejection, ...defined({ usage: answer.usage }) })
          })
      ),
    ...(ofReply && {
      // Only called with answers that were accepted.
      ofReply: (reply: Reply) => Result.getOrThrow(read(ofReply(reply)))
    }),
    ...(chat && {
      chat: {
        ...chat,
        judge: {
          reply: (reply: Reply) => {
            const rejection = chat.judge?.reply(reply)
            if (rejection !== undefined || ofReply === undefined) return rejection
            const made = read(ofReply(reply))
            return Result.isFailure(made) ? made.failure : undefined
          },
          pump: (pump, reject) =>
            judgedPump(pump, (reply) => chat.judge?.reply(reply) ?? verdictOf(read, reply), reject)
        }
      }
    })
  }
}

const verdictOf = <A>(read: Read<A>, reply: Reply): Rejection | undefined => {
  const made = read(reply)
  return Result.isFailure(made) ? made.failure : undefined
}

const problemOf = (json: JsonSchema | undefined, options: ObjectOptions): Problem | undefined => {
  const stray = strayField(options, ["name"])
  if (stray !== undefined) return { field: `object.${stray}`, accepted: "name" }
  const { name } = options
  if (name !== undefined && !/^[\w-]{1,64}$/.test(name)) {
    return { field: "object.name", accepted: "1 to 64 letters, digits, _ or -" }
  }
  return json === undefined
    ? { field: "object.schema", accepted: "a Schema of an object that JSON Schema can express" }
    : undefined
}

/** Makes a route whose answers are values of a schema. */
export const objected = <A>(
  route: Node<Input, Reply>,
  schema: Schema.Codec<A, unknown>,
  options: ObjectOptions
): Node<Input, A> => {
  const json = Schema.isSchema(schema) ? jsonSchemaOf(schema) : undefined
  const problem = problemOf(json, options)
  const read: Read<A> = problem === undefined ? reader(schema) : () => Result.fail({ issue: "object" })
  const made = rebuild<Input, Reply, Input, A>(
    route,
    (leaf, again) => withObject(leaf, json ?? {}, options.name, read, again),
    (predicate) => predicate
  )
  return problem === undefined
    ? { _tag: "Validate", validation: { schema, isObject: true }, route: made }
    : { _tag: "Invalid", problem, route: made }
}
