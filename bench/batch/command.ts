/**
 * What `questions/batch.ts` and its contenders say to each other.
 */

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

/** What the asker says. */
export interface Command {
  readonly name: string
  readonly url: string
  readonly items: number
  readonly concurrency: number
}

/** What it gets. */
export interface Report {
  readonly span: Span
  /** What is not the batch's: the start of a program. */
  readonly start?: Span
  /** Milliseconds, without those of the start. */
  readonly cpu: number
  /** Megabytes that were resident after each quarter and a collection; of the command line, at most in each quarter. */
  readonly resident: ReadonlyArray<number>
}
