/**
 * Runs the same job on several workers, over its own PostgreSQL: kills workers, adds others, and checks losses and
 * repeats.
 */
import * as Effect from "effect/Effect"
import { missing, start as startPostgres } from "../../test/cluster/postgres.ts"
import { between } from "./chance.ts"
import { type Claim, claim, type Settings, whole } from "./claim.ts"
import * as Job from "./job.ts"

/** Size, number of workers, and how often one of them is killed and replaced. */
export interface Extent {
  readonly items: number
  readonly concurrency: number
  readonly workers: number
  readonly kills: number
}

const failures = 0.1

const soak = async (
  { concurrency, items, kills, workers }: Extent,
  { bin, seed, tell }: Settings,
  databaseUrl: string
): Promise<ReadonlyArray<Claim>> => {
  const draw = between(seed, "cluster")
  const upstream = await Job.startUpstream({ items, seed, failures, delay: [3, 15], events: true })
  try {
    return await Job.inFolder(async (folder) => {
      const job = await Job.makeJob({ folder, items, concurrency, url: upstream.url, bin })
      const command = (...args: ReadonlyArray<string>): Job.Run =>
        Job.startCommand(job, ["cluster", ...args, "--job", "soak"], { env: { DATABASE_URL: databaseUrl } })
      const submitted = await command("submit", job.input, "--route", job.route).ended
      if (submitted.code !== 0) throw new Error(`submit: ${Job.lastOf(submitted)}`)
      const startedAt = performance.now()
      const work = (number: number): Job.Run =>
        command(
          ...["worker", "--route", job.route, "--concurrency", String(concurrency), "--lease", "5"],
          ...Job.placesOf(job, number)
        )
      const live = new Map(Array.from({ length: workers }, (_, number) => [number, work(number)] as const))
      const killed = new Set<number>()
      const unkilled: Array<number> = []
      const moments = Array.from({ length: kills }, () => draw(1, items * 0.9)).sort((a, b) => a - b)
      for (const [nth, moment] of moments.entries()) {
        const [number, run] = [...live][draw(0, live.size - 1)] ?? [0, undefined]
        if (run === undefined) break
        await Job.untilAnswered(upstream, run, moment)
        await Job.sleep(draw(0, 20))
        if (!(await Job.kill(run))) unkilled.push(number)
        live.delete(number)
        killed.add(number)
        live.set(workers + nth, work(workers + nth))
        tell(`killed worker ${number} with ${await upstream.answered()} items answered`)
      }
      const ended = await Promise.all([...live.values()].map(({ ended }) => ended))
      const seconds = (performance.now() - startedAt) / 1000
      const collected = await command("collect", job.output).ended
      const found = await Job.read(job)
      const { blind, lookUps, repeats, repeatsWithin, requests } = await upstream.counts()
      const most = Math.max(0, ...repeats)
      const total = repeats.reduce((sum, count) => sum + count, 0)
      const innocent = repeats.filter((count, number) => count > 0 && !killed.has(number)).length
      const named = `${whole(items)} items on ${workers} workers at concurrency ${concurrency}, ${kills} of them killed`
      return [
        claim(
          `${named}: all that were left and what collects them end with exit code 0`,
          unkilled.length === 0 && [...ended, collected].every(({ code }) => code === 0),
          `${[...ended, collected].map(({ code }) => code).join(", ")}; ${whole(items / seconds)} items per second`
        ),
        claim(`${named}: every id is exactly once in what is collected`, Job.isComplete(found), Job.foundText(found)),
        claim(
          `${named}: at most ${concurrency} requests too many per kill`,
          most <= concurrency && repeatsWithin === 0 && innocent === 0,
          `${total} in all, at most ${most} for one kill, ${repeatsWithin + innocent} without one; ${whole(requests)} requests`
        ),
        claim(
          `${named}: nothing is asked again before the logs were asked for it`,
          blind === 0,
          `${blind} were; ${lookUps} looks into the logs`
        )
      ]
    })
  } finally {
    upstream.close()
  }
}

/** Runs where PostgreSQL is available. */
export const cluster = async (extent: Extent, settings: Settings): Promise<ReadonlyArray<Claim>> =>
  missing === undefined
    ? Effect.runPromise(
        Effect.scoped(Effect.flatMap(startPostgres, (url) => Effect.promise(() => soak(extent, settings, url))))
      )
    : [{ what: "workers of a cluster", holds: "skipped", figures: missing }]
