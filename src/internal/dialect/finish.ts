/**
 * Why answers end: one table for all vendors, and for replies and streams alike.
 *
 * Rows are tried in order, whatever the case of the letters. They match parts of words, because vendors spell one thing
 * in many ways (`malformed_function_call`, `malformed_tool_use`, `MALFORMED_RESPONSE`);
 * `test/fixtures/chat/finishReasons.ts` lists the words that are known, and who says them. A word that no row knows is
 * an end, `other`: what it stands for was paid for, and an answer with nothing in it is refused anyway.
 */
import type { FinishReason, Reply, ToolCall } from "./chat.ts"
import { isFields, refuse } from "./codec.ts"

/** What the words mean; `undefined` stands for an answer that broke off, or that the model spoilt. */
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

/** What a finish reason means; absent when there is none. Refuses the word of an answer that broke off. */
export const finishReasonOf = (raw: unknown, field: string): FinishReason | undefined => {
  // SGLang writes an object where a request was aborted.
  const word = isFields(raw) ? raw.type : raw
  // Alibaba's own API writes the text `null` until there is one.
  if (typeof word !== "string" || word === "" || word === "null") return undefined
  // Most answers end so.
  if (word === "stop") return word
  for (const [words, reason] of table) {
    if (words.test(word)) return reason ?? refuse(field, `an end, not ${word.slice(0, 60)}`)
  }
  return "other"
}

/**
 * Makes the finish reason agree with the calls: some servers say `stop` although tools were called (OpenAI itself when
 * one tool was forced), and a loop that waits for calls must not be told of calls that are not there.
 */
export const finish = (reason: FinishReason, toolCalls: ReadonlyArray<ToolCall>): FinishReason => {
  if (toolCalls.length > 0) return reason === "stop" ? "toolCalls" : reason
  return reason === "toolCalls" ? "other" : reason
}

/** Whether an answer that ended so may have nothing in it. */
export const mayBeEmpty = (reason: FinishReason): boolean => reason === "length" || reason === "contentFilter"

/** What a reply has to have, unless its reason says why it has nothing. */
export const someOutput = "some output, or `allowEmpty`"

/** Whether nothing was said, and nothing says why. Thoughts alone are no answer. */
export const isEmpty = ({ finishReason, parts, text, toolCalls }: Reply): boolean =>
  !(text || toolCalls.length > 0 || parts || mayBeEmpty(finishReason))
