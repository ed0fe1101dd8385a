/**
 * Why answers end: one table for all vendors, for replies and streams.
 *
 * Rows are tried in order and ignore case. They match parts of words, because vendors spell one thing in many ways
 * (`malformed_function_call`, `malformed_tool_use`, `MALFORMED_RESPONSE`); `test/fixtures/chat/finishReasons.ts` lists
 * the known words and their vendors. A word that matches no row is an end, `other`: the answer was paid for, and an
 * empty one is rejected anyway.
 */
import type { FinishReason, Reply, ToolCall } from "./chat.ts"
import { isFields, refuse } from "./codec.ts"

/** Patterns and their meaning; `undefined` stands for an answer that broke off, or that the model spoilt. */
const table: ReadonlyArray<readonly [RegExp, FinishReason | undefined]> = [
  [/conten|refus|safety|recit|block|spii|armor|sensi|guard|toxic|moderat/i, "contentFilter"],
  [
    /err|abort|cancel|malf|unex|many|miss|filter|insuf|time|fail|repet|not_|inval|incompl|rate_|overl|unavail|disconn|deadline|preempt/i,
    undefined
  ],
  [/^pause/i, "pause"],
  [/leng|max_?t|max_|limit(_reached)?$|window|contin/i, "length"],
  [/tool|func/i, "toolCalls"],
  [/^(stop|end|eos|complete)/i, "stop"]
]

/** Returns the meaning of a finish reason; absent if there is none. Rejects the reason of an answer that broke off. */
export const finishReasonOf = (raw: unknown, field: string): FinishReason | undefined => {
  // SGLang writes an object if a request was aborted.
  const word = isFields(raw) ? raw.type : raw
  // Alibaba's own API writes the string `null` until there is one.
  if (typeof word !== "string" || word === "" || word === "null") return undefined
  // Most answers end so.
  if (word === "stop") return word
  for (const [words, reason] of table) {
    if (words.test(word)) return reason ?? refuse(field, `an end, not ${word.slice(0, 60)}`)
  }
  return "other"
}

/**
 * Makes the finish reason consistent with the calls: some servers write `stop` although tools were called (OpenAI
 * itself if one tool was forced), and a loop that waits for calls needs at least one.
 */
export const finish = (reason: FinishReason, toolCalls: ReadonlyArray<ToolCall>): FinishReason => {
  if (toolCalls.length > 0) return reason === "stop" ? "toolCalls" : reason
  return reason === "toolCalls" ? "other" : reason
}

/** Whether an answer with this end may be empty. */
export const mayBeEmpty = (reason: FinishReason): boolean => reason === "length" || reason === "contentFilter"

/** The required content of a reply, unless its reason explains why it is empty. */
export const someOutput = "some output, or `allowEmpty`"

/** Whether an answer is empty without a reason. Thinking alone is not an answer. */
export const isEmpty = ({ finishReason, parts, text, toolCalls }: Reply): boolean =>
  !(text || toolCalls.length > 0 || parts || mayBeEmpty(finishReason))
