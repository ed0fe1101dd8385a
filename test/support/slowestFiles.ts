/**
 * Ends a run of the tests with the files that took longest, so that one which becomes slow is seen.
 */
import { relative } from "node:path"
import type { Reporter, TestModule } from "vitest/node"

/** A run of fewer files is one of a developer who works on them. */
const least = 20
const shown = 10

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`.padStart(8)

/** Prints the slowest files, with all that they took: imports, hooks and tests. */
export default class SlowestFiles implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    if (modules.length < least) return
    const rows = modules
      .map((module) => {
        const { collectDuration, duration } = module.diagnostic()
        return { name: relative(process.cwd(), module.moduleId), millis: collectDuration + duration }
      })
      .sort((a, b) => b.millis - a.millis)
      .slice(0, shown)
    console.log(
      `\nThe ${shown} slowest files:\n${rows.map(({ millis, name }) => `${seconds(millis)}  ${name}`).join("\n")}`
    )
  }
}
