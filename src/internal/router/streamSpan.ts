/**
 * The span of a streamed run. It ends with the stream, and not when the stream has been opened.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { GatewayError } from "../../GatewayError.ts"
import { usageAttributes } from "../data/telemetry.ts"
import type { OpenSpan } from "../hotpath/span.ts"
import type { RunningStream } from "./streamTail.ts"

/** A stream whose end ends a span. */
export const traceStream = (span: OpenSpan, running: RunningStream): RunningStream => {
  let isOver = false
  const end = (exit: Exit.Exit<unknown, GatewayError>): void => {
    if (isOver) return
    isOver = true
    const { deltas, model, opened, restarts, usage } = running.progress()
    const { response, target } = opened
    const { leaf } = target
    span.annotate({
      "gen_ai.provider.name": response.meta.provider ?? leaf.provider,
      "gen_ai.response.model": model ?? response.meta.model ?? leaf.model,
      ...usageAttributes(usage),
      "ai_gateway.deltas": deltas,
      "ai_gateway.log_id": response.meta.logId,
      "ai_gateway.restarts": restarts
    })
    span.end(exit)
  }
  const closing = (close: Effect.Effect<void>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { finished, opened } = running.progress()
      const exit = finished || opened.pump?.isFinished() === true ? Exit.void : Exit.interrupt()
      return Effect.map(close, () => end(exit))
    })
  let taken = false
  return {
    ...running,
    deltas: () => {
      const { cancel, next } = running.deltas()
      // A second consumer gets a failure that does not belong to the stream.
      if (taken) return { next, cancel }
      taken = true
      const seen = Effect.onExit(next, (exit) => {
        // An interrupted read may be repeated. Otherwise the scope ends the stream.
        if (Exit.isSuccess(exit) ? exit.value === undefined : !Exit.hasInterrupts(exit)) end(exit)
        return Effect.void
      })
      return { next: seen, cancel: closing(cancel) }
    },
    close: closing(running.close)
  }
}
