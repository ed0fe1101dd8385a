/** Measures the memory of a large job from outside: the kernel's figures of the process, every second. */
import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { type Claim, claim, type Settings, whole } from "./claim.ts"
import * as Job from "./job.ts"

/** Sizes from small to large. */
export interface Extent {
  readonly items: ReadonlyArray<number>
  readonly concurrency: number
}

/** Limit of a process's resident megabytes. */
const most = 250

/**
 * Limit of a job's growth in megabytes per million items. Only the ids grow with their number, about 30 bytes each, to
 * detect duplicates.
 */
const growth = 35

interface Memory {
  readonly resident: number
  readonly peak: number
}

/** Megabytes; `undefined` when the process is gone. */
const memoryOf = async (pid: number | undefined): Promise<Memory | undefined> => {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "")
  const [peak, resident] = ["VmHWM", "VmRSS"].map(
    (field) => new RegExp(`^${field}:\\s*(\\d+) kB`, "m").exec(status)?.[1]
  )
  return peak === undefined || resident === undefined
    ? undefined
    : { peak: (Number(peak) * 1024) / 1e6, resident: (Number(resident) * 1024) / 1e6 }
}

interface Measured {
  readonly items: number
  readonly peak: number
  readonly claims: ReadonlyArray<Claim>
}

const measure = async (items: number, concurrency: number, { bin, seed, tell }: Settings): Promise<Measured> => {
  const upstream = await Job.startUpstream({ items, seed })
  try {
    return await Job.inFolder(async (folder) => {
      const job = await Job.makeJob({ folder, items, concurrency, url: upstream.url, bin })
      const run = Job.start(job, { number: 0 })
      const resident: Array<number> = []
      let peak = 0
      while (!run.hasEnded()) {
        const memory = await memoryOf(run.child.pid)
        if (memory !== undefined) {
          peak = Math.max(peak, memory.peak)
          resident.push(memory.resident)
          tell(`${whole(await upstream.answered())} of ${whole(items)}: ${whole(memory.resident)} MB`)
        }
        await Promise.race([run.ended, Job.sleep(1000)])
      }
      const ended = await run.ended
      const found = await Job.read(job)
      const { repeatsWithin } = await upstream.counts()
      const quarters = [0, 1, 2, 3].map((quarter) => {
        const [from, to] = [quarter, quarter + 1].map((n) => Math.floor((resident.length * n) / 4))
        return whole(Math.max(...resident.slice(from, to)))
      })
      const seconds = (ended.summary?.durationMs ?? Number.NaN) / 1000
      const named = `${whole(items)} items at concurrency ${concurrency}`
      return {
        items,
        peak,
        claims: [
          claim(
            `${named}: every id is exactly once in the output`,
            ended.code === 0 && Job.isComplete(found) && repeatsWithin === 0,
            `${Job.foundText(found)}; exit code ${ended.code}; ${repeatsWithin} asked twice`
          ),
          claim(
            `${named}: under ${most} MB`,
            peak < most,
            `${whole(peak)} MB at most; ${quarters.join(", ")} MB in the quarters; ${whole(items / seconds)} items per second in ${whole(seconds)} seconds`
          )
        ]
      }
    })
  } finally {
    upstream.close()
  }
}

/** Runs one size after the other. */
export const memory = async ({ concurrency, items }: Extent, settings: Settings): Promise<ReadonlyArray<Claim>> => {
  if (!existsSync("/proc/self/status")) {
    return [{ what: "memory", holds: "skipped", figures: "needs /proc, as Linux has it" }]
  }
  const all: Array<Measured> = []
  for (const size of items) all.push(await measure(size, concurrency, settings))
  const [first, last] = [all[0], all.at(-1)]
  const claims = all.flatMap(({ claims }) => claims)
  if (first === undefined || last === undefined || first === last) return claims
  const grown = last.peak - first.peak
  const bound = (growth * (last.items - first.items)) / 1e6
  return [
    ...claims,
    claim(
      `from ${whole(first.items)} to ${whole(last.items)} items: grows by no more than the ids, ${whole(bound)} MB`,
      grown <= bound,
      `${whole(grown)} MB`
    )
  ]
}
