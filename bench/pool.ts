/** Contenders and their upstream, each in its own process, and the order of their turns. */

import type { Mode, Told } from "./chatServer.ts"
import { type Child, start } from "./child.ts"
import type { Job } from "./contender.ts"
import { type Entry, entries, folders } from "./contenders/index.ts"
import type { Command, Length, Outcome, Streamed, What } from "./contenders/process.ts"
import { type Sample, shuffler } from "./measure.ts"
import { install, isInstalled } from "./peers/install.ts"
import type { Settings } from "./question.ts"

/** A running upstream. */
export interface Upstream {
  /** Its address for targets with these modes, in order. */
  readonly url: (...modes: ReadonlyArray<Mode>) => string
  /** Number of requests that wait in `held` targets. */
  readonly held: () => Promise<number>
  /** Answers them. */
  readonly release: () => Promise<number>
  readonly close: () => void
}

export const startUpstream = async (): Promise<Upstream> => {
  const child = await start(new URL("chatServer.ts", import.meta.url))
  const tell = (told: Told): Promise<number> => child.ask<number>(told)
  const port = await tell({ tell: "port" })
  return {
    url: (...modes) => `http://127.0.0.1:${port}/${modes.join(",")}`,
    held: () => tell({ tell: "held" }),
    release: () => tell({ tell: "release" }),
    close: child.close
  }
}

/** Work of a contender in a turn. */
export interface Doing {
  /** Default: `ask`. */
  readonly what?: What
  /** Name of the job. Default: the first. */
  readonly name?: string
}

/** A running contender. */
export interface Member {
  readonly entry: Entry
  /** Gives it another job, in place of its first one, or in addition under a name. */
  readonly begin: (job: Job, name?: string) => Promise<void>
  readonly turn: (turn: Doing & Length) => Promise<Sample>
  /** Sends a number of different prompts, with a number of them in flight. Never fails: it reports failures. */
  readonly calls: (calls: number, inFlight: number) => Promise<Outcome>
  readonly stream: () => Promise<Streamed>
  /** Bytes of heap in use, after a collection. */
  readonly heap: () => Promise<number>
  readonly close: () => void
}

/** The usual job: one fallback, three attempts with growing waits, five seconds for each. */
export const usualJob: Job = { url: "", targets: 2, attempts: 3, delay: 100, timeout: 5000, stub: false }

/** `root`: the checkout whose library it uses, for our own contenders; default: this one. */
export const startContender = async (
  entry: Entry,
  job: Job,
  { root }: { readonly root?: string } = {}
): Promise<Member> => {
  const child: Child = await start(new URL("contenders/process.ts", import.meta.url))
  const tell = <A>(command: Command): Promise<A> => child.ask<A>(command)
  const { make, module } = entry
  const first = "first"
  const member: Member = {
    entry,
    begin: (next, name = first) => tell({ tell: "begin", name, module, make, job: next }),
    turn: (turn) => tell({ tell: "turn", name: first, what: "ask", ...turn }),
    calls: (calls, inFlight) => tell({ tell: "calls", name: first, calls, inFlight }),
    stream: () => tell({ tell: "stream", name: first }),
    heap: () => tell({ tell: "heap" }),
    close: child.close
  }
  try {
    await tell({ tell: "begin", name: first, module, make, job, ...(root !== undefined && { root }) })
  } catch (error) {
    child.close()
    throw new Error(`${entry.name}: ${error instanceof Error ? error.message : error}`)
  }
  return member
}

/** The contenders that can take part: all, after an installation where needed, or those that need none. */
export const present = ({ peers = true }: Settings): ReadonlyArray<Entry> => {
  if (peers) install()
  const missing = peers ? [] : folders
  return entries.filter(({ folder }) => folder === undefined || (!missing.includes(folder) && isInstalled(folder)))
}

const sentence = (about: string, some: ReadonlyArray<Entry>): ReadonlyArray<string> =>
  some.length === 0 ? [] : [`${about}: ${some.map(({ name }) => name).join(", ")}.`]

/** A sentence about absent contenders. */
export const absence = (here: ReadonlyArray<Entry>): ReadonlyArray<string> =>
  sentence(
    "Not installed, and so not here",
    entries.filter((entry) => !entry.checksOnly && !here.includes(entry))
  )

/** The contenders fast enough for a question over a network, and a sentence about the others. */
export const hasty = (
  some: ReadonlyArray<Entry>,
  { quick }: Settings
): readonly [crew: ReadonlyArray<Entry>, left: ReadonlyArray<string>] => {
  const left = some.filter(({ thorough }) => quick && thorough === true)
  return [some.filter((entry) => !left.includes(entry)), sentence("Left out of a quick run", left)]
}

/** Processes each item, two at a time, and keeps the order. */
export const each = async <A, B>(all: ReadonlyArray<A>, use: (one: A) => Promise<B>): Promise<ReadonlyArray<B>> => {
  const results: Array<B> = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < all.length) {
      const at = next++
      for (const one of all.slice(at, at + 1)) results[at] = await use(one)
    }
  }
  await Promise.all([worker(), worker()])
  return results
}

/** Starts all contenders on a job, passes them to `use`, and ends them. */
export const withCrew = async <A>(
  crew: ReadonlyArray<Entry>,
  job: Job,
  use: (members: ReadonlyArray<Member>) => Promise<A>
): Promise<A> => {
  const members: Array<Member> = []
  try {
    const started = await each(crew, async (entry) => {
      const member = await startContender(entry, job)
      members.push(member)
      return member
    })
    return await use(started)
  } finally {
    for (const { close } of members) close()
  }
}

/** An upstream for the duration of `use`. */
export const withUpstream = async <A>(use: (upstream: Upstream) => Promise<A>): Promise<A> => {
  const upstream = await startUpstream()
  try {
    return await use(upstream)
  } finally {
    upstream.close()
  }
}

/** The first line of a failure's message, truncated for a table. */
export const brief = (error: unknown): string =>
  (/^[^\n]{0,100}/.exec(error instanceof Error ? error.message : String(error))?.[0] ?? "").trim()

/** Remarks about a contender, if any. */
export const remarks = (...parts: ReadonlyArray<string | undefined>): { readonly remark?: string } => {
  const said = parts.filter((part) => part !== undefined)
  return said.length === 0 ? {} : { remark: said.join("; ") }
}

/** Pace of turns. */
export interface Pace {
  readonly rounds: number
  readonly turn: Length
  /** A turn before the first, for warm-up. Contenders have it two at a time. */
  readonly warm: Length
}

/** Samples of contenders in their turns. */
export interface Taken<Kind extends string> {
  /** By round. */
  readonly of: (member: Member, kind: Kind) => ReadonlyArray<Sample>
  /** Why a contender stopped taking part. */
  readonly failure: (member: Member) => string | undefined
}

/**
 * Lets contenders take turns: first all warm up, then the rounds follow, each in another order. `kinds` returns a
 * contender's work in each of its turns; it does them one after the other, back and forth, so that they can be compared
 * within a round. A contender that fails is out.
 */
export const takeTurns = async <Kind extends string>(
  members: ReadonlyArray<Member>,
  { rounds, turn, warm }: Pace,
  kinds: (member: Member) => Readonly<Partial<Record<Kind, Doing>>>
): Promise<Taken<Kind>> => {
  const taken = new Map<Member, Map<string, Array<Sample>>>()
  const failures = new Map<Member, string>()
  const doings = (member: Member) => Object.entries<Doing | undefined>(kinds(member))
  const attempt = async (member: Member, use: () => Promise<void>): Promise<void> => {
    if (failures.has(member)) return
    try {
      await use()
    } catch (error) {
      failures.set(member, `failed: ${brief(error)}`)
      taken.delete(member)
    }
  }
  await each(members, (member) =>
    attempt(member, async () => {
      taken.set(member, new Map(doings(member).map(([kind]) => [kind, []])))
      for (const [, doing] of doings(member)) await member.turn({ ...doing, ...warm })
    })
  )
  const shuffled = shuffler()
  for (let round = 0; round < rounds; round++) {
    for (const member of shuffled(members)) {
      const all = doings(member)
      await attempt(member, async () => {
        for (const [kind, doing] of round % 2 === 0 ? all : all.toReversed()) {
          const sample = await member.turn({ ...doing, ...turn })
          taken.get(member)?.get(kind)?.push(sample)
        }
      })
    }
  }
  return {
    of: (member, kind) => taken.get(member)?.get(kind) ?? [],
    failure: (member) => failures.get(member)
  }
}
