/**
 * Lets processes work in turns: each has the machine for a moment while the others are stopped. On a shared machine, a
 * slow period of some seconds then affects all of them, and not only the one that happened to run.
 */
import type { Child } from "./child.ts"

/** Short compared with slow periods of a machine, and long compared with a switch of processes. */
const turnMillis = 250

/** A period, in milliseconds since the epoch. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** A process's answer, and its share of a period. */
export interface Done<A> {
  readonly answer: A
  readonly within: (span: Span) => number
}

/** Sends each the same kind of question; the children are `pausable`. */
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
