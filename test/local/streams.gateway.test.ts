import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as GatewayResponse from "../../src/GatewayResponse.ts"
import * as GatewayService from "../../src/GatewayService.ts"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { abortable } from "../../src/local/wire/outgoingBody.ts"
import {
  chatStream,
  deltasOf,
  dialects,
  eventsOf,
  readerOf,
  reading,
  receive,
  type Surface,
  surfaces,
  wholeText
} from "./streamSupport.ts"
import { call, dataPlane, drive, leg, logs, replyOf, request, settle, started, trace } from "./support.ts"

const streamed = (provider: string, headers: Record<string, string> = {}) => {
  const { query, ...rest } = leg(provider)
  return { ...rest, headers, query: { ...query, stream: true } }
}
const universal = (legs: ReadonlyArray<unknown>, headers: Record<string, string> = {}) =>
  request("POST", dataPlane, legs, headers)
const shaped = (shape: Upstream.StreamShape): Record<string, string> => ({
  "cf-aig-local-stream": JSON.stringify(shape)
})

describe("before the first byte", () => {
  const failures: ReadonlyArray<readonly [name: string, fault: Upstream.Fault, outcome: string]> = [
    ["a refused connection", { reset: true }, "failed"],
    ["an error", { status: 503 }, "answered 503"],
    ["a reset after the head", { stream: { resetAfter: { bytes: 0 } } }, "failed"],
    ["no first part in time", { stream: { stallAfter: { events: 0 } } }, "timeout"],
    ["a slow first part", { stream: { delayFirst: "3 seconds" } }, "timeout"]
  ]

  it.effect.each(failures)("%s: only the next leg answers", ([, fault, outcome]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [fault])
      const legs = [streamed("openai"), streamed("groq")]
      const response = yield* drive(gateway.handle(universal(legs, { "cf-aig-request-timeout": "900" })))
      const { headers, status, text } = yield* receive(response)
      assert.deepStrictEqual([status, headers["cf-aig-step"]], [200, "1"])
      assert.strictEqual(deltasOf("chat", text).join(""), "groq/m: Hello")
      assert.deepStrictEqual(yield* trace(gateway), [`0:openai#1 ${outcome}`, "1:groq#1 answered 200"])
      assert.strictEqual(yield* gateway.openBodies, 0)
    })
  )

  it.effect("retries as for any answer", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ stream: { resetAfter: { bytes: 0 } }, repeat: 2 }])
      const response = yield* drive(
        gateway.handle(chatStream({ "cf-aig-max-attempts": "3", "cf-aig-retry-delay": "50" }))
      )
      assert.strictEqual(response.status, 200)
      yield* receive(response)
      assert.deepStrictEqual(yield* trace(gateway), [
        "0:openai#1 failed",
        "0:openai#2 failed",
        "0:openai#3 answered 200"
      ])
    })
  )

  it.effect("reports the time limit of a single attempt as the gateway's error", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ stream: { stallAfter: { bytes: 0 } } }])
      const reply = yield* Effect.flatMap(
        drive(gateway.handle(chatStream({ "cf-aig-request-timeout": "900" }))),
        replyOf
      )
      assert.deepStrictEqual([reply.status, reply.json.internalCode], [408, 3007])
      assert.strictEqual(yield* gateway.openBodies, 0)
    })
  )
})

describe("after the first byte", () => {
  const cuts: ReadonlyArray<readonly [name: string, fault: Upstream.Fault, broken: boolean]> = [
    ["a reset", { stream: { resetAfter: { bytes: 1 } } }, true],
    ["a clean end without a finish", { stream: { endAfter: { events: 1 } } }, false],
    ["an error inside the stream", { stream: { errorAfter: { events: 0 } } }, false],
    ["an empty stream", { stream: { endAfter: { bytes: 0 } } }, false]
  ]

  it.effect.each(cuts)("%s: makes no retry and calls no other leg", ([, fault, broken]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [fault])
      const legs = [streamed("openai", { "cf-aig-max-attempts": "5" }), streamed("groq")]
      const received = yield* Effect.flatMap(gateway.handle(universal(legs)), receive)
      assert.deepStrictEqual([received.status, received.headers["cf-aig-step"], received.broken], [200, "0", broken])
      assert.deepStrictEqual(yield* trace(gateway), [`0:openai#1 ${broken ? "failed" : "answered"} 200`])
    })
  )

  it.effect("applies no time limit: pauses of any length pass", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ stream: { delayFirst: 800, delayBetween: "10 minutes" } }])
      const fiber = yield* started(gateway.handle(universal([streamed("openai")], { "cf-aig-request-timeout": "900" })))
      yield* TestClock.adjust(800)
      const stream = reading(yield* Fiber.join(fiber))
      for (let i = 0; i < 10 && stream.state() === "open"; i++) {
        yield* settle
        yield* TestClock.adjust("10 minutes")
      }
      assert.strictEqual(stream.state(), "ended")
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 answered 200"])
    })
  )
})

describe("a client that leaves", () => {
  const places: ReadonlyArray<readonly [name: string, pieces: number, pending: boolean]> = [
    ["before it read anything", 0, false],
    ["after two pieces", 2, false],
    ["while it waits for the next piece", 2, true]
  ]

  it.effect.each(places)("%s: the upstream is aborted", ([, pieces, pending]) =>
    Effect.gen(function* () {
      let cancelled = 0
      const openai = Upstream.make(() =>
        Effect.sync(() => {
          let i = 0
          const body = new ReadableStream<Uint8Array>(
            {
              // The third piece never arrives.
              pull: (controller) =>
                i++ < 2 ? controller.enqueue(new TextEncoder().encode(`data: ${i}\n\n`)) : new Promise<void>(() => {}),
              cancel: () => {
                cancelled++
              }
            },
            { highWaterMark: 0 }
          )
          return { status: 200, headers: { "content-type": "text/event-stream" }, body }
        })
      )
      const gateway = yield* LocalGateway.make({ upstreams: { openai } })
      const reader = readerOf(yield* gateway.handle(chatStream()))
      for (let i = 0; i < pieces; i++) yield* Effect.promise(() => reader.read())
      if (pending) {
        void reader.read()
        yield* settle
      }
      assert.deepStrictEqual([cancelled, yield* gateway.openBodies], [0, 1])
      yield* TestClock.adjust(70)
      yield* Effect.promise(() => reader.cancel())
      yield* settle
      assert.deepStrictEqual([cancelled, yield* gateway.openBodies], [1, 0])
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 interrupted 200"])
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.deepStrictEqual([entry.status_code, entry.success, entry.duration], [200, false, 70])
    })
  )

  it.effect("is noticed while the gateway waits for the first part", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ stream: { stallAfter: { bytes: 0 } } }])
      const fiber = yield* started(gateway.handle(universal([streamed("openai"), streamed("groq")])))
      assert.strictEqual(yield* gateway.openBodies, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* gateway.openBodies, 0)
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 interrupted"])
    })
  )

  it.effect("leaves nothing open when half of many leave early", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ keep: { calls: 500 } })
      yield* Effect.forEach(
        Array.from({ length: 400 }, (_, i) => i),
        (i) =>
          Effect.gen(function* () {
            const response = yield* gateway.handle(chatStream(shaped({ events: 20 })))
            if (i % 2 === 0) return yield* receive(response)
            const reader = readerOf(response)
            for (let n = 0; n < i % 20; n++) yield* Effect.promise(() => reader.read())
            return yield* Effect.promise(() => reader.cancel())
          }),
        { concurrency: 50, discard: true }
      )
      yield* settle
      assert.strictEqual(yield* gateway.openBodies, 0)
      const calls = yield* gateway.calls
      const count = (outcome: string) => calls.filter((call) => call.outcome === outcome).length
      assert.deepStrictEqual([count("answered"), count("interrupted")], [200, 200])
    })
  )

  it.effect("is noticed over the services of this library", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.Current
      const service = yield* GatewayService.GatewayService
      const response = yield* service.run(streamed("openai", shaped({ events: 50 })))
      const first = yield* Stream.runCollect(Stream.take(GatewayResponse.bytes(response), 3))
      assert.strictEqual(first.length, 3)
      yield* settle
      assert.strictEqual(yield* gateway.openBodies, 0)
      assert.strictEqual((yield* gateway.calls)[0]?.outcome, "interrupted")
      yield* gateway.script("openai", [{ stream: { stallAfter: { events: 2 } } }])
      const stalled = yield* service.run(streamed("openai"))
      const fiber = yield* started(Stream.runDrain(GatewayResponse.bytes(stalled)))
      assert.strictEqual(yield* gateway.openBodies, 1)
      yield* Fiber.interrupt(fiber)
      yield* settle
      assert.strictEqual(yield* gateway.openBodies, 0)
    }).pipe(Effect.provide(LocalGateway.layer()))
  )
})

describe("a signal", () => {
  const endless = () => {
    const seen: { cancelled?: unknown } = {}
    const body = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => controller.enqueue(new Uint8Array([1])),
        cancel: (reason) => {
          seen.cancelled = reason
        }
      },
      { highWaterMark: 0 }
    )
    return { body, seen }
  }

  it.effect("ends an unread body, as with fetch", () =>
    Effect.gen(function* () {
      for (const early of [true, false]) {
        const { body, seen } = endless()
        const controller = new AbortController()
        if (early) controller.abort("gone")
        const reader = abortable(body, controller.signal).getReader()
        controller.abort("gone")
        assert.strictEqual(yield* Effect.flip(Effect.tryPromise({ try: () => reader.read(), catch: String })), "gone")
        assert.strictEqual(seen.cancelled, "gone")
      }
    })
  )

  it.effect("ends a body while a piece is awaited, and nothing after its end", () =>
    Effect.gen(function* () {
      const controller = new AbortController()
      const stuck = new ReadableStream<Uint8Array>({}, { highWaterMark: 0 })
      const reader = abortable(stuck, controller.signal).getReader()
      const waiting = yield* Effect.forkChild(
        Effect.flip(Effect.tryPromise({ try: () => reader.read(), catch: String })),
        {
          startImmediately: true
        }
      )
      controller.abort("gone")
      assert.strictEqual(yield* Fiber.join(waiting), "gone")
      const whole = new ReadableStream<Uint8Array>({ start: (inner) => inner.close() })
      const other = new AbortController()
      const done = abortable(whole, other.signal).getReader()
      assert.isTrue((yield* Effect.promise(() => done.read())).done)
      other.abort("late")
      assert.isTrue((yield* Effect.promise(() => done.read())).done)
    })
  )
})

describe("one complete answer instead of a stream", () => {
  const onDataPlane = ({ ask }: Surface): boolean => {
    const url = ask(true).url
    return url.startsWith(dataPlane) || url.includes("/universal/run/")
  }

  it.effect.each(surfaces)("$name", (surface) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { default: { bufferStreams: true } } })
      const plain = yield* Effect.flatMap(gateway.handle(surface.ask(false)), replyOf)
      const asked = yield* Effect.flatMap(gateway.handle(surface.ask(true)), replyOf)
      if (!onDataPlane(surface)) return assert.strictEqual(asked.headers["content-type"], "text/event-stream")
      assert.strictEqual(asked.headers["content-type"], "application/json")
      assert.strictEqual(asked.text, plain.text)
    })
  )

  it.effect.each(surfaces)("$name, for one request", ({ ask, dialect }) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const plain = yield* Effect.flatMap(gateway.handle(ask(false)), replyOf)
      const asked = yield* Effect.flatMap(gateway.handle(ask(true, { "cf-aig-local-buffer": "true" })), replyOf)
      assert.strictEqual(asked.headers["content-type"], "application/json")
      assert.strictEqual(wholeText(dialect, asked.text), wholeText(dialect, plain.text))
    })
  )

  it.effect("can be declined by a request, and rejects a wrong value", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { default: { bufferStreams: true } } })
      const kept = yield* gateway.handle(chatStream({ "cf-aig-local-buffer": "false" }))
      assert.strictEqual(kept.headers.get("content-type"), "text/event-stream")
      const wrong = yield* Effect.flatMap(gateway.handle(chatStream({ "cf-aig-local-buffer": "1" })), replyOf)
      assert.deepStrictEqual([wrong.status, wrong.json.internalCode], [400, 7001])
    })
  )

  it.effect("hides the stream from the provider", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ gateways: { default: { bufferStreams: true } } })
      const body = { model: "m", messages: [], stream: true, stream_options: { include_usage: true }, seed: 1 }
      yield* call(gateway, "POST", `${dataPlane}/openai/chat/completions`, body)
      const google = `${dataPlane}/google-ai-studio/v1beta/models/g:streamGenerateContent`
      yield* call(gateway, "POST", `${google}?alt=sse&key=k`, { contents: [] })
      yield* call(gateway, "POST", google, { contents: [] })
      const calls = yield* gateway.calls
      assert.deepStrictEqual(calls[0]?.body, { model: "m", messages: [], seed: 1 })
      assert.deepStrictEqual(
        calls.slice(1).map(({ endpoint }) => endpoint),
        ["v1beta/models/g:generateContent?key=<redacted>", "v1beta/models/g:generateContent"]
      )
    })
  )
})

describe("the log of a stream", () => {
  it.effect("has tokens and duration, and appears when the stream has ended, later by freshLogDelay", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ freshLogDelay: 500 })
      const startedAt = yield* Clock.currentTimeMillis
      const body = { ...streamed("openai").query, stream_options: { include_usage: true } }
      const headers = { ...shaped({ events: 3, delay: 100 }), "cf-aig-custom-cost": `{"per_token_out":2}` }
      const response = yield* gateway.handle(request("POST", `${dataPlane}/openai/chat/completions`, body, headers))
      const id = response.headers.get("cf-aig-log-id")
      const found = Effect.map(call(gateway, "GET", `${logs}/${id}`), ({ status }) => status)
      assert.strictEqual(yield* found, 404)
      const stream = reading(response)
      for (let i = 0; i < 20 && stream.state() === "open"; i++) {
        yield* settle
        yield* TestClock.adjust(i < 6 ? 100 : 0)
      }
      assert.strictEqual(stream.state(), "ended")
      const endedAt = yield* Clock.currentTimeMillis
      assert.strictEqual(endedAt - startedAt, 600)
      assert.strictEqual(yield* found, 404)
      yield* TestClock.adjust(499)
      assert.strictEqual(yield* found, 404)
      yield* TestClock.adjust(1)
      const entry = (yield* call(gateway, "GET", `${logs}/${id}`)).json.result
      assert.deepStrictEqual(
        [entry.success, entry.tokens_in, entry.tokens_out, entry.cost, entry.duration, entry.response_head_complete],
        [true, 1, 3, 6, 600, false]
      )
      assert.strictEqual(entry.response_size, new TextEncoder().encode(stream.text()).length)
      const payload = yield* call(gateway, "GET", `${logs}/${id}/response`)
      assert.strictEqual(payload.text, stream.text())
    })
  )

  it.effect.each(dialects)("$name: tokens at the end of a long stream", ({ ask, dialect }) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const asked = ask(true, shaped({ events: 1500 }))
      const body: unknown = yield* Effect.promise(() => asked.clone().json())
      const more = typeof body === "object" && dialect === "chat" ? { stream_options: { include_usage: true } } : {}
      const headers = Object.fromEntries(asked.headers)
      const response = yield* gateway.handle(
        request("POST", asked.url, { ...(typeof body === "object" ? body : {}), ...more }, headers)
      )
      assert.isAbove((yield* receive(response)).bytes.length, 24_000)
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.deepStrictEqual([entry.tokens_in, entry.tokens_out, entry.success], [4, 1500, true])
    })
  )

  it.effect.each([1, 9, 64])("tokens in pieces of %d bytes", (chunkSize) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("anthropic", [{ stream: { chunkSize, crlf: true } }])
      yield* Effect.flatMap(gateway.handle(universal([streamed("anthropic")])), receive)
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.deepStrictEqual([entry.tokens_in, entry.tokens_out], [1, 2])
    })
  )

  it.effect("reports a broken stream as failed, with its cost so far", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("anthropic", [{ stream: { resetAfter: { deltas: 1 } } }])
      const { text } = yield* Effect.flatMap(gateway.handle(universal([streamed("anthropic")])), receive)
      assert.strictEqual(eventsOf(text).length, 4)
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.deepStrictEqual([entry.status_code, entry.success, entry.tokens_in, entry.tokens_out], [200, false, 1, 0])
    })
  )

  it.effect("is omitted on request", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const response = yield* gateway.handle(chatStream({ "cf-aig-collect-log": "false" }))
      assert.isNull(response.headers.get("cf-aig-log-id"))
      yield* receive(response)
      assert.strictEqual((yield* call(gateway, "GET", logs)).json.result_info.total_count, 0)
    })
  )
})
