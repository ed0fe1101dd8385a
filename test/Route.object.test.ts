/**
 * `Route.object`: JSON by a schema from every target, in its own form, and decoded.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Chat from "effect-ai-gateway/Chat"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { Tree } from "./fixtures/tree.ts"
import * as scripted from "./support/scripted.ts"
import { anthropic, client, consume, groq, json, openai } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const City = Schema.Struct({
  name: Schema.String,
  inhabitants: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
  founded: Schema.optionalKey(Schema.DateFromString)
})

const paris = { name: "Paris", inhabitants: 2_100_000 }
const says = (text: string): scripted.Line => ({ body: scripted.completion(text) })
const claude = (text: string): scripted.Line => ({
  body: {
    id: "m",
    type: "message",
    role: "assistant",
    model: "claude",
    content: [{ type: "text", text }],
    stop_reason: "end_turn",
    usage: { input_tokens: 1, output_tokens: 2 }
  }
})

const run = <A>(
  route: Route.Route<Chat.Input, A>,
  script: scripted.Script,
  input: Chat.Input = "The largest city of France",
  options: Router.RunOptions = {}
) => {
  const { layer, seen } = scripted.make(script)
  return Effect.map(
    Effect.result(Effect.provide(Router.run(route, input, { quiet: true, ...options }), layer)),
    (result) => ({ result, seen })
  )
}

const answerOf = <A>(result: Result.Result<Router.Routed<A>, GatewayError>): A => {
  assert.isTrue(Result.isSuccess(result), Result.isFailure(result) ? result.failure.message : "")
  return Result.getOrThrow(result).value
}

const problemOf = (result: Result.Result<unknown, GatewayError>) => {
  const reason = Result.isFailure(result) ? result.failure.reason : undefined
  return reason?._tag === "InvalidRequest" ? { field: reason.field, accepted: reason.accepted } : reason?._tag
}

const field = (value: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>((one, name) => (one as Record<string, unknown> | undefined)?.[name], value)

describe("Route.object", () => {
  const both = Route.object(Route.fallback(openai, anthropic), City)

  it.effect("answers with the decoded value", () =>
    Effect.gen(function* () {
      const { result } = yield* run(both, { openai: [says(JSON.stringify({ ...paris, founded: "2024-01-01" }))] })
      const { founded, ...rest } = answerOf(result)
      assert.deepStrictEqual(rest, paris)
      assert.strictEqual(founded?.getUTCFullYear(), 2024)
    })
  )

  it.effect("calls the next target after an answer that is not JSON, does not fit, or was cut off", () =>
    Effect.gen(function* () {
      const wrong = ["not JSON", "{}", '{"name":"Paris","inhabitants":-1}', '{"name":"Par']
      for (const text of wrong) {
        const { result } = yield* run(both, { openai: [says(text)], anthropic: [claude(JSON.stringify(paris))] })
        assert.deepStrictEqual(answerOf(result), paris)
        const attempts = Result.getOrThrow(result).attempts
        assert.strictEqual(attempts[0]?.error?._tag, "InvalidResponse")
        assert.deepStrictEqual(
          attempts.map(({ target }) => target),
          ["openai/m", "anthropic/claude"]
        )
      }
    })
  )

  it.effect("reads JSON between fences", () =>
    Effect.gen(function* () {
      for (const text of ["```json\n{JSON}\n```", "```\n{JSON}```", "  ```JSON\n{JSON}\n```\n"]) {
        const fenced = text.replace("{JSON}", JSON.stringify(paris))
        assert.deepStrictEqual(answerOf((yield* run(both, { openai: [says(fenced)] })).result), paris)
      }
    })
  )

  it.effect("sends the schema in each dialect's own way", () =>
    Effect.gen(function* () {
      const closed = Schema.Struct({ name: Schema.String, tags: Schema.Array(Schema.String) })
      const route = Route.object(Route.fallback(openai, groq, anthropic, Provider.googleAiStudio.chat("g")), closed, {
        name: "city"
      })
      const { seen } = yield* run(route, {
        openai: [{ status: 500 }],
        groq: [{ status: 500 }],
        anthropic: [{ status: 500 }]
      })
      const [toOpenai, toGroq, toAnthropic, toGoogle] = seen.map(({ body }) => body)
      assert.deepInclude(field(toOpenai, "response_format", "json_schema"), { name: "city", strict: true })
      assert.notStrictEqual(field(toGroq, "response_format", "json_schema", "strict"), true)
      assert.deepInclude(field(toAnthropic, "output_config", "format", "schema"), { additionalProperties: false })
      assert.deepInclude(field(toGoogle, "generationConfig", "responseJsonSchema"), { type: "object" })
    })
  )

  it.effect("is not strict at OpenAI where a property is optional", () =>
    Effect.gen(function* () {
      const { seen } = yield* run(both, { openai: [says(JSON.stringify(paris))] })
      assert.notStrictEqual(field(seen[0]?.body, "response_format", "json_schema", "strict"), true)
    })
  )

  it.effect("gives Anthropic closed objects, without the keywords that it rejects", () =>
    Effect.gen(function* () {
      const { seen } = yield* run(Route.object(anthropic, City), { anthropic: [claude(JSON.stringify(paris))] })
      const schema = field(seen[0]?.body, "output_config", "format", "schema")
      const inhabitants = field(schema, "properties", "inhabitants")
      assert.notProperty(inhabitants, "minimum")
      assert.match(String(field(inhabitants, "description")), /minimum: 0/)
      assert.deepInclude(schema, { additionalProperties: false })
    })
  )

  it.effect("puts the object at the root where a class, an identifier or recursion makes it a reference", () =>
    Effect.gen(function* () {
      class Person extends Schema.Class<Person>("@app/A person~1")({ name: Schema.String }) {}
      const targets = Route.fallback(anthropic, openai)
      const person = yield* run(Route.object(targets, Person), { anthropic: [claude('{"name":"Ada"}')] })
      assert.instanceOf(answerOf(person.result), Person)
      const closed = {
        type: "object",
        properties: { name: { type: "string" } },
        required: ["name"],
        additionalProperties: false
      }
      assert.deepStrictEqual(field(person.seen[0]?.body, "output_config", "format", "schema"), closed)
      const tree = { name: "a", children: [{ name: "b", children: [] }] }
      const recursive = yield* run(Route.object(targets, Tree), { openai: [says(JSON.stringify(tree))] })
      assert.deepStrictEqual(answerOf(recursive.result), tree)
      assert.deepStrictEqual(
        recursive.seen.map(({ provider }) => provider),
        ["openai"]
      )
      const schema = field(recursive.seen[0]?.body, "response_format", "json_schema", "schema")
      assert.strictEqual(field(schema, "type"), "object")
      const ref = field(schema, "properties", "children", "items", "$ref")
      assert.strictEqual(ref, "#/$defs/app~1Tree")
      assert.property(field(schema, "$defs"), "app/Tree")
    })
  )

  it.effect("is not strict at OpenAI where a property may be anything", () =>
    Effect.gen(function* () {
      for (const anything of [Schema.Unknown, Schema.Json]) {
        const { seen } = yield* run(Route.object(openai, Schema.Struct({ anything })), { openai: [says("{}")] })
        assert.isFalse(field(seen[0]?.body, "response_format", "json_schema", "strict"))
      }
    })
  )

  it.effect("skips a target that cannot take the schema, and names what it would take", () =>
    Effect.gen(function* () {
      const Scores = Schema.Struct({ scores: Schema.Record(Schema.String, Schema.Number) })
      const { result, seen } = yield* run(Route.object(Route.fallback(anthropic, openai), Scores), {
        openai: [says('{"scores":{"a":1}}')]
      })
      assert.deepStrictEqual(answerOf(result), { scores: { a: 1 } })
      assert.strictEqual(seen.length, 1)
      const [skipped] = Result.getOrThrow(result).skipped
      assert.deepInclude(skipped?.reason, { _tag: "Unsupported", field: "object.schema" })
    })
  )

  it.effect("rejects inputs with an output or tools of their own, before anything is sent", () =>
    Effect.gen(function* () {
      const messages = [{ role: "user" as const, content: "hi" }]
      const output = yield* run(both, {}, { messages, output: { type: "json" } })
      assert.deepInclude(problemOf(output.result), { field: "output" })
      const tools = [{ name: "t", parameters: { type: "object" } }]
      const withTools = yield* run(both, {}, { messages, tools })
      assert.deepInclude(problemOf(withTools.result), { field: "tools" })
      assert.strictEqual(output.seen.length + withTools.seen.length, 0)
    })
  )

  it.effect("lists what is wrong with the schema and the options among the problems of the route", () =>
    Effect.gen(function* () {
      const wrong = (schema: unknown, options?: unknown) =>
        Route.problems(
          // @ts-expect-error: callers without types may give anything
          Route.object(openai, schema, options)
        ).map(({ field }) => field)
      assert.deepStrictEqual(wrong(Schema.String), ["object.schema"])
      assert.deepStrictEqual(wrong(undefined), ["object.schema"])
      assert.deepStrictEqual(wrong(City, { name: "a b" }), ["object.name"])
      assert.deepStrictEqual(wrong(City, { nmae: "a" }), ["object.nmae"])
      assert.deepStrictEqual(Route.problems(both), [])
      const { result } = yield* run(Route.object(openai, City, { name: "" }), {})
      assert.deepInclude(problemOf(result), { field: "object.name" })
    })
  )

  it.effect("allows a check above it, which gets the decoded value", () =>
    Effect.gen(function* () {
      const large = Route.validate(both, ({ inhabitants }) => inhabitants > 1_000_000 || "too small")
      const small = JSON.stringify({ name: "Lyon", inhabitants: 520_000 })
      const { result } = yield* run(large, { openai: [says(small)], anthropic: [claude(JSON.stringify(paris))] })
      assert.deepStrictEqual(answerOf(result), paris)
    })
  )

  it.effect("is checked by the router when the gateway executes it, and the remaining legs follow", () =>
    Effect.gen(function* () {
      const provider = S.scripted((name) =>
        json(scripted.completion(name === "openai" ? "no JSON" : JSON.stringify(paris)))
      )
      const { value } = yield* Effect.provide(
        Router.run(Route.object(Route.fallback(openai, groq), City), "hi", { execution: "gateway", quiet: true }),
        client.backend.layer(provider.upstreams)
      )
      assert.deepStrictEqual(value, paris)
    })
  )

  for (const restarts of [0, 1]) {
    it.effect(`judges a stream when it is complete, with ${restarts} restarts`, () =>
      Effect.gen(function* () {
        const half = JSON.stringify(paris).slice(0, 12)
        const provider = S.scripted({
          openai: [{ steps: S.words(half) }],
          groq: [{ steps: S.words(JSON.stringify(paris)) }]
        })
        const object = Route.object(Route.fallback(openai, groq), City)
        const route = restarts === 0 ? object : Route.restart(object, restarts)
        const { error, text } = yield* Effect.provide(
          consume(route, "hi", { execution: "client", quiet: true }),
          client.backend.layer(provider.upstreams)
        )
        if (restarts === 0) {
          assert.deepInclude(error?.reason, { _tag: "StreamInterrupted", failure: "InvalidResponse", partial: half })
        } else {
          assert.isUndefined(error)
          assert.deepStrictEqual(JSON.parse(text), paris)
        }
      })
    )
  }

  it("is shown in descriptions and pictures, and cannot be stored", () => {
    assert.include(Route.describe(both), "an object by a schema")
    assert.include(Route.toMermaid(both), "validated")
    const stored = Route.toJson(both)
    assert.isTrue(Result.isFailure(stored))
  })
})
