/**
 * Requests that wait for shared objects. After each wait a request uses objects that only its own context may touch:
 * its body, and a call of its own.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import type * as AiService from "effect-ai-gateway/AiService"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Limiter from "effect-ai-gateway/Limiter"
import * as Worker from "effect-ai-gateway/worker"

interface Env {
  readonly AI: AiService.AiBinding
  readonly PEER: AiService.AiBinding
}

/** A binding whose calls share one promise until it is answered; the promise belongs to the first caller. */
const sharing = (ai: AiService.AiBinding): GatewayService.AiBinding => {
  let pending: Promise<unknown> | undefined
  const unused = async (): Promise<never> => Promise.reject(new Error("unused"))
  const run = (data: object): Promise<unknown> => {
    pending ??= ai
      .gateway("gw")
      .run(data)
      .then((response) => (response instanceof Response ? response.json() : response))
      .finally(() => {
        pending = undefined
      })
    return pending
  }
  return { gateway: () => ({ run, getLog: unused, patchLog: unused, getUrl: unused }), run: unused, models: unused }
}

const leg = (content: string) => ({
  provider: "openai",
  endpoint: "chat/completions",
  query: { model: "m", messages: [{ role: "user", content }] }
})

class CurrentEnv extends Context.Service<CurrentEnv, Env>()("test/Env") {}

const one = Semaphore.makeUnsafe(1)
const gate = Deferred.makeUnsafe<void>()
const limiter = Effect.runSync(Limiter.make({ concurrency: 1 }))
let waiting = 0

/** Waits for what the path selects. */
const wait = (env: Env, path: string): Effect.Effect<unknown, unknown> => {
  const shared = Effect.flatMap(
    Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.run(leg("shared"))),
    ({ json }) => json
  ).pipe(Effect.provide(GatewayService.layerBinding(sharingOf(env), { gateway: "gw" })))
  switch (path) {
    case "/promise":
      return shared
    case "/semaphore":
      return one.withPermits(1)(Effect.andThen(shared, Effect.sleep(2)))
    case "/limiter":
      return Limiter.limit(limiter, "one")(Effect.andThen(shared, Effect.sleep(2)))
    case "/gate":
      return Effect.suspend(() => (++waiting === 8 ? Deferred.succeed(gate, undefined) : Deferred.await(gate)))
    default:
      return Effect.fail(path)
  }
}

const bindings = new WeakMap<Env, GatewayService.AiBinding>()
const sharingOf = (env: Env): GatewayService.AiBinding => {
  const known = bindings.get(env) ?? sharing(env.PEER)
  bindings.set(env, known)
  return known
}

const worker = Worker.make({
  layer: (env: Env) =>
    Layer.merge(GatewayService.layerBinding(env.AI, { gateway: "gw" }), Layer.succeed(CurrentEnv, env)),
  fetch: Effect.fnUntraced(function* (request) {
    const env = yield* CurrentEnv
    yield* wait(env, new URL(request.url).pathname)
    const prompt = yield* Effect.promise(() => request.text())
    const gateway = yield* GatewayService.GatewayService
    const response = yield* gateway.run(leg(prompt))
    return Response.json({ prompt, body: yield* response.json, logId: response.meta.logId })
  })
})

export default worker
