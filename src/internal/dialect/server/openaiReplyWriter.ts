/**
 * Writes replies as chat completions.
 *
 * Shapes: https://platform.openai.com/docs/api-reference/chat/object.
 */
import { defined } from "../../data/defined.ts"
import type { Reply } from "../chat.ts"
import { type AnswerFacts, finishWord, signatureBody, usageBody } from "./openaiWords.ts"

/**
 * Writes a reply of any provider as a chat completion, ready for `JSON.stringify`. Reasoning is in `reasoning_content`,
 * as in compatible servers.
 */
export const completionOf = (reply: Reply, facts: AnswerFacts): Record<string, unknown> => {
  const { parts, reasoning, refusal, text, toolCalls, usage } = reply
  const refused = refusal !== undefined && text === refusal
  const called = toolCalls.length > 0
  return {
    id: reply.id ?? facts.id,
    object: "chat.completion",
    created: facts.created,
    model: reply.model ?? facts.model,
    choices: [
      {
        index: 0,
        message: {
          role: "assistant",
          content: (text === "" && called) || refused ? null : text,
          refusal: refusal ?? null,
          annotations: [],
          ...defined({ reasoning_content: reasoning, parts }),
          ...(called && {
            tool_calls: toolCalls.map(({ arguments: args, id, name, signature }) => ({
              id,
              type: "function",
              function: { name, arguments: JSON.stringify(args) },
              ...signatureBody(signature)
            }))
          })
        },
        logprobs: null,
        finish_reason: finishWord(reply.finishReason, called, refusal !== undefined)
      }
    ],
    ...defined({ usage: usageBody(usage) }),
    service_tier: facts.serviceTier ?? null,
    system_fingerprint: facts.fingerprint ?? null
  }
}
