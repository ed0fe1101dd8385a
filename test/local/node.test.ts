import * as Net from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { serve } from "../../src/local/node.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { leg, mirror } from "./support.ts"

const json = (method: string, url: string, body?: unknown, headers: Record<string, string> = {}) =>
  Effect.promise(async () => {
    const response = await fetch(url, {
      method,
      headers: { "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) })
    })
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: text === "" ? undefined : JSON.parse(text)
    }
  })

/** Waits until something holds; the test's own time limit ends it otherwise. */
const until = <E>(holds: Effect.Effect<boolean, E>): Effect.Effect<void, E> =>
  Effect.flatMap(holds, (done) => (done ? Effect.void : Effect.andThen(Effect.sleep(5), until(holds))))

/** Sends a text as it is, and collects what comes back until the connection ends. */
const raw = (port: number, text: string) =>
  Effect.callback<string>((resume) => {
    let out = ""
    const socket = Net.connect(port, "127.0.0.1", () => socket.write(text))
    socket.on("data", (chunk) => {
      out += chunk
    })
    socket.on("close", () => resume(Effect.succeed(out)))
    socket.on("error", () => resume(Effect.succeed(out)))
  })

const legs = [leg("openai"), leg("groq")]

describe("serve", () => {
  it.live("answers on a free port with its own address", () =>
    Effect.gen(function* () {
      const { gateway, port, url } = yield* serve({ port: 0 })
      assert.strictEqual(url, `http://127.0.0.1:${port}`)
      assert.strictEqual(gateway.url("default", "openai"), `${url}/v1/local/default/openai`)
      const reply = yield* json("POST", `${url}/v1/local/default`, legs)
      assert.strictEqual(reply.status, 200)
      assert.strictEqual(reply.headers.get("cf-aig-step"), "0")
      const answered = yield* json("GET", `${url}/client/v4/accounts/local/ai-gateway/gateways/default/url/openai`)
      assert.strictEqual(answered.json.result, gateway.url("default", "openai"))
    })
  )

  it.live("lets another process set faults and see the calls", () =>
    Effect.gen(function* () {
      const { url } = yield* serve({ port: 0 })
      const scripted = yield* json("POST", `${url}/__admin/script`, { provider: "openai", faults: [{ status: 503 }] })
      assert.strictEqual(scripted.status, 200)
      const reply = yield* json("POST", `${url}/v1/local/default`, legs)
      assert.strictEqual(reply.headers.get("cf-aig-step"), "1")
      const calls = yield* json("GET", `${url}/__admin/calls`)
      assert.deepStrictEqual(
        calls.json.result.map(({ status }: { status: number }) => status),
        [503, 200]
      )
    })
  )

  it.live("destroys the connection without an answer on drop", () =>
    Effect.gen(function* () {
      const { gateway, sockets, url } = yield* serve({ port: 0 })
      yield* gateway.script("openai", [{ drop: true }])
      const exit = yield* Effect.exit(
        Effect.tryPromise(() => fetch(`${url}/v1/local/default/openai/x`, { method: "POST", body: "{}" }))
      )
      assert.isTrue(Exit.isFailure(exit))
      yield* until(Effect.map(sockets, (open) => open === 0))
    })
  )

  it.live("interrupts the upstream and frees the socket when a client leaves", () =>
    Effect.gen(function* () {
      const { gateway, sockets, url } = yield* serve({ port: 0 })
      yield* gateway.script("openai", [{ stall: true }])
      const abort = new AbortController()
      const gone = fetch(`${url}/v1/local/default`, {
        method: "POST",
        body: JSON.stringify(legs),
        signal: abort.signal
      }).catch(() => "gone")
      yield* until(Effect.map(gateway.calls, (calls) => calls.length === 1))
      assert.strictEqual(yield* sockets, 1)
      abort.abort()
      assert.strictEqual(yield* Effect.promise(() => gone), "gone")
      yield* until(Effect.map(gateway.calls, ([call]) => call?.outcome === "interrupted"))
      yield* until(Effect.map(sockets, (open) => open === 0))
      assert.strictEqual((yield* gateway.calls).length, 1)
    })
  )

  it.live("cancels the source through two servers when a client leaves a stream", () =>
    Effect.gen(function* () {
      let cancelled = false
      const endless = Upstream.make(() =>
        Effect.sync(() => ({
          status: 200,
          headers: { "content-type": "text/event-stream" },
          body: new ReadableStream<Uint8Array>({
            start: (controller) => controller.enqueue(new TextEncoder().encode("data: 1\n\n")),
            cancel: () => {
              cancelled = true
            }
          })
        }))
      )
      const back = yield* serve({ port: 0, upstreams: { openai: endless } })
      const openai = Upstream.proxy({ baseUrl: back.gateway.url("default", "openai") })
      const front = yield* serve({ port: 0, upstreams: { openai } })
      const response = yield* Effect.promise(() =>
        fetch(`${front.url}/v1/local/default/openai/x`, { method: "POST", body: "{}" })
      )
      const reader = response.body?.getReader()
      const first = yield* Effect.promise(() => reader?.read() ?? Promise.reject())
      assert.strictEqual(new TextDecoder().decode(first.value), "data: 1\n\n")
      yield* Effect.promise(() => reader?.cancel() ?? Promise.reject())
      yield* until(Effect.sync(() => cancelled))
      yield* until(Effect.map(back.gateway.calls, ([call]) => call?.outcome === "interrupted"))
    })
  )

  it.live("breaks the connection when a stream breaks", () =>
    Effect.gen(function* () {
      const { gateway, url } = yield* serve({ port: 0 })
      yield* gateway.script("openai", [{ truncate: 20 }])
      const body = JSON.stringify({ ...leg("openai").query, stream: true })
      const response = yield* Effect.promise(() =>
        fetch(`${url}/v1/local/default/openai/chat/completions`, { method: "POST", body })
      )
      assert.strictEqual(response.status, 200)
      const read = yield* Effect.exit(Effect.tryPromise(() => response.text()))
      assert.isTrue(Exit.isFailure(read))
    })
  )

  it.live("closes the port, interrupts requests and destroys sockets when the scope closes", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const server = yield* Scope.provide(serve({ port: 0 }), scope)
      yield* server.gateway.script("openai", [{ stall: true }])
      yield* json("GET", `${server.url}/__admin/calls`)
      const stalled = fetch(`${server.url}/v1/local/default`, { method: "POST", body: JSON.stringify(legs) }).catch(
        () => "gone"
      )
      yield* until(Effect.map(server.gateway.calls, (calls) => calls.length === 1))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Effect.promise(() => stalled), "gone")
      assert.strictEqual(yield* server.sockets, 0)
      assert.strictEqual((yield* server.gateway.calls)[0]?.outcome, "interrupted")
      const refused = yield* Effect.exit(Effect.tryPromise(() => fetch(server.url)))
      assert.isTrue(Exit.isFailure(refused))
    })
  )

  it.live("finishes requests in flight within a grace period", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const server = yield* Scope.provide(serve({ port: 0, shutdownGrace: "10 seconds" }), scope)
      yield* server.gateway.script("openai", [{ ok: true, delay: 100 }])
      const slow = fetch(`${server.url}/v1/local/default`, { method: "POST", body: JSON.stringify(legs) }).then(
        ({ status }) => status
      )
      yield* until(Effect.map(server.gateway.calls, (calls) => calls.length === 1))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Effect.promise(() => slow), 200)
    })
  )

  it.live("answers a user's upstream that dies with a 500 without details", () =>
    Effect.gen(function* () {
      const openai = Upstream.make(() => Effect.die(new Error("SECRET")))
      const { url } = yield* serve({ port: 0, upstreams: { openai } })
      const response = yield* Effect.promise(() => fetch(`${url}/v1/local/default/openai/x`))
      assert.strictEqual(response.status, 500)
      assert.notInclude(yield* Effect.promise(() => response.text()), "SECRET")
    })
  )

  it.live.each([
    [{ port: -1 }, "port"],
    [{ port: 65536 }, "port"],
    [{ port: 1.5 }, "port"],
    [{ port: 0, host: "0.0.0.0" }, "host"],
    [{ port: 0, host: "::" }, "host"],
    [{ port: 0, shutdownGrace: "-1 seconds" }, "shutdownGrace"],
    [{ port: 0, keepAliveTimeout: "Infinity" }, "keepAliveTimeout"],
    [{ port: 0, account: "a b" }, "account"]
  ] as const)("%j is refused", ([options, field]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(serve(options))
      assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === field, error.message)
    })
  )

  it.live("rejects a port in use", () =>
    Effect.gen(function* () {
      const { port } = yield* serve({ port: 0 })
      const error = yield* Effect.flip(serve({ port }))
      assert.include(error.message, "EADDRINUSE")
    })
  )

  it.live("serves another interface with a token, which the binding's paths require too", () =>
    Effect.gen(function* () {
      const { port } = yield* serve({ port: 0, host: "0.0.0.0", token: Redacted.make("cf-secret") })
      const models = `http://127.0.0.1:${port}/ai-api/models/search`
      assert.strictEqual((yield* json("GET", models)).status, 401)
      assert.strictEqual((yield* json("GET", models, undefined, { authorization: "Bearer cf-secret" })).status, 200)
      const inner = yield* serve({ port: 0, token: Redacted.make("cf-secret") })
      assert.strictEqual((yield* json("GET", `${inner.url}/ai-api/models/search`)).status, 200)
    })
  )

  it.live("answers odd request lines and lives on", () =>
    Effect.gen(function* () {
      const { port, url } = yield* serve({ port: 0 })
      const get = (target: string, host: string) =>
        raw(port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
      assert.include(yield* get("//", "localhost"), " 404 ")
      assert.include(yield* get("*", "localhost"), " 400 ")
      assert.include(yield* get("/__admin/calls", "a b:c"), " 403 ")
      assert.include(yield* raw(port, "TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), " 400 ")
      assert.strictEqual((yield* json("GET", `${url}/__admin/calls`)).status, 200)
    })
  )

  it.live("does not block the connection of a rejected upload", () =>
    Effect.gen(function* () {
      const { port } = yield* serve({ port: 0, token: Redacted.make("cf-secret") })
      const size = 5_000_000
      const head = "POST /v1/local/default/openai/files HTTP/1.1\r\nHost: localhost\r\n"
      const both = `${head}Content-Length: ${size}\r\n\r\n${"x".repeat(size)}${head}Connection: close\r\n\r\n`
      assert.strictEqual((yield* raw(port, both)).split("HTTP/1.1 401").length, 3)
    })
  )

  it.live("serves large bodies and many clients at once", () =>
    Effect.gen(function* () {
      const { gateway, url } = yield* serve({ port: 0, upstreams: { openai: mirror } })
      const send = (n: number) => json("POST", `${url}/v1/local/default/openai/files`, { n, text: "x".repeat(300_000) })
      const replies = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, n) => n),
        send,
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        replies.map(({ json }) => json.mirrored.n),
        Array.from({ length: 20 }, (_, n) => n)
      )
      assert.strictEqual((yield* gateway.calls).length, 20)
    })
  )
})
