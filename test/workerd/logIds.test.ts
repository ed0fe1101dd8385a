/**
 * Log ids under fire: more than a thousand runs at once in one isolate, from several clients, with slow bodies,
 * failures and aborted calls, between code that uses the binding carelessly.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { serve } from "../../src/local/node.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { bundle } from "./support/bundle.ts"
import * as Workerd from "./support/workerd.ts"
import type { Beliefs, Kind, Run } from "./workers/logIds.ts"

const { code } = await bundle(new URL("workers/logIds.ts", import.meta.url))

const lastText = (json: unknown): string => {
  const { messages } = json as { readonly messages: ReadonlyArray<{ readonly content: string }> }
  return messages.at(-1)?.content ?? ""
}

// With the type of the error, because the binding may drop the status.
const failure = (message: string): string => JSON.stringify({ error: { message, type: "server_error" } })

/**
 * Treats each run as its prompt says. Slow bodies end when `awaited` of them have begun, so that the headers of all
 * have arrived before the first body is complete, however slow the machine is.
 */
const upstream = (awaited: number): Upstream.Upstream => {
  let begun = 0
  let open: () => void = () => {}
  const all = new Promise<void>((resolve) => {
    open = resolve
  })
  return Upstream.make((request) => {
    const [name = "", fate] = lastText(request.json).split(" ")
    const headers = { "content-type": "application/json" }
    const body = JSON.stringify({ answer: name, echo: lastText(request.json) })
    if (fate === "fail") return Effect.succeed({ status: 503, headers, body: failure(name) })
    if (fate === "never") return Effect.never
    if (fate !== "slow") return Effect.succeed({ status: 200, headers, body })
    begun++
    if (begun === awaited) open()
    const bytes = new TextEncoder().encode(body)
    return Effect.succeed({
      status: 200,
      headers,
      body: new ReadableStream<Uint8Array>({
        start: async (controller) => {
          controller.enqueue(bytes.slice(0, 5))
          await all
          controller.enqueue(bytes.slice(5))
          controller.close()
        }
      })
    })
  })
}

const kinds: ReadonlyArray<Kind> = ["one", "third", "many", "own"]

/** Run `n` of our own: every kind meets every fate. */
const ownRun = (n: number): Run => {
  const kind = kinds[n % 4] ?? "one"
  const fate = ["ok", "slow", "fail", "never", "slow"][Math.floor(n / 4) % 5] ?? "ok"
  return { name: `run-${n}`, kind, fate, ...(fate === "never" && { abort: 20 + (n % 50) }) }
}

/** Sends the runs in `clients` requests at once, and looks every log id up. */
const fire = Effect.fnUntraced(function* (runs: ReadonlyArray<Run>, clients: number) {
  const slow = runs.filter(({ fate }) => fate === "slow").length
  const behaving = upstream(slow)
  const slugs = ["openai", "groq", "workers-ai"]
  const server = yield* serve({
    port: 0,
    gateway: "gw",
    upstreams: Object.fromEntries(slugs.map((slug) => [slug, behaving]))
  })
  const worker = yield* Workerd.start({ code, ai: { AI: { url: server.url } } })
  const shares = Array.from({ length: clients }, (_, client) => runs.filter((_, n) => n % clients === client))
  const answers = yield* Effect.forEach(shares, (share) => worker.call("/", share) as Effect.Effect<Beliefs>, {
    concurrency: "unbounded"
  })
  const promptOf = Effect.fnUntraced(function* (logId: string) {
    const path = `/client/v4/accounts/local/ai-gateway/gateways/gw/logs/${logId}`
    const response = yield* Effect.orDie(server.gateway.handle(new Request(`${server.url}${path}`)))
    const { result } = yield* Effect.promise(
      (): Promise<{ readonly result: { readonly request_head: string } | null }> => response.json()
    )
    return result === null ? "no such log" : (lastText(JSON.parse(result.request_head)).split(" ")[0] ?? "")
  })
  const all = answers.flatMap((answer) => answer.runs)
  const believed = new Map(all.map((belief) => [belief.name, belief]))
  const truth = new Map<string, string>()
  for (const { logId } of all) {
    if (logId !== null && !truth.has(logId)) truth.set(logId, yield* promptOf(logId))
  }
  return {
    answers,
    shares,
    output: worker.output(),
    outcomes: runs.map((run) => {
      const { logId = null, said = "nothing" } = believed.get(run.name) ?? {}
      return { run, said, logId, owner: logId === null ? undefined : truth.get(logId) }
    })
  }
})

describe("log ids in workerd", () => {
  it.live(
    "are never another run's and never missing, among 1000 of our own and 200 careless ones",
    () =>
      Effect.gen(function* () {
        const careless = Array.from(
          { length: 200 },
          (_, n): Run => ({ name: `direct-${n}`, kind: "direct", fate: "slow" })
        )
        const own = Array.from({ length: 1000 }, (_, n) => ownRun(n))
        // Five of ours, then one of theirs.
        const runs = careless.flatMap((run, n) => [...own.slice(n * 5, n * 5 + 5), run])
        const { answers, outcomes, output, shares } = yield* fire(runs, 10)

        const ours = outcomes.filter(({ run }) => run.kind !== "direct")
        const wrong = ours.filter(({ owner, run }) => owner !== undefined && owner !== run.name)
        assert.deepStrictEqual(wrong, [])
        for (const { run, said } of ours) {
          const expected = { ok: run.name, slow: run.name, fail: "ProviderUnavailable", never: "aborted" }[run.fate]
          assert.strictEqual(said, expected, run.name)
        }
        // An aborted run has no answer that could carry an id.
        const missing = ours.filter(({ logId, run }) => run.fate !== "never" && logId === null)
        assert.deepStrictEqual(missing, [])

        // The binding's own property, read right after each run, is wrong nearly always. Where one of ours set an
        // option last, it applies to every caller, and the careless ones get a raw answer that they did not request.
        // Those are the mistakes to avoid.
        const theirs = outcomes.filter(({ run }) => run.kind === "direct")
        const fooled = theirs.filter(({ owner, run, said }) => owner !== run.name || said !== run.name)
        assert.isAbove(fooled.length, 100)

        for (const [client, { attempts, runs, trail }] of answers.entries()) {
          assert.strictEqual(attempts, shares[client]?.filter(({ kind }) => kind !== "direct").length)
          const ids = runs.filter(({ name }) => !name.startsWith("direct")).flatMap(({ logId }) => logId ?? [])
          assert.deepStrictEqual([...trail].sort(), ids.sort())
        }
        assert.notInclude(output, "hung")
      }),
    60_000
  )

  it.live(
    "are never missing without careless calls",
    () =>
      Effect.gen(function* () {
        const runs = Array.from({ length: 400 }, (_, n) => ownRun(n))
        const { outcomes } = yield* fire(runs, 4)
        const expected = runs.map(({ fate, name }) => (fate === "never" ? undefined : name))
        assert.deepStrictEqual(
          outcomes.map(({ owner }) => owner),
          expected
        )
      }),
    60_000
  )
})
