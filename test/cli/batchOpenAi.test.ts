/** OpenAI batch files with `--route`, as OpenAI's SDKs write them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Chat from "../../src/Chat.ts"
import { jsonl, world } from "./batchSupport.ts"

const timeout = 180_000
const command = ["in.jsonl", "out.jsonl", "--route", "route.json", "--format", "openai"]

const schema = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false
}

/** A line of a batch file whose prompt is its id. */
const line = (id: string, body: object): string =>
  jsonl({
    custom_id: id,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "gpt-4.1", messages: [{ role: "user", content: id }], ...body }
  })

/** Fields at their default values. */
const silent = {
  n: 1,
  store: false,
  stream: false,
  logprobs: false,
  top_logprobs: 0,
  presence_penalty: 0,
  frequency_penalty: 0,
  parallel_tool_calls: true,
  logit_bias: {},
  metadata: {},
  modalities: ["text"],
  service_tier: "auto",
  reasoning_effort: null
}

const structured = {
  response_format: { type: "json_schema", json_schema: { name: "city", strict: true, schema } },
  tools: [{ type: "function", function: { name: "look_up", strict: true, parameters: schema } }],
  user: "user-7"
}

describe("an OpenAI batch file with --route", () => {
  it.live(
    "accepts strict, fields at their defaults and the user's name",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", line("plain", silent) + line("structured", structured))
        const { code, err } = yield* w.run(command)
        assert.strictEqual(code, 0, err)
        const bodies = new Map(w.requests.map(({ json, prompt }) => [prompt, json]))
        assert.deepStrictEqual(bodies.get("plain"), { model: "m", messages: [{ role: "user", content: "plain" }] })
        assert.deepStrictEqual(bodies.get("structured"), {
          model: "m",
          messages: [{ role: "user", content: "structured" }],
          ...structured
        })
        for (const { custom_id, response } of yield* w.lines("out.jsonl")) {
          const { body } = Object(response)
          assert.deepInclude(body, { object: "chat.completion", service_tier: null, system_fingerprint: null })
          const reply = Result.getOrThrow(Chat.openai.decode(body))
          assert.strictEqual(reply.finishReason, "stop")
          // The echo's JSON is one word.
          assert.strictEqual(reply.usage.outputTokens, custom_id === "structured" ? 1 : 3)
        }
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "carries strict and the user's name to a target of another dialect",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("route.json", jsonl({ version: 1, route: { provider: "anthropic", model: "claude" } }))
        yield* w.write("in.jsonl", line("structured", structured))
        const { code, err } = yield* w.run(command)
        assert.strictEqual(code, 0, err)
        assert.deepNestedInclude(Object(w.requests[0]?.json), {
          "tools[0].strict": true,
          "output_config.format": { type: "json_schema", schema },
          metadata: { user_id: "user-7" }
        })
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "still rejects fields that would change the answer",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", line("good", {}) + line("two", { n: 2 }) + line("likely", { logit_bias: { 1: 2 } }))
        const { code } = yield* w.run(command)
        assert.strictEqual(code, 1)
        const problems = new Map(
          (yield* w.lines("out.jsonl")).map(({ custom_id, error }) => [custom_id, error?.message])
        )
        assert.include(problems.get("two"), "body.n: expected 1")
        assert.include(problems.get("likely"), "body.logit_bias: expected no such field with --route")
        assert.strictEqual(w.requests.length, 1)
      }).pipe(Effect.scoped),
    timeout
  )
})
