/** What `bench/soak.ts` does at length, in short: the command under `kill -9`, and on a disk without room. */
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

describe("batch that goes on", () => {
  it("after kill -9 in the middle of flaky answers: nothing lost, nothing asked twice but what was in flight", async () => {
    hold(await kills({ items: 2000, concurrency: 16, kills: 3 }, settings))
  }, 120_000)

  it("after files that had no room to grow: half-written blocks in the journal, then in the output", async () => {
    const items = 300
    const upstream = await Job.startUpstream({ items, seed: 5, failures: 0.1, delay: [1, 5] })
    try {
      await Job.inFolder(async (folder) => {
        const job = await Job.makeJob({ folder, items, concurrency: 8, url: upstream.url })
        const ends: Array<string> = []
        // Each run's journal is a file of its own, so the first run fails by the journal's and the third by the output's.
        const limited = 3
        const options = {
          named: "files of 64 kB at most",
          atMost: limited,
          clear: /may not grow further.*run the same command again/,
          makeRoom: async () => {},
          optionsOf: (number: number) => (number < limited ? { fileBlocks: 128 } : {})
        }
        hold(await untilRoom(job, upstream, options, { ...settings, tell: (text) => ends.push(text) }))
        assert.match(ends[0] ?? "", /journal \S+: .*may not grow further/)
        assert.match(ends.at(-1) ?? "", /out\.jsonl: .*may not grow further/)
        assert.lengthOf(ends, limited)
      })
    } finally {
      upstream.close()
    }
  }, 120_000)
})
