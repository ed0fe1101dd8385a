/** Checks that the cost of foreign text depends on its length, not on its content. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { csv } from "../../src/cli/input/csv.ts"
import { type MakeParser, plain } from "../../src/cli/input/entry.ts"
import { LineSplitter } from "../../src/cli/input/lines.ts"
import * as OpenAi from "../../src/cli/input/openaiBatchFile.ts"
import { peeked, type Source } from "../../src/cli/input/source.ts"
import { defaultMaxBytes } from "../../src/GatewayResponse.ts"
import { decode } from "../../src/internal/classifier/errorBody.ts"
import { unwritable } from "../../src/internal/data/writable.ts"
import * as Anthropic from "../../src/internal/dialect/anthropicStream.ts"
import type { Delta, DeltaDecoder } from "../../src/internal/dialect/delta.ts"
import { collect } from "../../src/internal/dialect/deltaDecoder.ts"
import * as Google from "../../src/internal/dialect/googleStream.ts"
import * as OpenAiDeltas from "../../src/internal/dialect/openaiStream.ts"
import * as WorkersAi from "../../src/internal/dialect/workersAiStream.ts"
import { makeFeed } from "../../src/internal/transport/sse.ts"
import * as Line from "../../src/journal/line.ts"
import { assertLinear } from "../support/growth.ts"

/** Bytes in pieces of one size. */
const inPieces = (bytes: Buffer, size: number): ReadonlyArray<Buffer> => {
  const out: Array<Buffer> = []
  for (let at = 0; at < bytes.length; at += size) out.push(bytes.subarray(at, at + size))
  return out
}

const reading = (decoder: () => DeltaDecoder, events: ReadonlyArray<unknown>) => {
  const texts = events.map((event) => ({ event: "message", data: JSON.stringify(event) }))
  return () => {
    const one = decoder()
    const deltas: Array<Delta> = []
    for (const event of texts) deltas.push(...one.event(event).deltas)
    deltas.push(...one.end().deltas)
    collect(deltas)
  }
}

const many = <A>(count: number, make: (i: number) => A): ReadonlyArray<A> =>
  Array.from({ length: count }, (_, i) => make(i))

const call = (fields: object) => ({ choices: [{ delta: { tool_calls: [fields] } }] })
const openai = () => OpenAiDeltas.openai.decoder()
const anthropic = () => Anthropic.anthropicJsonTool.decoder()

describe("the cost of stream decoders grows in proportion to their input", () => {
  const streams: Readonly<Record<string, (n: number) => () => void>> = {
    "calls without index, each with an id": (n) =>
      reading(
        openai,
        many(n, (i) => call({ id: `c${i}`, function: { name: "f", arguments: "{}" } }))
      ),
    "fragments without index that name ids in turn": (n) =>
      reading(
        openai,
        many(n, (i) => call({ id: `c${i % (n / 4)}`, function: { name: "f", arguments: "1" } }))
      ),
    "calls without index and id": (n) =>
      reading(
        openai,
        many(n, () => call({ function: { name: "f", arguments: "{}" } }))
      ),
    "fragments of one call": (n) =>
      reading(
        openai,
        many(n, (i) => call({ index: 0, id: `c${i}`, function: { arguments: "1" } }))
      ),
    "calls with a number each": (n) =>
      reading(
        openai,
        many(n, (i) => call({ index: i, id: `c${i}`, function: { name: "f", arguments: "{}" } }))
      ),
    "many calls in one event": (n) =>
      reading(openai, [
        { choices: [{ delta: { tool_calls: many(n, (i) => ({ id: `c${i}`, function: { name: "f" } })) } }] }
      ]),
    "many choices": (n) => reading(openai, [{ choices: many(n, (i) => ({ index: i + 1, delta: { content: "x" } })) }]),
    "blocks that never end": (n) =>
      reading(anthropic, [
        { type: "message_start", message: {} },
        ...many(n, (index) => ({ type: "content_block_start", index, content_block: { type: "text", text: "x" } })),
        ...many(n, (index) => ({ type: "content_block_delta", index, delta: { type: "text_delta", text: "x" } })),
        { type: "message_stop" }
      ]),
    "parts of Google": (n) =>
      reading(
        () => Google.google.decoder(),
        many(n, () => ({
          candidates: [{ content: { parts: [{ functionCall: { name: "f", args: {} } }, { text: "x" }] } }]
        }))
      ),
    "flat calls of Workers AI": (n) =>
      reading(
        () => WorkersAi.workersAi.decoder(),
        many(n, (i) => ({ tool_calls: [{ id: `c${i}`, name: "f", arguments: {} }] }))
      ),
    "an event that is nested deeply": (n) =>
      reading(openai, [JSON.parse(`{"choices":${"[".repeat(4)}${"[],".repeat(n)}[]${"]".repeat(4)}}`)])
  }
  it.each(Object.entries(streams))("%s", (name, make) =>
    // The cost of comparing ids is only visible beside that of reading JSON from millions of comparisons on.
    assertLinear(name, name.includes("ids") || name.includes("an id") ? 10_000 : 500, make)
  )
})

describe("the cost of server-sent events grows in proportion to their length", () => {
  const feeding = (text: string, size: number) => {
    const pieces = inPieces(Buffer.from(text), size)
    return () => {
      const feed = makeFeed(defaultMaxBytes)
      let count = 0
      for (const piece of pieces) count += feed.push(piece).length
      return count + feed.end().length
    }
  }
  const texts: Readonly<Record<string, (n: number) => () => void>> = {
    "one line in tiny pieces": (n) => feeding(`data: ${"x".repeat(n)}`, 3),
    "no line end": (n) => feeding("x".repeat(n), 1000),
    "empty lines": (n) => feeding("\n".repeat(n), 1000),
    "carriage returns": (n) => feeding("\r".repeat(n), 7),
    "events that end with carriage returns": (n) => feeding("data: x\r\n\r\n".repeat(n), 5),
    "many lines of one event": (n) => feeding("data: x\n".repeat(n), 1000),
    "names without data": (n) => feeding("event: x\n".repeat(n), 1000),
    comments: (n) => feeding(":\n".repeat(n), 11),
    "events in one piece": (n) => feeding("event: x\ndata: y\n\n".repeat(n), 1_000_000)
  }
  it.each(Object.entries(texts))("%s", (name, make) => assertLinear(name, 1000, make))
})

describe("the cost of error bodies grows in proportion to their length", () => {
  const texts: Readonly<Record<string, (n: number) => string>> = {
    "tags that do not close": (n) => "<".repeat(n),
    "scripts that do not close": (n) => "<script>".repeat(n),
    "a script without an end": (n) => `<script>${"x".repeat(n)}`,
    "styles and text": (n) => `<p>${"<style>a</script>b".repeat(n)}`,
    spaces: (n) => `x${" ".repeat(n)}y`,
    "spaces before a brace": (n) => `${" \n".repeat(n)}{`,
    "nested arrays": (n) => `${"[".repeat(n)}${"]".repeat(n)}`,
    "many fields": (n) => `{${many(n, (i) => `"k${i}Exception":1`).join(",")}}`,
    "many details": (n) => JSON.stringify({ error: { details: many(n, () => ({ violations: [{ quotaId: "x" }] })) } }),
    "hashes in a type": (n) => JSON.stringify({ __type: "#".repeat(n) }),
    "texts in texts": (n) =>
      JSON.stringify({ message: JSON.stringify({ message: JSON.stringify({ message: "[".repeat(n) }) }) })
  }
  it.each(Object.entries(texts))("%s", (name, make) =>
    assertLinear(name, 1000, (n) => {
      const text = make(n)
      return () => void decode(text)
    })
  )
})

describe("the cost of batch inputs grows in proportion to their length", () => {
  const parsing = (makeParser: MakeParser<unknown>, text: string, size: number) => {
    const pieces = inPieces(Buffer.from(text), size)
    return () => {
      const parser = makeParser(() => {})
      const splitter = new LineSplitter(parser.onLine)
      for (const piece of pieces) splitter.feed(piece)
      splitter.end()
      parser.end()
    }
  }
  const header = "prompt\n"
  const texts: Readonly<Record<string, (n: number) => () => void>> = {
    "one line in tiny pieces": (n) => parsing(plain.entries, "x".repeat(n), 3),
    "empty lines": (n) => parsing(plain.entries, "\n".repeat(n), 1000),
    "carriage returns": (n) => parsing(plain.entries, "\r".repeat(n), 1000),
    "bytes that are not UTF-8": (n) => {
      const bytes = Buffer.alloc(n, 0xff)
      return () => {
        const splitter = new LineSplitter(() => {})
        for (const piece of inPieces(bytes, 10)) splitter.feed(piece)
        splitter.end()
      }
    },
    "a field that is nested deeply": (n) =>
      parsing(plain.entries, `{"prompt":"x","extra":{"a":${"[".repeat(n)}${"]".repeat(n)}}}`, 65_536),
    "many messages": (n) =>
      parsing(plain.entries, JSON.stringify({ messages: many(n, () => ({ role: "user", content: "x" })) }), 65_536),
    "many unknown fields": (n) =>
      parsing(plain.entries, JSON.stringify(Object.fromEntries(many(n, (i) => [`k${i}`, 1]))), 65_536),
    "a body of many fields": (n) =>
      parsing(
        OpenAi.chats.entries,
        JSON.stringify({
          custom_id: "a",
          method: "POST",
          url: "/v1/chat/completions",
          body: Object.fromEntries(many(n, (i) => [`k${i}`, null]))
        }),
        65_536
      ),
    "doubled quotes": (n) => parsing(csv.entries, `${header}"${'""'.repeat(n)}"\n`, 65_536),
    "quotes that stay open over lines": (n) => parsing(csv.entries, `${header}"${'""\n'.repeat(n)}"\n`, 65_536),
    "quotes that are never closed": (n) => parsing(csv.entries, `${header}"${"x\n".repeat(n)}`, 65_536),
    commas: (n) => parsing(csv.entries, `${header}${",".repeat(n)}\n`, 65_536),
    "quotes inside of cells": (n) => parsing(csv.entries, `${header}${'x"\n'.repeat(n)}`, 65_536)
  }
  it.each(Object.entries(texts))("%s", (name, make) => assertLinear(name, 200, make))
})

it("reads the beginning of standard input in one pass, in pieces of any size", async () => {
  const seconds = async (bytes: number): Promise<number> => {
    const block = Buffer.alloc(50, 120)
    let left = bytes / block.length
    const source: Source = {
      name: "standard input",
      isFile: false,
      blocks: () => ({ next: async () => (left-- > 0 ? block : undefined), close: async () => {} }),
      unchanged: Effect.succeed(true),
      identity: undefined
    }
    const startedAt = performance.now()
    const { head } = await Effect.runPromise(peeked(source, () => false))
    assert.lengthOf(head, bytes)
    return performance.now() - startedAt
  }
  const small = Math.min(await seconds(500_000), await seconds(500_000))
  assert.isAtMost((await seconds(4_000_000)) / small, 32)
})

describe("the cost of damaged journal lines grows in proportion to their length", () => {
  const texts: Readonly<Record<string, (n: number) => string>> = {
    "lines that never end": (n) => '["00000000","'.repeat(n),
    "arrays that look like lines": (n) => `["00000000","done",[${'["00000000","x"],'.repeat(n)}`,
    "arrays in each other": (n) => `["00000000","x",`.repeat(n),
    "arrays in each other that end": (n) => `${'["00000000","x",'.repeat(n)}1${"]".repeat(n)}`,
    brackets: (n) => `["00000000","${"]".repeat(n)}`,
    quotes: (n) => `["00000000",${'"'.repeat(n)}`
  }
  it.each(Object.entries(texts))("%s", (name, make) =>
    assertLinear(name, 200, (n) => {
      const bytes = Buffer.from(make(n))
      return () => void Line.pieces(bytes, 0)
    })
  )

  it("finds complete lines inside damaged text", () => {
    const line = (id: string) =>
      Line.encode([{ _tag: "done", id, record: { a: [["00000000", "x"], '["00000000","]\\"'] } }]).subarray(0, -1)
    const bytes = Buffer.concat([
      Buffer.from('["00000000","torn'),
      line("a"),
      Buffer.from("?"),
      line("b"),
      Buffer.from("]]")
    ])
    const found = Line.pieces(bytes, 0).flatMap((piece) => (piece.whole ? [Line.known(piece.bytes, 0)?.id] : []))
    assert.deepStrictEqual(found, ["a", "b"])
  })
})

it("searches for unwritable values at a cost in proportion to the size", () =>
  assertLinear("writable", 1000, (n) => {
    const value = { a: many(n, (i) => ({ [`k${i}`]: [i, "x"] })) }
    return () => void unwritable(value)
  }))
