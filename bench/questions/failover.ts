/**
 * Measures the cost when the first target fails, and when only the third answers, compared with a call whose first
 * target answers.
 */
import { type Entry, floor, remarkOf } from "../contenders/index.ts"
import { cpuPerCall, perSecond, ratios, type Sample, spread, written } from "../measure.ts"
import {
  absence,
  type Doing,
  each,
  hasty,
  type Member,
  type Pace,
  present,
  remarks,
  takeTurns,
  usualJob,
  withCrew,
  withUpstream
} from "../pool.ts"
import type { Question, Row } from "../question.ts"

const paceOf = (quick: boolean): Pace =>
  quick
    ? { rounds: 2, turn: { inFlight: 1, millis: 20 }, warm: { inFlight: 1, millis: 0, calls: 50 } }
    : { rounds: 9, turn: { inFlight: 1, millis: 100 }, warm: { inFlight: 1, millis: 1500 } }

/**
 * Contenders with targets, and the floor, have more rounds by themselves: they are also the fastest, so that a
 * disturbance is the largest share of their time.
 */
const closeUp: Pace = { rounds: 12, turn: { inFlight: 1, millis: 200 }, warm: { inFlight: 1, millis: 0 } }

const isClose = ({ entry: { name, ours } }: Member): boolean => ours || name === "Effect ExecutionPlan over undici"

const budget = 3.3

type Kind = "single" | "second" | "third"

const wallPerCall = (sample: Sample): number => 1000 / perSecond(sample)

const takesPart = ({ checksOnly, fallback, name }: Entry): boolean =>
  checksOnly !== true && (fallback !== "no" || name === floor)

/** The floor has no fallback: it makes its single call twice, which shows the noise. */
const kinds = ({ entry }: Member): Readonly<Partial<Record<Kind, Doing>>> => ({
  single: { name: "single" },
  second: { name: "second" },
  ...(entry.name !== floor && { third: { name: "third" } })
})

export const question: Question = {
  name: "failover",
  title: "Cost of a fallback",
  ask: (settings) =>
    withUpstream(async (upstream) => {
      const here = present(settings)
      // With waits, the clock would be measured.
      const job = { ...usualJob, url: upstream.url("ok", "ok", "ok"), targets: 3, attempts: 1 }
      const [crew, left] = hasty(here.filter(takesPart), settings)
      return withCrew(crew, job, async (members) => {
        await each(members, async (member) => {
          const first = member.entry.name === floor ? "ok" : "dead"
          await member.begin(job, "single")
          await member.begin({ ...job, url: upstream.url(first, "ok", "ok") }, "second")
          await member.begin({ ...job, url: upstream.url(first, "dead", "ok") }, "third")
        })
        const taken = await takeTurns<Kind>(members, paceOf(settings.quick), kinds)
        const close = settings.quick ? undefined : await takeTurns<Kind>(members.filter(isClose), closeUp, kinds)
        const of = (member: Member, kind: Kind): ReadonlyArray<Sample> => [
          ...taken.of(member, kind),
          ...(close?.of(member, kind) ?? [])
        ]
        const against = (member: Member, kind: Kind, value: (sample: Sample) => number) =>
          ratios(of(member, kind), of(member, "single"), value)
        const noise = members.find(({ entry }) => entry.name === floor)
        const rows = members
          .filter((member) => member !== noise)
          .map((member): Row => {
            const failure = taken.failure(member) ?? close?.failure(member)
            return {
              contender: member.entry.name,
              ours: member.entry.ours,
              values:
                failure !== undefined
                  ? {}
                  : {
                      single: spread(of(member, "single").map(cpuPerCall)),
                      second: against(member, "second", cpuPerCall),
                      third: against(member, "third", cpuPerCall),
                      thirdCpu: spread(of(member, "third").map(cpuPerCall)),
                      secondWall: against(member, "second", wallPerCall),
                      thirdWall: against(member, "third", wallPerCall)
                    },
              ...remarks(remarkOf(member.entry), failure)
            }
          })
        return {
          columns: [
            { key: "third", title: "third answers, CPU", unit: "× a single call", digits: 2, better: "lower" },
            { key: "second", title: "second answers, CPU", unit: "× a single call", digits: 2, better: "lower" },
            { key: "thirdWall", title: "third answers, time", unit: "× a single call", digits: 2, better: "lower" },
            { key: "secondWall", title: "second answers, time", unit: "× a single call", digits: 2, better: "lower" },
            { key: "thirdCpu", title: "third answers, CPU", unit: "µs", digits: 0, better: "lower" },
            { key: "single", title: "a single call, CPU", unit: "µs", digits: 0, better: "lower" }
          ],
          rows,
          targets: rows
            .filter(({ ours }) => ours)
            .map(({ contender, values }) => ({
              what: `CPU when the third target answers, ${contender}`,
              bound: budget,
              direction: "at most",
              unit: "× a single call",
              digits: 2,
              measured: values["third"]?.median ?? Number.NaN
            })),
          notes: [
            "Three targets, one attempt each; those that fail answer 503 at once. One call at a time, each contender against its own call whose first target answers, in the same process. Ours, and the floor of Effect over undici, have more and longer turns.",
            "ai-gateway-provider lets the gateway fall back, which is part of the upstream here and not in its figures. ai-fallback is set to begin each call with its first target. Ours makes its warning about a recovered failure, but does not print it.",
            ...(noise === undefined
              ? []
              : [
                  `Noise: a single raw fetch against itself is ${written(against(noise, "second", cpuPerCall))} in CPU and ${written(against(noise, "second", wallPerCall))} in time.`
                ]),
            ...left,
            ...absence(here)
          ],
          charts: ["third"]
        }
      })
    })
}
