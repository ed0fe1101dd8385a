/** `effect-ai-gateway/worker` without a runtime: its answers, and how its scheduler takes turns. */
import { readFile } from "node:fs/promises"
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as GatewayError from "../../src/GatewayError.ts"
import * as LogTrail from "../../src/LogTrail.ts"
import * as RequestScheduler from "../../src/worker/requestScheduler.ts"
import * as Worker from "../../src/worker/Worker.ts"

const request = (init?: RequestInit) => new Request("https://worker.test/", init)

/** Records the promises to wait for. */
const context = () => {
  const promises: Array<Promise<unknown>> = []
  return { promises, waitUntil: (promise: Promise<unknown>) => void promises.push(promise) }
}

const secret = "secret-prompt"
const facts = { status: 418, code: secret, detail: secret }
const retryAfter = Duration.millis(1500)

/** One of each, with sensitive details. */
const reasons: ReadonlyArray<GatewayError.Reason> = [
  new GatewayError.TransportFailure({ ...facts, kind: "reset" }),
  new GatewayError.Timeout({ ...facts, phase: "idle" }),
  new GatewayError.RateLimited({ ...facts, origin: "provider", retryAfter }),
  new GatewayError.QuotaExhausted({ ...facts, kind: "credits", origin: "gateway", retryAfter }),
  new GatewayError.Unauthorized({ ...facts, origin: "provider" }),
  new GatewayError.InvalidRequest({ ...facts, origin: "client", field: secret, accepted: secret }),
  new GatewayError.Unsupported({ ...facts, field: secret, accepted: secret }),
  new GatewayError.ContextLengthExceeded(facts),
  new GatewayError.ContentBlocked({ ...facts, by: "dlp", subject: "prompt" }),
  new GatewayError.NotFound({ ...facts, what: "model" }),
  new GatewayError.ProviderUnavailable({ ...facts, origin: "provider", retryAfter }),
  new GatewayError.InvalidResponse({ ...facts, issue: secret }),
  new GatewayError.StreamInterrupted({ ...facts, events: 1 }),
  new GatewayError.Rejected({ ...facts, by: "breaker", retryAfter }),
  new GatewayError.BindingMissing({ ...facts, member: secret }),
  new GatewayError.Unknown(facts)
]

const failureOf = (reason: GatewayError.Reason) =>
  new GatewayError.GatewayError({ reason, method: secret, provider: secret, model: secret, logId: secret })

describe("failureResponse", () => {
  for (const reason of reasons) {
    it(`answers ${reason._tag} with a status, and little else`, async () => {
      const response = Worker.failureResponse(failureOf(reason))
      assert.strictEqual(response.status, Worker.failureStatus[reason._tag])
      assert.deepStrictEqual(await response.json(), {
        error: { reason: reason._tag, retryable: GatewayError.decide(reason).again }
      })
      const hinted = [429, 503].includes(response.status)
      assert.strictEqual(response.headers.get("retry-after"), hinted && "retryAfter" in reason ? "2" : null)
      assert.notInclude(JSON.stringify([...response.headers]), secret)
    })
  }

  it("has a status for every reason, and the documentation has the same", async () => {
    const tags = reasons.map(({ _tag }) => _tag)
    assert.deepStrictEqual(tags.toSorted(), Object.keys(Worker.failureStatus).sort())
    const page = await readFile(new URL("../../docs/workers.md", import.meta.url), "utf8")
    const rows = page.split("\n").filter((line) => line.startsWith("| "))
    for (const tag of tags) {
      const documented = rows.some(
        (row) => row.startsWith(`| ${Worker.failureStatus[tag]} |`) && row.includes(`\`${tag}\``)
      )
      assert.isTrue(documented, tag)
    }
  })

  it("distinguishes a missing log from a missing model", () => {
    const missing = (what: "log" | "model") => failureOf(new GatewayError.NotFound({ what }))
    assert.deepStrictEqual(
      [missing("log"), missing("model")].map((error) => Worker.failureResponse(error).status),
      [404, 502]
    )
  })

  it("reveals nothing of any other error", async () => {
    for (const error of [new Error(secret), { _tag: secret }, secret, undefined]) {
      const response = Worker.failureResponse(error)
      assert.strictEqual(response.status, 500)
      assert.strictEqual(await response.text(), '{"error":{"reason":"Internal","retryable":false}}')
    }
  })
})

describe("make", () => {
  const make = <E>(fetch: (request: Request) => Effect.Effect<Response, E>) =>
    Worker.make({ layer: (_: object) => Layer.empty, fetch })

  it("answers at once without waiting", async () => {
    const { fetch } = make(() => Effect.succeed(new Response("now")))
    assert.strictEqual(await (await fetch(request(), {}, context())).text(), "now")
  })

  it("begins nothing, or interrupts it at once, when the client has already left", async () => {
    const seen: Array<string> = []
    const { fetch } = make(
      Effect.fnUntraced(function* () {
        seen.push("begun")
        return yield* Effect.onInterrupt(Effect.never, () => Effect.sync(() => seen.push("interrupted")))
      })
    )
    const env = {}
    for (const expected of [[], ["begun", "interrupted"]]) {
      const ctx = context()
      const response = await fetch(request({ signal: AbortSignal.abort() }), env, ctx)
      assert.strictEqual(response.status, 499)
      assert.deepStrictEqual(seen, expected)
      assert.isAbove(ctx.promises.length, 0)
      await Promise.all(ctx.promises)
    }
  })

  it("ignores a client that leaves after the answer", async () => {
    const controller = new AbortController()
    const { fetch } = make(() => Effect.as(Effect.sleep(1), new Response("done")))
    const ctx = context()
    const response = await fetch(request({ signal: controller.signal }), {}, ctx)
    const before = ctx.promises.length
    controller.abort()
    assert.strictEqual(await response.text(), "done")
    assert.strictEqual(ctx.promises.length, before)
  })

  it("does not end before the fibers that it woke have run", async () => {
    let woken = false
    const { fetch } = make(() =>
      // More rounds than are run at a stretch.
      Effect.repeat(Effect.yieldNow, { times: 200 }).pipe(
        Effect.andThen(
          Effect.sync(() => {
            woken = true
          })
        ),
        Effect.forkDetach,
        Effect.as(new Response())
      )
    )
    const ctx = context()
    await fetch(request(), {}, ctx)
    assert.isFalse(woken)
    await Promise.all(ctx.promises)
    assert.isTrue(woken)
  })

  it("answers 500 when the handler, its mapping or its layer throws", async () => {
    const boom = (): never => {
      throw new Error(secret)
    }
    const layer = (_: object) => Layer.empty
    for (const worker of [
      make(boom),
      make(() => Effect.die(boom)),
      make(() => Effect.interrupt),
      Worker.make({ layer, fetch: () => Effect.fail("no"), onFailure: boom }),
      Worker.make({ layer: boom, fetch: () => Effect.succeed(new Response()) }),
      Worker.make({
        layer: (_: object) => Layer.effectDiscard(Effect.die("no")),
        fetch: () => Effect.succeed(new Response())
      })
    ]) {
      const response = await worker.fetch(request(), {}, context())
      assert.strictEqual(response.status, 500)
    }
  })

  it("passes the layer's failure to the mapping too", async () => {
    const worker = Worker.make({
      layer: (_: object) => Layer.effectDiscard(Effect.fail("layer" as const)),
      fetch: () => Effect.fail("fetch" as const),
      onFailure: (error) => new Response(error, { status: 418 })
    })
    const response = await worker.fetch(request(), {}, context())
    assert.deepStrictEqual([response.status, await response.text()], [418, "layer"])
  })

  it("reads strings, numbers and booleans of `env` as configuration, per `env`", async () => {
    const worker = Worker.make({
      layer: (_: Record<string, unknown>) => Layer.empty,
      fetch: Effect.fnUntraced(function* () {
        const read = [
          yield* Config.String("NAME"),
          yield* Config.Int("NUMBER"),
          yield* Config.Boolean("SWITCH"),
          yield* Config.option(Config.String("BINDING"))
        ]
        return Response.json(read)
      })
    })
    for (const NAME of ["one", "two"]) {
      const env = { NAME, NUMBER: 5, SWITCH: true, BINDING: { fetch: () => undefined } }
      const response = await worker.fetch(request(), env, context())
      assert.deepStrictEqual(((await response.json()) as ReadonlyArray<unknown>).slice(0, 3), [NAME, 5, true])
    }
  })

  it("warns once when a wrapper copies `env`, as services are then built for each copy", async () => {
    const logged: Array<string> = []
    let builds = 0
    const logger = Logger.layer([Logger.make(({ message }) => void logged.push(String(message)))])
    const worker = Worker.make({
      layer: (_: Record<string, unknown>) =>
        Layer.provideMerge(Layer.effectDiscard(Effect.sync(() => builds++)), logger),
      fetch: () => Effect.succeed(new Response())
    })
    const env = { TEAM: "a", BINDING: {} }
    // The last one appears to belong to another Worker.
    for (const own of [env, env, { ...env, TEAM: "b" }]) await worker.fetch(request(), own, context())
    assert.deepStrictEqual([builds, logged], [2, []])
    for (let i = 0; i < 3; i++) await worker.fetch(request(), { ...env, BINDING: { i } }, context())
    assert.strictEqual(builds, 5)
    assert.deepStrictEqual(
      logged.map((message) => /^Worker: services are built again/.test(message)),
      [true]
    )
  })

  it("runs other handlers' effects, and rejects when they fail", async () => {
    const worker = make(() => Effect.succeed(new Response()))
    assert.strictEqual(await worker.run(Effect.as(Effect.sleep(1), 1), {}, context()), 1)
    const failed = await worker.run(Effect.fail(new Error("no")), {}, context()).catch((error: unknown) => error)
    assert.strictEqual(String(failed), "Error: no")
  })
})

describe("waitUntil", () => {
  it.effect("outside a request runs in its own fiber, with the same services", () =>
    Effect.gen(function* () {
      const done = yield* Deferred.make<number>()
      const { attempts } = yield* LogTrail.collect(
        Worker.waitUntil(Effect.flatMap(LogTrail.current, (trail) => Deferred.succeed(done, trail.length)))
      )
      assert.deepStrictEqual([yield* Deferred.await(done), attempts.length], [0, 0])
    })
  )
})

describe("the scheduler of a request", () => {
  it("lets the event loop run when fibers never rest", async () => {
    const scheduler = RequestScheduler.make()
    let running = true
    const spinning = Effect.whileLoop({
      while: () => running,
      body: () => Effect.yieldNow,
      step: () => undefined
    })
    scheduler.enter(() => Effect.runFork(spinning, { scheduler }))
    await new Promise((resolve) => setTimeout(resolve, 1))
    running = false
  })

  it("returns to its own request when it is resumed elsewhere", async () => {
    const turns: Array<string> = []
    const here = Deferred.makeUnsafe<void>()
    const [one, two] = [RequestScheduler.make(), RequestScheduler.make()]
    const waiting = one.enter(() =>
      Effect.runFork(
        Effect.andThen(
          Deferred.await(here),
          Effect.sync(() => turns.push("resumed"))
        ),
        { scheduler: one }
      )
    )
    two.enter(() =>
      Effect.runFork(
        Effect.andThen(
          Deferred.succeed(here, undefined),
          Effect.sync(() => turns.push("opened"))
        ),
        { scheduler: two }
      )
    )
    assert.deepStrictEqual(turns, ["opened"])
    await Effect.runPromise(Fiber.join(waiting))
    assert.deepStrictEqual(turns, ["opened", "resumed"])
  })

  it("knows when nothing is left to run", async () => {
    const scheduler = RequestScheduler.make()
    assert.isUndefined(scheduler.idle())
    let ran = 0
    const dispatcher = scheduler.makeDispatcher()
    // More rounds than are run at a stretch, so that the last ones wait for the event loop.
    const again = (): void => {
      if (++ran < 100) dispatcher.scheduleTask(again, 0)
    }
    dispatcher.scheduleTask(again, 0)
    await scheduler.idle()
    assert.strictEqual(ran, 100)
    assert.isUndefined(scheduler.idle())
  })
})
