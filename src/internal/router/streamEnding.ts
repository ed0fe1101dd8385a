/**
 * The end of a stream, for those who count what it used.
 */
import type { StreamEnd, TokenCounts } from "../admission/admission.ts"

/** Knows when a stream has ended, and what it said it used. */
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
