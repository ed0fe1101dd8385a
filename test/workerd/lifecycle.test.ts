/**
 * `effect-ai-gateway/worker` in workerd: what requests share, what they do not, and what happens when a client leaves.
 */
import type { ServerResponse } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type * as LocalGateway from "../../src/local/LocalGateway.ts"
import { serve } from "../../src/local/node.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { fetchAndReset } from "../../src/local/upstream/resettingFetch.ts"
import { makePeer, type Peer } from "../support/httpPeer.ts"
import { bundle } from "./support/bundle.ts"
import * as Workerd from "./support/workerd.ts"

const { code } = await bundle(new URL("workers/lifecycle.ts", import.meta.url))

interface Setting {
  readonly worker: Workerd.Workerd
  readonly gateway: LocalGateway.LocalGateway
  /** The service behind `PEER`; it waits with its answers while `held`. */
  readonly peer: Peer
  readonly hold: () => void
  readonly release: () => void
  /** Whether the endless answer of `groq` was cancelled. */
  readonly cancelled: () => boolean
}

const setting = Effect.fnUntraced(function* (
  flags: ReadonlyArray<string> = ["enable_request_signal"]
): Effect.fn.Return<Setting, never, Scope.Scope> {
  let cancelled = false
  const endless = Upstream.make(() =>
    Effect.succeed({
      status: 200,
      headers: { "content-type": "text/event-stream" },
      body: new ReadableStream({
        pull: async (controller) => {
          await new Promise((resolve) => setTimeout(resolve, 5))
          const delta = JSON.stringify({ choices: [{ index: 0, delta: { role: "assistant", content: "x" } }] })
          controller.enqueue(new TextEncoder().encode(`data: ${delta}\n\n`))
        },
        cancel: () => {
          cancelled = true
        }
      })
    })
  )
  const { gateway, url } = yield* Effect.orDie(serve({ port: 0, gateway: "gw", upstreams: { groq: endless } }))
  let held: Array<() => void> | undefined
  const answer = (response: ServerResponse) => (): void => {
    response.writeHead(200, { "content-type": "application/json" })
    response.end('{"success":true,"result":{"url":"https://gateway.test/"}}')
  }
  const peer = yield* makePeer((_, response) => {
    if (held === undefined) answer(response)()
    else held.push(answer(response))
  })
  const ai = { AI: { url }, PEER: { url: peer.url } }
  const worker = yield* Workerd.start({ code, ai, flags, vars: { TEAM: "support", SECRET: "hush" } })
  return {
    worker,
    gateway,
    peer,
    cancelled: () => cancelled,
    hold: () => {
      held ??= []
    },
    release: () => {
      const waiting = held ?? []
      held = undefined
      for (const answer of waiting) answer()
    }
  }
})

const textOf = (response: Response) => Effect.promise(() => response.text())

const get = ({ worker }: Setting, path: string, init?: RequestInit) =>
  Effect.flatMap(worker.fetch(path, init), (response) =>
    Effect.map(textOf(response), (text) => ({ status: response.status, text }))
  )

/** Prompts that reached the provider, with their outcomes. */
const prompts = ({ gateway }: Setting) =>
  Effect.map(gateway.calls, (calls) =>
    calls.map(({ body, outcome }) => {
      const { messages } = body as { readonly messages: ReadonlyArray<{ readonly content: string }> }
      return `${messages[0]?.content}: ${outcome ?? "pending"}`
    })
  )

/** Polls until a value fits, as long as the test may take. */
const eventually = <A>(self: Effect.Effect<A>, is: (value: A) => boolean): Effect.Effect<A> =>
  Effect.flatMap(self, (value) =>
    is(value)
      ? Effect.succeed(value)
      : Effect.andThen(
          Effect.sleep(5),
          Effect.suspend(() => eventually(self, is))
        )
  )

const has = (entry: string) => (entries: ReadonlyArray<string>) => entries.includes(entry)

/** Starts a request whose client is about to leave. */
const begin = ({ worker }: Setting, path: string) => Effect.forkChild(worker.fetch(path), { startImmediately: true })

const test = (name: string, body: (setting: Setting) => Effect.Effect<void>, flags?: ReadonlyArray<string>): void =>
  it.live(name, () => Effect.scoped(Effect.flatMap(setting(flags), body)))

describe("a Worker", () => {
  test("builds its services once for many concurrent requests", (given) =>
    Effect.gen(function* () {
      given.hold()
      const requests = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 20 }), () => get(given, "/build"), { concurrency: "unbounded" })
      )
      yield* given.peer.until(() => given.peer.requests.length === 1)
      given.release()
      for (const { text } of yield* Fiber.join(requests)) assert.strictEqual(text, "1")
      assert.strictEqual((yield* get(given, "/build")).text, "1")
      assert.strictEqual(given.peer.requests.length, 1)
    }))

  test("finishes its services although the client that began them left", (given) =>
    Effect.gen(function* () {
      given.hold()
      const first = yield* begin(given, "/build")
      yield* given.peer.until(() => given.peer.requests.length === 1)
      const second = yield* Effect.forkChild(get(given, "/build"), { startImmediately: true })
      yield* Fiber.interrupt(first)
      const third = yield* Effect.forkChild(get(given, "/build"), { startImmediately: true })
      given.release()
      assert.strictEqual((yield* Fiber.join(second)).text, "1")
      assert.strictEqual((yield* Fiber.join(third)).text, "1")
      assert.strictEqual(given.peer.requests.length, 1)
    }))

  test("tries again when its services could not be built", (given) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* get(given, "/flaky"), {
        status: 500,
        text: '{"error":{"reason":"Internal","retryable":false}}'
      })
      assert.deepStrictEqual(yield* get(given, "/flaky"), { status: 200, text: "well" })
    }))

  test("reads its configuration from `env`, but no binding", (given) =>
    Effect.gen(function* () {
      const { text } = yield* get(given, "/config")
      assert.deepStrictEqual(JSON.parse(text).slice(0, 3), ["support", "<redacted>", "hush"])
      assert.include(text, '"None"')
    }))

  test("answers failures without details, or through onFailure", (given) =>
    Effect.gen(function* () {
      const fail = given.gateway.script("openai", [{ status: 429, retryAfter: 7 }])
      yield* fail
      const response = yield* given.worker.fetch("/ask?name=secret-prompt")
      assert.strictEqual(response.status, 429)
      assert.strictEqual(response.headers.get("retry-after"), "7")
      assert.strictEqual(response.headers.get("cache-control"), "no-store")
      assert.strictEqual(yield* textOf(response), '{"error":{"reason":"RateLimited","retryable":true}}')
      yield* fail
      assert.deepStrictEqual(yield* get(given, "/ask?strict&name=secret-prompt"), { status: 418, text: "RateLimited" })
      assert.strictEqual((yield* get(given, "/die?name=secret-prompt")).status, 500)
      yield* eventually(Effect.sync(given.worker.output), (output) => output.includes("SyntaxError"))
      assert.notInclude(given.worker.output(), "secret-prompt")
    }))

  test("keeps the attempts of each request apart", (given) =>
    Effect.gen(function* () {
      const answers = yield* Effect.forEach(
        Array.from({ length: 10 }, (_, n) => n),
        (n) => get(given, `/trail?name=${n}`),
        { concurrency: "unbounded" }
      )
      const trails: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = answers.map(({ text }) =>
        JSON.parse(text)
      )
      for (const [last, ids] of trails) assert.deepStrictEqual([ids.length, ids[1]], [2, last])
      assert.strictEqual(new Set(trails.flatMap(([, ids]) => ids)).size, 20)
    }))

  test("runs effects of other handlers", (given) =>
    Effect.gen(function* () {
      assert.include((yield* get(given, "/run")).text, "openai/m: run")
      yield* given.gateway.script("openai", [{ status: 503 }])
      assert.strictEqual((yield* get(given, "/run")).status, 500)
    }))

  test("streams", (given) =>
    Effect.gen(function* () {
      assert.strictEqual((yield* get(given, "/stream")).text, "1\n2\n3\n4\n5\n")
    }))
})

for (const flags of [["enable_request_signal"], ["enable_request_signal", "nodejs_compat"]]) {
  describe(`requests that wait for each other, with ${flags.join(" and ")}`, () => {
    test(
      "take turns at a semaphore",
      (given) =>
        Effect.gen(function* () {
          const names = Array.from({ length: 8 }, (_, n) => `client-${n}`)
          const answers = yield* Effect.forEach(
            names,
            (name) => get(given, `/one?name=${name}`, { method: "POST", body: name }),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(
            answers.map(({ text }) => text),
            names
          )
          assert.notInclude(given.worker.output(), "different request")
        }),
      flags
    )

    test(
      "resume in their own request when another one opens the gate and leaves",
      (given) =>
        Effect.gen(function* () {
          yield* get(given, "/build")
          const waiting = yield* Effect.forkChild(
            Effect.forEach(["a", "b"], (name) => get(given, `/wait?name=${name}`, { method: "POST", body: name }), {
              concurrency: 2
            }),
            { startImmediately: true }
          )
          // Long enough for the runtime to consider a request that waits for nothing of its own as dead.
          yield* Effect.sleep(200)
          yield* given.gateway.script("openai/opener", [{ stall: true }])
          const opener = yield* begin(given, "/open?name=opener")
          yield* eventually(prompts(given), (all) => all.length > 2)
          yield* Fiber.interrupt(opener)
          assert.deepStrictEqual(
            (yield* Fiber.join(waiting)).map(({ text }) => text),
            ["a", "b"]
          )
        }),
      flags
    )

    test(
      "take from a queue what a short request offers",
      (given) =>
        Effect.gen(function* () {
          yield* get(given, "/build")
          for (const name of ["a", "b", "c"]) {
            const taker = yield* Effect.forkChild(get(given, "/take", { method: "POST", body: "!" }), {
              startImmediately: true
            })
            yield* Effect.sleep(50)
            yield* get(given, `/offer?name=${name}`)
            assert.strictEqual((yield* Fiber.join(taker)).text, `${name}!`)
          }
        }),
      flags
    )

    test(
      "get the permit of one whose client left",
      (given) =>
        Effect.gen(function* () {
          yield* given.gateway.script("openai", [{ stall: true }])
          const holder = yield* begin(given, "/one?name=holder")
          yield* eventually(prompts(given), has("holder: pending"))
          const next = yield* Effect.forkChild(get(given, "/one?name=next", { method: "POST", body: "mine" }), {
            startImmediately: true
          })
          yield* Fiber.interrupt(holder)
          assert.strictEqual((yield* Fiber.join(next)).text, "mine")
        }),
      flags
    )
  })
}

describe("a client that leaves", () => {
  test("interrupts its fiber, aborts the provider, and lets finalizers finish", (given) =>
    Effect.gen(function* () {
      yield* given.gateway.script("openai", [{ stall: true }])
      const client = yield* begin(given, "/leave?name=x")
      yield* eventually(prompts(given), has("x: pending"))
      yield* Fiber.interrupt(client)
      yield* eventually(prompts(given), has("x: interrupted"))
      yield* eventually(prompts(given), has("x finalizer: answered"))
      assert.strictEqual((yield* get(given, "/ask?name=y")).status, 200)
    }))

  test(
    "without the flag aborts the provider too, but no finalizer runs",
    (given) =>
      Effect.gen(function* () {
        yield* given.gateway.script("openai", [{ stall: true }])
        const client = yield* begin(given, "/leave?name=x")
        yield* eventually(prompts(given), has("x: pending"))
        yield* Fiber.interrupt(client)
        yield* eventually(prompts(given), has("x: interrupted"))
        yield* get(given, "/ask?name=y")
        assert.deepStrictEqual(yield* prompts(given), ["x: interrupted", "y: answered"])
      }),
    []
  )

  for (const [path, how] of [
    ["/endless", "an Effect stream"],
    ["/route", "a route's deltas"],
    ["/pass", "a provider's bytes"]
  ] as const) {
    test(`ends what it was reading: ${how}`, (given) =>
      Effect.gen(function* () {
        const leaving = new AbortController()
        const response = yield* Effect.promise(() =>
          fetchAndReset(new Request(`${given.worker.url}${path}?name=x`), leaving.signal)
        )
        assert.strictEqual(response.status, 200)
        yield* Effect.promise(async () => response.body?.getReader().read())
        leaving.abort()
        if (path === "/endless") yield* eventually(prompts(given), has("x ended: answered"))
        else yield* eventually(Effect.sync(given.cancelled), (cancelled) => cancelled)
        if (path === "/route") yield* eventually(prompts(given), has("x left: answered"))
        assert.strictEqual((yield* get(given, "/ask?name=y")).status, 200)
      }))
  }

  test("ends a stream that is never read", (given) =>
    Effect.gen(function* () {
      const client = yield* begin(given, "/endless?stall&name=x")
      yield* eventually(prompts(given), has("x begun: answered"))
      yield* Fiber.interrupt(client)
      yield* eventually(prompts(given), has("x ended: answered"))
    }))

  test("does not disturb other requests", (given) =>
    Effect.gen(function* () {
      yield* get(given, "/build")
      given.hold()
      const first = yield* begin(given, "/url")
      yield* given.peer.until(() => given.peer.requests.length === 2)
      const second = yield* Effect.forkChild(get(given, "/url"), { startImmediately: true })
      yield* given.peer.until(() => given.peer.requests.length === 3)
      yield* Fiber.interrupt(first)
      given.release()
      assert.strictEqual((yield* Fiber.join(second)).text, "https://gateway.test/")
      assert.strictEqual((yield* get(given, "/url")).text, "https://gateway.test/")
      assert.strictEqual(given.peer.requests.length, 3)
    }))
})

describe("waitUntil", () => {
  test("continues after the answer", (given) =>
    Effect.gen(function* () {
      assert.strictEqual((yield* get(given, "/later?name=x")).text, "now")
      yield* eventually(prompts(given), has("x later: answered"))
    }))

  test("continues when the client has left", (given) =>
    Effect.gen(function* () {
      yield* given.gateway.script("openai", [{ ok: true }, { ok: true, delay: 100 }])
      const client = yield* begin(given, "/later-and-leave?name=x")
      // Probably pending; on a very slow machine it may already be answered.
      yield* eventually(prompts(given), (all) => all.some((entry) => entry.startsWith("x going on")))
      yield* Fiber.interrupt(client)
      yield* eventually(prompts(given), has("x later: answered"))
    }))

  test("logs a failure without passing it on", (given) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* get(given, "/later-and-fail"), { status: 200, text: "now" })
      yield* eventually(Effect.sync(given.worker.output), (output) =>
        output.includes("Worker.waitUntil: test: invalid field: expected another")
      )
    }))
})
