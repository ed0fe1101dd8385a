/** Fills the disk under a job, makes room, and resumes. */
import { execFile, execFileSync } from "node:child_process"
import { mkdir, readdir } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import { between } from "./chance.ts"
import { type Claim, claim, type Settings, whole } from "./claim.ts"
import * as Job from "./job.ts"

const command = promisify(execFile)

/** Size of the job. */
export interface Extent {
  readonly items: number
  readonly concurrency: number
}

/** Runs it until it succeeds, and checks the failed ends. `makeRoom` is called after each failure. */
export const untilRoom = async (
  job: Job.Job,
  upstream: Job.Upstream,
  {
    atMost,
    clear,
    makeRoom,
    named,
    optionsOf
  }: {
    readonly named: string
    /** Runs without a good end. */
    readonly atMost: number
    /** Required words of the message. */
    readonly clear: RegExp
    readonly makeRoom: (failures: number) => Promise<void>
    readonly optionsOf: (number: number) => Pick<Job.RunOptions, "fileBlocks">
  },
  { tell }: Settings
): Promise<ReadonlyArray<Claim>> => {
  const ends: Array<string> = []
  let unclear = 0
  let ended = await Job.run(job, { number: 0, ...optionsOf(0) })
  while (ended.code !== 0 && ends.length < atMost) {
    tell(Job.lastOf(ended))
    ends.push(`${ended.code}`)
    if (ended.code !== 1 || !clear.test(ended.err)) unclear++
    await makeRoom(ends.length)
    ended = await Job.run(job, { number: ends.length, ...optionsOf(ends.length) })
  }
  const found = await Job.read(job)
  const counts = await upstream.counts()
  const most = Math.max(0, ...counts.repeats)
  const left = (await readdir(job.journal)).filter((name) => !/^\d{6}\.jsonl$/.test(name))
  return [
    claim(
      `${named}: ends with exit code 1 and says why`,
      ends.length > 0 && unclear === 0,
      `exit codes ${ends.join(", ")}; ${unclear} without a clear message`
    ),
    claim(`${named}: the same command ends well when there is room`, ended.code === 0, Job.lastOf(ended)),
    claim(`${named}: every id is exactly once in the output`, Job.isComplete(found), Job.foundText(found)),
    claim(
      `${named}: at most ${job.concurrency} requests too many each time`,
      most <= job.concurrency && counts.repeatsWithin === 0,
      `at most ${most} for one run, ${counts.repeatsWithin} within one`
    ),
    claim(`${named}: nothing else is left in the journal's folder`, left.length === 0, `${left.length} other files`)
  ]
}

const kilobytes = 1024

/** Uses a small file system in memory, which requires a mount. */
export const disk = async ({ concurrency, items }: Extent, settings: Settings): Promise<ReadonlyArray<Claim>> => {
  const named = `a full disk under a job of ${whole(items)} items`
  const { bin } = settings
  const draw = between(settings.seed, "disk")
  const upstream = await Job.startUpstream({ items, seed: settings.seed, failures: 0.1, delay: [3, 15] })
  try {
    return await Job.inFolder(async (folder) => {
      const results = join(folder, "small")
      await mkdir(results)
      let room = draw(300, 1200)
      try {
        await command("mount", ["-t", "tmpfs", "-o", `size=${room * kilobytes}`, "soak", results])
      } catch {
        return [{ what: named, holds: "skipped", figures: "needs root to mount a tmpfs" }]
      }
      // Also when the soak is interrupted; lazily, as the command may still run, and before the folder is removed.
      const unmount = (): void => void execFileSync("umount", ["-l", results])
      process.prependOnceListener("exit", unmount)
      try {
        const job = await Job.makeJob({ folder, items, concurrency, results, url: upstream.url, bin })
        return await untilRoom(
          job,
          upstream,
          {
            named,
            atMost: 6,
            clear: /disk is full/,
            optionsOf: () => ({}),
            // The second time it is still full.
            makeRoom: async (failures) => {
              if (failures === 1) return
              room = failures >= 5 ? 1024 * 1024 : room + draw(100, 1200)
              await command("mount", ["-o", `remount,size=${room * kilobytes}`, results])
            }
          },
          settings
        )
      } finally {
        process.off("exit", unmount)
        unmount()
      }
    })
  } finally {
    upstream.close()
  }
}
