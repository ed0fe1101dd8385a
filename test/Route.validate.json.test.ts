/**
 * Checks in stored routes: JSON Schemas of the answer.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Chat from "effect-ai-gateway/Chat"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as scripted from "./support/scripted.ts"
import { groq, openai } from "./support/streamRuns.ts"

const score = Schema.Struct({
  text: Schema.fromJsonString(
    Schema.Struct({
      score: Schema.Number.check(Schema.isBetween({ minimum: 0, maximum: 10 })),
      tags: Schema.Array(Schema.String.check(Schema.isMinCodePoints(2), Schema.isPattern(/^[a-z]*$/u))),
      verdict: Schema.optionalKey(Schema.Literals(["yes", "no"]))
    })
  ),
  finishReason: Schema.Literals(["stop", "length"])
})

const routeOf = (validate: unknown, more: object = {}) => ({
  version: 1,
  route: {
    validate,
    fallback: [
      { provider: "openai", model: "m" },
      { provider: "groq", model: "m" }
    ],
    ...more
  }
})

/** The target that answers `text` first, or the failure. */
const answeredBy = (route: Route.Route<Chat.Input, Chat.Reply>, text: string) =>
  Effect.gen(function* () {
    const { layer } = scripted.make({ openai: [{ body: scripted.completion(text) }], groq: [{ status: 500 }] })
    const result = yield* Effect.result(Effect.provide(Router.run(route, "hi", { quiet: true }), layer))
    return Result.isSuccess(result)
  })

const read = (json: unknown) => Result.getOrThrow(Route.fromJson(json))

describe("a stored check", () => {
  it.effect("accepts and rejects the same answers as the Schema it was written from", () =>
    Effect.gen(function* () {
      const route = Route.validate(Route.fallback(openai, groq), score)
      const json = JSON.parse(JSON.stringify(Result.getOrThrow(Route.toJson(route))))
      const stored = read(json)
      const texts = [
        `{"score":3,"tags":["ab"]}`,
        `{"score":3,"tags":[],"verdict":"yes","more":1}`,
        `{"score":11,"tags":[]}`,
        `{"score":3,"tags":["a"]}`,
        `{"score":3,"tags":["a1"]}`,
        `{"score":"NaN","tags":[]}`,
        `{"score":3}`,
        `{"score":3,"tags":[],"verdict":"maybe"}`,
        "no JSON"
      ]
      for (const text of texts) {
        assert.strictEqual(yield* answeredBy(stored, text), yield* answeredBy(route, text), text)
      }
      assert.deepStrictEqual(Result.getOrThrow(Route.toJson(stored)), json)
      assert.strictEqual(Route.describe(stored), Route.describe(route))
    })
  )

  it.effect("rejects fields that a closed object does not name", () =>
    Effect.gen(function* () {
      const closed = (additionalProperties: boolean) =>
        read(
          routeOf({
            properties: {
              text: {
                type: "string",
                contentMediaType: "application/json",
                contentSchema: { type: "object", properties: { a: { type: "number" } }, additionalProperties }
              }
            }
          })
        )
      assert.deepStrictEqual(
        yield* Effect.all([
          answeredBy(closed(true), `{"a":1,"b":2}`),
          answeredBy(closed(false), `{"a":1,"b":2}`),
          answeredBy(closed(false), `{"a":1}`)
        ]),
        [true, false, true]
      )
    })
  )

  it("is the innermost setting, and nested ones stay nested", () => {
    const json = routeOf({ required: ["text"] }, { timeout: "5 seconds", fallbackOn: ["InvalidResponse"] })
    const expected = ["timeout 5s until", "fall back on", "validate by a schema", "fallback"]
    const shown = Route.describe(read(json)).split("\n")
    for (const [i, line] of expected.entries()) assert.include(shown[i], line)
    const twice = Route.validate(read(routeOf({ required: ["text"] })), Schema.Struct({ text: Schema.NonEmptyString }))
    assert.deepStrictEqual(Route.describe(read(Result.getOrThrow(Route.toJson(twice)))), Route.describe(twice))
  })

  it("keeps targets, keys and credentials", () => {
    const json = {
      version: 1,
      route: {
        fallback: [
          { validate: { required: ["text"] }, provider: "openai", model: "m", credentials: ["authorization"] },
          { provider: "openai", model: "m", credentials: ["authorization"] }
        ]
      }
    }
    const route = Result.getOrThrow(Route.fromJson(json, { credentials: { openai: Redacted.make("sk-1") } }))
    assert.deepStrictEqual(Route.targets(route), ["openai/m", "openai/m"])
    assert.deepStrictEqual(Result.getOrThrow(Route.toJson(route)), json as never)
  })

  const wrong = [
    [{ type: "strnig" }, "route.validate.type"],
    [{ properties: { text: { minLenght: 3 } } }, `route.validate.properties["text"].minLenght`],
    [{ properties: { text: { minLength: "3" } } }, `route.validate.properties["text"].minLength`],
    [{ if: {} }, "route.validate.if"],
    [{ properties: { a: { items: { contentMediaType: "application/json", contentSchema: {} } } } }, "route.validate"],
    [{ contentSchema: {} }, "route.validate.contentMediaType"],
    [{ anyOf: [] }, "route.validate.anyOf"],
    [{ items: 3 }, "route.validate.items"],
    [{ pattern: "(" }, "route.validate"],
    [{ $ref: "#/$defs/none" }, "route.validate"],
    [{ not: { type: "string" } }, "route.validate"],
    ["text", "route.validate"]
  ] as const
  it.each(wrong)("is rejected when it would not be checked as it is written: %o", (validate, field) => {
    const problems = Result.match(Route.fromJson(routeOf(validate)), { onFailure: (all) => all, onSuccess: () => [] })
    assert.deepStrictEqual(
      problems.map((problem) => problem.field),
      [field]
    )
    assert.notInclude(problems[0]?.accepted, "\n")
  })

  it("is not written where it holds functions, or says more than JSON Schema can", () => {
    const checks: ReadonlyArray<Schema.ConstraintDecoder<unknown>> = [
      Schema.Struct({ text: Schema.String.check(Schema.makeFilter((text: string) => text.length > 3)) }),
      Schema.Struct({ text: Schema.NumberFromString }),
      Schema.Struct({ text: Schema.String.check(Schema.isPattern(/^a$/i)) }),
      Schema.Struct({ raw: Schema.Date }),
      // JSON Schema counts characters, and not halves of pairs.
      Schema.Struct({ text: Schema.String.check(Schema.isMinLength(2)) })
    ]
    const routes = [Route.validate(openai, () => true), ...checks.map((check) => Route.validate(openai, check))]
    for (const route of routes) {
      const problems = Result.match(Route.toJson(route), { onFailure: (all) => all, onSuccess: () => [] })
      assert.deepStrictEqual(problems, [
        {
          field: "route.validate",
          accepted: "a Schema that JSON Schema can express: a function cannot be stored"
        }
      ])
    }
  })
})
