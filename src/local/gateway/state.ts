/**
 * The state of one local gateway, and the upstream that an attempt reaches.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Faults from "../upstream/faults.ts"
import type { OpenBodies } from "../wire/body.ts"
import { makeInFlight, type Share } from "../wire/collect.ts"
import * as Ids from "../wire/ids.ts"
import type { Handler } from "../wire/protocol.ts"
import * as Cache from "./cache.ts"
import * as Calls from "./calls.ts"
import * as LogStore from "./logStore.ts"
import * as RateLimit from "./rateLimit.ts"
import * as Runs from "./resumableRuns.ts"
import type { Settings } from "./settings.ts"

/** Key of the script for the logs API. No provider has this name. */
export const logsKey = "logs"

export interface GatewayState {
  readonly settings: Settings
  readonly calls: Calls.Calls
  readonly logs: LogStore.LogStore
  readonly cache: Cache.ResponseCache
  readonly rateLimit: RateLimit.RateLimit
  readonly bodies: OpenBodies
  readonly runs: Runs.ResumableRuns
  /** The share of one more request. */
  readonly newShare: () => Share
  readonly nextId: Effect.Effect<string>
  /** A random number from 0 to less than 1, for percentages of dynamic routes. */
  readonly draw: () => number
  /** Base of URLs for `getUrl`; a server knows it only after it listens. */
  readonly baseUrl: () => string
  /** The handler of a slug with the scripts in front of it, or `undefined` for an unknown slug. */
  readonly handler: (provider: string, model: string | undefined) => Handler | undefined
  /** Replaces the script of a slug, of `slug/model`, or of the {@link logsKey logs}. */
  readonly script: (key: string, faults: ReadonlyArray<Faults.Fault>) => void
  /** The next fault of a script whose key is no provider's. */
  readonly nextFault: (key: string) => Faults.Fault | undefined
  readonly isProvider: (slug: string) => boolean
  readonly reset: Effect.Effect<void>
}

export const make = Effect.fnUntraced(function* (settings: Settings, baseUrl: () => string) {
  const startAll = Effect.map(
    Effect.forEach(settings.upstreams, ([slug, upstream]) =>
      Effect.map(upstream.start, (handler) => [slug, handler] as const)
    ),
    (entries): ReadonlyMap<string, Handler> => new Map(entries)
  )
  let handlers = yield* startAll
  const random = yield* Random.Random
  const scripts = new Map<string, Faults.Queue>()
  const { keep } = settings
  const calls = Calls.make(keep.calls, keep.callBytes)
  const logs = LogStore.make(keep.logs, keep.logBytes)
  const cache = Cache.make(keep.cacheBytes)
  const rateLimit = RateLimit.make()
  const core: GatewayState = {
    settings,
    calls,
    logs,
    cache,
    rateLimit,
    bodies: { count: 0 },
    runs: Runs.make(keep.runBytes),
    newShare: makeInFlight(settings.inFlightBytes),
    nextId: Ids.make(),
    draw: () => random.nextDoubleUnsafe(),
    baseUrl,
    handler: (provider, model) => {
      const upstream = handlers.get(provider)
      if (upstream === undefined) return undefined
      return (request) => {
        const script = scripts.get(`${provider}/${model ?? ""}`) ?? scripts.get(provider)
        return Faults.react(script?.next(), request, upstream)
      }
    },
    script: (key, faults) => {
      scripts.set(key, Faults.makeQueue(faults))
    },
    nextFault: (key) => scripts.get(key)?.next(),
    isProvider: (slug) => handlers.has(slug),
    reset: Effect.map(startAll, (fresh) => {
      handlers = fresh
      scripts.clear()
      calls.clear()
      logs.clear()
      cache.clear()
      rateLimit.clear()
      core.runs.clear()
    })
  }
  return core
})
