/** Measures the cost of each guard for a call that needs none: the first target answers at once. */
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { alone, asking, perFiber } from "../chain/routes.ts"
import * as Measure from "../measure.ts"
import type { Question, Row } from "../question.ts"

const first = Provider.openai.chat("bench")
const second = Provider.groq.chat("bench")
const both = Route.fallback(first, second)

const bare = "no guard"
const together = "all together"

const limits = { requestsPerMinute: 1_000_000_000, tokensPerMinute: 1_000_000_000_000, concurrency: 1_000 } as const
const percentile = { after: { percentile: 0.95, atMost: "5 seconds" } } as const
const session = { session: "a session" }

const guarded = [
  asking(bare, both, "client"),
  asking("hedge, fixed time", Route.hedge(both, { after: "5 seconds" }), "client"),
  asking("hedge, learnt percentile", Route.hedge(both, percentile), "client"),
  asking("balance by weight", Route.balance([first, second], { by: "weight" }), "client"),
  asking("balance by latency", Route.balance([first, second], { by: "latency" }), "client"),
  asking("balance by session", Route.balance([first, second], { by: "session" }), "client", session),
  asking("circuit breaker", Route.circuitBreaker(both), "client"),
  asking("limits", Route.limits(both, limits), "client"),
  asking(
    together,
    Route.balance([first, second], { by: "latency" }).pipe(
      Route.limits(limits),
      Route.circuitBreaker(),
      Route.hedge(percentile)
    ),
    "client"
  )
]

export const question: Question = {
  name: "guards",
  title: "CPU per call of each guard, when nothing goes wrong",
  ask: async ({ quick }) => {
    const settings: Measure.Settings = { rounds: quick ? 3 : 15, turn: quick ? 20 : 100, inFlight: 1 }
    const samples = await Measure.alternate([alone, ...guarded], settings)
    const of = (name: string): ReadonlyArray<number> =>
      (samples.get(name) ?? []).map((sample) => Measure.cpuPerCall(sample) / perFiber)
    const added = (name: string): Measure.Spread => {
      const base = of(bare)
      return Measure.spread(of(name).map((cpu, round) => cpu - (base[round] ?? Number.NaN)))
    }
    const rows = [alone, ...guarded].map(
      ({ name }): Row => ({
        contender: name,
        ours: name !== alone.name,
        values: {
          cpu: Measure.spread(of(name)),
          ...(name !== alone.name && name !== bare && { added: added(name) })
        }
      })
    )
    return {
      columns: [
        { key: "added", title: "added CPU per call", unit: "µs", digits: 1, better: "lower" },
        { key: "cpu", title: "CPU per call", unit: "µs", digits: 1, better: "lower" }
      ],
      rows,
      targets: [
        {
          what: "CPU of all guards together over a route without any",
          bound: 5,
          direction: "at most",
          unit: "µs",
          digits: 1,
          measured: added(together).median
        }
      ],
      notes: [
        "Over a stub of the binding that answers at once, in one fiber, with the default budget. The route without guards runs in the same process, so its router also keeps the times and outcomes that the guards of other routes need.",
        "A session is hashed with SHA-256 by the runtime's WebCrypto, for each run, because the router stores no session; this is most of its row. *All together* balances by latency.",
        `${settings.rounds} rounds of ${settings.turn} ms each, in turns.`
      ],
      charts: ["added"]
    }
  }
}
