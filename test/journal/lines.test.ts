import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as BatchJournal from "effect-ai-gateway/BatchJournal"
import * as FileJournal from "effect-ai-gateway/journal"

const done = (id: string, record: BatchJournal.Json = { value: id }): BatchJournal.Entry => ({
  _tag: "done",
  id,
  record
})

describe("a journal in files with lines of several megabytes", () => {
  it.effect("reads them, and reports where they are damaged", () =>
    Effect.gen(function* () {
      const path = yield* Effect.acquireRelease(
        Effect.promise(() => Fs.mkdtemp(join(tmpdir(), "journal-"))),
        (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
      )
      const journal = FileJournal.make({ path })
      const open = (force: boolean, onEntry: (entry: BatchJournal.Known) => void) =>
        journal.open({ fingerprint: {}, force, onEntry })
      const large = { value: "x".repeat(2_500_000) }
      const all = [done("a"), done("b", large), done("c"), done("d", large), done("e")]
      yield* Effect.scoped(
        Effect.flatMap(
          open(false, () => undefined),
          ({ append }) => append(all)
        )
      )
      const known: Array<BatchJournal.Known> = []
      const records = yield* Effect.scoped(
        Effect.flatMap(
          open(false, (entry) => known.push(entry)),
          ({ damage, read }) => {
            assert.deepStrictEqual(damage, [])
            return Effect.forEach(known, ({ location }) => read(location))
          }
        )
      )
      assert.deepStrictEqual(records, [{ value: "a" }, large, { value: "c" }, large, { value: "e" }])
      const file = join(path, "000001.jsonl")
      yield* Effect.promise(async () => {
        const bytes = await Fs.readFile(file)
        // In the middle of `b`, one chunk after its beginning.
        bytes[bytes.indexOf('"b"') + 2_000_000] = 0x79
        await Fs.writeFile(file, bytes)
      })
      const ids: Array<string> = []
      const { damage } = yield* Effect.scoped(open(true, ({ id }) => ids.push(id)))
      assert.deepStrictEqual(ids, ["a", "c", "d", "e"])
      const [one] = damage
      assert.strictEqual(one?.kind, "corrupt")
      assert.isAbove(one?.bytes ?? 0, 2_500_000)
      const text = yield* Effect.promise(() => Fs.readFile(file, "latin1"))
      const start = Number(one?.where.split(" ").at(-1))
      assert.strictEqual(text.slice(start + 12, start + 22), '"done","b"')
    }).pipe(Effect.scoped)
  )
})

describe("a journal in files whose beginning is damaged", () => {
  it.effect("still names the job that it belongs to, and continues when forced", () =>
    Effect.gen(function* () {
      const path = yield* Effect.acquireRelease(
        Effect.promise(() => Fs.mkdtemp(join(tmpdir(), "journal-"))),
        (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
      )
      const journal = FileJournal.make({ path })
      const ids: Array<string> = []
      const open = (input: string, force: boolean) =>
        journal.open({ fingerprint: { input }, force, onEntry: ({ id }) => ids.push(id) })
      yield* Effect.scoped(Effect.flatMap(open("mine", false), ({ append }) => append([done("a"), done("b")])))
      const file = join(path, "000001.jsonl")
      const spoil = Effect.promise(async () => {
        const bytes = await Fs.readFile(file)
        bytes[0] = 0
        await Fs.writeFile(file, bytes)
      })
      const reasonOf = (input: string) =>
        Effect.map(Effect.flip(Effect.scoped(open(input, false))), ({ reason }) => reason)
      yield* spoil
      assert.strictEqual(yield* reasonOf("other"), "otherJob")
      assert.strictEqual(yield* reasonOf("mine"), "damaged")
      ids.length = 0
      yield* Effect.scoped(open("mine", true))
      assert.deepStrictEqual(ids, ["a", "b"])
      yield* FileJournal.compact({ path })
      assert.strictEqual(yield* reasonOf("other"), "otherJob")
    }).pipe(Effect.scoped)
  )
})
