/**
 * The route file, and the keys of providers from the environment.
 */
import * as Fs from "node:fs/promises"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Chat from "../../Chat.ts"
import { isRecord, parseJson } from "../../internal/data/json.ts"
import * as Route from "../../Route.ts"
import { CliFailure } from "./failure.ts"
import { detailOf } from "./runFailure.ts"

/** Environment variable for the key of a provider: `openai` is `OPENAI_API_KEY`. */
export const variableOf = (provider: string): string => `${provider.toUpperCase().replace(/[^A-Z0-9]+/g, "_")}_API_KEY`

/** The key of a provider, if the environment has one. */
export const keyOf = (provider: string): Effect.Effect<Redacted.Redacted<string> | undefined, CliFailure> =>
  Effect.mapBoth(Config.option(Config.Redacted(variableOf(provider))), {
    onFailure: () => new CliFailure({ message: `${variableOf(provider)}: expected a text` }),
    onSuccess: Option.getOrUndefined
  })

/** Providers of targets that name credentials. The file may have any shape. */
const providersIn = (json: unknown, depth = 0): ReadonlyArray<string> => {
  if (depth > 200) return []
  if (Array.isArray(json)) return json.flatMap((item) => providersIn(item, depth + 1))
  if (!isRecord(json)) return []
  const own = typeof json["provider"] === "string" && json["credentials"] !== undefined ? [json["provider"]] : []
  return [...own, ...Object.values(json).flatMap((value) => providersIn(value, depth + 1))]
}

const shown = 5

/**
 * Reads a route file (see `Route.RouteJson`). Credentials that it names come from the environment, see
 * {@link variableOf}. Fails with `CliFailure` naming each invalid field and its accepted values.
 */
export const read = Effect.fnUntraced(function* (
  path: string
): Effect.fn.Return<Route.Route<Chat.Input, Chat.Reply>, CliFailure> {
  const fail = (what: string) => new CliFailure({ message: `--route ${path}: ${what}` })
  const text = yield* Effect.tryPromise({
    try: () => Fs.readFile(path, "utf8"),
    catch: (error) => fail(`expected the path of a readable file: ${detailOf(error)}`)
  })
  const json = parseJson(text.replace(/^\ufeff/, ""))
  if (json === undefined) return yield* fail('expected JSON such as { "version": 1, "route": { … } }')
  const credentials: Record<string, Redacted.Redacted<string>> = {}
  const missing: Array<string> = []
  for (const provider of new Set(providersIn(json))) {
    const key = yield* keyOf(provider)
    if (key === undefined) missing.push(variableOf(provider))
    else credentials[provider] = key
  }
  const route = Route.fromJson(json, { credentials })
  if (Result.isSuccess(route)) return route.success
  const problems = route.failure.map(({ accepted, field }) => `${field}: expected ${accepted}`)
  const more = problems.length > shown ? `; and ${problems.length - shown} more` : ""
  const isAboutKeys = route.failure.some(({ field }) => field.endsWith(".credentials"))
  const hint = isAboutKeys && missing.length > 0 ? `; set ${missing.join(", ")}` : ""
  return yield* fail(problems.slice(0, shown).join("; ") + more + hint)
})

/** Identity of a route: its complete stored form, normalized, without credentials. */
export const textOf = (route: Route.Route<never, unknown>): string => {
  const json = Route.toJson(route)
  return Result.isSuccess(json) ? JSON.stringify(json.success) : Route.describe(route)
}
