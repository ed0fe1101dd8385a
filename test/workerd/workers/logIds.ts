/**
 * Many concurrent runs of every kind, and between them code that calls `env.AI.run` as the binding's documentation
 * shows. `POST /` takes the runs of one client request and returns the log id that each believes to be its own.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as AiService from "effect-ai-gateway/AiService"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import type { GatewayResponse } from "effect-ai-gateway/GatewayResponse"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Worker from "effect-ai-gateway/worker"

/** How a run is made. `direct` is application code that reads the binding's own property. */
export type Kind = "one" | "many" | "third" | "own" | "direct"

/** One run. */
export interface Run {
  /** Unique; the prompt contains it, and so does the answer. */
  readonly name: string
  readonly kind: Kind
  /** Read by the upstream: the fate of this run. */
  readonly fate: string
  /** Interrupt after this many milliseconds. */
  readonly abort?: number
}

/** Belief of a run about its log id. */
export interface Belief {
  readonly name: string
  readonly logId: string | null
  /** Text of the answer, the reason of the failure, or `aborted`. */
  readonly said: string
}

/** Beliefs of a client request. */
export interface Beliefs {
  readonly runs: ReadonlyArray<Belief>
  /** Log ids in the trail of the request. */
  readonly trail: ReadonlyArray<string>
  readonly attempts: number
}

interface Env {
  readonly AI: AiService.AiBinding & { readonly aiGatewayLogId: string | null }
}

const promptOf = ({ fate, name }: Run): string => `${name} ${fate}`
const chat = (run: Run) => ({ messages: [{ role: "user", content: promptOf(run) }] })
const leg = (provider: string, run: Run) => ({
  provider,
  endpoint: "chat/completions",
  query: { model: "m", ...chat(run) }
})
const answerOf = (json: unknown): string =>
  typeof json === "object" && json !== null && "answer" in json ? String(json.answer) : JSON.stringify(json)

const send = Effect.fnUntraced(function* (run: Run) {
  const ai = yield* AiService.AiService
  const gateway = yield* GatewayService.GatewayService
  const options = { gateway: "gw" }
  const calls: Record<Exclude<Kind, "direct">, () => Effect.Effect<GatewayResponse, GatewayError>> = {
    one: () => gateway.run(leg("openai", run)),
    many: () => gateway.run([leg("groq", { ...run, fate: "fail" }), leg("openai", run)]),
    third: () => ai.run("openai/m", chat(run), options),
    own: () => ai.run("@cf/meta/llama-3.1-8b-instruct", chat(run), options)
  }
  return yield* run.kind === "direct" ? Effect.die("not ours") : calls[run.kind]()
})

/** A run of ours, with its id from the response or from the error. */
const ours = (run: Run) =>
  Effect.gen(function* () {
    const response = yield* send(run)
    const said = answerOf(yield* response.result)
    return { name: run.name, logId: response.meta.logId ?? null, said }
  }).pipe(
    Effect.catchTag("GatewayError", ({ logId, reason }) =>
      Effect.succeed({ name: run.name, logId: logId ?? null, said: reason._tag })
    ),
    (self) =>
      run.abort === undefined
        ? self
        : Effect.timeoutOrElse(self, {
            duration: Duration.millis(run.abort),
            orElse: () => Effect.succeed({ name: run.name, logId: null, said: "aborted" })
          }),
    LogTrail.collect,
    Effect.map(({ attempts, value }): Belief => {
      // The trail of one run must not know another id than the run itself.
      const others = attempts.filter(({ logId }) => logId !== undefined && logId !== value.logId)
      return others.length === 0 && attempts.length === 1 ? value : { ...value, said: `trail of ${attempts.length}` }
    })
  )

/** The same, written in the usual way. */
const direct = async (ai: Env["AI"], run: Run): Promise<Belief> => {
  const said = answerOf(await ai.run("@cf/meta/llama-3.1-8b-instruct", chat(run), { gateway: { id: "gw" } }))
  return { name: run.name, logId: ai.aiGatewayLogId, said }
}

let binding: Env["AI"] | undefined

export default Worker.make({
  layer: (env: Env) => {
    binding = env.AI
    return Layer.merge(AiService.layerBinding(env.AI), GatewayService.layerBinding(env.AI, { gateway: "gw" }))
  },
  fetch: Effect.fnUntraced(function* (request) {
    const runs: ReadonlyArray<Run> = yield* Effect.promise(() => request.json())
    const { AI } = { AI: binding as Env["AI"] }
    const beliefs = yield* Effect.forEach(
      runs,
      (run) => (run.kind === "direct" ? Effect.promise(() => direct(AI, run)) : ours(run)),
      { concurrency: "unbounded" }
    )
    const trail = yield* LogTrail.current
    const answer: Beliefs = {
      runs: beliefs,
      trail: trail.flatMap(({ logId }) => (logId === undefined ? [] : [logId])),
      attempts: trail.length
    }
    return Response.json(answer)
  })
})
