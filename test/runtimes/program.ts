/**
 * The demands of a program on a runtime: routes over the embedded gateway and over HTTP, streams, concurrency, and an
 * interruption that reaches the server. Bundled by `run.ts`, which calls it in each runtime.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LocalGateway from "effect-ai-gateway/local"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Transport from "effect-ai-gateway/Transport"

const ask = Route.fallback(
  Provider.openai.chat("gpt-4.1-mini").pipe(Route.retry({ attempts: 2, delay: "10 millis" })),
  Provider.anthropic.messages("claude-haiku-4-5")
).pipe(Route.timeout("5 seconds"))

const expect = (what: string, holds: boolean): Effect.Effect<void> =>
  holds ? Effect.void : Effect.die(new Error(`${what} is wrong`))

const embedded = Effect.gen(function* () {
  const { attempts, logId, value } = yield* Router.run(ask, "Hello")
  yield* expect("the answer", value.text === "anthropic/claude-haiku-4-5: Hello")
  yield* expect("the attempts", attempts.length === 3 && logId !== undefined)
}).pipe(
  Effect.provide(
    Router.layerWith({ execution: "client" }).pipe(
      Layer.provide(
        LocalGateway.layer({ upstreams: { openai: Upstream.script([{ status: 503, repeat: "forever" }]) } })
      )
    )
  )
)

const overHttp = Effect.gen(function* () {
  const answers = yield* Effect.forEach(
    Array.from({ length: 100 }, (_, index) => `number ${index}`),
    (prompt) => Effect.map(Router.run(ask, prompt), ({ logId, value }) => ({ prompt, logId, text: value.text })),
    { concurrency: 20 }
  )
  yield* expect(
    "an answer",
    answers.every(({ prompt, text }) => text.endsWith(prompt))
  )
  yield* expect("a log id", new Set(answers.map(({ logId }) => logId)).size === 100)
})

const streamed = Effect.gen(function* () {
  const { deltas, summary } = yield* Router.open(ask, "one two three")
  const texts = yield* Stream.runFold(
    deltas,
    () => "",
    (all, delta) => (delta.type === "text" ? all + delta.text : all)
  )
  yield* expect("the text of the stream", texts.endsWith("one two three"))
  yield* expect("its log id", (yield* summary).logId !== undefined)
})

const interrupted = Effect.gen(function* () {
  const fiber = yield* Effect.forkDetach(Router.run(Provider.groq.chat("silent"), "Hello"))
  yield* Effect.sleep("500 millis")
  yield* Fiber.interrupt(fiber)
  // The process must not end before the server has seen that the connection closed.
  yield* Effect.sleep("1 second")
})

const layerOf = (baseUrl: string) =>
  Router.layer.pipe(
    Layer.provide(GatewayService.layerHttp({ accountId: "local", gateway: "default", baseUrl })),
    Layer.provide(Transport.layerFetch)
  )

/**
 * Does all of it against a gateway, and a server that never answers. Returns what worked, and fails with what did not.
 */
export const run = (gateway: string, silent: string): Promise<ReadonlyArray<string>> =>
  Effect.runPromise(
    Effect.provideService(
      Effect.gen(function* () {
        yield* embedded
        yield* Effect.provide(Effect.andThen(overHttp, Effect.scoped(streamed)), layerOf(gateway))
        yield* Effect.provide(interrupted, layerOf(silent))
        return ["embedded gateway", "fetch", "streams", "interruption"]
      }),
      References.MinimumLogLevel,
      "Error"
    )
  )
