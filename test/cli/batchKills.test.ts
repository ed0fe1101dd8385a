/** A short form of `bench/soak.ts`: the command under `kill -9`, and on a full disk. */
import { rm } from "node:fs/promises"
import { assert, describe, it } from "@effect/vitest"
import { type Claim, lineOf, type Settings } from "../../bench/soak/claim.ts"
import { untilRoom } from "../../bench/soak/disk.ts"
import * as Job from "../../bench/soak/job.ts"
import { kills } from "../../bench/soak/kills.ts"

const settings: Settings = { seed: 5, tell: () => {} }

const hold = (claims: ReadonlyArray<Claim>): void => {
  assert.deepStrictEqual(claims.filter(({ holds }) => holds !== true).map(lineOf), [])
  assert.isAtLeast(claims.length, 4)
}

/** A job whose files exceed 64 kB each. */
const withJob = async (use: (job: Job.Job, upstream: Job.Upstream) => Promise<void>): Promise<void> => {
  const items = 300
  const upstream = await Job.startUpstream({ items, seed: 5, failures: 0.1, delay: [1, 5] })
  try {
    await Job.inFolder(async (folder) =>
      use(await Job.makeJob({ folder, items, concurrency: 8, url: upstream.url }), upstream)
    )
  } finally {
    upstream.close()
  }
}

const short = { atMost: 1, clear: /may not grow further.*run the same command again/, makeRoom: async () => {} }
const onceLimited = (number: number) => (number === 0 ? { fileBlocks: 128 } : {})

describe("batch that resumes", () => {
  it("after kill -9 amid flaky answers loses nothing, and repeats only requests in flight", async () => {
    hold(await kills({ items: 2000, concurrency: 16, kills: 3 }, settings))
  }, 120_000)

  // A journal is always ahead of its output: it receives an answer first, with more data.
  it("after a full disk under the journal", async () => {
    await withJob(async (job, upstream) => {
      const options = { ...short, named: "a journal of 64 kB at most", optionsOf: onceLimited }
      const ends: Array<string> = []
      hold(await untilRoom(job, upstream, options, { ...settings, tell: (text) => ends.push(text) }))
      assert.lengthOf(ends, 1)
      assert.match(ends[0] ?? "", /journal \S+: .*may not grow further/)
    })
  }, 120_000)

  // All answers are in the journal, so only the output is written.
  it("after a full disk under the output repairs a half-written block, and sends nothing again", async () => {
    await withJob(async (job, upstream) => {
      const ended = await Job.run(job, { number: 9 })
      assert.strictEqual(ended.code, 0, ended.err)
      await rm(job.output)
      const { requests } = await upstream.counts()
      const options = { ...short, named: "an output of 64 kB at most", optionsOf: onceLimited }
      const ends: Array<string> = []
      hold(await untilRoom(job, upstream, options, { ...settings, tell: (text) => ends.push(text) }))
      assert.lengthOf(ends, 1)
      assert.match(ends[0] ?? "", /out\.jsonl: .*may not grow further/)
      assert.strictEqual((await upstream.counts()).requests, requests)
    })
  }, 120_000)
})
