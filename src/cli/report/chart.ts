/**
 * Charts as SVG, drawn when the report is written, so that the page needs no script. Colours are classes of the page.
 */
import { span } from "../shared/format.ts"
import { type Content, type Html, html } from "./html.ts"

const size = { width: 760, height: 250 }
const inset = { left: 62, right: 34, top: 14, bottom: 30 }
const right = size.width - inset.right
const bottom = size.height - inset.bottom

/** Position of a value, from 0 to 1, and the values of the labels. */
interface Scale {
  readonly ticks: ReadonlyArray<number>
  readonly at: (value: number) => number
  readonly isLogarithmic: boolean
}

/** 1, 2 or 5 of a power of ten. */
const niceStep = (rough: number): number => {
  const power = 10 ** Math.floor(Math.log10(rough))
  return ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) ?? 10) * power
}

const linear = (max: number): Scale => {
  const step = niceStep((max > 0 ? max : 1) / 4)
  const count = Math.max(1, Math.ceil((max > 0 ? max : 1) / step - 1e-9))
  return {
    ticks: Array.from({ length: count + 1 }, (_, index) => index * step),
    at: (value) => value / (count * step),
    isLogarithmic: false
  }
}

const logarithmic = (min: number, max: number): Scale => {
  const [low, high] = [
    Math.floor(Math.log10(min)),
    Math.max(Math.ceil(Math.log10(max)), Math.floor(Math.log10(min)) + 1)
  ]
  return {
    ticks: Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index)),
    at: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low),
    isLogarithmic: true
  }
}

/** Small and large values side by side need a logarithmic scale. */
const scaleOf = (values: ReadonlyArray<number>): Scale => {
  const positive = values.filter((value) => value > 0)
  const [min, max] = positive.reduce(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Number.POSITIVE_INFINITY, 0]
  )
  return max / min > 30 ? logarithmic(min, max) : linear(max)
}

const second = 1000
const timeSteps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400]

const timeTicks = (duration: number): ReadonlyArray<number> => {
  const rough = duration / 6
  const day = 86_400 * second
  const step =
    duration < 2 * second
      ? niceStep(rough)
      : (timeSteps.find((step) => step * second >= rough) ?? Math.ceil(rough / day) * 86_400) * second
  return Array.from({ length: Math.floor(duration / step + 1e-9) + 1 }, (_, index) => index * step)
}

/** A stretch of time and its measurement. */
export interface Sample {
  /** Milliseconds since the start. */
  readonly from: number
  readonly to: number
  readonly value: number | undefined
}

/** Values that are drawn in one colour. */
export interface Series {
  readonly name: string
  /** Class of the page: `c1` to `c4`. */
  readonly color: string
  /** A filled area with a step for each sample, or a line through their middles. */
  readonly shape: "area" | "line" | "dashed"
  readonly samples: ReadonlyArray<Sample>
}

/** Input of a chart over time. */
export interface TimeChart {
  /** Unique in the page. */
  readonly id: string
  readonly title: string
  /** Text alternative of the chart. */
  readonly description: string
  /** Milliseconds. */
  readonly duration: number
  /** Areas stand on top of each other, the first one lowest. */
  readonly series: ReadonlyArray<Series>
  readonly unit: (value: number) => string
  readonly canBeLogarithmic: boolean
  /** Stretches of time that are shaded. */
  readonly shaded: ReadonlyArray<{ readonly from: number; readonly to: number }>
  /** Meaning of the shade. Default `"paused"`. */
  readonly shading?: string
}

const round = (value: number): string => String(Math.round(value * 10) / 10)

const areaPath = (
  samples: ReadonlyArray<Sample>,
  below: ReadonlyArray<number>,
  x: (time: number) => number,
  y: (value: number) => number
): string => {
  const top = samples.map(({ from, to, value }, at) => {
    const level = round(y((below[at] ?? 0) + (value ?? 0)))
    return `${round(x(from))},${level} ${round(x(to))},${level}`
  })
  const base = samples
    .map(
      ({ from, to }, at) => `${round(x(to))},${round(y(below[at] ?? 0))} ${round(x(from))},${round(y(below[at] ?? 0))}`
    )
    .reverse()
  return samples.length === 0 ? "" : `M${[...top, ...base].join(" L")}Z`
}

/** Pieces between the gaps; a piece of one point is a dot. */
const lineMarks = (
  { color, samples, shape }: Series,
  x: (time: number) => number,
  y: (value: number) => number
): ReadonlyArray<Html> => {
  const pieces: Array<Array<string>> = [[]]
  for (const { from, to, value } of samples) {
    if (value === undefined) pieces.push([])
    else pieces.at(-1)?.push(`${round(x((from + to) / 2))},${round(y(value))}`)
  }
  return pieces.flatMap((points) => {
    const [first, ...more] = points
    if (first === undefined) return []
    if (more.length > 0) {
      return [
        html`<polyline class="line ${color}${shape === "dashed" ? " dashed" : ""}" points="${points.join(" ")}"/>`
      ]
    }
    const [cx = "0", cy = "0"] = first.split(",")
    return [html`<circle class="dot ${color}" cx="${cx}" cy="${cy}" r="3"/>`]
  })
}

const frameOf = (chart: Pick<TimeChart, "description" | "id" | "title">, height: number, content: Content): Html =>
  html`<div class="scroll"><svg viewBox="0 0 ${size.width} ${height}" role="img" aria-labelledby="${chart.id}-title ${chart.id}-desc">
<title id="${chart.id}-title">${chart.title}</title>
<desc id="${chart.id}-desc">${chart.description}</desc>
${content}</svg></div>`

/** Draws series over time, with a legend. */
export const timeChart = (chart: TimeChart): Html => {
  const { canBeLogarithmic, series, shaded, shading = "paused", unit } = chart
  const duration = Math.max(1, chart.duration)
  const areas = series.filter(({ shape }) => shape === "area")
  const stacked = (areas[0]?.samples ?? []).map((_, at) =>
    areas.reduce((sum, { samples }) => sum + (samples[at]?.value ?? 0), 0)
  )
  const lines = series
    .filter(({ shape }) => shape !== "area")
    .flatMap(({ samples }) => samples.flatMap(({ value }) => (value === undefined ? [] : [value])))
  const all = [...stacked, ...lines]
  const scale = canBeLogarithmic ? scaleOf(all) : linear(all.reduce((max, value) => Math.max(max, value), 0))
  const x = (time: number) => inset.left + (Math.min(time, duration) / duration) * (right - inset.left)
  const y = (value: number) => bottom - scale.at(value) * (bottom - inset.top)

  const below = stacked.map(() => 0)
  const drawnAreas = areas.map(({ color, samples }) => {
    const path = areaPath(samples, below, x, y)
    for (const [at, { value }] of samples.entries()) below[at] = (below[at] ?? 0) + (value ?? 0)
    return html`<path class="area ${color}" d="${path}"/>\n`
  })
  const drawnLines = series.filter(({ shape }) => shape !== "area").flatMap((line) => lineMarks(line, x, y))
  const content = [
    shaded.map(
      ({ from, to }) =>
        html`<rect class="shade" x="${round(x(from))}" y="${inset.top}" width="${round(x(to) - x(from))}" height="${bottom - inset.top}"/>\n`
    ),
    scale.ticks.map(
      (tick) =>
        html`<line class="grid" x1="${inset.left}" x2="${right}" y1="${round(y(tick))}" y2="${round(y(tick))}"/><text class="tick end" x="${inset.left - 8}" y="${round(y(tick) + 4)}">${unit(tick)}</text>\n`
    ),
    timeTicks(duration).map(
      (tick) =>
        html`<line class="grid" x1="${round(x(tick))}" x2="${round(x(tick))}" y1="${bottom}" y2="${bottom + 5}"/><text class="tick middle" x="${round(x(tick))}" y="${bottom + 20}">${tick === 0 ? "0" : span(tick)}</text>\n`
    ),
    drawnAreas,
    drawnLines
  ]
  const legend = series.map(({ color, name, shape }) => {
    const key =
      shape === "area"
        ? html`<rect class="area ${color}" width="22" height="10"/>`
        : html`<line class="line ${color}${shape === "dashed" ? " dashed" : ""}" x1="0" x2="22" y1="5" y2="5"/>`
    return html`<li><svg class="key" viewBox="0 0 22 10" aria-hidden="true">${key}</svg> ${name}</li>`
  })
  const notes = [
    ...(scale.isLogarithmic ? [html`<li class="note">logarithmic scale</li>`] : []),
    ...(shaded.length > 0 ? [html`<li class="note">shaded: ${shading}</li>`] : [])
  ]
  return html`${frameOf(chart, size.height, content)}
<ul class="legend">${legend}${notes}</ul>`
}

/** One bar. */
export interface Bar {
  readonly name: string
  readonly value: number
  /** Text next to it. */
  readonly label: string
  readonly color: string
}

const short = (name: string): string => {
  const characters = [...name]
  return characters.length > 34 ? `${characters.slice(0, 33).join("")}…` : name
}

/** Draws bars below each other. */
export const barChart = (
  chart: Pick<TimeChart, "description" | "id" | "title"> & { readonly bars: ReadonlyArray<Bar> }
): Html => {
  const [rowHeight, names, labels] = [28, 250, 130]
  const max = chart.bars.reduce((max, { value }) => Math.max(max, value), 0)
  const room = size.width - names - labels
  const content = chart.bars.map(({ color, label, name, value }, index) => {
    const [top, middle] = [index * rowHeight + 4, index * rowHeight + 18]
    const width = value > 0 ? Math.max(1, (value / max) * room) : 0
    return html`<text class="name end" x="${names - 10}" y="${middle}">${short(name)}</text><rect class="area ${color}" x="${names}" y="${top}" width="${round(width)}" height="20" rx="2"/><text class="name" x="${round(names + width + 8)}" y="${middle}">${label}</text>\n`
  })
  return frameOf(chart, chart.bars.length * rowHeight + 4, content)
}
