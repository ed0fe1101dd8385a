import { readFile } from "node:fs/promises"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { joinBytes } from "../../src/internal/data/bytes.ts"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import {
  chatSurface,
  deltasOf,
  dialects,
  eventsOf,
  faulty,
  finishes,
  type Received,
  reading,
  receive,
  type Surface,
  surfaces
} from "./streamSupport.ts"
import { call, chat, dataPlane, leg, replyOf, settle, trace } from "./support.ts"

// Characters of two, three and four bytes, so that cuts hit the inside of some.
const text = "é 漢字 👍 end"
const upstream = Upstream.echo({ text: () => text })
const make = LocalGateway.make({
  upstreams: Object.fromEntries(surfaces.map(({ provider }) => [provider, upstream]))
})

/** A stream without a fault. */
const clean = (surface: Surface): Effect.Effect<Received, unknown> =>
  Effect.flatMap(make, (gateway) => Effect.flatMap(gateway.handle(surface.ask(true)), receive))

/** A stream with one fault. */
const hit = (surface: Surface, fault: Upstream.StreamFault): Effect.Effect<Received, unknown> =>
  Effect.flatMap(make, (gateway) => Effect.flatMap(faulty(gateway, surface, fault), receive))

if (chatSurface === undefined) throw new Error("no chat surface")
const chatIn = chatSurface

describe("cuts by bytes", () => {
  it.effect.prop(
    "apply at any byte: an end is clean, a reset is not, and both come after exactly that number",
    {
      at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1100 })),
      surface: Schema.Literals([0, 1, 2, 3, 4])
    },
    ({ at, surface: index }) =>
      Effect.gen(function* () {
        const surface = dialects[index] ?? chatIn
        const whole = yield* clean(surface)
        const prefix = whole.bytes.slice(0, at)
        const ended = yield* hit(surface, { endAfter: { bytes: at } })
        assert.deepStrictEqual([ended.status, ended.broken], [200, false])
        assert.deepStrictEqual(ended.bytes, prefix)
        const reset = yield* hit(surface, { resetAfter: { bytes: at } })
        // Without any byte, the failure precedes the answer.
        assert.deepStrictEqual([reset.status, reset.broken], at === 0 ? [400, false] : [200, true])
        if (at > 0) assert.deepStrictEqual(reset.bytes, prefix)
      }),
    { arbitrary: { runs: 60 } }
  )

  it.effect("apply inside a character, and inside a line", () =>
    Effect.gen(function* () {
      const { bytes } = yield* clean(chatIn)
      const character = bytes.indexOf(0xf0) + 2
      const inside = yield* hit(chatIn, { endAfter: { bytes: character } })
      assert.match(inside.text, /\ufffd$/)
      const line = yield* hit(chatIn, { endAfter: { bytes: 3 } })
      assert.strictEqual(line.text, "dat")
    })
  )

  it.effect("by a stall keep the stream open forever, and cancelling it frees the provider", () =>
    Effect.gen(function* () {
      const gateway = yield* make
      const response = yield* faulty(gateway, chatIn, { stallAfter: { bytes: 7 } })
      const stream = reading(response)
      yield* settle
      yield* TestClock.adjust("1 day")
      yield* settle
      assert.deepStrictEqual([stream.text(), stream.state()], ["data: {", "open"])
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 running"])
      assert.strictEqual(yield* gateway.openBodies, 1)
      yield* stream.cancel
      yield* settle
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 interrupted 200"])
      assert.strictEqual(yield* gateway.openBodies, 0)
    })
  )
})

describe("cuts by events and deltas", () => {
  it.effect.each(dialects)("$name", (surface) =>
    Effect.gen(function* () {
      const whole = yield* clean(surface)
      const events = eventsOf(whole.text)
      const deltas = deltasOf(surface.dialect, whole.text)
      const afterEvents = yield* hit(surface, { endAfter: { events: 2 } })
      assert.deepStrictEqual(eventsOf(afterEvents.text), events.slice(0, 2))
      assert.isTrue(whole.text.startsWith(afterEvents.text))
      const afterDeltas = yield* hit(surface, { resetAfter: { deltas: 2 } })
      assert.deepStrictEqual(deltasOf(surface.dialect, afterDeltas.text), deltas.slice(0, 2))
      assert.deepStrictEqual([afterDeltas.broken, afterDeltas.text.endsWith("\n\n")], [true, true])
      const preamble = yield* hit(surface, { endAfter: { deltas: 0 } })
      const expected = { chat: 1, responses: 4, anthropic: 3, google: 0, "workers-ai": 0 }[surface.dialect]
      assert.deepStrictEqual(eventsOf(preamble.text), events.slice(0, expected))
    })
  )

  it.effect("treat a place past the end as the end", () =>
    Effect.gen(function* () {
      const whole = yield* clean(chatIn)
      for (const place of [{ bytes: 100_000 }, { events: 1000 }, { deltas: 1000 }]) {
        const reset = yield* hit(chatIn, { resetAfter: place })
        assert.deepStrictEqual([reset.text, reset.broken], [whole.text, true])
        const ended = yield* hit(chatIn, { endAfter: place })
        assert.deepStrictEqual([ended.text, ended.broken], [whole.text, false])
      }
    })
  )

  it.effect("pass an empty stream as a success without a body", () =>
    Effect.gen(function* () {
      const empty = yield* hit(chatIn, { endAfter: { events: 0 } })
      assert.deepStrictEqual(
        [empty.status, empty.headers["content-type"], empty.text, empty.broken],
        [200, "text/event-stream", "", false]
      )
    })
  )
})

describe("errors inside a stream", () => {
  const expected = {
    chat: ({ json }: { json: { error: { type: string } } }) => json.error.type,
    responses: ({ json }: { json: { type: string; code: string } }) => `${json.type} ${json.code}`,
    anthropic: ({ json }: { json: { error: { type: string } } }) => json.error.type,
    google: ({ json }: { json: { error: { status: string } } }) => json.error.status,
    "workers-ai": ({ json }: { json: { errors: ReadonlyArray<{ code: number }> } }) => String(json.errors[0]?.code)
  }
  const says = {
    chat: "server_error",
    responses: "error server_error",
    anthropic: "overloaded_error",
    google: "UNAVAILABLE",
    "workers-ai": "3040"
  }

  it.effect.each(dialects)("$name: before the first delta, and after it", (surface) =>
    Effect.gen(function* () {
      for (const deltas of [0, 1]) {
        const { broken, status, text } = yield* hit(surface, { errorAfter: { deltas } })
        assert.deepStrictEqual([status, broken], [200, false])
        assert.strictEqual(deltasOf(surface.dialect, text).length, deltas)
        const last = eventsOf(text).at(-1)
        assert.strictEqual(last === undefined ? "" : expected[surface.dialect](last), says[surface.dialect])
        assert.isFalse(finishes(surface.dialect, text))
        const named = surface.dialect === "anthropic" || surface.dialect === "responses"
        assert.strictEqual(last?.event, named ? "error" : undefined)
      }
    })
  )

  it.effect("continue the sequence numbers of the Responses dialect", () =>
    Effect.gen(function* () {
      const surface = dialects.find(({ dialect }) => dialect === "responses") ?? chatIn
      const { text } = yield* hit(surface, { errorAfter: { deltas: 1 } })
      assert.deepStrictEqual(
        eventsOf(text).map(({ json }) => json.sequence_number),
        [0, 1, 2, 3, 4, 5]
      )
    })
  )

  it.effect("may have a custom body, also past the end", () =>
    Effect.gen(function* () {
      const json = yield* hit(chatIn, { errorAfter: { events: 1, body: { code: 7 } } })
      assert.strictEqual(eventsOf(json.text).at(-1)?.data, `{"code":7}`)
      const lines = yield* hit(chatIn, { errorAfter: { events: 1, body: "two\nlines" } })
      assert.match(lines.text, /\n\ndata: two\ndata: lines\n\n$/)
      const late = yield* hit(chatIn, { errorAfter: { deltas: 1000 } })
      assert.deepStrictEqual(
        eventsOf(late.text)
          .slice(-2)
          .map(({ data }) => data.slice(0, 8)),
        ["[DONE]", `{"error"`]
      )
    })
  )

  it.effect("may be followed by a stall", () =>
    Effect.gen(function* () {
      const gateway = yield* make
      const fault = { errorAfter: { deltas: 0 }, stallAfter: { events: 9 } }
      const stream = reading(yield* faulty(gateway, chatIn, fault))
      yield* settle
      assert.deepStrictEqual([eventsOf(stream.text()).length, stream.state()], [2, "open"])
      yield* stream.cancel
    })
  )
})

describe("no finish", () => {
  it.effect.each(dialects)("$name: has all the text, and no finish", (surface) =>
    Effect.gen(function* () {
      const whole = yield* clean(surface)
      const { broken, text } = yield* hit(surface, { noFinish: true })
      assert.isFalse(broken)
      assert.isTrue(finishes(surface.dialect, whole.text))
      assert.isFalse(finishes(surface.dialect, text))
      assert.deepStrictEqual(deltasOf(surface.dialect, text), deltasOf(surface.dialect, whole.text))
    })
  )
})

describe("dressing", () => {
  it.effect("adds comments before every event, with a custom text", () =>
    Effect.gen(function* () {
      const whole = yield* clean(chatIn)
      const count = eventsOf(whole.text).length
      const { text } = yield* hit(chatIn, { comments: true })
      assert.strictEqual(text.split(": keep-alive\n\n").length, count + 1)
      assert.isTrue(text.startsWith(": keep-alive\n\ndata: "))
      assert.strictEqual(text.replaceAll(": keep-alive\n\n", ""), whole.text)
      const own = yield* hit(chatIn, { comments: "PROCESSING" })
      assert.isTrue(own.text.startsWith(": PROCESSING\n\n"))
    })
  )

  it.effect("adds pings between events", () =>
    Effect.gen(function* () {
      const whole = yield* clean(chatIn)
      const { text } = yield* hit(chatIn, { pings: true })
      const names = eventsOf(text).map(({ event }) => event)
      assert.strictEqual(names.length, eventsOf(whole.text).length * 2 - 1)
      assert.deepStrictEqual(names.slice(0, 3), [undefined, "ping", undefined])
      assert.strictEqual(text.replaceAll(`event: ping\ndata: {"type":"ping"}\n\n`, ""), whole.text)
    })
  )

  it.effect("adds a retry field, CRLF and a byte order mark", () =>
    Effect.gen(function* () {
      const whole = yield* clean(chatIn)
      const retry = yield* hit(chatIn, { retryField: 1500 })
      assert.strictEqual(retry.text, `retry: 1500\n\n${whole.text}`)
      const crlf = yield* hit(chatIn, { crlf: true, comments: true })
      assert.isFalse(/[^\r]\n/.test(crlf.text))
      assert.strictEqual(crlf.text.replaceAll("\r\n", "\n").replaceAll(": keep-alive\n\n", ""), whole.text)
      const bom = yield* hit(chatIn, { bom: true, retryField: 0 })
      assert.deepStrictEqual(Array.from(bom.bytes.slice(0, 5)), [0xef, 0xbb, 0xbf, 0x72, 0x65])
      assert.strictEqual(bom.text, `retry: 0\n\n${whole.text}`)
    })
  )

  it.effect.each(dialects)("$name: adds a big event, one more delta after the first", (surface) =>
    Effect.gen(function* () {
      const whole = deltasOf(surface.dialect, (yield* clean(surface)).text)
      const { chunks, text } = yield* hit(surface, { bigEvent: 200_000 })
      const deltas = deltasOf(surface.dialect, text)
      assert.deepStrictEqual([...deltas.slice(0, 1), ...deltas.slice(2)], whole)
      assert.strictEqual(deltas[1], "x".repeat(200_000))
      // It is sent in pieces, so that no one has to hold it complete.
      assert.isTrue(chunks.every(({ length }) => length <= 65_536))
    })
  )

  it.effect("adds an event of 20 MB", () =>
    Effect.gen(function* () {
      const { bytes, chunks, broken } = yield* hit(chatIn, { bigEvent: 20 * 1024 * 1024, endAfter: { deltas: 2 } })
      assert.isFalse(broken)
      assert.isAbove(bytes.length, 20 * 1024 * 1024)
      assert.isBelow(bytes.length, 20 * 1024 * 1024 + 1000)
      assert.isAbove(chunks.length, 320)
    })
  )
})

describe("pieces", () => {
  it.effect.prop(
    "of any size are the same bytes in exactly that size",
    { size: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1500 })) },
    ({ size }) =>
      Effect.gen(function* () {
        const whole = yield* clean(chatIn)
        const { bytes, chunks } = yield* hit(chatIn, { chunkSize: size })
        assert.deepStrictEqual(bytes, whole.bytes)
        assert.isTrue(chunks.slice(0, -1).every(({ length }) => length === size))
        assert.isAtMost(chunks.at(-1)?.length ?? 0, size)
      }),
    { arbitrary: { runs: 30 } }
  )

  it.effect("may be one byte each", () =>
    Effect.gen(function* () {
      const whole = yield* clean(chatIn)
      const { chunks } = yield* hit(chatIn, { chunkSize: 1 })
      assert.strictEqual(chunks.length, whole.bytes.length)
    })
  )

  it.effect("may have many events, comments and a cut included", () =>
    Effect.gen(function* () {
      const whole = yield* clean(chatIn)
      const events = eventsOf(whole.text).length
      const two = yield* hit(chatIn, { eventsPerChunk: 2 })
      assert.strictEqual(two.chunks.length, Math.ceil(events / 2))
      assert.deepStrictEqual(two.bytes, whole.bytes)
      const all = yield* hit(chatIn, { eventsPerChunk: 1_000_000, comments: true })
      assert.strictEqual(all.chunks.length, 1)
      // An incomplete piece is sent before the stream breaks.
      const cut = yield* hit(chatIn, { eventsPerChunk: 4, resetAfter: { events: 5 } })
      assert.deepStrictEqual([cut.chunks.length, eventsOf(cut.text).length, cut.broken], [2, 5, true])
    })
  )

  it.effect("may be delayed, before the first and between them", () =>
    Effect.gen(function* () {
      const gateway = yield* make
      const response = yield* Effect.forkChild(
        faulty(gateway, chatIn, { chunkSize: 100, delayFirst: "1 second", delayBetween: 10 })
      )
      yield* settle
      yield* TestClock.adjust(999)
      yield* settle
      assert.isUndefined(response.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* settle
      const exit = response.pollUnsafe()
      assert.strictEqual(exit?._tag, "Success")
      if (exit?._tag !== "Success") return
      const stream = reading(exit.value)
      yield* settle
      assert.strictEqual(stream.text().length, 100)
      yield* TestClock.adjust(9)
      yield* settle
      assert.strictEqual(stream.text().length, 100)
      yield* TestClock.adjust(1)
      yield* settle
      assert.strictEqual(stream.text().length, 200)
      yield* stream.cancel
    })
  )
})

describe("a client whose connection breaks", () => {
  it.effect("gets an exact number of bytes, and the provider sees it leave", () =>
    Effect.gen(function* () {
      const whole = yield* clean(chatIn)
      const gateway = yield* make
      const { broken, bytes } = yield* Effect.flatMap(faulty(gateway, chatIn, { dropAfter: { bytes: 200 } }), receive)
      assert.isTrue(broken)
      assert.deepStrictEqual(bytes, whole.bytes.slice(0, 200))
      yield* settle
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 interrupted 200"])
      assert.strictEqual(yield* gateway.openBodies, 0)
    })
  )

  it.effect("may break by deltas, in pieces of any size, and at the end", () =>
    Effect.gen(function* () {
      const whole = yield* clean(chatIn)
      const first = yield* hit(chatIn, { endAfter: { deltas: 1 } })
      for (const chunkSize of [1, 7, 5000]) {
        const { broken, text } = yield* hit(chatIn, { dropAfter: { deltas: 1 }, chunkSize })
        assert.deepStrictEqual([text, broken], [first.text, true])
      }
      const late = yield* hit(chatIn, { dropAfter: { events: 1000 } })
      assert.deepStrictEqual([late.text, late.broken], [whole.text, true])
      const early = yield* hit(chatIn, { dropAfter: { bytes: 0 } })
      assert.deepStrictEqual([early.text, early.broken], ["", true])
    })
  )

  it.effect("breaks while the provider stalls at the same place", () =>
    Effect.gen(function* () {
      const gateway = yield* make
      const fault = { dropAfter: { deltas: 1 }, stallAfter: { deltas: 1 } }
      const { broken, text } = yield* Effect.flatMap(faulty(gateway, chatIn, fault), receive)
      assert.deepStrictEqual([deltasOf("chat", text).length, broken], [1, true])
      yield* settle
      assert.strictEqual(yield* gateway.openBodies, 0)
    })
  )
})

describe("where stream faults apply", () => {
  it.effect("includes a request, a script and the admin surface, with delay and repeat", () =>
    Effect.gen(function* () {
      const gateway = yield* make
      const fault = [{ stream: { endAfter: { deltas: 1 } }, repeat: 2 }]
      const perRequest = { "cf-aig-local-faults": JSON.stringify(fault) }
      const body = { ...leg("openai").query, stream: true }
      const reply = yield* chat(gateway, perRequest, body)
      assert.strictEqual(deltasOf("chat", reply.text).length, 1)
      const admin = { provider: "openai", faults: fault }
      yield* call(gateway, "POST", "http://gateway.test/__admin/script", admin)
      const counts: Array<number> = []
      for (let i = 0; i < 3; i++) counts.push(deltasOf("chat", (yield* chat(gateway, {}, body)).text).length)
      assert.deepStrictEqual(counts, [1, 1, 4])
    })
  )

  it.effect("excludes an answer that is not a stream, with an error; an error answer passes", () =>
    Effect.gen(function* () {
      const gateway = yield* make
      yield* gateway.script("openai", [{ stream: { noFinish: true } }])
      const reply = yield* Effect.flatMap(gateway.handle(chatIn.ask(false)), replyOf)
      assert.deepStrictEqual([reply.status, reply.json.internalCode], [400, 7001])
      assert.include(reply.json.message, "fault stream: expected an answer in events")
      const busy = Upstream.make(() => Effect.succeed({ status: 429, headers: {}, body: "busy" }))
      const other = yield* LocalGateway.make({
        upstreams: { openai: Upstream.script([{ stream: { noFinish: true } }], busy) }
      })
      const passed = yield* Effect.flatMap(other.handle(chatIn.ask(true)), replyOf)
      assert.deepStrictEqual([passed.status, passed.text], [429, "busy"])
    })
  )

  it.effect("includes truncate", () =>
    Effect.gen(function* () {
      const whole = yield* clean(chatIn)
      const gateway = yield* make
      yield* gateway.script("openai", [{ truncate: 333 }])
      const { broken, bytes } = yield* Effect.flatMap(gateway.handle(chatIn.ask(true)), receive)
      assert.isTrue(broken)
      assert.deepStrictEqual(bytes, whole.bytes.slice(0, 333))
    })
  )

  it.effect("includes streams of a real server, split at its events, however they arrive", () =>
    Effect.gen(function* () {
      const source = new TextEncoder().encode(
        `: hi\n\ndata: {"choices":[{"delta":{"content":"é"}}]}\r\n\r\ndata: {"choices":[{"delta":{"content":"b"}}]}\n\ndata: rest`
      )
      for (let size = 1; size <= source.length; size++) {
        const parts: Array<Uint8Array> = []
        for (let at = 0; at < source.length; at += size) parts.push(source.slice(at, at + size))
        const openai = Upstream.proxy({
          baseUrl: "http://up.test",
          fetch: async () => {
            let i = 0
            const body = new ReadableStream<Uint8Array>({
              pull: (controller) => {
                const part = parts[i++]
                if (part === undefined) controller.close()
                else controller.enqueue(part)
              }
            })
            return new Response(body, { headers: { "content-type": "text/event-stream" } })
          }
        })
        const gateway = yield* LocalGateway.make({ upstreams: { openai } })
        const { chunks } = yield* Effect.flatMap(faulty(gateway, chatIn, { eventsPerChunk: 1 }), receive)
        assert.deepStrictEqual(joinBytes(chunks), source)
        assert.strictEqual(chunks.length, 3, `pieces of ${size}`)
      }
    })
  )

  const refused: ReadonlyArray<readonly [fault: unknown, field: string]> = [
    [{ stream: {} }, "faults[0].stream: expected at least one of"],
    [{ stream: true }, "faults[0].stream: expected an object"],
    [{ stream: { finish: true } }, "faults[0].stream: expected an object with fields of delayFirst"],
    [{ stream: { chunkSize: 0 } }, "faults[0].stream.chunkSize: expected 1 to 16777216 bytes"],
    [{ stream: { eventsPerChunk: 1.5 } }, "faults[0].stream.eventsPerChunk: expected a whole number from 1"],
    [{ stream: { chunkSize: 1, eventsPerChunk: 1 } }, "faults[0].stream.eventsPerChunk: expected only one of"],
    [{ stream: { bigEvent: 300_000_000 } }, "faults[0].stream.bigEvent: expected 1 to 268435456 bytes"],
    [{ stream: { stallAfter: 3 } }, "faults[0].stream.stallAfter: expected { bytes }, { events } or { deltas }"],
    [{ stream: { resetAfter: { bytes: -1 } } }, "faults[0].stream.resetAfter"],
    [{ stream: { endAfter: { bytes: 1, events: 1 } } }, "faults[0].stream.endAfter"],
    [{ stream: { dropAfter: { tokens: 1 } } }, "faults[0].stream.dropAfter"],
    [{ stream: { errorAfter: { bytes: 1 } } }, "faults[0].stream.errorAfter: expected { events } or { deltas }"],
    [
      { stream: { stallAfter: { bytes: 1 }, endAfter: { bytes: 2 } } },
      "faults[0].stream.endAfter: expected only one of stallAfter, resetAfter, endAfter"
    ],
    [{ stream: { comments: "two\nlines" } }, "faults[0].stream.comments: expected true, or a text of one line"],
    [{ stream: { crlf: false } }, "faults[0].stream.crlf: expected true"],
    [{ stream: { retryField: 0.5 } }, "faults[0].stream.retryField"],
    [{ stream: { delayBetween: "x" } }, "faults[0].stream.delayBetween"],
    [{ stream: { bom: true }, status: 200 }, "faults[0]: expected one of"],
    [{ stream: { bom: true }, repeat: 0 }, "faults[0]: expected one of"]
  ]

  it.effect.each(refused)("rejects %j", ([fault, message]) =>
    Effect.gen(function* () {
      const gateway = yield* make
      const { json, status } = yield* chat(gateway, { "cf-aig-local-faults": JSON.stringify([fault]) })
      assert.strictEqual(status, 400)
      assert.include(json.message, message)
      assert.strictEqual((yield* gateway.calls).length, 0)
    })
  )

  it.effect("covers every example in the documentation, and every field has one", () =>
    Effect.gen(function* () {
      const page = yield* Effect.promise(() =>
        readFile(new URL("../../docs/local-gateway.md", import.meta.url), "utf8")
      )
      const examples = Array.from(page.matchAll(/`(\{ "stream": \{ ".*?)` \|/g), ([, example = ""]) =>
        JSON.parse(example)
      )
      const fields = new Set<string>()
      for (const example of examples) {
        assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Upstream.Fault)(example), example)
        for (const field of Object.keys(example.stream)) fields.add(field)
        const gateway = yield* make
        yield* gateway.script("openai", [example])
      }
      assert.strictEqual(fields.size, 16)
    })
  )

  it.effect("covers faults that decode to themselves", () =>
    Effect.gen(function* () {
      const fault = {
        stream: { errorAfter: { deltas: 1, body: { a: 1 } }, delayBetween: "1 second", comments: "x", chunkSize: 3 },
        delay: 5
      }
      assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(Upstream.Fault)(fault), fault)
      const reply = yield* Effect.flatMap(make, (gateway) => call(gateway, "GET", `${dataPlane}/openai/models`))
      assert.strictEqual(reply.status, 200)
    })
  )
})
