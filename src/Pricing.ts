/**
 * Prices in US dollars per million tokens, by target or by model, and the cost of the attempts of a run.
 *
 * The library ships no prices, because they change without notice. {@link make} turns yours into a value that
 * `Router.layerWith({ pricing })` accepts. That value brings the calculator, so a router without prices does not
 * contain it.
 */
import { type Attempt, type Cost, Rejected } from "./GatewayError.ts"
import type { Problem } from "./GatewayOptions.ts"
import { inputTokens, mostOutputTokens } from "./internal/admission/estimate.ts"
import { defined } from "./internal/data/defined.ts"
import { isRecord } from "./internal/data/json.ts"
import type { Usage } from "./internal/dialect/chat.ts"

export type { Cost } from "./GatewayError.ts"

/**
 * Prices of one model, in US dollars per million tokens: numbers from 0 to 1,000,000.
 *
 * @example
 * ```ts
 * import type * as Pricing from "effect-ai-gateway/Pricing"
 *
 * // Cache reads at a tenth of the input price, writes at a quarter more.
 * export const price: Pricing.Price = { input: 3, output: 15, cacheRead: 0.3, cacheWrite: 3.75 }
 * ```
 *
 * @category models
 */
export interface Price {
  /** Input tokens neither read from nor written to a prompt cache. */
  readonly input: number
  /** Output tokens. 0 for embeddings. */
  readonly output: number
  /** Input tokens read from the provider's prompt cache. Default: `input`. */
  readonly cacheRead?: number | undefined
  /** Input tokens written to the provider's prompt cache. Default: `input`. */
  readonly cacheWrite?: number | undefined
  /** Output tokens used for reasoning. Default: `output`. */
  readonly reasoning?: number | undefined
}

/**
 * Prices by name. Lookup order: the target's key; `provider/model` from the answer; `provider/model` as requested.
 * Names are compared exactly: a price of `openai/gpt-4.1` does not apply to `openai/gpt-4.1-2025-04-14`, unless the
 * request named `gpt-4.1`. For `compat`, the provider is the first part of the model's name.
 *
 * @example
 * ```ts
 * import type * as Pricing from "effect-ai-gateway/Pricing"
 *
 * export const prices: Pricing.Prices = {
 *   "openai/gpt-4.1-mini": { input: 0.4, cacheRead: 0.1, output: 1.6 },
 *   "openai/text-embedding-3-small": { input: 0.02, output: 0 }
 * }
 * ```
 *
 * @category models
 */
export interface Prices {
  readonly [name: string]: Price
}

/**
 * The names under which {@link priceOf} looks for a price.
 *
 * @category models
 */
export interface Named {
  /** Key of the target. */
  readonly target: string
  readonly provider: string
  /** The model named in the answer. */
  readonly model?: string | undefined
  /** The model named by the target. */
  readonly requestedModel?: string | undefined
}

/**
 * Facts about an attempt that was sent, which determine its cost.
 *
 * @category models
 */
export interface Spent extends Named {
  /** Tokens that the provider reported. */
  readonly usage?: Usage | undefined
  /** `HIT`: the gateway answered from its cache, which costs nothing. */
  readonly cacheStatus?: string | undefined
  /** Tokens of the input, and of the output delivered before the end. Used when the provider reported nothing. */
  readonly estimate?: { readonly inputTokens: number; readonly outputTokens: number } | undefined
}

const fields: ReadonlyArray<string> = ["input", "output", "cacheRead", "cacheWrite", "reasoning"]
const required: ReadonlyArray<string> = ["input", "output"]
const maxPrice = 1_000_000
const priceAccepted = `US dollars per million tokens: a number from 0 to ${maxPrice}`
const nameAccepted = "the key of a target, or provider/model, without spaces around it"

const isPrice = (value: unknown): boolean => typeof value === "number" && value >= 0 && value <= maxPrice

const priceProblems = (at: string, price: unknown): ReadonlyArray<Problem> => {
  if (!isRecord(price)) return [{ field: at, accepted: "an object with `input` and `output`" }]
  const stray = Object.keys(price).filter((name) => !fields.includes(name) && price[name] !== undefined)
  return [
    ...fields
      .filter((name) => (price[name] === undefined ? required.includes(name) : !isPrice(price[name])))
      .map((name) => ({ field: `${at}.${name}`, accepted: priceAccepted })),
    ...stray.map((name) => ({ field: `${at}.${name}`, accepted: `one of ${fields.join(", ")}` }))
  ]
}

/**
 * Lists the problems of prices: empty names, missing or unknown fields, numbers out of range.
 *
 * @category checks
 */
export const problems = (prices: Prices): ReadonlyArray<Problem> =>
  isRecord(prices)
    ? Object.entries(prices).flatMap(([name, price]) => {
        const at = `pricing[${JSON.stringify(name)}]`
        const misnamed = name === "" || name !== name.trim() ? [{ field: at, accepted: nameAccepted }] : []
        return [...misnamed, ...priceProblems(at, price)]
      })
    : [{ field: "pricing", accepted: "an object of prices by name" }]

/** The provider that receives a request through `compat`. */
const behind = (model: string): string => model.slice(0, model.indexOf("/"))

/**
 * Looks up a price in the order of {@link Prices}; `undefined` if there is none.
 *
 * @category calculating
 */
export const priceOf = (prices: Prices, { model, provider, requestedModel, target }: Named): Price | undefined => {
  const isCompat = provider === "compat" && requestedModel?.includes("/") === true
  const answered = isCompat ? behind(requestedModel) : provider
  const names = [
    target,
    ...(model === undefined ? [] : [`${answered}/${model}`]),
    ...(requestedModel === undefined ? [] : [`${provider}/${requestedModel}`, ...(isCompat ? [requestedModel] : [])])
  ]
  const name = names.find((one) => Object.hasOwn(prices, one))
  return name === undefined ? undefined : prices[name]
}

const perMillion = (tokens: number, price: number): number => (tokens * price) / 1_000_000

const inputUsd = (price: Price, input: number, { cachedInputTokens = 0, cacheWriteTokens = 0 }: Usage): number =>
  // Cached tokens are part of the input, so they are subtracted before the rest is counted.
  perMillion(Math.max(0, input - cachedInputTokens - cacheWriteTokens), price.input) +
  perMillion(cachedInputTokens, price.cacheRead ?? price.input) +
  perMillion(cacheWriteTokens, price.cacheWrite ?? price.input)

const outputUsd = (price: Price, output: number, { reasoningTokens = 0 }: Usage): number =>
  perMillion(Math.max(0, output - reasoningTokens), price.output) +
  perMillion(reasoningTokens, price.reasoning ?? price.output)

/**
 * Computes the cost in US dollars. As in `Chat.Usage`, `inputTokens` includes cached tokens and `outputTokens` includes
 * reasoning tokens.
 *
 * @example
 * ```ts
 * import * as Pricing from "effect-ai-gateway/Pricing"
 *
 * console.log(Pricing.usd({ input: 2, output: 8 }, { inputTokens: 500, outputTokens: 250 })) // 0.003
 * ```
 *
 * @category calculating
 */
export const usd = (price: Price, usage: Usage): number =>
  inputUsd(price, usage.inputTokens ?? 0, usage) + outputUsd(price, usage.outputTokens ?? 0, usage)

/**
 * The zero cost.
 *
 * @category calculating
 */
export const none: Cost = { usd: 0, estimatedUsd: 0, unpriced: 0 }

const unpriced: Cost = { ...none, unpriced: 1 }

/**
 * Adds costs.
 *
 * @category calculating
 */
export const sum = (costs: ReadonlyArray<Cost>): Cost =>
  costs.reduce(
    (all, cost) => ({
      usd: all.usd + cost.usd,
      estimatedUsd: all.estimatedUsd + cost.estimatedUsd,
      unpriced: all.unpriced + cost.unpriced
    }),
    none
  )

/** The tokens of one side: as reported, or the total minus the other side. */
const known = (count: number | undefined, total: number | undefined, other: number | undefined): number | undefined =>
  count ?? (total === undefined || other === undefined ? undefined : Math.max(0, total - other))

/**
 * Computes the cost of one attempt.
 *
 * @category calculating
 */
export const costOf = (prices: Prices, spent: Spent): Cost => {
  if (spent.cacheStatus === "HIT") return none
  const price = priceOf(prices, spent)
  if (price === undefined) return unpriced
  const { estimate, usage = {} } = spent
  const input = known(usage.inputTokens, usage.totalTokens, usage.outputTokens)
  const output = known(usage.outputTokens, usage.totalTokens, usage.inputTokens)
  // Embeddings report no output and charge for none.
  const isComplete = input !== undefined && (output !== undefined || price.output === 0)
  if (!isComplete && estimate === undefined) return unpriced
  const [guessedInput, guessedOutput] = [estimate?.inputTokens ?? 0, estimate?.outputTokens ?? 0]
  return {
    usd:
      (input === undefined ? 0 : inputUsd(price, input, usage)) +
      (output === undefined ? 0 : outputUsd(price, output, usage)),
    estimatedUsd:
      (input === undefined ? perMillion(guessedInput, price.input) : 0) +
      (output === undefined ? perMillion(guessedOutput, price.output) : 0),
    unpriced: 0
  }
}

/**
 * Computes the cost of all attempts of a run, including failed and abandoned ones.
 *
 * @example
 * ```ts
 * import * as Pricing from "effect-ai-gateway/Pricing"
 *
 * const prices = { "openai/gpt-4.1-mini": { input: 0.4, cacheRead: 0.1, output: 1.6 } }
 * const target = { target: "openai/gpt-4.1-mini", provider: "openai", model: "gpt-4.1-mini" }
 * // { usd: 0.00062, estimatedUsd: 0.00048, unpriced: 0 }
 * export const cost = Pricing.cost(prices, [
 *   { ...target, estimate: { inputTokens: 1200, outputTokens: 0 } },
 *   { ...target, usage: { inputTokens: 1000, cachedInputTokens: 600, outputTokens: 250 } }
 * ])
 * ```
 *
 * @category calculating
 */
export const cost = (prices: Prices, attempts: ReadonlyArray<Spent>): Cost =>
  sum(attempts.map((spent) => costOf(prices, spent)))

/**
 * A target as named in its request.
 *
 * @category models
 */
export type Requested = Pick<Named, "target" | "provider" | "requestedModel">

/**
 * An open attempt.
 *
 * @category models
 */
export interface Spending {
  /** Ends the attempt. `delivered`: the part of its answer that the caller received, as JSON. */
  readonly end: (attempt: Attempt, delivered?: unknown) => Cost
}

/**
 * Adds up the costs of one run. For routers of your own.
 *
 * @category models
 */
export interface Meter {
  /** The costs of all ended attempts. */
  readonly total: () => Cost
  /** Whether {@link begin} would allow an attempt on one target. */
  readonly fits: (target: Requested, body: unknown) => boolean
  /**
   * Begins an attempt that sends `body` to one of `targets`: the first, unless its record names another. A `Rejected`
   * means that the attempt must not be sent, because the run could exceed its limit; the possible costs of open
   * attempts count too.
   */
  readonly begin: (targets: ReadonlyArray<Requested>, body: unknown) => Spending | Rejected
}

/**
 * Prices that a router can use; see {@link make}.
 *
 * @category models
 */
export interface Pricing {
  readonly prices: Prices
  /** Problems of the prices. If there are any, a router fails its runs before anything is sent. */
  readonly problems: ReadonlyArray<Problem>
  /** Problems of a limit in US dollars, for a run that may call these targets. */
  readonly limitProblems: (limit: number, targets: ReadonlyArray<Requested>) => ReadonlyArray<Problem>
  /** Makes the meter of one run. `limit`: US dollars. Default: none. */
  readonly meter: (limit?: number) => Meter
}

/** The part of a usage that is final when an answer breaks off: the input. */
const inputOnly = ({ cachedInputTokens, cacheWriteTokens, inputTokens }: Usage): Usage =>
  defined({ inputTokens, cachedInputTokens, cacheWriteTokens })

const isWhole = ({ inputTokens, outputTokens }: Usage): boolean =>
  inputTokens !== undefined && outputTokens !== undefined

/** The model's output in a chat answer, as a stream delivers it. The provider's body contains it a second time. */
const saidIn = (delivered: unknown): unknown => {
  if (!isRecord(delivered) || !("raw" in delivered) || typeof delivered["text"] !== "string") return delivered
  const { reasoning = "", text, toolCalls } = delivered
  const calls = Array.isArray(toolCalls) && toolCalls.length > 0 ? JSON.stringify(toolCalls) : ""
  return `${text}${typeof reasoning === "string" ? reasoning : ""}${calls}`
}

/** Tokens of the delivered output. Audio and images are not counted by their bytes. */
const deliveredTokens = (delivered: unknown): number => {
  const said = ArrayBuffer.isView(delivered) ? undefined : saidIn(delivered)
  return said === undefined || said === "" ? 0 : (inputTokens(said) ?? 0)
}

/**
 * Upper bound of a request's cost in US dollars: all of its input at its highest price, and all of the allowed output.
 */
const mostUsd = ({ cacheRead = 0, cacheWrite = 0, input, output, reasoning = 0 }: Price, body: unknown): number =>
  perMillion(inputTokens(body) ?? 0, Math.max(input, cacheRead, cacheWrite)) +
  perMillion(mostOutputTokens(body), Math.max(output, reasoning))

/** Sums of fractions are inexact: a limit holds to a billionth of its value. */
const tolerance = 1 + 1e-9

const maxLimit = 1_000_000

class RunMeter implements Meter {
  private readonly prices: Prices
  private readonly limit: number | undefined
  private spent = none
  /** Upper bound of the costs of open attempts. */
  private open = 0

  constructor(prices: Prices, limit: number | undefined) {
    this.prices = prices
    this.limit = limit
  }

  total(): Cost {
    return this.spent
  }

  begin(targets: ReadonlyArray<Requested>, body: unknown): Spending | Rejected {
    const most = this.limit === undefined ? 0 : this.reserve(targets, body, this.limit)
    if (typeof most !== "number") return most
    return {
      end: (attempt, delivered) => {
        this.open -= most
        const cost = this.costOf(attempt, targets, body, delivered)
        this.spent = sum([this.spent, cost])
        return cost
      }
    }
  }

  fits(target: Requested, body: unknown): boolean {
    return this.limit === undefined || this.with(this.most(target, body)) <= this.limit * tolerance
  }

  /** Upper bound of an attempt's cost. */
  private most(target: Requested | undefined, body: unknown): number {
    const price = target && priceOf(this.prices, target)
    return price === undefined ? Number.POSITIVE_INFINITY : mostUsd(price, body)
  }

  /** Upper bound of the run's cost with this attempt. */
  private with(most: number): number {
    return this.spent.usd + this.spent.estimatedUsd + this.open + most
  }

  private reserve([first]: ReadonlyArray<Requested>, body: unknown, limit: number): number | Rejected {
    const most = this.most(first, body)
    const all = this.with(most)
    if (all > limit * tolerance) {
      return new Rejected({ by: "cost", detail: `the run may cost ${limit} US dollars, and could cost ${all}` })
    }
    this.open += most
    return most
  }

  private costOf(attempt: Attempt, targets: ReadonlyArray<Requested>, body: unknown, delivered: unknown): Cost {
    const { cacheStatus, model, outcome, provider, target, usage } = attempt
    const requested = targets.find((one) => one.target === target) ?? targets[0]
    // A stream reports usage as it goes; its last report is the final one.
    const final = outcome === "success" ? usage : usage && inputOnly(usage)
    const needsEstimate = final === undefined || !isWhole(final)
    return costOf(this.prices, {
      target,
      provider,
      ...defined({ model, requestedModel: requested?.requestedModel, cacheStatus, usage: final }),
      ...(needsEstimate && {
        estimate: {
          inputTokens: inputTokens(body) ?? 0,
          outputTokens: Math.max(deliveredTokens(delivered), usage?.outputTokens ?? 0)
        }
      })
    })
  }
}

/**
 * Makes prices that a router can use. Never throws: invalid prices (see {@link problems}) fail the router's runs.
 *
 * @example
 * ```ts
 * import * as Pricing from "effect-ai-gateway/Pricing"
 * import * as Router from "effect-ai-gateway/Router"
 *
 * export const layer = Router.layerWith({
 *   pricing: Pricing.make({
 *     "openai/gpt-4.1-mini": { input: 0.4, cacheRead: 0.1, output: 1.6 },
 *     "anthropic/claude-haiku-4-5": { input: 1, cacheRead: 0.1, cacheWrite: 1.25, output: 5 }
 *   })
 * })
 * ```
 *
 * @category constructors
 */
export const make = (prices: Prices): Pricing => ({
  prices,
  problems: problems(prices),
  limitProblems: (limit, targets) =>
    typeof limit === "number" && limit >= 0 && limit <= maxLimit
      ? targets.flatMap((one) =>
          priceOf(prices, one) === undefined ? [{ field: "maxCost", accepted: `a price for ${one.target}` }] : []
        )
      : [{ field: "maxCost", accepted: `US dollars: a number from 0 to ${maxLimit}` }],
  meter: (limit) => new RunMeter(prices, limit)
})
