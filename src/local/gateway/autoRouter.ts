/** `cloudflare/auto`: selects one model of a pool. The first model that the request's headers allow answers. */
import * as Result from "effect/Result"
import { badRequest, type Refusal } from "../wire/errors.ts"

/** The name that stands for any model of the pool. */
export const autoModel = "cloudflare/auto"

export const modelsHeader = "cf-aig-allowed-models"
export const providersHeader = "cf-aig-allowed-providers"

/** Longest header, in characters. */
const maxHeader = 4096

/** The choice and its reason, in the service's words. */
export interface Routing {
  readonly model: string
  readonly reason: "cost_optimal_within_pool" | "forced_by_candidate_pool"
}

const listOf = (text: string): ReadonlyArray<string> =>
  text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "")

/** Whether a name has the form of an entry, part by part; `*` stands for any text without a slash. */
const fits = (entry: string, model: string): boolean => {
  const [asked, has] = [entry.split("/"), model.split("/")]
  return asked.length === has.length && asked.every((part, i) => fitsPart(part, has[i] ?? ""))
}

const fitsPart = (part: string, text: string): boolean => {
  const [start = "", ...others] = part.split("*")
  if (others.length === 0) return part === text
  const end = others.pop() ?? ""
  if (!text.startsWith(start) || !text.endsWith(end) || text.length < start.length + end.length) return false
  let at = start.length
  for (const piece of others) {
    const found = text.indexOf(piece, at)
    if (found < 0 || found + piece.length > text.length - end.length) return false
    at = found + piece.length
  }
  return true
}

/**
 * Chooses a model of the pool, all of them `provider-slug/model`. Fails when an entry allows nothing, or all entries
 * together do.
 */
export const choose = (
  pool: ReadonlyArray<string>,
  models: string | undefined,
  providers: string | undefined
): Result.Result<Routing, Refusal> => {
  const fail = (header: string, accepted: string) => Result.fail(badRequest(`${header}: expected ${accepted}`))
  for (const [header, text] of [
    [modelsHeader, models],
    [providersHeader, providers]
  ] as const) {
    if ((text?.length ?? 0) > maxHeader) return fail(header, `at most ${maxHeader} characters`)
  }
  const entries = models === undefined ? ["*/*", "*/*/*", "*/*/*/*"] : listOf(models)
  const lost = models === undefined ? undefined : entries.find((entry) => !pool.some((model) => fits(entry, model)))
  if (lost !== undefined || entries.length === 0) {
    return fail(modelsHeader, `models of the pool (${pool.join(", ")}), not ${JSON.stringify(lost ?? models)}`)
  }
  const slugs = providers === undefined ? undefined : listOf(providers)
  const allowed = pool.filter(
    (model) =>
      entries.some((entry) => fits(entry, model)) &&
      (slugs === undefined || slugs.includes(model.slice(0, model.indexOf("/"))))
  )
  const [model] = allowed
  if (model === undefined) return fail(providersHeader, `providers of allowed models of the pool (${pool.join(", ")})`)
  const isForced = allowed.length === 1 && pool.length > 1
  return Result.succeed({ model, reason: isForced ? "forced_by_candidate_pool" : "cost_optimal_within_pool" })
}
