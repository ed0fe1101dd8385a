/**
 * Loaded before a program (`--import`): writes what it used into the file that `BENCH_USAGE` names, when it ends.
 */
import { writeFileSync } from "node:fs"

/** What a process used. */
export interface Usage {
  /** Milliseconds since its start, and of CPU time. */
  readonly wall: number
  readonly cpu: number
  /** Megabytes that were resident, four times a second. */
  readonly resident: ReadonlyArray<number>
}

const file = process.env["BENCH_USAGE"]

if (file !== undefined) {
  const resident: Array<number> = []
  const look = (): void => {
    resident.push(process.memoryUsage.rss() / 1e6)
  }
  setInterval(look, 250).unref()
  process.once("exit", () => {
    look()
    const { system, user } = process.cpuUsage()
    const usage: Usage = { wall: performance.now(), cpu: (user + system) / 1000, resident }
    writeFileSync(file, JSON.stringify(usage))
  })
}
