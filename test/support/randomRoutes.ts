/**
 * Random routes as plain data, and what follows from them by rules that are written here a second time.
 */
import * as Arbitrary from "effect/Arbitrary"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { ReasonTag } from "effect-ai-gateway/GatewayError"
import type * as GatewayOptions from "effect-ai-gateway/GatewayOptions"
import * as Route from "effect-ai-gateway/Route"
import { completion, type Line } from "./scripted.ts"

/** The text of an answer that a check does not accept. */
export const odd = "odd"

/** Input of the routes of tests: `bits` answer the conditions by number. */
export interface Input {
  readonly prompt: string
  readonly bits: ReadonlyArray<boolean>
}

/** A node with its settings, which apply from the top of this list down. */
export interface Spec {
  readonly retry?: Policy | undefined
  readonly timeout?: number | undefined
  readonly deadline?: number | undefined
  readonly on?: ReadonlyArray<ReasonTag> | undefined
  /** Answers that say {@link odd} are rejected. */
  readonly isChecked?: boolean | undefined
  readonly shape: Shape
}

export type Shape =
  /** A target of its own, or once more the one before. */
  | { readonly _tag: "Leaf"; readonly repeated: boolean }
  | { readonly _tag: "Fallback"; readonly routes: ReadonlyArray<Spec> }
  | { readonly _tag: "When"; readonly onTrue: Spec; readonly onFalse: Spec }

export interface Policy {
  readonly attempts: number
  readonly delay: number
  readonly backoff: GatewayOptions.Backoff
  readonly jitter?: number | undefined
  readonly retryAfter?: boolean | undefined
  readonly on?: ReadonlyArray<ReasonTag> | undefined
}

// ---------------------------------------------------------------------------------------------------------------------

export const oneOf = <A>(...choices: readonly [A, ...ReadonlyArray<A>]): Arbitrary.Arbitrary<A> =>
  Arbitrary.map(
    Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: choices.length - 1 }))),
    (index) => choices[index] ?? choices[0]
  )

const pick = <A>(
  ...choices: readonly [Arbitrary.Arbitrary<A>, ...ReadonlyArray<Arbitrary.Arbitrary<A>>]
): Arbitrary.Arbitrary<A> => Arbitrary.flatMap(oneOf(...choices), (chosen) => chosen)

export const listOf = <A>(item: Arbitrary.Arbitrary<A>, minLength: number, maxLength: number) =>
  Arbitrary.array(item, { minLength, maxLength })

const bits = listOf(oneOf(false, true), 4, 4)

/** Inputs of routes. */
export const inputs: Arbitrary.Arbitrary<Input> = Arbitrary.map(bits, (bits) => ({ prompt: "a prompt", bits }))

/** Reasons that the failures below have. */
export const reasonTags = [
  "ProviderUnavailable",
  "RateLimited",
  "Unauthorized",
  "InvalidRequest",
  "InvalidResponse"
] as const satisfies ReadonlyArray<ReasonTag>

const someTags = Arbitrary.map(listOf(oneOf<ReasonTag>(...reasonTags), 1, 3), (list) => [...new Set(list)])
const noTags: Arbitrary.Arbitrary<Array<ReasonTag>> = Arbitrary.map(oneOf(0), () => [])
const tags = pick(someTags, someTags, someTags, noTags)

/** The parts of random routes. */
export interface Palette {
  readonly attempts: readonly [number, ...ReadonlyArray<number>]
  readonly delays: readonly [number, ...ReadonlyArray<number>]
  readonly jitters: readonly [number, ...ReadonlyArray<number>]
  readonly timeouts: readonly [number | undefined, ...ReadonlyArray<number | undefined>]
  readonly deadlines: readonly [number | undefined, ...ReadonlyArray<number | undefined>]
  readonly depth: number
  readonly leaves: number
}

const policies = ({ attempts, delays, jitters }: Palette): Arbitrary.Arbitrary<Policy> =>
  Arbitrary.all({
    attempts: oneOf(...attempts),
    delay: oneOf(...delays),
    backoff: oneOf<GatewayOptions.Backoff>("constant", "linear", "exponential"),
    jitter: oneOf(...jitters),
    retryAfter: oneOf(true, true, false),
    on: pick<ReadonlyArray<ReasonTag> | undefined>(
      Arbitrary.Constant(undefined),
      Arbitrary.Constant(undefined),
      Arbitrary.Constant(undefined),
      tags
    )
  })

const shapes = (palette: Palette, depth: number): Arbitrary.Arbitrary<Shape> => {
  const leaf = Arbitrary.map(oneOf(false, false, false, false, true), (repeated): Shape => ({ _tag: "Leaf", repeated }))
  if (depth === 0) return leaf
  const below = specs(palette, depth - 1)
  const routes = pick(listOf(below, 1, 1), listOf(below, 2, 2), listOf(below, 2, 2), listOf(below, 3, 3))
  const fallback = Arbitrary.map(routes, (routes): Shape => ({ _tag: "Fallback", routes }))
  const when = Arbitrary.map(
    Arbitrary.all([below, below]),
    ([onTrue, onFalse]): Shape => ({ _tag: "When", onTrue, onFalse })
  )
  // A leaf alone has little to show; it still comes as a fallback of one.
  return depth === palette.depth ? pick(fallback, fallback, fallback, when) : pick(leaf, leaf, fallback, when)
}

const maybe = <A>(item: Arbitrary.Arbitrary<A>): Arbitrary.Arbitrary<A | undefined> =>
  pick<A | undefined>(Arbitrary.Constant(undefined), Arbitrary.Constant(undefined), item)

const specs = (palette: Palette, depth: number): Arbitrary.Arbitrary<Spec> =>
  Arbitrary.all({
    retry: pick(maybe(policies(palette)), policies(palette)),
    timeout: oneOf(...palette.timeouts),
    deadline: oneOf(...palette.deadlines),
    on: maybe(tags),
    isChecked: oneOf(false, false, true),
    shape: shapes(palette, depth)
  })

/** Random routes with at most `palette.leaves` targets. */
export const randomSpecs = (palette: Palette): Arbitrary.Arbitrary<Spec> =>
  Arbitrary.filter(specs(palette, palette.depth), (spec) => countLeaves(spec) <= palette.leaves)

const countLeaves = ({ shape }: Spec): number => {
  switch (shape._tag) {
    case "Leaf":
      return 1
    case "Fallback":
      return shape.routes.reduce((sum, route) => sum + countLeaves(route), 0)
    case "When":
      return countLeaves(shape.onTrue) + countLeaves(shape.onFalse)
  }
}

// ---------------------------------------------------------------------------------------------------------------------

/** A target that takes an {@link Input} and answers with text. */
export const leafOf = (
  provider: string,
  options: {
    readonly key?: string
    readonly model?: string
    readonly headers?: Record<string, string | Redacted.Redacted<string>>
  } = {}
): Route.Route<Input, string> =>
  Route.make({
    provider,
    endpoint: "chat/completions",
    model: options.model ?? "m",
    key: options.key,
    headers: options.headers,
    query: ({ prompt }: Input) => ({ model: options.model ?? "m", messages: [{ role: "user", content: prompt }] }),
    success: Schema.Struct({
      choices: Schema.Array(Schema.Struct({ message: Schema.Struct({ content: Schema.String }) }))
    })
  }).pipe(Route.map((body) => body.choices[0]?.message.content ?? ""))

/** The settings at one place of a target in a route, computed from its spec. */
export interface Facts {
  readonly key: string
  /** Policy of the inner-most `retry`. */
  readonly policy: Policy | undefined
  /** Reasons that lead on from here, or `undefined` for those of the decision table; an empty list when none does. */
  readonly leadsOn: ReadonlyArray<ReasonTag> | undefined
  /** Answers of the conditions on the way to it, by number. */
  readonly when: ReadonlyArray<readonly [condition: number, answer: boolean]>
  /** Whether some failure leads to it. */
  readonly reachable: boolean
}

/** A route of a spec. Targets are `p0/m`, `p1/m`, … and conditions `c0`, `c1`, … in the order of the text. */
export const build = (
  spec: Spec,
  leaf: (provider: string) => Route.Route<Input, string> = leafOf
): {
  readonly route: Route.Route<Input, string>
  readonly facts: ReadonlyArray<Facts>
  readonly conditions: number
} => {
  const facts: Array<Facts> = []
  const leaves: Array<Route.Route<Input, string>> = []
  let conditions = 0
  interface Env extends Pick<Facts, "reachable" | "when"> {
    readonly policy: Policy | undefined
    readonly on: ReadonlyArray<ReasonTag> | undefined
    /** Ways on from here, the nearest first: what each lets through. */
    readonly ways: ReadonlyArray<ReadonlyArray<ReasonTag> | undefined>
  }
  const go = (node: Spec, outer: Env): Route.Route<Input, string> => {
    const { deadline, shape, timeout } = node
    const env: Env = { ...outer, policy: node.retry ?? outer.policy, on: node.on ?? outer.on }
    let route: Route.Route<Input, string>
    switch (shape._tag) {
      case "Leaf": {
        const before = leaves.at(-1)
        route = shape.repeated && before !== undefined ? before : leaf(`p${leaves.length}`)
        if (route !== before) leaves.push(route)
        const open = env.ways.filter((on) => on === undefined || on.length > 0)
        const { policy, reachable, when } = env
        const leadsOn = open.length === 0 ? [] : open[0]
        facts.push({ key: `p${leaves.length - 1}/m`, policy, leadsOn, reachable, when })
        break
      }
      case "Fallback": {
        const routes = shape.routes.map((one, index) =>
          go(one, {
            ...env,
            ways: index + 1 < shape.routes.length ? [env.on, ...env.ways] : env.ways,
            reachable: env.reachable && (index === 0 || env.on?.length !== 0)
          })
        )
        const [first = leaf("none"), ...rest] = routes
        route = Route.fallback(first, ...rest)
        break
      }
      case "When": {
        const number = conditions++
        route = Route.when({
          label: `c${number}`,
          predicate: ({ bits }: Input) => bits[number] ?? false,
          onTrue: go(shape.onTrue, { ...env, when: [...env.when, [number, true]] }),
          onFalse: go(shape.onFalse, { ...env, when: [...env.when, [number, false]] })
        })
      }
    }
    if (node.isChecked === true) route = Route.validate(route, (text) => text !== odd)
    if (node.retry !== undefined) route = Route.retry(route, node.retry)
    if (timeout !== undefined) route = Route.timeout(route, timeout)
    if (node.on !== undefined) route = Route.fallbackOn(route, node.on)
    return deadline === undefined ? route : Route.deadline(route, deadline)
  }
  const route = go(spec, { policy: undefined, on: undefined, ways: [], when: [], reachable: true })
  return { route, facts, conditions }
}

// ---------------------------------------------------------------------------------------------------------------------

/** Outcomes of one attempt, by name. */
export const outcomes = {
  ok: { body: completion("an answer") },
  unavailable: { status: 503 },
  limited: { status: 429 },
  limitedShortly: { status: 429, headers: { "retry-after": "2" } },
  limitedLong: { status: 429, headers: { "retry-after": "20" } },
  unauthorized: { status: 401 },
  tooLarge: { status: 413 },
  garbage: { text: "<html>no</html>" }
} as const satisfies Record<string, Line>

export type OutcomeName = keyof typeof outcomes

/** An outcome with this reason. */
export const outcomeOf = (tag: ReasonTag): OutcomeName => {
  switch (tag) {
    case "ProviderUnavailable":
      return "unavailable"
    case "RateLimited":
      return "limited"
    case "Unauthorized":
      return "unauthorized"
    case "InvalidRequest":
      return "tooLarge"
    default:
      return "garbage"
  }
}
