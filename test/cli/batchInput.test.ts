/** The readers of `batch`, and its output, without processes. */
import * as Fs from "node:fs/promises"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { DeadLetter, Success } from "../../src/Batch.ts"
import type * as Chat from "../../src/Chat.ts"
import { csv } from "../../src/cli/input/csv.ts"
import type { InputEntry, MakeParser } from "../../src/cli/input/entry.ts"
import { estimated, plain } from "../../src/cli/input/entry.ts"
import * as Input from "../../src/cli/input/input.ts"
import { LineSplitter } from "../../src/cli/input/lines.ts"
import * as OpenAi from "../../src/cli/input/openaiBatchFile.ts"
import * as Output from "../../src/cli/output/output.ts"
import * as Formats from "../../src/cli/output/resultLine.ts"
import { RunFailure } from "../../src/cli/shared/runFailure.ts"
import { GatewayError, InvalidRequest, RateLimited } from "../../src/GatewayError.ts"
import { folder, items, jsonl } from "./batchSupport.ts"

const split = (bytes: Uint8Array, pieceBytes: number, maxBytes?: number) => {
  const lines: Array<readonly [number, string]> = []
  const splitter = new LineSplitter((text, line, why) => void lines.push([line, why ?? text]), maxBytes)
  // One buffer for all pieces, as files are read.
  const piece = Buffer.alloc(pieceBytes)
  for (let from = 0; from < bytes.length; from += pieceBytes) {
    const part = bytes.subarray(from, from + pieceBytes)
    piece.set(part)
    splitter.feed(piece.subarray(0, part.length))
  }
  splitter.end()
  return lines
}

const parse = <A>(makeParser: MakeParser<A>, text: string) => {
  const entries: Array<InputEntry<A>> = []
  const parser = makeParser((entry) => void entries.push(entry))
  const splitter = new LineSplitter(parser.onLine)
  splitter.feed(Buffer.from(text))
  splitter.end()
  parser.end()
  return { entries, refused: parser.refused() }
}

const problemOf = <A>(makeParser: MakeParser<A>, line: unknown): string | undefined => {
  const [entry] = parse(makeParser, typeof line === "string" ? line : JSON.stringify(line)).entries
  return entry?._tag === "Malformed" ? entry.problem : undefined
}

describe("the format of an input", () => {
  it.live(
    "is detected in linear time, even with a long first line",
    () =>
      Effect.gen(function* () {
        const path = `${yield* folder}/in.jsonl`
        const line = jsonl({ custom_id: "a", body: "x".repeat(4_000_000) })
        yield* Effect.promise(() => Fs.writeFile(path, `\n \n${line}${line}`))
        assert.strictEqual((yield* Input.open(path, "auto")).format, "openai")
      }).pipe(Effect.scoped),
    20_000
  )
})

describe("lines", () => {
  const Texts = Schema.Array(Schema.String.check(Schema.isMaxLength(12)))

  it.prop(
    "are the same however the bytes are cut",
    { texts: Texts, size: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 40 })) },
    ({ size, texts }) => {
      // A file cannot contain what UTF-8 cannot express.
      const clean = texts.map((text) => Buffer.from(text).toString().replaceAll("\n", "").replaceAll("\ufeff", ""))
      assert.deepStrictEqual(
        split(Buffer.from(clean.map((text) => `${text}\n`).join("")), size),
        clean.map((text, i) => [i + 1, text] as const)
      )
    }
  )

  it("that are too long or not UTF-8 are reported, and the lines around them are read", () => {
    const bytes = Buffer.concat([Buffer.from("a\nb"), Buffer.from([0xff]), Buffer.from("\nc\n0123456789\nd")])
    for (const size of [1, 2, 3, 7, 100]) {
      assert.deepStrictEqual(
        split(bytes, size, 8),
        [
          [1, "a"],
          [2, "encoding"],
          [3, "c"],
          [4, "long"],
          [5, "d"]
        ],
        `in pieces of ${size}`
      )
    }
  })

  it("may begin after a byte order mark, and keep one inside", () => {
    assert.deepStrictEqual(split(Buffer.from("\ufeffa\n\ufeffb"), 100), [
      [1, "a"],
      [2, "\ufeffb"]
    ])
  })
})

describe("JSON lines", () => {
  it("name the invalid field and its accepted values", () => {
    const cases: ReadonlyArray<readonly [line: unknown, problem: string | undefined]> = [
      [{ prompt: "x" }, undefined],
      [
        { prompt: "x", system: "y", maxTokens: 1, temperature: 0, topP: 1, stop: ["a"], seed: 1, extra: { a: 1 } },
        undefined
      ],
      [{ messages: [{ role: "user", content: [{ type: "text", text: "x" }] }] }, undefined],
      ["nope", "expected a JSON object"],
      ["[]", "expected a JSON object, not another JSON value"],
      [{}, "prompt: expected a text, or messages"],
      [{ prompt: 1 }, "prompt: expected a text"],
      [{ prompt: "x", messages: [] }, "messages: expected nothing beside prompt"],
      [{ messages: [{ role: "user", content: "x" }], system: "y" }, "system: expected nothing beside messages"],
      [{ prompt: "x", system: 1 }, "system: expected a text"],
      [{ prompt: "x", id: "" }, "id: expected a text of 1 to 512 characters, or a whole number"],
      [{ prompt: "x", id: 1.5 }, "id: expected a text of 1 to 512 characters, or a whole number"],
      [{ prompt: "x", id: "x".repeat(513) }, "id: expected a text of 1 to 512 characters"],
      [{ prompt: "x", max_tokens: 1 }, "max_tokens: expected one of id, prompt, messages"],
      [{ prompt: "x", maxTokens: 0 }, "maxTokens: expected a whole number from 1"],
      [{ prompt: "x", maxTokens: "5" }, "maxTokens: expected a whole number from 1"],
      [{ messages: [] }, "messages: expected at least one message"],
      [{ messages: [{ role: "user" }] }, "messages[0].content: expected a string, or at least one part"],
      [{ messages: [{ role: "user", content: "x", name: "y" }] }, "messages[0].name: expected one of role, content"],
      [{ prompt: "x", tools: [{ name: "a b", parameters: {} }] }, "tools[0].name: expected 1 to 64 letters"],
      [
        { messages: [{ role: "developer", content: "x" }] },
        "messages[0].role: expected system, user, assistant or tool"
      ],
      [
        { messages: [{ role: "tool", toolCallId: "a", content: "x", isError: "yes" }] },
        "messages[0].isError: expected a boolean"
      ],
      [
        {
          messages: [
            { role: "assistant", content: [{ type: "reasoning", text: "x", opaque: { origin: "a", value: 5 } }] }
          ]
        },
        "messages[0].content[0].opaque.value: expected a string"
      ],
      [
        { messages: [{ role: "user", content: [{ type: "input_audio", data: "x" }] }] },
        "messages[0].content[0].type: expected text or image or file"
      ],
      [
        { messages: [{ role: "assistant", content: "", tool_calls: [] }] },
        "messages[0].tool_calls: expected one of role, content, toolCalls"
      ],
      [
        { prompt: "x", tools: [{ name: "f", parameters: {} }], toolChoice: { allowed: "f", mode: "auto" } },
        "toolChoice.allowed: expected an array"
      ],
      [{ prompt: "x", reasoning: { efort: "low" } }, "reasoning.efort: expected one of effort, budget, show"]
    ]
    for (const [line, problem] of cases) {
      const found = problemOf(plain.entries, line)
      if (problem === undefined) assert.isUndefined(found, JSON.stringify(line))
      else assert.include(found ?? "", problem, JSON.stringify(line))
    }
  })

  it("are named by their id or their line, equally in the first pass", () => {
    const text = `\n${jsonl({ id: "a", prompt: "x" }, { id: 3, prompt: "x" }, { prompt: "x" }, { id: "bad", nope: 1 })}nope\n`
    for (const makeParser of [plain.entries, plain.ids]) {
      assert.deepStrictEqual(
        parse<unknown>(makeParser, text).entries.map(({ id, line }) => [id, line]),
        [
          ["a", 2],
          ["3", 3],
          ["line-4", 4],
          ["bad", 5],
          ["line-6", 6]
        ]
      )
    }
  })
})

describe("CSV", () => {
  const Cell = Schema.String.check(Schema.isMaxLength(10))

  it.prop("returns every text that a cell can hold", { texts: Schema.Array(Cell) }, ({ texts }) => {
    const prompts = texts
      .map((text) => Buffer.from(text).toString().replaceAll("\ufeff", ""))
      .filter((text) => text !== "")
    const quoted = prompts.map((text) => `"${text.replaceAll('"', '""')}"`)
    const { entries } = parse(csv.entries, ["prompt", ...quoted].map((row) => `${row}\r\n`).join(""))
    assert.deepStrictEqual(
      entries.map((entry) => (entry._tag === "Item" ? entry.input.messages[0]?.content : entry)),
      prompts
    )
  })

  it("continues after a bad record, and reports the line where it began", () => {
    const rows = ["id,prompt", 'a,"x\ny', 'z" oops', "b,plain", 'c,5" pipe', "d,", 'e,"never closed', "f,g"]
    const { entries } = parse(csv.entries, rows.join("\n"))
    assert.deepStrictEqual(
      entries.map((entry) => [entry.line, entry._tag === "Item" ? entry.id : entry.problem]),
      [
        [2, "up to line 4: text after a closing quote: expected a comma"],
        [5, "b"],
        [6, 'a quote inside of a cell: expected the cell in quotes, with " written twice'],
        [7, "prompt: expected a text that is not empty"],
        [8, "a quote is not closed: expected it closed before the end of the file"]
      ]
    )
  })
})

describe("OpenAI batch lines", () => {
  const line = (body: object) => ({
    custom_id: "a",
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "m", ...body }
  })
  const user = { role: "user", content: "x" }

  it("become equivalent requests", () => {
    const call = { id: "1", type: "function", function: { name: "f", arguments: '{"a":1}' } }
    const body = {
      messages: [
        { role: "developer", content: [{ type: "text", text: "Hm." }] },
        {
          role: "user",
          content: [{ type: "image_url", image_url: { url: "https://example.com/a.png", detail: "auto" } }]
        },
        { role: "assistant", content: null, tool_calls: [call] },
        { role: "tool", tool_call_id: "1", content: [{ type: "text", text: "done" }] }
      ],
      max_completion_tokens: 5,
      temperature: 1,
      top_p: null,
      stop: "x",
      seed: 3,
      n: 1,
      stream: false,
      tools: [{ type: "function", function: { name: "f", strict: false, parameters: { type: "object" } } }],
      tool_choice: { type: "function", function: { name: "f" } },
      response_format: { type: "json_schema", json_schema: { name: "out", schema: { type: "object" } } }
    }
    const [entry] = parse(OpenAi.chats.entries, JSON.stringify(line(body))).entries
    const expected: Chat.Request = {
      messages: [
        { role: "system", content: [{ type: "text", text: "Hm." }] },
        { role: "user", content: [{ type: "image", url: "https://example.com/a.png" }] },
        { role: "assistant", content: [], toolCalls: [{ id: "1", name: "f", arguments: { a: 1 } }] },
        { role: "tool", toolCallId: "1", content: "done" }
      ],
      maxTokens: 5,
      temperature: 1,
      stop: ["x"],
      seed: 3,
      tools: [{ name: "f", parameters: { type: "object" } }],
      toolChoice: { name: "f" },
      output: { type: "json", name: "out", schema: { type: "object" } }
    }
    assert.deepStrictEqual(entry, { _tag: "Item", id: "a", line: 1, input: expected })
  })

  it("that a route cannot carry are rejected by name, and pass without one", () => {
    const cases: ReadonlyArray<readonly [body: object, problem: string]> = [
      [{ messages: [user], logit_bias: { 5: 1 } }, "body.logit_bias: expected no such field with --route"],
      [{ messages: [{ ...user, name: "x" }] }, "body.messages[0].name: expected no such field"],
      [{ messages: [user], n: 2 }, "body.n: expected 1"],
      [
        { messages: [user], response_format: { type: "json_schema", json_schema: { name: "o", title: "d" } } },
        "response_format.json_schema.title: expected no such field with --route"
      ],
      [
        { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x", quality: "low" } }] }] },
        "image_url.quality: expected no such"
      ],
      [{ messages: [user], tools: [{ type: "web_search" }] }, "body.tools[0].type: expected function"]
    ]
    for (const [body, problem] of cases) {
      assert.include(problemOf(OpenAi.chats.entries, line(body)) ?? "", problem)
      assert.isUndefined(problemOf(OpenAi.passing.entries, line(body)))
    }
  })

  it("are rejected when they could not have an answer", () => {
    const good = line({ messages: [user] })
    const cases: ReadonlyArray<readonly [line: object, problem: string]> = [
      [{ ...good, custom_id: undefined }, "custom_id: expected a text"],
      [{ ...good, method: "GET" }, "method: expected POST"],
      [{ ...good, url: "/v1/audio" }, "url: expected /v1/chat/completions"],
      [{ ...good, url: "https://example.com/v1/chat/completions" }, "url: expected /v1/chat/completions"],
      [{ ...good, body: "x" }, "body: expected an object"],
      [{ ...good, more: 1 }, "more: expected one of custom_id, method, url, body"],
      [line({ messages: [user], stream: true }), "body.stream: expected false, or nothing"]
    ]
    for (const [wrong, problem] of cases) {
      for (const reader of [OpenAi.chats, OpenAi.passing])
        assert.include(problemOf<unknown>(reader.entries, wrong) ?? "", problem)
    }
    assert.include(
      problemOf(OpenAi.passing.entries, { ...good, body: {} }) ?? "",
      "body.model: expected the name of a model"
    )
  })
})

/** Path of a new file. */
const at = (name: string, text: string) =>
  Effect.gen(function* () {
    const path = `${yield* folder}/${name}`
    yield* Effect.promise(() => Fs.writeFile(path, text))
    return path
  })

describe("inputs", () => {
  it.effect("are recognized by their names and their first lines", () =>
    Effect.gen(function* () {
      const openai = { custom_id: "a", method: "POST", url: "/v1/chat/completions", body: {} }
      for (const [name, text, format] of [
        ["a.jsonl", items(1), "jsonl"],
        ["a.CSV", "prompt\nx\n", "csv"],
        ["a.txt", `\n\n${jsonl(openai)}`, "openai"],
        ["b.jsonl", `nope\n${jsonl(openai)}`, "openai"]
      ] as const) {
        assert.strictEqual((yield* Input.open(yield* at(name, text), "auto")).format, format)
      }
    })
  )

  it.effect("are streams of requests that include malformed lines", () =>
    Effect.gen(function* () {
      // Longer than a block of bytes, so that lines span blocks.
      const count = 20_000
      const entries = yield* Input.chats(yield* at("in.jsonl", `${items(count)}nope\n`), "auto")
      let [next, malformed] = [0, 0]
      yield* Stream.runForEach(entries, (entry) =>
        Effect.sync(() => {
          if (entry._tag === "Malformed") malformed = entry.line
          else assert.deepStrictEqual([entry.id, entry.line], [`i${next}`, ++next])
        })
      )
      assert.deepStrictEqual([next, malformed], [count, count + 1])
    })
  )

  it.effect("that change while they are read fail instead of skipping lines", () =>
    Effect.gen(function* () {
      const path = yield* at("in.jsonl", items(20_000))
      const entries = yield* Input.chats(path, "auto")
      let seen = 0
      const exit = yield* Effect.exit(
        Stream.runForEach(entries, () =>
          seen++ === 0 ? Effect.promise(() => Fs.appendFile(path, items(1))) : Effect.void
        )
      )
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(Exit.isFailure(exit) && exit.cause), "was changed while it was read")
    })
  )
})

describe("a file that is edited between the two passes over it", () => {
  const long = (id: string) => ({ id, prompt: `${id} ${"x".repeat(40_000)}` })
  const ids = ["a", "b", "c", "d", "e", "f", "g", "h"]

  it.effect.each([
    ["edited in place", (text: string) => text.replace("g x", "g y")],
    ["longer", (text: string) => `${text}${items(1)}`],
    ["shorter", (text: string) => text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1)]
  ] as const)("gives no entry of bytes that changed when it is %s", ([, edit]) =>
    Effect.gen(function* () {
      const before = jsonl(...ids.map(long))
      const path = yield* at("in.jsonl", before)
      const { source } = yield* Input.open(path, "jsonl")
      const scanned = yield* Input.scan(source, Input.readers.jsonl, false)
      const seen: Array<string> = []
      yield* Effect.promise(() => Fs.writeFile(path, edit(before)))
      const error = yield* Effect.flip(
        Stream.runForEach(Input.entries(scanned.source, Input.readers.jsonl.entries), (entry) =>
          Effect.sync(() => {
            assert(entry._tag === "Item")
            seen.push(entry.id)
          })
        )
      )
      assert.include(error.message, "in.jsonl: was changed while it was read")
      assert.isBelow(seen.length, 8)
      assert.deepStrictEqual(seen, ids.slice(0, seen.length))
      if (edit(before).length === before.length) assert.notInclude(seen, "g")
    })
  )
})

describe("results", () => {
  const error = new GatewayError({
    method: "Router.run",
    reason: new RateLimited({ origin: "provider", status: 429, detail: "slow down" })
  })
  const common = { index: 0, replayed: false, attempts: [], latency: Duration.millis(12.34) } as const
  const dead: DeadLetter = { ...common, _tag: "DeadLetter", id: "d", error }
  const reply: Chat.Reply = {
    text: "Hi",
    toolCalls: [{ id: "1", name: "f", arguments: { a: 1 } }],
    finishReason: "toolCalls",
    usage: { inputTokens: 1, outputTokens: 2 },
    raw: null
  }
  const success: Success<Chat.Reply> = {
    ...common,
    _tag: "Success",
    id: "s",
    value: reply,
    target: "openai/m",
    provider: "openai",
    eventId: "e",
    execution: "client"
  }

  it("are read back in every format", () => {
    for (const { line, read } of [Formats.own, Formats.openaiChat]) {
      assert.deepStrictEqual(read(line(success)), { id: "s", failed: false })
      assert.deepStrictEqual(read(line(dead)), { id: "d", failed: true })
      for (const other of ["", "{}", "[]", `{"id":1,"status":"ok"}`, `{"id":"a"}`, `{"custom_id":"a"}`]) {
        assert.isUndefined(read(other), other)
      }
    }
    assert.isUndefined(Formats.own.read(Formats.openaiChat.line(success)))
    assert.isUndefined(Formats.openaiChat.read(Formats.own.line(dead)))
  })

  it("keep the content of a reply and the facts of a failure", () => {
    const ok = JSON.parse(Formats.own.line(success))
    assert.deepInclude(ok, {
      id: "s",
      status: "ok",
      text: "Hi",
      toolCalls: reply.toolCalls,
      finishReason: "toolCalls",
      latencyMs: 12.3
    })
    const failed = JSON.parse(Formats.own.line(dead))
    assert.deepInclude(failed.error, { reason: "RateLimited", status: 429, detail: "slow down" })
    const answer = JSON.parse(Formats.openaiChat.line(success)).response.body
    assert.deepNestedInclude(answer, {
      "choices[0].message.tool_calls[0].function.arguments": '{"a":1}',
      "choices[0].finish_reason": "tool_calls",
      "usage.total_tokens": 3
    })
    const refused = JSON.parse(Formats.openaiChat.line(dead))
    assert.deepNestedInclude(refused, {
      "response.status_code": 429,
      "response.body.error.type": "rate_limit_error",
      "response.body.error.code": "rate_limit_exceeded",
      error: null
    })
  })

  it("know the line that they concern, and do not mistake a field for one", () => {
    const about = (field: string, origin: "client" | "provider" = "client"): DeadLetter => ({
      ...dead,
      error: new GatewayError({ method: "Router.run", reason: new InvalidRequest({ origin, field, accepted: "x" }) })
    })
    const { field } = Formats.problemOf({ _tag: "Malformed", id: "x", line: 12, problem: "seed: expected a number" })
    assert.strictEqual(Formats.lineOf(about(field)), 12)
    for (const other of ["line", "line 1x", "messages[0]"]) assert.isUndefined(Formats.lineOf(about(other)))
    assert.isUndefined(Formats.lineOf(about("line 1", "provider")))
    assert.isUndefined(Formats.lineOf(dead))
  })
})

describe("outputs", () => {
  it.effect("collect small writes, flush on their own, and slow writers down", () =>
    Effect.gen(function* () {
      const blocks: Array<string> = []
      let gate = Effect.void
      const out = yield* Output.collected((block) =>
        Effect.andThen(
          gate,
          Effect.sync(() => blocks.push(block))
        )
      )
      yield* out.write("a\n")
      yield* out.write("b\n")
      assert.deepStrictEqual(blocks, [])
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(blocks, ["a\nb\n"])
      const open = yield* Deferred.make<void>()
      gate = Deferred.await(open)
      const writer = yield* Effect.forkChild(out.write("x".repeat(70_000)), { startImmediately: true })
      yield* Effect.repeat(Effect.yieldNow, { times: 10 })
      assert.isUndefined(writer.pollUnsafe())
      yield* Deferred.succeed(open, undefined)
      yield* Fiber.join(writer)
      assert.strictEqual(blocks[1]?.length, 70_000)
    })
  )

  it.effect("report an unwritten block to the next writer, and flush at the end of the scope", () =>
    Effect.gen(function* () {
      const failure = new RunFailure({ message: "the disk is full" })
      const broken = yield* Output.collected(() => Effect.fail(failure))
      yield* broken.write("a\n")
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Effect.flip(broken.write("b\n")), failure)
      assert.strictEqual(yield* Effect.flip(broken.flush), failure)
      const blocks: Array<string> = []
      yield* Effect.scoped(
        Effect.flatMap(
          Output.collected((block) => Effect.sync(() => void blocks.push(block))),
          (out) => out.write("last\n")
        )
      )
      assert.deepStrictEqual(blocks, ["last\n"])
    })
  )
})

describe("estimated", () => {
  it("counts a third of the bytes plus the limit, and 0 for an unwritable body", () => {
    assert.strictEqual(estimated({ a: "é" }, 10), 14)
    const ring: Array<unknown> = []
    ring.push(ring)
    assert.strictEqual(estimated(ring), 0)
  })
})
