/**
 * Streams over real sockets: the local gateway as a server, through every client, and through the binding.
 */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import type { GatewayError, ReasonTag } from "effect-ai-gateway/GatewayError"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import { type Server, serve } from "effect-ai-gateway/local/node"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Transport from "effect-ai-gateway/Transport"
import * as Undici from "effect-ai-gateway/undici"
import { makeBinding } from "./support/bindingDouble.ts"
import { consume, executions, groq, interruption, lines, openai, type Seen } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const overHttp = ({ url }: Server) => GatewayService.layerHttp({ accountId: "local", gateway: "default", baseUrl: url })

/** The binding, with its service behind a socket. */
const overBinding = ({ url }: Server) => {
  const fetcher = (request: Request, signal: AbortSignal | undefined) =>
    fetch(new Request(request.url.replace("https://workers-binding.ai", url), request), { signal: signal ?? null })
  return GatewayService.layerBinding(makeBinding(fetcher), { gateway: "default" })
}

interface Backend {
  readonly name: string
  readonly layer: (server: Server) => Layer.Layer<GatewayService.GatewayService, GatewayError>
  /** Its connections end with its layer. */
  readonly owns: boolean
}

const transports: ReadonlyArray<Backend> = [
  { name: "fetch", layer: (server) => Layer.provide(overHttp(server), FetchHttpClient.layer), owns: false },
  { name: "undici", layer: (server) => Layer.provide(overHttp(server), NodeHttpClient.layerUndici), owns: true },
  {
    name: "fetch, the short way",
    layer: (server) => Layer.provide(overHttp(server), Transport.layerFetch),
    owns: false
  },
  { name: "undici, the short way", layer: (server) => Layer.provide(overHttp(server), Undici.layer), owns: true },
  {
    name: "node:http",
    layer: (server) => Layer.provide(overHttp(server), NodeHttpClient.layerNodeHttpOptions({ keepAlive: true })),
    owns: true
  },
  { name: "the binding", layer: overBinding, owns: false }
]

const ways = transports.flatMap((transport) =>
  executions.map((execution) => ({ name: `${transport.name}, ${execution}`, transport, execution }))
)

/** Connections that a transport keeps: Node's `fetch` replaces one that it aborted by a spare one, for four seconds. */
const spare = ({ owns }: (typeof transports)[number]): number => (owns ? 0 : 1)

/** Waits until a condition holds; otherwise the test's own time limit ends it. */
const until = <E>(holds: Effect.Effect<boolean, E>): Effect.Effect<void, E> =>
  Effect.flatMap(holds, (done) => (done ? Effect.void : Effect.andThen(Effect.sleep(5), until(holds))))

/** Lets a client return its connection to the pool: a few turns of the event loop, because no client reports it. */
const turns = Effect.promise(async () => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
})

setFlagsFromString("--expose-gc")
const gc: () => void = runInNewContext("gc")

/**
 * Collects garbage, in separate turns, because a job that has read a weak reference keeps its target alive until the
 * job ends.
 */
const collected = Effect.promise(async () => {
  for (let turn = 0; turn < 2; turn++) {
    await new Promise((resolve) => setImmediate(resolve))
    gc()
  }
})

/** Waits a hundred times as long as requested, for events that are immediate on an idle machine. */
const patiently = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const sleep = (duration: Duration.Duration) => clock.sleep(Duration.times(duration, 100))
    const patient: Clock.Clock = Object.assign(Object.create(clock), { sleep })
    return Effect.provideService(self, Clock.Clock, patient)
  })

// A recovered failure is logged as a warning.
const quiet = Layer.succeed(References.MinimumLogLevel, "None")

const start = (script: S.Script) =>
  Effect.gen(function* () {
    const provider = S.scripted(script)
    const server = yield* serve({ port: 0, upstreams: provider.upstreams })
    return { provider, server }
  })

const both = Route.fallback(openai, groq)
/** Only the first target is limited, so that a slow machine does not fail the second. */
const impatient = Route.fallback(openai.pipe(Route.firstTokenTimeout("300 millis")), groq)
const attentive = Route.fallback(openai.pipe(Route.idleTimeout("1 second")), groq)

/** In one piece, so that all of it is there with the headers. */
const half = S.role + S.say("half")

const routerOf = (transport: Backend, server: Server) =>
  Layer.merge(quiet, Layer.provideMerge(Router.layer, transport.layer(server)))

interface Kind {
  readonly name: string
  readonly reply: S.Reply
  readonly route: typeof both
  readonly check: (seen: Seen) => void
}

const replaced = (seen: Seen): void => {
  assert.isUndefined(seen.error)
  assert.strictEqual(seen.text, "from groq")
  assert.strictEqual(seen.summary?.target, "groq/m")
  assert.strictEqual(seen.deltas.length, 5)
}

const broken =
  (failure: Exclude<ReasonTag, "StreamInterrupted">) =>
  (seen: Seen): void => {
    assert.deepInclude({ ...interruption(seen) }, { partial: "half", failure })
    assert.strictEqual(seen.text, "half")
    assert.deepStrictEqual(lines(seen.attempts), [`openai/m failure ${failure}`])
    assert.isString(seen.error?.logId)
  }

const kinds: ReadonlyArray<Kind> = [
  { name: "it cannot be opened", reply: { refused: true }, route: both, check: replaced },
  { name: "it is refused", reply: { status: 503 }, route: both, check: replaced },
  { name: "an error before content", reply: { steps: [S.role, S.error()] }, route: both, check: replaced },
  { name: "cut before content", reply: { steps: [S.role, S.reset] }, route: both, check: replaced },
  { name: "an end before content", reply: { steps: [S.role] }, route: both, check: replaced },
  { name: "a stall before the headers", reply: { silent: true }, route: impatient, check: replaced },
  { name: "a stall before content", reply: { steps: [S.role, S.stall] }, route: impatient, check: replaced },
  {
    name: "an error after content",
    reply: { steps: [half, S.error()] },
    route: both,
    check: broken("ProviderUnavailable")
  },
  { name: "cut after content", reply: { steps: [half, S.reset] }, route: both, check: broken("TransportFailure") },
  { name: "an end after content", reply: { steps: [half] }, route: both, check: broken("InvalidResponse") },
  {
    name: "an answer that is rejected when it is complete",
    reply: { steps: [half, S.finish, S.usage, S.doneMark] },
    route: Route.validate(both, ({ text }) => text !== "half"),
    check: broken("InvalidResponse")
  },
  {
    name: "an answer that is rejected, and a route that starts again",
    reply: { steps: [half, S.finish, S.usage, S.doneMark] },
    route: both.pipe(
      Route.validate(({ text }) => text !== "half"),
      Route.restart(1)
    ),
    check: ({ attempts, error, text }) => {
      assert.isUndefined(error)
      assert.strictEqual(text, "from groq")
      assert.deepStrictEqual(lines(attempts), ["openai/m failure InvalidResponse", "groq/m success"])
    }
  },
  { name: "a stall after content", reply: { steps: [half, S.stall] }, route: attentive, check: broken("Timeout") }
]

describe("what goes wrong", () => {
  it.live.each(ways)("$name", ({ execution, transport }) =>
    Effect.forEach(
      kinds,
      ({ check, name, reply, route }) =>
        Effect.gen(function* () {
          const { provider, server } = yield* start({ openai: [reply] })
          const seen = yield* Effect.provide(consume(route, "hi", { execution }), routerOf(transport, server))
          yield* Effect.try({ try: () => check(seen), catch: (cause) => new Error(name, { cause }) })
          assert.deepStrictEqual(seen.trail, seen.attempts)
          yield* until(Effect.map(server.gateway.openBodies, (open) => open === 0))
          yield* until(Effect.sync(() => provider.open() === 0))
          const outcomes = (yield* server.gateway.calls).map(({ outcome }) => outcome)
          assert.notInclude(outcomes, undefined, name)
          if (transport.owns) yield* until(Effect.map(server.sockets, (sockets) => sockets === 0))
        }).pipe(Effect.scoped),
      { concurrency: 4, discard: true }
    )
  )

  it.live.each(transports)("$name: a connection that is dropped without an answer", (transport) =>
    Effect.gen(function* () {
      const { server } = yield* start({})
      yield* server.gateway.script("openai", [{ drop: true, repeat: 2 }])
      const seen = yield* Effect.provide(consume(both, "hi", { execution: "client" }), routerOf(transport, server))
      replaced(seen)
      assert.strictEqual(seen.attempts[0]?.error?._tag, "TransportFailure")
    })
  )
})

const endless: S.Reply = { steps: [S.say("on "), { wait: 1 }], endless: true }

describe("a consumer that leaves", () => {
  it.live.each(ways)("$name: aborts the request, and its socket is free", ({ execution, transport }) =>
    Effect.gen(function* () {
      const { provider, server } = yield* start({ openai: [endless, endless, endless, endless] })
      const layer = routerOf(transport, server)
      const stream = Router.stream(both, "hi", { execution })
      const left = Effect.map(server.gateway.calls, (calls) => calls.map(({ outcome }) => outcome))
      const gone = (count: number) =>
        until(Effect.map(left, (all) => all.length === count && all.every((outcome) => outcome === "interrupted")))
      yield* Effect.gen(function* () {
        const taken = yield* LogTrail.collect(Stream.runCount(Stream.take(stream, 3)))
        assert.strictEqual(taken.value, 3)
        assert.deepStrictEqual(lines(taken.attempts), ["openai/m interrupted"])
        yield* gone(1)

        let seen = 0
        const fiber = yield* Effect.forkChild(
          Stream.runForEach(stream, () =>
            Effect.sync(() => {
              seen++
            })
          )
        )
        yield* until(Effect.sync(() => seen > 10))
        yield* Fiber.interrupt(fiber)
        yield* gone(2)

        const failing = Stream.runForEach(stream, () => Effect.fail("enough"))
        assert.strictEqual(yield* Effect.flip(failing), "enough")
        yield* gone(3)

        yield* Effect.scoped(Router.open(both, "hi", { execution }))
        yield* gone(4)
        yield* until(Effect.map(server.gateway.openBodies, (open) => open === 0))
        assert.strictEqual(provider.open(), 0)
        // Those connections cannot be reused.
        yield* until(Effect.map(server.sockets, (sockets) => sockets <= spare(transport)))
      }).pipe(Effect.provide(layer))
    })
  )

  it.live.each(transports)("$name: aborts the request before anything has arrived", (transport) =>
    Effect.gen(function* () {
      const { provider, server } = yield* start({ openai: [{ silent: true }, { steps: [S.role, S.stall] }] })
      yield* Effect.gen(function* () {
        for (const count of [1, 2]) {
          const fiber = yield* Effect.forkChild(Stream.runDrain(Router.stream(both, "hi")))
          yield* until(Effect.sync(() => provider.bodies.length === count))
          // A client that stays away long enough has survived a collection.
          yield* collected
          yield* Fiber.interrupt(fiber)
          yield* until(Effect.sync(() => provider.open() === 0))
        }
        yield* until(Effect.map(server.sockets, (sockets) => sockets <= spare(transport)))
      }).pipe(Effect.provide(routerOf(transport, server)))
      assert.deepStrictEqual(provider.states(), ["openai cancelled", "openai cancelled"])
    })
  )

  it.live.each(transports)("$name: keeps the connection when it reads to the end", (transport) =>
    Effect.gen(function* () {
      const { server } = yield* start({})
      yield* Effect.gen(function* () {
        for (let i = 0; i < 5; i++) {
          const seen = yield* patiently(consume(both, "hi"))
          assert.strictEqual(seen.text, "from openai")
          yield* turns
          assert.strictEqual(yield* server.sockets, 1)
        }
      }).pipe(Effect.provide(routerOf(transport, server)))
    })
  )
})
