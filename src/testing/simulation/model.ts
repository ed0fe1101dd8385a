/** Targets that behave according to their models. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { type Line, toMillis } from "../peer/line.ts"
import { type Draw, drawOf, normal } from "./random.ts"
import type { Latency, LatencyModel, Outage, Target, Throttle, Traffic } from "./settings.ts"

/** Default tokens of an answer. */
export const defaultUsage = { input: 1_000, output: 200 }

/** The 99th percentile of the standard normal distribution. */
const z99 = 2.3263478740408408

/** Whether a latency is a distribution. */
export const isModel = (latency: Latency): latency is LatencyModel =>
  typeof latency === "object" && latency !== null && "p50" in latency

const sampler = (latency: Latency, seed: number, name: string): Draw => {
  if (!isModel(latency)) {
    const millis = toMillis(latency)
    return () => millis
  }
  const { p50, p99 = p50, slower } = latency
  const [median, high] = [toMillis(p50), toMillis(p99)]
  const sigma = Math.log(high / median) / z99
  const spread = drawOf(seed, `${name} spread`)
  const tail = drawOf(seed, `${name} tail`)
  return () => {
    const millis = sigma === 0 ? median : median * Math.exp(sigma * normal(spread))
    return slower !== undefined && tail() < slower.share ? millis * slower.times : millis
  }
}

/** Reaction of a target to its next call. */
type Behaviour = () => { readonly millis: number; readonly line: Line }

const failure = (status: number): Line => ({ status, body: { error: { message: "simulated" } } })

const hintOf = (retryAfter: Throttle["retryAfter"]): Pick<Line, "headers"> =>
  retryAfter === undefined ? {} : { headers: { "retry-after": String(Math.ceil(toMillis(retryAfter) / 1_000)) } }

const behaviourOf = (key: string, target: Target, seed: number): Behaviour => {
  const good: Line = { answer: "simulated", usage: target.usage ?? defaultUsage }
  if ("recorded" in target) {
    let next = 0
    return () => {
      const outcome = target.recorded[next++ % target.recorded.length]
      const { latency = 0, retryAfter, status = 200 } = outcome ?? {}
      return { millis: toMillis(latency), line: status < 300 ? good : { ...failure(status), ...hintOf(retryAfter) } }
    }
  }
  const { errors, latency } = target
  const answers = sampler(latency, seed, key)
  const fails = drawOf(seed, `${key} errors`)
  const own = errors?.latency === undefined ? undefined : sampler(errors.latency, seed, `${key} errors`)
  const bad = failure(errors?.status ?? 500)
  return () => {
    const millis = answers()
    return errors === undefined || fails() >= errors.rate
      ? { millis, line: good }
      : { millis: own?.() ?? millis, line: bad }
  }
}

interface Window {
  readonly from: number
  readonly until: number
  /** Reaction of the target, or `undefined` when the call is unaffected. */
  readonly line: (now: number) => Line | undefined
}

const outageWindow = (outage: Outage, draw: Draw): Window => {
  const { fails = 503, from, latency = 50, share = 1, until } = outage
  const delay = toMillis(latency)
  const line: Line =
    fails === "stall" ? { never: true } : fails === "reset" ? { delay, reset: true } : { delay, ...failure(fails) }
  return { from: toMillis(from), until: toMillis(until), line: () => (draw() < share ? line : undefined) }
}

/** Milliseconds until a target turns a call away. */
const refusalMillis = 20

const throttleWindow = (throttle: Throttle, draw: Draw): Window => {
  const { from, perSecond = 0, retryAfter, share = 1, status = 429, until } = throttle
  const line: Line = { delay: refusalMillis, ...failure(status), ...hintOf(retryAfter) }
  const start = toMillis(from)
  // A bucket that holds the allowance of one second.
  const size = Math.max(1, perSecond)
  let tokens = perSecond === 0 ? 0 : size
  let filledAt = start
  return {
    from: start,
    until: toMillis(until),
    line: (now) => {
      if (draw() >= share) return undefined
      tokens = Math.min(size, tokens + ((now - filledAt) / 1_000) * perSecond)
      filledAt = now
      if (tokens < 1) return line
      tokens--
      return undefined
    }
  }
}

/** A target of one simulation. */
export interface Model {
  readonly key: string
  /** Reaction to a call that arrives at a moment of simulated time, in milliseconds. */
  readonly call: (now: number) => Line
}

/** The models of one simulation, by key. */
export const modelsOf = <In>(
  { outages = [], targets, throttles = [] }: Pick<Traffic<In>, "outages" | "targets" | "throttles">,
  seed: number
): ReadonlyMap<string, Model> =>
  new Map(
    Object.entries(targets).map(([key, target]) => {
      const next = behaviourOf(key, target, seed)
      const places = target.concurrency === undefined ? undefined : Semaphore.makeUnsafe(target.concurrency)
      const windows = [
        ...outages.map((one, i) => ({ one, window: outageWindow(one, drawOf(seed, `outage ${i}`)) })),
        ...throttles.map((one, i) => ({ one, window: throttleWindow(one, drawOf(seed, `throttle ${i}`)) }))
      ].flatMap(({ one, window }) => (one.target === key ? [window] : []))
      const call = (now: number): Line => {
        // Drawn for every call, so that an outage does not shift later draws.
        const { line, millis } = next()
        for (const { from, line, until } of windows) {
          const special = now >= from && now < until ? line(now) : undefined
          if (special !== undefined) return special
        }
        if (places === undefined) return { delay: millis, ...line }
        return { ...line, after: places.withPermit(Effect.sleep(millis)) }
      }
      return [key, { key, call }]
    })
  )
