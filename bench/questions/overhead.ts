/**
 * Measures the cost of policies alone: each contender's call over a transport with a prepared answer, minus the same
 * call without policies.
 */
import { type Entry, floor, remarkOf } from "../contenders/index.ts"
import { cpuPerCall, type Sample, type Spread, spread } from "../measure.ts"
import {
  absence,
  type Doing,
  hasty,
  type Member,
  type Pace,
  present,
  remarks,
  takeTurns,
  usualJob,
  withCrew
} from "../pool.ts"
import type { Question, Row, Target } from "../question.ts"

const paceOf = (quick: boolean): Pace =>
  quick
    ? { rounds: 3, turn: { inFlight: 1, millis: 25 }, warm: { inFlight: 1, millis: 100 } }
    : { rounds: 7, turn: { inFlight: 1, millis: 100 }, warm: { inFlight: 1, millis: 1000 } }

const budget = 10

const difference = (a: ReadonlyArray<Sample>, b: ReadonlyArray<Sample>): Spread =>
  spread(a.map((sample, round) => cpuPerCall(sample) - (b[round] === undefined ? Number.NaN : cpuPerCall(b[round]))))

/** Over a stub they are all the same, and so are some of the others. */
const takesPart = ({ checksOnly, name, network }: Entry): boolean =>
  checksOnly !== true &&
  network !== true &&
  !["raw fetch again", "raw undici.request", "Effect, one request", "Effect ExecutionPlan over undici"].includes(name)

/** Contenders with fibers can make many calls in one. */
const hasFibers = ({ name, ours }: Entry): boolean => ours || name.startsWith("Effect")

const everyAbility = ({ fallback, timeout }: Entry): boolean => fallback === "itself" && timeout === "itself"

const titleOf = ({ name, ours }: Entry): string =>
  name === floor ? "nothing, against itself" : ours ? "ours over a stub of the binding" : name

type Kind = "ask" | "bare" | "askMany" | "bareMany"

const kinds = ({ entry }: Member): Readonly<Partial<Record<Kind, Doing>>> => ({
  ask: { what: "ask" },
  bare: { what: "bare" },
  ...(hasFibers(entry) && { askMany: { what: "askMany" } as const, bareMany: { what: "bareMany" } as const })
})

const targetsOf = (all: ReadonlyArray<readonly [Entry, Row]>): ReadonlyArray<Target> => {
  const added = ({ values }: Row): number => values["added"]?.median ?? Number.POSITIVE_INFINITY
  const own = all.find(([entry]) => entry.ours)?.[1]
  if (own === undefined) return []
  const common = { direction: "at most", unit: "µs", digits: 1 } as const
  const [cheapest] = all
    .filter(([entry]) => !entry.ours && everyAbility(entry))
    .toSorted(([, a], [, b]) => added(a) - added(b))
  return [
    {
      what: "CPU over the same call without a router, one after the other in one fiber",
      bound: budget,
      measured: own.values["addedInFiber"]?.median ?? Number.NaN,
      ...common
    },
    {
      what: "CPU over the same call without a router, runPromise for each",
      bound: budget,
      measured: added(own),
      ...common
    },
    ...(cheapest === undefined
      ? []
      : [
          {
            what: `the same, below the cheapest peer with fallback and time limit (${cheapest[0].name})`,
            bound: added(cheapest[1]),
            measured: added(own),
            ...common
          }
        ])
  ]
}

export const question: Question = {
  name: "overhead",
  title: "Cost of policies without a network",
  ask: async (settings) => {
    const here = present(settings)
    const [crew, left] = hasty(here.filter(takesPart), settings)
    const all = await withCrew(crew, { ...usualJob, stub: true }, async (members) => {
      const taken = await takeTurns<Kind>(members, paceOf(settings.quick), kinds)
      return members.map((member): readonly [Entry, Row] => {
        const { entry } = member
        const of = (kind: Kind) => taken.of(member, kind)
        const said = entry.name === floor || entry.ours ? undefined : remarkOf(entry)
        const failure = taken.failure(member)
        return [
          entry,
          {
            contender: titleOf(entry),
            ours: entry.ours,
            values:
              failure !== undefined
                ? {}
                : {
                    cpu: spread(of("ask").map(cpuPerCall)),
                    bare: spread(of("bare").map(cpuPerCall)),
                    added: difference(of("ask"), of("bare")),
                    ...(hasFibers(entry) && { addedInFiber: difference(of("askMany"), of("bareMany")) })
                  },
            ...remarks(said, failure)
          }
        ]
      })
    })
    return {
      columns: [
        { key: "added", title: "added CPU per call", unit: "µs", digits: 1, better: "lower" },
        { key: "addedInFiber", title: "added, in one fiber", unit: "µs", digits: 1, better: "lower" },
        { key: "cpu", title: "CPU per call", unit: "µs", digits: 1, better: "lower" },
        { key: "bare", title: "the same without policies", unit: "µs", digits: 1, better: "lower" }
      ],
      rows: all.map(([, row]) => row),
      targets: targetsOf(all),
      notes: [
        "No network: the first target answers at once. Policy libraries and Effect wrap an async function that returns the text; a library with a client of its own gets a stub of its transport, which returns a body of 1 kB.",
        "Added is the call with one fallback, three attempts with back-off and a limit of 5 seconds, less the same call over the same stub without them, in turns in one process. Ours also collects its log trail; the call without a router is GatewayService.run and the reading of the body.",
        "Every call is a promise of its own; in one fiber means that calls follow each other inside one Effect. No tracer is installed.",
        ...left,
        ...absence(here)
      ],
      charts: ["added"]
    }
  }
}
