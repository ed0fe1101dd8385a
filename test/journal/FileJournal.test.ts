import { spawn } from "node:child_process"
import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as BatchJournal from "effect-ai-gateway/BatchJournal"
import * as FileJournal from "effect-ai-gateway/journal"
import { Conformance } from "effect-ai-gateway/testing"

const folder = Effect.acquireRelease(
  Effect.promise(() => Fs.mkdtemp(join(tmpdir(), "journal-"))),
  (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
)
const files = (path: string) =>
  Effect.promise(async () => (await Fs.readdir(path)).filter((name) => name.endsWith(".jsonl")).sort())

type Entry = BatchJournal.Entry
const done = (id: string, record: BatchJournal.Json = { value: id }): Entry => ({ _tag: "done", id, record })

interface Told {
  readonly entries: ReadonlyArray<Entry>
  readonly damage: ReadonlyArray<BatchJournal.Damage>
}

/** Everything that a journal reports when it is opened, records included. */
const told = (journal: BatchJournal.Journal, options: Partial<BatchJournal.OpenOptions> = {}) =>
  Effect.gen(function* () {
    const known: Array<BatchJournal.Known> = []
    const open = yield* journal.open({
      fingerprint: {},
      force: false,
      ...options,
      onEntry: (entry) => known.push(entry)
    })
    const entries = yield* Effect.forEach(known, ({ _tag, eventId = "", id, location }) =>
      Effect.gen(function* () {
        if (_tag === "sent") return { _tag, id, eventId } satisfies Entry
        return { _tag, id, record: yield* open.read(location) } satisfies Entry
      })
    )
    return { entries, damage: open.damage } satisfies Told
  }).pipe(Effect.scoped)

/** Appends in order. */
const write = (journal: BatchJournal.Journal, entries: ReadonlyArray<Entry>, fingerprint = {}) =>
  Effect.gen(function* () {
    const open = yield* journal.open({ fingerprint, force: false, onEntry: () => undefined })
    const one = (entry: Entry) => Effect.flatMap(open.append([entry]), ({ durable }) => durable)
    yield* Effect.forEach(entries, one, { concurrency: "unbounded" })
  }).pipe(Effect.scoped)

const reasonOf = <A, R>(self: Effect.Effect<A, BatchJournal.JournalError, R>) =>
  Effect.map(Effect.flip(self), ({ message, reason }) => ({ message, reason }))

const Entries = Schema.Array(
  Schema.Union([
    Schema.TaggedStruct("sent", { id: Schema.String, eventId: Schema.String }),
    Schema.TaggedStruct("done", { id: Schema.String, record: Schema.Json }),
    Schema.TaggedStruct("dead", { id: Schema.String, record: Schema.Json })
  ])
)

/** Reported entries equal the written ones, for any texts; the same holds for a journal in memory. */
for (const [name, make] of [
  ["files", (path: string) => Effect.succeed(FileJournal.make({ path, segmentBytes: 1_000 }))],
  ["memory", () => BatchJournal.memory]
] as const) {
  describe(`a journal in ${name}`, () => {
    const made = Effect.flatMap(folder, make)
    for (const { name, run } of Conformance.batchJournal({ make: made })) it.effect(name, () => run)

    it.effect.prop(
      "returns written entries in order",
      { first: Entries, second: Entries },
      ({ first, second }) =>
        Effect.gen(function* () {
          const journal = yield* make(join(yield* folder, "new", "folder"))
          yield* write(journal, first)
          yield* write(journal, second)
          const { damage, entries } = yield* told(journal)
          // JSON has no -0.
          assert.deepStrictEqual(JSON.stringify(entries), JSON.stringify([...first, ...second]))
          assert.deepStrictEqual(damage, [])
        }).pipe(Effect.scoped),
      { arbitrary: { runs: 30 } }
    )

    it.effect("reports the time of the last write or touch", () =>
      Effect.gen(function* () {
        const journal = yield* make(yield* folder)
        const open = (use: (open: BatchJournal.OpenJournal) => Effect.Effect<void, BatchJournal.JournalError>) =>
          Effect.scoped(
            Effect.tap(journal.open({ fingerprint: {}, force: false, onEntry: () => undefined }), (opened) =>
              use(opened)
            )
          )
        const first = yield* open((opened) => Effect.asVoid(opened.append([done("a")])))
        assert.isUndefined(first.lastWritten)
        const second = yield* open((opened) => Effect.asVoid(opened.append([done("b")])))
        if (first.touch === undefined) return assert.isUndefined(second.lastWritten)
        assert.isAbove(second.lastWritten ?? 0, 1_700_000_000_000)
        const later = 4_000_000_000_000
        yield* open((opened) =>
          Effect.map(
            Effect.flatMap(opened.append([done("c")]), ({ durable }) => durable),
            () => opened.touch?.(later)
          )
        )
        const third = yield* open(() => Effect.void)
        assert.strictEqual(third.lastWritten, later)
      })
    )
  })
}

describe("damage", () => {
  const ids = Array.from({ length: 12 }, (_, i) => `item-${i}`)
  const entries: ReadonlyArray<Entry> = ids.flatMap((id, i) => [
    { _tag: "sent", id, eventId: `event-${i}` },
    done(id, { value: { text: `quote " and é ${"x".repeat(i)}` } })
  ])
  const isHeader = (line: string): boolean => line.includes('"segment"')
  const written = Effect.gen(function* () {
    const path = yield* folder
    const journal = FileJournal.make({ path })
    yield* write(journal, entries)
    const file = join(path, "000001.jsonl")
    return { path, journal, file, bytes: yield* Effect.promise(() => Fs.readFile(file)) }
  })

  it.effect("a journal cut off anywhere returns all complete entries, and continues", () =>
    Effect.gen(function* () {
      const { bytes, file, journal, path } = yield* written
      for (let length = bytes.length; length >= 0; length -= length > bytes.length - 250 || length < 80 ? 1 : 29) {
        yield* Effect.promise(() => Fs.writeFile(file, bytes.subarray(0, length)))
        const after = yield* told(journal)
        const text = bytes.subarray(0, length).toString("latin1")
        // The header and its copy are lines too; a line without its end is complete if nothing else is missing.
        const lines = text.split("\n").filter((line) => line.endsWith("]") && bytes.includes(`${line}\n`, 0, "latin1"))
        const whole = lines.filter((line) => !isHeader(line)).length
        assert.deepStrictEqual(after.entries, entries.slice(0, whole), `cut at ${length}`)
        const clean = length === 0 || text.endsWith("\n") || lines.length === text.split("\n").length
        assert.deepStrictEqual(
          after.damage.map(({ kind }) => kind),
          clean ? [] : ["torn"],
          `cut at ${length}`
        )
      }
      yield* write(journal, [done("more")])
      assert.deepStrictEqual(yield* files(path), ["000001.jsonl", "000002.jsonl"])
      assert.deepStrictEqual((yield* told(journal)).entries, [done("more")])
    })
  )

  it.effect.prop(
    "bytes changed at the end cost only the lines that contain them",
    {
      flips: Schema.Array(
        Schema.Struct({ back: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 150 })), mask: Schema.Int })
      ).check(Schema.isMinLength(1), Schema.isMaxLength(4))
    },
    ({ flips }) =>
      Effect.gen(function* () {
        const { bytes, file, journal } = yield* written
        const changed = Buffer.from(bytes)
        for (const { back, mask } of flips) {
          const at = bytes.length - back
          changed[at] = (changed[at] ?? 0) ^ ((Math.abs(mask) % 255) + 1)
        }
        yield* Effect.promise(() => Fs.writeFile(file, changed))
        // Which lines were touched, by their position in the file. A line end belongs only to the separation of both
        // neighbours.
        let offset = 0
        const untouched = bytes
          .toString("latin1")
          .split("\n")
          .slice(0, -1)
          .flatMap((line) => {
            const from = offset
            offset += line.length + 1
            return isHeader(line)
              ? []
              : bytes.subarray(from, from + line.length).equals(changed.subarray(from, from + line.length))
          })
        const expected = entries.filter((_, i) => untouched[i] === true)
        const exit = yield* Effect.exit(told(journal))
        const after = Exit.isSuccess(exit) ? exit.value : yield* told(journal, { force: true })
        assert.deepStrictEqual(after.entries, expected)
        if (Exit.isFailure(exit)) assert.isTrue(after.damage.some(({ kind }) => kind === "corrupt"))
        else if (expected.length < entries.length) assert.deepStrictEqual(after.damage.at(-1)?.kind, "torn")
      }).pipe(Effect.scoped),
    { arbitrary: { runs: 60 } }
  )

  it.effect("of a line end and the line after it leaves the line before it complete", () =>
    Effect.gen(function* () {
      const { bytes, file, journal } = yield* written
      for (let back = 1; back < 90; back++) {
        const changed = Buffer.from(bytes)
        const lineEnd = bytes.lastIndexOf("\n", -2)
        for (const at of [lineEnd, bytes.length - back]) changed[at] = (bytes[at] ?? 0) ^ 1
        if (bytes.length - back <= lineEnd) break
        yield* Effect.promise(() => Fs.writeFile(file, changed))
        const kept = back === 1 ? entries : entries.slice(0, -1)
        assert.deepStrictEqual((yield* told(journal)).entries, kept, `${back} bytes before the end`)
      }
    })
  )

  it.effect("of a line end is distinguished from brackets and lists in the records", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const journal = FileJournal.make({ path })
      const confusing = ["a", "b"].map((id) => done(id, { value: ["0123abcd", "x", ["89abcdef", "y]", []]] }))
      yield* write(journal, confusing)
      const file = join(path, "000001.jsonl")
      const bytes = yield* Effect.promise(() => Fs.readFile(file))
      bytes[bytes.lastIndexOf("\n", -2)] = 0x0b
      yield* Effect.promise(() => Fs.writeFile(file, bytes))
      assert.deepStrictEqual(yield* told(journal), { entries: confusing, damage: [] })
    })
  )

  it.effect("in the middle is rejected unless forced, and named", () =>
    Effect.gen(function* () {
      const { bytes, file, journal, path } = yield* written
      const changed = Buffer.from(bytes)
      const at = bytes.indexOf("event-3")
      changed[at] = 0
      yield* Effect.promise(() => Fs.writeFile(file, changed))
      const refused = yield* reasonOf(told(journal))
      assert.strictEqual(refused.reason, "damaged")
      assert.match(refused.message, /bytes in 000001\.jsonl at byte \d+ cannot be read/)
      assert.strictEqual((yield* reasonOf(FileJournal.compact({ path }))).reason, "damaged")
      const left = entries.filter((entry) => !(entry._tag === "sent" && entry.id === "item-3"))
      const forced = yield* told(journal, { force: true })
      assert.deepStrictEqual(forced.entries, left)
      // Reported each time, no longer rejected, and gone after compaction.
      assert.deepStrictEqual(yield* told(journal), forced)
      yield* write(journal, [done("item-12")])
      yield* FileJournal.compact({ path })
      const compacted = yield* told(journal)
      assert.deepStrictEqual(compacted.damage, [])
      assert.deepStrictEqual(
        compacted.entries.map(({ id }) => id),
        [...ids, "item-12"]
      )
    })
  )

  it.effect("after earlier damage that was accepted is rejected again", () =>
    Effect.gen(function* () {
      const { bytes, file, journal, path } = yield* written
      const spoil = (file: string, bytes: Buffer, what: string) => {
        const changed = Buffer.from(bytes)
        changed[bytes.indexOf(what)] = 0
        return Effect.promise(() => Fs.writeFile(file, changed))
      }
      yield* spoil(file, bytes, "event-3")
      yield* told(journal, { force: true })
      yield* write(journal, [done("item-12"), done("item-13"), done("item-14")])
      yield* told(journal)
      const later = join(path, "000003.jsonl")
      yield* spoil(later, yield* Effect.promise(() => Fs.readFile(later)), "item-13")
      const refused = yield* reasonOf(told(journal))
      assert.match(refused.message, /bytes in 000003\.jsonl at byte \d+ cannot be read/)
      const forced = yield* told(journal, { force: true })
      assert.deepStrictEqual(
        forced.damage.map(({ where }) => where.slice(0, 12)),
        ["000001.jsonl", "000003.jsonl"]
      )
      assert.deepStrictEqual(yield* told(journal), forced)
    })
  )

  it.effect("a later format version is rejected", () =>
    Effect.gen(function* () {
      const { file, journal } = yield* written
      const { encodeHeader } = yield* Effect.promise(() => import("../../src/journal/line.ts"))
      yield* Effect.promise(() => Fs.writeFile(file, encodeHeader({ version: 2, fingerprint: {} })))
      assert.strictEqual((yield* reasonOf(told(journal))).reason, "newer")
    })
  )
})

describe("files", () => {
  it.live("start again at a size limit while durability of earlier entries is awaited", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const open = yield* FileJournal.make({ path, segmentBytes: 1_000 }).open({
        fingerprint: {},
        force: false,
        onEntry: () => undefined
      })
      const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
      // Every entry fills a segment, and the durability of each is awaited at another moment of the next one's
      // beginning.
      const asked = yield* Effect.forEach(
        Array.from({ length: 60 }, (_, i) => i),
        (i) =>
          Effect.flatMap(open.append([done(`item-${i}`, "y".repeat(1_000))]), ({ durable }) =>
            Effect.forkChild(Effect.andThen(Effect.repeat(turn, { times: i % 6 }), durable))
          )
      )
      yield* Effect.forEach(asked, Fiber.join)
    }).pipe(Effect.scoped)
  )

  it.effect("start again at a size limit, and every entry is found", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const journal = FileJournal.make({ path, segmentBytes: 2_000 })
      const entries = Array.from({ length: 300 }, (_, i) => done(`item-${i}`, { value: "y".repeat(i % 50) }))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const open = yield* journal.open({ fingerprint: {}, force: false, onEntry: () => undefined })
          const one = (entry: Entry) => Effect.flatMap(open.append([entry]), ({ durable }) => durable)
          yield* Effect.forEach(entries, one, { concurrency: 20 })
        })
      )
      assert.isAbove((yield* files(path)).length, 5)
      assert.deepStrictEqual((yield* told(journal)).entries, entries)
    })
  )

  it.effect("keep long lines readable across blocks", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const journal = FileJournal.make({ path })
      const entries = Array.from({ length: 6 }, (_, i) => done(`item-${i}`, { value: "z".repeat(200_000 + i) }))
      yield* write(journal, entries)
      assert.deepStrictEqual((yield* told(journal)).entries, entries)
    })
  )

  it.effect("are compacted to the entries that still matter", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const journal = FileJournal.make({ path, segmentBytes: 1_000 })
      const sent = (id: string): Entry => ({ _tag: "sent", id, eventId: `e-${id}` })
      const dead = (id: string): Entry => ({ _tag: "dead", id, record: { error: id } })
      const all = [sent("a"), done("a"), sent("b"), dead("b"), sent("c"), sent("d"), dead("d"), sent("d"), done("d")]
      const filler = Array.from({ length: 40 }, (_, i) => [sent(`f${i}`), done(`f${i}`)]).flat()
      yield* write(journal, [...all, ...filler], { route: "r" })
      const before = yield* files(path)
      const result = yield* FileJournal.compact({ path })
      assert.strictEqual(result.dropped, 5 + 40)
      assert.isBelow(result.bytesAfter, result.bytesBefore)
      assert.strictEqual((yield* files(path)).length, 1)
      const kept = [done("a"), dead("b"), sent("c"), done("d"), ...filler.filter(({ _tag }) => _tag === "done")]
      assert.deepStrictEqual((yield* told(journal, { fingerprint: { route: "r" } })).entries, kept)
      assert.strictEqual((yield* reasonOf(told(journal, { fingerprint: { route: "s" } }))).reason, "otherJob")
      // Killed before the old files were removed: they are not read twice.
      yield* Effect.promise(() => Fs.writeFile(join(path, before[0] ?? ""), "anything"))
      assert.deepStrictEqual((yield* told(journal)).entries, kept)
      yield* write(journal, [done("z")])
      assert.deepStrictEqual((yield* told(journal)).entries, [...kept, done("z")])
    })
  )

  it.effect("reject a record that is not JSON, and continue", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const journal = FileJournal.make({ path })
      const cyclic: Record<string, BatchJournal.Json> = {}
      cyclic["self"] = cyclic
      const exit = yield* reasonOf(write(journal, [done("a", cyclic)]))
      assert.strictEqual(exit.reason, "encoding")
      yield* write(journal, [done("b")])
      assert.deepStrictEqual((yield* told(journal)).entries, [done("b")])
    })
  )

  it.effect("explain why a path cannot be a journal", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const file = join(path, "file")
      yield* Effect.promise(() => Fs.writeFile(file, ""))
      const notFolder = yield* reasonOf(told(FileJournal.make({ path: file })))
      assert.strictEqual(notFolder.reason, "failed")
      assert.include(notFolder.message, "expected the path of a folder")
      const size = yield* reasonOf(told(FileJournal.make({ path, segmentBytes: 10 })))
      assert.include(size.message, "segmentBytes: expected 1000 to")
      const empty = yield* reasonOf(told(FileJournal.make({ path: "" })))
      assert.include(empty.message, "path: expected")
    })
  )
})

/** A folder with a program that imports the library by its name. */
const program = (source: string) =>
  Effect.gen(function* () {
    const path = yield* folder
    const root = new URL("../..", import.meta.url).pathname
    const script = join(path, "program.ts")
    yield* Effect.promise(async () => {
      await Fs.writeFile(script, source)
      await Fs.mkdir(join(path, "node_modules"))
      await Fs.symlink(join(root, "node_modules", "effect"), join(path, "node_modules", "effect"))
      await Fs.symlink(root, join(path, "node_modules", "effect-ai-gateway"))
    })
    const args = ["--conditions=effect-ai-gateway-source", script, join(path, "j")]
    return { journal: join(path, "j"), command: [process.execPath, ...args] as const }
  })

describe("a full disk", () => {
  const writer = `
    import * as Effect from "effect/Effect"
    import * as FileJournal from "effect-ai-gateway/journal"
import { Conformance } from "effect-ai-gateway/testing"
    const open = FileJournal.make({ path: process.argv[2] }).open({ fingerprint: {}, force: false, onEntry: () => {} })
    const program = Effect.gen(function* () {
      const { append } = yield* open
      const one = (id) =>
        append([{ _tag: "done", id, record: "x".repeat(100) }]).pipe(
          Effect.flatMap(({ durable }) => durable),
          Effect.andThen(Effect.sync(() => process.stdout.write(id + "\\n")))
        )
      const ids = Array.from({ length: 5_000 }, (_, i) => "item-" + i)
      yield* Effect.forEach(ids, one, { concurrency: 10 })
    })
    Effect.runPromise(Effect.scoped(program)).catch((error) => process.stdout.write(error._tag + " " + error.reason))`

  it.live("fails the journal, and loses nothing that was durable", () =>
    Effect.gen(function* () {
      const { command, journal } = yield* program(writer)
      // No file may grow beyond this: the write is cut short and then rejected, as on a full disk.
      const said = yield* Effect.callback<string>((resume) => {
        const child = spawn("sh", ["-c", `ulimit -f 200; exec "$@"`, "sh", ...command])
        let text = ""
        child.stdout.on("data", (data) => {
          text += String(data)
        })
        child.once("close", () => resume(Effect.succeed(text)))
      })
      const lines = said.split("\n")
      assert.strictEqual(lines.pop(), "JournalError failed")
      assert.isAbove(lines.length, 100)
      const { damage, entries } = yield* told(FileJournal.make({ path: journal }))
      const kept = new Set(entries.map(({ id }) => id))
      assert.deepStrictEqual(
        lines.filter((id) => !kept.has(id)),
        []
      )
      assert.deepStrictEqual(
        damage.map(({ kind }) => kind),
        ["torn"]
      )
      yield* write(FileJournal.make({ path: journal }), [done("later")])
      assert.strictEqual((yield* told(FileJournal.make({ path: journal }))).entries.length, entries.length + 1)
    }).pipe(Effect.scoped)
  )
})

describe("the lock", () => {
  const holder = `
    import * as Effect from "effect/Effect"
    import * as FileJournal from "effect-ai-gateway/journal"
import { Conformance } from "effect-ai-gateway/testing"
    const open = FileJournal.make({ path: process.argv[2] }).open({ fingerprint: {}, force: false, onEntry: () => {} })
    const program = Effect.gen(function* () {
      yield* open
      process.stdout.write("held")
      setInterval(() => {}, 1000)
      yield* Effect.never
    })
    Effect.runPromise(Effect.scoped(program)).catch((error) => {
      process.stdout.write(error.reason)
      process.exit(3)
    })`

  it.live("rejects a second process, and yields when the first was killed", () =>
    Effect.gen(function* () {
      const { command, journal: path } = yield* program(holder)
      const [node, ...args] = command
      const start = () => spawn(node, args)
      const saysOf = (child: ReturnType<typeof start>) =>
        Effect.callback<string>((resume) => {
          child.stdout.once("data", (data) => resume(Effect.succeed(String(data))))
        })
      const first = start()
      yield* Effect.addFinalizer(() => Effect.sync(() => first.kill("SIGKILL")))
      assert.strictEqual(yield* saysOf(first), "held")
      const second = start()
      assert.strictEqual(yield* saysOf(second), "locked")
      const journal = FileJournal.make({ path })
      const refused = yield* reasonOf(told(journal))
      assert.include(refused.message, `process ${first.pid}`)
      const exited = Effect.callback<void>((resume) => {
        first.once("exit", () => resume(Effect.void))
      })
      first.kill("SIGKILL")
      yield* exited
      assert.deepStrictEqual((yield* told(journal)).entries, [])
    }).pipe(Effect.scoped)
  )

  it.effect("does not assume that another machine is dead unless forced, and ignores a reused process number", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const put = (owner: object) =>
        Effect.promise(() => Fs.writeFile(join(path, "lock-1-x.json"), JSON.stringify(owner)))
      yield* put({ host: "elsewhere", pid: 1 })
      assert.strictEqual((yield* reasonOf(told(FileJournal.make({ path })))).reason, "locked")
      yield* told(FileJournal.make({ path, breakLock: true }))
      const { hostname } = yield* Effect.promise(() => import("node:os"))
      yield* put({ host: hostname(), pid: process.pid, start: "1", boot: "other" })
      yield* told(FileJournal.make({ path }))
      yield* put({ host: hostname(), pid: 2 ** 22 + 1 })
      yield* told(FileJournal.make({ path }))
      yield* put({ host: hostname(), pid: process.pid })
      assert.strictEqual((yield* reasonOf(told(FileJournal.make({ path })))).reason, "locked")
    })
  )
})
