/**
 * A Worker whose router lives as long as the isolate: hedges, races and breakers of many requests share its state.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type * as AiService from "effect-ai-gateway/AiService"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Worker from "effect-ai-gateway/worker"

interface Env {
  readonly AI: AiService.AiBinding
}

const both = Route.fallback(Provider.openai.chat("m"), Provider.groq.chat("m"))

const routes: Readonly<Record<string, typeof both>> = {
  "/hedge": Route.hedge(both, { after: 30 }),
  "/race": Route.race(Provider.openai.chat("m"), Provider.groq.chat("m")),
  "/limits": Route.limits(Provider.openai.chat("m"), { concurrency: 1, queue: { maxWait: "30 seconds" } }),
  "/breaker": Route.circuitBreaker(both, { minimumCalls: 2, openFor: 300, maxOpenFor: 300 })
}

const worker = Worker.make({
  layer: (env: Env) =>
    Router.layerWith({ execution: "client", budget: "none" }).pipe(
      Layer.provide(GatewayService.layerBinding(env.AI, { gateway: "gw" }))
    ),
  fetch: Effect.fnUntraced(function* (request) {
    const { pathname, searchParams } = new URL(request.url)
    const route = routes[pathname] ?? both
    const prompt = yield* Effect.promise(() => request.text())
    if (searchParams.has("stream")) {
      const texts = yield* Stream.runCollect(Router.stream(route, prompt))
      return Response.json({ prompt, text: texts.map((delta) => (delta.type === "text" ? delta.text : "")).join("") })
    }
    const { attempts, logId, skipped, target, value } = yield* Router.run(route, prompt)
    return Response.json({
      prompt,
      text: value.text,
      logId,
      target,
      attempts: attempts.map(({ cause, outcome, target }) => `${target} ${cause} ${outcome}`),
      skipped: skipped.map(({ target }) => target)
    })
  })
})

export default worker
