/**
 * Compares the library here with itself at a git ref: the same bench code with either of them, in processes that take
 * turns. A second process of the ref shows the noise. Started by `run.ts`.
 */
import { execFile } from "node:child_process"
import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { type Places, type Workload, workloads } from "./base/command.ts"
import { measureWorkerd } from "./base/workerd.ts"
import type { Command } from "./base/workloads.ts"
import { type Command as BatchCommand, names as batches } from "./batch/command.ts"
import { measure, type Taken } from "./batch/measure.ts"
import { type Child, serve, start } from "./child.ts"
import {
  columns,
  cpuPerCall,
  perSecond,
  ratios,
  type Sample,
  type Spread,
  shuffler,
  spread,
  written
} from "./measure.ts"
import { heapPerCall, type Who } from "./memory/heap.ts"
import { usualJob, withUpstream } from "./pool.ts"
import type { Settings } from "./question.ts"
import { numbered, root } from "./results.ts"
import { fixtures, measure as measureSize } from "./size.ts"
import { withStage } from "./stage.ts"
import { withUpstream as withStreams } from "./stream/server.ts"

/** Request of `run.ts`. */
export interface Comparing {
  /** Branch, tag or commit. */
  readonly ref: string
  /** The questions whose parts are compared. */
  readonly names: ReadonlyArray<string>
  readonly settings: Settings
}

const run = promisify(execFile)

/** Checks a ref out into a temporary folder, which is removed afterwards. The repository is only read. */
const withCheckout = async <A>(ref: string, use: (folder: string, commit: string) => Promise<A>): Promise<A> => {
  const { stdout } = await run("git", ["rev-parse", "--verify", "--short", "--end-of-options", `${ref}^{commit}`], {
    cwd: root
  })
  const commit = stdout.trim()
  const folder = await realpath(await mkdtemp(join(tmpdir(), "effect-ai-gateway-base-")))
  try {
    const archive = join(folder, "sources.tar")
    const parts = ["package.json", "tsconfig.json", ".config", "src"]
    await run("git", ["archive", "--format=tar", "-o", archive, commit, ...parts], { cwd: root })
    const checkout = join(folder, "checkout")
    await mkdir(checkout)
    await run("tar", ["-xf", archive, "-C", checkout])
    return await use(checkout, commit)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Triples: the ref, the ref again, and this checkout. */
type Three<A> = readonly [base: A, again: A, here: A]

const three = async <A>(make: (root: string | undefined) => Promise<A>, base: string): Promise<Three<A>> => [
  await make(base),
  await make(base),
  await make(undefined)
]

const head = ["", "unit", "base", "here", "here / base", "base again / base"]

/** Figures by round; `ratio` compares them. */
const row = (name: string, unit: string, digits: number, [base, again, here]: Three<ReadonlyArray<number>>) => {
  const against = (own: ReadonlyArray<number>): Spread => spread(own.map((value, i) => value / (base[i] ?? Number.NaN)))
  const middle = (own: ReadonlyArray<number>): string => numbered(spread(own).median, digits)
  return [name, unit, middle(base), middle(here), written(against(here)), written(against(again))]
}

/** Reports an operation that an old base does not support; the rest is still compared. */
const failedRow = (name: string, error: unknown): ReadonlyArray<string> => {
  console.error(`${name}: ${error instanceof Error ? error.message : error}`)
  return [name, "failed"]
}

const timed = async (
  base: string,
  chosen: ReadonlyArray<Workload>,
  places: Places,
  quick: boolean
): Promise<ReadonlyArray<ReadonlyArray<string>>> => {
  const begin = async (checkout: string | undefined): Promise<Child> => {
    const child = await start(new URL("base/workloads.ts", import.meta.url), { root: checkout })
    const command: Command = { tell: "begin", places }
    await child.ask(command)
    return child
  }
  const children = await three(begin, base)
  const shuffled = shuffler()
  const rows: Array<ReadonlyArray<string>> = []
  try {
    for (const workload of chosen) {
      const turn = (child: Child, millis: number): Promise<Sample> => {
        const command: Command = { tell: "turn", workload, millis }
        return child.ask<Sample>(command)
      }
      const samples: Three<Array<Sample>> = [[], [], []]
      try {
        for (const child of children) await turn(child, quick ? 150 : 1500)
        for (let round = 0; round < (quick ? 5 : 21); round++) {
          for (const index of shuffled([0, 1, 2] as const)) {
            samples[index].push(await turn(children[index], quick ? 60 : 200))
          }
        }
      } catch (error) {
        rows.push(failedRow(workload, error))
        continue
      }
      const [bases, again, here] = samples
      const cpus = samples.map((own) => own.map(cpuPerCall))
      rows.push(row(workload, "CPU µs", 2, [cpus[0] ?? [], cpus[1] ?? [], cpus[2] ?? []]))
      rows.push([
        "",
        "per second",
        numbered(spread(bases.map(perSecond)).median, 0),
        numbered(spread(here.map(perSecond)).median, 0),
        written(ratios(here, bases, perSecond)),
        written(ratios(again, bases, perSecond))
      ])
    }
  } finally {
    for (const child of children) child.close()
  }
  return rows
}

const waiting: ReadonlyArray<readonly [name: string, who: Who]> = [
  ["memory: over a stub", { stub: "ours" }],
  ["memory: over undici", { module: "contenders/ours.ts", make: "overUndici" }]
]

const memory = async (base: string, quick: boolean): Promise<ReadonlyArray<ReadonlyArray<string>>> => {
  const rows: Array<ReadonlyArray<string>> = []
  for (const [name, who] of waiting) {
    const extent = { inFlight: quick ? 1000 : 10_000, waves: quick ? 1 : 3 }
    rows.push(
      row(name, "kB a call", 1, await three((checkout) => heapPerCall(who, { ...extent, root: checkout }), base))
    )
  }
  return rows
}

const batch = async (base: string, { items, quick }: Settings): Promise<ReadonlyArray<ReadonlyArray<string>>> => {
  const upstream = await start(new URL("batch/upstream.ts", import.meta.url))
  try {
    const url = `http://127.0.0.1:${await upstream.ask<number>({})}`
    const count = items ?? (quick ? 2000 : 20_000)
    const command: BatchCommand = { name: batches.journal, url, items: count, concurrency: 64 }
    const all: Three<Array<Taken>> = [[], [], []]
    for (let round = 0; round < (quick ? 1 : 5); round++) {
      const taken = await measure([base, base, undefined].map((root) => ({ command, root })))
      for (const index of [0, 1, 2] as const) all[index].push(...taken.slice(index, index + 1))
    }
    const of = (value: (taken: Taken) => number): Three<ReadonlyArray<number>> => [
      all[0].map(value),
      all[1].map(value),
      all[2].map(value)
    ]
    return [
      row(
        "batch: with a journal",
        "CPU µs an item",
        1,
        of(({ cpu }) => (cpu / count) * 1000)
      ),
      row(
        "",
        "µs an item",
        1,
        of(({ wall }) => (wall / count) * 1000)
      )
    ]
  } finally {
    upstream.close()
  }
}

const size = async (base: string): Promise<ReadonlyArray<ReadonlyArray<string>>> => {
  const source = fixtures().get("worker") ?? ""
  const of = (checkout: string | undefined): Promise<ReadonlyArray<number>> =>
    withStage(async (stage) => [(await measureSize(source, stage)).gzip / 1000], checkout)
  const [before, now] = [await of(base), await of(undefined)]
  return [row("size: Worker with binding and router", "kB gzip", 1, [before, before, now])]
}

const workerd = async (base: string, quick: boolean): Promise<ReadonlyArray<ReadonlyArray<string>>> => {
  const { failing, well } = await measureWorkerd(base, quick)
  return [
    row("workerd: all providers healthy", "CPU µs", 0, well),
    row("workerd: the first one fails", "CPU µs", 0, failing)
  ]
}

const compare = ({ names, ref, settings }: Comparing): Promise<void> =>
  withCheckout(ref, async (base, commit) => {
    console.log(`\nbase: ${ref} (${commit}); ratios are taken round by round, medians with quartiles\n`)
    const chosen = workloads.filter((workload) => names.includes(workload.split(":")[0] ?? ""))
    const rows: Array<ReadonlyArray<string>> = []
    if (chosen.length > 0) {
      await withUpstream((chats) =>
        withStreams(async ({ origin }) => {
          const places: Places = {
            job: { ...usualJob, url: chats.url("ok", "ok") },
            third: chats.url("dead", "dead", "ok"),
            streams: origin
          }
          const measured = timed(base, chosen, places, settings.quick)
          rows.push(...(await measured.catch((error) => chosen.map((workload) => failedRow(workload, error)))))
        })
      )
    }
    const others = {
      workerd: () => workerd(base, settings.quick),
      memory: () => memory(base, settings.quick),
      batch: () => batch(base, settings),
      size: () => size(base)
    }
    for (const [name, measured] of Object.entries(others)) {
      if (names.includes(name)) rows.push(...(await measured().catch((error) => [failedRow(name, error)])))
    }
    console.log(columns([head, ...rows]))
    const left = names.filter((name) => !Object.hasOwn(others, name))
    const without = left.filter((name) => !workloads.some((workload) => workload.startsWith(`${name}:`)))
    if (without.length > 0) console.log(`\nnot compared: ${without.join(", ")}`)
  })

serve<Comparing>(compare)
