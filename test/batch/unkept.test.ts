/** Answers, errors and inputs that no journal can store: each costs only its own item, and later items are done. */
import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Batch from "effect-ai-gateway/Batch"
import * as BatchJournal from "effect-ai-gateway/BatchJournal"
import * as Chat from "effect-ai-gateway/Chat"
import * as GatewayError from "effect-ai-gateway/GatewayError"
import * as FileJournal from "effect-ai-gateway/journal"
import * as Limiter from "effect-ai-gateway/Limiter"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { problemOf, unwritable } from "../../src/internal/data/writable.ts"
import * as Line from "../../src/journal/line.ts"
import { brief, failureOf, leaf, over, runAll, runOnce, world } from "./support.ts"

const folder = Effect.acquireRelease(
  Effect.promise(() => Fs.mkdtemp(join(tmpdir(), "unkept-"))),
  (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
)

/** A completion whose only tool is called with this JSON text. */
const calling = (args: string) => ({
  choices: [
    {
      finish_reason: "tool_calls",
      message: {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c1", function: { name: "f", arguments: args } }]
      }
    }
  ],
  usage: { prompt_tokens: 1, completion_tokens: 2 }
})

const nested = (levels: number) => `${"[".repeat(levels)}${"]".repeat(levels)}`

/** The reports of two runs over one journal. */
const twice = <Out>(
  ids: ReadonlyArray<string>,
  options: Batch.Options<string, string, Out>,
  w: Effect.Success<ReturnType<typeof world>>
) =>
  Effect.gen(function* () {
    const runs: Array<ReadonlyArray<Batch.Result<Out>>> = []
    for (const _ of [1, 2]) {
      const { exit, results } = yield* runAll(ids, options, w)
      assert.isUndefined(failureOf(exit), String(exit))
      runs.push(results)
    }
    return runs
  })

describe("values that a journal cannot store", () => {
  it.effect.each([
    ["an infinite number", '{"a":1e400}', "toolCalls[0].arguments.a: expected a finite number"],
    ["8,000 levels", nested(8000), "expected at most 1000 levels of arrays and objects, and no cycle"]
  ] as const)("ends an item that was answered with %s as a dead letter, and does the rest", ([, args, issue]) =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "bad" ? { body: calling(args) } : undefined))
      const path = yield* folder
      const [first = [], second = []] = yield* twice(
        ["before", "bad", "behind"],
        {
          route: Provider.openai.chat("m"),
          id: (item) => item,
          input: (item) => item,
          concurrency: 1,
          journal: { store: FileJournal.make({ path }), value: Batch.withoutRaw(Chat.ReplySchema) }
        },
        w
      )
      assert.deepStrictEqual(first.map(brief), ["before Success", "bad InvalidResponse", "behind Success"])
      assert.deepStrictEqual(
        second.map(brief),
        first.map((result) => `again ${brief(result)}`)
      )
      assert.lengthOf(w.requests, 3, "what was answered is not sent again")
      for (const result of [first[1], second[1]]) {
        assert(result?._tag === "DeadLetter")
        const { logId, reason } = result.error
        assert(reason._tag === "InvalidResponse")
        assert.include(reason.issue, issue)
        assert.strictEqual(reason.code, "unwritable")
        assert.strictEqual(logId, "log-2")
        assert.lengthOf(result.attempts, 1)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("keeps an answer that looks odd but is JSON", () =>
    Effect.gen(function* () {
      const odd = { zero: -0, nul: "\0", half: "\ud83d", line: "\u2028\n", deep: JSON.parse(nested(900)), "": "" }
      const w = yield* world((prompt) => (prompt === "odd" ? { body: calling(JSON.stringify(odd)) } : undefined))
      const path = yield* folder
      const runs = yield* twice(
        ["odd", "half \ud83d"],
        {
          route: Provider.openai.chat("m"),
          id: (item) => item,
          input: (item) => item,
          journal: { store: FileJournal.make({ path }), value: Batch.withoutRaw(Chat.ReplySchema) }
        },
        w
      )
      for (const results of runs) {
        const found = results.find(({ id }) => id === "odd")
        assert(found?._tag === "Success")
        assert.deepStrictEqual(found.value.toolCalls[0]?.arguments, { ...odd, zero: 0 })
      }
      assert.lengthOf(w.requests, 2)
    }).pipe(Effect.scoped)
  )

  it.effect.each([
    ["a cycle", () => Object.assign({}, { self: undefined }), true],
    ["a function", () => ({ f: () => 1 }), false],
    ["a big integer", () => ({ n: 10n }), false],
    ["undefined in a list", () => [undefined], false],
    ["a map", () => ({ m: new Map([[1, 2]]) }), false],
    ["a date", () => ({ d: new Date(0) }), false],
    ["no number", () => ({ n: Number.NaN }), false]
  ] as const)("ends an item whose value holds %s as a dead letter", ([, make, isCycle]) =>
    Effect.forEach(
      [Schema.Unknown, Schema.Any],
      Effect.fnUntraced(function* (schema) {
        const w = yield* world()
        const journal = yield* BatchJournal.memory
        const route = leaf().pipe(
          Route.map((text): unknown => {
            if (!text.endsWith("bad")) return text
            const value = make()
            return isCycle ? Object.assign(value, { self: value }) : value
          })
        )
        const [first = [], second = []] = yield* twice(
          ["bad", "good"],
          {
            route,
            id: (item) => item,
            input: (item) => item,
            concurrency: 1,
            journal: { store: journal, value: schema }
          },
          w
        )
        assert.deepStrictEqual(first.map(brief), ["bad InvalidResponse", "good Success"])
        assert.deepStrictEqual(second.map(brief), ["again bad InvalidResponse", "again good Success"])
      })
    )
  )

  it.effect("keeps a value without its undefined fields, in every journal", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const path = yield* folder
      for (const store of [yield* BatchJournal.memory, FileJournal.make({ path })]) {
        const route = leaf().pipe(Route.map((text): unknown => ({ text, a: undefined, list: [{ b: undefined }] })))
        const options = { route, id: (item: string) => item, input: (item: string) => item }
        const journal = { store, value: Schema.Any }
        const [first = [], second = []] = yield* twice(["one"], { ...options, journal }, w)
        assert.deepStrictEqual(first.map(brief), ["one Success"])
        assert.deepStrictEqual(second.map(brief), ["again one Success"])
        assert(second[0]?._tag === "Success")
        assert.deepStrictEqual(second[0].value, { text: "answer to one", list: [{}] })
      }
    }).pipe(Effect.scoped)
  )

  it.effect("ends an item as a dead letter when its codec throws or fails", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const journal = yield* BatchJournal.memory
      const value = Schema.String.check(
        Schema.makeFilter((text: string) => {
          if (text.endsWith("throws")) throw new Error("no")
          return !text.endsWith("refused")
        })
      )
      const run = runOnce(["throws", "refused", "good"], { ...over(journal, { value }), concurrency: 1 }, w)
      const { exit, results } = yield* run
      assert.isUndefined(failureOf(exit))
      assert.deepStrictEqual(results.map(brief), ["throws InvalidResponse", "refused InvalidResponse", "good Success"])
      const refused = results[1]
      assert(refused?._tag === "DeadLetter")
      assert.notInclude(refused.error.message, "answer to", "no text of the answer")
    })
  )

  it.effect("keeps a dead letter without the parts of its error that cannot be stored", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const journal = yield* BatchJournal.memory
      const real = yield* Limiter.make({ requestsPerMinute: 1000 })
      const reason = new GatewayError.Rejected({ by: "limiter", retryAfter: Duration.infinity })
      const limiter: Limiter.Limiter = {
        ...real,
        acquire: (key, reservation) =>
          reservation?.tokens === 13
            ? Effect.fail(new GatewayError.GatewayError({ method: "test", reason }))
            : real.acquire(key, reservation)
      }
      const limits = { limiter, tokens: (input: string) => (input === "bad" ? 13 : 1) }
      const [first = [], second = []] = yield* twice(["bad", "good"], { ...over(journal), limits, concurrency: 1 }, w)
      assert.deepStrictEqual(first.map(brief), ["bad Unknown", "good Success"])
      assert.deepStrictEqual(second.map(brief), ["again bad Unknown", "again good Success"])
      assert(first[0]?._tag === "DeadLetter")
      assert.include(first[0].error.reason.detail, "Rejected")
    })
  )

  it("finds values that JSON text cannot hold, with their paths", () => {
    const found = (value: unknown) => {
      const what = unwritable(value)
      return what === undefined ? undefined : problemOf(what)
    }
    assert.isUndefined(found({ a: [1, "x", null, true, { b: undefined }] }))
    assert.isUndefined(found(JSON.parse(nested(1000))))
    assert.strictEqual(found({ a: [0, { b: Number.NaN }] }), "a[1].b: expected a finite number")
    assert.strictEqual(found({ "a b": Number.POSITIVE_INFINITY }), "*: expected a finite number")
    assert.strictEqual(found(1n), "expected a JSON value")
    assert.include(found(JSON.parse(nested(1001))), "expected at most 1000 levels")
    for (const value of [new Map([[1, 2]]), new Date(0), new (class P {})(), { toJSON: () => 1 }]) {
      assert.include(found([value]), "expected a JSON value")
    }
    assert.isUndefined(found(Object.assign(Object.create(null), { a: 1 })))
  })

  it("counts the characters of the JSON text, not its values", () => {
    const found = (value: unknown) => {
      const what = unwritable(value)
      return what === undefined ? undefined : problemOf(what)
    }
    assert.isUndefined(found({ arguments: new Array<number>(3_000_001).fill(1) }))
    const embedding = Array.from({ length: 1536 }, (_, i) => -Math.sin(i + 1) / 1000)
    assert.isUndefined(found(new Array<unknown>(2048).fill(embedding)))
    assert.isUndefined(found(new Array<number>(20_000_000).fill(0)))
    const texts = (count: number) => ({ all: new Array<string>(count).fill("\u0001".repeat(1_000_000)) })
    assert.isUndefined(found(texts(42)))
    assert.strictEqual(found(texts(43)), "expected at most 256 million characters of JSON text")
    const odd = 'a"\\\n\b\u000b\u001f\u007f\u2028\ud83d\ude00\ud83d \ude00é'
    // As many of them as fit, by what `JSON.stringify` writes.
    const each = JSON.stringify(odd.repeat(100_000)).length + 1
    const most = Math.floor((256_000_000 - 2) / each)
    assert.isUndefined(found(new Array<string>(most).fill(odd.repeat(100_000))))
    assert.isDefined(found(new Array<string>(most + 1).fill(odd.repeat(100_000))))
  })

  it("writes entries that together have more characters than a string can hold", () => {
    const record = { text: "x".repeat(3_000_000) }
    const entries = Array.from({ length: 7 }, (_, i) => ({ _tag: "done", id: `i${i}`, record }) as const)
    const bytes = Line.encode(entries)
    const pieces = bytes.toString("latin1").split("\n").slice(0, -1)
    assert.lengthOf(pieces, 7)
    for (const [i, line] of pieces.entries()) {
      assert.deepStrictEqual(Line.known(Buffer.from(line), 0), { _tag: "done", id: `i${i}`, location: 0 })
      assert.deepStrictEqual(Line.record(Buffer.from(line)), record)
    }
  })
})
