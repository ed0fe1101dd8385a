/**
 * `npm run demo -- --chaos`: two minutes of simulated traffic in seconds, with an outage and a throttle, through a
 * plain route and a guarded one.
 *
 * Both are run by the real router; the providers, the clock and chance are simulated, so the figures are the same every
 * time. Prints a table, and writes a page with plots over time.
 */
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { Simulation } from "effect-ai-gateway/testing"
import { page } from "./demo-chaos-page.ts"
import { check, heading } from "./demo-support.ts"

const openai = Provider.openai.chat("gpt-4.1-mini")
const anthropic = Provider.anthropic.messages("claude-haiku-4-5")
const groq = Provider.groq.chat("llama-3.3-70b-versatile")

/** The usual policy: the next provider after a failure, and retries. */
const plain = Route.fallback(openai, anthropic, groq).pipe(
  Route.retry({ attempts: 3, delay: "200 millis" }),
  Route.timeout("10 seconds"),
  Route.deadline("5 seconds")
)

/** The same providers and limits, with guards. */
const guarded = Route.balance([openai, anthropic, groq], { by: "latency" }).pipe(
  Route.retry({ attempts: 3, delay: "200 millis" }),
  Route.timeout("10 seconds"),
  Route.circuitBreaker({ window: "10 seconds", openFor: "5 seconds" }),
  Route.hedge({ after: { percentile: 0.95, atMost: "2 seconds" } }),
  Route.deadline("5 seconds")
)

/** Times at which something is wrong. */
const troubles = [
  { name: "openai answers 503 after 1.2 seconds", target: "openai", from: 25_000, until: 50_000 },
  { name: "anthropic lets 10 calls a second in", target: "anthropic", from: 40_000, until: 80_000 }
] as const

const [outage, throttle] = troubles
const between = ({ from, target, until }: (typeof troubles)[number]) => ({ target, from, until })

const seconds = 120
const price = { input: 0.4, output: 1.6 }

const scenario = {
  seed: 1,
  duration: seconds * 1_000,
  arrivals: { perSecond: 40 },
  input: "Which planet has the most moons?",
  targets: {
    openai: { latency: { p50: 450, p99: 2_500, slower: { share: 0.01, times: 4 } }, errors: { rate: 0.01 }, price },
    anthropic: { latency: { p50: 550, p99: 2_200 }, errors: { rate: 0.005, status: 529 }, price },
    groq: { latency: { p50: 350, p99: 1_800 }, errors: { rate: 0.01, status: 503 }, concurrency: 60, price }
  },
  outages: [{ ...between(outage), fails: 503, latency: 1_200 }],
  throttles: [{ ...between(throttle), perSecond: 10, retryAfter: "8 seconds" }],
  bucket: "2 seconds"
} as const satisfies Simulation.Traffic<string>

export const chaos = Effect.gen(function* () {
  yield* heading(`${seconds} seconds of traffic, ${scenario.arrivals.perSecond} runs per second`)
  for (const { from, name, until } of troubles) {
    yield* Console.log(`  ${from / 1_000} s to ${until / 1_000} s: ${name}`)
  }
  const startedAt = performance.now()
  const results = yield* Simulation.compare({ ...scenario, routes: { plain, guarded } })
  const took = performance.now() - startedAt
  yield* Console.log("")
  for (const line of Simulation.table(results).split("\n")) yield* Console.log(`  ${line}`)
  yield* Console.log(`\n  simulated in ${(took / 1_000).toFixed(1)} s\n`)

  const [before, after] = [results["plain"], results["guarded"]]
  if (before === undefined || after === undefined) return yield* Effect.die(new Error("NOT TRUE: both were simulated"))
  yield* check("both had the same runs", before.runs === after.runs)
  yield* check("the guarded route lost fewer than 1 run in 1,000", after.successRate > 0.999)
  yield* check(
    "its p99 is below half of the plain one's",
    (after.p99 ?? Number.POSITIVE_INFINITY) < (before.p99 ?? 0) / 2
  )
  yield* check("it needed at most 20 % more requests than runs", after.requestsPerRun <= 1.2)
  const opened = after.series.filter(({ breakers }) => breakers["openai"] === "open")
  yield* check(
    "its breaker was open while openai failed, and closed in the end",
    opened.some(({ at }) => at >= outage.from && at < outage.until) &&
      after.series.at(-1)?.breakers["openai"] === "closed"
  )

  const file = join(mkdtempSync(join(tmpdir(), "chaos-")), "chaos.html")
  writeFileSync(file, page({ duration: scenario.duration, bucket: 2_000, troubles, results }))
  yield* Console.log(`\n  plots over time: ${file}\n\nEverything above was checked.`)
})
