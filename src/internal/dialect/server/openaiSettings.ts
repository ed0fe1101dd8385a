/**
 * Reads the settings of chat completion requests as neutral ones. OpenAI accepts `null` for an absent value.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/chat/create.
 */
import { defined } from "../../data/defined.ts"
import type { Request } from "../chat.ts"
import { type Fields, fields, refuse, text } from "../codec.ts"

export const given = (value: unknown): unknown => (value === null ? undefined : value)

export const number = (value: unknown, at: string): number | undefined => {
  const own = given(value)
  return own === undefined || typeof own === "number" ? own : refuse(at, "a number")
}

export const flag = (value: unknown, at: string): boolean | undefined => {
  const own = given(value)
  return own === undefined || typeof own === "boolean" ? own : refuse(at, "a boolean")
}

export const optional = (value: unknown, at: string): string | undefined => {
  const own = given(value)
  return own === undefined ? undefined : text(own, at)
}

/** Reads one of several words. */
export const word = <A extends string>(value: unknown, at: string, words: ReadonlyArray<A>): A =>
  words.find((known) => known === value) ?? refuse(at, `one of ${words.join(", ")}`)

export const details = ["auto", "low", "high", "original"] as const
const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const
const verbosities = ["low", "medium", "high"] as const
const tiers = ["auto", "default", "flex", "priority", "fast"] as const

/** Reads settings of the answer, other than those of all servers of this dialect. */
export const settings = (said: Fields): Partial<Request> => {
  const chosen = <A extends string>(name: string, words: ReadonlyArray<A>): A | undefined =>
    said[name] === undefined ? undefined : word(said[name], name, words)
  const effort = chosen("reasoning_effort", efforts)
  const { metadata } = said
  if (said.top_logprobs !== undefined && said.logprobs !== true) refuse("top_logprobs", "nothing without logprobs")
  return defined({
    frequencyPenalty: number(said.frequency_penalty, "frequency_penalty"),
    presencePenalty: number(said.presence_penalty, "presence_penalty"),
    logprobs: flag(said.logprobs, "logprobs") === true ? (number(said.top_logprobs, "top_logprobs") ?? 0) : undefined,
    parallelToolCalls: flag(said.parallel_tool_calls, "parallel_tool_calls"),
    reasoning: effort === undefined ? undefined : { effort },
    verbosity: chosen("verbosity", verbosities),
    tier: chosen("service_tier", tiers),
    cacheKey: optional(said.prompt_cache_key, "prompt_cache_key"),
    metadata:
      metadata === undefined
        ? undefined
        : Object.fromEntries(
            Object.entries(fields(metadata, "metadata")).map(([key, value]) => [key, text(value, `metadata.${key}`)])
          )
  })
}
