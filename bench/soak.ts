/**
 * Tests the promises of the batch command when things go wrong:
 * `node --conditions=effect-ai-gateway-source bench/soak.ts`.
 *
 * It uses the command line in separate processes, against an upstream in another one. It prints a line for each claim,
 * and exits with 1 when one does not hold.
 *
 *     --only kills,truncated,disk,limits,memory,cluster
 *                              some of it; the default is all but the last two, in under three minutes
 *     --seed 7                 other random moments; the seed is printed
 *     --million                with memory: also a million items
 *     --bin dist/cli/bin.js    the built command, instead of its source, which takes more memory
 *     --verbose                prints progress
 */
import { resolve } from "node:path"
import { parseArgs } from "node:util"
import { type Claim, lineOf, type Settings } from "./soak/claim.ts"
import { cluster } from "./soak/cluster.ts"
import { disk } from "./soak/disk.ts"
import { kills } from "./soak/kills.ts"
import { limits } from "./soak/limits.ts"
import { memory } from "./soak/memory.ts"
import { truncated } from "./soak/truncated.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    seed: { type: "string", default: "1" },
    million: { type: "boolean", default: false },
    bin: { type: "string" },
    verbose: { type: "boolean", default: false }
  }
})

const names = ["kills", "truncated", "disk", "limits", "memory", "cluster"] as const
type Name = (typeof names)[number]

const isName = (text: string): text is Name => names.some((name) => name === text)

const refuse = (message: string): never => {
  console.error(message)
  process.exit(2)
}

const only = values.only?.split(",").map((name) => (isName(name) ? name : refuse(`--only: expected some of ${names}`)))
const seed = Number(values.seed)
if (!Number.isSafeInteger(seed)) refuse("--seed: expected a whole number")

const settings: Settings = {
  seed,
  bin: values.bin === undefined ? undefined : resolve(values.bin),
  tell: (text) => {
    if (values.verbose) console.error(`  ${text}`)
  }
}

const parts: Readonly<Record<Name, () => Promise<ReadonlyArray<Claim>>>> = {
  kills: () => kills({ items: 20_000, concurrency: 32, kills: 20 }, settings),
  truncated: () => truncated({ items: 3000, concurrency: 16, rounds: 8 }, settings),
  disk: () => disk({ items: 3000, concurrency: 16 }, settings),
  limits: () => limits({ seconds: only === undefined ? 100 : 150 }, settings),
  memory: () => memory({ items: values.million ? [100_000, 1_000_000] : [100_000], concurrency: 64 }, settings),
  cluster: () => cluster({ items: 100_000, concurrency: 32, workers: 3, kills: 4 }, settings)
}

// Started processes and mounts are cleaned up at the exit.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130))

const asked = only ?? names.filter((name) => name !== "memory" && name !== "cluster")
console.log(`seed ${seed}`)
let [failed, skipped] = [0, 0]

const hold = async (name: Name): Promise<void> => {
  const claims = await parts[name]().catch(
    (error: unknown): ReadonlyArray<Claim> => [
      { what: name, holds: false, figures: error instanceof Error ? (error.stack ?? error.message) : String(error) }
    ]
  )
  for (const claim of claims) {
    if (claim.holds === false) failed++
    if (claim.holds === "skipped") skipped++
    console.log(`${name.padEnd(9)} ${lineOf(claim)}`)
  }
}

// Limits only need time, so they run in parallel with the others.
const beside = asked.includes("limits") ? hold("limits") : undefined
for (const name of asked) {
  if (name !== "limits") await hold(name)
}
await beside
console.log(
  (failed === 0 ? "everything that was checked holds" : `${failed} claims do not hold`) +
    (skipped === 0 ? "" : `; ${skipped} skipped`)
)
process.exitCode = failed === 0 ? 0 : 1
