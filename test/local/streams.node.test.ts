import * as Http from "node:http"
import * as Net from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { type Server, serve } from "../../src/local/node.ts"
import type * as Upstream from "../../src/local/Upstream.ts"
import { deltasOf, dialects, eventsOf, finishes, readerOf, receive, type Surface, surfaces } from "./streamSupport.ts"
import { base, binding } from "./support.ts"

/** Waits until something holds; the test's own time limit ends it otherwise. */
const until = <E>(holds: Effect.Effect<boolean, E>): Effect.Effect<void, E> =>
  Effect.flatMap(holds, (done) => (done ? Effect.void : Effect.andThen(Effect.sleep(5), until(holds))))

/** Sends a surface's request to a server. */
const ask = (server: Server, surface: Surface, headers: Record<string, string> = {}, signal?: AbortSignal) =>
  Effect.promise(async () => {
    const asked = surface.ask(true, headers)
    const url = asked.url.replace(base, server.url).replace(binding, server.url)
    const body = await asked.text()
    return fetch(url, { method: "POST", headers: asked.headers, body, ...(signal === undefined ? {} : { signal }) })
  })

const faults = (stream: Upstream.StreamFault): Record<string, string> => ({
  "cf-aig-local-faults": JSON.stringify([{ stream }])
})

/** A text per byte, without the second of the answer's creation: the next answer may be from the next second. */
const timeless = (bytes: Uint8Array): string =>
  Buffer.from(bytes)
    .toString("latin1")
    .replace(/(?<="created":)\d+/g, (digits) => "0".repeat(digits.length))

const [chat, , anthropic] = dialects
if (chat === undefined || anthropic === undefined) throw new Error("surfaces are missing")

const request = (path: string, headers: Record<string, string>, body: string): string =>
  [
    `POST ${path} HTTP/1.1`,
    "Host: localhost",
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    "",
    body
  ].join("\r\n")

const chatPath = "/v1/local/default/openai/chat/completions"
const chatBody = JSON.stringify({ model: "m", stream: true, messages: [{ role: "user", content: "Hi" }] })

describe("streams over sockets", () => {
  it.live.each(surfaces)("$name", (surface) =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      const received = yield* Effect.flatMap(ask(server, surface, { "cf-aig-local-stream": `{"events":5}` }), receive)
      assert.deepStrictEqual([received.status, received.broken], [200, false])
      assert.strictEqual(deltasOf(surface.dialect, received.text).length, 5)
      assert.isTrue(finishes(surface.dialect, received.text))
      yield* until(Effect.map(server.gateway.openBodies, (open) => open === 0))
      assert.strictEqual((yield* server.gateway.calls)[0]?.outcome, "answered")
    })
  )

  it.live("send an event at once, not with the next one", () =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      const response = yield* ask(server, chat, faults({ stallAfter: { deltas: 1 } }))
      const reader = readerOf(response)
      let text = ""
      while (deltasOf("chat", text).length < 1) {
        const next = yield* Effect.promise(() => reader.read())
        text += new TextDecoder().decode(next.value)
      }
      assert.strictEqual((yield* server.gateway.calls)[0]?.outcome, undefined)
      yield* Effect.promise(() => reader.cancel())
    })
  )
})

describe("faults over sockets", () => {
  const cuts: ReadonlyArray<readonly [name: string, fault: Upstream.StreamFault, deltas: number, broken: boolean]> = [
    ["an error inside, before content", { errorAfter: { deltas: 0 } }, 0, false],
    ["an error inside, after content", { errorAfter: { deltas: 1 } }, 1, false],
    ["a cut before content", { resetAfter: { deltas: 0 } }, 0, true],
    ["a cut after content", { resetAfter: { deltas: 1 } }, 1, true],
    ["the client's connection breaks", { dropAfter: { deltas: 1 } }, 1, true],
    ["an end without a finish", { noFinish: true }, 2, false]
  ]

  it.live.each(cuts)("%s", ([, fault, deltas, broken]) =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      // Everything written before a break must arrive, many times in a row.
      for (let i = 0; i < 20; i++) {
        const received = yield* Effect.flatMap(
          ask(server, anthropic, { ...faults(fault), "cf-aig-local-stream": `{"events":2}` }),
          receive
        )
        assert.deepStrictEqual([received.status, received.broken], [200, broken])
        assert.strictEqual(deltasOf("anthropic", received.text).length, deltas)
        assert.isFalse(finishes("anthropic", received.text))
      }
      yield* until(Effect.map(server.gateway.openBodies, (open) => open === 0))
    })
  )

  it.live("fall back to another leg or the gateway's error when opening fails", () =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      const response = yield* ask(server, chat, faults({ resetAfter: { bytes: 0 } }))
      assert.strictEqual(response.status, 400)
      yield* receive(response)
    })
  )

  it.live("cut at the exact byte", () =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      const whole = yield* Effect.flatMap(ask(server, chat), receive)
      for (const bytes of [1, 5, 100, 333]) {
        for (const fault of [{ resetAfter: { bytes } }, { dropAfter: { bytes } }, { endAfter: { bytes } }]) {
          const cut = yield* Effect.flatMap(ask(server, chat, faults(fault)), receive)
          assert.strictEqual(timeless(cut.bytes), timeless(whole.bytes.slice(0, bytes)))
          assert.strictEqual(cut.broken, !("endAfter" in fault))
        }
      }
    })
  )

  it.live("send one byte per piece, everything in one piece, and an event of 20 MB", () =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      const whole = yield* Effect.flatMap(ask(server, chat), receive)
      for (const fault of [{ chunkSize: 1 }, { eventsPerChunk: 1000 }]) {
        const received = yield* Effect.flatMap(ask(server, chat, faults(fault)), receive)
        assert.strictEqual(timeless(received.bytes), timeless(whole.bytes))
      }
      const big = yield* Effect.flatMap(ask(server, chat, faults({ bigEvent: 20 * 1024 * 1024 })), receive)
      assert.strictEqual(deltasOf("chat", big.text)[1]?.length, 20 * 1024 * 1024)
      assert.strictEqual((yield* server.gateway.calls).at(-1)?.bytes, big.bytes.length)
    })
  )
})

describe("a server that stops", () => {
  it.live("breaks its open streams", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const server = yield* Scope.provide(serve({ port: 0 }), scope)
      const response = yield* ask(server, chat, faults({ stallAfter: { deltas: 1 } }))
      const received = yield* Effect.forkChild(receive(response))
      yield* Effect.sleep(20)
      yield* Scope.close(scope, Exit.void)
      assert.isTrue((yield* Fiber.join(received)).broken)
    })
  )
})

describe("a client that leaves", () => {
  it.live("aborts the upstream at any delta, and leaves nothing open", () =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      for (let deltas = 0; deltas <= 4; deltas++) {
        const abort = new AbortController()
        const fault = faults({ stallAfter: { deltas } })
        const response = yield* ask(server, chat, { ...fault, "cf-aig-local-stream": `{"events":9}` }, abort.signal)
        const reader = readerOf(response)
        let text = ""
        while (deltasOf("chat", text).length < deltas) {
          const next = yield* Effect.promise(() => reader.read())
          text += new TextDecoder().decode(next.value)
        }
        assert.strictEqual(yield* server.gateway.openBodies, 1)
        abort.abort()
        yield* until(Effect.map(server.gateway.openBodies, (open) => open === 0))
        assert.strictEqual((yield* server.gateway.calls).at(-1)?.outcome, "interrupted")
      }
      yield* until(Effect.map(server.sockets, (open) => open === 0))
    })
  )

  it.live("leaves nothing open when half of hundreds are abandoned", () =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0, keep: { calls: 1000 } })
      const agent = new Http.Agent({ keepAlive: true, maxSockets: 50 })
      const one = (leaves: boolean) =>
        Effect.callback<number>((resume) => {
          const headers = { "content-type": "application/json", "cf-aig-local-stream": `{"events":40,"delay":1}` }
          const call = Http.request(`${server.url}${chatPath}`, { method: "POST", headers, agent }, (response) => {
            let text = ""
            response.setEncoding("utf8")
            response.on("data", (chunk: string) => {
              text += chunk
              if (leaves && deltasOf("chat", text).length >= 3) call.destroy()
            })
            response.on("error", () => undefined)
            response.on("close", () => resume(Effect.succeed(deltasOf("chat", text).length)))
          })
          call.on("error", () => undefined)
          call.end(chatBody)
        })
      const counts = yield* Effect.forEach(
        Array.from({ length: 300 }, (_, i) => i % 2 === 0),
        one,
        { concurrency: 50 }
      )
      assert.isTrue(counts.every((count, i) => (i % 2 === 0 ? count >= 3 && count < 40 : count === 40)))
      yield* until(Effect.map(server.gateway.openBodies, (open) => open === 0))
      const outcomes = (yield* server.gateway.calls).map(({ outcome }) => outcome)
      assert.strictEqual(outcomes.filter((outcome) => outcome === "interrupted").length, 150)
      assert.strictEqual(outcomes.filter((outcome) => outcome === "answered").length, 150)
      agent.destroy()
      yield* until(Effect.map(server.sockets, (open) => open === 0))
    })
  )

  it.live("is visible to another process in the count of open bodies", () =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      const open = Effect.promise(async () => (await fetch(`${server.url}/__admin/bodies`)).json())
      const abort = new AbortController()
      yield* ask(server, chat, faults({ stallAfter: { events: 1 } }), abort.signal)
      assert.deepStrictEqual((yield* open).result, { open: 1 })
      abort.abort()
      yield* until(Effect.map(open, ({ result }) => result.open === 0))
    })
  )
})

describe("back-pressure", () => {
  it.live("bounds what is sent to a client that does not read, and delivers everything when it does", () =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      const size = 64 * 1024 * 1024
      const sent = Effect.map(server.gateway.calls, ([call]) => call?.bytes ?? 0)
      let received = 0
      let tail = ""
      const done = () => tail === "0\r\n\r\n"
      const socket = Net.connect({ port: server.port, host: "127.0.0.1" })
      socket.pause()
      socket.on("data", (chunk) => {
        received += chunk.length
        tail = (tail + chunk.subarray(-5).toString("latin1")).slice(-5)
      })
      socket.write(request(chatPath, faults({ bigEvent: size }), chatBody))
      // Until the buffers of both sockets are full.
      let last = -1
      yield* until(
        Effect.gen(function* () {
          yield* Effect.sleep(200)
          const now = yield* sent
          const full = now > 0 && now === last
          last = now
          return full
        })
      )
      const inFlight = yield* sent
      assert.strictEqual(received, 0)
      // The kernel decides how much the two sockets hold; this process holds little.
      assert.isBelow(inFlight, 24 * 1024 * 1024)
      assert.strictEqual((yield* server.gateway.calls)[0]?.outcome, undefined)
      socket.resume()
      yield* until(Effect.sync(done))
      assert.isAbove(received, size)
      assert.isAbove(yield* sent, size)
      assert.strictEqual((yield* server.gateway.calls)[0]?.outcome, "answered")
      socket.destroy()
    })
  )

  it.live("resumes over a socket after the connection broke", () =>
    Effect.gen(function* () {
      const server = yield* serve({ port: 0 })
      const surface = surfaces.find(({ name }) => name === "env.AI.run, third party") ?? chat
      const response = yield* ask(server, surface, faults({ dropAfter: { deltas: 2 } }))
      const id = response.headers.get("cf-aig-run-id")
      const first = yield* receive(response)
      assert.isTrue(first.broken)
      const path = `${server.url}/ai-gateway/gateways/default/run/${id}/resume?from=${eventsOf(first.text).length}`
      const rest = yield* Effect.flatMap(
        Effect.promise(() => fetch(path)),
        receive
      )
      const whole = yield* Effect.flatMap(ask(server, surface), receive)
      assert.strictEqual(timeless(Buffer.concat([first.bytes, rest.bytes])), timeless(whole.bytes))
    })
  )
})
