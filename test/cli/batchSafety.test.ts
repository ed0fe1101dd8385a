/** Answers that must cost only their own item, and runs that must not disturb each other. */
import * as Fs from "node:fs/promises"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileJournal from "effect-ai-gateway/journal"
import * as LineIds from "../../src/cli/batch/lineIds.ts"
import * as Input from "../../src/cli/input/input.ts"
import * as Output from "../../src/cli/output/output.ts"
import { hold, holdFile } from "../../src/cli/output/writerLock.ts"
import * as Line from "../../src/journal/line.ts"
import { assertComplete, folder, items, jsonl, parsed, type World, world } from "./batchSupport.ts"

const timeout = 180_000
const command = ["in.jsonl", "out.jsonl", "--route", "route.json"]

const answerOf = (w: World, name: string) =>
  Effect.map(w.lines(name), (lines) => new Map(lines.map((line) => [line.id, line])))

const prompts = (...all: ReadonlyArray<string>): string => jsonl(...all.map((prompt) => ({ prompt })))

describe("an answer that cannot be written", () => {
  const calls: Readonly<Record<string, string>> = {
    infinite: '{"a":1e400}',
    deep: `${"[".repeat(8000)}${"]".repeat(8000)}`
  }
  const react = (prompt: string) => {
    const args = calls[prompt]
    if (args === undefined) return undefined
    const message = {
      role: "assistant",
      content: null,
      tool_calls: [{ id: "c", function: { name: "f", arguments: args } }]
    }
    return { status: 200, body: JSON.stringify({ choices: [{ index: 0, message, finish_reason: "tool_calls" }] }) }
  }
  const input = jsonl(
    { id: "i0", prompt: "infinite" },
    { id: "i1", prompt: "deep" },
    ...["i2", "i3", "i4"].map((id) => ({ id, prompt: id }))
  )

  it.live(
    "is a dead letter, and later items are done",
    () =>
      Effect.gen(function* () {
        const w = yield* world(react)
        yield* w.write("in.jsonl", `${input}{"id":"i5","prompt":"x","extra":{"a":1e400}}\n`)
        const first = yield* w.run([...command, "--concurrency", "1"])
        assert.strictEqual(first.code, 1, first.err)
        const written = yield* answerOf(w, "out.jsonl")
        assert.deepStrictEqual(
          [...written.values()].map(({ error, id, status }) => [id, status, error?.reason]),
          [
            ["i0", "error", "InvalidResponse"],
            ["i1", "error", "InvalidResponse"],
            ["i2", "ok", undefined],
            ["i3", "ok", undefined],
            ["i4", "ok", undefined],
            ["i5", "error", "InvalidRequest"]
          ]
        )
        assert.include(written.get("i0")?.error?.message, "toolCalls[0].arguments.a: expected a finite number")
        assert.lengthOf(w.requests, 5)
        const { code, out } = yield* w.run(["-", "-", "--route", "route.json", "--concurrency", "1"], { stdin: input })
        assert.strictEqual(code, 1)
        assert.deepStrictEqual(
          parsed(out).map(({ status }) => status),
          ["error", "error", "ok", "ok", "ok"],
          "without a journal too"
        )
      }).pipe(Effect.scoped),
    timeout
  )
})

describe("two runs over one output", () => {
  it.live(
    "rejects the second one under any name of the file, and continues when the first was killed",
    () =>
      Effect.gen(function* () {
        const release = yield* Deferred.make<void>()
        const w = yield* world(() => Deferred.await(release))
        yield* w.write("in.jsonl", items(3))
        yield* Effect.promise(async () => {
          await Fs.writeFile(w.at("out.jsonl"), "")
          await Fs.symlink(w.at("out.jsonl"), w.at("link.jsonl"))
          await Fs.mkdir(w.at("sub"))
          await Fs.link(w.at("out.jsonl"), w.at("sub/hard.jsonl"))
        })
        const withReport = [...command, "--report", "report.html"]
        const first = yield* w.batch(withReport)
        yield* w.until(3)
        const to = (output: string) => ["in.jsonl", output, "--route", "route.json", "--journal", "other", "--force"]
        const runs = yield* Effect.all([w.run(to("link.jsonl")), w.run(to("sub/hard.jsonl")), w.run(to("report.html"))])
        for (const { code, err } of runs) {
          assert.strictEqual(code, 2, err)
          assert.include(
            err,
            `is being written by process ${first.child.pid} (batch in.jsonl, journal ${w.at("out.jsonl.journal")})`
          )
        }
        assert.lengthOf(w.requests, 3)
        first.child.kill("SIGKILL")
        yield* first.exit
        yield* Deferred.succeed(release, undefined)
        const again = yield* w.run(withReport)
        assert.strictEqual(again.code, 0, again.err)
        assertComplete(yield* w.lines("out.jsonl"), 3)
        const left = yield* Effect.promise(() => Fs.readdir(w.path))
        assert.notInclude(left.join(" "), ".lock-", "neither its own lock nor that of the killed process is left")
      }).pipe(Effect.scoped),
    timeout
  )

  const holding = (name: string) => ({ name, purpose: "test" })

  it.live("rejects a hard link of the file under another folder for temporary files", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const [output, link] = [join(path, "out.jsonl"), join(path, "sub", "hard.jsonl")]
      yield* Effect.promise(async () => {
        await Fs.writeFile(output, "")
        await Fs.mkdir(join(path, "sub"))
        await Fs.link(output, link)
      })
      yield* hold(holding("out"), output)
      const before = process.env["TMPDIR"]
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          process.env["TMPDIR"] = join(path, "sub")
        }),
        () =>
          Effect.sync(() => {
            if (before === undefined) delete process.env["TMPDIR"]
            else process.env["TMPDIR"] = before
          })
      )
      const error = yield* Effect.flip(hold(holding("link"), link))
      assert.include(error.message, `link: is being written by process ${process.pid} (test)`)
    }).pipe(Effect.scoped)
  )

  it.live("rejects a hard link that was made after the first run began", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const [output, link, later] = ["out.jsonl", "hard.jsonl", "later.jsonl"].map((name) => join(path, name))
      assert(output !== undefined && link !== undefined && later !== undefined)
      const identity = yield* hold(holding("out"), output)
      assert.isUndefined(identity, "there is no file yet")
      yield* Effect.promise(() => Fs.writeFile(output, ""))
      yield* holdFile(holding("out"), output, identity)
      yield* Effect.promise(() => Fs.link(output, link))
      const error = yield* Effect.flip(hold(holding("link"), link))
      assert.include(error.message, "link: is being written by process")
      yield* Effect.promise(() => Fs.writeFile(later, ""))
      const other = yield* hold(holding("later"), later)
      yield* holdFile(holding("later"), later, other)
      yield* Effect.promise(() => Fs.link(later, `${later}.link`))
      assert.include((yield* Effect.flip(hold(holding("link"), `${later}.link`))).message, "is being written")
    }).pipe(Effect.scoped)
  )

  it.live("rejects an output or a report that would overwrite a journal or a lock", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const journal = join(path, "other.journal")
      const at = (name: string) => join(path, name)
      const problemOf = (place: string) => Effect.map(Effect.flip(Output.placeOf(place)), ({ message }) => message)
      const store = FileJournal.make({ path: journal })
      const open = yield* store.open({ fingerprint: {}, force: false, onEntry: () => undefined })
      yield* open.append([{ _tag: "sent", id: "a", eventId: "e" }])
      yield* Effect.promise(async () => {
        await Fs.link(join(journal, "000001.jsonl"), at("hard"))
        await Fs.symlink("other.journal/000001.jsonl", at("link"))
        await Fs.mkdir(at("parts"))
        await Fs.writeFile(at("parts/000001.jsonl"), items(3))
      })
      const outside = `expected a file outside the journal ${journal}`
      for (const name of ["other.journal/000001.jsonl", "other.journal/000007.jsonl", "other.journal/new", "link"]) {
        assert.strictEqual(yield* problemOf(at(name)), `${at(name)}: ${outside}`)
      }
      assert.include(yield* problemOf(at("hard")), "expected a file other than a part of a journal")
      yield* hold(holding("out"), at("out"))
      const lock = (yield* Effect.promise(() => Fs.readdir(path))).find((name) => name.startsWith("out.lock-"))
      assert.include(yield* problemOf(at(lock ?? "")), "expected a file other than the lock of a run")
      for (const name of ["parts/000001.jsonl", "parts/out.jsonl"]) yield* Output.placeOf(at(name))
    }).pipe(Effect.scoped)
  )

  it.live(
    "lets exactly one of two continue that start at the same moment",
    () =>
      Effect.gen(function* () {
        const w = yield* world(() => Effect.sleep(1500))
        yield* w.write("in.jsonl", items(3))
        // The link leads to a file that does not exist yet.
        yield* Effect.promise(() => Fs.symlink("out.jsonl", w.at("link.jsonl")))
        const run = (output: string) => w.runProcess(["in.jsonl", output, "--route", "route.json"])
        const both = yield* Effect.all([run("out.jsonl"), run("link.jsonl")], { concurrency: 2 })
        assert.sameMembers(
          both.map(({ code }) => code),
          [0, 2],
          both.map(({ err }) => err).join("\n")
        )
        assertComplete(yield* w.lines("out.jsonl"), 3)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "rejects an output that is the input or inside the journal, and an input inside the journal",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", items(2))
        assert.strictEqual((yield* w.run(command)).code, 0)
        const before = yield* w.tree
        const segment = "out.jsonl.journal/000001.jsonl"
        const inJournal = yield* w.run(["in.jsonl", segment, "--route", "route.json", "--journal", "out.jsonl.journal"])
        assert.deepStrictEqual([inJournal.code, w.requests.length], [2, 2])
        assert.include(inJournal.err, `${segment}: expected a file outside the journal out.jsonl.journal`)
        const same = yield* w.run(["in.jsonl", "out2", "--route", "route.json", "--journal", "out2"])
        assert.strictEqual(same.code, 2)
        assert.include(same.err, "out2: expected a file outside the journal out2")
        const read = yield* w.run([segment, "new.jsonl", "--route", "route.json", "--journal", "out.jsonl.journal"])
        assert.strictEqual(read.code, 2)
        assert.include(read.err, `${segment}: expected an input outside the journal`)
        assert.deepStrictEqual(yield* w.tree, before)
      }).pipe(Effect.scoped),
    timeout
  )
})

describe("items without ids, over an input that has changed", () => {
  it.live(
    "rejects lines that were edited, inserted, removed, reordered or appended, with and without --force",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", prompts("a", "b", "c"))
        assert.strictEqual((yield* w.run(command)).code, 0)
        const before = yield* w.read("out.jsonl")
        const changes = [
          prompts("a", "x", "c"),
          prompts("x", "a", "b", "c"),
          prompts("b", "c"),
          prompts("c", "b", "a"),
          prompts("a", "b", "c", "x")
        ]
        for (const [i, changed] of changes.entries()) {
          yield* w.write("in.jsonl", changed)
          const { code, err } = yield* w.run(i === 0 ? command : [...command, "--force"])
          assert.strictEqual(code, 2, err)
          assert.include(err, "because line numbers serve as ids")
          assert.notInclude(err, "--force")
        }
        assert.strictEqual(yield* w.read("out.jsonl"), before)
        yield* w.write("in.jsonl", prompts("a", "b", "c"))
        assert.strictEqual((yield* w.run([...command, "--force"])).code, 0, "the same input is no other one")
        assert.lengthOf(w.requests, 3)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "keeps no answer to a prompt that changed during the run, and says how to continue",
    () =>
      Effect.gen(function* () {
        const release = yield* Deferred.make<void>()
        const w = yield* world(() => Deferred.await(release))
        const input = (last: string) =>
          prompts(...["a", "b", "c", "d", "e", "f", "g", last].map((name) => `${name}${"x".repeat(40_000)}`))
        yield* w.write("in.jsonl", input("h"))
        const one = [...command, "--concurrency", "1"]
        const first = yield* w.batch(one)
        yield* w.until(1)
        yield* w.write("in.jsonl", input("CHANGED"))
        yield* Deferred.succeed(release, undefined)
        const { code, err } = yield* first.exit
        assert.strictEqual(code, 1, err)
        assert.include(err, "restore the file and run the same command again to continue")
        assert.include(err, "with a new output and journal")
        yield* w.write("in.jsonl", input("h"))
        const again = yield* w.run(one)
        assert.strictEqual(again.code, 0, again.err)
        assert.isFalse(w.requests.some(({ prompt }) => prompt.startsWith("CHANGED")))
        assert.match((yield* answerOf(w, "out.jsonl")).get("line-8")?.text ?? "", /^answer to hx/)
        assert.lengthOf(w.requests, 8)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "continues with --force over a journal whose beginning is damaged",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", prompts("a", "b", "c"))
        assert.strictEqual((yield* w.run(command)).code, 0)
        const segment = w.at("out.jsonl.journal/000001.jsonl")
        const bytes = yield* Effect.promise(() => Fs.readFile(segment))
        bytes[0] = 0x78
        yield* Effect.promise(() => Fs.writeFile(segment, bytes))
        const refused = yield* w.run(command)
        assert.strictEqual(refused.code, 2)
        assert.include(refused.err, "000001.jsonl at byte 0 cannot be read")
        assert.include(refused.err, "--force")
        yield* w.write("in.jsonl", prompts("a", "x", "c"))
        const other = yield* w.run([...command, "--force"])
        assert.strictEqual(other.code, 2)
        assert.include(other.err, "belongs to another input")
        yield* w.write("in.jsonl", prompts("a", "b", "c"))
        const forced = yield* w.run([...command, "--force"])
        assert.strictEqual(forced.code, 0, forced.err)
        assert.lengthOf(w.requests, 3)
      }).pipe(Effect.scoped),
    timeout
  )

  it.effect("are rejected without --force when no journal file names its input any more", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const journal = join(path, "journal")
      yield* Effect.promise(async () => {
        await Fs.mkdir(journal)
        const entry = Line.encode([{ _tag: "done", id: "line-1", record: {} }])
        await Fs.writeFile(join(journal, "000001.jsonl"), Buffer.concat([Buffer.from("no header\n"), entry]))
        await Fs.writeFile(join(path, "in.jsonl"), prompts("a", "b"))
      })
      const { source } = yield* Input.open(join(path, "in.jsonl"), "jsonl")
      const given = { source, reader: Input.readers.jsonl, hash: "h", journal, output: "out", before: undefined }
      const error = yield* Effect.flip(LineIds.check({ ...given, force: false }))
      assert.include(error.message, "000001.jsonl in the journal")
      assert.include(error.message, "is damaged at its beginning")
      assert.include(error.message, "expected --force if the input has not changed since")
      yield* LineIds.check({ ...given, force: true })
    }).pipe(Effect.scoped)
  )

  it.live(
    "rejects rows of a CSV file too, and ids that only look like names of lines",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const csv = ["in.csv", "rows.jsonl", "--route", "route.json"]
        yield* w.write("in.csv", "prompt\na\nb\n")
        assert.strictEqual((yield* w.run(csv)).code, 0)
        yield* w.write("in.csv", "prompt\nx\na\n")
        assert.strictEqual((yield* w.run([...csv, "--force"])).code, 2)
        yield* w.write("in.csv", "id,prompt\nline-3,x\n")
        assert.strictEqual((yield* w.run([...csv, "--force"])).code, 2)
        yield* w.write("in.csv", "id,prompt\nown,x\n")
        const own = yield* w.run([...csv, "--force"])
        assert.strictEqual(own.code, 0, own.err)
        assert.strictEqual((yield* answerOf(w, "rows.jsonl")).get("own")?.text, "answer to x")
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "continues with --force when items have ids of their own, even next to malformed lines",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", `${items(2)}oops\nnot this either\n`)
        assert.strictEqual((yield* w.run(command)).code, 1)
        yield* w.write("in.jsonl", `${items(3)}not this either\n`)
        const { code, err } = yield* w.run([...command, "--force"])
        assert.strictEqual(code, 1, err)
        const written = yield* answerOf(w, "out.jsonl")
        assert.strictEqual(written.get("i2")?.text, "answer to i2")
        assert.strictEqual(written.get("line-4")?.status, "error")
        assert.lengthOf(w.requests, 3)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "names items of standard input after their content, so that new ones are sent",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        const stdin = ["-", "out.jsonl", "--route", "route.json"]
        for (const [text, requests] of [
          [prompts("a", "b"), 2],
          [prompts("a", "b"), 2],
          [prompts("a", "x"), 3]
        ] as const) {
          const { code, err } = yield* w.run(stdin, { stdin: text })
          assert.strictEqual(code, 0, err)
          assert.lengthOf(w.requests, requests)
        }
        const texts = [...(yield* answerOf(w, "out.jsonl")).values()].map(({ text }) => text)
        assert.sameMembers(texts, ["answer to a", "answer to b", "answer to x"])
      }).pipe(Effect.scoped),
    timeout
  )
})
