/** Results of a run: `docs/benchmarks/results.json`, the only source of the report. */
import { existsSync, readFileSync } from "node:fs"
import { arch, availableParallelism, cpus, totalmem, type } from "node:os"
import { fileURLToPath } from "node:url"
import type { GateReport } from "./gateReport.ts"
import type { Answer } from "./question.ts"

/** Machine of a run. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  /** GB. */
  readonly memory: number
  readonly system: string
  readonly node: string
}

/** A question, its date, and its answer. */
export interface Asked {
  readonly name: string
  readonly title: string
  /** `2026-11-21` */
  readonly date: string
  /** Short commit of the sources; with `+` when they had uncommitted changes. */
  readonly commit: string
  readonly quick: boolean
  readonly seconds: number
  readonly answer: Answer
}

/** All data of the report. */
export interface Results {
  readonly machine: Machine
  /** Package to version, for all contenders. */
  readonly versions: Readonly<Record<string, string>>
  readonly gate?: GateReport
  readonly questions: ReadonlyArray<Asked>
}

/** The folder of the project, with a slash at the end. */
export const root = fileURLToPath(new URL("..", import.meta.url))

/** The folder of the results and of the charts, from the folder of the project. */
export const folder = "docs/benchmarks"

/** The results, from the folder of the project. */
export const resultsFile = `${folder}/results.json`

/** This machine, without anything that identifies it. */
export const machine = (): Machine => ({
  cpu: (cpus()[0]?.model ?? "unknown").trim(),
  cores: availableParallelism(),
  memory: Math.round(totalmem() / 2 ** 30),
  system: `${type()} ${arch()}`,
  node: process.version
})

/** The results of the last run that was written, if there is one. */
export const readResults = (): Results | undefined =>
  existsSync(`${root}${resultsFile}`) ? JSON.parse(readFileSync(`${root}${resultsFile}`, "utf8")) : undefined

/** Rounds to four significant digits, more than a measurement has. */
const rounded = (value: number): number => (Number.isInteger(value) ? value : Number(value.toPrecision(4)))

const isNumbers = (value: object): boolean => Object.values(value).every((item) => typeof item === "number")

/**
 * Formats JSON in the layout that the project's formatter leaves unchanged: an object of numbers on one line, and a
 * list of plain values too where it fits.
 */
export const stringify = (value: unknown, indent = "", before = 0): string => {
  if (typeof value === "number") return Number.isFinite(value) ? String(rounded(value)) : "null"
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  const inner = `${indent}  `
  const wrapped = (open: string, items: ReadonlyArray<string>, close: string): string =>
    items.length === 0
      ? `${open}${close}`
      : `${open}\n${items.map((item) => `${inner}${item}`).join(",\n")}\n${indent}${close}`
  if (Array.isArray(value)) {
    const plain = value.every((item) => typeof item !== "object")
    const line = `[${value.map((item) => stringify(item)).join(", ")}]`
    return plain && indent.length + before + line.length < 119
      ? line
      : wrapped(
          "[",
          value.map((item) => stringify(item, inner)),
          "]"
        )
  }
  const entries = Object.entries(value).filter(([, item]) => item !== undefined)
  const key = (name: string): string => `${JSON.stringify(name)}: `
  if (entries.length > 0 && entries.length <= 3 && isNumbers(value)) {
    return `{ ${entries.map(([name, item]) => `${key(name)}${stringify(item)}`).join(", ")} }`
  }
  return wrapped(
    "{",
    entries.map(([name, item]) => `${key(name)}${stringify(item, inner, key(name).length)}`),
    "}"
  )
}

/** `12,345.6` */
export const numbered = (value: number, digits: number): string =>
  Number.isFinite(value)
    ? value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })
    : "–"
