/** A contender whose calls wait, in its own process. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { heapUsed, serve } from "../child.ts"
import { bodyOf, type Job, type Make, model, promptOf, stubBody, textIn } from "../contender.ts"

/** A contender whose calls can wait. */
interface Waiting {
  readonly call: () => Promise<string>
  /** Number of arrived calls, and their release, where they do not go to the upstream. */
  readonly held?: () => number
  readonly release?: () => void
}

/** Request of the asker. */
export type Command =
  | { readonly tell: "begin"; readonly module: string; readonly make: string; readonly job: Job }
  /** Without a network, with the library or without. */
  | { readonly tell: "stub"; readonly ours: boolean }
  /** More calls; answered as soon as they are sent. */
  | { readonly tell: "call"; readonly calls: number }
  /** Number of arrived calls; `undefined` where the upstream knows. */
  | { readonly tell: "held" }
  /** Answered when all calls have been answered. */
  | { readonly tell: "release" }
  | { readonly tell: "heap" }

// One text for all of them: a caller's own text is not a cost of the contender.
const prompt = promptOf(0)

const begin = async (module: string, make: string, job: Job): Promise<Waiting> => {
  const makers: Readonly<Record<string, Make>> = await import(new URL(`../${module}`, import.meta.url).href)
  const contender = await makers[make]?.(job)
  if (contender === undefined) throw new Error(`${module} has no ${make}`)
  return { call: () => contender.ask(prompt) }
}

const no = (): Promise<never> => Promise.reject(new Error("not of this stub"))

const stub = async (ours: boolean): Promise<Waiting> => {
  const waiting: Array<(response: Response) => void> = []
  const run = (_data: object): Promise<Response> => new Promise((resolve) => waiting.push(resolve))
  const held = (): number => waiting.length
  const release = (): void => {
    const head = { headers: { "content-type": "application/json" } }
    for (const resolve of waiting.splice(0)) resolve(new Response(stubBody, head))
  }
  const alone = async (): Promise<string> => {
    const response = await run({ provider: "openai", endpoint: "chat/completions", query: bodyOf(prompt) })
    return textIn(await response.json())
  }
  if (!ours) return { call: alone, held, release }
  const gateway = { run, getLog: no, patchLog: no, getUrl: no }
  const runtime = ManagedRuntime.make(
    Layer.provide(
      Router.layerWith({ execution: "client" }),
      GatewayService.layerBinding({ gateway: () => gateway }, { gateway: "bench" })
    )
  )
  const route = Route.fallback(Provider.openai.chat(model), Provider.groq.chat(model)).pipe(
    Route.retry({ attempts: 3 }),
    Route.timeout("5 minutes")
  )
  // As in the contenders: the runtime's own `runPromise` tracks each fiber.
  const runPromise = Effect.runPromiseWith(await runtime.context())
  return { call: async () => (await runPromise(Router.run(route, prompt))).value.text, held, release }
}

let waiting: Waiting | undefined
let calls: Array<Promise<string>> = []

serve<Command>(async (command) => {
  switch (command.tell) {
    case "begin":
      waiting = await begin(command.module, command.make, command.job)
      return undefined
    case "stub":
      waiting = await stub(command.ours)
      return undefined
    case "call":
      for (let n = 0; n < command.calls; n++) {
        if (waiting !== undefined) calls.push(waiting.call())
      }
      return undefined
    case "held":
      return waiting?.held?.()
    case "release": {
      waiting?.release?.()
      const texts = await Promise.all(calls)
      calls = []
      if (texts.some((text) => !text.startsWith("q-0 "))) throw new Error("a wrong answer")
      return undefined
    }
    case "heap":
      return heapUsed()
  }
})
