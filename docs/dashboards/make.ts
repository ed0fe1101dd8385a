/**
 * Writes `ai-gateway.json`, a dashboard for Grafana over the metrics of `RouterMetrics`.
 *
 *     node --conditions=effect-ai-gateway-source docs/dashboards/make.ts
 */
import { writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

interface Query {
  readonly expr: string
  readonly legend: string
}

interface Panel {
  readonly title: string
  readonly unit: string
  readonly description: string
  readonly queries: ReadonlyArray<Query>
}

const interval = "[$__rate_interval]"
const byModel = "gen_ai_provider_name, gen_ai_request_model"
const modelLegend = "{{gen_ai_provider_name}} {{gen_ai_request_model}}"

const chosen = (...more: ReadonlyArray<string>): string =>
  `{${[...more, 'gen_ai_provider_name=~"$provider"', 'gen_ai_request_model=~"$model"'].join(", ")}}`

const rate = (by: string, metric: string, selector = chosen()): string =>
  `sum by (${by}) (rate(${metric}${selector}${interval}))`

const quantile = (q: number, metric: string): string =>
  `histogram_quantile(${q}, ${rate(`le, ${byModel}`, `${metric}_bucket`)})`

const panels: ReadonlyArray<Panel> = [
  {
    title: "Calls per second",
    unit: "reqps",
    description: "Model calls that ended by themselves, by model.",
    queries: [{ expr: rate(byModel, "gen_ai_client_operation_duration_count"), legend: modelLegend }]
  },
  {
    title: "Failed calls per second",
    unit: "reqps",
    description: "By the reason of GatewayError.",
    queries: [
      {
        expr: rate(
          "gen_ai_provider_name, error_type",
          "ai_gateway_client_attempts",
          chosen('ai_gateway_attempt_outcome="failure"')
        ),
        legend: "{{gen_ai_provider_name}} {{error_type}}"
      }
    ]
  },
  {
    title: "Duration of calls, p50 and p95",
    unit: "s",
    description: "Until the complete answer or the failure, by model.",
    queries: [0.5, 0.95].map((q) => ({
      expr: quantile(q, "gen_ai_client_operation_duration"),
      legend: `${modelLegend} p${q * 100}`
    }))
  },
  {
    title: "Time to the first chunk, p95",
    unit: "s",
    description: "Streams only, by model.",
    queries: [{ expr: quantile(0.95, "gen_ai_client_operation_time_to_first_chunk"), legend: modelLegend }]
  },
  {
    title: "Attempts per second by cause",
    unit: "reqps",
    description: "All but `first` is additional load.",
    queries: [
      { expr: rate("ai_gateway_attempt_cause", "ai_gateway_client_attempts"), legend: "{{ai_gateway_attempt_cause}}" }
    ]
  },
  {
    title: "Hedges and withheld attempts per second",
    unit: "reqps",
    description: "Further attempts that began because an answer was late, and further attempts that were not made.",
    queries: [
      { expr: rate("gen_ai_provider_name", "ai_gateway_client_hedges"), legend: "hedge at {{gen_ai_provider_name}}" },
      {
        // The provider is not always known, so the filters do not apply.
        expr: rate("ai_gateway_withheld_attempt, ai_gateway_withheld_by", "ai_gateway_client_withheld", ""),
        legend: "{{ai_gateway_withheld_attempt}} withheld by {{ai_gateway_withheld_by}}"
      }
    ]
  },
  {
    title: "Breakers that are not closed",
    unit: "short",
    description: "Targets by the phase of their circuit breaker.",
    queries: [
      {
        expr: `sum by (gen_ai_provider_name, ai_gateway_breaker_state) (ai_gateway_client_breaker_state${chosen()})`,
        legend: "{{gen_ai_provider_name}} {{ai_gateway_breaker_state}}"
      }
    ]
  },
  {
    title: "Wait for limits, p95",
    unit: "s",
    description: "Attempts that waited for a place, by model.",
    queries: [{ expr: quantile(0.95, "ai_gateway_client_queue_duration"), legend: modelLegend }]
  },
  {
    title: "Tokens per second",
    unit: "short",
    description: "As providers report them. Answers from the cache of the gateway are left out.",
    queries: [
      {
        expr: rate("gen_ai_provider_name, gen_ai_token_type", "gen_ai_client_token_usage_sum"),
        legend: "{{gen_ai_provider_name}} {{gen_ai_token_type}}"
      }
    ]
  },
  {
    title: "US dollars per hour",
    unit: "currencyUSD",
    description: "Needs a router with prices. `estimated`: attempts whose tokens no provider reported.",
    queries: [
      {
        expr: `3600 * ${rate("gen_ai_provider_name, ai_gateway_cost_basis", "ai_gateway_client_cost")}`,
        legend: "{{gen_ai_provider_name}} {{ai_gateway_cost_basis}}"
      }
    ]
  }
]

const datasource = { type: "prometheus", uid: "${" + "datasource}" }

const variable = (name: string, label: string, of: string) => ({
  name,
  label,
  type: "query",
  datasource,
  query: { query: `label_values(ai_gateway_client_attempts, ${of})`, refId: name },
  refresh: 2,
  multi: true,
  includeAll: true,
  allValue: ".*",
  current: { text: "All", value: "$__all" }
})

/** The dashboard, as Grafana imports it. */
export const dashboard = {
  uid: "effect-ai-gateway",
  title: "AI Gateway routes",
  description: "Metrics of effect-ai-gateway (RouterMetrics.layer), named as in Effect's Prometheus text endpoint.",
  tags: ["ai", "effect-ai-gateway"],
  schemaVersion: 41,
  version: 1,
  editable: true,
  graphTooltip: 1,
  refresh: "30s",
  timezone: "browser",
  time: { from: "now-1h", to: "now" },
  templating: {
    list: [
      { name: "datasource", label: "Data source", type: "datasource", query: "prometheus", hide: 0 },
      variable("provider", "Provider", "gen_ai_provider_name"),
      variable("model", "Model", "gen_ai_request_model")
    ]
  },
  panels: panels.map(({ description, queries, title, unit }, index) => ({
    id: index + 1,
    type: "timeseries",
    title,
    description,
    datasource,
    gridPos: { x: 12 * (index % 2), y: 8 * Math.floor(index / 2), w: 12, h: 8 },
    fieldConfig: {
      defaults: { unit, min: 0, custom: { lineWidth: 2, fillOpacity: 10, showPoints: "never" } },
      overrides: []
    },
    options: {
      legend: { displayMode: "list", placement: "bottom", showLegend: true },
      tooltip: { mode: "multi", sort: "desc" }
    },
    targets: queries.map(({ expr, legend }, at) => ({
      refId: "ABCD".charAt(at),
      datasource,
      expr,
      legendFormat: legend,
      range: true
    }))
  }))
}

/** The file's text. */
export const text = `${JSON.stringify(dashboard, null, 2)}\n`

if (import.meta.main) writeFileSync(fileURLToPath(new URL("ai-gateway.json", import.meta.url)), text)
