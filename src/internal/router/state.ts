/**
 * What a router knows of its targets, whatever routes they stand in. It lives as long as the router's layer.
 *
 * State holds facts, and settings hold thresholds: what happened at a target is written down here once, and the nodes of a route compare it with their own
 * numbers.
 */
import * as Redacted from "effect/Redacted"
import type { Attempt } from "../../GatewayError.ts"
import type { TargetFacts } from "../admission/breaker.ts"
import type { Latency } from "../admission/latency.ts"
import { type Budget, Purse } from "../admission/retryBudget.ts"
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

let makeFacts: (() => TargetFacts) | undefined

/** Has outcomes kept, for breakers. */
export const keepOutcomes = (make: () => TargetFacts): void => {
  makeFacts = make
}

/** Most targets that are remembered. */
export const maxTargets = 4_096

/** What is known of one target. */
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
  readonly facts = makeFacts?.()
  private run: Latency | undefined
  private stream: Latency | undefined

  constructor({ key, leaf }: Target<never, unknown>, purse: Purse | undefined) {
    this.shown = key
    this.provider = leaf.provider
    this.model = leaf.model
    this.purse = purse
  }

  /** Times to the first output in one mode; absent where none are kept. */
  latency(mode: Mode): Latency | undefined {
    this[mode] ??= makeLatency?.()
    return this[mode]
  }

  /** An attempt on it has started. */
  begin(mode: Mode, startedAt: number): AttemptFacts {
    this.inFlight++
    return new AttemptFacts(this, mode, startedAt)
  }
}

/** One attempt, for the state of its target. Times are milliseconds of the monotonic clock. */
export class AttemptFacts {
  private readonly state: TargetState
  private readonly mode: Mode
  private readonly startedAt: number
  private hasOutput = false

  constructor(state: TargetState, mode: Mode, startedAt: number) {
    this.state = state
    this.mode = mode
    this.startedAt = startedAt
  }

  /** Its first output is here: the decoded answer, or the first delta that a consumer could act on. */
  output(now: number): void {
    this.hasOutput = true
    this.state.latency(this.mode)?.observe(now - this.startedAt, now)
  }

  /** It has ended. */
  end({ error, outcome, superseded }: Attempt, now: number, today: number): void {
    this.state.inFlight--
    if (outcome === "success" || error !== undefined) this.state.facts?.record(error, this.startedAt, now, today)
    if (this.hasOutput) return
    // Who stops waiting knows that it would have taken longer. Other failures say nothing, or they would look fast.
    if (superseded === true || error?._tag === "Timeout") {
      this.state.latency(this.mode)?.atLeast(now - this.startedAt, now)
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
  private readonly salt: number
  private readonly targets = new Map<string, TargetState>()
  /** Leaves are made once, and plans anew for runs with options. */
  private readonly byLeaf = new WeakMap<object, Map<string, TargetState>>()
  private readonly purses = new Map<string, Purse>()
  private used = 0

  constructor(budget: Budget | undefined, salt: number) {
    this.budget = budget
    this.salt = salt
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
      state = new TargetState(target, this.purse(purseOf(leaf)))
      this.targets.set(key, state)
    }
    const known = this.byLeaf.get(leaf) ?? new Map<string, TargetState>()
    known.set(alias, state)
    this.byLeaf.set(leaf, known)
    return state
  }

  /** Two tenants without labels have the same words and different credentials. */
  private keyOf({ headers, key, label, model, provider, spec }: Leaf<never, unknown>, alias: string): string {
    if (key !== undefined) return `key ${key}`
    const credentials = Object.entries(headers).flatMap(([name, value]) =>
      Redacted.isRedacted(value) ? [`${name} ${hashOf(Redacted.value(value), this.salt)}`] : []
    )
    return JSON.stringify([provider, model, label, spec?.endpoint, alias, ...credentials.toSorted()])
  }

  private purse(name: string): Purse | undefined {
    if (this.budget === undefined) return undefined
    const found = this.purses.get(name) ?? new Purse(this.budget)
    this.purses.set(name, found)
    return found
  }

  /** Forgets the target that was used longest ago and has nothing in flight. */
  private drop(): void {
    let oldest: readonly [string, TargetState] | undefined
    for (const entry of this.targets) {
      if (entry[1].inFlight === 0 && (oldest === undefined || entry[1].usedAt < oldest[1].usedAt)) oldest = entry
    }
    if (oldest === undefined) return
    oldest[1].isDropped = true
    this.targets.delete(oldest[0])
  }
}
