/**
 * Lets processes do their work in turns: each has the machine for a moment while the others are stopped. A machine that
 * is slower for some seconds, as shared ones are, is then slower for all of them, and not for the one that happened to
 * run.
 */
import type { Child } from "./child.ts"

/** A moment that is short beside what makes a machine slow, and long beside what a change of processes costs. */
const turnMillis = 250

/** From a time to a time, in milliseconds since the epoch. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** What a process was asked to do, and how much of a span of time it had. */
export interface Done<A> {
  readonly answer: A
  readonly within: (span: Span) => number
}

/** Asks each the same kind of question; the children are `pausable`. */
export const inTurns = async <A>(
  all: ReadonlyArray<{ readonly child: Child; readonly question: object }>
): Promise<ReadonlyArray<Done<A>>> => {
  const now = (): number => performance.timeOrigin + performance.now()
  let wake = (): void => {}
  const runs = all.map(({ child, question }) => {
    child.pause()
    const run = { child, turns: [] as Array<Span>, ended: false, answer: child.ask<A>(question) }
    const end = (): void => {
      run.ended = true
      wake()
    }
    run.answer.then(end, end)
    return run
  })
  while (runs.some(({ ended }) => !ended)) {
    for (const run of runs) {
      if (run.ended) continue
      const from = now()
      run.child.resume()
      await new Promise<void>((resolve) => {
        wake = resolve
        setTimeout(resolve, turnMillis)
      })
      run.child.pause()
      run.turns.push({ from, to: now() })
    }
  }
  for (const { child } of runs) child.resume()
  return Promise.all(
    runs.map(async ({ answer, turns }) => ({
      answer: await answer,
      within: (span) =>
        turns.reduce((sum, { from, to }) => sum + Math.max(0, Math.min(to, span.to) - Math.max(from, span.from)), 0)
    }))
  )
}
