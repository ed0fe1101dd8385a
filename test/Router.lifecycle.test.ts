/**
 * Callers that are interrupted, and attempts that lose, at any place: nothing stays open behind them, and the records
 * show it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as TestClock from "effect/testing/TestClock"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { clients } from "./support/httpClients.ts"
import { json, makePeer } from "./support/httpPeer.ts"
import { completion } from "./support/scripted.ts"

const route = Route.fallback(
  Provider.openai.chat("m").pipe(Route.retry({ attempts: 2, delay: 0 })),
  Provider.groq.chat("m"),
  Provider.deepseek.chat("m")
).pipe(Route.timeout("1 minute"), Route.deadline("5 minutes"))

/**
 * A `fetch` with answers in pieces, which counts the unreleased bodies. `wait` is called wherever a real one would make
 * its caller wait.
 */
const counted = (
  answers: ReadonlyArray<readonly [status: number, ...chunks: ReadonlyArray<string>]>,
  wait: () => Promise<void>
) => {
  let requests = 0
  const open = new Set<number>()
  const fetch: typeof globalThis.fetch = async (_, init) => {
    const id = requests++
    const [status, ...chunks] = answers[id] ?? [500]
    const signal = init?.signal
    await wait()
    signal?.throwIfAborted()
    open.add(id)
    const left = [...chunks]
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          signal?.addEventListener("abort", () => {
            if (open.delete(id)) controller.error(signal.reason)
          })
        },
        pull: async (controller) => {
          await wait()
          if (!open.has(id)) return
          const chunk = left.shift()
          if (chunk !== undefined) return controller.enqueue(new TextEncoder().encode(chunk))
          open.delete(id)
          controller.close()
        },
        cancel: () => {
          open.delete(id)
        }
      },
      { highWaterMark: 0 }
    )
    return new Response(body, { status, headers: { "cf-aig-log-id": `log-${id}` } })
  }
  const layer = Router.layerWith({ execution: "client" }).pipe(
    Layer.provideMerge(GatewayService.layerHttp({ accountId: "acc", gateway: "gw" })),
    Layer.provide(FetchHttpClient.layer),
    Layer.provide(Layer.succeed(FetchHttpClient.Fetch, fetch))
  )
  return { layer, open: () => [...open], requests: () => requests }
}

const whole = JSON.stringify(completion("an answer"))
const answers = [
  [503, `{"error":`, `{"message":"no"}}`],
  [429, "slow down"],
  [200, `{"choices":`, `"no"}`],
  [200, whole.slice(0, 20), whole.slice(20)]
] as const

/** Lets promises and scheduled fibers settle. */
const settle = Effect.repeat(Effect.yieldNow, { times: 20 })

describe("a caller that is interrupted", () => {
  /**
   * Runs the route and interrupts it while it waits for the `at`-th time, before or after the awaited event has
   * arrived.
   */
  const once = (at: number, when: "before" | "after") =>
    Effect.gen(function* () {
      let waits = 0
      let live = 0
      let root: Fiber.Fiber<unknown, unknown> | undefined
      const peer = counted(answers, async () => {
        const mine = ++waits
        await Promise.resolve()
        if (mine === at && when === "before") root?.interruptUnsafe()
        if (mine === at && when === "after") queueMicrotask(() => root?.interruptUnsafe())
      })
      const fibers: Metric.FiberRuntimeMetricsService = {
        recordFiberStart: () => {
          live++
        },
        recordFiberEnd: () => {
          live--
        }
      }
      const { attempts, value: exit } = yield* LogTrail.collect(
        Effect.gen(function* () {
          const fiber = yield* Router.run(route, "hi").pipe(
            Effect.provide(peer.layer),
            Effect.provideService(Metric.FiberRuntimeMetrics, fibers),
            Effect.forkChild
          )
          root = fiber
          const exit = yield* Fiber.await(fiber)
          yield* settle
          return exit
        })
      )
      return { attempts, exit, peer, waits, live }
    })

  it.effect("leaves no body, no fiber and no request behind, wherever it waits", () =>
    Effect.gen(function* () {
      const all = yield* once(0, "before")
      assert.isTrue(Exit.isSuccess(all.exit) && all.exit.value.provider === "deepseek")
      assert.strictEqual(all.peer.requests(), 4)
      assert.isAtLeast(all.waits, 12)
      let interrupted = 0
      for (let at = 1; at <= all.waits; at++) {
        for (const when of ["before", "after"] as const) {
          const { attempts, exit, live, peer } = yield* once(at, when)
          const place = `wait ${at}, ${when}`
          const requests = peer.requests()
          if (Exit.isFailure(exit)) interrupted++
          assert.isTrue(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause), place)
          assert.deepStrictEqual(peer.open(), [], place)
          assert.strictEqual(live, 0, place)
          // Every sent request is on record, and the one in flight as interrupted.
          assert.deepStrictEqual(
            attempts.map(({ outcome }) => outcome),
            Array.from({ length: requests }, (_, index) =>
              index < requests - 1 ? "failure" : Exit.isSuccess(exit) ? "success" : "interrupted"
            ),
            place
          )
        }
      }
      assert.isAtLeast(interrupted, 2 * all.waits - 2)
    })
  )
})

describe.each(clients)("over %s", (_, client) => {
  const over = (url: string) =>
    Router.layerWith({ execution: "client" }).pipe(
      Layer.provideMerge(GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: url })),
      Layer.provide(client)
    )

  it.effect("an attempt that times out, or whose error does not end, is retried, and its socket is closed", () =>
    Effect.gen(function* () {
      const closed: Array<number> = []
      const peer = yield* makePeer((_, response, socket, index) => {
        socket.on("close", () => closed.push(index))
        if (index === 2) json(response, 200, completion("third"))
        // The second one stalls in the body of an error.
        if (index === 1) response.writeHead(503).write("{")
      })
      const running = yield* Router.run(
        Provider.openai.chat("m").pipe(Route.retry({ attempts: 3, delay: 0 }), Route.timeout("1 minute")),
        "hi"
      ).pipe(Effect.provide(over(peer.url)), Effect.forkChild)
      for (const index of [0, 1]) {
        yield* peer.until(() => peer.requests.length === index + 1)
        yield* TestClock.adjust("1 minute")
        yield* peer.until(() => closed.includes(index))
      }
      const result = yield* Fiber.join(running)
      assert.strictEqual(result.value.text, "third")
      assert.deepStrictEqual(
        result.attempts.map(({ error }) => error?._tag),
        ["Timeout", "ProviderUnavailable", undefined]
      )
      assert.strictEqual(peer.requests.length, 3)
    })
  )

  it.effect("a deadline that passes in the middle of a body closes the socket", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => {
        response.writeHead(200, { "content-type": "application/json" }).write(`{"choices":`)
      })
      const running = yield* Router.run(Provider.openai.chat("m").pipe(Route.deadline("1 minute")), "hi").pipe(
        Effect.flip,
        Effect.provide(over(peer.url)),
        Effect.forkChild
      )
      yield* peer.until(() => peer.requests.length === 1)
      // Headers and the first chunk are on their way; the assertion holds wherever the client is by then.
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      yield* TestClock.adjust("1 minute")
      const { reason } = yield* Fiber.join(running)
      assert.isTrue(reason._tag === "Timeout" && reason.phase === "deadline")
      yield* peer.until(() => peer.open() === 0)
    })
  )
})

describe("layers", () => {
  it.effect("are built once, however many runs and attempts there are", () => {
    let built = 0
    let asked = 0
    const client = Layer.effect(
      HttpClient.HttpClient,
      Effect.map(HttpClient.HttpClient, (inner) => {
        built++
        return HttpClient.tapRequest(inner, () => Effect.sync(() => asked++))
      })
    ).pipe(Layer.provide(FetchHttpClient.layer))
    return Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => json(response, 503, {}))
      const retried = Provider.openai.chat("m").pipe(Route.retry({ attempts: 3, delay: 0 }))
      const program = Effect.forEach([1, 2, 3], () => Effect.flip(Router.run(retried, "hi")))
      const gateway = GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: peer.url })
      yield* program.pipe(Effect.provide(Router.layer.pipe(Layer.provide(gateway), Layer.provide(client))))
      assert.deepStrictEqual([built, asked], [1, 9])
    })
  })
})
