/** Measures whether a call pays for unused targets and combinators: the first target answers, and the route grows. */
import { alone, asking, chainOf, nested, perFiber } from "../chain/routes.ts"
import * as Measure from "../measure.ts"
import type { Question, Row } from "../question.ts"

const lengths = [1, 2, 5, 10, 20, 50]

const depths = [1, 2, 5, 10, 20, 50]

const longest = 50

export const question: Question = {
  name: "chain",
  title: "CPU per call by length of the chain and by depth of the route",
  ask: async ({ quick }) => {
    const settings: Measure.Settings = { rounds: quick ? 3 : 15, turn: quick ? 20 : 100, inFlight: 1 }
    const chainName = (length: number): string => `${length} ${length === 1 ? "target" : "targets"}`
    const depthName = (depth: number): string => `2 targets, ${depth} ${depth === 1 ? "combinator" : "combinators"}`
    const client = [
      ...lengths.map((length) => asking(chainName(length), chainOf(length), "client")),
      ...depths.map((depth) => asking(depthName(depth), nested(depth), "client"))
    ]
    const byGateway = lengths.map((length) => asking(`${chainName(length)}, auto`, chainOf(length), "auto"))
    const samples = await Measure.alternate([alone, ...client, ...byGateway], settings)
    const of = (name: string): ReadonlyArray<Measure.Sample> => samples.get(name) ?? []
    const cpu = (sample: Measure.Sample): number => Measure.cpuPerCall(sample) / perFiber
    const against = (name: string, base: string): Measure.Spread =>
      Measure.ratios(of(name), of(base), Measure.cpuPerCall)
    const auto = (name: string): Row["values"] => ({ auto: Measure.spread(of(`${name}, auto`).map(cpu)) })
    const stub = Measure.spread(of(alone.name).map(cpu))
    const rows: ReadonlyArray<Row> = [
      { contender: alone.name, ours: false, values: { cpu: stub } },
      ...lengths.map((length) => ({
        contender: chainName(length),
        ours: true,
        values: {
          cpu: Measure.spread(of(chainName(length)).map(cpu)),
          ratio: against(chainName(length), chainName(1)),
          ...auto(chainName(length))
        }
      })),
      ...depths.map((depth) => ({
        contender: depthName(depth),
        ours: true,
        values: {
          cpu: Measure.spread(of(depthName(depth)).map(cpu)),
          ratio: against(depthName(depth), depthName(1))
        }
      }))
    ]
    const target = (what: string, name: string, base: string) => ({
      what,
      bound: 1.2,
      direction: "at most" as const,
      unit: "×",
      digits: 2,
      measured: against(name, base).median
    })
    return {
      columns: [
        { key: "cpu", title: "CPU per call, client", unit: "µs", digits: 1, better: "lower", floor: stub.median },
        { key: "ratio", title: "against the shortest", unit: "×", digits: 2, better: "lower" },
        { key: "auto", title: "CPU per call, auto", unit: "µs", digits: 1, better: "lower" }
      ],
      rows,
      targets: [
        target(`a chain of ${longest} targets against one of 1, the first answers`, chainName(longest), chainName(1)),
        target(`${longest} combinators against 1 around the same targets`, depthName(longest), depthName(1))
      ],
      notes: [
        "Over a stub of the binding that answers at once, in one fiber. *Client*: this process makes the attempts, one request each. *Auto*: a route that the gateway can execute is one request with a leg for each target, so the request grows with the chain, and the call with it.",
        `${settings.rounds} rounds of ${settings.turn} ms each, in turns.`
      ],
      charts: ["cpu", "auto"]
    }
  }
}
