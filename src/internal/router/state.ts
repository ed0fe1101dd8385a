/**
 * The knowledge of a router about its targets, across all routes. It lives as long as the router's layer.
 *
 * State holds facts, settings hold thresholds: each outcome of a target is recorded here once, and the nodes of a route
 * compare it with their own numbers.
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

/** The kind of a run. Complete answers and streams are never compared, because their first outputs differ. */
export type Mode = "run" | "stream"

/** Makes the record of latencies. Absent in a bundle that does not need it; then none are kept. */
let makeLatency: (() => Latency) | undefined

/** Turns on latency records, for combinators that choose by them. */
export const keepTimes = (make: () => Latency): void => {
  makeLatency = make
}

/** Makes the records of outcomes, for the store of a router. */
export type MakeFacts = (store: BreakerStore | undefined) => (key: string) => TargetFacts

let makeFacts: MakeFacts | undefined

/** Turns on records of outcomes, for breakers. */
export const keepOutcomes = (make: MakeFacts): void => {
  makeFacts = make
}

type Untimed<Event> = Event extends RouterEvent ? Omit<Event, "at"> : never

/** Sends an event to the listeners of a router. Its clock adds the time. */
export type Tell = (event: Untimed<RouterEvent>) => void

/** Reports that a run has begun; the result reports its end. Only the first call counts. */
export type BeginRun = (
  run: { readonly eventId: string; readonly mode: Mode },
  execution: "client" | "gateway"
) => (exit: Exit.Exit<{ readonly target: string }, GatewayError>) => void

/** Maximum number of targets that a router remembers. */
export const maxTargets = 4_096

/** The state of one target. */
export class TargetState {
  /** Its name in plans, for people. */
  readonly shown: string
  readonly provider: string
  readonly model: string | undefined
  readonly purse: Purse | undefined
  inFlight = 0
  /** Whether it was forgotten because there were too many targets. */
  isDropped = false
  /** Time of its last use, in attempts of the router. */
  usedAt = 0
  /** Outcomes of its attempts; absent in a bundle that does not need them. */
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

  /** Latencies of the first output in one mode; absent if none are kept. */
  latency(mode: Mode): Latency | undefined {
    this[mode] ??= makeLatency?.()
    return this[mode]
  }

  /** Records that an attempt has started. */
  begin(mode: Mode, startedAt: number, pass?: Pass): AttemptFacts {
    this.inFlight++
    if (pass !== undefined) pass.isTaken = true
    return new AttemptFacts(this, mode, startedAt, pass)
  }
}

/** The effect of one attempt on the state of its target. Times are milliseconds of the monotonic clock. */
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

  /** Records the first output: the decoded answer, or the first delta that a consumer can act on. */
  output(now: number): void {
    this.outputAt = now
    this.state.latency(this.mode)?.observe(now - this.startedAt, now)
  }

  /** Milliseconds to its first output; absent without one. */
  get millis(): number | undefined {
    return this.outputAt === undefined ? undefined : this.outputAt - this.startedAt
  }

  /** Records the end. `facts`: those of the target that the outcome belongs to; `isOwn`: whether it is this target. */
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
    // An attempt that was cut off would have taken longer. Other failures are not recorded, because they would look
    // fast.
    if (superseded === true || error?._tag === "Timeout") {
      state.latency(this.mode)?.atLeast(now - startedAt, now)
    }
  }
}

/** 53 bits of a hash that cannot be reversed without the salt. */
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

/** The billing account of the attempts: the provider, or behind the compatible endpoint the one in the model's name. */
const purseOf = ({ model = "", provider }: Leaf<never, unknown>): string =>
  provider === "compat" && model.includes("/") ? model.slice(0, model.indexOf("/")) : provider

/** The targets of a router. */
export class RouterState {
  /** Absent: further attempts are not counted. */
  readonly budget: Budget | undefined
  /** Limits that the router shares with others, in addition to those of routes. */
  readonly limiter: Limiter | undefined
  /** Absent while there is no listener; `tell?.(…)` then does not even create the event. */
  tell: Tell | undefined
  /** Present while {@link tell} is. */
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

  /** Returns the state of a target. Targets that the other side cannot tell apart share one. */
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
   * The key of a leaf. The label contains the endpoint, also for an adapted leaf, which has no `spec`. Two tenants may
   * differ only in their headers: in a credential, or in the name of an organization.
   */
  private keyOf({ headers, key, label, model, provider }: Leaf<never, unknown>, alias: string): string {
    if (key !== undefined) return `key ${key}`
    // Values that are not secret stay unhashed, otherwise several routers would have different keys.
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

  /** Lists all known targets, in order of their first use. */
  all(): ReadonlyArray<TargetState> {
    return [...this.targets.values()]
  }

  /** Forgets the least recently used target that has nothing in flight and no one waiting. */
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
