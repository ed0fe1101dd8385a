import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { serve } from "effect-ai-gateway/local/node"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import { assertComplete, items, jsonl, type World, world } from "./batchSupport.ts"

const timeout = 60_000
const command = ["in.jsonl", "out.jsonl", "--route", "route.json"]

/** A second gateway, which can be stopped and restarted on its port. */
const mortal = Effect.gen(function* () {
  const echo = yield* Upstream.echo({ text: ({ prompt }) => `answer to ${prompt}` }).start
  let requests = 0
  const upstream = Upstream.make((request) => {
    requests++
    return Effect.andThen(Effect.sleep(5), echo(request))
  })
  const startOn = Effect.fnUntraced(function* (port: number) {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const server = yield* Scope.provide(serve({ port, upstreams: { openai: upstream } }), scope)
    return { port: Number(new URL(server.url).port), url: server.url, kill: Scope.close(scope, Exit.void) }
  })
  const first = yield* startOn(0)
  return {
    ...first,
    again: startOn(first.port),
    env: { AI_GATEWAY_URL: first.url, CLOUDFLARE_API_URL: `${first.url}/client/v4` },
    until: (count: number) =>
      Effect.gen(function* () {
        while (requests < count) yield* Effect.sleep(2)
      })
  }
})

const statuses = Effect.fnUntraced(function* (w: World) {
  const lines = yield* w.lines("out.jsonl")
  return {
    ok: lines.filter(({ status }) => status === "ok").length,
    dead: lines.filter(({ status }) => status === "error")
  }
})

describe("batch", () => {
  it.live(
    "exits with 1 when the gateway is killed, leaves items undone, and resumes with the same command",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const gateway = yield* mortal
        yield* w.write("in.jsonl", items(2_000))
        const running = yield* Effect.forkChild(
          w.run([...command, "--outage-patience", "2 seconds"], { env: gateway.env })
        )
        yield* gateway.until(100)
        yield* gateway.kill
        const first = yield* Fiber.join(running)
        assert.strictEqual(first.code, 1)
        const { dead, ok } = yield* statuses(w)
        assert.deepStrictEqual(dead, [])
        assert.isAtLeast(ok, 50)
        assert.include(
          first.err,
          `Failed: ${ok} of 2,000 items, no dead letters, ${(2_000 - ok).toLocaleString("en")} undone`
        )
        assert.match(first.err, /first problem: i\d+: .*transport failed \(connect\)/)
        assert.include(first.err, "run the same command again to continue")
        yield* gateway.again
        const second = yield* w.run(command, { env: gateway.env })
        assert.strictEqual(second.code, 0, second.err)
        assertComplete(yield* w.lines("out.jsonl"), 2_000)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "resumes by itself when the gateway is back",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const gateway = yield* mortal
        yield* w.write("in.jsonl", items(500))
        const running = yield* Effect.forkChild(w.run([...command, "--json"], { env: gateway.env }))
        yield* gateway.until(100)
        yield* gateway.kill
        yield* Effect.sleep(500)
        yield* gateway.again
        const { code, out } = yield* Fiber.join(running)
        assert.strictEqual(code, 0)
        assert.deepInclude(JSON.parse(out), { deadLetters: 0, succeeded: 500, undone: 0, pauses: 1 })
        assertComplete(yield* w.lines("out.jsonl"), 500)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "ends after a handful of items when the provider rejects the key, names the problem, and completes with a good one",
    () =>
      Effect.gen(function* () {
        let isGood = false
        const body = JSON.stringify({ error: { message: "Incorrect API key provided: sk-…", code: "invalid_api_key" } })
        const w = yield* world(() => (isGood ? undefined : { status: 401, body }))
        yield* w.write("in.jsonl", items(2_000))
        const first = yield* w.run(command)
        assert.strictEqual(first.code, 1)
        assert.isAtMost(w.requests.length, 30)
        assert.strictEqual(yield* w.read("out.jsonl"), "")
        assert.include(first.err, "Failed: 0 of 2,000 items, no dead letters, 2,000 undone")
        assert.match(first.err, /first problem: i\d+: .*rejected the credentials.*Incorrect API key/)
        const told = yield* w.run([...command, "--json"])
        assert.deepInclude(JSON.parse(told.out), { exitCode: 1, undone: 2_000, deadLetters: 0 })
        assert.deepInclude(JSON.parse(told.out).firstProblem, { reason: "Unauthorized", status: 401 })
        isGood = true
        const second = yield* w.run(command)
        assert.strictEqual(second.code, 0)
        assertComplete(yield* w.lines("out.jsonl"), 2_000)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "ends with items undone when the provider stays down, and accepts a patience of 0",
    () =>
      Effect.gen(function* () {
        const w = yield* world((prompt) => (prompt === "i0" ? undefined : { status: 503 }))
        yield* w.write("in.jsonl", items(300))
        const { code, err } = yield* w.run([...command, "--outage-patience", "0 seconds"])
        assert.strictEqual(code, 1)
        assert.deepStrictEqual((yield* statuses(w)).dead, [])
        assert.include(err, "299 undone")
        const wrong = yield* w.run([...command, "--outage-patience", "soon"])
        assert.strictEqual(wrong.code, 2)
        assert.include(wrong.err, "--outage-patience: expected a duration")
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "waits as long as x-ratelimit-reset says before it sends a throttled item again",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const at: Array<number> = []
        const echo = yield* Upstream.echo().start
        const upstream = Upstream.make((request) => {
          at.push(performance.now())
          return at.length > 1
            ? echo(request)
            : Effect.succeed({
                status: 429,
                headers: {
                  "content-type": "application/json",
                  "x-ratelimit-remaining-requests": "0",
                  "x-ratelimit-reset-requests": "1.5s"
                },
                body: "{}"
              })
        })
        const server = yield* serve({ port: 0, upstreams: { openai: upstream } })
        yield* w.write("in.jsonl", jsonl({ id: "a", prompt: "a" }))
        const { code } = yield* w.run(command, { env: { AI_GATEWAY_URL: server.url } })
        assert.strictEqual(code, 0)
        // The back-off alone would be 0.6 s at most.
        assert.isAtLeast((at[1] ?? 0) - (at[0] ?? 0), 1_490)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "names the first dead letter and the flag to retry it, even in a run with nothing else to do",
    () =>
      Effect.gen(function* () {
        const w = yield* world((prompt) => (prompt === "i3" ? { status: 503 } : undefined))
        yield* w.write("in.jsonl", items(20))
        const first = yield* w.run(command)
        assert.strictEqual(first.code, 1)
        assert.match(first.err, /Done: 20 of 20 items, 1 dead letter \(ProviderUnavailable 1\)/)
        assert.match(first.err, /first problem: i3: .*unavailable/)
        assert.include(first.err, "--retry-failed")
        const second = yield* w.run(command)
        assert.strictEqual(second.code, 1)
        assert.include(second.err, "1 dead letter (from earlier runs 1)")
        assert.include(second.err, "the same command with --retry-failed tries them again")
      }).pipe(Effect.scoped),
    timeout
  )
})
