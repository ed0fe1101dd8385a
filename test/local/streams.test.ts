import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import {
  chatStream,
  type DialectName,
  deltasOf,
  dialects,
  eventsOf,
  finishes,
  readerOf,
  reading,
  receive,
  surfaces,
  wholeText
} from "./streamSupport.ts"
import { call, dataPlane, drive, leg, replyOf, settle } from "./support.ts"

const shaped = (shape: Upstream.StreamShape): Record<string, string> => ({
  "cf-aig-local-stream": JSON.stringify(shape)
})

describe("every surface", () => {
  it.effect.each(surfaces)("$name: streams the content of the complete answer", ({ ask, dialect }) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const whole = yield* Effect.flatMap(gateway.handle(ask(false)), replyOf)
      assert.strictEqual(whole.headers["content-type"], "application/json")
      const streamed = yield* Effect.flatMap(gateway.handle(ask(true)), receive)
      assert.deepStrictEqual(
        [streamed.status, streamed.headers["content-type"], streamed.broken],
        [200, "text/event-stream", false]
      )
      assert.strictEqual(deltasOf(dialect, streamed.text).join(""), wholeText(dialect, whole.text))
      assert.isTrue(finishes(dialect, streamed.text))
      assert.match(streamed.text, /\n\n$/)
      // One event per piece.
      assert.strictEqual(streamed.chunks.length, eventsOf(streamed.text).length)
    })
  )

  it.effect.each(surfaces)("$name: accepts a number of deltas", ({ ask, dialect }) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const headers = shaped({ events: 7, words: 2 })
      const streamed = yield* Effect.flatMap(gateway.handle(ask(true, headers)), receive)
      const deltas = deltasOf(dialect, streamed.text)
      assert.strictEqual(deltas.length, 7)
      for (const delta of deltas) assert.strictEqual(delta.trim().split(" ").length, 2)
      const whole = yield* Effect.flatMap(gateway.handle(ask(false, headers)), replyOf)
      assert.strictEqual(deltas.join(""), wholeText(dialect, whole.text))
    })
  )

  it.effect("sends the events of each dialect in order", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const seen: Array<readonly [DialectName, string]> = []
      for (const { ask, dialect } of dialects) {
        const { text } = yield* Effect.flatMap(gateway.handle(ask(true, shaped({ events: 2 }))), receive)
        const names = eventsOf(text).map(
          ({ data, event, json }) => event ?? (data === "[DONE]" ? data : Object.keys(json ?? {}).join("+"))
        )
        seen.push([dialect, names.join(" ")])
      }
      const chunk = "id+object+created+model+service_tier+system_fingerprint+choices"
      assert.deepStrictEqual(seen, [
        ["chat", `${chunk} ${chunk} ${chunk} ${chunk} [DONE]`],
        [
          "responses",
          "response.created response.in_progress response.output_item.added response.content_part.added " +
            "response.output_text.delta response.output_text.delta response.output_text.done " +
            "response.content_part.done response.output_item.done response.completed"
        ],
        [
          "anthropic",
          "message_start content_block_start ping content_block_delta content_block_delta content_block_stop " +
            "message_delta message_stop"
        ],
        ["google", "candidates+usageMetadata+modelVersion+responseId candidates+usageMetadata+modelVersion+responseId"],
        ["workers-ai", "response response response+usage [DONE]"]
      ])
    })
  )

  it.effect("streams a JSON array for Google without alt=sse", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const body = { contents: [{ role: "user", parts: [{ text: "Hi" }] }] }
      const url = `${dataPlane}/google-ai-studio/v1beta/models/g:streamGenerateContent`
      const { headers, json } = yield* call(gateway, "POST", url, body)
      assert.strictEqual(headers["content-type"], "application/json")
      assert.deepStrictEqual(
        json.map(
          ({ candidates }: { candidates: ReadonlyArray<{ finishReason?: string }> }) => candidates[0]?.finishReason
        ),
        [undefined, "STOP"]
      )
    })
  )
})

describe("the shape of a stream", () => {
  it.effect("is the upstream's own, which a request changes field by field", () =>
    Effect.gen(function* () {
      const openai = Upstream.echo({ text: () => "a b c", stream: { events: 4, words: 2 } })
      const gateway = yield* LocalGateway.make({ upstreams: { openai } })
      const own = yield* Effect.flatMap(gateway.handle(chatStream()), receive)
      assert.deepStrictEqual(deltasOf("chat", own.text), ["a b", " c a", " b c", " a b"])
      const asked = yield* Effect.flatMap(gateway.handle(chatStream(shaped({ events: 3 }))), receive)
      assert.deepStrictEqual(deltasOf("chat", asked.text), ["a b", " c a", " b c"])
    })
  )

  it.effect("groups words, keeps spaces, and splits a text without words", () =>
    Effect.gen(function* () {
      const text = " one  two\nthree four "
      const gateway = yield* LocalGateway.make({
        upstreams: { openai: Upstream.echo({ text: () => text }), groq: Upstream.echo({ text: () => " " }) }
      })
      const streamed = yield* Effect.flatMap(gateway.handle(chatStream(shaped({ words: 3 }))), receive)
      assert.deepStrictEqual(deltasOf("chat", streamed.text), [" one  two\nthree", " four "])
      const url = `${dataPlane}/groq/chat/completions`
      const filled = yield* call(gateway, "POST", url, { ...leg("groq").query, stream: true }, shaped({ events: 2 }))
      assert.deepStrictEqual(deltasOf("chat", filled.text), ["echo", " echo"])
    })
  )

  it.effect("times events exactly, in virtual time", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const started = yield* Clock.currentTimeMillis
      const response = yield* drive(
        gateway.handle(chatStream(shaped({ events: 3, delayFirst: "2 seconds", delay: 500 })))
      )
      // The gateway answers with the first event.
      assert.strictEqual((yield* Clock.currentTimeMillis) - started, 2000)
      const stream = reading(response)
      yield* settle
      assert.strictEqual(stream.count(), 1)
      for (const count of [2, 3, 4, 5, 6]) {
        yield* TestClock.adjust(499)
        yield* settle
        assert.strictEqual(stream.count(), count - 1)
        yield* TestClock.adjust(1)
        yield* settle
        assert.strictEqual(stream.count(), count)
      }
      assert.deepStrictEqual([stream.state(), deltasOf("chat", stream.text()).length], ["ended", 3])
    })
  )

  it.effect("is a leg's own, or else the request's", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const inner = { ...leg("openai"), headers: shaped({ events: 2 }) }
      const query = { ...inner.query, stream: true }
      const own = yield* call(gateway, "POST", dataPlane, [{ ...inner, query }], shaped({ events: 5 }))
      assert.strictEqual(deltasOf("chat", own.text).length, 2)
      const outer = yield* call(gateway, "POST", dataPlane, [{ ...leg("openai"), query }], shaped({ events: 5 }))
      assert.strictEqual(deltasOf("chat", outer.text).length, 5)
    })
  )

  it.effect("is passed to a custom upstream", () =>
    Effect.gen(function* () {
      const openai = Upstream.make(({ stream }) =>
        Effect.succeed({ status: 200, headers: {}, body: JSON.stringify(stream ?? null) })
      )
      const gateway = yield* LocalGateway.make({ upstreams: { openai } })
      const { text } = yield* Effect.flatMap(gateway.handle(chatStream(shaped({ events: 5 }))), replyOf)
      assert.strictEqual(text, `{"events":5}`)
      assert.strictEqual((yield* Effect.flatMap(gateway.handle(chatStream()), replyOf)).text, "null")
    })
  )

  const refused: ReadonlyArray<readonly [value: string, message: string]> = [
    ["{}}", "cf-aig-local-stream: expected an object"],
    ["[]", "cf-aig-local-stream: expected an object"],
    [`{"event":1}`, "cf-aig-local-stream: expected an object with fields of events, words, delayFirst, delay"],
    [`{"events":0}`, "cf-aig-local-stream events: expected a whole number from 1 to 1000000"],
    [`{"events":1000001}`, "cf-aig-local-stream events: expected"],
    [`{"words":1.5}`, "cf-aig-local-stream words: expected a whole number from 1 to 1000"],
    [`{"events":1000000,"words":2}`, "cf-aig-local-stream words: expected at most 1000000 words"],
    [`{"delay":-1}`, "cf-aig-local-stream delay: expected milliseconds from 0"],
    [`{"delayFirst":"soon"}`, "cf-aig-local-stream delayFirst: expected"]
  ]
  it.effect.each(refused)("rejects %s", ([value, message]) =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const { json, status } = yield* Effect.flatMap(
        gateway.handle(chatStream({ "cf-aig-local-stream": value })),
        replyOf
      )
      assert.deepStrictEqual([status, json.internalCode], [400, 7001])
      assert.include(json.message, message)
      assert.strictEqual((yield* gateway.calls).length, 0)
    })
  )

  it.effect("prevents the start of an upstream when it is wrong", () =>
    Effect.gen(function* () {
      const openai = Upstream.echo({ stream: { events: 0 } })
      const error = yield* Effect.flip(LocalGateway.make({ upstreams: { openai } }))
      assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === "upstreams.openai.stream.events")
    })
  )
})

describe("back-pressure", () => {
  it.effect("generates nothing ahead of demand", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const response = yield* gateway.handle(chatStream(shaped({ events: 1000 })))
      const sent = Effect.map(gateway.calls, ([call]) => call?.bytes)
      assert.strictEqual(yield* sent, 0)
      const reader = readerOf(response)
      let read = 0
      for (let i = 0; i < 10; i++) {
        const next = yield* Effect.promise(() => reader.read())
        read += next.value?.length ?? 0
        yield* settle
        assert.strictEqual(yield* sent, read)
      }
      assert.strictEqual(yield* gateway.openBodies, 1)
      yield* Effect.promise(() => reader.cancel())
      assert.deepStrictEqual([yield* sent, yield* gateway.openBodies], [read, 0])
    })
  )

  it.effect("counts a complete answer with its size", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 500, body: "é" }])
      yield* call(gateway, "POST", dataPlane, [leg("openai"), leg("groq")])
      const [failed, answered] = yield* gateway.calls
      assert.strictEqual(failed?.bytes, 2)
      assert.isAbove(answered?.bytes ?? 0, 100)
    })
  )
})
