/** The examples of `docs/http-server.md` on real sockets, and the page's claims about clients and servers. */
import { createServer, type RequestListener, type Server } from "node:http"
import { type AddressInfo, connect } from "node:net"
import { pipeline, Readable } from "node:stream"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LocalGateway from "effect-ai-gateway/local"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Provider from "effect-ai-gateway/Provider"
import * as Router from "effect-ai-gateway/Router"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import { EventSource } from "undici"
import { ask } from "../../docs/examples/http-client.ts"
import { routes } from "../../docs/examples/http-server.ts"
import { doneMark } from "../fixtures/streams/drive.ts"
import { until } from "../support/streamResponses.ts"
import * as S from "../support/streamScript.ts"
import * as Docs from "./support.ts"

/** `EventSource` sends GET only. */
const events = HttpRouter.add(
  "GET",
  "/events",
  Effect.gen(function* () {
    const { url } = yield* HttpServerRequest.HttpServerRequest
    const prompt = new URL(url, "http://localhost").searchParams.get("prompt") ?? ""
    return HttpServerResponse.fromWeb(yield* StreamResponse.fromRoute(Provider.openai.chat("m"), prompt))
  })
)

const start = (upstreams: Readonly<Record<string, Upstream.Upstream>> = {}) =>
  Effect.gen(function* () {
    const server = createServer()
    const services = Layer.provideMerge(Router.layerWith({ execution: "client" }), LocalGateway.layer({ upstreams }))
    const context = yield* Layer.build(
      HttpRouter.serve(Layer.merge(routes, events), { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" })),
        Layer.provideMerge(services),
        Layer.provide(Layer.succeed(References.MinimumLogLevel, "Fatal"))
      )
    )
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const post = (path: string, body: unknown) =>
      Effect.promise(async () => {
        const headers = { "content-type": "application/json" }
        const response = await fetch(`${url}${path}`, { method: "POST", headers, body: JSON.stringify(body) })
        return { status: response.status, headers: response.headers, text: await response.text() }
      })
    return { context, post, url }
  })

describe("the service of the page", () => {
  it.live("answers, streams, and stores feedback on the right log", () =>
    Effect.gen(function* () {
      const { context, post, url } = yield* start()
      const whole = yield* post("/chat", { prompt: "Hello." })
      assert.strictEqual(whole.status, 200)
      const { logId, text } = JSON.parse(whole.text)
      assert.strictEqual(text, "openai/gpt-4.1-mini: Hello.")
      const pieces: Array<string> = []
      const streamedId = yield* Effect.promise(() => ask(url, "Hello.", (piece) => pieces.push(piece)))
      assert.strictEqual(pieces.join(""), text)
      assert.isAbove(pieces.length, 1)
      for (const [id, feedback] of [
        [logId, 1],
        [streamedId, -1]
      ]) {
        assert.strictEqual((yield* post("/feedback", { logId: id, feedback })).status, 204)
        const log = yield* Effect.provideContext(
          Effect.flatMap(GatewayService.GatewayService, (gateway) => gateway.getLog(String(id))),
          context
        )
        assert.strictEqual(log.feedback, feedback)
      }
    }).pipe(Effect.scoped)
  )

  it.live("answers failures with the status of their reason, complete and streamed", () =>
    Effect.gen(function* () {
      const down = { openai: Upstream.script([{ status: 503, repeat: 2 }]) }
      const limited = Upstream.script([{ status: 429, retryAfter: 7, repeat: 2 }])
      const { post } = yield* start({ ...down, anthropic: limited })
      for (const path of ["/chat", "/chat/stream"]) {
        const { headers, status, text } = yield* post(path, { prompt: "Hello." })
        assert.strictEqual(status, 429)
        assert.strictEqual(headers.get("retry-after"), "7")
        assert.strictEqual(headers.get("content-type"), "application/json")
        assert.deepStrictEqual(JSON.parse(text), { error: { reason: "RateLimited", retryable: true } })
      }
      for (const path of ["/chat", "/chat/stream"]) {
        assert.strictEqual((yield* post(path, { prompt: "" })).status, 400)
        assert.strictEqual((yield* post(path, { question: 1 })).status, 400)
      }
      const unknown = yield* post("/feedback", { logId: "nobody", feedback: 1 })
      assert.strictEqual(unknown.status, 404)
      assert.deepStrictEqual(JSON.parse(unknown.text), { error: { reason: "NotFound", retryable: false } })
    }).pipe(Effect.scoped)
  )

  it.live("stops the provider's request when the client disconnects, before the first word and after it", () =>
    Effect.gen(function* () {
      const provider = S.scripted({
        openai: [{ silent: true }, { silent: true }, { steps: [S.role, S.say("a"), S.stall] }]
      })
      const { url } = yield* start(provider.upstreams)
      const { port } = new URL(url)
      for (const [i, path] of ["/chat", "/chat/stream", "/chat/stream"].entries()) {
        const body = JSON.stringify({ prompt: "Hello." })
        const socket = connect(Number(port), "127.0.0.1")
        let seen = ""
        socket.on("data", (bytes) => {
          seen += bytes.toString("utf8")
        })
        socket.write(
          `POST ${path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
        )
        yield* until(() => provider.bodies.length === i + 1 && (i < 2 || seen.includes('"a"')))
        socket.destroy()
        yield* until(() => provider.bodies[i]?.state === "cancelled")
      }
      assert.strictEqual(provider.bodies.length, 3, "no other target was called for a client that had left")
    }).pipe(Effect.scoped)
  )

  it.live("lets the client of the page distinguish a complete answer, a broken one and a rejection", () =>
    Effect.gen(function* () {
      const { url } = yield* start({
        openai: Upstream.script([{ stream: { resetAfter: { deltas: 1 } } }, { status: 401 }, { status: 400 }]),
        anthropic: Upstream.script([{ status: 401 }])
      })
      const failing = Effect.flip(Effect.tryPromise({ try: () => ask(url, "Hello.", () => undefined), catch: String }))
      assert.include(yield* failing, "StreamInterrupted")
      assert.strictEqual(yield* failing, "Error: 502 Unauthorized")
      assert.strictEqual(yield* failing, "Error: 400 InvalidRequest")
    }).pipe(Effect.scoped)
  )
})

describe("EventSource", () => {
  const listen = (url: string, isClosing: boolean) =>
    Effect.callback<void>((resume) => {
      let answers = 0
      const source = new EventSource(`${url}/events?prompt=Hello.`)
      source.onmessage = ({ data }) => {
        if (data !== "[DONE]") return
        if (isClosing) source.close()
        if (isClosing || ++answers === 2) resume(Effect.void)
      }
      return Effect.sync(() => source.close())
    })

  it.live("sends the request again after [DONE] unless it is closed", () =>
    Effect.gen(function* () {
      const provider = S.scripted({
        openai: Array.from({ length: 3 }, () => ({ steps: [S.role, S.say("a"), S.finish, doneMark] }))
      })
      const { url } = yield* start(provider.upstreams)
      yield* listen(url, true)
      assert.strictEqual(provider.bodies.length, 1)
      // It reconnects by itself.
      yield* listen(url, false)
      assert.strictEqual(provider.bodies.length, 3)
    }).pipe(Effect.scoped)
  )
})

describe("a server of node:http", () => {
  const serve = (listener: RequestListener) =>
    Effect.acquireRelease(
      Effect.callback<Server>((resume) => {
        const server = createServer(listener)
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.closeAllConnections()
          server.close()
        })
    ).pipe(Effect.map((server) => (server.address() as AddressInfo).port))

  for (const [way, state] of [
    ["pipeline", "cancelled"],
    ["pipe", "ended"]
  ] as const) {
    it.live(`with ${way} leaves the provider's request ${state} when the client disconnects`, () =>
      Effect.gen(function* () {
        // Longer than the buffers between the provider and the client, so that the client must read.
        const words = Array.from({ length: 20 }, () => [S.say("word"), { wait: 10 }]).flat()
        const provider = S.scripted({ openai: [{ steps: [S.role, ...words, S.finish, doneMark] }] })
        const services = Layer.provideMerge(Router.layer, LocalGateway.layer({ upstreams: provider.upstreams }))
        const context = yield* Layer.build(services)
        const port = yield* serve((_, outgoing) => {
          const answer = StreamResponse.fromRoute(Provider.openai.chat("m"), "Hello.")
          void Effect.runPromiseWith(context)(answer).then((response) => {
            outgoing.writeHead(response.status, Object.fromEntries(response.headers))
            const body = Readable.fromWeb(response.body as import("node:stream/web").ReadableStream<Uint8Array>)
            if (way === "pipeline") pipeline(body, outgoing, () => undefined)
            else body.pipe(outgoing)
          })
        })
        const socket = connect(port, "127.0.0.1")
        socket.write("GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        let seen = ""
        socket.on("data", (bytes) => {
          seen += bytes.toString("utf8")
        })
        yield* until(() => seen.includes("word"))
        socket.destroy()
        yield* until(() => provider.bodies[0]?.state !== "open")
        assert.strictEqual(provider.bodies[0]?.state, state)
      }).pipe(Effect.scoped)
    )
  }
})

it("shows the tested client on the page", () => {
  const page = Docs.read("docs/http-server.md")
  const [, code = ""] = Docs.read("docs/examples/http-client.ts").split("*/\n\n/**")
  assert.include(page, `/**${code}`.trim())
})
