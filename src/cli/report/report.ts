/** The report of a job: one self-contained HTML page, without network and script. */
import * as Duration from "effect/Duration"
import type * as Batch from "../../Batch.ts"
import * as Figures from "../shared/format.ts"
import { barChart, type Sample, type Series, timeChart } from "./chart.ts"
import type { Point, Recorder } from "./data.ts"
import { type Content, type Html, html, raw, table } from "./html.ts"
import { style } from "./style.ts"

/** Input of a report. */
export interface ReportData {
  readonly title: string
  readonly summary: Batch.Summary
  /** Receives every result of the job, and its progress periodically. */
  readonly recorder: Recorder
}

const { dollars, moment, percent, rate, short, span, whole } = Figures

/** Names from outside may be written from right to left. */
const name = (text: string): Html => html`<bdi>${text}</bdi>`

const number = (label: string) => ({ name: label, numeric: true })

const sum = (counts: Readonly<Record<string, number | undefined>>): number =>
  Object.values(counts).reduce<number>((total, count) => total + (count ?? 0), 0)

const byCount = (counts: Readonly<Record<string, number | undefined>>): ReadonlyArray<readonly [string, number]> =>
  Object.entries(counts)
    .flatMap(([key, count]): ReadonlyArray<readonly [string, number]> => (count === undefined ? [] : [[key, count]]))
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))

const states: Record<Batch.Summary["state"], readonly [color: string, text: string]> = {
  complete: ["good", "complete"],
  drained: ["warn", "drained: what was begun has ended"],
  failed: ["bad", "failed"],
  running: ["warn", "running"],
  paused: ["warn", "paused"],
  draining: ["warn", "draining"]
}

/** Points in time with the stretch that each covers; the last one ends with the job. */
interface Timeline {
  readonly duration: number
  readonly stretches: ReadonlyArray<{ readonly from: number; readonly to: number; readonly point: Point }>
}

const timelineOf = ({ recorder, summary }: ReportData): Timeline => {
  const { endedAt, points, startedAt, width } = recorder
  const duration = Math.max(Duration.toMillis(summary.duration), endedAt - startedAt)
  return {
    duration,
    stretches: points.map((point, index) => {
      const from = index * width
      return { from, to: Math.max(from + 1, Math.min(from + width, duration)), point }
    })
  }
}

/** Rate per second. Short stretches give no meaningful rate, so each counts for at least a hundredth of a second. */
const perSecond = (count: number, from: number, to: number): number => (count * 1000) / Math.max(10, to - from)

const samplesOf = (
  { stretches }: Timeline,
  value: (point: Point, from: number, to: number) => number | undefined
): ReadonlyArray<Sample> => stretches.map(({ from, point, to }) => ({ from, to, value: value(point, from, to) }))

const shadedOf = ({ stretches }: Timeline): ReadonlyArray<{ readonly from: number; readonly to: number }> =>
  stretches.filter(({ point }) => point.paused)

const unfolded = (label: string, content: Html): Html => html`<details><summary>${label}</summary>${content}</details>`

const section = (title: string, ...content: ReadonlyArray<Content>): Html => html`<section>
<h2>${title}</h2>
${content}
</section>
`

const stretch = (from: number, to: number): string => `${from === 0 ? "0" : span(from)} to ${span(to)}`

const tiles = ({ recorder, summary }: ReportData): Html => {
  const { cost, costKnown, deadLetters, latency, replayed, succeeded, tokensIn, tokensOut } = summary
  const ended = succeeded + deadLetters
  const duration = Duration.toMillis(summary.duration)
  const earlier = replayed.succeeded + replayed.deadLetters
  const tile = (label: string, figure: string, note?: string) =>
    html`<div><dt>${label}</dt><dd>${figure}${note === undefined ? undefined : html` <small>${note}</small>`}</dd></div>\n`
  return html`<dl class="tiles">
${tile("Answered", whole(succeeded), earlier > 0 ? `and ${whole(replayed.succeeded)} in earlier runs` : `of ${whole(summary.items)} items`)}${tile("Dead letters", whole(deadLetters), ended > 0 ? (deadLetters === 0 ? "none" : `${percent(deadLetters, ended)} of what ended`) : undefined)}${tile("Time", span(duration), `${rate(perSecond(ended, 0, duration))} items per second`)}${latency === undefined ? undefined : tile("Latency, median", span(latency.p50), `p99 ${span(latency.p99)}, longest ${span(latency.max)}`)}${tile("Tokens", short(tokensIn + tokensOut), `${short(tokensIn)} in, ${short(tokensOut)} out`)}${costKnown === 0 ? undefined : tile("Cost", dollars(cost), costKnown < succeeded ? `known for ${percent(costKnown, succeeded)} of the answers` : `${dollars((cost * 1000) / Math.max(1, succeeded))} for 1,000 answers`)}${recorder.points.some(({ paused }) => paused) ? tile("Pauses", whole(summary.pauses)) : undefined}</dl>`
}

const throughput = (timeline: Timeline): Html => {
  const series: ReadonlyArray<Series> = [
    {
      name: "answered",
      color: "c1",
      shape: "area",
      samples: samplesOf(timeline, (point, from, to) => perSecond(point.succeeded, from, to))
    },
    {
      name: "dead letters",
      color: "c2",
      shape: "area",
      samples: samplesOf(timeline, (point, from, to) => perSecond(point.deadLetters, from, to))
    }
  ]
  const rates = timeline.stretches.map(({ from, point, to }) =>
    perSecond(point.succeeded + point.deadLetters, from, to)
  )
  const chart = timeChart({
    id: "throughput",
    title: "Items per second over time",
    description: `At most ${rate(Math.max(...rates))} items per second in a stretch of time; the figures are in the table below.`,
    duration: timeline.duration,
    series,
    unit: rate,
    canBeLogarithmic: false,
    shaded: shadedOf(timeline)
  })
  const rows = timeline.stretches.map(({ from, point, to }) => [
    stretch(from, to),
    whole(point.succeeded),
    whole(point.deadLetters),
    rate(perSecond(point.succeeded + point.deadLetters, from, to))
  ])
  const columns = [{ name: "Time" }, number("Answered"), number("Dead letters"), number("Per second")]
  return section(
    "Throughput",
    html`<figure><figcaption>Items that ended, per second</figcaption>
${chart}
${unfolded("Figures", table("Items that ended in each stretch of time", columns, rows))}</figure>`
  )
}

const percentiles = [
  ["p50", 0.5, "c1", "line"],
  ["p95", 0.95, "c3", "line"],
  ["p99", 0.99, "c2", "dashed"]
] as const

const latencies = (timeline: Timeline): Html => {
  const chart = timeChart({
    id: "latency",
    title: "Latency percentiles over time",
    description: "Median, 95th and 99th percentile of the latency of items; the figures are in the table below.",
    duration: timeline.duration,
    series: percentiles.map(([name, q, color, shape]) => ({
      name,
      color,
      shape,
      samples: samplesOf(timeline, ({ latency }) => latency?.quantile(q))
    })),
    unit: span,
    canBeLogarithmic: true,
    shaded: shadedOf(timeline)
  })
  const rows = timeline.stretches.flatMap(({ from, point, to }) =>
    point.latency === undefined
      ? []
      : [
          [
            stretch(from, to),
            ...percentiles.map(([, q]) => span(point.latency?.quantile(q) ?? 0)),
            span(point.latency.max)
          ]
        ]
  )
  const columns = [{ name: "Time" }, ...percentiles.map(([name]) => number(name)), number("Longest")]
  return section(
    "Latency",
    html`<figure><figcaption>From the admission of an item to its end, waits and retries included</figcaption>
${chart}
${unfolded("Figures", table("Latency of the items that ended in each stretch of time", columns, rows))}</figure>`
  )
}

const concurrency = (timeline: Timeline): Html | undefined => {
  const seen = timeline.stretches.flatMap(({ point }) => (point.concurrency === undefined ? [] : [point.concurrency]))
  if (seen.length === 0) return undefined
  return section(
    "Concurrency",
    html`<figure><figcaption>Items in flight, and how many were allowed at once</figcaption>
${timeChart({
  id: "concurrency",
  title: "Items in flight over time",
  description: `The limit of items at once was between ${whole(Math.min(...seen))} and ${whole(Math.max(...seen))}.`,
  duration: timeline.duration,
  series: [
    { name: "in flight", color: "c1", shape: "line", samples: samplesOf(timeline, ({ inFlight }) => inFlight) },
    { name: "limit", color: "c4", shape: "dashed", samples: samplesOf(timeline, ({ concurrency }) => concurrency) }
  ],
  unit: short,
  canBeLogarithmic: false,
  shaded: shadedOf(timeline)
})}</figure>`
  )
}

const failures = ({ recorder, summary }: ReportData): Html => {
  const reasons = byCount(summary.reasons)
  const requests = Object.entries(summary.targets).flatMap(([target, { failures, requests }]) =>
    byCount(failures).map(([reason, count]) => ({ target, reason, count, requests }))
  )
  const kinds = [...recorder.failures.values()].sort((a, b) => b.count - a.count)
  const bars = reasons.map(([name, value]) => ({
    name,
    value,
    label: `${whole(value)} (${percent(value, summary.deadLetters)})`,
    color: "c2"
  }))
  return section(
    "Errors",
    reasons.length === 0
      ? html`<p>No item of this run became a dead letter.</p>`
      : html`<figure><figcaption>Dead letters by reason</figcaption>
${barChart({ id: "reasons", title: "Dead letters by reason", description: `${reasons.map(([reason, count]) => `${reason}: ${whole(count)}`).join(", ")}.`, bars })}</figure>
`,
    kinds.length === 0
      ? undefined
      : table(
          "Dead letters by reason, answer and target",
          [{ name: "Reason" }, number("Status"), { name: "Target" }, number("Items"), { name: "For example" }],
          kinds.map(({ count, example, reason, status, target }) => [
            reason,
            status ?? "",
            name(target),
            whole(count),
            name(example)
          ])
        ),
    requests.length === 0
      ? undefined
      : table(
          "Requests that failed, also those of items that were answered in the end",
          [{ name: "Target" }, { name: "Reason" }, number("Requests"), number("Of all to the target")],
          requests
            .sort((a, b) => b.count - a.count)
            .map(({ count, reason, requests, target }) => [
              name(target),
              reason,
              whole(count),
              percent(count, requests)
            ])
        )
  )
}

const targets = ({ recorder, summary }: ReportData): Html => {
  const all = Object.entries(summary.targets).sort(([, a], [, b]) => b.cost - a.cost || b.requests - a.requests)
  const earlier = [...recorder.earlier].sort(([, a], [, b]) => b.answered - a.answered)
  const hasCost = summary.costKnown > 0
  const measured = all
    .map(([target, { cost, tokensIn, tokensOut }]) => ({ target, value: hasCost ? cost : tokensIn + tokensOut }))
    .filter(({ value }) => value > 0)
    .sort((a, b) => b.value - a.value)
    .slice(0, 20)
  const what = hasCost ? "Cost by target" : "Tokens by target"
  const figure =
    measured.length === 0
      ? undefined
      : html`<figure><figcaption>${what}</figcaption>
${barChart({
  id: "targets",
  title: what,
  description: "The figures are in the table below.",
  bars: measured.map(({ target, value }) => ({
    name: target,
    value,
    label: hasCost ? dollars(value) : short(value),
    color: hasCost ? "c4" : "c1"
  }))
})}</figure>
`
  const columns = [
    { name: "Target" },
    ...["Requests", "Failed", "Answered", "Tokens in", "Tokens out", "Cost", "p50", "p99"].map(number)
  ]
  const rows = all.map(([target, { answered, cost, failures, latency, requests, tokensIn, tokensOut }]) => [
    name(target),
    whole(requests),
    whole(sum(failures)),
    whole(answered),
    whole(tokensIn),
    whole(tokensOut),
    hasCost ? dollars(cost) : "",
    latency === undefined ? "" : span(latency.p50),
    latency === undefined ? "" : span(latency.p99)
  ])
  return section(
    "Targets",
    figure,
    rows.length === 0
      ? html`<p>No request was sent.</p>`
      : table("This run. Latencies are those of requests that were answered.", columns, rows),
    earlier.length === 0
      ? undefined
      : table(
          "Earlier runs, from the journal",
          [{ name: "Target" }, number("Answered"), number("Tokens in"), number("Tokens out")],
          earlier.map(([target, { answered, tokensIn, tokensOut }]) => [
            name(target),
            whole(answered),
            whole(tokensIn),
            whole(tokensOut)
          ])
        )
  )
}

const slowest = ({ slowest }: Recorder): Html =>
  section(
    "Slowest items",
    slowest.length === 0
      ? html`<p>No item ended in this run.</p>`
      : table(
          `The ${slowest.length === 1 ? "one" : slowest.length} with the highest latency`,
          [
            { name: "Item" },
            number("Position"),
            number("Latency"),
            number("Requests"),
            { name: "Target" },
            { name: "Ended" },
            { name: "Log id" }
          ],
          slowest.map(({ id, index, latency, logId, reason, requests, target }) => [
            name(id),
            whole(index + 1),
            span(latency),
            requests,
            name(target ?? ""),
            reason ?? "answered",
            name(logId ?? "")
          ])
        )
  )

const everything = ({ summary }: ReportData): Html => {
  const { damage, latency, replayed } = summary
  const rows: ReadonlyArray<readonly [string, Content]> = [
    ["Items taken from the input", whole(summary.items)],
    ["Answered in this run", whole(summary.succeeded)],
    ["Dead letters of this run", whole(summary.deadLetters)],
    ["Answered in earlier runs", whole(replayed.succeeded)],
    ["Dead letters of earlier runs", whole(replayed.deadLetters)],
    ["Duplicates left out", whole(summary.duplicates)],
    ["In the journal, not in the input so far", whole(summary.unmet)],
    ["In doubt after an earlier run", whole(summary.inDoubt)],
    ["Of these, paid for twice", whole(summary.resent)],
    ["Requests", whole(summary.requests)],
    ["Retries", whole(summary.retries)],
    ["Fallbacks", whole(summary.fallbacks)],
    ["Cache hits", whole(summary.cacheHits)],
    ["Put back because of throttling", whole(summary.requeued)],
    ["Pauses", whole(summary.pauses)],
    ["Tokens in", whole(summary.tokensIn)],
    ["Tokens out", whole(summary.tokensOut)],
    ["Answers whose cost is known", whole(summary.costKnown)],
    ["Cost of these", dollars(summary.cost)],
    ["Mean latency", latency === undefined ? "" : span(latency.mean)],
    ["p50, p90, p99", latency === undefined ? "" : [latency.p50, latency.p90, latency.p99].map(span).join(", ")]
  ]
  return section(
    "Summary",
    table("What the job has come to", [{ name: "What" }, number("How many")], rows),
    damage.length === 0
      ? undefined
      : table(
          "What could not be read of the journal",
          [{ name: "Where" }, { name: "Kind" }, number("Bytes")],
          damage.map(({ bytes, kind, where }) => [name(where), kind, whole(bytes)])
        )
  )
}

/**
 * Renders the report as the text of an HTML page. All text from the input, a provider or the journal is escaped, and
 * the page forbids itself scripts and requests.
 */
export const render = (data: ReportData): string => {
  const { recorder, summary, title } = data
  const timeline = timelineOf(data)
  const [color, state] = states[summary.state]
  const hasRun = recorder.points.some(({ latency }) => latency !== undefined)
  const page = html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${raw(style)}</style>
</head>
<body>
<main>
<header>
<h1>${title}</h1>
<p><span class="state ${color}">${state}</span> Started ${moment(summary.startedAt)}, ran for ${span(Duration.toMillis(summary.duration))}</p>
</header>
${tiles(data)}
${hasRun ? [throughput(timeline), latencies(timeline), concurrency(timeline)] : html`<p>No item ended in this run, so there is nothing to draw over time.</p>\n`}${failures(data)}${targets(data)}${slowest(recorder)}${everything(data)}<footer>Written by effect-ai-gateway. Times are those of this run; percentiles are within one percent.</footer>
</main>
</body>
</html>
`
  return page.text
}
