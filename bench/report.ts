/**
 * Writes `docs/benchmarks.md` and its charts from the results and the written explanations alone; measures nothing:
 *
 *     node bench/report.ts
 *
 * `npm run bench` does the same at its end. A test holds the page against the results.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { pathToFileURL } from "node:url"
import { draw } from "./chart.ts"
import type { GateReport } from "./gateReport.ts"
import type { Spread } from "./measure.ts"
import { type Answer, type Column, isMet, type Target } from "./question.ts"
import { type Asked, folder, numbered, type Results, readResults, root } from "./results.ts"

/** The page, from the folder of the project. */
export const page = "docs/benchmarks.md"

/** Written explanations: sections by the name of their question, `intro` first. */
export const explanationsFile = "bench/explanations.md"

/** Splits the explanations at their headings of the second level. */
export const sections = (text: string): ReadonlyMap<string, string> =>
  new Map(
    text
      .split(/^## /m)
      .slice(1)
      .map((part) => {
        const end = part.indexOf("\n")
        return [part.slice(0, end).trim(), part.slice(end).trim()] as const
      })
  )

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ")

/** `numbers`: the columns that are right-aligned; default: all but the first. */
const table = (
  head: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  numbers = (column: number) => column > 0
): string =>
  [head, head.map((_, column) => (numbers(column) ? "---:" : "---")), ...rows]
    .map((row) => `| ${row.map(cell).join(" | ")} |`)
    .join("\n")

/** For tables without numbers. */
const none = (): boolean => false

const plain = (value: Spread | undefined, { digits }: Column, quartiles: boolean): string => {
  if (value === undefined) return ""
  const { high, low, median } = value
  const middle = numbered(median, digits)
  return !quartiles || (low === median && high === median)
    ? middle
    : `${middle} (${numbered(low, digits)}–${numbered(high, digits)})`
}

const titled = ({ title, unit }: Column): string => (unit === "" || title.includes(unit) ? title : `${title}, ${unit}`)

/** The figures of an answer: a head and rows of text, for a page or a terminal. */
export const figures = (
  { columns, rows }: Answer,
  quartiles: boolean
): { readonly head: ReadonlyArray<string>; readonly rows: ReadonlyArray<ReadonlyArray<string>> } => ({
  head: ["", ...columns.map(titled)],
  rows: rows.map(({ contender, values }) => [
    contender,
    ...columns.map((column) => plain(values[column.key], column, quartiles))
  ])
})

/** `at most 10 µs` */
export const promised = ({ bound, digits, direction, unit }: Target): string =>
  `${direction} ${numbered(bound, Number.isInteger(bound) ? 0 : Math.max(digits, 1))}${suffix(unit)}`

/** `8.4 µs` */
export const came = ({ digits, measured, unit }: Target): string => `${numbered(measured, digits)}${suffix(unit)}`

const suffix = (unit: string): string => (unit === "" ? "" : unit === "%" ? unit : ` ${unit}`)

/** The heading of a question; its anchor is the question's name in lower case. */
const headingOf = (name: string): string => `${name.charAt(0).toUpperCase()}${name.slice(1)}`

const chartFile = (name: string, column: string): string => `${name}-${column}.svg`

const targets = (questions: ReadonlyArray<Asked>): ReadonlyArray<string> => {
  const rows = questions.flatMap(({ answer, name }) =>
    answer.targets.map((target) => [
      target.what,
      promised(target),
      came(target),
      isMet(target) ? "met" : "**missed**",
      `[${headingOf(name)}](#${name.toLowerCase()})`
    ])
  )
  if (rows.length === 0) return []
  const met = questions.flatMap(({ answer }) => answer.targets).filter(isMet).length
  return [
    "## Targets",
    `${met} of ${rows.length} are met. The section of each question explains the misses.`,
    table(["figure", "target", "measured", "", "question"], rows, (column) => column === 1 || column === 2)
  ]
}

const gateSection = (gate: GateReport | undefined): ReadonlyArray<string> => {
  if (gate === undefined || gate.rows.length === 0) return []
  const checks = [...new Set(gate.rows.flatMap((row) => row.checks.map(({ check }) => check)))]
  const rows = gate.rows.map(({ checks: own, contender }) => [
    contender,
    ...checks.map((check) => {
      const found = own.find((one) => one.check === check)
      return found === undefined
        ? "–"
        : found.passed
          ? "yes"
          : `**no**${found.did === undefined ? "" : `: ${found.did}`}`
    })
  ])
  return [
    "## Correctness",
    "`npm run bench` checks the answers of every contender before it measures anything. This table shows who fails, and how.",
    table(["", ...checks], rows, none),
    ...notesOf(gate.notes)
  ]
}

const notesOf = (notes: ReadonlyArray<string>): ReadonlyArray<string> =>
  notes.length === 0 ? [] : [notes.map((note) => `- ${note}`).join("\n")]

const questionSection = (
  { answer, commit, date, name, quick, seconds, title }: Asked,
  explanation: string | undefined
): ReadonlyArray<string> => {
  const { head, rows } = figures(answer, true)
  const remarks = answer.rows.flatMap(({ contender, remark }) =>
    remark === undefined ? [] : [`${contender}: ${remark}`]
  )
  const drawn = answer.columns.filter(({ key }) => answer.charts.includes(key))
  return [
    `## ${headingOf(name)}`,
    `**${title}**`,
    ...drawn.map(
      (column) => `![${title}: ${column.title}](${folder.slice("docs/".length)}/${chartFile(name, column.key)})`
    ),
    table(head, rows),
    ...notesOf([...answer.notes, ...remarks]),
    ...(explanation === undefined ? [] : [explanation]),
    `${quick ? "Quick run" : "Full run"} of ${date} at ${commit}, ${numbered(seconds, 0)} s.`
  ]
}

/** Renders the complete page. */
export const render = ({ gate, machine, questions, versions }: Results, explanations: string): string => {
  const written = sections(explanations)
  const quick = questions.some((asked) => asked.quick)
  const parts = [
    "# Benchmarks",
    "<!-- Written by bench/report.ts from benchmarks/results.json and bench/explanations.md: do not edit. -->",
    ...(quick
      ? ["> Some of these figures are of a quick run: they show that it works, and are too rough to compare."]
      : []),
    ...(written.has("intro") ? [written.get("intro") ?? ""] : []),
    table(
      ["machine", ""],
      [
        ["CPU", `${machine.cpu}, ${machine.cores} cores`],
        ["memory", `${machine.memory} GB`],
        ["system", machine.system],
        ["Node", machine.node]
      ],
      none
    ),
    ...targets(questions),
    ...gateSection(gate),
    ...questions.flatMap((asked) => questionSection(asked, written.get(asked.name))),
    "## Versions",
    table(["package", "version"], Object.entries(versions), none)
  ]
  return `${parts.join("\n\n")}\n`
}

/** The charts: file name to SVG. */
export const charts = ({ questions }: Results): ReadonlyMap<string, string> =>
  new Map(
    questions.flatMap(({ answer, name, title }) =>
      answer.columns
        .filter(({ key }) => answer.charts.includes(key))
        .map((column) => {
          const chart = { title: `${title}: ${column.title}`, column, rows: answer.rows }
          return [chartFile(name, column.key), draw(chart)] as const
        })
    )
  )

/** Writes page and charts, and removes charts that are no longer drawn. */
export const write = (results: Results): ReadonlyArray<string> => {
  const drawn = charts(results)
  mkdirSync(`${root}${folder}`, { recursive: true })
  for (const file of readdirSync(`${root}${folder}`)) {
    if (file.endsWith(".svg") && !drawn.has(file)) rmSync(`${root}${folder}/${file}`)
  }
  for (const [file, svg] of drawn) writeFileSync(`${root}${folder}/${file}`, svg)
  writeFileSync(`${root}${page}`, render(results, readFileSync(`${root}${explanationsFile}`, "utf8")))
  return [page, ...[...drawn.keys()].map((file) => `${folder}/${file}`)]
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const results = readResults()
  if (results === undefined) throw new Error("there are no results yet: npm run bench")
  console.log(write(results).join("\n"))
}
