/** Single calls over the genuine binding, with their outcomes: `POST /` with the name of one. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as AiService from "effect-ai-gateway/AiService"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Worker from "effect-ai-gateway/worker"

interface Env {
  readonly AI: AiService.AiBinding
}

class Binding extends Context.Service<Binding, AiService.AiBinding>()("test/Binding") {}

type Services = AiService.AiService | GatewayService.GatewayService | Binding

/** Outcome of a call. */
export interface Outcome {
  readonly value?: unknown
  readonly reason?: Readonly<Record<string, unknown>>
  readonly message?: string
  readonly logId?: string
}

const outcomeOf = (call: Effect.Effect<unknown, GatewayError>): Effect.Effect<Outcome> =>
  Effect.match(call, {
    onSuccess: (value): Outcome => ({ value }),
    onFailure: ({ logId, message, reason }): Outcome => ({
      reason: { ...reason, _tag: reason._tag },
      message,
      ...(logId !== undefined && { logId })
    })
  })

const deepFreeze = <A>(value: A): A => {
  if (typeof value === "object" && value !== null && !Redacted.isRedacted(value)) {
    Object.values(value).forEach(deepFreeze)
    Object.freeze(value)
  }
  return value
}

const leg = deepFreeze({
  provider: "openai",
  endpoint: "chat/completions",
  headers: { authorization: Redacted.make("key-of-the-caller"), "x-number": "1" },
  query: { model: "m", messages: [{ role: "user", content: "hi" }] },
  config: { maxAttempts: 1 }
})
const legs = deepFreeze([leg, { ...leg, provider: "groq" }])
const input = deepFreeze({ messages: [{ role: "user", content: "hi" }] })
const options = deepFreeze({ gateway: "gw", metadata: { team: "a", n: 1 }, headers: { "x-trace": "t" } })
const model = "openai/m"

const gateway = <A>(use: (gateway: GatewayService.GatewayService["Service"]) => A) =>
  Effect.map(GatewayService.GatewayService, use)
const ai = <A>(use: (ai: AiService.AiService["Service"]) => A) => Effect.map(AiService.AiService, use)

const run = ai((ai) => Effect.flatMap(ai.run(model, input, options), ({ result }) => result))

/** The calls by name. All their arguments are frozen. */
const calls: Readonly<Record<string, Effect.Effect<unknown, never, Services>>> = {
  one: Effect.flatMap(
    gateway((gateway) => Effect.flatMap(gateway.run(leg), ({ result }) => result)),
    outcomeOf
  ),
  many: Effect.flatMap(
    gateway((gateway) => Effect.flatMap(gateway.run(legs), ({ result }) => result)),
    outcomeOf
  ),
  run: Effect.flatMap(run, outcomeOf),
  // A binding without its own `fetch`; another caller's call starts before ours is answered, so ours is treated like
  // theirs, and its failure is thrown.
  thrown: Effect.gen(function* () {
    const binding = yield* Binding
    const without: AiService.AiBinding = {
      run: (model, inputs, options) => binding.run(model, inputs, options),
      models: (params) => binding.models(params),
      gateway: (id, options) => binding.gateway(id, options)
    }
    const ownRun = Effect.provide(Effect.flatMap(run, outcomeOf), Layer.orDie(AiService.layerBinding(without)))
    const ours = yield* Effect.forkChild(ownRun, { startImmediately: true })
    yield* Effect.ignore(Effect.tryPromise(() => binding.run(model, {}, { gateway: { id: "gw" } })))
    return yield* Fiber.join(ours)
  }),
  getLog: Effect.flatMap(
    gateway((gateway) => gateway.getLog("log")),
    outcomeOf
  ),
  patchLog: Effect.flatMap(
    gateway((gateway) => gateway.patchLog("log", { feedback: 1 })),
    outcomeOf
  ),
  getUrl: Effect.flatMap(
    gateway((gateway) => gateway.getUrl("openai")),
    outcomeOf
  ),
  models: Effect.flatMap(
    ai((ai) => ai.models()),
    outcomeOf
  ),
  listLogs: Effect.flatMap(
    gateway((gateway) => gateway.listLogs()),
    outcomeOf
  ),
  // None of this may become part of a URL.
  invalid: Effect.gen(function* () {
    const ai = yield* AiService.AiService
    const gateway = yield* GatewayService.GatewayService
    const binding = yield* Binding
    const ids = ["a/b", "../run", "a?b", "a b", "a#b", "", "é", "a%2fb"]
    const uses = ids.flatMap(
      (id): ReadonlyArray<Effect.Effect<unknown, GatewayError>> => [
        gateway.getLog(id),
        gateway.patchLog(id, { score: 1 }),
        ai.gateway(id),
        ai.run(model, input, { gateway: id }),
        // As a model `a/b` is valid.
        ...(id === "a/b" ? [] : [ai.run(id, input, { gateway: "gw" })]),
        Layer.build(GatewayService.layerBinding(binding, { gateway: id })).pipe(Effect.scoped),
        ...(id === "" ? [] : [gateway.getUrl(id)]),
        gateway.run({ ...leg, provider: id })
      ]
    )
    return yield* Effect.forEach(uses, (use) => outcomeOf(use))
  })
}

export default Worker.make({
  layer: (env: Env) =>
    Layer.mergeAll(
      AiService.layerBinding(env.AI),
      GatewayService.layerBinding(env.AI, { gateway: "gw" }),
      Layer.succeed(Binding, env.AI)
    ),
  fetch: Effect.fnUntraced(function* (request) {
    const name: string = yield* Effect.promise(() => request.json())
    const call = calls[name]
    return call === undefined ? new Response(null, { status: 404 }) : Response.json(yield* call)
  })
})
