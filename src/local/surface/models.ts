/**
 * The model catalogue's search.
 */
import * as Result from "effect/Result"
import type { Model } from "../gateway/options.ts"
import { apiSuccess, badRequest, type Refusal } from "../wire/errors.ts"
import type { Answer } from "../wire/protocol.ts"

const has = (text: string, part: string): boolean => text.toLowerCase().includes(part.toLowerCase())

const tests: Readonly<Record<string, (model: Model, value: string) => boolean>> = {
  search: (model, value) => has(model.name, value) || has(model.description, value),
  task: (model, value) => model.task.name.toLowerCase() === value.toLowerCase() || model.task.id === value,
  author: (model, value) =>
    has(model.name, `${value}/`) && model.name.replace(/^@[a-z]+\//, "").startsWith(`${value}/`),
  source: (model, value) => String(model.source) === value,
  // No model here is experimental.
  hide_experimental: () => true
}

/** Reads a whole number from 1. */
export const whole = (
  params: URLSearchParams,
  name: string,
  fallback: number,
  max: number
): Result.Result<number, Refusal> => {
  const value = params.get(name)
  const number = value === null ? fallback : /^\d{1,9}$/.test(value) ? Number(value) : 0
  return number >= 1 && number <= max
    ? Result.succeed(number)
    : Result.fail(badRequest(`${name}: expected 1 to ${max}`))
}

/** Answers a search; fails for an unknown parameter. */
export const search = (models: ReadonlyArray<Model>, params: URLSearchParams): Result.Result<Answer, Refusal> =>
  Result.gen(function* () {
    const page = yield* whole(params, "page", 1, 1_000_000)
    const perPage = yield* whole(params, "per_page", 50, 100)
    let found = models
    for (const [name, value] of params) {
      if (name === "page" || name === "per_page") continue
      const test = Object.hasOwn(tests, name) ? tests[name] : undefined
      if (test === undefined) return yield* Result.fail(badRequest(`unknown query parameter ${JSON.stringify(name)}`))
      found = found.filter((model) => test(model, value))
    }
    const result = found.slice((page - 1) * perPage, page * perPage)
    return apiSuccess(result, {
      result_info: { count: result.length, page, per_page: perPage, total_count: found.length }
    })
  })
