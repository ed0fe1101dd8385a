/** Measures the cost of a route behind Effect's `LanguageModel`, next to Effect's own model for one provider. */
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as AiResponse from "effect/ai/Response"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Stream from "effect/Stream"
import { GatewayLanguageModel } from "effect-ai-gateway/ai"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Router from "effect-ai-gateway/Router"
import * as Transport from "effect-ai-gateway/Transport"
import { load } from "../ai/openaiClient.ts"
import { isAnswer, model, promptOf, stubText } from "../contender.ts"
import * as Measure from "../measure.ts"
import type { Question, Row } from "../question.ts"

/** Calls in a fiber. */
const perFiber = 50

const body = JSON.stringify({
  id: "resp_0123456789",
  object: "response",
  created_at: 1_790_000_000,
  status: "completed",
  model,
  output: [
    {
      type: "message",
      id: "msg_0123456789",
      role: "assistant",
      status: "completed",
      content: [{ type: "output_text", text: stubText, annotations: [], logprobs: [] }]
    }
  ],
  tools: [],
  usage: {
    input_tokens: 150,
    output_tokens: 150,
    total_tokens: 300,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens_details: { reasoning_tokens: 0 }
  }
})

const fetch: typeof globalThis.fetch = async () =>
  new Response(body, { headers: { "content-type": "application/json", "cf-aig-log-id": "log-0" } })

const Fetch = Layer.succeed(FetchHttpClient.Fetch, fetch)

const Gateway = Router.layer.pipe(
  Layer.provide(GatewayService.layerHttp({ accountId: "account", gateway: "bench" })),
  Layer.provide(Layer.provide(Transport.layerFetch, Fetch))
)

const route = Provider.openai.responses(model)

const parts: Array<AiResponse.PartEncoded> = [
  { type: "response-metadata", id: "resp_0123456789", modelId: model, timestamp: "2026-01-01T00:00:00.000Z" },
  { type: "text", text: stubText },
  {
    type: "finish",
    reason: "stop",
    usage: {
      inputTokens: { uncached: 150, total: 150, cacheRead: 0, cacheWrite: undefined },
      outputTokens: { total: 150, text: 150, reasoning: 0 }
    }
  }
]

/** A model with a prepared answer. */
const Constant = Layer.effect(
  LanguageModel.LanguageModel,
  LanguageModel.make({ generateText: () => Effect.succeed([...parts]), streamText: () => Stream.empty })
)

const calling = <R>(
  name: string,
  layer: Layer.Layer<R, unknown>,
  ask: Effect.Effect<{ readonly text: string }, unknown, R>
): Measure.Contender => {
  const runtime = ManagedRuntime.make(layer)
  const one = Effect.flatMap(ask, ({ text }) =>
    isAnswer(text, 0) ? Effect.void : Effect.die(new Error(`${name}: a wrong answer`))
  )
  return { name, call: () => runtime.runPromise(Effect.repeat(one, { times: perFiber - 1 })).then(() => undefined) }
}

const names = {
  stub: "stub alone",
  run: "`Router.run`",
  make: "`LanguageModel.make`, a constant answer",
  ours: "`GatewayLanguageModel`",
  theirs: "`@effect/ai-openai`, no gateway"
} as const

export const question: Question = {
  name: "ai",
  title: "CPU per call behind Effect's LanguageModel",
  ask: async ({ quick }) => {
    const { OpenAiClient, OpenAiLanguageModel } = await load()
    const generate = LanguageModel.generateText({ prompt: promptOf(0) })
    const contenders: ReadonlyArray<Measure.Contender> = [
      {
        name: names.stub,
        call: async () => {
          for (let n = 0; n < perFiber; n++) JSON.parse(await (await fetch("")).text())
        }
      },
      calling(
        names.run,
        Gateway,
        Effect.map(Router.run(route, promptOf(0)), ({ value }) => value)
      ),
      calling(names.make, Constant, generate),
      calling(names.ours, Layer.provide(GatewayLanguageModel.layer(route), Gateway), generate),
      calling(
        names.theirs,
        OpenAiLanguageModel.layer({ model }).pipe(
          Layer.provide(OpenAiClient.layer({})),
          Layer.provide(Layer.provide(FetchHttpClient.layer, Fetch))
        ),
        generate
      )
    ]
    const settings: Measure.Settings = { rounds: quick ? 3 : 15, turn: quick ? 50 : 200, inFlight: 1 }
    const samples = await Measure.alternate(contenders, settings)
    const of = (name: string): ReadonlyArray<number> =>
      (samples.get(name) ?? []).map((sample) => Measure.cpuPerCall(sample) / perFiber)
    const [run, make, ours, theirs] = [of(names.run), of(names.make), of(names.ours), of(names.theirs)]
    const over = (name: string, base: (round: number) => number): Measure.Spread =>
      Measure.spread(of(name).map((cpu, round) => cpu / base(round)))
    const sum = (round: number): number => (run[round] ?? Number.NaN) + (make[round] ?? Number.NaN)
    const ratio = over(names.ours, sum)
    const rows = contenders.map(
      ({ name }): Row => ({
        contender: name,
        ours: name === names.run || name === names.ours,
        values: {
          cpu: Measure.spread(of(name)),
          ...(name === names.ours || name === names.theirs ? { ratio: over(name, sum) } : {})
        }
      })
    )
    return {
      columns: [
        { key: "cpu", title: "CPU per call", unit: "µs", digits: 1, better: "lower" },
        {
          key: "ratio",
          title: "over `Router.run` and `LanguageModel.make` added",
          unit: "×",
          digits: 2,
          better: "lower"
        }
      ],
      rows,
      targets: [
        {
          what: "`GatewayLanguageModel` over the sum of `Router.run` and `LanguageModel.make`",
          bound: 1.25,
          direction: "at most",
          unit: "×",
          digits: 2,
          measured: ratio.median
        }
      ],
      notes: [
        "One text answer of OpenAI's Responses API, from a stub of `fetch` that answers at once, in one fiber, without a tracer.",
        `\`@effect/ai-openai\` is the newest on npm (4.0.0-beta.106), with its imports mapped to Effect 4.1; it makes one request, without a gateway, a route or a log id. Here \`GatewayLanguageModel\` takes ${(Measure.median(ours) / Measure.median(theirs)).toFixed(2)} × its CPU time.`,
        `${settings.rounds} rounds of ${settings.turn} ms each, in turns.`
      ],
      charts: ["cpu"]
    }
  }
}
