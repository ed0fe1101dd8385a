/**
 * Handles fields of a request that a target cannot take. A condition is rejected, so that the router skips the target;
 * a hint is omitted or replaced by the nearest value, and reported.
 */
import type { EncodeOptions, Json, Request, Tool, ToolChoice } from "./chat.ts"
import { unsupported } from "./codec.ts"

/** Records a hint that this target does not get unchanged. */
export type Lose = (
  field: string,
  /** The accepted values, for the issue if the hint must not be dropped. */
  accepted: string,
  /** The value that is sent instead, if any. */
  note?: string,
  /**
   * `firm`: it shapes the answer, so it is only dropped if the request allows it. `always`: it is dropped in any case.
   */
  how?: "firm" | "always" | undefined
) => undefined

/** Returns how a request drops its hints. */
export const loseOf =
  ({ losses }: Request, options: EncodeOptions | undefined): Lose =>
  (field, accepted, note, how) => {
    if (how !== "always" && (losses === "refuse" || (how === "firm" && losses === undefined)))
      unsupported(field, accepted)
    options?.onDropped?.(note === undefined ? field : `${field}: ${note}`)
  }

/** Records each of the given fields that is present. */
export const loseAll = (request: Request, names: ReadonlyArray<keyof Request>, lose: Lose, how?: "firm"): void => {
  for (const name of names) {
    if (request[name] !== undefined) lose(name, "nothing", undefined, how)
  }
}

/**
 * Returns the temperature, reduced to a provider's maximum. {@link checked} accepts a higher one only if it may be
 * dropped.
 */
export const temperatureOf = ({ temperature }: Request, max: number, lose: Lose): number | undefined => {
  if (temperature === undefined || temperature <= max) return temperature
  const accepted = `at most ${max}`
  lose("temperature", accepted, accepted)
  return max
}

/** Levels of thinking, lowest first. */
export const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const

export type Effort = (typeof efforts)[number]

/** Returns the level of `levels` (lowest first) that is nearest to the one requested. */
export const effortOf = ({ reasoning }: Request, levels: ReadonlyArray<Effort>, lose: Lose): Effort | undefined => {
  const { budget = 0, effort } = reasoning ?? {}
  if (effort === undefined && budget === 0) return undefined
  const wanted = effort ?? (budget < 2048 ? "low" : budget < 8192 ? "medium" : "high")
  // A model that does not think has nothing to turn off.
  if (levels.length === 0 && wanted === "none") return undefined
  const rank = efforts.indexOf(wanted)
  const found = levels.findLast((level) => efforts.indexOf(level) <= rank) ?? levels[0]
  const field = effort === undefined ? "reasoning.budget" : "reasoning.effort"
  if (found !== wanted || effort === undefined) {
    lose(
      field,
      levels.length === 0 ? "nothing" : `one of ${levels.join(", ")}`,
      found,
      wanted === "none" ? "firm" : undefined
    )
  }
  return found
}

/** Rejects a limit of one tool call for a provider without such a setting. */
export const checkParallel = ({ parallelToolCalls, tools = [] }: Request, lose: Lose): void => {
  if (parallelToolCalls !== false || tools.length === 0) return
  if (tools.length > 1) unsupported("parallelToolCalls", "nothing but true")
  lose("parallelToolCalls", "nothing but true")
}

/** Returns the tools of a request without those that its choice excludes, and the choice among them. */
export const allowedTools = ({
  toolChoice,
  tools = []
}: Request): {
  readonly tools: ReadonlyArray<Tool>
  readonly choice: Exclude<ToolChoice, { readonly mode: string }> | undefined
} =>
  typeof toolChoice === "object" && "allowed" in toolChoice
    ? { tools: tools.filter(({ name }) => toolChoice.allowed.includes(name)), choice: toolChoice.mode }
    : { tools, choice: toolChoice }

/** Returns the provider's own tools of the request. Rejects those of another provider. */
export const ownTools = ({ serverTools = [] }: Request, origin: string | undefined): ReadonlyArray<Json> =>
  serverTools.map((own, i) =>
    own.origin === origin
      ? own.tool
      : unsupported(`serverTools[${i}].origin`, origin ?? "nothing: there are no server tools here")
  )
