/**
 * The order in which those who wait for a limit are let in, and who has to leave when too many wait.
 */

/** `urgent`: repeats of what was admitted before. `background` counts as `interactive` after 30 seconds. */
export type WaitClass = "urgent" | "interactive" | "background"

/** Milliseconds after which `background` is no longer passed by. */
export const ageing = 30_000

/** What is waited for. */
export interface Needs {
  readonly requests: number
  readonly tokens: number
  readonly place: boolean
}

/** Somebody who waits. */
export interface Waiting {
  readonly class: WaitClass
  readonly needs: Needs
  /** Since when, in milliseconds of the monotonic clock. */
  readonly since: number
}

/** What several need together. */
export interface Sum {
  requests: number
  tokens: number
  places: number
}

interface Line<W> {
  readonly waiting: Set<W>
  readonly sum: Sum
}

const lineOf = <W>(): Line<W> => ({ waiting: new Set(), sum: { requests: 0, tokens: 0, places: 0 } })

const firstOf = <W>({ waiting }: Line<W>): W | undefined => {
  for (const one of waiting) return one
  return undefined
}

const isAged = <W extends Waiting>(one: W | undefined, now: number): boolean =>
  one !== undefined && now - one.since >= ageing

/** First come, first served within each class. */
export class WaitQueue<W extends Waiting> {
  private readonly lines: Readonly<Record<WaitClass, Line<W>>> = {
    urgent: lineOf(),
    interactive: lineOf(),
    background: lineOf()
  }

  get size(): number {
    const { background, interactive, urgent } = this.lines
    return urgent.waiting.size + interactive.waiting.size + background.waiting.size
  }

  add(one: W): void {
    this.lines[one.class].waiting.add(one)
    this.count(one, 1)
  }

  /** Whether it was there. */
  delete(one: W): boolean {
    const was = this.lines[one.class].waiting.delete(one)
    if (was) this.count(one, -1)
    return was
  }

  /** Who is next. */
  head(now: number): W | undefined {
    const urgent = firstOf(this.lines.urgent)
    if (urgent !== undefined) return urgent
    const interactive = firstOf(this.lines.interactive)
    const background = firstOf(this.lines.background)
    if (interactive === undefined || background === undefined) return interactive ?? background
    return isAged(background, now) && background.since <= interactive.since ? background : interactive
  }

  /** Whether somebody who comes now finds others before them. */
  isBehind(own: WaitClass, now: number): boolean {
    const { background, interactive, urgent } = this.lines
    if (urgent.waiting.size > 0) return true
    if (own === "urgent") return false
    if (interactive.waiting.size > 0) return true
    return background.waiting.size > 0 && (own === "background" || isAged(firstOf(background), now))
  }

  /** What those need together who are before somebody who comes now. Without the aged ones, so it may be too little. */
  ahead(own: WaitClass): Sum {
    const { background, interactive, urgent } = this.lines
    const lines =
      own === "urgent" ? [urgent] : own === "interactive" ? [urgent, interactive] : [urgent, interactive, background]
    const sum: Sum = { requests: 0, tokens: 0, places: 0 }
    for (const line of lines) {
      sum.requests += line.sum.requests
      sum.tokens += line.sum.tokens
      sum.places += line.sum.places
    }
    return sum
  }

  /** Who has to leave so that somebody of a class may wait: the newest of the lowest class. `undefined`: whoever comes. */
  victim(own: WaitClass, now: number): W | undefined {
    if (own === "background") return undefined
    let newest: W | undefined
    for (const one of this.lines.background.waiting) if (!isAged(one, now)) newest = one
    if (newest !== undefined || own === "interactive") return newest
    for (const line of [this.lines.interactive, this.lines.background]) {
      for (const one of line.waiting) if (newest === undefined || one.since >= newest.since) newest = one
    }
    return newest
  }

  private count({ class: own, needs }: W, by: 1 | -1): void {
    const { sum } = this.lines[own]
    sum.requests += by * needs.requests
    sum.tokens += by * needs.tokens
    if (needs.place) sum.places += by
  }
}
