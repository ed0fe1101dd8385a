/**
 * Simulates traffic through the real router, in virtual time: two minutes of it take seconds.
 *
 * Choose a policy before you deploy it: model the targets, add outages and throttles, and compare routes under the same
 * arrivals. The router is the production router; only the targets, the clock and randomness are simulated. The same
 * seed gives the same result.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as TestClock from "effect/testing/TestClock"
import { type GatewayError, InvalidRequest, invalid } from "../GatewayError.ts"
import type { Problem } from "../GatewayOptions.ts"
import * as GatewayService from "../GatewayService.ts"
import { isRecord } from "../internal/data/json.ts"
import { makeBackend } from "../internal/gateway/http.ts"
import { SessionHash } from "../internal/router/additions.ts"
import { isRoute, type Route } from "../Route.ts"
import * as Router from "../Router.ts"
import { toMillis } from "./peer/line.ts"
import { makeSend, type Seen } from "./peer/send.ts"
import { timesOf } from "./simulation/arrivals.ts"
import { Measure } from "./simulation/measure.ts"
import { type Model, modelsOf } from "./simulation/model.ts"
import { trafficProblems } from "./simulation/problems.ts"
import { hashOf } from "./simulation/random.ts"
import type { Result } from "./simulation/result.ts"
import type { Traffic } from "./simulation/settings.ts"

export { type Bucket, type Percentiles, type Result, type TargetResult, table } from "./simulation/result.ts"
export type {
  Arrivals,
  Interval,
  Latency,
  LatencyModel,
  ModelledTarget,
  Outage,
  RecordedOutcome,
  RecordedTarget,
  RunOptions,
  Target,
  Throttle,
  Traffic
} from "./simulation/settings.ts"

/**
 * Options of {@link run}.
 *
 * @category models
 */
export interface Options<In, Out> extends Traffic<In> {
  readonly route: Route<In, Out>
}

/**
 * Options of {@link compare}.
 *
 * @category models
 */
export interface CompareOptions<In, Out> extends Traffic<In> {
  /** Routes by name. Each receives the same arrivals and the same draws of the targets. */
  readonly routes: Readonly<Record<string, Route<In, Out>>>
}

const refuse = (method: string, { accepted, field }: Problem): Effect.Effect<never, GatewayError> =>
  Effect.fail(invalid(method, field, accepted))

/** The key in `targets` for a target of a route, or for a request. */
const keyFor = (keys: ReadonlyArray<string>, provider: string, model: string | undefined): string | undefined => {
  const exact = `${provider}/${model}`
  if (keys.includes(exact)) return exact
  if (keys.includes(provider)) return provider
  // Some endpoints name their model in their own way.
  const own = model === undefined ? keys.filter((key) => key.startsWith(`${provider}/`)) : []
  return own.length === 1 ? own[0] : undefined
}

interface Named {
  readonly field: string
  readonly route: Route<never, unknown>
}

/** Mismatches between routes and models, in both directions: a misspelt key would simulate nothing. */
const routeProblems = (routes: ReadonlyArray<Named>, keys: ReadonlyArray<string>): ReadonlyArray<Problem> => {
  const leaves = routes.flatMap(({ route }) => route.planned.targets.map(({ leaf }) => leaf))
  const used = new Set(leaves.map(({ model, provider }) => keyFor(keys, provider, model)))
  const names = [
    ...new Set(leaves.map(({ model, provider }) => (model === undefined ? provider : `${provider}/${model}`)))
  ]
  return [
    ...routes.flatMap(({ field, route }) =>
      route.planned.problems.map((problem) => ({ ...problem, field: `${field}: ${problem.field}` }))
    ),
    ...leaves
      .filter(({ model, provider }) => keyFor(keys, provider, model) === undefined)
      .map(({ model, provider }) => ({ field: "targets", accepted: `a model of ${provider}/${model ?? ""} as well` })),
    ...keys
      .filter((key) => !used.has(key))
      .map((key) => ({
        field: `targets[${JSON.stringify(key)}]`,
        accepted: `a target of the route: ${names.join(", ")}`
      }))
  ]
}

const problemsOf = <In>(traffic: Traffic<In>, routes: ReadonlyArray<Named>): ReadonlyArray<Problem> => {
  const noRoute = routes.find(({ route }) => !isRoute(route))
  if (noRoute !== undefined) return [{ field: noRoute.field, accepted: "a route" }]
  const problems = trafficProblems(traffic)
  return problems.length > 0 ? problems : routeProblems(routes, Object.keys(traffic.targets))
}

const unknownTarget = (request: Seen): InvalidRequest =>
  new InvalidRequest({
    origin: "client",
    field: "targets",
    accepted: `a model of ${request.provider}/${request.model ?? ""} as well`
  })

const gatewayOver = (
  models: ReadonlyMap<string, Model>,
  measure: Measure,
  onInvalid: (reason: InvalidRequest) => void
) => {
  const keys = [...models.keys()]
  const send = makeSend(
    (request) => {
      const key = keyFor(keys, request.provider, request.model)
      const model = key === undefined ? undefined : models.get(key)
      if (model === undefined) {
        onInvalid(unknownTarget(request))
        return { never: true }
      }
      const line = model.call(request.at)
      measure.request(model.key, request, line.answer !== undefined)
      return line
    },
    false,
    { arrived: () => {}, ended: (request) => measure.ended(request) }
  )
  return Layer.effect(
    GatewayService.GatewayService,
    GatewayService.make("simulation", makeBackend({ accountId: "simulation", gateway: "simulation" }, send))
  )
}

interface Scene<In> {
  readonly traffic: Traffic<In>
  readonly measure: Measure
  /** Why the simulation stops. */
  readonly fault: { invalid?: InvalidRequest; defect?: Cause.Cause<never> }
}

/** One run, from its beginning to its end, however it ends. */
const runOne = <In, Out>(
  { fault, measure, traffic }: Scene<In>,
  router: Router.Router["Service"],
  route: Route<In, Out>,
  clock: Clock.Clock,
  index: number
): Effect.Effect<unknown> => {
  const { input, runOptions } = traffic
  const begunAt = clock.currentTimeMillisUnsafe()
  measure.begun(begunAt)
  const own = typeof runOptions === "function" ? runOptions(index) : runOptions
  const given = typeof input === "function" ? (input as (index: number) => In)(index) : input
  return Effect.onExit(Effect.exit(router.run(route, given, { quiet: true, ...own, execution: "client" })), (ended) => {
    if (Exit.isFailure(ended)) return Effect.void
    const exit = ended.value
    if (Exit.isSuccess(exit)) {
      measure.succeeded(begunAt, clock.currentTimeMillisUnsafe())
      return Effect.void
    }
    const error = Option.getOrUndefined(Exit.findErrorOption(exit))
    if (error === undefined) {
      if (Cause.hasDies(exit.cause)) fault.defect ??= exit.cause as Cause.Cause<never>
      return Effect.void
    }
    const { attempts = [], reason } = error
    // Nothing was sent, and no run would send anything.
    if (reason._tag === "InvalidRequest" && reason.origin === "client" && attempts.length === 0)
      fault.invalid ??= reason
    measure.failed(reason._tag)
    return Effect.void
  })
}

/** Begins all runs at their times, and advances time until they have ended. */
const drive = <In, Out>(
  scene: Scene<In>,
  route: Route<In, Out>,
  keyOf: (target: string) => string | undefined
): Effect.Effect<void, never, Router.Router> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { fault, measure, traffic } = scene
      const { arrivals, patience = "10 minutes", seed = 1 } = traffic
      const clock = yield* Clock.Clock
      const router = yield* Router.Router
      const duration = toMillis(traffic.duration)
      const isFaulty = (): boolean => fault.invalid !== undefined || fault.defect !== undefined
      yield* Router.listen((event) => {
        if (event._tag !== "BreakerChanged") return
        const key = keyOf(event.target)
        if (key !== undefined) measure.changed(key, event.to, event.at)
      })
      let open = 0
      let isOver = false
      const begin = Effect.gen(function* () {
        let index = 0
        for (const at of timesOf(arrivals, seed, duration)) {
          const wait = at - clock.currentTimeMillisUnsafe()
          if (wait > 0) yield* Effect.sleep(wait)
          if (isFaulty()) return
          open++
          const run = Effect.suspend(() => runOne(scene, router, route, clock, index++))
          yield* Effect.forkScoped(
            Effect.ensuring(
              run,
              Effect.sync(() => open--)
            )
          )
        }
        isOver = true
      })
      yield* Effect.forkScoped(begin)
      const limit = duration + toMillis(patience)
      while (!isFaulty() && !(isOver && open === 0)) {
        const left = limit - clock.currentTimeMillisUnsafe()
        if (left <= 0) return
        yield* TestClock.adjust(Math.min(left, 1_000))
      }
    })
  )

/** Not a secret, as these sessions are made up. */
const sessionHash = (session: string): Effect.Effect<string> =>
  Effect.sync(() =>
    [0, 1, 2, 3].map((part) => (hashOf(`${part} ${session}`) >>> 0).toString(16).padStart(8, "0")).join("")
  )

const simulate = <In, Out>(
  method: string,
  traffic: Traffic<In>,
  route: Route<In, Out>
): Effect.Effect<Result, GatewayError> =>
  Effect.suspend(() => {
    const { router = {}, seed = 1, targets } = traffic
    const duration = toMillis(traffic.duration)
    const bucket = traffic.bucket === undefined ? duration / 60 : toMillis(traffic.bucket)
    const keys = Object.keys(targets)
    const measure = new Measure(keys, duration, bucket)
    const fault: Scene<In>["fault"] = {}
    const gateway = gatewayOver(modelsOf(traffic, seed), measure, (reason) => {
      fault.invalid ??= reason
    })
    const keyOf = new Map(route.planned.targets.map(({ key, leaf }) => [key, keyFor(keys, leaf.provider, leaf.model)]))
    const live = Router.layerWith({ ...router, execution: "client" }).pipe(Layer.provide(gateway))
    return drive({ traffic, measure, fault }, route, (target) => keyOf.get(target)).pipe(
      Effect.provide(live),
      Random.withSeed(seed),
      Effect.provideService(References.TracerEnabled, false),
      Effect.provideService(SessionHash, sessionHash),
      // The warning uses real time, and a machine may be slow.
      Effect.provide(TestClock.layer({ warningDelay: "1 hour" })),
      Effect.flatMap(() => {
        const { defect, invalid: wrong } = fault
        if (defect !== undefined) return Effect.failCause(defect)
        if (wrong !== undefined)
          return refuse(method, { field: wrong.field ?? "input", accepted: wrong.accepted ?? "" })
        return Effect.succeed(measure.result(targets))
      })
    )
  })

/**
 * Simulates traffic through one route. Fails with `InvalidRequest`, naming the field and its accepted values, before
 * anything is simulated; also when a run could send nothing, because the input or the router's options are invalid.
 *
 * **Gotchas**
 *
 * Everything that a route calls must use Effect's clock: a store or a limiter over a network does not.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import { Simulation } from "effect-ai-gateway/testing"
 *
 * const ask = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.groq.chat("llama-3.3-70b-versatile"))
 *
 * export const program = Effect.gen(function* () {
 *   const { p99, requestsPerRun, successRate } = yield* Simulation.run({
 *     seed: 1,
 *     duration: "2 minutes",
 *     arrivals: { perSecond: 50 },
 *     route: Route.hedge(ask, { after: { percentile: 0.95 } }),
 *     input: "Which planet has the most moons?",
 *     targets: {
 *       openai: { latency: { p50: "400 millis", p99: "4 seconds" }, errors: { rate: 0.01, status: 503 } },
 *       groq: { latency: { p50: "200 millis", p99: "1 second" } }
 *     },
 *     outages: [{ target: "openai", from: "40 seconds", until: "60 seconds" }]
 *   })
 *   return { p99, requestsPerRun, successRate }
 * })
 * ```
 *
 * @category running
 */
export const run = <In, Out>(options: Options<In, Out>): Effect.Effect<Result, GatewayError> =>
  Effect.suspend(() => {
    const method = "Simulation.run"
    const { route, ...traffic } = options
    const [problem] = problemsOf(traffic, [{ field: "route", route }])
    return problem === undefined ? simulate(method, traffic, route) : refuse(method, problem)
  })

/**
 * {@link run} for several routes, one after the other, each with its own router. The result is by name.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import { Simulation } from "effect-ai-gateway/testing"
 *
 * const plain = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.groq.chat("llama-3.3-70b-versatile"))
 *
 * export const program = Effect.map(
 *   Simulation.compare({
 *     duration: "1 minute",
 *     arrivals: { perSecond: 20 },
 *     routes: { plain, hedged: Route.hedge(plain, { after: "1 second" }) },
 *     input: "Which planet has the most moons?",
 *     targets: { openai: { latency: { p50: "400 millis", p99: "6 seconds" } }, groq: { latency: "300 millis" } }
 *   }),
 *   Simulation.table
 * )
 * ```
 *
 * @category running
 */
export const compare = <In, Out>(
  options: CompareOptions<In, Out>
): Effect.Effect<Readonly<Record<string, Result>>, GatewayError> =>
  Effect.suspend(() => {
    const method = "Simulation.compare"
    const { routes, ...traffic } = options
    const named = isRecord(routes) ? Object.entries(routes) : []
    if (named.length === 0) return refuse(method, { field: "routes", accepted: "at least one route, by name" })
    const [problem] = problemsOf(
      traffic,
      named.map(([name, route]) => ({ field: `routes.${name}`, route }))
    )
    if (problem !== undefined) return refuse(method, problem)
    return Effect.map(
      Effect.forEach(named, ([name, route]) =>
        Effect.map(simulate(method, traffic, route), (result) => [name, result] as const)
      ),
      (entries) => Object.fromEntries(entries)
    )
  })
