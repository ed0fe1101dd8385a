/**
 * Compares the cost of reading foreign text at one size and at sixteen times that size: a parser that restarts costs
 * 256 times as much.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { metadataOf } from "../../src/local/gateway/headerValues.ts"
import { isCredential, redactEndpoint } from "../../src/local/gateway/providers.ts"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import * as Dialect from "../../src/local/upstream/dialect.ts"
import { defaultText } from "../../src/local/upstream/echo.ts"
import { words } from "../../src/local/upstream/prompts.ts"
import * as StreamEvents from "../../src/local/upstream/streamEvents.ts"
import { isInside } from "../../src/local/wire/endpoints.ts"
import { isFieldName, isFieldValue } from "../../src/local/wire/fieldValues.ts"
import { bearer, parseBoundedJson } from "../../src/local/wire/message.ts"
import { shape } from "../../src/local/wire/streamShape.ts"
import { cpuMillis, linear } from "../support/growth.ts"
import { call, chat, dataPlane, leg, type Reply, universal } from "./support.ts"

const rows: ReadonlyArray<readonly [name: string, unit: string, end: string]> = [
  ["question marks", "?", "=x"],
  ["ampersands", "&", "=x"],
  ["parameters", "?a=b&", ""],
  ["keys", "?key=", "&"],
  ["equals signs", "a=", ""],
  ["slashes", "/", "x"],
  ["dots", "/.a", ""],
  ["encoded slashes", "%2f.", "x"],
  ["encoded percent signs", "%25", "zz"],
  ["percent signs in percent signs", "%%32%35", "x"],
  ["twenty-fives", "25", "x"],
  ["semicolons", "..;", "x"],
  ["backslashes", "\\", "x"],
  ["quotes", '"', "x"],
  ["escaped quotes", '\\"', ""],
  ["brackets", "[", ""],
  ["spaces", " ", "x"],
  ["tabs", "\t", ""],
  ["line feeds", "\n", "x"],
  ["carriage returns", "\r", "x"],
  ["colons", ":", "x"],
  ["data fields", "data: x\n", ""],
  ["words", "a ", ""],
  ["models", "models/", ""],
  ["letters", "a", "="]
]

const readers: Readonly<Record<string, (text: string) => unknown>> = {
  redactEndpoint,
  isInside,
  isCredential,
  isFieldName,
  isFieldValue,
  bearer: (text) => [bearer(text), bearer(`Bearer ${text}`)],
  parseBoundedJson: (text) => [parseBoundedJson(text), parseBoundedJson(`"${text}`), parseBoundedJson(`[${text}`)],
  metadataOf: (text) => metadataOf(parseBoundedJson(text)),
  dialectOf: (text) => Dialect.dialectOf("workers-ai", text),
  modelOf: (text) => [Dialect.modelOf("workers-ai", text, {}), Dialect.modelOf("azure-openai", text, {})],
  isEmbeddingModel: Dialect.isEmbeddingModel,
  asksForEvents: Dialect.asksForEvents,
  usageOfEvents: (text) => [Dialect.usageOfEvents(text), Dialect.usageOfEvents(`data: {"usage":"${text}"}\n`)],
  "a usage scanner, a character at a time": (text) => {
    const scanner = Dialect.usageScanner()
    for (const character of text) scanner.push(character)
    return scanner.end()
  },
  "parse of events": StreamEvents.parse,
  words,
  "a shape without a number of events": (text) => [...shape(text, {}).pieces].length,
  "the length of a shape": (text) => shape(text, { events: 1_000_000 }).length,
  "a shape with a number of events": (text) => [...shape(text, { events: 10 }).pieces].length,
  defaultText: (prompt) => defaultText({ provider: "p", model: "m", prompt })
}

/** Milliseconds of the processor until an answer of 200. */
const timed = <E>(self: Effect.Effect<Reply, E>): Effect.Effect<number, E> =>
  Effect.suspend(() => {
    const before = cpuMillis()
    return Effect.map(self, ({ status }) => {
      assert.strictEqual(status, 200)
      return cpuMillis() - before
    })
  })

describe("the cost of reading grows with the length alone", () => {
  for (const [name, read] of Object.entries(readers)) {
    it(name, () => {
      for (const [row, unit, end] of rows) linear(`${name} of ${row}`, (n) => unit.repeat(n) + end, read)
    })
  }

  it("for a shape that computes the length of its text without making it", () => {
    for (const text of ["", " ", "a", "ab c", "  ab \n c def ", "one two three four"]) {
      for (const events of [undefined, 1, 2, 3, 4, 7, 100]) {
        for (const words of [1, 2, 5]) {
          const made = shape(text, { ...(events === undefined ? {} : { events }), words })
          assert.strictEqual(made.text().length, made.length, `${text} ${events} ${words}`)
          assert.strictEqual([...made.pieces].join(""), made.text())
          if (events !== undefined) assert.strictEqual([...made.pieces].length, events)
        }
      }
    }
  })

  it.live("for embeddings of a long text with many dimensions", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const cost = (dimensions: number) =>
        timed(
          call(gateway, "POST", `${dataPlane}/openai/embeddings`, { model: "m", dimensions, input: "a".repeat(1e6) })
        )
      yield* cost(8)
      const small = yield* cost(8)
      // 512 times the dimensions of the same text.
      assert.isBelow((yield* cost(4096)) / Math.max(small, 1), 100)
    })
  )

  it.live("for many legs with many faults in a shared header", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      const faults = JSON.stringify(new Array(9000).fill({ ok: true }))
      const cost = (legs: number) =>
        timed(universal(gateway, new Array(legs).fill(leg("openai")), { "cf-aig-local-faults": faults }))
      yield* cost(1)
      const small = yield* cost(1)
      assert.isBelow((yield* cost(200)) / Math.max(small, 1), 40)
    })
  )

  it.live("for faults inside a stream that arrives in one piece", () =>
    Effect.gen(function* () {
      const cost = Effect.fnUntraced(function* (events: number) {
        const body = 'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'.repeat(events)
        const answer = { status: 200, headers: { "content-type": "text/event-stream" }, body }
        const gateway = yield* LocalGateway.make({ upstreams: { openai: Upstream.make(() => Effect.succeed(answer)) } })
        yield* gateway.script("openai", [{ stream: { chunkSize: 65_536 } }])
        const before = cpuMillis()
        const { text } = yield* chat(gateway, {}, { ...leg("openai").query, stream: true })
        assert.strictEqual(text, body)
        return cpuMillis() - before
      })
      yield* cost(1000)
      const small = yield* cost(1000)
      assert.isBelow((yield* cost(16_000)) / Math.max(small, 1), 100)
    })
  )
})
