/**
 * Laws of every dialect: chunking does not matter, a stream gives the reply of the same answer, and a stream that was
 * cut reports it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "../../../src/Chat.ts"
import type { Delta, DeltaDecoder } from "../../../src/internal/dialect/delta.ts"
import { deltasOf } from "../../../src/internal/dialect/deltaDecoder.ts"
import { streaming } from "../../../src/internal/dialect/streaming.ts"
import * as anthropic from "../../fixtures/streams/anthropic.ts"
import { bytesOf, cut, type Outcome, run, runEvents, runText } from "../../fixtures/streams/drive.ts"
import { Answer, encoders, replyOf } from "../../fixtures/streams/encoders.ts"
import * as google from "../../fixtures/streams/google.ts"
import * as openai from "../../fixtures/streams/openai.ts"
import * as workersAi from "../../fixtures/streams/workersAi.ts"

const decoderOf = (id: string): DeltaDecoder => {
  const own = streaming[id]
  if (own === undefined) throw new Error(`no dialect ${id}`)
  return own.decoder()
}

/** Complete streams, by dialect. */
const fixtures: ReadonlyArray<readonly [id: string, name: string, stream: string]> = [
  ["openai", openai.all],
  ["openai-compatible", openai.all],
  ["anthropic", anthropic.all],
  ["anthropic-json-tool", { ...anthropic.all, answerTool: anthropic.answerTool }],
  ["google", google.all],
  ["google-vertex", google.all],
  ["workers-ai", workersAi.all]
].flatMap(([id, all]) =>
  typeof id === "string" ? Object.entries(all ?? {}).map(([name, stream]) => [id, name, stream] as const) : []
)

const finished = (deltas: ReadonlyArray<Delta>): number => deltas.filter(({ type }) => type === "finish").length

const Sizes = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 40 })))
const Wire = Schema.Struct({
  sizes: Sizes,
  newline: Schema.Literals(["\n", "\r\n", "\r"]),
  bom: Schema.Boolean,
  comments: Schema.Boolean,
  fields: Schema.Boolean
})

/** The same events in other bytes. */
const rewrite = (stream: string, { bom, comments, fields, newline }: typeof Wire.Type): Uint8Array => {
  const events = stream.split("\n\n").filter((event) => event !== "")
  const text = events.map((event, i) => {
    const before = `${comments ? `: ping ${i}\n\n: é\n` : ""}${fields ? `id: ${i}\nretry: 3000\n` : ""}`
    return `${before}${event}\n\n`
  })
  return bytesOf((bom ? "\ufeff" : "") + text.join("").replaceAll("\n", newline))
}

describe("chunking does not matter", () => {
  for (const [id, name, stream] of fixtures) {
    const whole = runText(decoderOf(id), stream)

    it(`${id}: ${name}, one byte at a time`, () => {
      assert.isUndefined(whole.fault)
      assert.strictEqual(finished(whole.deltas), 1)
      assert.deepStrictEqual(run(decoderOf(id), cut(bytesOf(stream), [1])), whole)
    })

    it.prop(
      `${id}: ${name}, any chunks, line ends, comments and fields`,
      { wire: Wire },
      ({ wire }) => {
        assert.deepStrictEqual(run(decoderOf(id), cut(rewrite(stream, wire), wire.sizes)), whole)
      },
      { arbitrary: { runs: 25 } }
    )
  }
})

/** Bytes of an answer, up to each place in it: the deltas are a beginning, and never a complete answer. */
const checkCut = (id: string, bytes: Uint8Array, length: number, whole: Outcome): boolean => {
  const { deltas, fault } = run(decoderOf(id), [bytes.slice(0, length)])
  assert.deepStrictEqual(deltas, whole.deltas.slice(0, deltas.length), `${length} bytes`)
  assert.strictEqual(finished(deltas) === 0, fault !== undefined, `${length} bytes: a fault, or a finish`)
  return fault === undefined
}

/** The parts that a complete stream needs. */
const ends: Readonly<Record<string, RegExp>> = {
  openai: /"finish_reason":"/,
  "openai-compatible": /"finish_reason":"/,
  anthropic: /"stop_reason":"/,
  "anthropic-json-tool": /"stop_reason":"/,
  google: /"finishReason":"/,
  "google-vertex": /"finishReason":"/,
  // Its newer models give a reason before the marker.
  "workers-ai": /"finish_reason":"|\[DONE\]/
}

describe("a stream that was cut reports it", () => {
  for (const [id, name, stream] of fixtures) {
    // If every event claims to be the last one, nothing distinguishes them.
    if (name === "repeated") continue
    it(`${id}: ${name}, at every byte`, () => {
      const bytes = bytesOf(stream)
      const whole = run(decoderOf(id), [bytes])
      const before = bytesOf(stream.slice(0, stream.search(ends[id] ?? /$/))).length
      assert.isAbove(before, 0)
      for (let length = 0; length < bytes.length; length++) {
        if (checkCut(id, bytes, length, whole)) assert.isAbove(length, before)
      }
    })
  }

  for (const encoder of encoders) {
    it.prop(
      `${encoder.name}: random answers at random bytes`,
      { answer: Answer, at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 })) },
      ({ answer, at }) => {
        const bytes = bytesOf(encoder.stream(answer))
        checkCut(encoder.id, bytes, at % bytes.length, run(decoderOf(encoder.id), [bytes]))
      }
    )
  }
})

const withoutRaw = ({ raw, ...reply }: Chat.Reply): Omit<Chat.Reply, "raw"> => reply

describe("a stream gives the same reply as its complete answer", () => {
  for (const encoder of encoders) {
    it.prop(encoder.name, { answer: Answer, sizes: Sizes }, ({ answer, sizes }) => {
      const reply = Result.getOrThrow(replyOf(encoder, answer))
      const { deltas, fault } = run(decoderOf(encoder.id), cut(bytesOf(encoder.stream(answer)), sizes))
      assert.isUndefined(fault)
      const collected = Result.getOrThrow(Chat.collect(deltas))
      assert.deepStrictEqual(withoutRaw(collected), withoutRaw(reply))
      assert.isNull(collected.raw)
      assert.isTrue(deltas.filter(({ type }) => type === "meta").length <= 1)
      assert.deepStrictEqual(withoutRaw(Result.getOrThrow(Chat.collect(deltasOf(reply)))), withoutRaw(reply))
    })
  }
})

const Junk = Schema.Union([Schema.Json, Schema.String])
const Garbage = Schema.Array(
  Schema.Struct({
    event: Schema.Literals(["message", "error", "message_start", "content_block_delta", "x"]),
    data: Schema.Union([
      Schema.String,
      Schema.Json.pipe(Schema.toEncoded),
      Schema.Literals(["[DONE]", "", "null", "[]"])
    ])
  })
)

const paths = (value: unknown): ReadonlyArray<ReadonlyArray<string>> => [
  [],
  ...(typeof value === "object" && value !== null
    ? Object.entries(value).flatMap(([key, inner]) => paths(inner).map((path) => [key, ...path]))
    : [])
]

const replace = (value: unknown, [key, ...rest]: ReadonlyArray<string>, by: unknown): unknown => {
  if (key === undefined) return by
  if (Array.isArray(value)) return value.map((item, i) => (String(i) === key ? replace(item, rest, by) : item))
  const copy: Record<string, unknown> = { ...(typeof value === "object" ? value : {}) }
  copy[key] = replace(copy[key], rest, by)
  return copy
}

describe("no event throws", () => {
  for (const id of Object.keys(streaming)) {
    it.prop(`${id}: garbage`, { events: Garbage }, ({ events }) => {
      const decoder = decoderOf(id)
      const { deltas, fault } = runEvents(
        decoder,
        events.map(({ data, event }) => ({ event, data: typeof data === "string" ? data : JSON.stringify(data) }))
      )
      assert.strictEqual(finished(deltas) === 0, fault !== undefined)
      // It stays over, with the same result.
      const again = fault === undefined ? { deltas: [], done: true } : { deltas: [], fault }
      assert.deepStrictEqual(decoder.end(), again)
      assert.deepStrictEqual(decoder.event({ event: "message", data: '{"response":"x"}' }), again)
    })
  }

  it.prop(
    "a stream with one place replaced",
    {
      which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000 })),
      event: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000 })),
      place: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 })),
      by: Junk
    },
    ({ by, event, place, which }) => {
      const [id, , stream] = fixtures[which % fixtures.length] ?? ["openai", "", ""]
      const events = stream.split("\n\n").filter((one) => one.includes("data: {"))
      const lines = events.map((one, i) => {
        if (i !== event % events.length) return `${one}\n\n`
        const [head = "", json = ""] = one.split("data: ")
        const value: unknown = JSON.parse(json)
        const all = paths(value)
        return `${head}data: ${JSON.stringify(replace(value, all[place % all.length] ?? [], by))}\n\n`
      })
      const { deltas, fault } = runText(decoderOf(id), `${lines.join("")}data: [DONE]\n\n`)
      assert.isTrue(fault !== undefined || finished(deltas) === 1)
    },
    { arbitrary: { runs: 500 } }
  )
})
