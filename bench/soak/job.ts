/**
 * A job for the command line, in its own folder: `effect-ai-gateway batch` as a process that can be killed, and its
 * output, checked line by line.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { createReadStream, createWriteStream, rmSync } from "node:fs"
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { fileURLToPath } from "node:url"
import { type Child, start as startChild } from "../child.ts"
import { type Behaviour, type Command, type Counts, textOf, usual } from "./command.ts"

const source = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))

/**
 * Retried by the client: a gateway cannot be asked for jitter. An item fails at most twice in a row, so none ends as a
 * dead letter.
 */
const route = {
  version: 1,
  route: {
    provider: "openai",
    model: "gpt-4.1-mini",
    retry: { attempts: 4, delay: "20 millis", backoff: "constant", jitter: 0.2 }
  }
}

/** The upstream of one job. */
export interface Upstream {
  readonly url: string
  /** Items that it has answered. */
  readonly answered: () => Promise<number>
  readonly counts: () => Promise<Counts>
  readonly close: () => void
}

/** Starts an upstream. */
export const startUpstream = async (
  behaviour: Partial<Behaviour> & Pick<Behaviour, "items" | "seed">
): Promise<Upstream> => {
  const child: Child = await startChild(new URL("upstream.ts", import.meta.url))
  const ask = <A>(command: Command): Promise<A> => child.ask<A>(command)
  await ask({ tell: "behave", as: { ...usual, ...behaviour } })
  const url = `http://127.0.0.1:${await ask<number>({ tell: "port" })}`
  return {
    url,
    answered: () => ask<number>({ tell: "answered" }),
    counts: () => ask<Counts>({ tell: "counts" }),
    close: child.close
  }
}

/** A temporary folder. */
export const inFolder = async <A>(use: (folder: string) => Promise<A>): Promise<A> => {
  const folder = await mkdtemp(join(tmpdir(), "soak-"))
  const atExit = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  process.once("exit", atExit)
  try {
    return await use(folder)
  } finally {
    process.off("exit", atExit)
    await rm(folder, { recursive: true, force: true })
  }
}

/** Files and settings of a job. */
export interface Job {
  readonly folder: string
  readonly items: number
  readonly input: string
  readonly output: string
  readonly journal: string
  readonly route: string
  readonly concurrency: number
  readonly url: string
  readonly bin: string
}

/** Further fields of an item. */
type More = (item: number) => object

/** Writes the input and the route. `results`: folder of the output and the journal, in place of the job's. */
export const makeJob = async (
  {
    bin = source,
    concurrency,
    folder,
    items,
    results = folder,
    url
  }: Pick<Job, "folder" | "items" | "concurrency" | "url"> & {
    readonly results?: string
    readonly bin?: string | undefined
  },
  more: More = () => ({})
): Promise<Job> => {
  await mkdir(folder, { recursive: true })
  const input = join(folder, "in.jsonl")
  const lines = function* (): Generator<string> {
    for (let i = 0; i < items; i++) {
      yield `${JSON.stringify({ id: `item-${i}`, prompt: `question ${i}`, ...more(i) })}\n`
    }
  }
  await pipeline(Readable.from(lines()), createWriteStream(input))
  const stored = join(folder, "route.json")
  await writeFile(stored, JSON.stringify(route))
  const output = join(results, "out.jsonl")
  return { folder, items, input, output, journal: `${output}.journal`, route: stored, concurrency, url, bin }
}

/** The command's own summary. */
export interface Summary {
  readonly exitCode: number
  readonly state: string
  readonly succeeded: number
  readonly deadLetters: number
  readonly replayed: { readonly succeeded: number }
  readonly requests: number
  readonly durationMs: number
  readonly damage: ReadonlyArray<{ readonly where: string; readonly kind: string; readonly bytes: number }>
}

/** Result of a run. */
export interface Ended {
  /** `null` when a signal killed it. */
  readonly code: number | null
  readonly err: string
  /** Output of `--json`, unless it was killed before. */
  readonly summary: Summary | undefined
}

/** A run of the command. */
export interface Run {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  readonly hasEnded: () => boolean
}

const running = new Set<ChildProcess>()

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL")
})

/** Differences between runs of a job. */
export interface RunOptions {
  /** The number of the run, by which the upstream identifies it. */
  readonly number: number
  readonly flags?: ReadonlyArray<string>
  /** Size limit of files, in blocks of 512 bytes. */
  readonly fileBlocks?: number
}

/** The gateway of a run; the upstream identifies the run by its id. */
export const placesOf = ({ url }: Pick<Job, "url">, number: number): ReadonlyArray<string> => [
  ...["--account-id", "soak", "--gateway", `run-${number}`, "--base-url", url]
]

/** Starts the command. */
export const start = (job: Job, { fileBlocks, flags = [], number }: RunOptions): Run => {
  const { concurrency, input, output, route } = job
  const args = ["batch", input, output, "--route", route, "--json", "--concurrency", String(concurrency)]
  return startCommand(job, [...args, ...placesOf(job, number), ...flags], { fileBlocks })
}

/** Starts the command with any arguments. */
export const startCommand = (
  { bin, folder, url }: Pick<Job, "bin" | "folder" | "url">,
  given: ReadonlyArray<string>,
  {
    env = {},
    fileBlocks
  }: { readonly fileBlocks?: number | undefined; readonly env?: Readonly<Record<string, string>> } = {}
): Run => {
  const command = [process.execPath, "--conditions=effect-ai-gateway-source", bin, ...given]
  const [file = "", ...args] =
    fileBlocks === undefined ? command : ["/bin/sh", "-c", `ulimit -f ${fileBlocks}; exec "$0" "$@"`, ...command]
  const child = spawn(file, args, {
    cwd: folder,
    // The command consults the logs for items that a killed run had sent.
    env: { NO_COLOR: "1", CLOUDFLARE_API_URL: `${url}/client/v4`, CLOUDFLARE_API_TOKEN: "soak", ...env },
    stdio: ["ignore", "pipe", "pipe"]
  })
  running.add(child)
  let [out, err, ended] = ["", "", false]
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text
  })
  return {
    child,
    hasEnded: () => ended,
    ended: new Promise((resolve) => {
      child.once("close", (code) => {
        running.delete(child)
        ended = true
        resolve({ code, err, summary: out.endsWith("}\n") ? JSON.parse(out) : undefined })
      })
    })
  }
}

/** Runs the command to its end. */
export const run = (job: Job, options: RunOptions): Promise<Ended> => start(job, options).ended

/** The last lines of the command's output, for a message. */
export const lastOf = ({ code, err }: Ended): string =>
  `exit code ${code}: ${err.trim().split("\n").slice(-3).join(" | ")}`

/** Contents of an output. */
export interface Found {
  readonly lines: number
  /** Items without a line, and with more than one. */
  readonly missing: number
  readonly twice: number
  /** Lines that differ from the upstream's answer, including dead letters. */
  readonly wrong: number
  /** Whether the last line has no end. */
  readonly torn: boolean
}

/** Reads an output line by line. */
export const read = async ({ items, output }: Job, textBytes = usual.textBytes): Promise<Found> => {
  const seen = new Uint8Array(items)
  let [lines, twice, wrong, last] = [0, 0, 0, "\n"]
  const file = createReadStream(output, "utf8")
  file.on("data", (text) => {
    last = String(text).at(-1) ?? last
  })
  for await (const line of createInterface({ input: file })) {
    lines++
    let result: { readonly id?: unknown; readonly text?: unknown } = {}
    try {
      result = JSON.parse(line)
    } catch {
      wrong++
      continue
    }
    const item = Number(/^item-(\d+)$/.exec(String(result.id))?.[1])
    if (!(item < items)) wrong++
    else if (seen[item] === 1) twice++
    else {
      seen[item] = 1
      if (result.text !== textOf(item, textBytes)) wrong++
    }
  }
  return { lines, missing: seen.filter((times) => times === 0).length, twice, wrong, torn: last !== "\n" }
}

/** Whether every item is there exactly once, with its answer. */
export const isComplete = ({ missing, torn, twice, wrong }: Found): boolean =>
  missing === 0 && twice === 0 && wrong === 0 && !torn

/** The same in words. */
export const foundText = ({ lines, missing, torn, twice, wrong }: Found): string =>
  `${lines} lines, ${missing} missing, ${twice} twice, ${wrong} wrong${torn ? ", the last one torn" : ""}`

/** Waits a number of milliseconds. */
export const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

/** Waits until the upstream has answered a number of items, or the run has ended. */
export const untilAnswered = async (upstream: Upstream, run: Run, items: number): Promise<void> => {
  while (!run.hasEnded() && (await upstream.answered()) < items) await sleep(2)
}

/** Kills a run like `kill -9`. Returns whether it was still running. */
export const kill = async ({ child, ended }: Run): Promise<boolean> => {
  child.kill("SIGKILL")
  await ended
  return child.signalCode === "SIGKILL"
}
