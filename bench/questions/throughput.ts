/** Measures the number of calls per process, and their CPU time, at one, 64 and 1,024 in flight. */
import { type Entry, floor, remarkOf } from "../contenders/index.ts"
import { cpuPerCall, perSecond, ratios, type Sample, type Spread, spread } from "../measure.ts"
import {
  absence,
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
import type { Column, Question, Row, Settings, Target } from "../question.ts"

const levels = [1, 64, 1024] as const

type Level = (typeof levels)[number]

/** Each call in flight needs several others after it; otherwise a turn is only its beginning and its end. */
const millisOf: Readonly<Record<Level, number>> = { 1: 100, 64: 300, 1024: 1500 }

/** A slow contender may exceed its turn: each call in flight is made at least once. */
const paceOf = (inFlight: Level, quick: boolean): Pace => ({
  rounds: quick ? 2 : inFlight === 64 ? 5 : 3,
  turn: { inFlight, millis: quick ? (inFlight === 64 ? 40 : 20) : millisOf[inFlight] },
  // An engine needs some seconds to optimize this much code. After the level before, only new connections remain to be
  // made.
  warm: quick
    ? { inFlight, millis: 0, calls: inFlight === 1 ? 100 : 0 }
    : { inFlight, millis: inFlight === 64 ? 2500 : 0, calls: 1000 }
})

/** Contenders with targets have more rounds by themselves, so that no connections close between their turns. */
const closeUps: ReadonlyArray<{
  readonly level: Level
  readonly rounds: number
  readonly names: ReadonlyArray<string>
}> = [
  {
    level: 64,
    rounds: 12,
    names: [floor, "raw fetch again", "raw undici.request", "hand-written loop", "Effect, one request"]
  },
  {
    level: 1024,
    rounds: 6,
    names: [floor, "hand-written loop", "Effect, one request", "ours over fetch"]
  }
]

type Kind = "ask" | "bare"

interface Measured {
  readonly member: Member
  /** By level: samples of the call, and of the same without policies. */
  readonly samples: ReadonlyMap<Level, Readonly<Record<Kind, ReadonlyArray<Sample>>>>
  readonly failures: ReadonlyArray<string>
}

/** A thousand calls of every contender exceed the available ports, and the time of a quick run. */
const takesPart = ({ name, ours }: Entry, level: Level, quick: boolean): boolean =>
  level !== 1024 ||
  (!quick &&
    (ours ||
      [floor, "raw undici.request", "hand-written loop", "Effect, one request", "Effect ExecutionPlan"].includes(name)))

/** The added cost is measured once, where it is steadiest. */
const hasFloor = ({ ours }: Entry, level: Level): boolean => level === 64 && ours

const measure = async (members: ReadonlyArray<Member>, { quick }: Settings): Promise<ReadonlyArray<Measured>> => {
  const all = members.map((member) => ({
    member,
    samples: new Map<Level, Record<Kind, ReadonlyArray<Sample>>>(),
    failures: [] as string[]
  }))
  const turns = async (asked: ReadonlyArray<Member>, level: Level, pace: Pace): Promise<void> => {
    const taken = await takeTurns<Kind>(asked, pace, ({ entry }) => ({
      ask: { what: "ask" },
      ...(hasFloor(entry, level) && { bare: { what: "bare" } as const })
    }))
    for (const { failures, member, samples } of all) {
      if (!asked.includes(member)) continue
      const { ask = [], bare = [] } = samples.get(level) ?? {}
      samples.set(level, { ask: [...ask, ...taken.of(member, "ask")], bare: [...bare, ...taken.of(member, "bare")] })
      const failure = taken.failure(member)
      if (failure !== undefined) failures.push(`${level.toLocaleString("en")} in flight: ${failure}`)
    }
  }
  for (const level of levels) {
    const pace = paceOf(level, quick)
    const asked = members.filter(({ entry }) => takesPart(entry, level, quick))
    await turns(asked, level, pace)
    const closeUp = quick ? undefined : closeUps.find((one) => one.level === level)
    if (closeUp === undefined) continue
    const { names, rounds } = closeUp
    const close = asked.filter(({ entry: { name, ours } }) => names.includes(name) || (ours && level === 64))
    await turns(close, level, { rounds, turn: pace.turn, warm: { inFlight: level, millis: 0 } })
  }
  return all
}

const difference = (a: ReadonlyArray<Sample>, b: ReadonlyArray<Sample>): Spread =>
  spread(a.map((sample, round) => cpuPerCall(sample) - (b[round] === undefined ? Number.NaN : cpuPerCall(b[round]))))

const samplesOf = ({ samples }: Measured, level: Level, kind: Kind = "ask"): ReadonlyArray<Sample> =>
  samples.get(level)?.[kind] ?? []

const rowOf = (one: Measured, against: Measured): Row => {
  const { entry } = one.member
  const values: Record<string, Spread> = {}
  for (const level of levels) {
    const own = samplesOf(one, level)
    if (own.length === 0) continue
    values[`speed${level}`] = ratios(own, samplesOf(against, level), perSecond)
    values[`calls${level}`] = spread(own.map(perSecond))
    values[`cpu${level}`] = spread(own.map(cpuPerCall))
  }
  const bare = samplesOf(one, 64, "bare")
  if (bare.length > 0) values["added"] = difference(samplesOf(one, 64), bare)
  return { contender: entry.name, ours: entry.ours, values, ...remarks(remarkOf(entry), ...one.failures) }
}

const columns: ReadonlyArray<Column> = [
  ...levels.map(
    (level): Column => ({
      key: `speed${level}`,
      title: `calls per second, ${level.toLocaleString("en")} in flight`,
      unit: `× ${floor}`,
      digits: 2,
      better: "higher"
    })
  ),
  ...levels.map(
    (level): Column => ({
      key: `cpu${level}`,
      title: `CPU per call, ${level.toLocaleString("en")} in flight`,
      unit: "µs",
      digits: 0,
      better: "lower"
    })
  ),
  {
    key: "added",
    title: "added CPU over the same transport, 64 in flight",
    unit: "µs",
    digits: 0,
    better: "lower"
  },
  {
    key: "calls64",
    title: "calls per second, 64 in flight",
    unit: "1/s",
    digits: 0,
    better: "higher"
  }
]

const targetsOf = (all: ReadonlyArray<Measured>, rows: ReadonlyArray<Row>): ReadonlyArray<Target> => {
  const find = (name: string) => all.find(({ member }) => member.entry.name === name)
  const speed = (name: string, against: string, level: Level, bound: number): ReadonlyArray<Target> => {
    const [own, other] = [find(name), find(against)]
    if (own === undefined || other === undefined || samplesOf(own, level).length === 0) return []
    return [
      {
        what: `calls per second, ${level.toLocaleString("en")} in flight, ${name} against ${against}`,
        bound,
        direction: "at least",
        unit: `× ${against}`,
        digits: 2,
        measured: ratios(samplesOf(own, level), samplesOf(other, level), perSecond).median
      }
    ]
  }
  return [
    ...speed("ours over undici", floor, 64, 1.5),
    ...speed("ours over undici", "raw undici.request", 64, 0.6),
    ...speed("ours over fetch", floor, 64, 0.85),
    ...speed("ours over fetch", floor, 1024, 0.95),
    ...rows
      .filter(({ ours }) => ours)
      .map(
        ({ contender, values }): Target => ({
          what: `added CPU over the same transport, 64 in flight, ${contender}`,
          bound: 40,
          direction: "at most",
          unit: "µs",
          digits: 0,
          measured: values["added"]?.median ?? Number.NaN
        })
      )
  ]
}

export const question: Question = {
  name: "throughput",
  title: "Throughput and CPU time",
  ask: (settings) =>
    withUpstream(async (upstream) => {
      const here = present(settings)
      const [crew, left] = hasty(
        here.filter(({ checksOnly }) => checksOnly !== true),
        settings
      )
      const job = { ...usualJob, url: upstream.url("ok", "ok") }
      const all = await withCrew(crew, job, (members) => measure(members, settings))
      const against = all.find(({ member }) => member.entry.name === floor)
      if (against === undefined) throw new Error(`${floor} did not take part`)
      const rows = all.map((one) => rowOf(one, against))
      return {
        columns,
        rows,
        targets: targetsOf(all, rows),
        notes: [
          "The first target answers. Requests and answers of 1 kB, kept-alive connections on loopback, the upstream in a process of its own. Each contender has a process too, and they take turns; every answer is checked.",
          "Ratios are taken within a round. Raw fetch again is a second process that does the same as the first: its distance from 1.00 is noise, and so is the same distance elsewhere.",
          ...(settings.quick
            ? []
            : [
                "Contenders with a target, and the floors beside them, have further rounds of their own, in which no connection closes between two turns."
              ]),
          "Added is the call less the same request over the same transport without policies, in turns in one process. CPU time is that of the contender's own process or processes, not of the upstream.",
          ...(settings.quick
            ? ["In a quick run only raw fetch and ours over fetch are asked for 1,024 in flight."]
            : []),
          ...left,
          ...absence(here)
        ],
        charts: ["speed64", "cpu64"]
      }
    })
}
