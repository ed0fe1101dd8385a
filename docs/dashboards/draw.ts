/**
 * Draws `ai-gateway.svg`: sends real requests through a router to a local gateway for 40 seconds, while one provider
 * fails from second 12 to second 22, reads the Prometheus text twice a second, evaluates the queries of the dashboard
 * and plots the results.
 *
 *     node --conditions=effect-ai-gateway-source docs/dashboards/draw.ts
 */
import { writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LocalNode from "effect-ai-gateway/local/node"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Pricing from "effect-ai-gateway/Pricing"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as RouterMetrics from "effect-ai-gateway/RouterMetrics"
import * as Transport from "effect-ai-gateway/Transport"
import { dashboard } from "./make.ts"
import { evaluate, type Line, type Sample } from "./queries.ts"

const seconds = 40
const outage = { from: 12, to: 22 }
const perSecond = 25

const start = Date.now()
const now = (): number => (Date.now() - start) / 1000

/** Answers after a time that is mostly near `median`, and sometimes ten times as long. */
const provider = (median: number, fails: () => boolean): Upstream.Upstream => ({
  start: Effect.map(
    Upstream.echo().start,
    (handler) => (request) =>
      Effect.gen(function* () {
        const spread = yield* Random.next
        const isSlow = (yield* Random.next) < 0.04
        yield* Effect.sleep(median * (0.5 + spread) * (isSlow ? 10 : 1))
        return fails()
          ? { status: 503, headers: { "content-type": "application/json" }, body: `{"error":{"message":"overloaded"}}` }
          : yield* handler(request)
      })
  )
})

const route = Route.fallback(
  Provider.openai.chat("gpt-4.1-mini").pipe(Route.retry({ attempts: 2, delay: "50 millis" })),
  Provider.anthropic.messages("claude-haiku-4-5").pipe(Route.limits({ concurrency: 4 }))
).pipe(
  Route.circuitBreaker({ window: "10 seconds", openFor: "3 seconds" }),
  Route.hedge({ after: "250 millis" }),
  Route.deadline("10 seconds")
)

const traffic = Effect.gen(function* () {
  const input = { messages: [{ role: "user" as const, content: "Which planet has the most moons?" }], maxTokens: 200 }
  for (let n = 0; n < seconds * perSecond; n++) {
    const asked =
      n % 3 === 0
        ? Stream.runDrain(Router.stream(route, input, { quiet: true }))
        : Router.run(route, input, { quiet: true })
    yield* Effect.forkChild(Effect.exit(asked))
    yield* Effect.sleep(1000 * ((n + 1) / perSecond - now()))
  }
})

const samples: Array<Sample> = []

const program = Effect.gen(function* () {
  const local = yield* LocalNode.serve({
    account: "acc",
    gateway: "gw",
    port: 0,
    upstreams: {
      openai: provider(60, () => now() > outage.from && now() < outage.to),
      anthropic: provider(110, () => false)
    }
  })
  const gateway = GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: local.url }).pipe(
    Layer.provide(Transport.layerFetch)
  )
  const router = Router.layerWith({
    execution: "client",
    pricing: Pricing.make({
      "openai/gpt-4.1-mini": { input: 0.4, output: 1.6 },
      "anthropic/claude-haiku-4-5": { input: 1, output: 5 }
    })
  }).pipe(Layer.provide(gateway))
  const read = Effect.map(PrometheusMetrics.format(), (text) => void samples.push({ at: now(), text }))
  yield* Effect.raceFirst(traffic, Effect.forever(Effect.andThen(read, Effect.sleep("500 millis")))).pipe(
    Effect.provide(RouterMetrics.layer.pipe(Layer.provideMerge(router)))
  )
}).pipe(Effect.scoped, Random.withSeed("dashboard"))

// ---------------------------------------------------------------------------------------------------------------------

const width = 980
const panelWidth = width / 2
const panelHeight = 230
const plot = { left: 58, top: 40, right: 16, bottom: 62 }
const colours = ["#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#9a6700", "#57606a", "#0a7ea4"]

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")

const legendOf = (format: string, { labels }: Line): string =>
  format.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => labels[name] ?? "").trim()

const units: Readonly<Record<string, string>> = { reqps: "/s", s: " s", short: "", currencyUSD: " $" }

type Panel = (typeof dashboard.panels)[number]

const drawPanel = ({ fieldConfig, targets, title }: Panel, x: number, y: number): string => {
  const lines = targets.flatMap(({ expr, legendFormat }) =>
    evaluate(expr, samples, 4).map((line) => ({ name: legendOf(legendFormat, line), values: line.values }))
  )
  const most = Math.max(1e-9, ...lines.flatMap(({ values }) => values.filter((value) => value !== undefined)))
  const [w, h] = [panelWidth - plot.left - plot.right, panelHeight - plot.top - plot.bottom]
  const unit = units[fieldConfig.defaults.unit] ?? ""
  const px = (at: number): string => (x + plot.left + (w * at) / seconds).toFixed(1)
  const py = (value: number): string => (y + plot.top + h - (h * value) / (most * 1.05)).toFixed(1)
  const out: Array<string> = [
    `<text class="title" x="${x + 14}" y="${y + 22}">${escaped(title)}</text>`,
    `<rect class="outage" x="${px(outage.from)}" y="${y + plot.top}" width="${(w * (outage.to - outage.from)) / seconds}" height="${h}"/>`
  ]
  for (const part of [0, 0.5, 1]) {
    const value = Number((most * part).toPrecision(2))
    out.push(`<line class="grid" x1="${x + plot.left}" x2="${x + plot.left + w}" y1="${py(value)}" y2="${py(value)}"/>`)
    out.push(
      `<text class="muted" text-anchor="end" x="${x + plot.left - 6}" y="${Number(py(value)) + 4}">${value}${unit}</text>`
    )
  }
  for (const at of [0, 10, 20, 30, 40]) {
    out.push(`<text class="muted" text-anchor="middle" x="${px(at)}" y="${y + plot.top + h + 16}">${at} s</text>`)
  }
  let [legendX, legendY] = [x + 14, y + plot.top + h + 36]
  lines.forEach(({ name, values }, index) => {
    const colour = colours[index % colours.length]
    const points = values.flatMap((value, at) =>
      value === undefined ? [] : [`${px(samples[at]?.at ?? 0)},${py(value)}`]
    )
    out.push(`<polyline fill="none" stroke="${colour}" stroke-width="1.6" points="${points.join(" ")}"/>`)
    const size = 24 + name.length * 6
    if (legendX + size > x + panelWidth) [legendX, legendY] = [x + 14, legendY + 15]
    out.push(`<rect x="${legendX}" y="${legendY - 8}" width="10" height="3" fill="${colour}"/>`)
    out.push(`<text class="muted" x="${legendX + 15}" y="${legendY - 3}">${escaped(name)}</text>`)
    legendX += size
  })
  return out.join("\n")
}

const style =
  ".paper{fill:#fff}.title{font-size:13px;font-weight:600;fill:#1f2328}.muted{fill:#59636e}.grid{stroke:#d1d9e0}.outage{fill:#cf222e;opacity:.08}" +
  "@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.title{fill:#e6edf3}.muted{fill:#9198a1}.grid{stroke:#30363d}.outage{opacity:.2}}" +
  "text{font:11px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}"

await Effect.runPromise(program)
const rows = Math.ceil(dashboard.panels.length / 2)
const svg = [
  `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${rows * panelHeight + 34}" role="img" aria-label="${escaped(dashboard.title)}">`,
  `<style>${style}</style>`,
  `<rect class="paper" width="100%" height="100%"/>`,
  `<text class="muted" x="14" y="20">Drawn by docs/dashboards/draw.ts from the queries of ai-gateway.json; one run over a local gateway; openai fails in the shaded time.</text>`,
  ...dashboard.panels.map((panel, index) =>
    drawPanel(panel, (index % 2) * panelWidth, 30 + Math.floor(index / 2) * panelHeight)
  ),
  "</svg>\n"
].join("\n")
writeFileSync(fileURLToPath(new URL("ai-gateway.svg", import.meta.url)), svg)
