/**
 * Streamed responses on real sockets: a client, a server that answers with them, and the service behind that.
 */
import { createServer, type ServerResponse } from "node:http"
import { type AddressInfo, connect, type Socket } from "node:net"
import { Readable } from "node:stream"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as AiService from "effect-ai-gateway/AiService"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Router from "effect-ai-gateway/Router"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import { makePeer, type Peer, type Reply } from "./support/httpPeer.ts"
import { eventsOf, recorder, until } from "./support/streamResponses.ts"

const chunk = (content: string): string =>
  `data: ${JSON.stringify({ id: "c", model: "m", choices: [{ index: 0, delta: { content } }] })}\n\n`
const end = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n`

const begin = (response: ServerResponse): void => {
  response.writeHead(200, { "content-type": "text/event-stream", "cf-aig-log-id": "log-1", "set-cookie": "a=1" })
}

/** Writes as long as a client reads, and counts the bytes. */
const flood = (response: ServerResponse, sent: { bytes: number }): void => {
  begin(response)
  const piece = chunk("x".repeat(4096))
  const write = (): void => {
    while (!response.destroyed) {
      sent.bytes += piece.length
      if (!response.write(piece)) return void response.once("drain", write)
    }
  }
  write()
}

const services = (peer: Peer) =>
  Layer.mergeAll(
    Router.layer.pipe(
      Layer.provideMerge(GatewayService.layerHttp({ accountId: "acc", gateway: "gw", baseUrl: peer.url }))
    ),
    AiService.layerHttp({ accountId: "acc", apiToken: Redacted.make("token-1234"), apiBaseUrl: peer.url })
  ).pipe(Layer.provide(FetchHttpClient.layer))

type Services = Layer.Success<ReturnType<typeof services>>

/** A server that answers every request with one program, as a server for Node does it. */
const serve = (answer: Effect.Effect<Response, never, Services>, peer: Peer) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(Layer.orDie(services(peer)))
    const run = Effect.runPromiseWith(context)
    const server = createServer((request, outgoing) => {
      request.resume()
      outgoing.on("error", () => undefined)
      void run(answer).then((response) => {
        outgoing.writeHead(response.status, Object.fromEntries(response.headers))
        if (response.body === null) return void outgoing.end()
        const body = Readable.fromWeb(response.body as import("node:stream/web").ReadableStream<Uint8Array>)
        body.on("error", () => outgoing.destroy())
        outgoing.on("close", () => body.destroy())
        body.pipe(outgoing)
      })
    })
    return yield* Effect.acquireRelease(
      Effect.callback<number>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as AddressInfo).port)))
      }),
      () =>
        Effect.sync(() => {
          server.closeAllConnections()
          server.close()
        })
    )
  })

/** A client on a bare socket: it reads only when told to. */
const ask = (port: number): Effect.Effect<Socket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const socket = connect(port, "127.0.0.1")
      socket.on("error", () => undefined)
      socket.write("GET / HTTP/1.1\r\nhost: test\r\n\r\n")
      return socket
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Reads until a text has come. */
const readTo = (socket: Socket, text: string): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let seen = ""
    const read = (data: Buffer): void => {
      seen += data.toString("utf8")
      if (!seen.includes(text)) return
      socket.off("data", read)
      socket.pause()
      resume(Effect.succeed(seen))
    }
    socket.on("data", read)
  })

const route = Provider.openai.chat("m")
const input = { messages: [{ role: "user", content: "Hi" }], stream: true }

type OnEnd = ReturnType<typeof recorder>["onEnd"]
type Answer = (
  onEnd: OnEnd,
  options?: Pick<StreamResponse.Options, "format" | "signal">
) => Effect.Effect<Response, never, Services>

/** The ways to answer; each has to behave the same towards the service. */
const ways: ReadonlyArray<readonly [name: string, answer: Answer]> = [
  ["fromRoute", (onEnd, options) => StreamResponse.fromRoute(route, "Hi", { onEnd, ...options })],
  ["fromDeltas", (onEnd, options) => StreamResponse.fromDeltas(Router.stream(route, "Hi"), { onEnd, ...options })],
  [
    "fromDeltas over AiService.stream",
    (onEnd, options) => StreamResponse.fromDeltas(AiService.stream("openai/m", input), { onEnd, ...options })
  ],
  [
    "fromBytes",
    () =>
      Effect.flatMap(AiService.AiService, (ai) => Effect.orDie(ai.run("openai/m", input))).pipe(
        Effect.map((response) => StreamResponse.fromBytes(response))
      )
  ]
]

interface Setting {
  readonly peer: Peer
  readonly port: number
  readonly summaries: ReturnType<typeof recorder>["summaries"]
}

const start = Effect.fnUntraced(function* (
  reply: Reply,
  answer: Answer
): Effect.fn.Return<Setting, never, Scope.Scope> {
  const { onEnd, summaries } = recorder()
  const peer = yield* makePeer(reply)
  return { peer, port: yield* serve(answer(onEnd), peer), summaries }
})

/** Waits until a number does not change any more. */
const standstill = Effect.fnUntraced(function* (count: () => number) {
  let before = -1
  for (let still = 0; still < 4; ) {
    still = count() === before ? still + 1 : 0
    before = count()
    yield* Effect.sleep(40)
  }
  return before
})

const mebibyte = 1024 * 1024

for (const [name, answer] of ways) {
  const summarized = name !== "fromBytes"

  describe(name, () => {
    it.live("a complete answer arrives whole", () =>
      Effect.gen(function* () {
        const { port, summaries } = yield* start((_, response) => {
          begin(response)
          response.end(`${chunk("Hel")}${chunk("lo")}${end}`)
        }, answer)
        const response = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}`))
        const body = yield* Effect.promise(() => response.text())
        assert.isNull(response.headers.get("set-cookie"))
        assert.strictEqual(eventsOf(body).at(-1)?.data, "[DONE]")
        assert.include(body, "Hel")
        if (!summarized) return
        assert.strictEqual(summaries.length, 1)
        assert.deepInclude(summaries[0], { outcome: "complete", text: "Hello", logId: "log-1" })
        assert.strictEqual(summaries[0]?.attempts.length, 1)
      })
    )

    it.live("a client that goes away ends the request to the service", () =>
      Effect.gen(function* () {
        const { peer, port, summaries } = yield* start((_, response) => {
          begin(response)
          response.write(chunk("first"))
        }, answer)
        const socket = yield* ask(port)
        assert.notInclude(yield* readTo(socket, "first"), "set-cookie")
        assert.strictEqual(peer.open(), 1)
        socket.destroy()
        yield* peer.until(() => peer.open() === 0)
        if (!summarized) return
        yield* until(() => summaries.length > 0)
        assert.strictEqual(summaries.length, 1)
        assert.deepInclude(summaries[0], { outcome: "left", text: "first", logId: "log-1" })
        assert.strictEqual(summaries[0]?.attempts[0]?.outcome, "interrupted")
      })
    )

    it.live("a client that does not read holds the service back, and leaves nothing behind", () =>
      Effect.gen(function* () {
        const sent = { bytes: 0 }
        const { peer, port, summaries } = yield* start((_, response) => flood(response, sent), answer)
        const socket = yield* ask(port)
        yield* readTo(socket, "xxx")
        // The kernel's buffers of two connections fill up; then nothing moves any more.
        const held = yield* standstill(() => sent.bytes)
        assert.isBelow(held, 32 * mebibyte)
        // It goes on where it stood when the client reads again.
        socket.resume()
        yield* until(() => sent.bytes > held + mebibyte)
        socket.destroy()
        yield* peer.until(() => peer.open() === 0)
        if (summarized) yield* until(() => summaries.length === 1)
      })
    )
  })
}

describe("a service that breaks off", () => {
  it.live("is reported in the stream, which then ends", () =>
    Effect.gen(function* () {
      const { port, summaries } = yield* start(
        (_, response) => {
          begin(response)
          response.write(chunk("first"), () => response.destroy())
        },
        (onEnd) => StreamResponse.fromRoute(route, "Hi", { onEnd })
      )
      const body = yield* Effect.promise(async () => (await fetch(`http://127.0.0.1:${port}`)).text())
      const last = eventsOf(body).at(-1)
      assert.strictEqual(last?.event, "error")
      assert.deepInclude(JSON.parse(last?.data ?? ""), { reason: "StreamInterrupted" })
      assert.strictEqual(summaries[0]?.outcome, "failed")
    })
  )
})

describe("a response that is aborted in the middle", () => {
  for (const [name, answer] of ways) {
    if (name === "fromBytes") continue
    for (const format of ["deltas", "openai"] as const) {
      it.live(`${name}, ${format}: breaks its client's connection, and its copies`, () =>
        Effect.gen(function* () {
          const copies: Array<Promise<unknown>> = []
          const { peer, port, summaries } = yield* start(
            (_, response) => {
              begin(response)
              response.write(chunk("first"))
            },
            (onEnd) =>
              Effect.map(answer(onEnd, { format, signal: AbortSignal.timeout(250) }), (response) => {
                copies.push(
                  response
                    .clone()
                    .text()
                    .catch((error: unknown) => error)
                )
                return response
              })
          )
          const response = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}`))
          const error = yield* Effect.flip(Effect.tryPromise(() => response.text()))
          assert.match(String(error.cause), /terminated/)
          const [copy] = yield* Effect.promise(() => Promise.all(copies))
          assert.strictEqual(copy instanceof DOMException ? copy.name : copy, "TimeoutError")
          yield* peer.until(() => peer.open() === 0)
          yield* until(() => summaries.length > 0)
          assert.deepInclude(summaries[0], { outcome: "left", text: "first" })
        })
      )
    }
  }
})

/** `fetch`, counting what is taken from bodies, each of which holds nothing of its own. */
const counting = (taken: { bytes: number; largest: number }): typeof globalThis.fetch => {
  return async (input, init) => {
    const response = await fetch(input, init)
    const reader = response.body?.getReader()
    const body = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const next = await reader?.read()
          if (next === undefined || next.done) return controller.close()
          taken.bytes += next.value.length
          taken.largest = Math.max(taken.largest, next.value.length)
          controller.enqueue(next.value)
        },
        cancel: (reason) => reader?.cancel(reason)
      },
      { highWaterMark: 0 }
    )
    return new Response(body, { status: response.status, headers: response.headers })
  }
}

describe("what a client has not read", () => {
  it.live("is in this process the piece that it gets next, at most", () =>
    Effect.gen(function* () {
      const taken = { bytes: 0, largest: 0 }
      const peer = yield* makePeer((_, response) => flood(response, { bytes: 0 }))
      const fetching = Layer.succeed(FetchHttpClient.Fetch, counting(taken))
      const context = yield* Layer.build(services(peer).pipe(Layer.provideMerge(fetching), Layer.orDie))
      const response = yield* Effect.provideContext(StreamResponse.fromRoute(route, "Hi"), context)
      const reader = response.body?.getReader()
      const read = Effect.promise(async () => reader?.read())
      for (let i = 1; i <= 20; i++) {
        const next = yield* read
        assert.isAtLeast(next?.value?.length ?? 0, 1000)
        yield* Effect.sleep(2)
        assert.isAtMost(taken.bytes, (i + 1) * taken.largest)
      }
      // The next piece may be on its way; behind it nothing comes.
      const before = yield* standstill(() => taken.bytes)
      assert.isAtMost(before, 21 * taken.largest)
      yield* Effect.sleep(100)
      assert.strictEqual(taken.bytes, before)
      assert.isAbove(taken.largest, 0)
      assert.isAtMost(taken.largest, mebibyte)
      yield* Effect.promise(async () => reader?.cancel())
      yield* peer.until(() => peer.open() === 0)
    })
  )
})
