/**
 * Detects requests that change something at the provider, so that calling two targets at once would do it twice.
 */
import * as Result from "effect/Result"
import { isRecord } from "../data/json.ts"
import type { Plan, Target } from "../route/plan.ts"
import { targetsOf } from "../route/plan.ts"

/** Whether a provider runs a tool itself: everything except functions, which the caller runs. */
const isServerTool = (tool: unknown): boolean => {
  if (!isRecord(tool)) return false
  const { type } = tool
  if (typeof type === "string") return type !== "function" && type !== "custom"
  // Google's tools have no type: they are declarations of functions, or the name of a server tool.
  return !("name" in tool || "function" in tool || "functionDeclarations" in tool || "function_declarations" in tool)
}

const isSet = (value: unknown): boolean => value !== undefined && value !== null && value !== false

/** Whether a request body asks for more than an answer. */
const changesSomething = (query: unknown): boolean =>
  isRecord(query) &&
  (query.store === true ||
    isSet(query.background) ||
    isSet(query.conversation) ||
    isSet(query.previous_response_id) ||
    // Servers whose tools Anthropic calls by itself.
    isSet(query.mcp_servers) ||
    (Array.isArray(query.tools) && query.tools.some(isServerTool)))

/**
 * Whether a target must not be called at the same time as another one. A request that cannot be built changes nothing.
 */
export const hasSideEffects = <In>({ leaf }: Target<In, unknown>, input: In): boolean => {
  if (leaf.idempotent !== undefined) return !leaf.idempotent
  const built = leaf.build(input)
  return Result.isSuccess(built) && changesSomething(built.success.query)
}

/** The same as {@link hasSideEffects}, for all targets that an input leads to. */
export const anySideEffects = <In>(plan: Plan<In, unknown>, input: In): boolean =>
  targetsOf(plan, input).some((target) => hasSideEffects(target, input))
