import * as Fs from "node:fs/promises"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { items, jsonl, world } from "./batchSupport.ts"

const timeout = 60_000
const chat = { model: "m", messages: [{ role: "user", content: "hello" }] }
const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, "utf16le")
const crOnly = (text: string) => text.replaceAll("\n", "\r")
const many = (line: (i: number) => unknown) => jsonl(...Array.from({ length: 30 }, (_, i) => line(i)))
const json = '{"prompt": "a"}\n{"prompt": "b"}\n'

/** Inputs without a readable line, by file name, with their messages. */
const refused: ReadonlyArray<readonly [string, string, string | Buffer, string]> = [
  [
    "Anthropic's batches",
    "in.jsonl",
    many((i) => ({ custom_id: `a${i}`, params: chat })),
    "line 1: params: expected method, url and body"
  ],
  [
    "Mistral's batches",
    "in.jsonl",
    many((i) => ({ custom_id: `a${i}`, body: chat })),
    "line 1: method: expected POST, and a url: Mistral's"
  ],
  [
    "Google's batches",
    "in.jsonl",
    many((i) => ({ key: `a${i}`, request: { contents: [] } })),
    "line 1: key: expected one of id, prompt"
  ],
  [
    "another endpoint",
    "in.jsonl",
    many((i) => ({ custom_id: `a${i}`, method: "POST", url: "/v1/responses", body: { model: "m", input: "x" } })),
    "line 1: url: expected /v1/chat/completions"
  ],
  [
    "a field that a route cannot carry",
    "in.jsonl",
    many((i) => ({
      custom_id: `a${i}`,
      method: "POST",
      url: "/v1/chat/completions",
      body: { ...chat, logit_bias: { 1: 2 } }
    })),
    "line 1: body.logit_bias: expected"
  ],
  [
    "instructions",
    "in.jsonl",
    many((i) => ({ instruction: `Do ${i}.`, input: "", output: "Done." })),
    "line 1: instruction: expected one of id, prompt"
  ],
  [
    "conversations",
    "in.jsonl",
    many(() => ({ conversations: [{ from: "human", value: "hi" }] })),
    "line 1: conversations: expected one of id, prompt"
  ],
  [
    "messages of the wrong shape",
    "in.jsonl",
    many(() => ({ messages: [{ role: "human", content: "hi" }] })),
    "line 1: messages[0]"
  ],
  [
    "large ids as numbers",
    "in.jsonl",
    '{"id": 12345678901234567890, "prompt": "a"}\n',
    "line 1: id: expected a whole number of at most 9007199254740991; a larger one as a text, in quotes"
  ],
  ["NaN", "in.jsonl", '{"prompt": "a", "temperature": NaN}\n', "line 1: expected a JSON object: NaN is no JSON"],
  [
    "a Python dictionary",
    "in.jsonl",
    "{'prompt': 'a'}\n",
    "line 1: expected a JSON object, whose names and texts are in double quotes"
  ],
  [
    "an array of all items",
    "in.json",
    '[\n{"prompt": "a"},\n{"prompt": "b"}\n]\n',
    'in.json: expected JSON lines such as {"id": "a", "prompt": "Hello"}; line 1: expected a JSON object, not an array of all items'
  ],
  [
    "an array in one line",
    "in.json",
    '[{"prompt": "a"}]\n',
    'in.json: expected JSON lines such as {"id": "a", "prompt": "Hello"}; line 1: expected a JSON object, not an array of all items'
  ],
  [
    "lines with a comma after them",
    "in.jsonl",
    '{"prompt": "a"},\n',
    "expected a JSON object without a comma after it"
  ],
  [
    "commas before the end",
    "in.jsonl",
    '{"prompt": "a", "stop": ["b",],}\n',
    "line 1: expected a JSON object without a comma before the end of an object or array"
  ],
  ["indented JSON", "in.json", '{\n  "prompt": "a"\n}\n', "line 1: expected a JSON object that ends in its line"],
  [
    "lines that end in carriage returns",
    "in.jsonl",
    crOnly(json),
    "line 1: expected a JSON object on each line: lines end in line feeds"
  ],
  ["UTF-16 with a mark", "in.jsonl", utf16(json), "is UTF-16: expected UTF-8"],
  ["UTF-16 without one", "in.jsonl", Buffer.from(json, "utf16le"), "is UTF-16: expected UTF-8"],
  ["CSV in UTF-16", "in.csv", utf16("id,prompt\na,hello\n"), "is UTF-16: expected UTF-8"],
  ["a compressed file", "in.jsonl", Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]), "is compressed (gzip)"],
  ["a file compressed by zstd", "in.jsonl", Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 4, 88, 200]), "is compressed (zstd)"],
  ["a file compressed by bzip2", "in.jsonl", Buffer.from("BZh91AY&SY", "latin1"), "is compressed (bzip2)"],
  ["a file compressed by xz", "in.jsonl", Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), "is compressed (xz)"],
  ["UTF-32", "in.jsonl", Buffer.from([0xff, 0xfe, 0, 0, 0x7b, 0, 0, 0, 0x7d, 0, 0, 0]), "is UTF-32: expected UTF-8"],
  ["CSV with a header alone", "in.csv", "id,prompt\n", "is empty: expected at least one item"],
  ["CSV with semicolons", "in.csv", "id;prompt\na;hello\n", "line 1: cells that are separated by ;: expected commas"],
  ["CSV with tabs", "in.csv", "id\tprompt\na\thello\n", "line 1: cells that are separated by tabs: expected commas"],
  [
    "CSV with sep=",
    "in.csv",
    "sep=;\nid;prompt\na;hello\n",
    "line 1: sep=: expected names of columns; remove this line"
  ],
  [
    "CSV with carriage returns",
    "in.csv",
    "id,prompt\ra,hello\r",
    "line 1: carriage returns alone: expected lines that end in line feeds"
  ],
  ["CSV of blank rows", "in.csv", "id,prompt\n,\n,\n", "line 2: an empty row: expected a prompt"]
]

describe("an input without a readable line", () => {
  it.live(
    "is rejected with its first problem, from a file and from standard input, and nothing is written",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        for (const [what, name, content, said] of refused) {
          yield* Effect.promise(() => Fs.writeFile(w.at(name), content))
          const before = yield* w.tree
          const file = yield* w.run([name, "out.jsonl", "--route", "route.json"])
          assert.strictEqual(file.code, 2, `${what}: ${file.err}`)
          assert.include(file.err, said, what)
          assert.deepStrictEqual(yield* w.tree, before, what)
          if (Buffer.isBuffer(content)) continue
          const format = name.endsWith(".csv") ? ["--format", "csv"] : []
          const saidOfPipe = said.replace(/^in\.\w+: /, "")
          const piped = yield* w.run(["-", "out.jsonl", "--route", "route.json", ...format], { stdin: content })
          assert.strictEqual(piped.code, 2, `${what}: ${piped.err}`)
          assert.include(piped.err, saidOfPipe, what)
          assert.deepStrictEqual(yield* w.tree, before, what)
        }
        assert.strictEqual(w.requests.length, 0)
        // Without a route the bodies are sent unchanged, and their endpoints differ.
        yield* w.write(
          "in.jsonl",
          many((i) => ({ custom_id: `a${i}`, method: "POST", url: "/v1/files", body: chat }))
        )
        const passed = yield* w.run(["in.jsonl", "out.jsonl"])
        assert.strictEqual(passed.code, 2)
        assert.include(passed.err, "line 1: url: expected /v1/chat/completions, /v1/responses")
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "is accepted if a line far down is readable",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", "nope\n".repeat(20_000) + jsonl({ id: "a", prompt: "a" }))
        const { code, err } = yield* w.run(["in.jsonl", "out.jsonl", "--route", "route.json"])
        assert.strictEqual(code, 1)
        assert.include(err, "20,001 of 20,001 items, 20,000 dead letters")
        assert.strictEqual(w.requests.length, 1)
      }).pipe(Effect.scoped),
    timeout
  )
})

describe("the format of an input", () => {
  it.live(
    "follows from the first line that is a JSON object, and Azure's URLs count as OpenAI's",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const azure = { custom_id: "a", method: "POST", url: "/chat/completions", body: chat }
        const text = `# made by hand\n\nnope\n${jsonl(azure)}`
        yield* w.write("in.jsonl", text)
        const file = yield* w.run(["in.jsonl", "out.jsonl", "--route", "route.json"])
        assert.include(file.err, "3 of 3 items, 2 dead letters")
        const piped = yield* w.run(["-", "piped.jsonl", "--route", "route.json"], { stdin: text })
        assert.include(piped.err, "3 items, 2 dead letters")
        const passed = yield* w.run(["in.jsonl", "passed.jsonl"])
        assert.include(passed.err, "3 of 3 items, 2 dead letters")
        assert.deepStrictEqual(
          w.requests.map(({ prompt }) => prompt),
          ["hello", "hello", "hello"]
        )
        assert.isTrue(w.requests.every(({ endpoint }) => endpoint === "chat/completions"))
      }).pipe(Effect.scoped),
    timeout
  )
})

describe("a file that changes while its items are sent", () => {
  it.live(
    "may be touched without effect",
    () =>
      Effect.gen(function* () {
        let path = ""
        const now = Date.now() / 1000
        const touched = Effect.promise(() => Fs.utimes(path, now + 5, now + 5))
        const w = yield* world((prompt) => (prompt === "i5" ? touched : undefined))
        path = w.at("in.jsonl")
        yield* w.write("in.jsonl", items(20))
        const { code, err } = yield* w.run(["in.jsonl", "out.jsonl", "--route", "route.json", "--concurrency", "1"])
        assert.strictEqual(code, 0, err)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "and grows is reported with advice that works",
    () =>
      Effect.gen(function* () {
        const release = yield* Latch.make(false)
        const w = yield* world((prompt) => (prompt.startsWith("i5 ") ? release.await : undefined))
        const long = (count: number) =>
          jsonl(...Array.from({ length: count }, (_, i) => ({ id: `i${i}`, prompt: `i${i} ${"x".repeat(20_000)}` })))
        yield* w.write("in.jsonl", long(20))
        const args = ["in.jsonl", "out.jsonl", "--route", "route.json", "--concurrency", "1"]
        const running = yield* Effect.forkChild(w.run(args))
        yield* w.until(6)
        yield* w.write("in.jsonl", long(25))
        yield* release.open
        const first = yield* Fiber.join(running)
        assert.strictEqual(first.code, 1)
        assert.include(first.err, "in.jsonl: was changed while it was read: it grew, and its last part was not sent")
        assert.include(first.err, "wait until the file is complete, and run over it with --force")
        assert.notInclude(first.err, "restore")
        const second = yield* w.run([...args, "--force"])
        assert.strictEqual(second.code, 0, second.err)
        const lines = yield* w.lines("out.jsonl")
        assert.deepStrictEqual(
          lines.map(({ id }) => id),
          Array.from({ length: 25 }, (_, i) => `i${i}`)
        )
        // Nothing was sent twice.
        assert.strictEqual(w.requests.length, 25)
      }).pipe(Effect.scoped),
    timeout
  )
})
