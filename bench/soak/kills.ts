/** Kills the command repeatedly, like `kill -9`, and checks losses and repeats. */
import { between } from "./chance.ts"
import { type Claim, claim, type Settings, whole } from "./claim.ts"
import * as Job from "./job.ts"

/** Size, and number of kills. */
export interface Extent {
  readonly items: number
  readonly concurrency: number
  readonly kills: number
}

const failures = 0.1

/**
 * Every fifth kill is timed to hit the start of a run, which reads the input and the journal; the others are spread
 * over the job.
 */
const isEarly = (kill: number): boolean => kill % 5 === 2

/** Runs, kills, and resumes, and finally lets it end. */
export const kills = async (
  { concurrency, items, kills }: Extent,
  { bin, seed, tell }: Settings
): Promise<ReadonlyArray<Claim>> => {
  const draw = between(seed, "kills")
  const upstream = await Job.startUpstream({ items, seed, failures, delay: [3, 15], events: true })
  try {
    return await Job.inFolder(async (folder) => {
      const job = await Job.makeJob({ folder, items, concurrency, url: upstream.url, bin })
      // In items that the upstream has answered. Some remain for the last run.
      const moments = Array.from({ length: kills }, () => draw(1, items * 0.95)).sort((a, b) => a - b)
      const unkilled: Array<number> = []
      for (const [number, moment] of moments.entries()) {
        const run = Job.start(job, { number })
        if (isEarly(number)) await Job.sleep(draw(0, 1200))
        else {
          await Job.untilAnswered(upstream, run, moment)
          await Job.sleep(draw(0, 20))
        }
        if (!(await Job.kill(run))) unkilled.push(number)
        tell(`killed run ${number} with ${await upstream.answered()} items answered`)
      }
      const last = await Job.run(job, { number: kills })
      const found = await Job.read(job)
      const counts = await upstream.counts()
      const most = Math.max(0, ...counts.repeats)
      const total = counts.repeats.reduce((sum, count) => sum + count, 0) + counts.repeatsWithin
      const named = `${kills} kills of a job of ${whole(items)} items at concurrency ${concurrency}`
      return [
        claim(
          `${named}: the last run ends with exit code 0`,
          last.code === 0 && unkilled.length === 0,
          unkilled.length === 0 ? Job.lastOf(last) : `runs ${unkilled.join(", ")} ended before their kill`
        ),
        claim(`${named}: every id is exactly once in the output`, Job.isComplete(found), Job.foundText(found)),
        claim(
          `${named}: at most ${concurrency} requests too many per kill`,
          most <= concurrency && counts.repeatsWithin === 0 && counts.repeats.length <= kills,
          `${total} in all, at most ${most} for one kill, ${counts.repeatsWithin} without one; ${whole(counts.requests)} requests, of which ${whole(counts.failures)} were made to fail`
        ),
        claim(
          `${named}: nothing is asked again before the logs were asked for it`,
          counts.blind === 0,
          `${counts.blind} were; ${counts.lookUps} looks into the logs`
        )
      ]
    })
  } finally {
    upstream.close()
  }
}
