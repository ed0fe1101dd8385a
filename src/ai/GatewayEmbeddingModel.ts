/**
 * A route as the `EmbeddingModel` of `effect/ai`. A list that is too long for a provider is sent in several requests,
 * each a run of the route.
 *
 * **Gotchas**
 *
 * All targets must be the same model. Vectors of two models cannot be compared, so a fallback to another model would
 * corrupt an index without an error. The same model at another provider is fine.
 */
import * as AiError from "effect/ai/AiError"
import * as EmbeddingModel from "effect/ai/EmbeddingModel"
import * as Model from "effect/ai/Model"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Chat from "../Chat.ts"
import type { Problem } from "../GatewayOptions.ts"
import { strayField } from "../internal/data/json.ts"
import * as Route from "../Route.ts"
import { Router } from "../Router.ts"
import { limited, optionsProblem, runOptionsOf } from "./call.ts"
import { failWith, type Place, refusal } from "./failure.ts"
import { providerName } from "./GatewayLanguageModel.ts"
import { Config } from "./GatewayModel.ts"

/**
 * A route that makes embeddings.
 *
 * @category models
 */
export type EmbeddingRoute = Route.Route<Chat.EmbeddingRequest, Chat.Embeddings>

/**
 * Options of {@link make}.
 *
 * @category models
 */
export interface Options {
  /**
   * Maximum number of texts in one request, 1 to 2,048. Default: the smallest maximum among the route's providers, see
   * {@link batchSizes}.
   */
  readonly batchSize?: number | undefined
  /** Maximum number of requests of one call at once, 1 to 100. Default 4. */
  readonly concurrency?: number | undefined
  /** Length of the vectors, 1 to 65,536; an answer of another length is an error. Default: the model's own. */
  readonly dimensions?: number | undefined
  /**
   * Whether to request `dimensions` from the provider. `false`: the model has that length anyway, as all models of
   * Workers AI do. Default `true`.
   */
  readonly shorten?: boolean | undefined
  /** Declares that the targets are one model under several names, so their names are not compared. Default `false`. */
  readonly sameModel?: boolean | undefined
}

/**
 * Options of {@link model}, which also provides the length of its vectors.
 *
 * @category models
 */
export interface ModelOptions extends Options {
  /** Length of the vectors, for `EmbeddingModel.Dimensions`. */
  readonly dimensions: number
}

/**
 * Maximum number of texts in one request, by provider. The others take {@link defaultBatchSize}.
 *
 * @category constants
 */
export const batchSizes: Readonly<Record<string, number>> = {
  openai: 2_048,
  "azure-openai": 2_048,
  "workers-ai": 100
}

/**
 * Maximum number of texts in one request to a provider without a documented limit.
 *
 * @category constants
 */
export const defaultBatchSize = 96

const module = "GatewayEmbeddingModel"
const names = ["batchSize", "concurrency", "dimensions", "sameModel", "shorten"]

const isCount = (value: number | undefined, most: number): boolean =>
  value === undefined || (Number.isInteger(value) && value >= 1 && value <= most)

/** A model's name without the provider or the author before it: `@cf/baai/bge-m3` and `baai/bge-m3` are one model. */
const bareName = (model: string): string => model.slice(model.lastIndexOf("/") + 1).toLowerCase()

const spacesOf = (route: EmbeddingRoute): ReadonlySet<string> =>
  new Set(
    route.planned.targets.map(({ key, leaf }) => {
      const { dimensions } = leaf.spec?.body ?? {}
      return leaf.model === undefined ? key : `${bareName(leaf.model)} ${dimensions ?? ""}`
    })
  )

/**
 * Lists everything that is wrong with a route or its options. A model made of them fails every call with the first
 * problem, before anything is sent.
 *
 * @category checks
 */
export const problems = (route: EmbeddingRoute, options: Options = {}): ReadonlyArray<Problem> => {
  const { batchSize, concurrency, dimensions, sameModel = false, shorten = true } = options
  const found: Array<Problem> = []
  const check = (holds: boolean, field: string, accepted: string) => {
    if (!holds) found.push({ field, accepted })
  }
  const stray = strayField(options, names)
  check(stray === undefined, String(stray), `one of ${names.join(", ")}`)
  check(isCount(batchSize, 2_048), "batchSize", "a whole number from 1 to 2048")
  check(isCount(concurrency, 100), "concurrency", "a whole number from 1 to 100")
  check(isCount(dimensions, 65_536), "dimensions", "a whole number from 1 to 65536")
  check(typeof sameModel === "boolean", "sameModel", "true or false")
  check(typeof shorten === "boolean", "shorten", "true or false")
  const models = [...spacesOf(route)].map((space) => space.trim())
  check(
    sameModel || models.length <= 1,
    "route",
    `one model at all targets, or sameModel: true (vectors of ${models.join(" and ")} cannot be compared)`
  )
  return [...found, ...Route.problems(route)]
}

const batchSizeOf = (route: EmbeddingRoute): number =>
  Math.min(...route.planned.targets.map(({ leaf }) => batchSizes[leaf.provider] ?? defaultBatchSize))

const chunksOf = <A>(items: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size))

/** A route whose targets must return one vector for each text: an extra or a missing one would shift the rest. */
const forEachOf = (route: EmbeddingRoute, { length }: ReadonlyArray<string>): EmbeddingRoute =>
  Route.validate(route, ({ vectors }) => vectors.length === length || `${vectors.length} vectors instead of ${length}`)

/** Sum of the tokens of several requests; unknown if one of them is. */
const sumOf = (counts: ReadonlyArray<number | undefined>): number | undefined =>
  counts.reduce<number | undefined>((sum, n) => (sum === undefined || n === undefined ? undefined : sum + n), 0)

/**
 * Makes the service. Calls of `embed` at the same time become one request, unless their `GatewayModel.Config` differs.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import { GatewayEmbeddingModel } from "effect-ai-gateway/ai"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const program = Effect.gen(function* () {
 *   const model = yield* GatewayEmbeddingModel.make(Provider.workersAi.embeddings("@cf/baai/bge-m3"))
 *   const { embeddings } = yield* model.embedMany(["one", "two"])
 *   return embeddings.map(({ vector }) => vector.length)
 * })
 * ```
 *
 * @category constructors
 */
export const make: (
  route: EmbeddingRoute,
  options?: Options
) => Effect.Effect<EmbeddingModel.EmbeddingModel, never, Router> = Effect.fnUntraced(function* (
  route: EmbeddingRoute,
  options: Options = {}
) {
  const router = yield* Router
  const place: Place = { module, method: "embedMany" }
  const [unfit] = problems(route, options)
  const { concurrency = 4, dimensions, shorten = true } = options
  const batchSize = options.batchSize ?? batchSizeOf(route)
  const asked = dimensions === undefined || !shorten ? {} : { dimensions }

  const embedMany = ({ inputs }: EmbeddingModel.ProviderOptions) =>
    Effect.flatMap(
      Effect.service(Config),
      (config): Effect.Effect<EmbeddingModel.ProviderResponse, AiError.AiError> => {
        const problem = unfit ?? optionsProblem(config)
        if (problem !== undefined) return Effect.fail(refusal(place, problem))
        const runs = Effect.forEach(
          chunksOf(inputs, batchSize),
          (input) =>
            Effect.catch(
              router.run(limited(forEachOf(route, input), config), { input, ...asked }, runOptionsOf(config)),
              failWith(place)
            ),
          { concurrency }
        )
        return Effect.flatMap(runs, (answers) => {
          const results = answers.flatMap(({ value }) => value.vectors.map((vector) => vector.slice()))
          const length = dimensions ?? results[0]?.length
          const stray = results.find((vector) => vector.length !== length)
          return stray === undefined
            ? Effect.succeed({ results, usage: { inputTokens: sumOf(answers.map(({ usage }) => usage?.inputTokens)) } })
            : Effect.fail(
                AiError.make({
                  ...place,
                  reason: new AiError.InvalidResponseError({
                    description: `a vector of length ${stray.length} instead of ${length}`
                  })
                })
              )
        })
      }
    )

  return yield* EmbeddingModel.make({ embedMany, batchKey: Context.get(Config) })
})

/**
 * Provides the service as a layer.
 *
 * @category layers
 */
export const layer = (
  route: EmbeddingRoute,
  options?: Options
): Layer.Layer<EmbeddingModel.EmbeddingModel, never, Router> =>
  Layer.effect(EmbeddingModel.EmbeddingModel, make(route, options))

/**
 * Makes the service as a `Model`, with a name and the length of its vectors.
 *
 * @example
 * ```ts
 * import { GatewayEmbeddingModel } from "effect-ai-gateway/ai"
 * import * as Provider from "effect-ai-gateway/Provider"
 *
 * export const search = GatewayEmbeddingModel.model("search", Provider.workersAi.embeddings("@cf/baai/bge-m3"), {
 *   dimensions: 1024,
 *   shorten: false
 * })
 * ```
 *
 * @category constructors
 */
export const model = (
  name: string,
  route: EmbeddingRoute,
  options: ModelOptions
): Model.Model<typeof providerName, EmbeddingModel.EmbeddingModel | EmbeddingModel.Dimensions, Router> =>
  Model.make(
    providerName,
    name,
    Layer.merge(
      Layer.effect(EmbeddingModel.EmbeddingModel, make(route, options)),
      Layer.succeed(EmbeddingModel.Dimensions, options.dimensions)
    )
  )
