/**
 * A route as the `LanguageModel` of `effect/ai`: text, objects, tools and streams, with the route's fallbacks,
 * deadlines and log ids.
 *
 * Each call is one run of the route. The finish part carries `metadata.gateway`: target, log id, attempts and cost.
 *
 * **Gotchas**
 *
 * Retries belong to the route (`Route.retry`): a retryable `AiError` comes *after* all attempts, so `Effect.retry`
 * around a call multiplies them. A route with `Route.restart` is rejected, because no part of `effect/ai` can withdraw
 * text that a stream has delivered.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Model from "effect/ai/Model"
import * as Telemetry from "effect/ai/Telemetry"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Chat from "../Chat.ts"
import type { Problem } from "../GatewayOptions.ts"
import { usageAttributes } from "../internal/data/telemetry.ts"
import * as Route from "../Route.ts"
import { open, type Routed, Router } from "../Router.ts"
import { limited, optionsProblem, restartProblem, runOptionsOf } from "./call.ts"
import { StreamParts } from "./deltas.ts"
import { failWith, type Place, refusal } from "./failure.ts"
import { Config, type Options } from "./GatewayModel.ts"
import { partsOf } from "./reply.ts"
import { toRequest } from "./request.ts"
import { holding, transformer } from "./schema.ts"

/**
 * A route that answers chat requests.
 *
 * @category models
 */
export type ChatRoute = Route.Route<Chat.Request, Chat.Reply>

const module = "GatewayLanguageModel"

/**
 * Lists everything that is wrong with a route: each field, and what it accepts. A model of such a route fails every
 * call with the first problem.
 *
 * @category checks
 */
export const problems = (route: ChatRoute): ReadonlyArray<Problem> => [
  ...restartProblem(route),
  ...Route.problems(route)
]

interface Call {
  readonly route: ChatRoute
  readonly request: Chat.Request
  readonly config: Options
}

type Method = "generateText" | "generateObject" | "streamText"

const methodOf = ({ responseFormat }: LanguageModel.ProviderOptions): Method =>
  responseFormat.type === "json" ? "generateObject" : "generateText"

const annotate = (
  span: LanguageModel.ProviderOptions["span"],
  request: Chat.Request,
  answer: Pick<Routed<unknown>, "logId" | "model" | "provider" | "usage">,
  id: string | undefined,
  finishReason: string
): void => {
  const { maxTokens, seed, stop, temperature, topP } = request
  Telemetry.addGenAIAnnotations(span, {
    provider: { name: answer.provider },
    operation: { name: "chat" },
    request: { maxTokens, seed, temperature, topP, stopSequences: stop },
    response: { id, model: answer.model, finishReasons: [finishReason] }
  })
  for (const [name, value] of Object.entries(usageAttributes(answer.usage))) {
    if (value !== undefined) span.attribute(name, value)
  }
  if (answer.logId !== undefined) span.attribute("ai_gateway.log_id", answer.logId)
}

const isoNow = Effect.map(Clock.currentTimeMillis, (now) => new Date(now).toISOString())

/**
 * Makes the service. With an invalid route every call fails before anything is sent: see {@link problems}.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import { GatewayLanguageModel } from "effect-ai-gateway/ai"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const program = Effect.gen(function* () {
 *   const model = yield* GatewayLanguageModel.make(Provider.openai.chat("gpt-4.1-mini"))
 *   const answer = yield* model.generateText({ prompt: "What is a fiber?" })
 *   return answer.text
 * })
 * ```
 *
 * @category constructors
 */
export const make: (route: ChatRoute) => Effect.Effect<LanguageModel.LanguageModel, never, Router> = Effect.fnUntraced(
  function* (route: ChatRoute) {
    const router = yield* Router
    // When a call that continues an earlier answer by its id is rejected, Effect repeats it. Here the first one was the
    // complete request already.
    const refused = new WeakMap<LanguageModel.ProviderOptions["span"], AiError.AiError>()

    const prepare = (method: Method, options: LanguageModel.ProviderOptions) =>
      Effect.flatMap(Effect.service(Config), (config): Effect.Effect<Call, AiError.AiError> => {
        const place: Place = { module, method }
        const before = options.incrementalFallback === true ? refused.get(options.span) : undefined
        if (before !== undefined) return Effect.fail(before)
        const [problem = optionsProblem(config)] = restartProblem(route)
        if (problem !== undefined) return Effect.fail(refusal(place, problem))
        const request = toRequest(options, config.request)
        if (Result.isFailure(request)) return Effect.fail(AiError.make({ ...place, reason: request.failure }))
        const { responseFormat } = options
        const held = responseFormat.type === "json" ? holding(route, responseFormat.schema) : route
        return Effect.succeed({ route: limited(held, config), request: request.success, config })
      })

    const remember = (options: LanguageModel.ProviderOptions) => (error: AiError.AiError) =>
      Effect.sync(() => {
        if (options.incrementalPrompt !== undefined) refused.set(options.span, error)
      })

    const generateText = (options: LanguageModel.ProviderOptions) => {
      const place: Place = { module, method: methodOf(options) }
      const answered = Effect.flatMap(prepare(methodOf(options), options), ({ config, request, route }) =>
        Effect.matchEffect(router.run(route, request, runOptionsOf(config)), {
          onFailure: failWith(place),
          onSuccess: (routed) =>
            Effect.flatMap(isoNow, (now) => {
              annotate(options.span, request, routed, routed.value.id, routed.value.finishReason)
              return Effect.mapError(Effect.fromResult(partsOf(routed, options, now)), (reason) =>
                AiError.make({ ...place, reason })
              )
            })
        })
      )
      return Effect.tapError(answered, remember(options))
    }

    const streamText = (options: LanguageModel.ProviderOptions) => {
      const place: Place = { module, method: "streamText" }
      const opened = Effect.gen(function* () {
        const { config, request, route } = yield* prepare("streamText", options)
        // Not the service's own method: only this one brings the code for streams into a bundle.
        const opening = Effect.provideService(open(route, request, runOptionsOf(config)), Router, router)
        const streamed = yield* Effect.catch(opening, failWith(place))
        const parts = new StreamParts(options, yield* isoNow)
        const end = Effect.flatMap(streamed.summary, (summary) => {
          const { cacheStatus } = streamed.response.meta
          annotate(options.span, request, summary, parts.id, parts.finishReason ?? "other")
          return Effect.mapError(
            Effect.fromResult(parts.end(summary, { execution: streamed.execution, cacheStatus })),
            (reason) => AiError.make({ ...place, reason })
          )
        })
        return streamed.deltas.pipe(
          Stream.catch((error) => Stream.fromEffect(failWith(place)(error))),
          Stream.map((delta) => parts.add(delta)),
          Stream.flattenIterable,
          Stream.concat(Stream.fromIterableEffect(end))
        )
      })
      return Stream.unwrap(Effect.tapError(opened, remember(options)))
    }

    return yield* LanguageModel.make({ codecTransformer: transformer, generateText, streamText })
  }
)

/**
 * Provides the service as a layer, in place of the layer of another provider.
 *
 * @example
 * ```ts
 * import * as Layer from "effect/Layer"
 * import { GatewayLanguageModel } from "effect-ai-gateway/ai"
 * import * as LocalGateway from "effect-ai-gateway/local"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * const ask = Route.fallback(
 *   Provider.openai.chat("gpt-4.1-mini"),
 *   Provider.anthropic.messages("claude-haiku-4-5")
 * )
 *
 * export const ModelLive = GatewayLanguageModel.layer(ask).pipe(
 *   Layer.provide(Router.layer),
 *   Layer.provide(LocalGateway.layer())
 * )
 * ```
 *
 * @category layers
 */
export const layer = (route: ChatRoute): Layer.Layer<LanguageModel.LanguageModel, never, Router> =>
  Layer.effect(LanguageModel.LanguageModel, make(route))

/**
 * Name of the provider that a {@link model} reports. The finish part's metadata tells which one answered.
 *
 * @category constants
 */
export const providerName = "cloudflare-ai-gateway"

/**
 * Makes the service as a `Model` with a name, for steps of an `ExecutionPlan` and readers of `Model.ModelName`.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "effect/ai/LanguageModel"
 * import * as Effect from "effect/Effect"
 * import { GatewayLanguageModel } from "effect-ai-gateway/ai"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * const support = GatewayLanguageModel.model("support", Provider.openai.chat("gpt-4.1-mini"))
 *
 * export const program = LanguageModel.generateText({ prompt: "What is a fiber?" }).pipe(Effect.provide(support))
 * ```
 *
 * @category constructors
 */
export const model = (
  name: string,
  route: ChatRoute
): Model.Model<typeof providerName, LanguageModel.LanguageModel, Router> => Model.make(providerName, name, layer(route))
