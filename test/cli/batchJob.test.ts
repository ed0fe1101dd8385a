import * as Fs from "node:fs/promises"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { assertComplete, items, jsonl, parsed, world } from "./batchSupport.ts"

const timeout = 180_000
const command = ["in.jsonl", "out.jsonl", "--route", "route.json"]

describe("batch", () => {
  it.live(
    "does all items, reports that, and finds nothing to do the second time",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const texts = [
          { id: "a", prompt: "one", system: "Be brief." },
          { id: 7, messages: [{ role: "user", content: "two" }], maxTokens: 5 },
          { prompt: "three" }
        ]
        yield* w.write(
          "in.jsonl",
          `\ufeff${jsonl(texts[0])}\n${jsonl(texts[1]).replace("\n", "\r\n")}${JSON.stringify(texts[2])}`
        )
        const first = yield* w.run([...command, "--report", "report.html"])
        assert.strictEqual(first.code, 0)
        assert.strictEqual(first.out, "")
        assert.include(first.err, "Done: 3 of 3 items, no dead letters")
        const lines = yield* w.lines("out.jsonl")
        const sorted = [...lines].sort((x, y) => String(x.id).localeCompare(String(y.id)))
        assert.deepStrictEqual(
          sorted.map(({ id, status, text }) => [id, status, text]),
          [
            ["7", "ok", "answer to two"],
            ["a", "ok", "answer to one"],
            ["line-4", "ok", "answer to three"]
          ]
        )
        const { attempts, finishReason, latencyMs, logId, target, usage } = sorted[0] ?? {}
        assert.deepStrictEqual([attempts, finishReason, target], [1, "stop", "openai/m"])
        assert.deepStrictEqual(usage, {
          inputTokens: 1,
          outputTokens: 3,
          totalTokens: 4,
          cachedInputTokens: 0,
          reasoningTokens: 0
        })
        assert.isNumber(latencyMs)
        assert.isString(logId)
        const bodies = new Map(w.requests.map(({ json, prompt }) => [prompt, json]))
        assert.deepStrictEqual(bodies.get("one"), {
          model: "m",
          messages: [
            { role: "system", content: "Be brief." },
            { role: "user", content: "one" }
          ]
        })
        assert.include(bodies.get("two") as object, { max_completion_tokens: 5 })
        assert.match(yield* w.read("report.html"), /^<!doctype html>[\s\S]*out\.jsonl/i)

        const before = yield* w.read("out.jsonl")
        const second = yield* w.run(command)
        assert.strictEqual(second.code, 0)
        assert.include(second.err, "3 items done by earlier runs")
        assert.strictEqual(yield* w.read("out.jsonl"), before)
        assert.strictEqual(w.requests.length, 3)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "exits with 1 for dead letters: failures with their attempts, malformed lines with their numbers",
    () =>
      Effect.gen(function* () {
        const w = yield* world((prompt) =>
          prompt === "bad" ? { status: 400, body: `{"error":{"message":"no"}}` } : undefined
        )
        const lines = [
          jsonl({ id: "good", prompt: "good" }),
          jsonl({ id: "bad", prompt: "bad" }),
          "not JSON\n",
          jsonl({ id: "excess", prompt: "x", maxToken: 5 }),
          jsonl({ prompt: "x", temperature: 9 }),
          "[1, 2]\n"
        ]
        yield* w.write("in.jsonl", lines.join(""))
        const { code, err, out } = yield* w.run([...command, "--json"])
        assert.strictEqual(code, 1)
        const written = new Map((yield* w.lines("out.jsonl")).map((line) => [line.id, line]))
        assert.sameMembers([...written.keys()], ["good", "bad", "line-3", "excess", "line-5", "line-6"])
        assert.strictEqual(written.get("good")?.status, "ok")
        const bad = written.get("bad")
        assert.deepInclude(bad, { status: "error", attempts: 1 })
        assert.notProperty(bad, "line")
        assert.deepNestedInclude(bad ?? {}, { "error.reason": "InvalidRequest", "error.status": 400 })
        assert.deepInclude(bad?.error?.attempts[0], { target: "openai/m", outcome: "failure", status: 400 })
        const problems = [...written.values()]
          .filter(({ line }) => line !== undefined)
          .sort((a, b) => Number(a.line) - Number(b.line))
          .map(({ attempts, error, line }) => [line, attempts, error?.message])
        assert.deepStrictEqual(problems, [
          [3, 0, "Router.run: invalid line 3: expected a JSON object"],
          [
            4,
            0,
            "Router.run: invalid line 4, maxToken: expected one of id, prompt, messages, system, maxTokens, temperature, topP, topK, frequencyPenalty, presencePenalty, stop, seed, tools, toolChoice, serverTools, parallelToolCalls, output, reasoning, logprobs, verbosity, tier, cacheKey, metadata, user, losses, extra"
          ],
          [5, 0, "Router.run: invalid line 5, temperature: expected a number from 0 to 5"],
          [6, 0, "Router.run: invalid line 6: expected a JSON object, not another JSON value"]
        ])
        assert.strictEqual(w.requests.length, 2)
        // Standard output has only one line of JSON.
        const [summary, ...more] = parsed(out)
        assert.lengthOf(more, 0)
        assert.deepInclude(summary, {
          exitCode: 1,
          state: "complete",
          total: 6,
          items: 6,
          succeeded: 1,
          deadLetters: 5,
          requests: 2,
          reasons: { InvalidRequest: 5 },
          output: "out.jsonl",
          journal: "out.jsonl.journal"
        })
        assert.include(err, "6 of 6 done")

        // Recognized again, also as lines, when the output is rewritten.
        yield* Effect.promise(() => Fs.rm(w.at("out.jsonl")))
        assert.strictEqual((yield* w.run(command)).code, 1)
        const again = new Map((yield* w.lines("out.jsonl")).map((line) => [line.id, line]))
        assert.strictEqual(again.get("line-3")?.line, 3)
        assert.strictEqual(again.get("good")?.text, "answer to good")
        assert.strictEqual(w.requests.length, 2)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "--retry-failed tries dead letters again, and removes their lines from the output",
    () =>
      Effect.gen(function* () {
        const w = yield* world((prompt, nth) => (/[37]$/.test(prompt) && nth === 0 ? { status: 400 } : undefined))
        yield* w.write("in.jsonl", items(10))
        assert.strictEqual((yield* w.run(command)).code, 1)
        assert.strictEqual((yield* w.run(command)).code, 1)
        assert.lengthOf(w.requests, 10)
        const { code, err } = yield* w.run([...command, "--retry-failed"])
        assert.strictEqual(code, 0)
        assert.include(err, "Done: 10 of 10 items, no dead letters")
        assertComplete(yield* w.lines("out.jsonl"), 10)
        assert.lengthOf(w.requests, 12)
        assert.notInclude((yield* Effect.promise(() => Fs.readdir(w.path))).join(), ".tmp")
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "--ordered writes in the order of the input, even when it extends an unordered output",
    () =>
      Effect.gen(function* () {
        // Of two concurrent items the first one is slow.
        const w = yield* world((prompt) => (/[02468]$/.test(prompt) ? Effect.sleep(40) : undefined))
        yield* w.write("in.jsonl", items(20))
        const ids = Array.from({ length: 20 }, (_, i) => `i${i}`)
        assert.strictEqual((yield* w.run([...command, "--concurrency", "2", "--ordered"])).code, 0)
        assert.deepStrictEqual(
          (yield* w.lines("out.jsonl")).map(({ id }) => id),
          ids
        )
        const shuffled = (yield* w.read("out.jsonl")).split("\n").slice(0, -1).reverse()
        yield* w.write("out.jsonl", `${shuffled.slice(5).join("\n")}\n`)
        assert.strictEqual((yield* w.run([...command, "--ordered"])).code, 0)
        assert.deepStrictEqual(
          (yield* w.lines("out.jsonl")).map(({ id }) => id),
          ids
        )
        assert.lengthOf(w.requests, 20)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "reads standard input and writes standard output, with the summary on standard error",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const run = ["-", "-", "--route", "route.json", "--json"]
        // Real pipes, once.
        const { code, err, out } = yield* w.runProcess(run, { stdin: `${items(50)}oops\n` })
        assert.strictEqual(code, 1)
        const lines = parsed(out)
        assertComplete(
          lines.filter(({ status }) => status === "ok"),
          50
        )
        assert.deepInclude(
          lines.find(({ status }) => status === "error"),
          { id: "line-51", line: 51 }
        )
        const summary = JSON.parse(err.trimEnd().split("\n").at(-1) ?? "")
        assert.deepInclude(summary, { exitCode: 1, succeeded: 50, deadLetters: 1, output: "standard output" })
        assert.notProperty(summary, "journal")
        // No journal unless one is named, so all results come again.
        assert.sameMembers(yield* Effect.promise(() => Fs.readdir(w.path)), ["route.json"])
        const journal = [...run, "--journal", "journal"]
        const first = yield* w.run(journal, { stdin: items(5) })
        const second = yield* w.run(journal, { stdin: items(5) })
        assertComplete(parsed(second.out), 5)
        assert.deepStrictEqual([first.code, second.code], [0, 0])
        assert.lengthOf(w.requests, 55)
        const twice = yield* w.run(run, { stdin: `${items(5)}\n${items(2)}` })
        assert.strictEqual(twice.code, 2)
        assert.include(twice.err, "standard input: expected ids that occur once: line 7 has the id of line 1")
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "accepts standard input that begins with a malformed line",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const running = yield* w.batch(["-", ...command.slice(1)])
        running.child.stdin.write("oops\n")
        yield* Effect.sleep(1500)
        running.child.stdin.end(items(3))
        assert.strictEqual((yield* running.exit).code, 1)
        assertComplete(
          (yield* w.lines("out.jsonl")).filter(({ status }) => status === "ok"),
          3
        )
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "costs a line that nests too deeply only its own item, with --tpm too",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const deep = `{"custom_id":"deep","method":"POST","url":"/v1/chat/completions","body":{"model":"m","x":${"[".repeat(20_000)}${"]".repeat(20_000)}}}\n`
        const body = { model: "m", messages: [{ role: "user", content: "x" }] }
        yield* w.write(
          "in.jsonl",
          `${deep}${jsonl({ custom_id: "a", method: "POST", url: "/v1/chat/completions", body })}`
        )
        const { code, err } = yield* w.run(["in.jsonl", "out.jsonl", "--tpm", "100000"], {
          env: { OPENAI_API_KEY: "sk-test" }
        })
        // Either the engine cannot write it, or the gateway rejects it.
        assert.strictEqual(code, 1, err)
        assert.include(err, "Done: 2 of 2 items, 1 dead letter")
        assert.lengthOf(yield* w.lines("out.jsonl"), 2)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "reads CSV",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const rows = [
          "id,prompt,system,maxTokens,temperature",
          'a,"say ""hi"", twice",Be brief.,12,0.5',
          'b,"two\nlines",,,',
          "c,one,,many,",
          "d,one,two"
        ]
        yield* w.write("in.csv", `${rows.join("\r\n")}\r\n`)
        const { code } = yield* w.run(["in.csv", "out.jsonl", "--route", "route.json"])
        assert.strictEqual(code, 1)
        const written = new Map((yield* w.lines("out.jsonl")).map((line) => [line.id, line]))
        assert.strictEqual(written.get("a")?.text, 'answer to say "hi", twice')
        assert.strictEqual(written.get("b")?.text, "answer to two\nlines")
        assert.deepInclude(written.get("c"), { line: 5, status: "error" })
        assert.include(written.get("c")?.error?.message, "maxTokens: expected a number")
        assert.deepInclude(written.get("line-6"), { line: 6, status: "error" })
        const sent = w.requests.find(({ prompt }) => prompt.startsWith("say"))?.json
        assert.deepInclude(sent, { max_completion_tokens: 12, temperature: 0.5 })
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "runs OpenAI batch files unchanged, and writes OpenAI's output format",
    () =>
      Effect.gen(function* () {
        const w = yield* world((prompt, nth) =>
          prompt === "bad"
            ? { status: 400, body: `{"error":{"message":"no","code":"bad_thing"}}` }
            : prompt === "good" && nth === 0
              ? { status: 503 }
              : undefined
        )
        const body = (prompt: string) => ({
          model: "gpt-4.1-mini",
          messages: [
            { role: "developer", content: "Hm." },
            { role: "user", content: prompt }
          ],
          logprobs: true,
          max_tokens: 9
        })
        const line = (id: string, prompt: string) => ({
          custom_id: id,
          method: "POST",
          url: "/v1/chat/completions",
          body: body(prompt)
        })
        const embedding = {
          custom_id: "vector",
          method: "POST",
          url: "/v1/embeddings",
          body: { model: "text-embedding-3-small", input: "words" }
        }
        const odd = { ...line("odd", "x"), method: "GET" }
        yield* w.write("in.jsonl", jsonl(line("one", "good"), line("two", "bad"), embedding, odd))
        const env = { OPENAI_API_KEY: "sk-from-the-environment" }
        const { code, err, out } = yield* w.run(["in.jsonl", "out.jsonl", "--json"], { env })
        assert.strictEqual(code, 1)
        assert.deepInclude(parsed(out)[0], { succeeded: 2, deadLetters: 2, tokensIn: 3 })
        assert.notInclude(err + out, "sk-from")
        const written = new Map((yield* w.lines("out.jsonl")).map((result) => [result.custom_id, result]))
        const one = written.get("one")
        assert.match(String(one?.["id"]), /^batch_req_./)
        assert.isNull(one?.error)
        assert.deepNestedInclude(one ?? {}, { "response.status_code": 200 })
        assert.include(JSON.stringify(one), `"content":"answer to good"`)
        assert.include(JSON.stringify(written.get("vector")), `"object":"embedding"`)
        assert.isNull(written.get("two")?.error)
        assert.deepNestedInclude(written.get("two") ?? {}, { "response.status_code": 400 })
        assert.isNull(written.get("odd")?.["response"])
        assert.deepNestedInclude(written.get("odd") ?? {}, { "error.code": "invalid_request" })
        assert.include(written.get("odd")?.error?.message, "line 4, method: expected POST")
        const sent = w.requests.find(({ prompt }) => prompt === "good")
        assert.deepStrictEqual(sent?.json, body("good"))
        assert.strictEqual(sent?.headers["authorization"], "Bearer sk-from-the-environment")
        // A later run knows these lines.
        const requests = w.requests.length
        assert.strictEqual((yield* w.run(["in.jsonl", "out.jsonl", "--retry-failed"], { env })).code, 1)
        assert.lengthOf(yield* w.lines("out.jsonl"), 4)
        assert.strictEqual(w.requests.length, requests + 1)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "sends OpenAI batch files through a route to other providers",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const route = { provider: "anthropic", model: "claude", credentials: ["x-api-key"] }
        yield* w.write("route.json", JSON.stringify({ version: 1, route }))
        const line = (id: string, more: object) => ({
          custom_id: id,
          method: "POST",
          url: "/v1/chat/completions",
          body: { model: "gpt-4.1-mini", messages: [{ role: "user", content: id }], ...more }
        })
        yield* w.write(
          "in.jsonl",
          jsonl(line("one", { max_tokens: 9, stop: "x" }), line("two", { logit_bias: { 5: 1 } }))
        )
        const { code } = yield* w.run(command, { env: { ANTHROPIC_API_KEY: "key" } })
        assert.strictEqual(code, 1)
        assert.lengthOf(w.requests, 1)
        const { headers, json, provider } = w.requests[0] ?? {}
        assert.strictEqual(provider, "anthropic")
        assert.strictEqual(headers?.["x-api-key"], "key")
        assert.deepInclude(json, { max_tokens: 9, stop_sequences: ["x"] })
        const written = new Map((yield* w.lines("out.jsonl")).map((result) => [result.custom_id, result]))
        assert.deepNestedInclude(written.get("one") ?? {}, {
          "response.body.object": "chat.completion",
          "response.body.choices[0].message.content": "answer to one",
          "response.body.choices[0].finish_reason": "stop",
          "response.status_code": 200
        })
        assert.include(written.get("two")?.error?.message, "line 2, body.logit_bias: expected no such field")
      }).pipe(Effect.scoped),
    timeout
  )
})
