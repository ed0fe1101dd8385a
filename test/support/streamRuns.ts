/**
 * Runs streams of routes to their end and keeps everything that they told.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Chat from "effect-ai-gateway/Chat"
import type { Attempt, GatewayError, StreamInterrupted } from "effect-ai-gateway/GatewayError"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import type * as LocalGateway from "effect-ai-gateway/local"
import * as Provider from "effect-ai-gateway/Provider"
import type * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { type MakeLayer, transports } from "../suites/transports.ts"
import { type Reply, type Script, scripted } from "./streamScript.ts"

export const openai = Provider.openai.chat("m")
export const groq = Provider.groq.chat("m")
export const deepseek = Provider.deepseek.chat("m")
export const anthropic = Provider.anthropic.messages("claude")

/** The observations of a consumer of one stream. */
export interface Seen {
  readonly deltas: ReadonlyArray<Chat.Delta>
  readonly text: string
  /** Absent when the stream ended well. */
  readonly error: GatewayError | undefined
  /** Absent when it was never opened. */
  readonly summary: Router.StreamSummary | undefined
  /** The attempts in `LogTrail`. */
  readonly trail: ReadonlyArray<Attempt>
  readonly attempts: ReadonlyArray<Attempt>
}

const failureOf = (exit: Exit.Exit<unknown, GatewayError>): GatewayError | undefined => {
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  if (error === undefined && Exit.isFailure(exit)) throw new Error(`a defect: ${Cause.pretty(exit.cause)}`)
  return error
}

/** The text of deltas, without what a restart took back. */
export const textOf = (deltas: ReadonlyArray<Chat.Delta>): string =>
  deltas
    .slice(deltas.findLastIndex(({ type }) => type === "restart") + 1)
    .map((delta) => (delta.type === "text" ? delta.text : ""))
    .join("")

/** Streams a route to its end. `each` runs for each delta. */
export const consume = <In, Out>(
  route: Route.Route<In, Out>,
  input: In,
  options?: Router.RunOptions,
  each: (delta: Chat.Delta) => Effect.Effect<void> = () => Effect.void
): Effect.Effect<Seen, never, Router.Router> =>
  Effect.gen(function* () {
    const deltas: Array<Chat.Delta> = []
    const { attempts: trail, value } = yield* LogTrail.collect(
      Effect.scoped(
        Effect.gen(function* () {
          const opened = yield* Effect.exit(Router.open(route, input, options))
          if (Exit.isFailure(opened)) return { error: failureOf(opened), summary: undefined }
          const { value: streamed } = opened
          const exit = yield* Effect.exit(
            Stream.runForEach(streamed.deltas, (delta) => {
              deltas.push(delta)
              return each(delta)
            })
          )
          return { error: failureOf(exit), summary: yield* streamed.summary }
        })
      )
    )
    const attempts = value.error?.attempts ?? value.summary?.attempts ?? []
    return { deltas, text: textOf(deltas), ...value, trail, attempts }
  })

/** A line per attempt. */
export const lines = (attempts: ReadonlyArray<Attempt>): ReadonlyArray<string> =>
  attempts.map(({ error, outcome, target }) =>
    [target, outcome, ...(error === undefined ? [] : [error._tag])].join(" ")
  )

/** Milliseconds of each attempt. */
export const millis = (attempts: ReadonlyArray<Attempt>): ReadonlyArray<number> =>
  attempts.map(({ duration }) => Duration.toMillis(duration))

/** The provider behind the layer of a backend. */
export type Services = Layer.Success<ReturnType<MakeLayer>> | Router.Router

/** A router over a local gateway in this process. */
export interface Backend {
  readonly name: string
  readonly layer: (
    upstreams: LocalGateway.Options["upstreams"],
    options?: LocalGateway.Options
  ) => Layer.Layer<Services, GatewayError>
}

/** Over HTTP and over the binding, without sockets and in the time of the test. */
export const backends: ReadonlyArray<Backend> = transports
  .filter(({ hasSockets }) => !hasSockets)
  .map(({ layer, name }) => ({
    name,
    layer: (upstreams, options) => Router.layer.pipe(Layer.provideMerge(layer({ upstreams, ...options })))
  }))

export const executions = ["client", "gateway"] as const

/** Every way in which a route can be streamed. */
export const ways = backends.flatMap((backend) =>
  executions.map((execution) => ({ name: `${backend.name}, ${execution}`, backend, execution }))
)
export type Way = (typeof ways)[number]

const named = (part: string): Backend => {
  const found = backends.find(({ name }) => name.includes(part))
  if (found === undefined) throw new Error(`no backend ${part}`)
  return found
}

export const overHttp = named("HTTP")
/** Two of the ways, for what does not depend on the backend. */
export const client = { backend: overHttp, execution: "client" } as const
export const gateway = { backend: overHttp, execution: "gateway" } as const

/** An answer in one piece. */
export const json = (body: unknown): Reply => ({
  headers: { "content-type": "application/json" },
  steps: [JSON.stringify(body)]
})

/** The reason of a stream that broke after its first delta. */
export const interruption = ({ error }: Seen): StreamInterrupted => {
  if (error?.reason._tag === "StreamInterrupted") return error.reason
  throw new Error(`not interrupted: ${error?.message}`)
}

/** One stream of a route against a script, one way. */
export const play = <In, Out>(
  script: Script,
  route: Route.Route<In, Out>,
  input: In,
  { backend, execution }: { readonly backend: Backend; readonly execution: Router.Execution },
  options?: Omit<Router.RunOptions, "execution">
) =>
  Effect.suspend(() => {
    const provider = scripted(script)
    return Effect.map(
      Effect.provide(consume(route, input, { execution, ...options }), backend.layer(provider.upstreams)),
      (seen) => ({ ...seen, provider })
    )
  })
