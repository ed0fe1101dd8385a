/**
 * What becomes of the fields of a request that a target cannot take: conditions are refused, so that the target is
 * passed over; hints are left out or brought to the nearest value, and reported.
 */
import type { EncodeOptions, Json, Request, Tool, ToolChoice } from "./chat.ts"
import { unsupported } from "./codec.ts"

/** Notes a hint that this target does not get as it stands. */
export type Lose = (
  field: string,
  /** What the target takes, for the issue where the hint must not be lost. */
  accepted: string,
  /** What is sent instead, if anything is. */
  note?: string,
  /**
   * `firm`: it shapes the answer, so that it is only lost where the request says so. `always`: it is lost in any case.
   */
  how?: "firm" | "always" | undefined
) => undefined

/** How a request loses its hints. */
export const loseOf =
  ({ losses }: Request, options: EncodeOptions | undefined): Lose =>
  (field, accepted, note, how) => {
    if (how !== "always" && (losses === "refuse" || (how === "firm" && losses === undefined)))
      unsupported(field, accepted)
    options?.onDropped?.(note === undefined ? field : `${field}: ${note}`)
  }

/** Notes each of some fields that is there. */
export const loseAll = (request: Request, names: ReadonlyArray<keyof Request>, lose: Lose, how?: "firm"): void => {
  for (const name of names) {
    if (request[name] !== undefined) lose(name, "nothing", undefined, how)
  }
}

/**
 * The temperature, brought down to what a provider takes. {@link checked} has let it through only where it may be lost.
 */
export const temperatureOf = ({ temperature }: Request, max: number, lose: Lose): number | undefined => {
  if (temperature === undefined || temperature <= max) return temperature
  const accepted = `at most ${max}`
  lose("temperature", accepted, accepted)
  return max
}

/** Levels of thinking, in order. */
export const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const

export type Effort = (typeof efforts)[number]

/** The level of `levels`, lowest first, that is nearest to what a request asks for. */
export const effortOf = ({ reasoning }: Request, levels: ReadonlyArray<Effort>, lose: Lose): Effort | undefined => {
  const { budget = 0, effort } = reasoning ?? {}
  if (effort === undefined && budget === 0) return undefined
  const wanted = effort ?? (budget < 2048 ? "low" : budget < 8192 ? "medium" : "high")
  // What does not think has nothing to turn off.
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

/** Refuses that a provider without such a setting calls at most one tool. */
export const checkParallel = ({ parallelToolCalls, tools = [] }: Request, lose: Lose): void => {
  if (parallelToolCalls !== false || tools.length === 0) return
  if (tools.length > 1) unsupported("parallelToolCalls", "nothing but true")
  lose("parallelToolCalls", "nothing but true")
}

/** The tools of a request, without those that its choice leaves out, and the choice among them. */
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

/** The provider's own tools among those of the request. Refuses those of another one. */
export const ownTools = ({ serverTools = [] }: Request, origin: string | undefined): ReadonlyArray<Json> =>
  serverTools.map((own, i) =>
    own.origin === origin
      ? own.tool
      : unsupported(`serverTools[${i}].origin`, origin ?? "nothing: there are no server tools here")
  )
