/**
 * Checks a streamed answer when it is complete: a rejected one ends without its finish, and fails.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { GatewayError } from "../../GatewayError.ts"
import type { Reply } from "./chat.ts"
import { attempt } from "./codec.ts"
import { describe, makeCollector } from "./deltaDecoder.ts"
import type { Pump } from "./deltaPump.ts"

/** The reason why an answer is rejected. */
interface Rejection {
  readonly issue: string
}

/**
 * Makes a pump that passes on the deltas of another one. If `judge` rejects the answer, it withholds the finish and
 * fails with the result of `reject`.
 */
export const judgedPump = (
  pump: Pump,
  judge: (reply: Reply) => Rejection | undefined,
  reject: (rejection: Rejection, answer: Reply) => GatewayError
): Pump => {
  const { said, reply, see } = makeCollector()
  let isAccepted = false
  let rejected: GatewayError | undefined
  const next: Pump["next"] = (limiting) =>
    Effect.flatMap(pump.next(limiting), (batch) => {
      // The rest of the connection has been read, so that its socket can be reused.
      if (rejected !== undefined) return Effect.fail(rejected)
      batch?.forEach(see)
      if (batch === undefined || !batch.some(({ type }) => type === "finish")) return Effect.succeed(batch)
      // The last call of a truncated answer is often invalid JSON: it is rejected, as in a complete body.
      const answer = attempt(reply)
      const rejection = Result.isFailure(answer) ? { issue: describe(answer.failure) } : judge(answer.success)
      if (rejection === undefined) {
        isAccepted = true
        return Effect.succeed(batch)
      }
      rejected = reject(rejection, Result.getOrElse(answer, said))
      const rest = batch.filter(({ type }) => type !== "finish")
      return rest.length > 0 ? Effect.succeed(rest) : next(limiting)
    })
  return { next, isFinished: () => isAccepted, cancel: pump.cancel }
}
