/**
 * Checks of answers: the options of a caller, and how the leaves below apply them.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Problem } from "../../GatewayOptions.ts"
import { judgedPump } from "../dialect/judgedPump.ts"
import { type Judge, type Leaf, type Node, type Rejection, rebuild, withoutValues } from "./node.ts"

/** A check of an answer: `true` accepts it, `false` or a reason rejects it. */
export type Predicate<Out> = (answer: Out) => boolean | string

/** Argument of `Route.validate`. */
export type Check<Out> = Predicate<Out> | Schema.ConstraintDecoder<unknown>

type Judging<Out> = (answer: Out) => Rejection | undefined

/** Maximum number of characters in a reason. */
const maxReason = 500

const byPredicate =
  <Out>(accepts: Predicate<Out>): Judging<Out> =>
  (answer) => {
    const verdict = accepts(answer)
    if (verdict === true) return undefined
    if (typeof verdict === "string" && verdict !== "") {
      return { issue: `validate: ${verdict.replace(/\s+/g, " ").slice(0, maxReason)}` }
    }
    if (verdict === false || verdict === "") return { issue: "validate: the predicate does not accept the answer" }
    // Reached by callers without types: a promise or a forgotten `return` must not count as a verdict.
    throw new TypeError("the predicate of Route.validate must return true, false or a reason")
  }

const bySchema = (schema: Schema.ConstraintDecoder<unknown>): Judging<unknown> => {
  const decode = Schema.decodeUnknownResult(schema)
  return (answer) => {
    const decoded = decode(answer)
    return Result.isSuccess(decoded)
      ? undefined
      : { issue: `validate: expected ${withoutValues(decoded.failure.message)}` }
  }
}

const judgeOf = (reply: Judge["reply"]): Judge => ({ reply, pump: (pump, reject) => judgedPump(pump, reply, reject) })

const withCheck = <In, Out>(leaf: Leaf<In, Out>, judge: Judging<Out>): Leaf<In, Out> => {
  const { chat, ofReply, unchecked = leaf } = leaf
  return {
    ...leaf,
    isValidated: true,
    unchecked,
    decode: (body) =>
      Result.flatMap(leaf.decode(body), (decoded) => {
        const rejection = judge(decoded.value)
        return rejection === undefined ? Result.succeed(decoded) : Result.fail({ ...rejection, usage: decoded.usage })
      }),
    ...(chat &&
      ofReply && { chat: { ...chat, judge: judgeOf((reply) => chat.judge?.reply(reply) ?? judge(ofReply(reply))) } })
  }
}

const isSchema = (check: unknown): check is Schema.ConstraintDecoder<unknown> => Schema.isSchema(check)

/** A route whose answers are checked, or the problem of the check. Inner checks run first. */
export const validated = <In, Out>(route: Node<In, Out>, check: Check<Out>): Node<In, Out> | Problem => {
  const schema = isSchema(check) ? check : undefined
  if (schema === undefined && typeof check !== "function") {
    return { field: "validate", accepted: "a function of the answer, or a Schema" }
  }
  const judge = isSchema(check) ? bySchema(check) : byPredicate(check)
  const checked = rebuild<In, Out, In, Out>(
    route,
    (leaf) => withCheck(leaf, judge),
    (predicate) => predicate
  )
  return { _tag: "Validate", validation: { schema }, route: checked }
}
