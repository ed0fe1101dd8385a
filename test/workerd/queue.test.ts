/**
 * The queue example in Cloudflare's runtime: every message ends once, whatever the providers, the messages and the
 * Worker do.
 */
import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LocalWorker from "effect-ai-gateway/local/miniflare"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import { bundle } from "./support/bundle.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const { code: script, inputs } = await bundle(new URL("workers/queue.ts", import.meta.url))

/** Retry hint of a throttled provider, in seconds. */
const hint = 2
const maxRetries = 2

interface Call {
  readonly prompt: string
  readonly provider: string
  readonly at: number
}
const calls: Array<Call> = []

const promptOf = (body: unknown): string => {
  const text = JSON.stringify(body)
  return /"content":"((?:[^"\\]|\\.)*)"/.exec(text)?.[1] ?? ""
}

const echo = Upstream.echo()
/** The first word of the prompt selects the provider's behaviour. */
const provider = (slug: string): Upstream.Upstream => ({
  start: Effect.map(
    echo.start,
    (answer): Upstream.Handler =>
      (request) => {
        const prompt = promptOf(request.json)
        const before = calls.filter((call) => call.prompt === prompt && call.provider === slug).length
        calls.push({ prompt, provider: slug, at: Date.now() })
        const refuse = (status: number, headers: Record<string, string> = {}) =>
          Effect.succeed({
            status,
            headers: { "content-type": "application/json", ...headers },
            body: JSON.stringify({ error: { message: "no", type: "error" } })
          })
        const [kind] = prompt.split(" ")
        if (kind === "throttled" && before === 0) return refuse(429, { "retry-after": String(hint) })
        if (kind === "never") return refuse(429)
        if (kind === "refused") return refuse(400)
        return answer(request)
      }
  )
})

const options: LocalWorker.Options = {
  script,
  compatibilityDate: "2026-07-01",
  compatibilityFlags: ["enable_request_signal"],
  vars: { AI_GATEWAY_ID: "gw", MAX_RETRIES: maxRetries },
  gateway: { gateway: "gw", upstreams: { openai: provider("openai"), anthropic: provider("anthropic") } },
  miniflare: {
    worker: {
      d1Databases: ["RESULTS"],
      queueProducers: { QUESTIONS: { queueName: "questions" } },
      queueConsumers: {
        questions: { maxBatchSize: 10, maxBatchTimeout: 0, maxRetries, deadLetterQueue: "questions-dead" },
        "questions-dead": { maxBatchTimeout: 0 }
      }
    },
    shared: { handleRuntimeStdio: () => undefined }
  }
}

interface Row {
  readonly id: string
  readonly outcome: string
  readonly text: string
  readonly log_id: string | null
}

const send = Effect.fnUntraced(function* (path: string, body: unknown) {
  const worker = yield* LocalWorker.LocalWorker
  const response = yield* worker.fetch(path, { method: "POST", body: JSON.stringify(body) })
  return response.status
})

const get = Effect.fnUntraced(function* (path: string) {
  const worker = yield* LocalWorker.LocalWorker
  const response = yield* worker.fetch(path)
  return (yield* Effect.promise(() => response.json())) as unknown
})

const rows = Effect.map(get("/results"), (found) => found as ReadonlyArray<Row>)

/** Waits until all these ids have ended. */
const ended = Effect.fnUntraced(function* (ids: ReadonlyArray<string>) {
  for (;;) {
    const found = yield* rows
    const own = found.filter(({ id }) => ids.includes(id))
    if (own.length === ids.length) return new Map(own.map((row) => [row.id, row]))
    yield* Effect.sleep("50 millis")
  }
})

const questions = (prompts: ReadonlyArray<string>) =>
  prompts.map((prompt) => ({ id: prompt.replaceAll(" ", "-"), prompt }))

const countOf = (prompt: string, slug: string) =>
  calls.filter((call) => call.prompt === prompt && call.provider === slug).length

const numbered = (kind: string, count: number) => Array.from({ length: count }, (_, index) => `${kind} ${index}`)

layer(LocalWorker.layer(options), { excludeTestServices: true })("a queue of questions", (it) => {
  it.effect(
    "ends each message once: answered at once or later, or as a dead letter",
    () =>
      Effect.gen(function* () {
        const fine = numbered("fine", 30)
        const throttled = numbered("throttled", 10)
        const all = questions([...fine, ...throttled, "refused 0", "never 0"])
        assert.strictEqual(yield* send("/questions", all), 202)
        const found = yield* ended(all.map(({ id }) => id))
        for (const prompt of fine) {
          const row = found.get(prompt.replace(" ", "-"))
          assert.deepInclude(row, { outcome: "answer", text: `openai/gpt-4.1-mini: ${prompt}` })
          assert.isString(row?.log_id)
          assert.strictEqual(countOf(prompt, "openai"), 1)
        }
        for (const prompt of throttled) {
          assert.deepInclude(found.get(prompt.replace(" ", "-")), { outcome: "answer" })
          const [first, second, ...more] = calls.filter((call) => call.prompt === prompt && call.provider === "openai")
          assert.deepStrictEqual(more, [])
          // A timer may be a few milliseconds early, a machine any time late.
          assert.isAtLeast((second?.at ?? 0) - (first?.at ?? 0), hint * 1000 - 100, prompt)
        }
        assert.deepInclude(found.get("refused-0"), { outcome: "dead letter" })
        assert.match(found.get("refused-0")?.text ?? "", /invalid request.*status 400/)
        assert.strictEqual(countOf("refused 0", "openai"), 1)
        assert.deepInclude(found.get("never-0"), { outcome: "dead letter" })
        assert.match(found.get("never-0")?.text ?? "", /rate limited/)
        assert.strictEqual(countOf("never 0", "openai"), maxRetries + 1)
      }),
    60_000
  )

  it.effect(
    "calls no model again when a question is sent a second time",
    () =>
      Effect.gen(function* () {
        const [question] = questions(["twice"])
        yield* send("/questions", [question])
        yield* ended(["twice"])
        yield* send("/questions", [question, question])
        // Behind them in the queue.
        yield* send("/questions", questions(["after twice"]))
        yield* ended(["after-twice"])
        assert.strictEqual(countOf("twice", "openai"), 1)
      }),
    60_000
  )

  it.effect(
    "discards a message that is not a question as a dead letter",
    () =>
      Effect.gen(function* () {
        assert.strictEqual(yield* send("/questions", [{ id: "x" }]), 400)
        assert.strictEqual(yield* send("/raw", { poison: true }), 202)
        for (;;) {
          const poison = (yield* rows).filter(({ text }) => text === "not a question")
          if (poison.length > 0) return assert.strictEqual(poison.length, 1)
          yield* Effect.sleep("50 millis")
        }
      }),
    60_000
  )

  it.effect(
    "loses and repeats nothing when the Worker dies, and the table is out of reach",
    () =>
      Effect.gen(function* () {
        const others = [...numbered("beside", 4), "unlucky 0"]
        const all = questions([...others, "die"])
        yield* send("/questions", all)
        const found = yield* ended(all.map(({ id }) => id))
        assert.deepInclude(found.get("die"), { outcome: "dead letter", text: "given up by the queue" })
        for (const prompt of others) {
          assert.deepInclude(found.get(prompt.replace(" ", "-")), { outcome: "answer" }, prompt)
          // Unwritten answers must be requested again.
          assert.strictEqual(countOf(prompt, "openai"), prompt.startsWith("unlucky") ? 2 : 1, prompt)
        }
        const deliveries = (yield* get("/deliveries")) as ReadonlyArray<readonly [string, unknown, number]>
        const deaths = deliveries.filter(([, id]) => id === "die")
        assert.deepStrictEqual(
          deaths.map(([queue]) => queue),
          [...Array.from({ length: maxRetries + 1 }, () => "questions"), "questions-dead"]
        )
        // The runtime did redeliver them; otherwise this test shows nothing.
        assert.isAbove(deliveries.filter(([, id]) => id === "beside-0").length, 1)
      }),
    60_000
  )
})

describe("the example", () => {
  it("bundles no Node modules, and shares its settings with the queue", async () => {
    assert.deepStrictEqual(
      inputs.filter((path) => path.startsWith("src/local/") || path.includes("node:")),
      []
    )
    const text = await readFile(`${root}docs/examples/queue/wrangler.jsonc`, "utf8")
    const { queues, vars } = JSON.parse(text.replace(/^\s*\/\/.*$/gm, ""))
    assert.strictEqual(vars.MAX_RETRIES, queues.consumers[0].max_retries)
    assert.strictEqual(queues.consumers[0].dead_letter_queue, queues.consumers[1].queue)
  })

  it("fits the types of Workers", { timeout: 180_000 }, async () => {
    const tsc = `${root}node_modules/typescript/bin/tsc`
    const { stdout } = await promisify(execFile)(process.execPath, [tsc, "-p", "docs/examples/queue"], {
      cwd: root
    }).catch((error: { readonly stdout: string }) => error)
    // Declarations of the library's own sources are checked elsewhere; here they meet another platform's types.
    assert.notInclude(stdout, "docs/examples/queue/")
    assert.notInclude(stdout, "error TS5")
  })
})
