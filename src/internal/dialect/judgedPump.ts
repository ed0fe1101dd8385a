/**
 * Judges a streamed answer when it is complete: a rejected one ends without its finish, and fails.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { GatewayError } from "../../GatewayError.ts"
import type { Reply } from "./chat.ts"
import { attempt } from "./codec.ts"
import { makeCollector } from "./deltaDecoder.ts"
import type { Pump } from "./deltaPump.ts"

/**
 * A pump that delivers the deltas of another one as they come. It withholds the finish of an answer for which `judge` has a rejection, and then fails with what `reject`
 * makes of that.
 */
export const judgedPump = <Rejection>(
  pump: Pump,
  judge: (reply: Reply) => Rejection | undefined,
  reject: (rejection: Rejection, answer: Reply) => GatewayError
): Pump => {
  const { reply, see } = makeCollector()
  let isAccepted = false
  let rejected: GatewayError | undefined
  const next: Pump["next"] = (limiting) =>
    Effect.flatMap(pump.next(limiting), (batch) => {
      // The rest of the connection has been read, so that its socket can be used again.
      if (rejected !== undefined) return Effect.fail(rejected)
      batch?.forEach(see)
      if (batch === undefined || !batch.some(({ type }) => type === "finish")) return Effect.succeed(batch)
      // Decoders have checked the calls, so a reply can be made of the deltas.
      const answer = Result.getOrThrow(attempt(reply))
      const rejection = judge(answer)
      if (rejection === undefined) {
        isAccepted = true
        return Effect.succeed(batch)
      }
      rejected = reject(rejection, answer)
      const rest = batch.filter(({ type }) => type !== "finish")
      return rest.length > 0 ? Effect.succeed(rest) : next(limiting)
    })
  return { next, isFinished: () => isAccepted, cancel: pump.cancel }
}
