/**
 * What requests cost: prices in US dollars per million tokens, by target or by model, and the sum over the attempts of a run.
 *
 * This is a calculator. The library brings no prices along: they change without notice, and a wrong one is worse than none.
 */
import type { Problem } from "./GatewayOptions.ts"
import { isRecord } from "./internal/data/json.ts"
import type { Usage } from "./internal/dialect/chat.ts"

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
 */
export interface Price {
  /** Input tokens that neither came from a prompt cache nor were written to one. */
  readonly input: number
  /** Output tokens. 0 for embeddings. */
  readonly output: number
  /** Input tokens that were read from the provider's prompt cache. Default: `input`. */
  readonly cacheRead?: number | undefined
  /** Input tokens that were written to the provider's prompt cache. Default: `input`. */
  readonly cacheWrite?: number | undefined
  /** Output tokens that were spent on thinking. Default: `output`. */
  readonly reasoning?: number | undefined
}

/**
 * Prices by name, the more exact name first: the key of a target, `provider/model` as the provider names the model in its answer, and
 * `provider/model` as the target names it. Names are compared exactly: a price of `openai/gpt-4.1` does not hold for `openai/gpt-4.1-2025-04-14`, unless
 * the target asks for `gpt-4.1`.
 *
 * @example
 * ```ts
 * import type * as Pricing from "effect-ai-gateway/Pricing"
 *
 * export const pricing: Pricing.Pricing = {
 *   "openai/gpt-4.1-mini": { input: 0.4, cacheRead: 0.1, output: 1.6 },
 *   "openai/text-embedding-3-small": { input: 0.02, output: 0 }
 * }
 * ```
 */
export interface Pricing {
  readonly [name: string]: Price
}

/** What requests cost. The sum of both amounts is the best guess, unless `unpriced` says that something is missing. */
export interface Cost {
  /** US dollars for tokens that providers reported. */
  readonly usd: number
  /**
   * US dollars for tokens that no provider reported: of attempts that failed, were interrupted or lost a race. Providers do not charge for most
   * requests that they refuse, so this is rather too much than too little.
   */
  readonly estimatedUsd: number
  /** Number of attempts that are in neither amount: there is no price for them, or nothing is known about their tokens. */
  readonly unpriced: number
}

/** What {@link priceOf} looks for. */
export interface Named {
  /** Key of the target. */
  readonly target: string
  readonly provider: string
  /** The model as the answer names it. */
  readonly model?: string | undefined
  /** The model as the target names it. */
  readonly requestedModel?: string | undefined
}

/** An attempt that was sent. */
export interface Spent extends Named {
  /** What the provider reported. */
  readonly usage?: Usage | undefined
  /** `HIT`: the gateway answered from its cache, which costs nothing. */
  readonly cacheStatus?: string | undefined
  /** Tokens of the input, and of what was delivered before the end. It counts where the provider reported nothing. */
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

/** Everything that is wrong with prices: names that are empty, fields that are missing or unknown, numbers out of range. */
export const problems = (pricing: Pricing): ReadonlyArray<Problem> =>
  isRecord(pricing)
    ? Object.entries(pricing).flatMap(([name, price]) => {
        const at = `pricing[${JSON.stringify(name)}]`
        const misnamed = name === "" || name !== name.trim() ? [{ field: at, accepted: nameAccepted }] : []
        return [...misnamed, ...priceProblems(at, price)]
      })
    : [{ field: "pricing", accepted: "an object of prices by name" }]

/** The price of a target's answer, or `undefined`. */
export const priceOf = (pricing: Pricing, { model, provider, requestedModel, target }: Named): Price | undefined => {
  const names = [target, ...[model, requestedModel].flatMap((one) => (one === undefined ? [] : `${provider}/${one}`))]
  const name = names.find((one) => Object.hasOwn(pricing, one))
  return name === undefined ? undefined : pricing[name]
}

const perMillion = (tokens: number, price: number): number => (tokens * price) / 1_000_000

const inputUsd = (price: Price, input: number, { cachedInputTokens = 0, cacheWriteTokens = 0 }: Usage): number =>
  // Cached tokens are a part of the input, so they are taken out of it before the rest is counted.
  perMillion(Math.max(0, input - cachedInputTokens - cacheWriteTokens), price.input) +
  perMillion(cachedInputTokens, price.cacheRead ?? price.input) +
  perMillion(cacheWriteTokens, price.cacheWrite ?? price.input)

const outputUsd = (price: Price, output: number, { reasoningTokens = 0 }: Usage): number =>
  perMillion(Math.max(0, output - reasoningTokens), price.output) +
  perMillion(reasoningTokens, price.reasoning ?? price.output)

/** US dollars for tokens, in the meaning of `Chat.Usage`: cached ones are a part of `inputTokens`, reasoning is one of `outputTokens`. */
export const usd = (price: Price, usage: Usage): number =>
  inputUsd(price, usage.inputTokens ?? 0, usage) + outputUsd(price, usage.outputTokens ?? 0, usage)

/** Costs nothing. */
export const none: Cost = { usd: 0, estimatedUsd: 0, unpriced: 0 }

const unpriced: Cost = { ...none, unpriced: 1 }

/** Adds costs up. */
export const sum = (costs: ReadonlyArray<Cost>): Cost =>
  costs.reduce(
    (all, cost) => ({
      usd: all.usd + cost.usd,
      estimatedUsd: all.estimatedUsd + cost.estimatedUsd,
      unpriced: all.unpriced + cost.unpriced
    }),
    none
  )

/** What is known of one side of the usage: the count, or what is left of the total. */
const known = (count: number | undefined, total: number | undefined, other: number | undefined): number | undefined =>
  count ?? (total === undefined || other === undefined ? undefined : Math.max(0, total - other))

/** What one attempt costs. */
export const costOf = (pricing: Pricing, spent: Spent): Cost => {
  if (spent.cacheStatus === "HIT") return none
  const price = priceOf(pricing, spent)
  if (price === undefined) return unpriced
  const { estimate, usage = {} } = spent
  const input = known(usage.inputTokens, usage.totalTokens, usage.outputTokens)
  const output = known(usage.outputTokens, usage.totalTokens, usage.inputTokens)
  // Embeddings report no output, and are charged for none.
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
 * What all attempts of a run cost together, failed and abandoned ones included.
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
 */
export const cost = (pricing: Pricing, attempts: ReadonlyArray<Spent>): Cost =>
  sum(attempts.map((spent) => costOf(pricing, spent)))
