/**
 * What a router knows of its targets, whatever routes they stand in. It lives as long as the router's layer.
 *
 * State holds facts, and settings hold thresholds: what happened at a target is written down here once, and the nodes
 * of a route compare it with their own numbers.
 */
import type * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import type { Attempt, GatewayError } from "../../GatewayError.ts"
import type { Limiter } from "../../Limiter.ts"
import type { RouterEvent } from "../../RouterEvent.ts"
import type { Pass, TargetFacts } from "../admission/breaker.ts"
import type { BreakerStore } from "../admission/breakerStore.ts"
import type { Latency } from "../admission/latency.ts"
import { type Budget, Purse } from "../admission/retryBudget.ts"
import type { TargetLimits } from "../admission/targetLimits.ts"
import { defined } from "../data/defined.ts"
import { isCredential, textOf } from "../data/secrets.ts"
import type { Leaf } from "../route/node.ts"
import type { Target } from "../route/plan.ts"

/** Whole answers and streams are never compared: their first outputs are not the same thing. */
export type Mode = "run" | "stream"

/** Makes what learns times. Absent in a bundle in which nothing asks for them, and then none are kept. */
let makeLatency: (() => Latency) | undefined

/** Has times kept, for combinators that choose by them. */
export const keepTimes = (make: () => Latency): void => {
  makeLatency = make
}

/** Makes what keeps the outcomes of targets, for the store of a router. */
export type MakeFacts = (store: BreakerStore | undefined) => (key: string) => TargetFacts

let makeFacts: MakeFacts | undefined

/** Has outcomes kept, for breakers. */
export const keepOutcomes = (make: MakeFacts): void => {
  makeFacts = make
}

type Untimed<Event> = Event extends RouterEvent ? Omit<Event, "at"> : never

/** Tells those who watch a router. Its clock adds the time. */
export type Tell = (event: Untimed<RouterEvent>) => void

/** Tells that a run has begun; the result tells its end. Only the first call counts. */
export type BeginRun = (
  run: { readonly eventId: string; readonly mode: Mode },
  execution: "client" | "gateway"
) => (exit: Exit.Exit<{ readonly target: string }, GatewayError>) => void

/** Most targets that are remembered. */
export const maxTargets = 4_096

/** The state of one target. */
export class TargetState {
  /** As plans call it, for people. */
  readonly shown: string
  readonly provider: string
  readonly model: string | undefined
  readonly purse: Purse | undefined
  inFlight = 0
  /** Forgotten, because there were too many. */
  isDropped = false
  /** When it was used last, in attempts of the router. */
  usedAt = 0
  /** How attempts ended; absent where nothing asks for it. */
  readonly facts: TargetFacts | undefined
  /** Absent until a route limits it. */
  limits: TargetLimits | undefined
  private run: Latency | undefined
  private stream: Latency | undefined

  constructor({ key, leaf }: Target<never, unknown>, purse: Purse | undefined, facts: TargetFacts | undefined) {
    this.shown = key
    this.provider = leaf.provider
    this.model = leaf.model
    this.purse = purse
    this.facts = facts
  }

  /** Times to the first output in one mode; absent where none are kept. */
  latency(mode: Mode): Latency | undefined {
    this[mode] ??= makeLatency?.()
    return this[mode]
  }

  /** An attempt on it has started. */
  begin(mode: Mode, startedAt: number, pass?: Pass): AttemptFacts {
    this.inFlight++
    if (pass !== undefined) pass.isTaken = true
    return new AttemptFacts(this, mode, startedAt, pass)
  }
}

/** One attempt, for the state of its target. Times are milliseconds of the monotonic clock. */
export class AttemptFacts {
  private readonly state: TargetState
  private readonly mode: Mode
  private readonly startedAt: number
  private readonly pass: Pass | undefined
  private outputAt: number | undefined

  constructor(state: TargetState, mode: Mode, startedAt: number, pass: Pass | undefined) {
    this.state = state
    this.mode = mode
    this.startedAt = startedAt
    this.pass = pass
  }

  /** Its first output is here: the decoded answer, or the first delta that a consumer could act on. */
  output(now: number): void {
    this.outputAt = now
    this.state.latency(this.mode)?.observe(now - this.startedAt, now)
  }

  /** Milliseconds to its first output; absent without one. */
  get millis(): number | undefined {
    return this.outputAt === undefined ? undefined : this.outputAt - this.startedAt
  }

  /** It has ended. `facts`: those of the target whose outcome it is; `isOwn`: whether it is that of this target. */
  end(attempt: Attempt, now: number, today: number, facts: TargetFacts | undefined, isOwn: boolean): void {
    const { outputAt, pass, startedAt, state } = this
    const { error, superseded } = attempt
    state.inFlight--
    if (facts !== undefined) {
      const millis = (outputAt ?? now) - startedAt
      const verdict = facts.record(attempt, startedAt, millis, now, today)
      pass?.end(verdict, millis, now)
    }
    if (outputAt !== undefined || !isOwn) return
    // Who stops waiting knows that it would have taken longer. Other failures say nothing, or they would look fast.
    if (superseded === true || error?._tag === "Timeout") {
      state.latency(this.mode)?.atLeast(now - startedAt, now)
    }
  }
}

/** 53 bits of a text, not to be guessed back without the salt. */
const hashOf = (text: string, salt: number): number => {
  let a = 0xdeadbeef ^ salt
  let b = 0x41c6ce57 ^ salt
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    a = Math.imul(a ^ code, 2654435761)
    b = Math.imul(b ^ code, 1597334677)
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909)
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909)
  return 4294967296 * (2097151 & b) + (a >>> 0)
}

/** Who bills the attempts: the provider, and behind the compatible endpoint the one that the model names. */
const purseOf = ({ model = "", provider }: Leaf<never, unknown>): string =>
  provider === "compat" && model.includes("/") ? model.slice(0, model.indexOf("/")) : provider

/** The targets of one router. */
export class RouterState {
  /** Absent: further attempts are not counted. */
  readonly budget: Budget | undefined
  /** Limits that are shared with others, beside those of routes. */
  readonly limiter: Limiter | undefined
  /** Absent while no one watches; `tell?.(…)` then does not even make the event. */
  tell: Tell | undefined
  /** There as long as {@link tell} is. */
  beginRun: BeginRun | undefined
  private readonly salt: number
  private readonly factsOf: ((key: string) => TargetFacts) | undefined
  private readonly targets = new Map<string, TargetState>()
  /** Leaves are made once; runs with options make new plans of them. */
  private readonly byLeaf = new WeakMap<object, Map<string, TargetState>>()
  private readonly purses = new Map<string, Purse>()
  private used = 0

  constructor(budget: Budget | undefined, salt: number, breakerStore?: BreakerStore, limiter?: Limiter) {
    this.budget = budget
    this.limiter = limiter
    this.salt = salt
    this.factsOf = makeFacts?.(breakerStore)
  }

  /** The state of a target; the same one for all that the other side cannot tell apart. */
  of(target: Target<never, unknown>): TargetState {
    const { leaf, options } = target
    const alias = options.byokAlias ?? ""
    const found = this.byLeaf.get(leaf)?.get(alias)
    const state = found === undefined || found.isDropped ? this.make(target, alias) : found
    state.usedAt = ++this.used
    return state
  }

  private make(target: Target<never, unknown>, alias: string): TargetState {
    const { leaf } = target
    const key = this.keyOf(leaf, alias)
    let state = this.targets.get(key)
    if (state === undefined) {
      if (this.targets.size >= maxTargets) this.drop()
      state = new TargetState(target, this.purse(purseOf(leaf)), this.factsOf?.(key))
      const { facts, model, provider, shown } = state
      if (facts !== undefined) {
        facts.onChange = (from, to) =>
          this.tell?.({ _tag: "BreakerChanged", target: shown, provider, ...defined({ model }), from, to })
      }
      this.targets.set(key, state)
    }
    const known = this.byLeaf.get(leaf) ?? new Map<string, TargetState>()
    known.set(alias, state)
    this.byLeaf.set(leaf, known)
    return state
  }

  /**
   * The label holds the endpoint, also of an adapted leaf, which has no `spec`. Two tenants can differ in their headers
   * alone: in a credential, or in the name of an organization.
   */
  private keyOf({ headers, key, label, model, provider }: Leaf<never, unknown>, alias: string): string {
    if (key !== undefined) return `key ${key}`
    // Words that are no secret stay as they are, or several routers would not have the same key.
    const own = Object.entries(headers).map(([name, value]) =>
      Redacted.isRedacted(value) || isCredential(name)
        ? `${name} ${hashOf(textOf(value), this.salt)}`
        : `${name} ${value}`
    )
    return JSON.stringify([provider, model, label, alias, ...own.toSorted()])
  }

  private purse(name: string): Purse | undefined {
    if (this.budget === undefined) return undefined
    const found = this.purses.get(name) ?? new Purse(this.budget)
    this.purses.set(name, found)
    return found
  }

  /** All that are known, in the order in which they were met. */
  all(): ReadonlyArray<TargetState> {
    return [...this.targets.values()]
  }

  /** Forgets the target that was used longest ago, has nothing in flight, and for which nobody waits. */
  private drop(): void {
    let oldest: readonly [string, TargetState] | undefined
    for (const entry of this.targets) {
      const [, { inFlight, limits }] = entry
      if (inFlight === 0 && limits?.isIdle !== false && (oldest === undefined || entry[1].usedAt < oldest[1].usedAt))
        oldest = entry
    }
    if (oldest === undefined) return
    oldest[1].isDropped = true
    this.targets.delete(oldest[0])
    this.tell?.({ _tag: "StateDropped", target: oldest[1].shown })
  }
}
