/**
 * The command line as a contender of `questions/batch.ts`: the complete program, from a file to a file, with its
 * journal.
 */
import { execFile } from "node:child_process"
import { createWriteStream, readFileSync } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as Result from "effect/Result"
import * as Route from "effect-ai-gateway/Route"
import type { Command, Report } from "./command.ts"
import type { Usage } from "./usage.ts"

const bin = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))
const usageModule = new URL("usage.ts", import.meta.url).href

/** Runs it over a number of items in its own folder, and checks its summary. */
const runOnce = async (
  { concurrency, url }: Command,
  items: number,
  folder: string,
  route: object,
  line: (i: number) => object
): Promise<Usage> => {
  await mkdir(folder)
  const [input, output, stored, used] = ["in.jsonl", "out.jsonl", "route.json", "usage.json"].map((file) =>
    join(folder, file)
  ) as [string, string, string, string]
  const lines = function* (): Generator<string> {
    for (let i = 0; i < items; i++) yield `${JSON.stringify(line(i))}\n`
  }
  await pipeline(Readable.from(lines()), createWriteStream(input))
  await writeFile(stored, JSON.stringify(route))
  const places = ["--account-id", "acct", "--gateway", "bench", "--base-url", url]
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      ...["--conditions=effect-ai-gateway-source", "--import", usageModule, bin, "batch", input, output],
      ...["--route", stored, "--concurrency", `${concurrency}`, "--json", ...places]
    ],
    { cwd: folder, env: { BENCH_USAGE: used }, maxBuffer: 64 * 1024 * 1024 }
  )
  const { state, succeeded }: { readonly state: string; readonly succeeded: number } = JSON.parse(stdout)
  if (state !== "complete" || succeeded !== items) throw new Error(`${succeeded} of ${items}, ${state}`)
  return JSON.parse(readFileSync(used, "utf8"))
}

/** The time of a run over all items minus that of a single one: the start of the program is not part of the batch. */
export const measureCli = async (
  command: Command,
  folder: string,
  route: Route.Route<never, unknown>,
  line: (i: number) => object
): Promise<Report> => {
  const json = Result.getOrThrowWith(Route.toJson(route), (problems) => new Error(JSON.stringify(problems)))
  const alone = await runOnce(command, 1, join(folder, "alone"), json, line)
  const { cpu, resident, span } = await runOnce(command, command.items, join(folder, "all"), json, line)
  const quarter = (index: number): number =>
    Math.max(
      ...resident.slice(Math.floor((resident.length * index) / 4), Math.ceil((resident.length * (index + 1)) / 4))
    )
  return { span, start: alone.span, cpu: cpu - alone.cpu, resident: [0, 1, 2, 3].map(quarter) }
}
