/**
 * Writes those parts of the documentation that the code knows better: `npm run docs:tables`. A test fails when they are
 * stale.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Classifier from "../src/Classifier.ts"
import * as GatewayError from "../src/GatewayError.ts"
import { classifierNotes } from "./tables/classifierNotes.ts"
import { decisionNotes, rowName } from "./tables/decisionNotes.ts"

/** Text of a cell: a bar would end it, also inside of code. */
const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ")

const code = (text: string): string => (text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``)

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.map(cell).join(" | ")} |`).join("\n")

const waits: Record<GatewayError.Decision["wait"], string> = {
  hint: "back-off, at least the hint",
  backoff: "back-off",
  none: ""
}

const decisions = (): string =>
  table(
    ["reason", "decision", "wait", "comes from", "because"],
    GatewayError.decisions.map((row) => [
      code(row.reason) + (row.variant === undefined ? "" : ` (${row.variant})`),
      row.again ? "again, then next" : row.next ? "next" : "stop",
      waits[row.wait],
      decisionNotes[rowName(row)]?.from ?? "",
      decisionNotes[rowName(row)]?.why ?? ""
    ])
  )

const statuses = (list: Classifier.Statuses): string =>
  list
    .map((one) => (typeof one === "number" ? (one === 0 ? "none" : `${one}`) : `${one[0] || "none"} to ${one[1]}`))
    .join(", ")

const conditions = ({ message, name, shape, status, surface, word }: Classifier.Match): string =>
  [
    ...(surface === undefined ? [] : [`surface ${surface.join(", ")}`]),
    ...(shape === undefined ? [] : [`body ${shape.join(", ")}`]),
    ...(status === undefined ? [] : [`status ${statuses(status)}`]),
    ...(word === undefined ? [] : [`code ${code(word)}`]),
    ...(name === undefined ? [] : [`name ${code(name)}`]),
    ...(message === undefined ? [] : [`message ${code(message)}`])
  ].join("; ") || "anything else"

const outcome = ({ reason, ...fields }: Classifier.RuleOutcome): string => {
  const values = Object.values(fields)
  return code(reason) + (values.length === 0 ? "" : ` (${values.join(", ")})`)
}

const rules = (): string =>
  [
    `Version ${Classifier.version}, ${Classifier.rules.length} rules.`,
    "",
    table(
      ["rule", "when", "reason", "note"],
      Classifier.rules.map((rule) => [
        rule.id,
        conditions(rule.match),
        outcome(rule.outcome),
        classifierNotes[rule.id] ?? ""
      ])
    )
  ].join("\n")

/** Page to the parts that are generated in it, each between `<!-- name:start -->` and `<!-- name:end -->`. */
export const pages: Readonly<Record<string, Readonly<Record<string, () => string>>>> = {
  "errors.md": { decisions, rules }
}

/** Replaces the generated parts of a page. Throws when a marker is missing, doubled or out of order. */
export const render = (source: string, parts: Readonly<Record<string, () => string>>): string => {
  let out = source
  for (const [name, part] of Object.entries(parts)) {
    const [before, middle, ...twice] = out.split(`<!-- ${name}:start -->`)
    const [old, after, ...more] = (middle ?? "").split(`<!-- ${name}:end -->`)
    if (before === undefined || old === undefined || after === undefined || twice.length + more.length > 0) {
      throw new Error(`expected one <!-- ${name}:start --> and, after it, one <!-- ${name}:end -->`)
    }
    out = `${before}<!-- ${name}:start -->\n\n${part()}\n\n<!-- ${name}:end -->${after}`
  }
  return out
}

/** The file of a page. */
export const fileOf = (page: string): string => fileURLToPath(new URL(page, import.meta.url))

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [page, parts] of Object.entries(pages)) {
    const source = readFileSync(fileOf(page), "utf8")
    const rendered = render(source, parts)
    if (rendered !== source) writeFileSync(fileOf(page), rendered)
    console.log(`docs/${page}: ${rendered === source ? "up to date" : "written"}`)
  }
}
