/**
 * Checks a job's limits per minute by the upstream's own counts: in every window of 60 seconds, not in minutes of the
 * clock.
 */
import { type Claim, claim, type Settings, whole } from "./claim.ts"
import * as Job from "./job.ts"

/** Duration. */
export interface Extent {
  /** From the first request to the last; full windows need more than 60. */
  readonly seconds: number
}

interface Limited {
  readonly what: string
  readonly rpm: number
  readonly tpm: number
  /** The limit that constrains the job, which it has to use well. */
  readonly bound: "rpm" | "tpm"
  /** Seconds until it is killed and restarted. */
  readonly killed?: number
}

const jobs: ReadonlyArray<Limited> = [
  { what: "held back by --rpm", rpm: 900, tpm: 10_000_000, bound: "rpm" },
  { what: "held back by --tpm", rpm: 100_000, tpm: 90_000, bound: "tpm" },
  { what: "killed and begun again", rpm: 900, tpm: 10_000_000, bound: "rpm", killed: 35 }
]

/** Maximum tokens of an item; answers use fewer. */
const maxTokens = 200

/** Minimum share of its limit in a full window. */
const used = 0.9

const limited = async (
  { bound, killed, rpm, tpm, what }: Limited,
  seconds: number,
  { bin, seed, tell }: Settings
): Promise<ReadonlyArray<Claim>> => {
  // More than it can do.
  const items = Math.ceil((Math.min(rpm, tpm / 60) * seconds * 2) / 60)
  const upstream = await Job.startUpstream({
    items,
    seed,
    failures: 0.1,
    delay: [5, 800],
    tokens: [60, 190],
    clocked: true
  })
  try {
    return await Job.inFolder(async (folder) => {
      const options = { folder, items, concurrency: 64, url: upstream.url, bin }
      const job = await Job.makeJob(options, () => ({ maxTokens }))
      const flags = ["--rpm", `${rpm}`, "--tpm", `${tpm}`]
      let run = Job.start(job, { number: 0, flags })
      await Job.untilAnswered(upstream, run, 1)
      for (let second = 0; second < seconds && !run.hasEnded(); second++) {
        if (second === killed) {
          await Job.kill(run)
          run = Job.start(job, { number: 1, flags })
        }
        await Job.sleep(1000)
      }
      const early = run.hasEnded()
      await Job.kill(run)
      const { failures, requests, windows } = await upstream.counts()
      if (windows === undefined) throw new Error("the upstream has no clock")
      const tokens = Math.max(windows.tokensByArrival, windows.tokensByAnswer)
      tell(`${what}: ${JSON.stringify(windows)}`)
      const share = bound === "rpm" ? windows.requests / rpm : tokens / tpm
      const named = `${whole(windows.span)} seconds of a job with --rpm ${rpm} --tpm ${tpm}, ${what}`
      // A resumed run begins a minute after the previous one, and then needs nearly a minute to fill.
      const hasTime = killed === undefined || seconds >= killed + 115
      return [
        claim(
          `${named}: no window of 60 seconds has more`,
          windows.requests <= rpm && tokens <= tpm && !early,
          early
            ? `it ended early: ${Job.lastOf(await run.ended)}`
            : `at most ${whole(windows.requests)} requests and ${whole(tokens)} tokens; ${whole(requests)} requests in all, of which ${whole(failures)} were made to fail`
        ),
        ...(hasTime
          ? [
              claim(
                `${named}: it uses at least ${whole(used * 100)} % of what it may`,
                share >= used,
                `${whole(share * 100)} % of --${bound} in the fullest window`
              )
            ]
          : [])
      ]
    })
  } finally {
    upstream.close()
  }
}

/** Runs each job for the given time, in parallel. */
export const limits = async ({ seconds }: Extent, settings: Settings): Promise<ReadonlyArray<Claim>> =>
  (await Promise.all(jobs.map((job) => limited(job, seconds, settings)))).flat()
