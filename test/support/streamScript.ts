/**
 * Providers that stream what a test says, piece by piece, and tell what became of each body.
 */
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Router from "effect-ai-gateway/Router"
import { data, doneMark } from "../fixtures/streams/drive.ts"

/** One step of a body: bytes, a pause in milliseconds, or an end that is none. */
export type Step = string | Uint8Array | { readonly wait: number } | typeof stall | typeof reset

/** Nothing more comes. */
export const stall = { end: "never" } as const
/** The connection breaks. */
export const reset = { end: "reset" } as const

/** The behavior of a provider for one request. */
export interface Reply {
  /** Milliseconds before the headers. */
  readonly delay?: number
  /** The headers never come. */
  readonly silent?: boolean
  /** The connection breaks before the headers. */
  readonly refused?: boolean
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly steps?: ReadonlyArray<Step>
  /** Whatever the steps are, they come again and again. */
  readonly endless?: boolean
}

/** A body that was asked for. */
export interface Served {
  readonly provider: string
  readonly json: unknown
  readonly headers: Readonly<Record<string, string>>
  /** Pieces that were asked for. */
  pulled: number
  state: "open" | "ended" | "broken" | "cancelled"
}

const encoder = new TextEncoder()

const bodyOf = (
  reply: Reply,
  served: Served,
  sleep: (millis: number, signal: AbortSignal) => Promise<void>
): ReadableStream<Uint8Array> => {
  const steps = reply.steps ?? []
  const gone = new AbortController()
  let at = 0
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        while (true) {
          const step = reply.endless === true ? steps[at++ % steps.length] : steps[at++]
          if (step === undefined) {
            served.state = "ended"
            return controller.close()
          }
          if (typeof step !== "string" && "end" in step) {
            if (step.end === "never") return new Promise(() => undefined)
            served.state = "broken"
            return controller.error(new Upstream.UpstreamFailure({ kind: "reset" }))
          }
          if (typeof step !== "string" && "wait" in step) {
            await sleep(step.wait, gone.signal)
            if (gone.signal.aborted) return
            continue
          }
          served.pulled++
          return controller.enqueue(typeof step === "string" ? encoder.encode(step) : step)
        }
      },
      cancel: () => {
        served.state = "cancelled"
        gone.abort()
      }
    },
    { highWaterMark: 0 }
  )
}

/** A body that ends with the signal of its request, as that of `fetch` does. */
const abortable = (body: ReadableStream<Uint8Array>, signal: AbortSignal): ReadableStream<Uint8Array> => {
  const reader = body.getReader()
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) => {
        signal.addEventListener("abort", () => {
          reader.cancel().catch(() => undefined)
          controller.error(signal.reason)
        })
      },
      pull: async (controller) => {
        const { done, value } = await reader.read()
        if (signal.aborted) return
        if (done) controller.close()
        else controller.enqueue(value)
      },
      cancel: () => reader.cancel()
    },
    { highWaterMark: 0 }
  )
}

/** Replies by provider, in order, or what to do with a request; without a reply the provider answers well. */
export type Script = Readonly<Record<string, ReadonlyArray<Reply>>> | ((provider: string) => Reply | undefined)

const slugs = ["openai", "groq", "deepseek", "anthropic", "google-ai-studio", "workers-ai", "custom-own"] as const

/** Upstreams for a local gateway, or a gateway without legs and logs, and everything that they served. */
export const scripted = (script: Script) => {
  const bodies: Array<Served> = []
  const left =
    typeof script === "function" ? undefined : new Map(Object.entries(script).map(([name, all]) => [name, [...all]]))
  const next = (provider: string): Reply =>
    (typeof script === "function" ? script(provider) : left?.get(provider)?.shift()) ?? answer(provider)
  const serve = ({ headers, json, provider }: Pick<Served, "headers" | "json" | "provider">) =>
    Effect.gen(function* () {
      const reply = next(provider)
      const served: Served = { provider, json, headers, pulled: 0, state: "open" }
      bodies.push(served)
      const context = yield* Effect.context<never>()
      const sleep = (millis: number, signal: AbortSignal) =>
        Effect.runPromiseWith(context)(Effect.sleep(millis), { signal }).catch(() => undefined)
      const answering = Effect.gen(function* () {
        if (reply.delay !== undefined) yield* Effect.sleep(reply.delay)
        if (reply.silent === true) return yield* Effect.never
        if (reply.refused === true) {
          served.state = "broken"
          return yield* new Upstream.UpstreamFailure({ kind: "reset" })
        }
        return {
          status: reply.status ?? 200,
          headers: { "content-type": "text/event-stream", ...reply.headers },
          body: bodyOf(reply, served, sleep)
        }
      })
      return yield* Effect.onInterrupt(answering, () =>
        Effect.sync(() => {
          served.state = "cancelled"
        })
      )
    })
  const upstream = Upstream.make(serve)
  const direct = HttpClient.make((request, url, signal) =>
    serve({ provider: url.pathname.split("/")[4] ?? "", json: undefined, headers: { ...request.headers } }).pipe(
      Effect.mapBoth({
        onSuccess: ({ body, headers, status }) =>
          HttpClientResponse.fromWeb(request, new Response(abortable(body, signal), { status, headers })),
        onFailure: (cause) =>
          new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
      })
    )
  )
  return {
    bodies,
    /** A router without a gateway between it and the providers. */
    direct: Router.layerWith({ execution: "client" }).pipe(
      Layer.provide(GatewayService.layerHttp({ accountId: "acct", gateway: "gw" })),
      Layer.provide(Layer.succeed(HttpClient.HttpClient, direct))
    ),
    /** Bodies that are neither read to their end nor cancelled. */
    open: () => bodies.filter(({ state }) => state === "open").length,
    states: () => bodies.map(({ provider, state }) => `${provider} ${state}`),
    upstreams: Object.fromEntries(slugs.map((slug) => [slug, upstream]))
  }
}

// ---------------------------------------------------------------------------------------------------------------------

const chunk = (delta: object, finish: string | null = null): string =>
  data({
    id: "c1",
    object: "chat.completion.chunk",
    model: "m-1",
    choices: [{ index: 0, delta, finish_reason: finish }]
  })

/** The beginning of an answer, without content: the role only. */
export const role = chunk({ role: "assistant", content: "" })
export const say = (text: string): string => chunk({ content: text })
export const finish = chunk({}, "stop")
export const usage = data({
  id: "c1",
  model: "m-1",
  choices: [],
  usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 }
})
export const ping = ": ping\n\n"
/** An error inside a stream. */
export const error = (type = "server_error"): string => data({ error: { message: "it broke", type, code: null } })

export { doneMark }

/** A complete answer in these words. */
export const words = (...texts: ReadonlyArray<string>): ReadonlyArray<string> => [
  role,
  ...texts.map(say),
  finish,
  usage,
  doneMark
]

/** How a provider answers well. */
export const answer = (provider: string): Reply => ({ steps: words("from ", provider) })
