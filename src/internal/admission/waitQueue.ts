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

interface Place<W> {
  readonly one: W
  before: Place<W> | undefined
  after: Place<W> | undefined
}

/**
 * One class, in order of arrival. A linked list: the iterator of a `Set` walks over everything that was deleted at its
 * beginning.
 */
class Line<W> {
  readonly sum: Sum = { requests: 0, tokens: 0, places: 0 }
  private readonly places = new Map<W, Place<W>>()
  private front: Place<W> | undefined
  private back: Place<W> | undefined

  get size(): number {
    return this.places.size
  }

  get first(): W | undefined {
    return this.front?.one
  }

  get last(): W | undefined {
    return this.back?.one
  }

  add(one: W): void {
    const place: Place<W> = { one, before: this.back, after: undefined }
    if (this.back === undefined) this.front = place
    else this.back.after = place
    this.back = place
    this.places.set(one, place)
  }

  /** Whether it was there. */
  delete(one: W): boolean {
    const place = this.places.get(one)
    if (place === undefined) return false
    const { after, before } = place
    if (before === undefined) this.front = after
    else before.after = after
    if (after === undefined) this.back = before
    else after.before = before
    return this.places.delete(one)
  }
}

const isAged = <W extends Waiting>(one: W | undefined, now: number): boolean =>
  one !== undefined && now - one.since >= ageing

/** First come, first served within each class. */
export class WaitQueue<W extends Waiting> {
  private readonly lines: Readonly<Record<WaitClass, Line<W>>> = {
    urgent: new Line(),
    interactive: new Line(),
    background: new Line()
  }

  get size(): number {
    const { background, interactive, urgent } = this.lines
    return urgent.size + interactive.size + background.size
  }

  add(one: W): void {
    this.lines[one.class].add(one)
    this.count(one, 1)
  }

  /** Whether it was there. */
  delete(one: W): boolean {
    const was = this.lines[one.class].delete(one)
    if (was) this.count(one, -1)
    return was
  }

  /** Who is next. */
  head(now: number): W | undefined {
    const urgent = this.lines.urgent.first
    if (urgent !== undefined) return urgent
    const interactive = this.lines.interactive.first
    const background = this.lines.background.first
    if (interactive === undefined || background === undefined) return interactive ?? background
    return isAged(background, now) && background.since <= interactive.since ? background : interactive
  }

  /** Whether somebody who comes now finds others before them. */
  isBehind(own: WaitClass, now: number): boolean {
    const { background, interactive, urgent } = this.lines
    if (urgent.size > 0) return true
    if (own === "urgent") return false
    if (interactive.size > 0) return true
    return background.size > 0 && (own === "background" || isAged(background.first, now))
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

  /**
   * Who has to leave so that somebody of a class may wait: the newest of the lowest class. `undefined`: whoever comes.
   */
  victim(own: WaitClass, now: number): W | undefined {
    if (own === "background") return undefined
    const background = this.lines.background.last
    // Where the newest is aged, all of them are.
    if (background !== undefined && !isAged(background, now)) return background
    if (own === "interactive") return undefined
    const interactive = this.lines.interactive.last
    if (interactive === undefined || background === undefined) return interactive ?? background
    return background.since >= interactive.since ? background : interactive
  }

  private count({ class: own, needs }: W, by: 1 | -1): void {
    const { sum } = this.lines[own]
    sum.requests += by * needs.requests
    sum.tokens += by * needs.tokens
    if (needs.place) sum.places += by
  }
}
