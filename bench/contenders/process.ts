/**
 * Runs one contender in its own process, so that none inherits another's heap, warm-up or patches. It follows
 * `pool.ts`, and measures itself.
 */
import { enableCompileCache, registerHooks } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import { heapUsed, serve } from "../child.ts"
import { type Contender, isAnswer, type Job, type Make, promptOf, stubText } from "../contender.ts"
import type { Sample } from "../measure.ts"

/** `ask`, or one of the variants of `Contender`. */
export type What = "ask" | "bare" | "askMany" | "bareMany"

/** Minimum length of a turn, in milliseconds and in calls. */
export interface Length {
  readonly inFlight: number
  readonly millis: number
  /** Default: one for each in flight. */
  readonly calls?: number
}

export type Command =
  /**
   * Makes a contender; an earlier one of that name is closed. `root`: the checkout whose `effect-ai-gateway` it uses,
   * instead of this one.
   */
  | {
      readonly tell: "begin"
      readonly name: string
      readonly module: string
      readonly make: string
      readonly job: Job
      readonly root?: string
    }
  | ({ readonly tell: "turn"; readonly name: string; readonly what: What } & Length)
  | { readonly tell: "calls"; readonly name: string; readonly calls: number; readonly inFlight: number }
  | { readonly tell: "stream"; readonly name: string }
  | { readonly tell: "heap" }

/** Results of calls. */
export interface Outcome {
  readonly right: number
  /** Answers to another caller's prompt. */
  readonly swapped: number
  readonly failed: number
  /** Message of the first failure. */
  readonly failure?: string
}

/** A stream as its consumer saw it. */
export interface Streamed {
  readonly text: string
  /** Absent when the stream ended cleanly. */
  readonly failure?: string
}

/** Milliseconds after which a call or a stream counts as never ending. */
const patience = 8000

/** Calls in one fiber between two looks at the clock. */
const batch = 100

/** The part of a turn before the measurement, relative to its length. */
const leadIn = 0.5

interface Working {
  readonly contender: Contender
  readonly job: Job
}

/** By name, because one process may have several jobs in turn. */
const working = new Map<string, Working>()
let index = 0
let hooked = false

/** Resolves the library in another checkout; Effect stays this one's, so that there is only one copy. */
const comeFrom = (root: string): void => {
  if (hooked) throw new Error("a process uses one checkout")
  hooked = true
  const there = pathToFileURL(`${root}/package.json`).href
  const here = new URL("../../package.json", import.meta.url).href
  registerHooks({
    resolve: (specifier, context, next) => {
      const [scope] = specifier.split("/")
      const parentURL =
        scope === "effect-ai-gateway" ? there : scope === "effect" || scope === "@effect" ? here : undefined
      return next(specifier, parentURL === undefined ? context : { ...context, parentURL })
    }
  })
}

const cpuOf = async ({ cpu }: Contender): Promise<number> => {
  const others = (await cpu?.()) ?? 0
  const { system, user } = process.cpuUsage()
  return (user + system) / 1000 + others
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? `${error.name}: ${error.message}` : String(error)

const limited = <A>(self: Promise<A>): Promise<A> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not ended after ${patience} ms`)), patience)
  })
  return Promise.race([self, late]).finally(() => clearTimeout(timer))
}

const current = (name: string): Working => {
  const one = working.get(name)
  if (one === undefined) throw new Error(`${name} has not begun`)
  return one
}

/** One unit of work, and its number of calls. */
const workOf = ({ contender, job }: Working, what: What): readonly [work: () => Promise<unknown>, calls: number] => {
  const { ask, askMany, bare, bareMany } = contender
  if (what === "ask") {
    return [
      async () => {
        const own = job.stub ? 0 : ++index
        const text = await ask(promptOf(own))
        if (!isAnswer(text, own)) throw new Error(`prompt ${own} was answered with ${text.slice(0, 20)}`)
      },
      1
    ]
  }
  if (what === "bare" && bare !== undefined) return [bare, 1]
  const many = what === "askMany" ? askMany : what === "bareMany" ? bareMany : undefined
  if (many === undefined) throw new Error(`it has no ${what}`)
  return [() => many(batch), batch]
}

const turn = async (one: Working, what: What, { calls: least = 0, inFlight, millis }: Length): Promise<Sample> => {
  const [work, perWork] = workOf(one, what)
  let calls = 0
  let until = performance.now() + millis * leadIn
  const worker = async (): Promise<void> => {
    do {
      await work()
      calls += perWork
    } while (calls < least || performance.now() < until)
  }
  // After a wait, connections may be closed, the young heap shrunk, and caches full of other contenders.
  if (millis > 0) await Promise.all(Array.from({ length: inFlight }, worker))
  calls = 0
  const cpuBefore = await cpuOf(one.contender)
  const before = performance.now()
  until = before + millis
  await Promise.all(Array.from({ length: inFlight }, worker))
  const wall = performance.now() - before
  return { calls, wall, cpu: (await cpuOf(one.contender)) - cpuBefore }
}

const calls = async ({ ask }: Contender, count: number, inFlight: number): Promise<Outcome> => {
  let [left, right, swapped, failed] = [count, 0, 0, 0]
  let failure: string | undefined
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const own = ++index
      try {
        const text = await limited(ask(promptOf(own)))
        if (isAnswer(text, own)) right++
        else swapped++
      } catch (error) {
        failed++
        failure ??= messageOf(error)
      }
    }
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  return { right, swapped, failed, ...(failure !== undefined && { failure }) }
}

const stream = async ({ stream: read }: Contender): Promise<Streamed> => {
  if (read === undefined) throw new Error("it does not stream")
  let text = ""
  try {
    await limited(
      read(promptOf(0), (piece) => {
        text += piece
      })
    )
    return { text }
  } catch (error) {
    return { text, failure: messageOf(error) }
  }
}

// Starting takes longer than some turns.
enableCompileCache(fileURLToPath(new URL("../../.cache/bench", import.meta.url)))

// A gate provokes failures, and some of them stay unhandled.
process.on("unhandledRejection", () => undefined)

serve<Command>(
  async (command): Promise<Sample | Outcome | Streamed | number | undefined> => {
    switch (command.tell) {
      case "begin": {
        const { job, make: exported, module: path, name, root } = command
        if (root !== undefined) comeFrom(root)
        await working.get(name)?.contender.close?.()
        const module: Readonly<Record<string, Make>> = await import(new URL(`../${path}`, import.meta.url).href)
        const make = module[exported]
        if (make === undefined) throw new Error(`${path} has no ${exported}`)
        const contender = await make(job)
        working.set(name, { contender, job })
        if (job.stub && (await contender.ask(promptOf(0))) !== stubText) throw new Error("wrong text")
        return undefined
      }
      case "turn":
        return turn(current(command.name), command.what, command)
      case "calls":
        return calls(current(command.name).contender, command.calls, command.inFlight)
      case "stream":
        return stream(current(command.name).contender)
      case "heap":
        return heapUsed()
    }
  },
  async () => {
    for (const { contender } of working.values()) await contender.close?.()
  }
)
