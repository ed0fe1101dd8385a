/**
 * Damages the journal between runs: cuts its last file at any byte, or changes bytes at its end.
 *
 * A cut removes durable results, which no crash does. The command must report that and continue. It may require
 * `--force` where the output holds results that the journal has lost, or readable entries follow the damage: then it
 * must exit without changing anything, and continue with the flag.
 */
import { readdir, readFile, truncate, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { type Between, between } from "./chance.ts"
import { type Claim, claim, type Settings, whole } from "./claim.ts"
import * as Job from "./job.ts"

type Damage = (file: string, bytes: Buffer, draw: Between) => Promise<string>

const cut: Damage = async (file, { length }, draw) => {
  const at = draw(0, Math.max(0, length - 1))
  await truncate(file, at)
  return `cut at byte ${whole(at)} of ${whole(length)}`
}

/** Among the last 300 bytes, which are part of the last lines. */
const flip: Damage = async (file, bytes, draw) => {
  const changed = Buffer.from(bytes)
  const count = draw(1, 20)
  for (let n = 0; n < count; n++) {
    const at = draw(Math.max(0, bytes.length - 300), Math.max(0, bytes.length - 1))
    changed[at] = (changed[at] ?? 0) ^ draw(1, 255)
  }
  await writeFile(file, changed)
  return `${count} of the last 300 bytes changed`
}

/** Complete lines, without the rest after the last line end. */
const linesOf = (bytes: Buffer): ReadonlyArray<string> => bytes.toString("latin1").split("\n").slice(0, -1)

/** Size, and number of damages. */
export interface Extent {
  readonly items: number
  readonly concurrency: number
  readonly rounds: number
}

/** Kills, damages, and resumes, and finally lets it end. */
export const truncated = async (
  { concurrency, items, rounds }: Extent,
  { bin, seed, tell }: Settings
): Promise<ReadonlyArray<Claim>> => {
  const draw = between(seed, "truncated")
  const upstream = await Job.startUpstream({ items, seed, failures: 0.1, delay: [3, 15], events: true })
  try {
    return await Job.inFolder(async (folder) => {
      const job = await Job.makeJob({ folder, items, concurrency, url: upstream.url, bin })
      const outputNow = (): Promise<Buffer> => readFile(job.output).catch(() => Buffer.alloc(0))
      const problems: Array<string> = []
      const damaged: Array<string> = []
      let [lost, refused, number] = [0, 0, 0]

      const damage = async (how: Damage): Promise<void> => {
        const name = (await readdir(job.journal)).findLast((name) => name.endsWith(".jsonl")) ?? ""
        const file = join(job.journal, name)
        const before = await readFile(file)
        const did = await how(file, before, draw)
        const after = await readFile(file)
        tell(`${name}: ${did}`)
        const left = new Set(linesOf(after))
        lost += linesOf(before).filter((line) => /^.{11},"done"/.test(line) && !left.has(line)).length
        // A cut between two lines is invisible.
        if ((after.length > 0 && after.at(-1) !== 10) || after.length === before.length) damaged.push(name)
      }

      /** Resumes until a number of items is answered, or to the end. */
      const goOn = async (until: number, flags: ReadonlyArray<string> = []): Promise<Job.Ended | undefined> => {
        const [output, { requests }] = [await outputNow(), await upstream.counts()]
        const run = Job.start(job, { number: number++, flags })
        await Job.untilAnswered(upstream, run, until)
        if (until < items) {
          await Job.sleep(draw(0, 20))
          if (await Job.kill(run)) return undefined
        }
        const ended = await run.ended
        if (ended.code !== 2 || flags.length > 0) return ended
        refused++
        tell(Job.lastOf(ended))
        if (!output.equals(await outputNow()) || (await upstream.counts()).requests !== requests) {
          problems.push("a refusal changed something")
        }
        if (!ended.err.includes("--force")) problems.push(`a refusal without a way out: ${Job.lastOf(ended)}`)
        return goOn(until, ["--force"])
      }

      for (let round = 1; round <= rounds; round++) {
        await goOn(Math.floor((items * 0.9 * round) / rounds))
        await damage(round % 2 === 0 ? flip : cut)
      }
      const last = await goOn(items)
      const found = await Job.read(job)
      const counts = await upstream.counts()
      const said = new Set(last?.summary?.damage.map(({ where }) => where.split(" ")[0]))
      const unsaid = damaged.filter((name) => !said.has(name))
      const repeats = counts.repeats.reduce((sum, count) => sum + count, 0) + counts.repeatsWithin
      const most = lost + rounds * concurrency
      const named = `a journal of ${whole(items)} items that was damaged ${rounds} times between runs`
      if (last?.code !== 0) problems.push(last === undefined ? "it was killed" : Job.lastOf(last))
      return [
        claim(
          `${named}: the job goes on, and ends with exit code 0`,
          problems.length === 0,
          problems.length > 0
            ? problems.join("; ")
            : `${refused} of ${number - refused} runs went on with --force only, after a refusal that changed nothing`
        ),
        claim(
          `${named}: all damage is reported`,
          unsaid.length === 0,
          `${damaged.length} files had unreadable bytes${unsaid.length === 0 ? "" : `; not a word about ${unsaid.join(", ")}`}`
        ),
        claim(`${named}: every id is exactly once in the output`, Job.isComplete(found), Job.foundText(found)),
        claim(
          `${named}: nothing is asked again but what the journal lost, and at most ${concurrency} requests per kill`,
          repeats <= most && counts.repeatsWithin === 0,
          `${repeats} repeats; ${lost} results were cut away`
        )
      ]
    })
  } finally {
    upstream.close()
  }
}
