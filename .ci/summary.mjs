// Prints `N passed, N failed` (and `, N skipped`) from a vitest JSON report; exits 1 unless tests ran and none failed.
// Plain JavaScript, because it also has to say so when the install failed and no current Node is there.
import { readFileSync } from "node:fs"

const read = (path) => {
  try {
    return JSON.parse(readFileSync(path, "utf8"))
  } catch (error) {
    console.error(`no test report: ${error.message}`)
    return undefined
  }
}

const report = read(process.argv[2])
const files = report?.testResults ?? []
const tests = files.flatMap((file) => file.assertionResults)
const count = (...statuses) => tests.filter((test) => statuses.includes(test.status)).length
// A file that broke before its first test has no test that could fail: it counts as one failure.
const broken = files.filter(
  (file) => file.status === "failed" && !file.assertionResults.some((t) => t.status === "failed")
)
for (const file of broken) console.error(`broken file: ${file.name}`)

const passed = count("passed")
const failed = count("failed") + broken.length
const skipped = tests.length - count("passed", "failed")

console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
process.exitCode = passed > 0 && failed === 0 && report?.success === true ? 0 : 1
