/**
 * Facts about models, by name, that determine what a request may hold. A model newer than this table gets the rules of
 * the newest one of its family. Nothing here changes an answer: fields are rejected or adapted before sending.
 *
 * Sources: https://platform.claude.com/docs/en/about-claude/models, https://ai.google.dev/gemini-api/docs/thinking and
 * https://platform.openai.com/docs/guides/reasoning.
 */
import type { Effort } from "./hints.ts"

/** How thinking is requested from a Claude model: not at all, with a budget of tokens, or by an effort. */
export interface Claude {
  readonly thinking: "none" | "budget" | "adaptive"
  /** Efforts if `thinking` is `adaptive`. */
  readonly efforts: ReadonlyArray<Effort>
  /** Whether it also takes a budget. */
  readonly budget: boolean
  /** Whether it takes `temperature`, `top_p` and `top_k`. */
  readonly sampling: boolean
  /** Whether it takes `temperature` and `top_p` together. */
  readonly samplingTogether: boolean
  /** Whether it takes them while thinking too. */
  readonly samplingAndThinking: boolean
  /** Whether it can be forced to call a tool. */
  readonly forced: boolean
  /** Whether it continues a conversation that ends with its own turn. */
  readonly prefill: boolean
  /** Whether it shows its thinking only on request. */
  readonly hidden: boolean
}

export const claude = (model: string): Claude => {
  const found = /claude-(?:(\d)(?:[-.](\d))?-)?([a-z]+)(?:-(\d{1,2})(?:[-.](\d{1,2})(?!\d))?(?!\d))?/i.exec(model)
  // Other models behind the same API take what older ones take.
  if (!/claude/i.test(model)) {
    return {
      thinking: "adaptive",
      efforts: ["none", "low", "medium", "high", "xhigh", "max"],
      budget: true,
      sampling: true,
      samplingTogether: true,
      samplingAndThinking: true,
      forced: true,
      prefill: true,
      hidden: false
    }
  }
  const [, before, beforeMinor, family = "", after, afterMinor] = found ?? []
  const major = before ?? after
  const version = /instant|claude-2/i.test(model)
    ? 2
    : major === undefined
      ? 99
      : Number(major) + Number(beforeMinor ?? afterMinor ?? 0) / 10
  const always = family === "fable" || (version >= 5.5 && family !== "haiku")
  return {
    thinking: version < 3.7 ? "none" : version < 4.6 ? "budget" : "adaptive",
    efforts: [
      ...(always ? [] : ["none" as const]),
      "low",
      "medium",
      "high",
      ...(version >= 4.7 ? ["xhigh" as const] : []),
      "max"
    ],
    budget: version <= 4.6,
    sampling: version < 4.7,
    samplingTogether: version < 4.1,
    samplingAndThinking: false,
    forced: !(family === "fable" ? version >= 5.1 : version >= 5.5 && family !== "haiku"),
    prefill: version < 4.6,
    hidden: version >= 4.7
  }
}

/** Tokens of thinking for an effort, for Claude models with a budget. */
export const claudeBudget = (effort: Effort): number =>
  effort === "medium" ? 2048 : effort === "high" ? 4096 : effort === "xhigh" || effort === "max" ? 16_384 : 1024

/** How thinking is requested from a Gemini model. */
export interface Gemini {
  /**
   * Whether it thinks by levels, requires its signatures back, takes files in tool results, and takes a schema together
   * with functions.
   */
  readonly isLevelled: boolean
  /** Levels, lowest first. */
  readonly levels: ReadonlyArray<Effort>
  /** Minimum and maximum tokens if it thinks by a budget. */
  readonly budget: readonly [least: number, most: number]
}

export const gemini = (model: string): Gemini => {
  const levelled = /gemini(?!-[12](?:\D|$))/i.test(model)
  const pro = /pro/i.test(model)
  return {
    isLevelled: levelled,
    levels: /gemini-3-pro/i.test(model)
      ? ["low", "high"]
      : [
          ...(pro ? [] : ["minimal" as const]),
          "low",
          "medium",
          "high",
          ...(/gemini-4-hydrogen/i.test(model) ? ["xhigh" as const] : [])
        ],
    budget: pro ? [128, 32_768] : [0, 24_576]
  }
}

/** Tokens of thinking for an effort, for Gemini 2.5. */
export const geminiBudget = (effort: Effort, [least, most]: Gemini["budget"]): number => {
  const budgets: Partial<Record<Effort, number>> = { none: least, minimal: 1024, low: 1024, medium: 8192, high: 24_576 }
  return Math.max(least, Math.min(most, budgets[effort] ?? most))
}
