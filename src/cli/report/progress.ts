/**
 * Shows the progress of a job on standard error: on a terminal as a view that is redrawn in place, elsewhere as an
 * occasional line.
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import type * as Batch from "../../Batch.ts"
import * as Figures from "../shared/format.ts"

const redraw = "500 millis"
const lineEvery = "10 seconds"
/** Milliseconds over which the rate is smoothed. */
const memory = 15_000
/** A smaller terminal has no room for a view; the size may also be invalid. */
const least = { columns: 20, rows: 5 }

/** Further values for a text of the progress. */
export interface View {
  /** Number of items of the input, when known. */
  readonly total: number | undefined
  /** Items per second, smoothed. */
  readonly perSecond: number
}

/** Size and abilities of the terminal. */
export interface Canvas {
  readonly columns: number
  readonly rows: number
  readonly color: boolean
}

/** A smooth rate: the mean of the first 15 seconds, then a mean in which the past fades. */
export interface Pace {
  readonly perSecond: number
  /** Milliseconds since the start. */
  readonly at: number
}

/** Continues a pace. */
export const smooth = (before: Pace | undefined, { duration, perSecond }: Batch.Progress): Pace => {
  const at = Duration.toMillis(duration)
  if (before === undefined) return { perSecond, at }
  const passed = Math.max(0, at - before.at)
  const weight = Math.min(1, Math.max(1 - Math.exp(-passed / memory), at > 0 ? passed / at : 1))
  return { perSecond: before.perSecond + weight * (perSecond - before.perSecond), at }
}

/** Items that have ended, in this run or before, or that are skipped. */
const doneOf = ({ deadLetters, duplicates, replayed, succeeded }: Batch.Progress): number =>
  succeeded + deadLetters + duplicates + replayed.succeeded + replayed.deadLetters

/** Milliseconds; `undefined` when no estimate is possible. */
const timeLeft = (progress: Batch.Progress, { perSecond, total }: View): number | undefined => {
  if (progress.state !== "running" || total === undefined || perSecond <= 0) return undefined
  // Items that the journal has as done take no time.
  return (Math.max(0, total - doneOf(progress) - progress.unmet) * 1000) / perSecond
}

const byCount = (counts: Readonly<Record<string, number | undefined>>): ReadonlyArray<readonly [string, number]> =>
  Object.entries(counts)
    .flatMap(([name, count]): ReadonlyArray<readonly [string, number]> => (count === undefined ? [] : [[name, count]]))
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))

const costOf = ({ cost, costKnown, succeeded }: Batch.Progress): string | undefined =>
  costKnown === 0
    ? undefined
    : `${Figures.dollars(cost)}${costKnown < succeeded ? ` for ${Figures.percent(costKnown, succeeded)} of the answers` : ""}`

const pauseOf = ({ duration, pausedBy, pausedFor, pausedUntil, startedAt }: Batch.Progress): string => {
  const said = pausedBy === undefined ? "" : ` (${pausedBy.reason.message})`
  const why = `paused: ${pausedFor === "outage" ? `nothing gets through${said}` : "a quota is exhausted"}`
  if (pausedUntil === undefined) return why
  const wait = pausedUntil - startedAt - Duration.toMillis(duration)
  const until = Figures.moment(pausedUntil)
  return `${why}, next try ${wait > 0 ? `in ${Figures.span(wait)}` : "now"} (${until})`
}

const stateOf = (progress: Batch.Progress): string | undefined => {
  switch (progress.state) {
    case "running":
      return undefined
    case "paused":
      return pauseOf(progress)
    case "draining":
      return "draining: begins no more items"
    case "drained":
      return "drained: what was begun has ended"
    default:
      return progress.state
  }
}

/** Formats the state as one plain line, without a line end. Zeros are omitted. */
export const line = (progress: Batch.Progress, view: View): string => {
  const { total } = view
  const done = doneOf(progress)
  const left = timeLeft(progress, view)
  const { cacheHits, deadLetters, duplicates, fallbacks, inFlight, replayed, requeued, retries } = progress
  const { tokensIn, tokensOut } = progress
  const earlier = replayed.succeeded + replayed.deadLetters
  const reasons = byCount(progress.reasons).map(([reason, count]) => `${reason} ${Figures.whole(count)}`)
  const parts = [
    total === undefined
      ? `${Figures.whole(done)} done`
      : `${Figures.whole(done)} of ${Figures.whole(total)} done (${Figures.percent(done, total)})`,
    stateOf(progress),
    `${Figures.rate(view.perSecond)}/s`,
    left === undefined ? undefined : `${Figures.span(left)} left`,
    inFlight > 0 ? `${Figures.whole(inFlight)} in flight` : undefined,
    earlier > 0 ? `${Figures.whole(earlier)} from earlier runs` : undefined,
    deadLetters > 0
      ? `${Figures.plural(deadLetters, "dead letter")}${reasons.length > 0 ? ` (${reasons.join(", ")})` : ""}`
      : undefined,
    retries > 0 ? Figures.plural(retries, "retry", "retries") : undefined,
    fallbacks > 0 ? Figures.plural(fallbacks, "fallback") : undefined,
    cacheHits > 0 ? Figures.plural(cacheHits, "cache hit") : undefined,
    requeued > 0 ? `${Figures.whole(requeued)} put back` : undefined,
    duplicates > 0 ? Figures.plural(duplicates, "duplicate") : undefined,
    tokensIn + tokensOut > 0
      ? `${Figures.short(tokensIn)} ${tokensIn === 1 ? "token" : "tokens"} in, ${Figures.short(tokensOut)} out`
      : undefined,
    costOf(progress)
  ]
  return `${Figures.span(Duration.toMillis(progress.duration))}: ${parts.filter((part) => part !== undefined).join(", ")}`
}

type Style = "plain" | "dim" | "bold" | "good" | "bad" | "warn"

interface Piece {
  readonly text: string
  readonly style: Style
}
type Line = ReadonlyArray<Piece>

const codes: Record<Style, string> = { plain: "", dim: "2", bold: "1", good: "32", bad: "31", warn: "33" }

const piece = (text: string, style: Style = "plain"): Piece => ({ text, style })

/** Upper bound of a text's columns: ambiguous characters count as wide, so that no line ever wraps. */
const widthOf = (text: string): number => {
  let width = 0
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0
    width += code < 0x1100 || (code >= 0x2000 && code < 0x2c00) || code === 0xfffd ? 1 : 2
  }
  return width
}

const lineWidth = (line: Line): number => line.reduce((width, { text }) => width + widthOf(text), 0)

const cut = (text: string, width: number): string => {
  if (widthOf(text) <= width) return text
  let kept = ""
  for (const character of text) {
    if (widthOf(kept + character) > width - 1) break
    kept += character
  }
  return width < 1 ? "" : `${kept}…`
}

const within = (line: Line, columns: number): Line => {
  let left = columns
  const fitted: Array<Piece> = []
  for (const { style, text } of line) {
    const shown = cut(text, left)
    fitted.push({ text: shown, style })
    left -= widthOf(shown)
    if (shown !== text) break
  }
  return fitted
}

const paint = (line: Line, color: boolean): string =>
  line
    .map(({ style, text }) =>
      color && style !== "plain" && text !== "" ? `\u001b[${codes[style]}m${text}\u001b[0m` : text
    )
    .join("")
    .trimEnd()

/** Lays parts out one after the other, and continues on the next line when one is full. */
const flow = (parts: ReadonlyArray<Piece | undefined>, columns: number): ReadonlyArray<Line> => {
  const lines: Array<Line> = []
  let current: Line = []
  for (const part of parts) {
    if (part === undefined) continue
    const longer = current.length === 0 ? [part] : [...current, piece(" · ", "dim"), part]
    if (current.length > 0 && lineWidth(longer) > columns) {
      lines.push(current)
      current = [piece("  "), part]
    } else current = longer
  }
  return current.length === 0 ? lines : [...lines, current]
}

const headline = (progress: Batch.Progress, { total }: View, columns: number): Line => {
  const done = doneOf(progress)
  if (total === undefined) return [piece(Figures.whole(done), "bold"), piece(" done")]
  const share = total === 0 ? 1 : Math.min(1, done / total)
  const told = [
    piece(Figures.percent(done, total), "bold"),
    piece(` ${Figures.whole(done)} of ${Figures.whole(total)}`)
  ]
  const room = Math.min(40, columns - lineWidth(told) - 1)
  if (room < 8) return told
  const filled = Math.floor(share * room)
  return [piece("█".repeat(filled), "good"), piece("░".repeat(room - filled), "dim"), piece(" "), ...told]
}

/** A table of the targets, most requests first. Columns are dropped from the right where there is no room. */
const table = (targets: Batch.Progress["targets"], columns: number, rows: number): ReadonlyArray<Line> => {
  const all = Object.entries(targets).sort(([a, m], [b, n]) => n.requests - m.requests || (a < b ? -1 : 1))
  // Leaves room for the head, and for a line with the number of hidden rows.
  const shown = all.length + 1 <= rows ? all : all.slice(0, Math.max(0, rows - 2))
  if (shown.length === 0) return []
  const cells = [
    ["target", "answered", "failed", "p50", "p99"],
    ...shown.map(([key, { answered, failures, latency }]) => [
      Figures.plain(key),
      Figures.whole(answered),
      Figures.whole(byCount(failures).reduce((sum, [, count]) => sum + count, 0)),
      latency === undefined ? "" : Figures.span(latency.p50),
      latency === undefined ? "" : Figures.span(latency.p99)
    ])
  ]
  const widths = [0, 1, 2, 3, 4].map((at) => Math.max(...cells.map((row) => widthOf(row[at] ?? ""))))
  const needed = (count: number) => widths.slice(1, count).reduce((sum, width) => sum + width + 2, 0)
  const names = Math.min(widths[0] ?? 0, 16)
  const count = [5, 3, 2].find((count) => names + needed(count) <= columns) ?? 1
  const room = Math.min(widths[0] ?? 0, columns - needed(count))
  const lines = cells.map((row, index): Line => {
    const name = cut(row[0] ?? "", room)
    const rest = row.slice(1, count).map((cell, at) => {
      const failed = index > 0 && at === 1 && cell !== "0"
      return piece(`  ${cell.padStart(widths[at + 1] ?? 0)}`, index === 0 ? "dim" : failed ? "bad" : "plain")
    })
    return [piece(name + " ".repeat(room - widthOf(name)), index === 0 ? "dim" : "plain"), ...rest]
  })
  const hidden = all.length - shown.length
  return hidden === 0 ? lines : [...lines, [piece(`and ${Figures.plural(hidden, "more target")}`, "dim")]]
}

/**
 * Formats the state as a block of lines, no wider than the canvas and with a row left for the cursor; without a line
 * end.
 */
export const frame = (progress: Batch.Progress, view: View, { color, columns, rows }: Canvas): string => {
  const { cacheHits, concurrency, deadLetters, duplicates, fallbacks, inFlight, replayed, requeued, retries } = progress
  const { state, succeeded, tokensIn, tokensOut } = progress
  const some = (count: number, text: string, style?: Style) => (count > 0 ? piece(text, style) : undefined)
  const left = timeLeft(progress, view)
  const said = stateOf(progress)
  const cost = costOf(progress)
  const earlier = replayed.succeeded + replayed.deadLetters
  const reasons = byCount(progress.reasons)
  const stateStyle = state === "complete" ? "good" : state === "failed" ? "bad" : "warn"
  const head = [
    headline(progress, view, columns),
    ...flow(
      [
        piece(`${Figures.rate(view.perSecond)}/s`, "bold"),
        left === undefined ? undefined : piece(`${Figures.span(left)} left`),
        piece(`${Figures.span(Duration.toMillis(progress.duration))} so far`),
        piece(`${Figures.whole(inFlight)} of ${Figures.whole(concurrency)} in flight`)
      ],
      columns
    ),
    ...flow([said === undefined ? undefined : piece(said, stateStyle)], columns),
    ...flow(
      [
        piece(`${Figures.whole(succeeded)} answered`, "good"),
        some(deadLetters, Figures.plural(deadLetters, "dead letter"), "bad"),
        some(earlier, `${Figures.whole(earlier)} from earlier runs`),
        some(retries, Figures.plural(retries, "retry", "retries")),
        some(fallbacks, Figures.plural(fallbacks, "fallback")),
        some(cacheHits, Figures.plural(cacheHits, "cache hit")),
        some(requeued, `${Figures.whole(requeued)} put back`),
        some(duplicates, Figures.plural(duplicates, "duplicate"))
      ],
      columns
    ),
    ...flow(
      [
        some(tokensIn + tokensOut, `${Figures.short(tokensIn)} ${tokensIn === 1 ? "token" : "tokens"} in`),
        some(tokensIn + tokensOut, `${Figures.short(tokensOut)} tokens out`),
        cost === undefined ? undefined : piece(cost)
      ],
      columns
    ),
    ...flow(
      reasons.map(([reason, count], index) =>
        piece(`${index === 0 ? "dead letters: " : ""}${reason} ${Figures.whole(count)}`, "bad")
      ),
      columns
    )
  ]
  const room = Math.max(1, rows - 1)
  const lines = [...head, ...table(progress.targets, columns, room - head.length)].slice(0, room)
  return lines.map((line) => paint(within(line, columns), color)).join("\n")
}

const control = { hide: "\u001b[?25l", show: "\u001b[?25h", clearDown: "\u001b[J", clearLine: "\u001b[K" }
// biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences that `paint` writes begin with one
const painted = /\u001b\[\d*m/g

/** Control sequence and text that replace the previous frame, which a narrowed terminal may have wrapped. */
export const repaint = (before: string | undefined, now: string, columns: number): string => {
  const lines = now.split("\n")
  const write = lines.map((line) => `${line}${control.clearLine}\n`).join("")
  if (before === undefined) return write
  const taken = before
    .split("\n")
    .reduce((rows, line) => rows + Math.max(1, Math.ceil(widthOf(line.replace(painted, "")) / columns)), 0)
  return `\u001b[${taken}F${write}${control.clearDown}`
}

const environment = (name: string): Effect.Effect<string> => Effect.orElseSucceed(Config.String(name), () => "")

/** `Terminal` describes standard output, which may be a file while standard error is not. */
const sizeOf = ({ columns, rows }: Terminal.Terminal): Effect.Effect<Pick<Canvas, "columns" | "rows">> =>
  Effect.map(Effect.all([columns, rows]), ([columns, rows]) => ({
    columns: columns || (process.stderr.columns ?? 0),
    rows: rows || (process.stderr.rows ?? 0)
  }))

const isRoomy = ({ columns, rows }: Pick<Canvas, "columns" | "rows">): boolean =>
  Number.isSafeInteger(columns) && Number.isSafeInteger(rows) && columns >= least.columns && rows >= least.rows

/**
 * Shows a job until it ends.
 *
 * `interactive`: standard error is a terminal. Then `NO_COLOR` (not empty) turns colours off, and the cursor is hidden
 * until the end, interruption included. Otherwise, and on a terminal that cannot move its cursor (`TERM` is `dumb` or
 * `unknown`) or whose size is 0 or invalid, prints a line about every ten seconds, and one at the end.
 *
 * Failed writes are ignored silently: no one reads the output, and the job continues.
 */
export const show = (
  job: Batch.Job<unknown, unknown>,
  options: { readonly total: number | undefined; readonly interactive: boolean }
): Effect.Effect<void, never, Stdio.Stdio | Terminal.Terminal> =>
  Effect.gen(function* () {
    const stdio = yield* Stdio.Stdio
    const terminal = yield* Terminal.Terminal
    const write = (text: string) => Effect.ignore(Stream.run(Stream.succeed(text), stdio.stderr()))
    let pace: Pace | undefined
    const viewOf = (progress: Batch.Progress): View => {
      pace = smooth(pace, progress)
      return { total: options.total, perSecond: pace.perSecond }
    }
    const canMove = !["dumb", "unknown"].includes(yield* environment("TERM"))
    const canDraw = options.interactive && canMove && isRoomy(yield* sizeOf(terminal))
    if (!canDraw) {
      return yield* Stream.runForEach(job.progress(lineEvery), (progress) =>
        write(`${line(progress, viewOf(progress))}\n`)
      )
    }
    const noColor = yield* environment("NO_COLOR")
    let before: string | undefined
    const draw = Effect.fnUntraced(function* (progress: Batch.Progress) {
      const size = yield* sizeOf(terminal)
      const { columns, rows } = isRoomy(size) ? size : least
      const now = frame(progress, viewOf(progress), { columns, rows, color: noColor === "" })
      const text = repaint(before, now, columns)
      before = now
      yield* write(text)
    })
    yield* Effect.acquireUseRelease(
      write(control.hide),
      () => Stream.runForEach(job.progress(redraw), draw),
      () => write(control.show)
    )
  })
