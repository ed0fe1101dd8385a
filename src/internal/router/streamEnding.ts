/**
 * Reports the end of a stream and its usage to rate limiters.
 */
import type { StreamEnd, TokenCounts } from "../admission/admission.ts"

/** Tracks the end of a stream and the usage that it reported. */
export const streamEnding = () => {
  let usage: TokenCounts | undefined
  let listeners: Array<(end: StreamEnd) => void> | undefined = []
  return {
    told: (counts: TokenCounts): void => {
      usage = counts
    },
    ended: (): void => {
      const waiting = listeners ?? []
      listeners = undefined
      for (const listener of waiting) listener({ usage })
    },
    onEnd: (listener: (end: StreamEnd) => void): void => {
      if (listeners === undefined) listener({ usage })
      else listeners.push(listener)
    }
  }
}
