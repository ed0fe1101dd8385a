/** Problems of the description of a simulation. */
import type { Problem } from "../../GatewayOptions.ts"
import { millisOf } from "../../internal/data/duration.ts"
import { isObject, isRecord, strayField } from "../../internal/data/json.ts"
import * as Pricing from "../../Pricing.ts"
import { isTime } from "../peer/line.ts"
import { isModel } from "./model.ts"
import type {
  Arrivals,
  Interval,
  Latency,
  ModelledTarget,
  Outage,
  RecordedTarget,
  Target,
  Throttle,
  Traffic
} from "./settings.ts"

const longest = 86_400_000
const mostRuns = 1_000_000
const mostBuckets = 10_000

const isNumber = (n: unknown, min: number, max: number): boolean => typeof n === "number" && n >= min && n <= max
const isWhole = (n: unknown, min: number, max = Number.MAX_SAFE_INTEGER): boolean =>
  Number.isInteger(n) && isNumber(n, min, max)

type Check = (holds: boolean, field: string, accepted: string) => void

const time = "a finite duration of 0 or more"
const share = "a number more than 0, at most 1"

const latencyProblems = (check: Check, at: string, latency: Latency): void => {
  if (!isModel(latency)) {
    check(isTime(latency), at, `${time}, or { p50, p99, slower }`)
    return
  }
  const { p50, p99 = p50, slower } = latency
  const stray = strayField(latency, ["p50", "p99", "slower"])
  check(stray === undefined, `${at}.${stray}`, "one of p50, p99, slower")
  check(isTime(p50) && millisOf(p50) > 0, `${at}.p50`, "a finite duration of more than 0")
  check(isTime(p99) && !(millisOf(p99) < millisOf(p50)), `${at}.p99`, "a finite duration of at least p50")
  if (slower === undefined) return
  check(isRecord(slower) && isNumber(slower.share, 0, 1), `${at}.slower.share`, "a number from 0 to 1")
  check(isRecord(slower) && isNumber(slower.times, 1, 1_000), `${at}.slower.times`, "a number from 1 to 1000")
}

const arrivalProblems = (check: Check, arrivals: Arrivals, duration: number): void => {
  const rate = "a number more than 0, at most 10000"
  const isRate = (n: unknown): boolean => isNumber(n, Number.MIN_VALUE, 10_000)
  const few = `at most ${mostRuns} runs in all`
  if (!isRecord(arrivals)) {
    check(false, "arrivals", "{ perSecond }, { burst, every } or { times }")
    return
  }
  if ("times" in arrivals) {
    const { times } = arrivals as { readonly times: ReadonlyArray<number> }
    if (!Array.isArray(times)) {
      check(false, "arrivals.times", "a list of durations")
      return
    }
    const wrong = times.findIndex((at) => !isTime(at) || millisOf(at) >= duration)
    check(wrong < 0, `arrivals.times[${wrong}]`, "a duration of 0 or more, below the duration of the simulation")
    check(times.length > 0 && times.length <= mostRuns, "arrivals.times", `at least 1 time, and ${few}`)
    const stray = strayField(arrivals, ["times"])
    check(stray === undefined, `arrivals.${stray}`, "only times")
    return
  }
  const perSecond = arrivals.perSecond
  let runs = (perSecond ?? 0) * (duration / 1_000)
  if ("burst" in arrivals) {
    check(perSecond === undefined || isRate(perSecond), "arrivals.perSecond", rate)
    check(isWhole(arrivals.burst, 1, mostRuns), "arrivals.burst", `a whole number from 1 to ${mostRuns}`)
    const every = millisOf(arrivals.every)
    check(every >= 1 && Number.isFinite(every), "arrivals.every", "a finite duration of at least 1 ms")
    runs += (arrivals.burst * duration) / Math.max(1, every)
    const stray = strayField(arrivals, ["burst", "every", "perSecond"])
    check(stray === undefined, `arrivals.${stray}`, "one of burst, every, perSecond")
  } else {
    check(isRate(perSecond), "arrivals.perSecond", rate)
    const by = "by" in arrivals ? arrivals.by : undefined
    check(by === undefined || by === "poisson" || by === "constant", "arrivals.by", `"poisson" or "constant"`)
    const stray = strayField(arrivals, ["perSecond", "by"])
    check(stray === undefined, `arrivals.${stray}`, "one of perSecond, by")
  }
  check(!(runs > mostRuns), "arrivals", few)
}

const targetProblems = (check: Check, at: string, target: Target): void => {
  if (!isRecord(target)) {
    check(false, at, "{ latency, … } or { recorded, … }")
    return
  }
  const { concurrency, price, usage }: Target = target
  check(concurrency === undefined || isWhole(concurrency, 1), `${at}.concurrency`, "a whole number of at least 1")
  check(
    usage === undefined || (isRecord(usage) && isWhole(usage["input"], 0) && isWhole(usage["output"], 0)),
    `${at}.usage`,
    "{ input, output }, whole numbers of at least 0"
  )
  const [mispriced] = price === undefined ? [] : Pricing.problems({ price })
  if (mispriced !== undefined) {
    check(false, `${at}.${mispriced.field.replace(`pricing["price"]`, "price")}`, mispriced.accepted)
  }
  const shared = ["concurrency", "usage", "price"]
  if ("recorded" in target) {
    const stray = strayField(target, ["recorded", ...shared])
    check(stray === undefined, `${at}.${stray}`, `one of recorded, ${shared.join(", ")}`)
    const { recorded } = target as RecordedTarget
    const isList = Array.isArray(recorded) && recorded.length > 0 && recorded.every(isObject)
    if (!isList) {
      check(false, `${at}.recorded`, "a list of at least 1 outcome: { latency, status, retryAfter }")
      return
    }
    for (const [index, { latency, retryAfter, status }] of recorded.entries()) {
      const own = `${at}.recorded[${index}]`
      check(isTime(latency), `${own}.latency`, time)
      check(status === undefined || isWhole(status, 200, 599), `${own}.status`, "a whole number from 200 to 599")
      check(retryAfter === undefined || isTime(retryAfter), `${own}.retryAfter`, time)
    }
    return
  }
  const stray = strayField(target, ["latency", "errors", ...shared])
  check(stray === undefined, `${at}.${stray}`, `one of latency, errors, ${shared.join(", ")}`)
  const { errors, latency } = target as ModelledTarget
  latencyProblems(check, `${at}.latency`, latency)
  if (errors === undefined) return
  if (!isRecord(errors)) {
    check(false, `${at}.errors`, "{ rate, status, latency }")
    return
  }
  check(isNumber(errors.rate, 0, 1), `${at}.errors.rate`, "a number from 0 to 1")
  const isError = errors.status === undefined || isWhole(errors.status, 400, 599)
  check(isError, `${at}.errors.status`, "a whole number from 400 to 599")
  if (errors.latency !== undefined) latencyProblems(check, `${at}.errors.latency`, errors.latency)
}

const intervalProblems = (
  check: Check,
  at: string,
  interval: Interval,
  keys: ReadonlyArray<string>,
  own: ReadonlyArray<string>
): void => {
  const fields = ["target", "from", "until", "share", ...own]
  const stray = strayField(interval, fields)
  check(stray === undefined, `${at}.${stray}`, `one of ${fields.join(", ")}`)
  check(keys.includes(interval.target), `${at}.target`, `one of ${keys.join(", ")}`)
  check(isTime(interval.from), `${at}.from`, time)
  check(millisOf(interval.until) > millisOf(interval.from), `${at}.until`, "a duration of more than from")
  check(interval.share === undefined || isNumber(interval.share, Number.MIN_VALUE, 1), `${at}.share`, share)
}

const outageProblems = (check: Check, at: string, { fails, latency }: Outage): void => {
  const isKnown = fails === undefined || fails === "stall" || fails === "reset" || isWhole(fails, 500, 599)
  check(isKnown, `${at}.fails`, `a status from 500 to 599, "stall" or "reset"`)
  check(latency === undefined || isTime(latency), `${at}.latency`, time)
}

const throttleProblems = (check: Check, at: string, { perSecond, retryAfter, status }: Throttle): void => {
  check(status === undefined || status === 429 || status === 529, `${at}.status`, "429 or 529")
  check(perSecond === undefined || isNumber(perSecond, 0, 10_000), `${at}.perSecond`, "a number from 0 to 10000")
  check(retryAfter === undefined || isTime(retryAfter), `${at}.retryAfter`, time)
}

const names = [
  "seed",
  "duration",
  "arrivals",
  "targets",
  "outages",
  "throttles",
  "input",
  "runOptions",
  "router",
  "bucket",
  "patience"
]

/** All problems of simulated traffic, independent of its routes. */
export const trafficProblems = <In>(traffic: Traffic<In>): ReadonlyArray<Problem> => {
  const out: Array<Problem> = []
  const check: Check = (holds, field, accepted) => {
    if (!holds) out.push({ field, accepted })
  }
  const { arrivals, bucket, outages = [], patience, router, runOptions, seed, targets, throttles = [] } = traffic
  const stray = strayField(traffic, [...names, "route", "routes"])
  check(stray === undefined, `${stray}`, `one of ${names.join(", ")}`)
  check(seed === undefined || isWhole(seed, 0), "seed", "a whole number of at least 0")
  const duration = millisOf(traffic.duration)
  check(duration > 0 && duration <= longest, "duration", "a duration of more than 0, at most 24 hours")
  arrivalProblems(check, arrivals, duration)
  const isMap = isRecord(targets) && Object.keys(targets).length > 0
  check(isMap, "targets", "models by provider, or by provider and model")
  const keys = isMap ? Object.keys(targets) : []
  for (const key of keys) {
    const target = targets[key]
    if (target !== undefined) targetProblems(check, `targets[${JSON.stringify(key)}]`, target)
  }
  for (const [name, list] of Object.entries({ outages, throttles })) {
    check(Array.isArray(list) && list.every(isObject), name, "a list of { target, from, until, … }")
  }
  if (out.some(({ field }) => field === "outages" || field === "throttles")) return out
  for (const [index, outage] of outages.entries()) {
    intervalProblems(check, `outages[${index}]`, outage, keys, ["fails", "latency"])
    outageProblems(check, `outages[${index}]`, outage)
  }
  for (const [index, throttle] of throttles.entries()) {
    intervalProblems(check, `throttles[${index}]`, throttle, keys, ["perSecond", "status", "retryAfter"])
    throttleProblems(check, `throttles[${index}]`, throttle)
  }
  check("input" in traffic, "input", "the input of each run, or a function from its place")
  check(!(isRecord(router) && "execution" in router), "router.execution", "nothing: routes run on the client")
  check(
    !(isRecord(runOptions) && "execution" in runOptions),
    "runOptions.execution",
    "nothing: routes run on the client"
  )
  const points = bucket === undefined ? 1 : duration / millisOf(bucket)
  const isBucket = bucket === undefined || (millisOf(bucket) >= 1 && points <= mostBuckets)
  check(isBucket, "bucket", `a duration of at least 1 ms, at most ${mostBuckets} of them`)
  const isPatience = patience === undefined || (isTime(patience) && millisOf(patience) <= longest)
  check(isPatience, "patience", "a duration of 0 to 24 hours")
  return out
}
