/**
 * This library, from the checkout for which the process was started, on the client: it makes the attempts itself, one
 * request each.
 */
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Stream from "effect/Stream"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { makeBinding } from "../../test/support/bindingDouble.ts"
import { overFetch as fetchClient, overUndici as undiciClient } from "../clients.ts"
import {
  account,
  type Contender,
  callOf,
  gateway,
  type Job,
  type Make,
  model,
  promptOf,
  stubBody,
  textIn
} from "../contender.ts"
import { many } from "./effect.ts"
import { undiciCall } from "./raw.ts"

const leaves = [Provider.openai.chat(model), Provider.groq.chat(model), Provider.mistral.chat(model)] as const

const routeOf = ({ attempts, delay, targets, timeout }: Job) => {
  const [first, ...others] = leaves.slice(0, targets)
  if (first === undefined) throw new Error("no targets")
  const fallback = others.length === 0 ? first : Route.fallback(first, ...others)
  const limited = Route.timeout(fallback, timeout)
  return attempts > 1 ? Route.retry(limited, { attempts, delay, backoff: "exponential" }) : limited
}

type Service = Layer.Layer<GatewayService.GatewayService, GatewayError>

const legOf = (prompt: string) => ({
  provider: "openai",
  endpoint: "chat/completions",
  query: { model, messages: [{ role: "user", content: prompt }] }
})

const contender = async (job: Job, service: Service, bare?: () => Promise<string>): Promise<Contender> => {
  // A recovered failure logs a warning. It is produced, but not printed.
  const runtime = ManagedRuntime.make(Layer.mergeAll(Layer.provideMerge(Router.layer, service), Logger.layer([])))
  // The runtime's own `runPromise` tracks each fiber, which other contenders with Effect do not pay for.
  const runPromise = Effect.runPromiseWith(await runtime.context())
  const route = routeOf(job)
  const running = (prompt: string) =>
    Effect.map(Router.run(route, prompt, { execution: "client" }), ({ value }) => value.text)
  // Measures the policies with everything that they do.
  const asking = (prompt: string) =>
    job.stub ? Effect.map(LogTrail.collect(running(prompt)), ({ value }) => value) : running(prompt)
  const asked = asking(promptOf(0))
  const sending = (prompt: string) =>
    Effect.flatMap(GatewayService.GatewayService, (one) =>
      Effect.flatMap(one.run(legOf(prompt), { record: false }), ({ json }) => Effect.map(json, textIn))
    )
  const sent = sending(promptOf(0))
  return {
    ask: (prompt) => runPromise(asking(prompt)),
    bare: bare ?? (() => runPromise(sending(promptOf(0)))),
    askMany: (calls) => runPromise(many(asked, calls)),
    bareMany: (calls) => runPromise(many(sent, calls)),
    stream: (prompt, take) =>
      runPromise(
        Stream.runForEach(Router.stream(route, prompt, { execution: "client" }), (delta) =>
          Effect.sync(() => {
            if (delta.type === "text") take(delta.text)
          })
        )
      ),
    close: () => runtime.dispose()
  }
}

const overHttp = (job: Job, client: Layer.Layer<HttpClient>): Service =>
  GatewayService.layerHttp({ accountId: account, gateway, baseUrl: job.url }).pipe(Layer.provide(client))

/** A binding's result, without any cost of its own. */
const stubResponse = {
  status: 200,
  headers: new Map([
    ["content-type", "application/json"],
    ["cf-aig-log-id", "log-0"]
  ]),
  text: async () => stubBody
}

const unused = () => Promise.reject(new Error("not part of the benchmark"))

const stubBinding = {
  gateway: () => ({ run: async () => stubResponse, getLog: unused, patchLog: unused, getUrl: unused })
}

const overStub: Service = GatewayService.layerBinding(stubBinding, { gateway })

/** The signal that every abortable call has, with or without a router. */
const signal = (): AbortSignal => new AbortController().signal

export const overFetch: Make = (job) => {
  const call = callOf(job)
  return contender(job, overHttp(job, fetchClient), () => call(0, promptOf(0), signal()))
}

export const overUndici: Make = (job) => {
  const call = undiciCall(job)
  return contender(job, overHttp(job, undiciClient), () => call(0, promptOf(0)))
}

/** Over the double of `env.AI`, whose service is the upstream; without a network over a stub of it. */
export const overBinding: Make = (job) => {
  if (job.stub) return contender(job, overStub)
  const binding = makeBinding(async (request, signal) =>
    fetch(`${job.url}/v1/${account}/${gateway}`, {
      method: "POST",
      headers: request.headers,
      body: await request.text(),
      // No redirect arrives, and in this mode `fetch` copies no request.
      redirect: "error",
      signal: signal ?? null
    })
  )
  return contender(job, GatewayService.layerBinding(binding, { gateway }), async () => {
    const response = await binding.gateway(gateway).run([{ ...legOf(promptOf(0)), headers: {} }], { signal: signal() })
    return textIn(await response.json())
  })
}
