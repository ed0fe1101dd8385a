/**
 * The order in which waiters for a limit are admitted, and which of them must leave when the queue is full.
 */

/**
 * Class of a waiter. `urgent`: repeats of an admitted request. `background` counts as `interactive` after 30 seconds.
 */
export type WaitClass = "urgent" | "interactive" | "background"

/** Milliseconds after which `background` waiters are no longer overtaken. */
export const ageing = 30_000

/** The units that a waiter needs. */
export interface Needs {
  readonly requests: number
  readonly tokens: number
  readonly place: boolean
}

/** A waiter. */
export interface Waiting {
  readonly class: WaitClass
  readonly needs: Needs
  /** Start of the wait, in milliseconds of the monotonic clock. */
  readonly since: number
}

/** Total needs of several waiters. */
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
 * One class, in order of arrival. A linked list, because the iterator of a `Set` walks over all deleted entries at its
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

  /** Removes a waiter; returns whether it was there. */
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

/** The queue: first come, first served within each class. */
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

  /** Removes a waiter; returns whether it was there. */
  delete(one: W): boolean {
    const was = this.lines[one.class].delete(one)
    if (was) this.count(one, -1)
    return was
  }

  /** Returns the next waiter. */
  head(now: number): W | undefined {
    const urgent = this.lines.urgent.first
    if (urgent !== undefined) return urgent
    const interactive = this.lines.interactive.first
    const background = this.lines.background.first
    if (interactive === undefined || background === undefined) return interactive ?? background
    return isAged(background, now) && background.since <= interactive.since ? background : interactive
  }

  /** Whether a newcomer would have others before it. */
  isBehind(own: WaitClass, now: number): boolean {
    const { background, interactive, urgent } = this.lines
    if (urgent.size > 0) return true
    if (own === "urgent") return false
    if (interactive.size > 0) return true
    return background.size > 0 && (own === "background" || isAged(background.first, now))
  }

  /** Total needs of the waiters before a newcomer. Too low by the aged ones. */
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
   * Returns the waiter that must leave for a newcomer of a class: the newest of the lowest class. `undefined`: the
   * newcomer itself.
   */
  victim(own: WaitClass, now: number): W | undefined {
    if (own === "background") return undefined
    const background = this.lines.background.last
    // If the newest has aged, all of them have.
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
