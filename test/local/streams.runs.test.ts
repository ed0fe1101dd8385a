import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { envRun, eventsOf, readerOf, reading, receive, surfaces } from "./streamSupport.ts"
import { binding, call, logs, replyOf, request, settle, trace } from "./support.ts"

const shaped = (shape: Upstream.StreamShape): Record<string, string> => ({
  "cf-aig-local-stream": JSON.stringify(shape)
})

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

describe("env.AI.run, resumed", () => {
  const model = "openai/gpt"
  const messages = [{ role: "user", content: "a b c d e" }]
  const run = (gateway: LocalGateway.LocalGateway, headers: Record<string, string> = {}) =>
    gateway.handle(envRun(model, { messages, stream: true }, "default", headers))
  const resumed = (
    gateway: LocalGateway.LocalGateway,
    id: string | null,
    from?: number | string,
    of = "default"
  ): Effect.Effect<Response, LocalGateway.Disconnect> => {
    const query = from === undefined ? "" : `?from=${from}`
    return gateway.handle(request("GET", `${binding}/ai-gateway/gateways/${of}/run/${id}/resume${query}`))
  }
  const idOf = (response: Response): string => response.headers.get("cf-aig-run-id") ?? "none"
  const dropped = (fault: object): Record<string, string> => ({
    "cf-aig-local-faults": JSON.stringify([{ stream: fault }])
  })

  it.effect("replays from any event, byte for byte, and is empty past the end", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const response = yield* run(gateway)
      const id = idOf(response)
      assert.match(id, /^[0-9a-f]{64}$/)
      const { text } = yield* receive(response)
      const blocks = text.split(/(?<=\n\n)/)
      for (let from = 0; from <= blocks.length + 2; from++) {
        const again = yield* Effect.flatMap(resumed(gateway, id, from), receive)
        assert.strictEqual(again.text, blocks.slice(from).join(""))
        assert.deepStrictEqual(
          [again.status, again.headers["content-type"], again.headers["cf-aig-run-id"], again.broken],
          [200, "text/event-stream", id, false]
        )
      }
      assert.strictEqual((yield* Effect.flatMap(resumed(gateway, id), receive)).text, text)
      assert.strictEqual((yield* gateway.calls).length, 1)
    })
  )

  it.effect("counts an event of several lines as one", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const inputs = { max_tokens: 9, messages, stream: true }
      const response = yield* gateway.handle(envRun("anthropic/claude", inputs, "default"))
      const { text } = yield* receive(response)
      const blocks = text.split(/(?<=\n\n)/)
      assert.isTrue(text.startsWith("event: message_start\ndata: "))
      for (let from = 0; from <= blocks.length; from++) {
        const again = yield* Effect.flatMap(resumed(gateway, idOf(response), from), receive)
        assert.strictEqual(again.text, blocks.slice(from).join(""))
      }
    })
  )

  it.effect("reads the provider's answer to its end when the client's connection breaks", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const whole = (yield* Effect.flatMap(run(gateway), receive)).text
      const response = yield* run(gateway, dropped({ dropAfter: { deltas: 2 } }))
      const first = yield* receive(response)
      assert.isTrue(first.broken)
      yield* settle
      assert.strictEqual((yield* trace(gateway))[1], "0:openai#1 answered 200")
      const seen = eventsOf(first.text).length
      const rest = yield* Effect.flatMap(resumed(gateway, idOf(response), seen), receive)
      assert.strictEqual(first.text + rest.text, whole)
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.isTrue(entry.success)
      assert.strictEqual(yield* gateway.openBodies, 0)
    })
  )

  it.effect("follows a run in progress", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const response = yield* run(gateway, shaped({ delay: 1000 }))
      const first = reading(response)
      yield* settle
      const second = reading(yield* resumed(gateway, idOf(response), 1))
      const late = reading(yield* resumed(gateway, idOf(response), 100))
      yield* first.cancel
      for (let i = 0; i < 20 && second.state() === "open"; i++) {
        yield* TestClock.adjust(1000)
        yield* settle
      }
      assert.deepStrictEqual([first.count(), second.state(), late.state(), late.text()], [1, "ended", "ended", ""])
      const whole = yield* Effect.flatMap(resumed(gateway, idOf(response), 0), receive)
      assert.strictEqual(whole.text, first.text() + second.text())
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 answered 200"])
    })
  )

  it.effect("makes the provider send an event once when two clients wait for it", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const response = yield* run(gateway)
      const again = yield* resumed(gateway, idOf(response), 0)
      const readers = [readerOf(response), readerOf(again)]
      const [first, second] = yield* Effect.promise(() => Promise.all(readers.map((reader) => reader.read())))
      assert.deepStrictEqual(second?.value, first?.value)
      assert.strictEqual((yield* gateway.calls)[0]?.bytes, first?.value?.length)
      for (const reader of readers) yield* Effect.promise(() => reader.cancel())
    })
  )

  it.effect("is gone after five and a half minutes, for another gateway, and after a reset", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { default: {}, other: {} } })
      const response = yield* run(gateway)
      yield* receive(response)
      const id = idOf(response)
      const reply = (from?: number, of?: string) =>
        Effect.map(Effect.flatMap(resumed(gateway, id, from, of), replyOf), ({ json, status }) => [status, json])
      const gone = [404, { error: "Request not found" }]
      assert.deepStrictEqual(yield* reply(0, "other"), gone)
      yield* TestClock.adjust(329_999)
      assert.deepStrictEqual((yield* reply(0))[0], 200)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* reply(0), gone)
      const again = yield* run(gateway)
      yield* gateway.reset
      const after = yield* Effect.flatMap(resumed(gateway, idOf(again), 0), replyOf)
      assert.deepStrictEqual([after.status, after.json], gone)
      // The remaining client continues to read.
      assert.isFalse((yield* receive(again)).broken)
    })
  )

  it.effect("releases the provider when a dropped run has no client", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const response = yield* run(gateway, dropped({ stallAfter: { deltas: 1 } }))
      const stream = reading(response)
      yield* settle
      yield* stream.cancel
      yield* settle
      assert.strictEqual(yield* gateway.openBodies, 1)
      yield* TestClock.adjust(330_000)
      yield* receive(yield* run(gateway))
      yield* settle
      assert.strictEqual(yield* gateway.openBodies, 0)
      assert.strictEqual((yield* trace(gateway))[0], "0:openai#1 interrupted 200")
    })
  )

  it.effect("breaks off again when the provider broke off", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const response = yield* run(gateway, dropped({ resetAfter: { deltas: 1 } }))
      const first = yield* receive(response)
      assert.isTrue(first.broken)
      const again = yield* Effect.flatMap(resumed(gateway, idOf(response), 1), receive)
      assert.isTrue(again.broken)
      assert.isTrue(again.text.length > 0 && first.text.endsWith(again.text))
    })
  )

  it.effect("delivers a run that is too large to keep to its client, at its pace", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const size = 34 * 1024 * 1024
      const response = yield* run(gateway, dropped({ bigEvent: size }))
      const reader = readerOf(response)
      yield* Effect.promise(() => reader.read())
      yield* settle
      assert.isBelow((yield* gateway.calls)[0]?.bytes ?? 0, 1000)
      reader.releaseLock()
      const { broken, bytes } = yield* receive(response)
      assert.isFalse(broken)
      assert.isAbove(bytes.length, size)
      const after = yield* Effect.flatMap(resumed(gateway, idOf(response), 0), replyOf)
      assert.strictEqual(after.status, 404)
    })
  )

  it.effect("does not hold what a client of such a run has read", () =>
    Effect.gen(function* () {
      const mebibyte = 1024 * 1024
      const openai = Upstream.make(() =>
        Effect.sync(() => {
          let left = 160
          const body = new ReadableStream<Uint8Array>(
            { pull: (controller) => (left-- > 0 ? controller.enqueue(new Uint8Array(mebibyte)) : controller.close()) },
            { highWaterMark: 0 }
          )
          return { status: 200, headers: { "content-type": "text/event-stream" }, body }
        })
      )
      const gateway = yield* LocalGateway.make({ upstreams: { openai } })
      const reader = readerOf(yield* run(gateway))
      for (let i = 0; i < 150; i++) yield* Effect.promise(() => reader.read())
      // Other threads free collected memory, and a busy machine delays them.
      const held = () => {
        collectGarbage()
        return process.memoryUsage().arrayBuffers
      }
      for (let look = 0; look < 100 && held() >= 64 * mebibyte; look++) yield* settle
      assert.isBelow(held(), 64 * mebibyte)
      yield* Effect.promise(() => reader.cancel())
      yield* settle
      // It cannot be resumed, so nothing is read further.
      assert.strictEqual(yield* gateway.openBodies, 0)
    })
  )

  it.effect("exists only for streams of third-party models, on this surface, and when it is on", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      for (const { ask, name } of surfaces) {
        const carries = name === "env.AI.run, third party" || name.endsWith("Miniflare's envelope")
        const response = yield* gateway.handle(ask(true))
        assert.strictEqual(response.headers.has("cf-aig-run-id"), carries, name)
        yield* receive(response)
        const whole = yield* gateway.handle(ask(false))
        assert.isFalse(whole.headers.has("cf-aig-run-id"), name)
      }
      const off = yield* LocalGateway.make({ resumableRuns: false })
      const response = yield* run(off)
      assert.isFalse(response.headers.has("cf-aig-run-id"))
      yield* Effect.promise(() => response.body?.cancel() ?? Promise.resolve())
      yield* settle
      assert.deepStrictEqual(yield* trace(off), ["0:openai#1 interrupted 200"])
    })
  )

  it.effect("rejects a malformed id and a malformed place", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const malformed = yield* Effect.flatMap(resumed(gateway, "abc", 0), replyOf)
      assert.deepStrictEqual([malformed.status, malformed.json.internalCode], [500, 2002])
      const place = yield* Effect.flatMap(resumed(gateway, "0".repeat(64), "-1"), replyOf)
      assert.deepStrictEqual([place.status, place.json.internalCode], [400, 7001])
      const unknown = yield* Effect.flatMap(resumed(gateway, "0".repeat(64), 0), replyOf)
      assert.deepStrictEqual([unknown.status, unknown.json], [404, { error: "Request not found" }])
    })
  )
})
