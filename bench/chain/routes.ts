/**
 * The routes of `questions/chain.ts`, and how they are run: over a stub of the binding, in one fiber, the first target
 * answers.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import type * as Chat from "effect-ai-gateway/Chat"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { isAnswer, promptOf, stubBody } from "../contender.ts"
import type { Contender } from "../measure.ts"

type ChatRoute = Route.Route<Chat.Input, Chat.Reply>

/** A fallback over a number of targets, with retries and time limits. */
export const chainOf = (length: number): ChatRoute => {
  const others = Array.from({ length: length - 1 }, (_, index) => Provider.groq.chat(`model-${index}`))
  const first = Provider.openai.chat("bench")
  return Route.fallback(first, ...others).pipe(Route.retry({ attempts: 3 }), Route.timeout("5 seconds"))
}

const wrappers: ReadonlyArray<(route: ChatRoute, level: number) => ChatRoute> = [
  (route) => Route.timeout(route, "5 seconds"),
  (route) => Route.retry(route, { attempts: 3 }),
  (route) => Route.metadata(route, { team: "bench" }),
  (route) => Route.map(route, (reply) => reply),
  (route) => Route.mapInput(route, (input: Chat.Input) => input)
]

/** Two targets with a number of combinators around them, of five kinds in turn. */
export const nested = (depth: number): ChatRoute => {
  const inner: ChatRoute = Route.fallback(Provider.openai.chat("bench"), Provider.groq.chat("bench"))
  return Array.from({ length: depth }).reduce<ChatRoute>(
    (route, _, level) => wrappers[level % wrappers.length]?.(route, level) ?? route,
    inner
  )
}

const no = (): Promise<never> => Promise.reject(new Error("not of this stub"))

const head = { headers: { "content-type": "application/json", "cf-aig-log-id": "log-0" } }

const gateway = { run: async () => new Response(stubBody, head), getLog: no, patchLog: no, getUrl: no }

const layer = GatewayService.layerBinding({ gateway: () => gateway }, { gateway: "bench" })

/** Calls in a fiber. */
export const perFiber = 50

/** Runs a route. The calls of a sample are fibers, of {@link perFiber} calls each. */
export const asking = (
  name: string,
  route: ChatRoute,
  execution: Router.Execution,
  options?: Router.RunOptions
): Contender => {
  const runtime = ManagedRuntime.make(Layer.provide(Router.layerWith({ execution }), layer))
  const one = Effect.flatMap(Router.run(route, promptOf(0), options), ({ value }) =>
    isAnswer(value.text, 0) ? Effect.void : Effect.die(new Error(`${name}: a wrong answer`))
  )
  return { name, call: () => runtime.runPromise(Effect.repeat(one, { times: perFiber - 1 })).then(() => undefined) }
}

/** The stub without the library. */
export const alone: Contender = {
  name: "stub alone",
  call: async () => {
    for (let n = 0; n < perFiber; n++) {
      const response = await gateway.run()
      JSON.parse(await response.text())
    }
  }
}
