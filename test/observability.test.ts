/**
 * Data that a backend receives: OTLP over HTTP and Prometheus text, over sockets, while a router works over a local
 * gateway.
 */
import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as OtlpMetrics from "effect/observability/OtlpMetrics"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as OtlpTracer from "effect/observability/OtlpTracer"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LocalNode from "effect-ai-gateway/local/node"
import * as Pricing from "effect-ai-gateway/Pricing"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as RouterMetrics from "effect-ai-gateway/RouterMetrics"
import * as Transport from "effect-ai-gateway/Transport"
import dashboardFile from "../docs/dashboards/ai-gateway.json" with { type: "json" }
import { dashboard } from "../docs/dashboards/make.ts"
import { evaluate } from "../docs/dashboards/queries.ts"
import { json, makePeer } from "./support/httpPeer.ts"

const names = [
  "ai_gateway.client.attempts",
  "ai_gateway.client.breaker.state",
  "ai_gateway.client.cost",
  "ai_gateway.client.hedges",
  "ai_gateway.client.queue.duration",
  "ai_gateway.client.withheld",
  "gen_ai.client.operation.duration",
  "gen_ai.client.operation.time_to_first_chunk",
  "gen_ai.client.token.usage"
]

/** Words that only the caller and the providers may know. */
const secrets = {
  prompt: "the prompt of Ada",
  token: "gateway-token-1",
  key: "provider-key-1",
  session: "session-of-ada",
  tenant: "tenant-ada",
  user: "user-ada"
}

const openai = Provider.openai.chat("gpt", { apiKey: Redacted.make(secrets.key), key: secrets.tenant })
const groq = Provider.groq.chat("llama")
const anthropic = Provider.anthropic.messages("claude")

interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly status: { readonly code: number }
  readonly attributes: ReadonlyArray<{ readonly key: string; readonly value: Readonly<Record<string, unknown>> }>
}

const attributeOf = ({ attributes }: Span, key: string): unknown =>
  Object.values(attributes.find((one) => one.key === key)?.value ?? {})[0]

/** Uses each part of a router that has a metric. */
const work = Effect.gen(function* () {
  const input = { messages: [{ role: "user" as const, content: secrets.prompt }], user: secrets.user }
  const options = { session: secrets.session, options: { metadata: { user: secrets.user } } }
  const ask = <Out>(route: Route.Route<typeof input, Out>, more: Router.RunOptions = {}) =>
    Effect.exit(Router.run(route, input, { ...options, ...more }))
  yield* ask(openai)
  yield* Stream.runDrain(Router.stream(groq, input, options))
  // The gateway follows the scripts below.
  yield* ask(Route.fallback(Route.retry(anthropic, { attempts: 2, delay: "1 millis" }), groq))
  yield* ask(Route.hedge(Route.fallback(openai, groq), { after: "20 millis" }), { budget: "none" })
  // It has failed in a run before, so nothing is sent.
  yield* ask(Route.circuitBreaker(anthropic, { minimumCalls: 1 }))
  const limited = Route.limits(groq, { concurrency: 1 })
  yield* Effect.all([ask(limited), ask(limited)], { concurrency: 2 })
  yield* Effect.exit(Stream.runDrain(Router.stream(anthropic, input, options)))
})

const run = Effect.gen(function* () {
  const registry = new Map()
  const sink = yield* makePeer((_, response) => json(response, 200, {}))
  const local = yield* LocalNode.serve({
    account: "acc",
    gateway: "gw",
    token: Redacted.make(secrets.token),
    port: 0,
    upstreams: {}
  }).pipe(Effect.withTracerEnabled(false))
  yield* local.gateway.script("anthropic", [{ status: 503 }, { stream: { resetAfter: { deltas: 1 } } }])
  yield* local.gateway.script("openai", [{ ok: true }, { ok: true, delay: "500 millis" }])
  yield* local.gateway.script("groq", [{ ok: true }, { ok: true }, { ok: true }, { ok: true, delay: "50 millis" }])

  const resource = { serviceName: "test" }
  const telemetry = Layer.merge(
    OtlpTracer.layer({ url: `${sink.url}/v1/traces`, resource }),
    OtlpMetrics.layer({ url: `${sink.url}/v1/metrics`, resource })
  ).pipe(Layer.provide([OtlpSerialization.layerJson, FetchHttpClient.layer]))
  const gateway = GatewayService.layerHttp({
    accountId: "acc",
    gateway: "gw",
    token: Redacted.make(secrets.token),
    baseUrl: local.url
  }).pipe(Layer.provide(Transport.layerFetch))
  const router = Router.layerWith({
    execution: "client",
    budget: { ratio: 0.000_001, perSecond: 0 },
    pricing: Pricing.make({ "openai/gpt": { input: 1, output: 1 }, "groq/llama": { input: 1, output: 1 } })
  }).pipe(Layer.provide(gateway))
  const services = RouterMetrics.layer.pipe(Layer.provideMerge(router), Layer.provideMerge(telemetry))
  const prometheus = HttpRouter.serve(PrometheusMetrics.layerHttp(), {
    disableLogger: true,
    disableListenLog: true
  }).pipe(Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })))
  const text = yield* Effect.gen(function* () {
    yield* Effect.provide(work, services)
    const { address } = yield* HttpServer.HttpServer
    const port = address._tag === "InetAddressV4" ? address.port : assert.fail("no port")
    return yield* Effect.promise(async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text())
  }).pipe(Effect.provide(prometheus), Effect.provideService(Metric.MetricRegistry, registry))
  // The exporters have sent the rest when their layers closed.
  const bodies = (path: string) => sink.requests.filter(({ url }) => url === path).map(({ body }) => JSON.parse(body))
  const spans: ReadonlyArray<Span> = bodies("/v1/traces").flatMap(({ resourceSpans }) =>
    resourceSpans.flatMap(({ scopeSpans }: { scopeSpans: ReadonlyArray<{ spans: ReadonlyArray<Span> }> }) =>
      scopeSpans.flatMap(({ spans }) => spans)
    )
  )
  const metrics: ReadonlyArray<string> = bodies("/v1/metrics").flatMap(({ resourceMetrics }) =>
    resourceMetrics.flatMap(
      ({ scopeMetrics }: { scopeMetrics: ReadonlyArray<{ metrics: ReadonlyArray<{ name: string }> }> }) =>
        scopeMetrics.flatMap(({ metrics }) => metrics.map(({ name }) => name))
    )
  )
  return { text, spans, metrics, sent: sink.requests.map(({ body }) => body) }
}).pipe(Effect.scoped)

const seen = Effect.runSync(Effect.cached(run))

describe("a backend", () => {
  it.live("receives every metric, as OTLP and as Prometheus text", () =>
    Effect.gen(function* () {
      const { metrics, text } = yield* seen
      assert.deepStrictEqual([...new Set(metrics)].sort(), names)
      const families = [...text.matchAll(/^# TYPE (\S+) \S+$/gm)].map(([, name]) => name)
      assert.deepStrictEqual(
        families.sort(),
        names.map((name) => name.replaceAll(".", "_"))
      )
    })
  )

  it.live("receives a span for each request below that of its run", () =>
    Effect.gen(function* () {
      const { spans } = yield* seen
      const byId = new Map(spans.map((span) => [span.spanId, span]))
      const runs = spans.filter(({ name }) => name.startsWith("Router."))
      const requests = spans.filter(({ name }) => name === "GatewayService.run")
      assert.strictEqual(runs.length, 8)
      assert.strictEqual(requests.length, 9)
      for (const span of runs) {
        assert.strictEqual(span.kind, 1, "internal")
        assert.isUndefined(span.parentSpanId)
      }
      for (const span of requests) {
        assert.strictEqual(span.kind, 3, "client")
        const parent = byId.get(span.parentSpanId ?? "")
        assert.isDefined(parent)
        assert.strictEqual(parent?.traceId, span.traceId)
        assert.strictEqual(
          attributeOf(span, "ai_gateway.event_id"),
          parent && attributeOf(parent, "ai_gateway.event_id")
        )
      }
      const failed = requests.filter(({ status }) => status.code === 2)
      assert.isAbove(failed.length, 0)
      for (const span of failed) {
        assert.strictEqual(attributeOf(span, "error.type"), "ProviderUnavailable")
        assert.isString(attributeOf(span, "ai_gateway.log_id"))
      }
      const broken = runs.filter(({ name, status }) => name === "Router.open" && status.code === 2)
      assert.deepStrictEqual(
        broken.map((span) => attributeOf(span, "error.type")),
        ["StreamInterrupted"]
      )
    })
  )

  it.live("learns no prompt, credential, session, user or key of a target", () =>
    Effect.gen(function* () {
      const { sent, text } = yield* seen
      assert.isAbove(sent.length, 1)
      for (const [what, secret] of Object.entries(secrets)) {
        for (const body of [...sent, text]) assert.notInclude(body, secret, what)
      }
    })
  )
})

describe("the dashboard", () => {
  it("is the one that its script makes", () => {
    assert.deepStrictEqual(dashboardFile, JSON.parse(JSON.stringify(dashboard)))
  })

  it.live("asks only for metrics and labels that are exported", () =>
    Effect.gen(function* () {
      const { text } = yield* seen
      const labels = new Map<string, Set<string>>()
      for (const [, metric = "", inner = ""] of text.matchAll(/^([a-z_]+)(?:\{(.*)\})? \S+$/gm)) {
        const known = labels.get(metric) ?? new Set()
        for (const [, label = ""] of inner.matchAll(/(\w+)="/g)) known.add(label)
        labels.set(metric, known)
      }
      const expressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
      assert.isAbove(expressions.length, 9)
      for (const expr of expressions) {
        const [, by = "", metric = ""] = /sum by \(([^)]+)\) \((?:rate\()?([a-z_]+)/.exec(expr) ?? []
        const known = labels.get(metric)
        assert.isDefined(known, `${metric} of ${expr}`)
        for (const label of by.split(", ")) assert.isTrue(known?.has(label), `${label} of ${expr}`)
        const lines = evaluate(
          expr,
          [
            { at: 0, text: "" },
            { at: 1, text }
          ],
          2
        )
        assert.isTrue(
          lines.some(({ values }) => (values[1] ?? 0) > 0),
          `a value of ${expr}`
        )
      }
      for (const { query } of dashboard.templating.list) {
        if (typeof query === "string") continue
        const [, metric = "", label = ""] = /^label_values\((\w+), (\w+)\)$/.exec(query.query) ?? []
        assert.isTrue(labels.get(metric)?.has(label), query.query)
      }
    })
  )
})
