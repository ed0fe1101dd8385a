/**
 * The Workers binding: its traps, and log ids under concurrency.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as AiService from "../../../src/AiService.ts"
import type { GatewayError } from "../../../src/GatewayError.ts"
import * as GatewayService from "../../../src/GatewayService.ts"
import { type Ai, type Fetcher, makeBinding } from "../../support/bindingDouble.ts"

const llama = "@cf/meta/llama-3.1-8b-instruct"

interface Sent {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

/** A binding whose service answers `{}` and records its requests. */
const recording = () => {
  const sent: Array<Sent> = []
  const fetcher: Fetcher = async (request) => {
    const text = await request.text()
    sent.push({
      url: request.url,
      headers: Object.fromEntries(request.headers),
      body: text === "" ? undefined : JSON.parse(text)
    })
    return Response.json({}, { headers: { "cf-aig-log-id": "log-1" } })
  }
  return { ai: makeBinding(fetcher), sent }
}

const services = Effect.fnUntraced(function* (ai: GatewayService.AiBinding, gateway = "gw") {
  const context = yield* Layer.build(
    Layer.merge(AiService.layerBinding(ai), GatewayService.layerBinding(ai, { gateway }))
  )
  return {
    ai: yield* Effect.provide(AiService.AiService, context),
    gateway: yield* Effect.provide(GatewayService.GatewayService, context)
  }
})

const deepFreeze = <A>(value: A): A => {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const item of Object.values(value)) deepFreeze(item)
  }
  return value
}

const leg = (prompt: string) => ({
  provider: "openai",
  endpoint: "chat/completions",
  headers: { authorization: "Bearer key" },
  query: { model: "m", messages: [{ role: "user", content: prompt }] }
})

describe("a missing binding", () => {
  it.effect("is a typed failure that names the missing member", () =>
    Effect.gen(function* () {
      const memberOf = (layer: Layer.Layer<never, GatewayError>) =>
        Effect.map(Effect.flip(Layer.build(layer)), ({ reason }) =>
          reason._tag === "BindingMissing" ? reason.member : reason._tag
        )
      const { ai } = recording()
      const run = () => Promise.resolve({})
      // A value from a Worker without types.
      const untyped = (value: unknown) => value as GatewayService.AiBinding
      const cases: ReadonlyArray<readonly [unknown, ai: string, gateway: string]> = [
        [undefined, "AI", "AI"],
        [null, "AI", "AI"],
        ["AI", "AI", "AI"],
        [{}, "AI.run", "AI.gateway"],
        [{ run, models: run }, "AI.gateway", "AI.gateway"],
        [{ run, gateway: run }, "AI.models", "none"],
        [{ run, models: run, gateway: {} }, "AI.gateway", "AI.gateway"],
        [ai, "none", "none"]
      ]
      for (const [value, ofAi, ofGateway] of cases) {
        const binding = untyped(value)
        const expect = (layer: Layer.Layer<never, GatewayError>, member: string) =>
          member === "none"
            ? Layer.build(layer)
            : Effect.map(memberOf(layer), (found) => assert.strictEqual(found, member))
        yield* expect(Layer.effectDiscard(Effect.void).pipe(Layer.provide(AiService.layerBinding(binding))), ofAi)
        yield* expect(
          Layer.effectDiscard(Effect.void).pipe(Layer.provide(GatewayService.layerBinding(binding, { gateway: "gw" }))),
          ofGateway
        )
      }
    })
  )
})

const bad = Schema.String.check(
  Schema.makeFilter((id) => !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(id) || "would be a valid id")
)

describe("a malformed id", () => {
  it.effect.prop("never reaches the service", { id: bad }, ({ id }) =>
    Effect.gen(function* () {
      const { ai: binding, sent } = recording()
      const { ai, gateway } = yield* services(binding)
      const failures = yield* Effect.forEach(
        [
          services(binding, id),
          ai.gateway(id),
          ai.run(llama, {}, { gateway: id }),
          gateway.getLog(id),
          gateway.patchLog(id, { feedback: 1 }),
          gateway.getUrl(id),
          gateway.run({ ...leg("x"), provider: id })
        ],
        (call: Effect.Effect<unknown, GatewayError, Scope.Scope>) => Effect.flip(call)
      )
      for (const { reason } of failures) {
        assert.isTrue(reason._tag === "InvalidRequest" && reason.origin === "client" && reason.field !== undefined)
      }
      assert.deepStrictEqual(sent, [])
    }).pipe(Effect.scoped)
  )
})

describe("the caller's objects", () => {
  it.effect("may be frozen, and are not changed", () =>
    Effect.gen(function* () {
      const { ai: binding, sent } = recording()
      const { ai, gateway } = yield* services(binding)
      const legs = deepFreeze([{ ...leg("x"), config: { maxAttempts: 2 } }, leg("y")])
      const options = deepFreeze({
        eventId: "e",
        metadata: { a: 1, ü: "ö" },
        retries: { attempts: 2, delay: "1 second" },
        customCost: { totalCost: 1 }
      } as const)
      const input = deepFreeze({ messages: [{ role: "user", content: "x" }] })
      const patch = deepFreeze({ feedback: 1, metadata: { a: 1 } } as const)
      const before = structuredClone([legs, options, input, patch])
      yield* gateway.run(legs, options)
      yield* gateway.patchLog("log-1", patch)
      yield* ai.run(llama, input, deepFreeze({ ...options, gateway: "gw", tags: ["a"], headers: { "x-a": "1" } }))
      assert.deepStrictEqual<unknown>([legs, options, input, patch], before)
      assert.strictEqual(sent.length, 3)
    })
  )

  it.effect("are never passed to the binding", () =>
    Effect.gen(function* () {
      const given: Array<unknown> = []
      const take = (...args: ReadonlyArray<unknown>) => {
        for (const arg of args) collect(arg)
        return Promise.resolve(Response.json({}))
      }
      const collect = (value: unknown): void => {
        if (typeof value !== "object" || value === null || value instanceof AbortSignal) return
        given.push(value)
        for (const [name, item] of Object.entries(value)) {
          // Bodies are only read.
          if (name !== "query" && name !== "messages") collect(item)
        }
      }
      const { ai, gateway } = yield* services({
        run: take,
        models: take,
        gateway: () => ({ run: take, getLog: take, patchLog: take, getUrl: async () => "" })
      })
      const legs = [{ ...leg("x"), config: { maxAttempts: 2 } }]
      const options = { metadata: { a: 1 }, retries: { attempts: 2 } }
      const more = { headers: { "x-a": "1" }, tags: ["a"] }
      const input = { messages: [] }
      const patch = { feedback: 1 } as const
      yield* gateway.run(legs, options)
      yield* gateway.patchLog("log-1", patch)
      yield* ai.run(llama, input, { ...options, ...more, gateway: "gw" })
      const settings = Object.values<unknown>({ ...options, ...more })
      const own = [legs, ...legs, legs[0]?.headers, legs[0]?.config, input, patch, ...settings]
      assert.isAtLeast(given.length, 10)
      for (const value of own) assert.notInclude(given, value)
    })
  )

  it.effect("arrive as the binding's own options", () =>
    Effect.gen(function* () {
      const { ai: binding, sent } = recording()
      const { ai, gateway } = yield* services(binding)
      const options = {
        cache: { ttl: "off" },
        log: { collect: true, payload: false },
        byokAlias: "mine",
        timeout: "2 seconds"
      } as const
      yield* gateway.run(leg("x"), options)
      yield* ai.run(llama, { prompt: "x" }, { ...options, gateway: "gw", tags: ["a:b"], headers: { "x-a": "1" } })
      yield* ai.run("openai/gpt-4.1-mini", { messages: [] })
      yield* ai.run(llama, { prompt: "x" })
      const [universal, viaGateway, third, plain] = sent
      assert.strictEqual(universal?.url, "https://workers-binding.ai/ai-gateway/universal/run/gw")
      assert.deepStrictEqual(universal?.headers, {
        "content-type": "application/json",
        "cf-aig-skip-cache": "true",
        "cf-aig-collect-log": "true",
        "cf-aig-collect-log-payload": "false",
        "cf-aig-byok-alias": "mine",
        "cf-aig-request-timeout": "2000"
      })
      assert.deepStrictEqual(universal?.body, [
        { ...leg("x"), headers: { "content-type": "application/json", authorization: "Bearer key" } }
      ])
      const consn = { "content-type": "application/json", "cf-consn-sdk-version": "2.0.0" }
      assert.strictEqual(viaGateway?.url, "https://workers-binding.ai/ai-gateway/run?version=3")
      assert.deepStrictEqual(viaGateway?.headers, {
        ...consn,
        "cf-consn-model-id": llama,
        "cf-aig-collect-log-payload": "false",
        "cf-aig-byok-alias": "mine",
        "x-a": "1"
      })
      assert.deepStrictEqual(viaGateway?.body, {
        inputs: { prompt: "x" },
        options: {
          gateway: { id: "gw", skipCache: true, collectLog: true, requestTimeoutMs: 2000 },
          tags: ["a:b"],
          returnRawResponse: true
        }
      })
      assert.strictEqual(third?.headers["cf-consn-model-id"], "openai/gpt-4.1-mini")
      assert.deepStrictEqual(third?.body, {
        inputs: { messages: [] },
        options: { gateway: { id: "default" }, returnRawResponse: true }
      })
      assert.strictEqual(plain?.url, "https://workers-binding.ai/run?version=3")
      assert.deepStrictEqual(plain?.body, { inputs: { prompt: "x" }, options: { returnRawResponse: true } })
    })
  )

  it.effect("may hold a stream if no gateway is used", () =>
    Effect.gen(function* () {
      const bodies: Array<string> = []
      const { ai } = yield* services(
        makeBinding(async (request) => {
          bodies.push(await request.text())
          return Response.json({ text: "heard" })
        })
      )
      const body = new Response("sound").body
      const response = yield* ai.run("@cf/openai/whisper", { audio: { body, contentType: "audio/mpeg" } })
      assert.deepStrictEqual(yield* response.result, { text: "heard" })
      assert.deepStrictEqual(bodies, ["sound"])
    })
  )
})

describe("an exception of the binding", () => {
  const throwing = (thrown: unknown): GatewayService.AiBinding => {
    const now = (): never => {
      throw thrown
    }
    return {
      run: now,
      models: now,
      gateway: () => ({ run: now, getLog: now, patchLog: now, getUrl: now })
    }
  }
  const named = (name: string, message: string): Error => Object.assign(new Error(message), { name })

  it.effect("becomes a typed failure, also when it is synchronous", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [unknown, string]> = [
        [new TypeError("Invalid header value."), "InvalidRequest"],
        [named("InferenceUpstreamError", "3040: Capacity temporarily exceeded"), "RateLimited"],
        [named("AiGatewayError", "2001: no such gateway"), "NotFound"],
        [new Error("Network connection lost."), "TransportFailure"],
        ["a text", "Unknown"],
        [undefined, "Unknown"]
      ]
      for (const [thrown, tag] of cases) {
        const { ai, gateway } = yield* services(throwing(thrown))
        for (const call of [ai.run(llama, {}), gateway.run(leg("x")), gateway.run([leg("x"), leg("y")])]) {
          assert.strictEqual((yield* Effect.flip(call)).reason._tag, tag)
        }
        const rest: ReadonlyArray<Effect.Effect<unknown, GatewayError>> = [
          ai.models(),
          gateway.getLog("log"),
          gateway.patchLog("log", { feedback: 1 }),
          gateway.getUrl()
        ]
        for (const call of rest) assert.strictEqual((yield* Effect.flip(call))._tag, "GatewayError")
      }
    })
  )

  it.effect("becomes a typed failure from the factory of gateways too", () =>
    Effect.gen(function* () {
      const binding: GatewayService.AiBinding = {
        ...throwing(undefined),
        gateway: () => {
          throw new TypeError("no")
        }
      }
      const { gateway } = yield* services(binding)
      assert.strictEqual((yield* Effect.flip(gateway.run(leg("x")))).reason._tag, "InvalidRequest")
      assert.strictEqual((yield* Effect.flip(gateway.getUrl()))._tag, "GatewayError")
    })
  )

  it.effect("from the catalogue is the service's answer, not a mistake of the caller", () =>
    Effect.gen(function* () {
      const reasonOf = (status: number, message: string) =>
        Effect.gen(function* () {
          const { ai } = yield* services(
            makeBinding(async () => Response.json({ success: false, errors: [{ message }] }, { status }))
          )
          return (yield* Effect.flip(ai.models())).reason._tag
        })
      assert.strictEqual(yield* reasonOf(401, "Authentication error"), "Unauthorized")
      assert.strictEqual(yield* reasonOf(500, ""), "ProviderUnavailable")
    })
  )
})

/** Numbers that look random and are the same in every run. */
const shuffled = <A>(items: ReadonlyArray<A>, seed: number): ReadonlyArray<A> => {
  const out = [...items]
  let state = seed
  for (let i = out.length - 1; i > 0; i--) {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    const j = state % (i + 1)
    const [a, b] = [out[i], out[j]]
    if (a !== undefined && b !== undefined) {
      out[i] = b
      out[j] = a
    }
  }
  return out
}

const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

/** A service that holds every request, then releases headers in one order and bodies in another. */
const holding = () => {
  const headers = new Map<string, () => void>()
  const bodies = new Map<string, () => void>()
  const cancelled = new Set<string>()
  const fetcher: Fetcher = async (request) => {
    const id = /call-\d+/.exec(await request.text())?.[0] ?? "none"
    await new Promise<void>((resolve) => headers.set(id, resolve))
    const stream = new ReadableStream<Uint8Array>({
      async start(controller) {
        controller.enqueue(new TextEncoder().encode(`{"id":`))
        await new Promise<void>((resolve) => bodies.set(id, resolve))
        if (cancelled.has(id)) return
        controller.enqueue(new TextEncoder().encode(`"${id}"}`))
        controller.close()
      },
      cancel() {
        cancelled.add(id)
      }
    })
    return new Response(stream, {
      headers: { "content-type": "application/json", "cf-aig-log-id": `log-of-${id}` }
    })
  }
  const release = (held: Map<string, () => void>, seed: number, count = held.size) =>
    Effect.gen(function* () {
      for (const [id, go] of shuffled([...held], seed).slice(0, count)) {
        held.delete(id)
        go()
        yield* turn
      }
    })
  return { fetcher, headers, bodies, cancelled, release }
}

/** The result for an application that calls the binding itself. */
const direct = async (binding: Ai, id: string) => {
  const result = await binding.run(llama, { prompt: id }, { gateway: { id: "gw" } })
  const logId = binding.aiGatewayLogId
  if (result instanceof Response) await result.body?.cancel()
  return { id, logId }
}

describe("log ids of 1,000 overlapping calls", () => {
  it.effect.each([
    ["are right with the binding's own fetch", true],
    ["are right or, on the shared path only, absent without it", false]
  ] as const)("%s", ([, hasFetch]) =>
    Effect.gen(function* () {
      const service = holding()
      const binding = makeBinding(service.fetcher)
      // An own field hides the method of the class.
      if (!hasFetch) Object.defineProperty(binding, "fetch", { value: undefined })
      const { ai, gateway } = yield* services(binding)
      const directs: Array<Promise<{ readonly id: string; readonly logId: string | null }>> = []
      const indices = Array.from({ length: 1_000 }, (_, n) => n)
      const fibers = yield* Effect.forEach(indices, (n) => {
        const id = `call-${n}`
        if (n % 5 === 0) {
          directs.push(direct(binding, id))
          return Effect.succeed(undefined)
        }
        const stateless = n % 5 < 3
        const run = stateless ? gateway.run(leg(id)) : ai.run(llama, { prompt: id }, { gateway: "gw" })
        const read = Effect.flatMap(run, (response) =>
          Effect.map(response.json, (body) => ({ body, id, logId: response.meta.logId }))
        )
        return Effect.map(Effect.forkChild(read, { startImmediately: true }), (fiber) => ({ n, fiber, stateless }))
      })
      const ours = fibers.filter((call) => call !== undefined)
      yield* turn
      assert.strictEqual(service.headers.size, 1_000)

      // Some are interrupted before their headers arrive, some while they read their body.
      const leaves = (n: number) => n % 20 === 1 || n % 20 === 3
      const leavesLate = (n: number) => n % 20 === 6 || n % 20 === 8
      const interrupt = (is: (n: number) => boolean) =>
        Effect.forEach(
          ours.filter(({ n }) => is(n)),
          ({ fiber }) => Fiber.interrupt(fiber)
        )
      yield* interrupt(leaves)
      // The binding keeps the options of the call that started last: so far ours, from here on the application's.
      yield* service.release(service.headers, 1, 500)
      directs.push(direct(binding, "call-1000"))
      yield* turn
      yield* service.release(service.headers, 2)
      yield* interrupt(leavesLate)
      yield* service.release(service.bodies, 3)

      let [exact, kept, absent] = [0, 0, 0]
      for (const { fiber, n, stateless } of ours) {
        const exit = yield* Fiber.await(fiber)
        if (leaves(n) || leavesLate(n)) {
          assert.isTrue(Exit.hasInterrupts(exit), `call ${n} was interrupted`)
          continue
        }
        const { body, id, logId } = yield* exit
        assert.deepStrictEqual(body, { id })
        if (stateless || logId !== undefined) assert.strictEqual(logId, `log-of-${id}`)
        if (stateless) exact++
        else if (logId === undefined) absent++
        else kept++
      }
      assert.strictEqual(exact, 300)
      assert.strictEqual(kept + absent, 300)
      if (hasFetch) assert.strictEqual(kept, 300)
      else {
        // Otherwise the overlap did not happen.
        assert.isAbove(kept, 100)
        assert.isAbove(absent, 100)
      }

      const own = yield* Effect.promise(() => Promise.all(directs))
      assert.isAbove(
        own.filter(({ id, logId }) => logId !== `log-of-${id}`).length,
        own.length / 2,
        "reading `aiGatewayLogId` after the call would have given wrong ids"
      )
    })
  )

  it.effect("are all present when nothing else calls the binding", () =>
    Effect.gen(function* () {
      const service = holding()
      const { ai } = yield* services(makeBinding(service.fetcher))
      const fibers = yield* Effect.forEach(Array.from({ length: 200 }), (_, n) =>
        Effect.forkChild(
          Effect.flatMap(ai.run(llama, { prompt: `call-${n}` }, { gateway: "gw" }), (response) =>
            Effect.as(response.json, response.meta.logId)
          ),
          { startImmediately: true }
        )
      )
      yield* turn
      yield* service.release(service.headers, 3)
      yield* service.release(service.bodies, 4)
      const ids = yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(
        ids,
        Array.from({ length: 200 }, (_, n) => `log-of-call-${n}`)
      )
    })
  )
})
