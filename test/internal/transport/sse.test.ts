import { assert, describe, it } from "@effect/vitest"
import * as Sse from "effect/encoding/Sse"
import * as Schema from "effect/Schema"
import { makeFeed, type ServerEvent } from "../../../src/internal/transport/sse.ts"

const maxEventSize = 1024 * 1024

/** The events of Effect's parser for a text in one piece. */
const reference = (text: string): ReadonlyArray<ServerEvent> => {
  const events: Array<ServerEvent> = []
  const parser = Sse.makeParser((event) => {
    if (event._tag === "Event") events.push({ event: event.event, data: event.data })
  })
  parser.feed(`${text}\n\n`)
  return events
}

/** The events of a feed for it in pieces of the given sizes, the last one repeated. */
const fed = (text: string, sizes: ReadonlyArray<number>): ReadonlyArray<ServerEvent> => {
  const bytes = new TextEncoder().encode(text)
  const feed = makeFeed(maxEventSize)
  const events: Array<ServerEvent> = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i] ?? sizes.at(-1) ?? bytes.length
    events.push(...feed.push(bytes.subarray(at, at + size)))
    at += size
  }
  return [...events, ...feed.end()]
}

/** Pieces of streams, including invalid ones. */
const Piece = Schema.Literals([
  "data: one\n\n",
  "data: two\n\n",
  "data: grüß 🪐\n\n",
  "data: \n\n",
  "data:\n\n",
  "data:x\n\n",
  "data:  x \n\n",
  "data\n\n",
  "data: a\ndata: b\n\n",
  "data: cr\r\n\r\n",
  "data: lone\rdata: cr\r\r",
  "data: mixed\r\n\n",
  "data: in\rside\n\n",
  "event: named\ndata: x\n\n",
  "event: named\n\n",
  "event: named\ndata: x\ndata: y\n\n",
  "event: \ndata: x\n\n",
  "event:  spaced\ndata: y\n\n",
  "event: cut\n",
  "event: cu",
  "id: 1\ndata: x\n\n",
  ": comment\n\n",
  ":\n",
  "retry: 10\n\n",
  "retry: 10\ndata: x\n\n",
  "data: cut\n",
  "data: cu",
  "\n",
  "\r",
  "\ufeffdata: late mark\n\n",
  "nonsense\n\n"
])

describe("makeFeed", () => {
  it.prop(
    "reads the same as the parser, however the bytes are cut",
    {
      pieces: Schema.Array(Piece),
      sizes: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 40 })))
    },
    ({ pieces, sizes }) => {
      const text = pieces.join("")
      // A mark at the very beginning belongs to the encoding.
      assert.deepStrictEqual(fed(text, sizes), reference(text.replace(/^\ufeff/, "")))
    },
    { arbitrary: { runs: 1000, seed: 21 } }
  )

  it("reads a plain stream byte by byte, in odd pieces, and at once", () => {
    const text = Array.from({ length: 20 }, (_, i) => `data: {"i":${i},"text":"ü"}\n\n`).join("")
    const expected = reference(text)
    assert.strictEqual(expected.length, 20)
    for (const size of [1, 2, 3, 7, 29, 1000]) assert.deepStrictEqual(fed(text, [size]), expected)
  })

  it("removes one byte order mark, and only at the beginning", () => {
    assert.deepStrictEqual(fed("\ufeffdata: a\n\n", [1]), [{ event: "message", data: "a" }])
    assert.deepStrictEqual(fed("data: a\n\n\ufeffdata: b\n\ndata: c\n\n", [9]), [
      { event: "message", data: "a" },
      { event: "message", data: "c" }
    ])
  })

  it("ends at an event that is too large", () => {
    const large = new Uint8Array(maxEventSize + 10).fill(120)
    large.set(new TextEncoder().encode("data: "))
    large.set([10, 10], large.length - 2)
    const feed = makeFeed(maxEventSize)
    assert.deepStrictEqual(feed.push(new TextEncoder().encode("data: a\n\n")), [{ event: "message", data: "a" }])
    assert.deepStrictEqual(feed.push(large), [])
    assert.isTrue(feed.overflowed())
    assert.deepStrictEqual([...feed.push(new TextEncoder().encode("data: b\n\n")), ...feed.end()], [])
  })
})
