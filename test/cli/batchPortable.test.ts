import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { portable } from "../../src/cli/output/portable.ts"
import { jsonl, world } from "./batchSupport.ts"

const timeout = 60_000
/** How Python's `splitlines` and others count lines. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these end lines too
const linesOf = (text: string) => text.split(/\r\n|[\n\r\u000b\u000c\u001c-\u001e\u0085\u2028\u2029]/).slice(0, -1)

describe("lines of an output", () => {
  it.prop(
    "mean the same to other readers, without halves of surrogate pairs",
    { texts: Schema.Array(Schema.String) },
    ({ texts }) => {
      const odd = [...texts, ...texts.map((text) => `${text}\ud83d\\ud83d\\\ude00\u2028\u0085\u2029\ud83d\ude00`)]
      const line = portable(JSON.stringify(odd))
      assert.deepStrictEqual(
        JSON.parse(line),
        odd.map((text) => Buffer.from(text).toString())
      )
      assert.strictEqual(linesOf(`${line}\n`).length, 1)
    }
  )

  it.live(
    "equal the number of items for readers with other line ends, also with --ordered and in OpenAI's files",
    () =>
      Effect.gen(function* () {
        const odd = 'a\u2028b\u2029c\u0085d \ud83d "\\ud83d" \ud83d\ude00'
        const content = JSON.stringify({
          choices: [{ index: 0, message: { role: "assistant", content: odd }, finish_reason: "stop" }],
          usage: { prompt_tokens: 1, completion_tokens: 1 }
        })
        const error = JSON.stringify({ error: { message: odd } })
        const w = yield* world((prompt) =>
          prompt === "bad" ? { status: 400, body: error } : { status: 200, body: content }
        )
        const body = (text: string) => ({ model: "m", messages: [{ role: "user", content: text }] })
        yield* w.write("in.jsonl", jsonl({ id: "a\u2028", prompt: "good" }, { id: "b", prompt: "bad" }))
        yield* w.write(
          "openai.jsonl",
          jsonl(
            ...["good", "bad"].map((text) => ({
              custom_id: text,
              method: "POST",
              url: "/v1/chat/completions",
              body: body(text)
            }))
          )
        )
        const runs = [
          ["in.jsonl", "--route", "route.json"],
          ["openai.jsonl", "--route", "route.json"],
          ["openai.jsonl"]
        ]
        for (const [at, [input = "", ...flags]] of runs.entries()) {
          const out = `out${at}.jsonl`
          assert.strictEqual((yield* w.run([input, out, ...flags, "--ordered"])).code, 1)
          const text = yield* w.read(out)
          assert.strictEqual(linesOf(text).length, 2)
          assert.notMatch(text, /(?<!\\)(?:\\\\)*\\ud/)
          assert.include(text, "a\\u2028b\\u2029c\\u0085d \ufffd")
          const [first] = yield* w.lines(out)
          if (at === 0) assert.deepInclude(first, { id: "a\u2028", text: odd.replace("\ud83d ", "\ufffd ") })
          // The ids are recognized.
          assert.include((yield* w.run([input, out, ...flags])).err, "2 items done by earlier runs")
        }
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "have ids that other readers accept",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", '{"id": "a\\ud800", "prompt": "x"}\n')
        const { code, err } = yield* w.run(["in.jsonl", "out.jsonl", "--route", "route.json"])
        assert.strictEqual(code, 2)
        assert.include(err, "line 1: id: expected a text without halves of surrogate pairs")
      }).pipe(Effect.scoped),
    timeout
  )
})
