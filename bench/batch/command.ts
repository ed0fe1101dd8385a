/** Messages between `questions/batch.ts` and its contenders. */

import type { Span } from "../turns.ts"

/** The contenders. */
export const names = {
  loop: "loop over undici, by hand",
  bare: "Router.run alone",
  kept: "Router.run, kept by hand",
  batch: "Batch.run",
  journal: "Batch.run with a journal",
  cli: "effect-ai-gateway batch"
} as const

/** Request of the asker. */
export interface Command {
  readonly name: string
  readonly url: string
  readonly items: number
  readonly concurrency: number
}

/** Answer of a contender. */
export interface Report {
  readonly span: Span
  /** The start of a program, which is not part of the batch. */
  readonly start?: Span
  /** Milliseconds, without those of the start. */
  readonly cpu: number
  /** Resident megabytes after each quarter and a collection; for the command line, the maximum of each quarter. */
  readonly resident: ReadonlyArray<number>
}
