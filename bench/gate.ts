/** Checks correctness before speed: the requirements for a contender's figures to count. */

import { streamed } from "./chatServer.ts"
import { nameOf } from "./contender.ts"
import { type Entry, remarkOf } from "./contenders/index.ts"
import type { Outcome, Streamed } from "./contenders/process.ts"
import type { Checked, GateReport, GateRow } from "./gateReport.ts"
import { absence, brief, each, hasty, present, startContender, type Upstream, usualJob, withUpstream } from "./pool.ts"
import type { Settings } from "./question.ts"

const whole = [nameOf(0), ...Array.from({ length: streamed }, (_, index) => index)].join(" ")

const ofCalls = (check: string, { failed, failure, right, swapped }: Outcome): Checked => {
  const all = right + swapped + failed
  if (right === all) return { check, passed: true }
  const parts = [
    ...(swapped > 0 ? [`gave ${swapped} of ${all} callers another one's answer`] : []),
    ...(failed > 0 ? [`failed ${failed} of ${all} calls${failure === undefined ? "" : ` (${brief(failure)})`}`] : [])
  ]
  return { check, passed: false, did: parts.join(", ") }
}

/** A stream must deliver the complete answer, or its beginning and a failure. */
const ofStream = (check: string, { failure, text }: Streamed): Checked => {
  if (text === whole && failure === undefined) return { check, passed: true }
  const beginning = whole.startsWith(text)
  if (failure !== undefined && beginning) return { check, passed: true }
  const what = beginning
    ? `${text.length} of ${whole.length} characters`
    : `"${text.slice(0, 20)}…", pieces of two answers`
  return { check, passed: false, did: failure === undefined ? `ended as if complete with ${what}` : `gave ${what}` }
}

const checksOf = async (entry: Entry, upstream: Upstream, quick: boolean): Promise<ReadonlyArray<Checked>> => {
  const job = { ...usualJob, url: upstream.url("mixed", "mixed", "mixed") }
  const member = await startContender(entry, job)
  try {
    const checks = [ofCalls("64 in flight, each its own answer", await member.calls(64 * (quick ? 1 : 10), 64))]
    if (entry.fallback !== "no") {
      // The check concerns whether the backup serves, not the wait for the primary.
      const attempts = entry.ownWaits === true ? 1 : job.attempts
      await member.begin({ ...job, url: upstream.url("dead", "ok"), attempts, delay: 2 })
      for (const inFlight of [2, 16]) {
        const check = `a healthy backup under a dead primary, ${inFlight} in flight`
        checks.push(ofCalls(check, await member.calls(inFlight * (quick ? 3 : 10), inFlight)))
      }
    }
    if (entry.streams) {
      for (const [mode, check] of [
        ["cut", "a stream whose connection breaks"],
        ["short", "a stream that ends early"]
      ] as const) {
        await member.begin({ ...job, url: upstream.url(mode, "ok"), attempts: 1 })
        checks.push(ofStream(check, await member.stream()))
      }
    }
    return checks
  } finally {
    member.close()
  }
}

const checked = async (entry: Entry, upstream: Upstream, quick: boolean): Promise<GateRow> => {
  const { name: contender, ours } = entry
  try {
    return { contender, ours, checks: await checksOf(entry, upstream, quick) }
  } catch (error) {
    return { contender, ours, checks: [{ check: "takes part", passed: false, did: brief(error) }] }
  }
}

/** Checks all contenders that are present. */
export const gate = (settings: Settings): Promise<GateReport> =>
  withUpstream(async (upstream) => {
    const here = present(settings)
    const [crew, left] = hasty(here, settings)
    const rows = await each(crew, (entry) => checked(entry, upstream, settings.quick))
    return {
      rows,
      notes: [
        "One object per contender, shared by all callers. Answers arrive after 0 to 4 ms, in another order than their requests, and each names its prompt.",
        "A contender calls a dead primary three times with short waits, or once if its waits cannot be set; the backup is always healthy.",
        "A stream passes if its consumer gets the complete answer of one target, or its beginning and a failure. A dash marks a contender that has no fallback, or leaves decoding to the caller.",
        ...crew.flatMap((entry) => {
          const remark = remarkOf(entry)
          return remark === undefined ? [] : [`${entry.name}: ${remark}.`]
        }),
        ...left,
        ...absence(here)
      ]
    }
  })
