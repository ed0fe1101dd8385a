/**
 * Runs the questions of `questions/`, each in its own process, after the gate has checked the contenders:
 *
 *     npm run bench                            all of them, some minutes; writes page, charts and results.json
 *     npm run bench -- --quick                 the same in less than a minute, for a look
 *     npm run bench -- --only chain,memory     some of them; prints only
 *     npm run bench -- --no-peers              without the packages of peers/; prints only
 *     npm run bench -- --base main             compares these sources with those of a git ref; prints only
 *
 * `--write` writes where the default is only to print: answers of `--only` then replace the earlier ones.
 * `--items 1000000` makes the batch longer. Exits with 1 when a question fails, not when a target is missed.
 */
import { execFileSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import type { Asking, Said } from "./ask.ts"
import type { Comparing } from "./base.ts"
import { start } from "./child.ts"
import { gate as askGate } from "./gate.ts"
import type { GateReport } from "./gateReport.ts"
import { columns } from "./measure.ts"
import { versions as peerVersions } from "./peers/install.ts"
import { type Answer, isMet, type Settings } from "./question.ts"
import { came, figures, promised, write } from "./report.ts"
import { type Asked, folder, machine, type Results, readResults, resultsFile, root, stringify } from "./results.ts"

/** Left out of a quick run, unless `--only` names them. */
const slow = ["leaks", "workerd"]

/** Counted rather than timed: in a quick run these run while the gate checks the others. */
const counted = ["memory", "size"]

/** Their order, in a run and on the page; others follow by name. */
const order = [
  "overhead",
  "failover",
  "throughput",
  "chain",
  "guards",
  "ai",
  "memory",
  "stream",
  "leaks",
  "batch",
  "workerd",
  "size"
]

const rank = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length)

const inOrder = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.toSorted((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))

const known = inOrder(
  readdirSync(`${root}bench/questions`)
    .filter((file) => file.endsWith(".ts"))
    .map((file) => file.slice(0, -3))
)

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    "no-peers": { type: "boolean", default: false },
    base: { type: "string" },
    items: { type: "string" },
    write: { type: "boolean", default: false }
  }
})

const chosen = (): ReadonlyArray<string> => {
  const names = values.only?.split(",") ?? known.filter((name) => !(values.quick && slow.includes(name)))
  const unknown = names.filter((name) => !known.includes(name))
  if (unknown.length > 0) throw new Error(`--only takes ${known.join(", ")}, not ${unknown.join(", ")}`)
  return inOrder(names)
}

const itemsOf = (text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  const items = Number(text)
  if (!Number.isSafeInteger(items) || items < 1000) throw new Error("--items takes a whole number of at least 1000")
  return items
}

const git = (...args: ReadonlyArray<string>): string => {
  try {
    return execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()
  } catch {
    return ""
  }
}

const commit = (): string => {
  const head = git("rev-parse", "--short", "HEAD")
  return head === "" ? "an unknown commit" : `${head}${git("status", "--porcelain", "--", "src") === "" ? "" : "+"}`
}

interface Manifest {
  readonly version?: string
  readonly devDependencies?: Readonly<Record<string, string>>
}

const manifest = (file: string): Manifest => JSON.parse(readFileSync(`${root}${file}`, "utf8"))

/** Contenders among the development packages; they are pinned. */
const own = ["@ai-sdk/openai", "@effect/platform-node", "ai", "effect", "esbuild", "miniflare", "openai", "undici"]

const versions = (peers: boolean): Readonly<Record<string, string>> => {
  const { devDependencies = {}, version } = manifest("package.json")
  const all = {
    ...(peers ? peerVersions() : {}),
    ...Object.fromEntries(own.map((name) => [name, devDependencies[name] ?? ""]))
  }
  const sorted = Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1))
  return { "effect-ai-gateway": version ?? "", ...Object.fromEntries(sorted) }
}

/** Breaks a heading into lines, to keep columns narrow. */
const broken = (text: string): ReadonlyArray<string> =>
  (text.match(/\S.{0,14}(?=\s|$)|\S+/g) ?? []).map((line) => line.trim())

const print = (name: string, title: string, answer: Answer, seconds: number): void => {
  const { head, rows } = figures(answer, false)
  const lines = head.map(broken)
  const heads = Array.from({ length: Math.max(...lines.map(({ length }) => length)) }, (_, line) =>
    lines.map((own) => own[line] ?? "")
  )
  console.log(`\n== ${name}: ${title} (${seconds.toFixed(0)} s)\n`)
  console.log(columns([...heads, ...rows]))
  for (const target of answer.targets) {
    console.log(`${isMet(target) ? "met   " : "MISSED"} ${target.what}: ${came(target)} (${promised(target)})`)
  }
}

const checkAll = async (settings: Settings): Promise<GateReport> => {
  const before = performance.now()
  const report = await askGate(settings)
  console.log(
    `\n== gate: who is right before anybody is fast (${((performance.now() - before) / 1000).toFixed(0)} s)\n`
  )
  for (const { checks, contender } of report.rows) {
    const wrong = checks.filter(({ passed }) => !passed)
    console.log(`${wrong.length === 0 ? "passed" : "FAILED"} ${contender}`)
    for (const { check, did } of wrong) console.log(`         ${check}${did === undefined ? "" : `: ${did}`}`)
  }
  return report
}

/** Runs a file of `bench/` in its own process and returns its answer. */
const inProcess = async <A>(file: string, question: object): Promise<A> => {
  const child = await start(new URL(file, import.meta.url))
  try {
    return await child.ask<A>(question)
  } finally {
    child.close()
  }
}

const askAll = async (names: ReadonlyArray<string>, settings: Settings): Promise<ReadonlyArray<Asked>> => {
  const about = { date: new Date().toISOString().slice(0, 10), commit: commit(), quick: settings.quick }
  const all: Array<Asked> = []
  for (const name of names) {
    const before = performance.now()
    try {
      const asking: Asking = { name, settings }
      const { answer, title } = await inProcess<Said>("ask.ts", asking)
      const seconds = (performance.now() - before) / 1000
      print(name, title, answer, seconds)
      all.push({ name, title, ...about, seconds: Math.round(seconds), answer })
    } catch (error) {
      process.exitCode = 1
      console.error(`\n== ${name} failed\n\n${error instanceof Error ? error.message : error}`)
    }
  }
  return all
}

/** Merges results: all new answers, and earlier ones from the same kind of machine. */
const merged = (now: Results): Results => {
  const before = values.only === undefined ? undefined : readResults()
  if (before === undefined) return now
  if (stringify(before.machine) !== stringify(now.machine)) {
    throw new Error("the results that are there are from another machine: write a whole run instead")
  }
  const asked = new Map([...before.questions, ...now.questions].map((one) => [one.name, one]))
  const gate = now.gate ?? before.gate
  return {
    machine: now.machine,
    versions: { ...before.versions, ...now.versions },
    ...(gate !== undefined && { gate }),
    questions: inOrder([...asked.keys()]).flatMap((name) => asked.get(name) ?? [])
  }
}

const main = async (): Promise<void> => {
  const names = chosen()
  const items = itemsOf(values.items)
  const peers = !values["no-peers"]
  const settings: Settings = { quick: values.quick, peers, ...(items !== undefined && { items }) }
  const { cores, cpu, memory, node, system } = machine()
  console.log(`${cpu}, ${cores} cores, ${memory} GB, ${system}, Node ${node}`)
  if (values.base !== undefined) {
    const comparing: Comparing = { ref: values.base, names, settings }
    return inProcess("base.ts", comparing)
  }
  const beside = values.quick && values.only === undefined ? counted : []
  const [gate, ...early] = await Promise.all([
    values.only === undefined ? checkAll(settings) : undefined,
    ...names.filter((name) => beside.includes(name)).map((name) => askAll([name], settings))
  ])
  const late = await askAll(
    names.filter((name) => !beside.includes(name)),
    settings
  )
  const questions = [...early.flat(), ...late].toSorted((a, b) => rank(a.name) - rank(b.name))
  const whole = values.only === undefined && peers && process.exitCode === undefined
  if (!whole && !values.write) return
  const results = merged({
    machine: machine(),
    versions: versions(peers),
    ...(gate !== undefined && { gate }),
    questions
  })
  mkdirSync(`${root}${folder}`, { recursive: true })
  const text = stringify(results)
  writeFileSync(`${root}${resultsFile}`, `${text}\n`)
  // Rendered from the stored results, whose figures are rounded.
  console.log(`\nwritten: ${[resultsFile, ...write(JSON.parse(text))].join(", ")}`)
}

// Stopped processes are ended at the exit.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130))

try {
  await main()
} catch (error) {
  process.exitCode = 1
  console.error(error instanceof Error ? error.message : error)
}
