/**
 * Bar charts as SVG text: one bar per row, whiskers from quartile to quartile, a line where the floor is. They bring
 * their own background and follow the reader's preference for light or dark.
 */
import type { Column, Row } from "./question.ts"
import { numbered } from "./results.ts"

/** Data of a chart. */
export interface Chart {
  readonly title: string
  readonly column: Column
  readonly rows: ReadonlyArray<Row>
}

const width = 800
const rowHeight = 26
const barHeight = 14
const head = 72
const foot = 34
const character = 6.6

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")

/** Steps of 1, 2 or 5 times a power of ten, at most six of them. */
const ticksTo = (max: number): ReadonlyArray<number> => {
  const rough = max / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10)
  return Array.from({ length: Math.floor(max / step + 1e-9) + 1 }, (_, index) => Number((index * step).toPrecision(6)))
}

const tickText = (value: number): string =>
  value >= 10_000 ? `${numbered(value / 1000, 0)}k` : String(Number(value.toPrecision(3)))

const style = [
  ".paper{fill:#fff}.text{fill:#1f2328}.muted{fill:#59636e}.grid{stroke:#d1d9e0}",
  ".bar{fill:#9aa4af}.ours{fill:#0969da}.whisker{stroke:#1f2328}.floor{stroke:#bc4c00}.label{fill:#bc4c00}",
  "@media(prefers-color-scheme:dark){",
  ".paper{fill:#0d1117}.text{fill:#e6edf3}.muted{fill:#9198a1}.grid{stroke:#30363d}",
  ".bar{fill:#656c76}.ours{fill:#4493f8}.whisker{stroke:#e6edf3}.floor{stroke:#f0883e}.label{fill:#f0883e}",
  "}",
  "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}.title{font-size:15px;font-weight:600}"
].join("")

/** The value of the floor line of a column, if it has one. */
export const floorOf = ({ floor, unit }: Column): number | undefined => floor ?? (unit.startsWith("×") ? 1 : undefined)

/** Draws the rows that have a value, in their order. */
export const draw = ({ column, rows, title }: Chart): string => {
  const bars = rows.flatMap(({ contender, ours, values }) => {
    const value = values[column.key]
    return value === undefined || !Number.isFinite(value.median) ? [] : [{ contender, ours, value }]
  })
  const floor = floorOf(column)
  const labels = Math.min(260, Math.max(90, ...bars.map(({ contender }) => contender.length * character + 24)))
  const right = 90
  const left = labels
  const most = Math.max(floor ?? 0, ...bars.map(({ value }) => Math.max(value.median, value.high)))
  const max = most > 0 ? most * 1.02 : 1
  const x = (value: number): string => (left + (Math.max(0, value) / max) * (width - left - right)).toFixed(1)
  const bottom = head + bars.length * rowHeight
  const height = bottom + foot
  const better = column.better === "higher" ? "longer bars are better" : "shorter bars are better"
  const unit = column.unit === "" ? "" : `${column.unit}, `
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${style}</style>`,
    `<rect class="paper" width="${width}" height="${height}" rx="8"/>`,
    `<text class="text title" x="16" y="24">${escaped(title)}</text>`,
    `<text class="muted" x="16" y="43">${escaped(`${unit}median with quartiles; ${better}`)}</text>`,
    ...ticksTo(max).flatMap((tick) => [
      `<line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${head - 4}" y2="${bottom + 4}"/>`,
      `<text class="muted" x="${x(tick)}" y="${bottom + 20}" text-anchor="middle">${tickText(tick)}</text>`
    ])
  ]
  if (floor !== undefined) {
    lines.push(
      `<line class="floor" stroke-dasharray="4 3" x1="${x(floor)}" x2="${x(floor)}" y1="${head - 6}" y2="${bottom + 4}"/>`,
      `<text class="label" x="${x(floor)}" y="${head - 10}" text-anchor="middle">floor</text>`
    )
  }
  for (const [index, { contender, ours, value }] of bars.entries()) {
    const top = head + index * rowHeight + (rowHeight - barHeight) / 2
    const middle = top + barHeight / 2
    const end = Number(x(Math.max(value.median, value.high)))
    const barWidth = (Number(x(value.median)) - left).toFixed(1)
    const cap = (at: number): string => `M${x(at)} ${middle - 4}v8`
    lines.push(
      `<text class="text" x="${left - 8}" y="${middle + 4}" text-anchor="end">${escaped(contender)}</text>`,
      `<rect class="${ours ? "ours" : "bar"}" x="${left}" y="${top}" width="${barWidth}" height="${barHeight}" rx="2"/>`,
      `<path class="whisker" fill="none" d="M${x(value.low)} ${middle}H${x(value.high)}${cap(value.low)}${cap(value.high)}"/>`,
      `<text class="text" x="${(end + 8).toFixed(1)}" y="${middle + 4}">${numbered(value.median, column.digits)}</text>`
    )
  }
  return `${[...lines, "</svg>"].join("\n")}\n`
}
