/**
 * The promises of `effect-ai-gateway/worker`: services once, requests apart, an end for everything that begins. The
 * path selects a request's behaviour; `PEER` is a second binding whose service answers on the test's command.
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type * as AiService from "effect-ai-gateway/AiService"
import { InvalidRequest, invalid } from "effect-ai-gateway/GatewayError"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Provider from "effect-ai-gateway/Provider"
import * as Router from "effect-ai-gateway/Router"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import * as Worker from "effect-ai-gateway/worker"

interface Env {
  readonly AI: AiService.AiBinding
  readonly PEER: AiService.AiBinding
}

class Shared extends Context.Service<
  Shared,
  {
    /** Which build of the services this is. */
    readonly build: number
    readonly one: Semaphore.Semaphore
    readonly gate: Deferred.Deferred<void>
    readonly queue: Queue.Queue<string>
    /** A gateway behind `PEER`. */
    readonly peer: GatewayService.GatewayService["Service"]
  }
>()("test/Shared") {}

let builds = 0

const shared = Layer.effect(
  Shared,
  Effect.gen(function* () {
    const peer = yield* GatewayService.GatewayService
    // An operation that takes time and belongs to the request that began it.
    yield* peer.getUrl("openai")
    builds++
    const queue = yield* Queue.make<string>()
    return Shared.of({ build: builds, one: Semaphore.makeUnsafe(1), gate: Deferred.makeUnsafe(), queue, peer })
  })
)

const ask = (prompt: string) =>
  Effect.flatMap(GatewayService.GatewayService, (gateway) =>
    gateway.run({
      provider: "openai",
      endpoint: "chat/completions",
      query: { model: "m", messages: [{ role: "user", content: prompt }] }
    })
  )

const say = (prompt: string) => Effect.flatMap(ask(prompt), (response) => response.text)

/** The provider that the test lets stream forever. */
const endless = { provider: "groq", endpoint: "chat/completions", query: { model: "m", stream: true, messages: [] } }

const handle = Effect.fnUntraced(function* (request: Request) {
  const { pathname, searchParams } = new URL(request.url)
  const name = searchParams.get("name") ?? ""
  const { build, gate, one, peer, queue } = yield* Shared
  const body = Effect.promise(() => request.text())
  switch (pathname) {
    case "/build":
      return new Response(String(build))
    case "/config": {
      const secret = yield* Config.Redacted("SECRET")
      const variables = [yield* Config.String("TEAM"), String(secret), Redacted.value(secret)]
      return Response.json([...variables, yield* Config.option(Config.String("AI"))])
    }
    case "/ask":
      return new Response(yield* say(name))
    case "/trail": {
      yield* Effect.all([say(`${name} 1`), say(`${name} 2`)], { concurrency: 2 })
      const attempts = yield* LogTrail.current
      return Response.json([yield* LogTrail.lastLogId, attempts.map(({ logId }) => logId)])
    }
    case "/die":
      return yield* Effect.die(new SyntaxError(`the prompt ${name}`))
    // The next two requests hold and want something that other requests have, and use their own bodies afterwards.
    case "/one":
      return yield* one.withPermits(1)(
        Effect.gen(function* () {
          yield* say(name)
          return new Response(yield* body)
        })
      )
    case "/wait": {
      yield* Deferred.await(gate)
      yield* say(name)
      return new Response(yield* body)
    }
    case "/open": {
      yield* Deferred.succeed(gate, undefined)
      return new Response(yield* say(name))
    }
    case "/take":
      return new Response((yield* Queue.take(queue)) + (yield* body))
    case "/offer": {
      yield* Queue.offer(queue, name)
      return new Response()
    }
    case "/url":
      return new Response(yield* peer.getUrl("anthropic"))
    case "/leave":
      return yield* ask(name).pipe(
        Effect.as(new Response()),
        Effect.onInterrupt(() => Effect.andThen(Effect.sleep(10), Effect.ignore(say(`${name} finalizer`))))
      )
    case "/later": {
      yield* Worker.waitUntil(Effect.andThen(Effect.sleep(50), say(`${name} later`)))
      return new Response("now")
    }
    case "/later-and-leave": {
      yield* Worker.waitUntil(Effect.forEach(["begun", "going on", "later"], (what) => say(`${name} ${what}`)))
      return yield* Effect.never
    }
    case "/later-and-fail": {
      yield* Worker.waitUntil(Effect.fail(invalid("test", "field", "another")))
      return new Response("now")
    }
    case "/stream": {
      const ticks = Stream.range(1, 5).pipe(
        Stream.mapEffect((n) => Effect.as(Effect.sleep(5), `${n}\n`)),
        Stream.encodeText
      )
      return new Response(Stream.toReadableStream(ticks))
    }
    case "/pass": {
      const gateway = yield* GatewayService.GatewayService
      return StreamResponse.fromBytes(yield* gateway.run(endless))
    }
    case "/route":
      return yield* StreamResponse.fromRoute(Provider.groq.chat("m"), "x", {
        onEnd: ({ outcome }) => Effect.ignore(say(`${name} ${outcome}`))
      })
    case "/endless": {
      const ticks = Stream.tick("5 millis").pipe(
        Stream.map(() => "tick\n"),
        Stream.ensuring(Effect.andThen(Effect.sleep(10), Effect.ignore(say(`${name} ended`)))),
        Stream.encodeText
      )
      const body = yield* Stream.toReadableStreamEffect(ticks)
      if (searchParams.has("stall")) {
        yield* say(`${name} begun`)
        return yield* Effect.never
      }
      return new Response(body)
    }
  }
  return new Response(null, { status: 404 })
})

const layer = (env: Env) =>
  Layer.merge(
    Layer.provideMerge(Router.layer, GatewayService.layerBinding(env.AI, { gateway: "gw" })),
    Layer.provide(shared, GatewayService.layerBinding(env.PEER, { gateway: "peer" }))
  )

const worker = Worker.make({ layer, fetch: handle })

const strict = Worker.make({
  layer,
  fetch: handle,
  onFailure: (error) => new Response(error._tag === "GatewayError" ? error.reason._tag : error._tag, { status: 418 })
})

let attempts = 0
const flaky = Worker.make({
  layer: (_: Env) =>
    Layer.effectDiscard(
      Effect.suspend(() => (attempts++ === 0 ? Effect.fail(new InvalidRequest({ origin: "client" })) : Effect.void))
    ),
  fetch: () => Effect.succeed(new Response("well"))
})

export default {
  fetch: async (request: Request, env: Env, ctx: Worker.ExecutionContext): Promise<Response> => {
    const url = new URL(request.url)
    if (url.searchParams.has("strict")) return strict.fetch(request, env, ctx)
    if (url.pathname === "/flaky") return flaky.fetch(request, env, ctx)
    if (url.pathname === "/run") return new Response(await worker.run(say("run"), env, ctx))
    return worker.fetch(request, env, ctx)
  }
}
