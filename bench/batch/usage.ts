/**
 * Loaded before a program (`--import`): writes its resource usage to the file that `BENCH_USAGE` names, when it ends.
 */
import { writeFileSync } from "node:fs"
import type { Span } from "../turns.ts"

/** Resource usage of a process. */
export interface Usage {
  /** From its start to its end. */
  readonly span: Span
  /** Milliseconds. */
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
    const { timeOrigin: from } = performance
    const usage: Usage = { span: { from, to: from + performance.now() }, cpu: (user + system) / 1000, resident }
    writeFileSync(file, JSON.stringify(usage))
  })
}
