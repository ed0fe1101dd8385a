/** The files of an interrupted `batch`, and how the next run continues. */
import * as Fs from "node:fs/promises"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { assertComplete, items, jsonl, parsed, world } from "./batchSupport.ts"

const timeout = 180_000
const concurrency = 4
const command = ["in.jsonl", "out.jsonl", "--route", "route.json", "--concurrency", String(concurrency)]

describe("batch that ends early", () => {
  it.live(
    "loses nothing on kill -9, and repeats only requests in flight",
    () =>
      Effect.gen(function* () {
        const w = yield* world(() => Effect.sleep(4))
        const count = 300
        yield* w.write("in.jsonl", items(count))
        for (const moment of [1, 60, 150]) {
          const running = yield* w.batch(command)
          yield* w.until(w.requests.length + moment)
          running.child.kill("SIGKILL")
          assert.isNull((yield* running.exit).code)
          // A half-written line after a crash of the machine, which no process here could leave.
          if (moment === 60) yield* Effect.promise(() => Fs.appendFile(w.at("out.jsonl"), `{"id":"i29`))
        }
        const { code, err } = yield* w.run(command)
        assert.strictEqual(code, 0, err)
        assertComplete(yield* w.lines("out.jsonl"), count)
        assert.isAtMost(w.requests.length, count + 3 * concurrency)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live.each(["SIGINT", "SIGTERM"] as const)(
    "%s lets what is in flight end, says so, and the next run does the rest",
    (signal) =>
      Effect.gen(function* () {
        const count = 60
        const goOn = yield* Deferred.make<void>()
        // The first items are in flight when the signal arrives.
        const w = yield* world((prompt) => (Number(prompt.slice(1)) < concurrency ? Deferred.await(goOn) : undefined))
        yield* w.write("in.jsonl", items(count))
        const running = yield* w.batch([...command, "--json"])
        yield* w.until(concurrency)
        running.child.kill(signal)
        // A second signal at the same time counts as one: npm forwards what the terminal has already sent.
        running.child.kill(signal)
        yield* running.says("Finishing items in flight")
        yield* Deferred.succeed(goOn, undefined)
        const { code, out } = yield* running.exit
        assert.strictEqual(code, 130)
        assert.deepInclude(parsed(out)[0], { exitCode: 130, state: "drained", succeeded: concurrency })
        assertComplete(yield* w.lines("out.jsonl"), concurrency)
        const second = yield* w.run(command)
        assert.strictEqual(second.code, 0)
        assertComplete(yield* w.lines("out.jsonl"), count)
        assert.lengthOf(w.requests, count)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "stops at once on a second SIGINT, and the next run does the rest",
    () =>
      Effect.gen(function* () {
        const count = 40
        const stalled = 20
        const w = yield* world((prompt, nth) => (prompt === `i${stalled}` && nth === 0 ? Effect.never : undefined))
        yield* w.write("in.jsonl", items(count))
        const running = yield* w.batch(command)
        yield* w.until(count)
        running.child.kill("SIGINT")
        yield* running.says("Finishing items in flight")
        while ((yield* w.read("out.jsonl")).split("\n").length < count) yield* Effect.sleep(20)
        assert.isNull(running.child.exitCode, "one signal waits for what is in flight")
        // Two within 300 ms count as one. A third could arrive when the process no longer listens, and kill it.
        yield* Effect.sleep(400)
        running.child.kill("SIGINT")
        const { code, err } = yield* running.exit
        assert.strictEqual(code, 130)
        assert.include(err, `Interrupted: ${count - 1} of ${count} items`)
        assertComplete(yield* w.lines("out.jsonl"), count - 1)
        assert.strictEqual((yield* w.run(command)).code, 0)
        assertComplete(yield* w.lines("out.jsonl"), count)
        assert.lengthOf(w.requests, count + 1)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "exits with 1 and a message on a full output disk",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", items(5))
        const full = yield* w.run(["in.jsonl", "/dev/full", "--route", "route.json", "--journal", "out.jsonl.journal"])
        assert.strictEqual(full.code, 1)
        assert.include(full.err, "/dev/full: the disk is full; free some space; finished items are in the journal")
        assert.strictEqual((yield* w.run(command)).code, 0)
        assertComplete(yield* w.lines("out.jsonl"), 5)
        assert.lengthOf(w.requests, 5)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "exits with 1 for a failure that is not an item's, with finished items in the output",
    () =>
      Effect.gen(function* () {
        let broken = true
        const w = yield* world((prompt) => (broken && prompt === "i7" ? { status: 402 } : undefined))
        yield* w.write("in.jsonl", items(10))
        const running = yield* w.batch([...command.slice(0, 4), "--concurrency", "1", "--json"])
        // Its quota is exhausted, for which a job waits; so the test ends it.
        yield* w.until(8)
        running.child.kill("SIGINT")
        const ended = yield* running.exit
        assert.strictEqual(ended.code, 130)
        assert.deepInclude(parsed(ended.out)[0], { exitCode: 130, succeeded: 7, pauses: 1 })
        broken = false
        assert.strictEqual((yield* w.run(command)).code, 0)
        assertComplete(yield* w.lines("out.jsonl"), 10)

        yield* w.write("more.jsonl", items(3))
        const args = ["more.jsonl", "more.out", "--route", "route.json", "--gateway", "nowhere", "--json"]
        const { code, err, out } = yield* w.run(args)
        assert.strictEqual(code, 1)
        assert.include(err, "the job stopped: Router.run: openai/m: gateway not found")
        assert.deepInclude(parsed(out)[0], { exitCode: 1, state: "failed", succeeded: 0 })
        const again = yield* w.run([...args.slice(0, 4), "--json"])
        assert.strictEqual(again.code, 0)
        assertComplete(yield* w.lines("more.out"), 3)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "rejects a second process while the first one runs, and leaves its output alone",
    () =>
      Effect.gen(function* () {
        const goOn = yield* Deferred.make<void>()
        const w = yield* world(() => Deferred.await(goOn))
        yield* w.write("in.jsonl", items(5))
        const first = yield* w.batch(command)
        yield* w.until(concurrency)
        const second = yield* w.run(command)
        assert.strictEqual(second.code, 2)
        assert.include(second.err, "--journal out.jsonl.journal: is in use by process")
        yield* Deferred.succeed(goOn, undefined)
        assert.strictEqual((yield* first.exit).code, 0)
        assertComplete(yield* w.lines("out.jsonl"), 5)
        assert.lengthOf(w.requests, 5)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "does not send items again whose results a cut journal has lost but the output has",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", items(40))
        assert.strictEqual((yield* w.run(command)).code, 0)
        const segment = w.at("out.jsonl.journal/000001.jsonl")
        const { size } = yield* Effect.promise(() => Fs.stat(segment))
        yield* Effect.promise(() => Fs.truncate(segment, Math.floor(size / 2)))
        // The output's last results are lost too, as after a crash of the machine.
        const lines = yield* w.lines("out.jsonl")
        yield* w.write(
          "out.jsonl",
          `${lines
            .slice(0, 35)
            .map((line) => JSON.stringify(line))
            .join("\n")}\n`
        )
        const again = yield* w.run([...command, "--json"])
        assert.strictEqual(again.code, 0, again.err)
        assert.match(again.err, /out\.jsonl holds \d+ results that the journal has lost; they stay as they are/)
        assertComplete(yield* w.lines("out.jsonl"), 40)
        assert.lengthOf(w.requests, 45)
        // Once more, with nothing left to do.
        assert.strictEqual((yield* w.run(command)).code, 0)
        assertComplete(yield* w.lines("out.jsonl"), 40)
        assert.lengthOf(w.requests, 45)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "keeps an answer in the output whose journal is lost, despite an older dead letter in the journal",
    () =>
      Effect.gen(function* () {
        const w = yield* world((prompt, nth) => (prompt === "i1" && nth === 0 ? { status: 400 } : undefined))
        yield* w.write("in.jsonl", items(3))
        const again = [...command, "--retry-failed", "--json"]
        assert.strictEqual((yield* w.run(command)).code, 1)
        // As it may be reached, and protected.
        yield* Effect.promise(async () => {
          await Fs.rename(w.at("out.jsonl"), w.at("real.jsonl"))
          await Fs.chmod(w.at("real.jsonl"), 0o600)
          await Fs.symlink("real.jsonl", w.at("out.jsonl"))
        })
        assert.strictEqual((yield* w.run(again)).code, 0)
        assert.isTrue((yield* Effect.promise(() => Fs.lstat(w.at("out.jsonl")))).isSymbolicLink())
        assert.strictEqual((yield* Effect.promise(() => Fs.stat(w.at("real.jsonl")))).mode & 0o777, 0o600)
        assertComplete(yield* w.lines("out.jsonl"), 3)
        const segment = w.at("out.jsonl.journal/000002.jsonl")
        const [header = ""] = (yield* w.read("out.jsonl.journal/000002.jsonl")).split("\n")
        yield* Effect.promise(() => Fs.truncate(segment, Buffer.byteLength(header) + 1))
        for (const args of [again, [...command, "--json"]]) {
          const { code, err, out } = yield* w.run(args)
          assert.strictEqual(code, 0, err)
          assert.include(err, "holds 1 results that the journal has lost")
          assert.deepInclude(parsed(out)[0], {
            total: 3,
            items: 3,
            unmet: 0,
            replayed: { succeeded: 3, deadLetters: 0 }
          })
          assertComplete(yield* w.lines("out.jsonl"), 3)
        }
        assert.lengthOf(w.requests, 4)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "counts dead letters of the output that the journal has lost, which --ordered does not overwrite",
    () =>
      Effect.gen(function* () {
        const w = yield* world((prompt) => (prompt === "i2" ? { status: 400 } : undefined))
        yield* w.write("in.jsonl", items(3))
        const one = [...command.slice(0, 4), "--concurrency", "1"]
        assert.strictEqual((yield* w.run(one)).code, 1)
        const text = yield* w.read("out.jsonl")
        const journal = yield* w.read("out.jsonl.journal/000001.jsonl")
        yield* w.write("out.jsonl.journal/000001.jsonl", journal.slice(0, journal.trimEnd().lastIndexOf("\n") + 1))
        const ordered = yield* w.run([...one, "--ordered"])
        assert.strictEqual(ordered.code, 2)
        assert.include(
          ordered.err,
          "out.jsonl: holds 1 results that the journal out.jsonl.journal has lost, and --ordered"
        )
        assert.strictEqual(yield* w.read("out.jsonl"), text)
        const { code, out } = yield* w.run([...one, "--json"])
        assert.strictEqual(code, 1)
        assert.deepInclude(parsed(out)[0], { exitCode: 1, replayed: { succeeded: 2, deadLetters: 1 } })
        assert.include((yield* w.run(one)).err, "Done: 3 of 3 items, 1 dead letter (from earlier runs 1)")
        assert.strictEqual(yield* w.read("out.jsonl"), text)
        assert.lengthOf(w.requests, 3)
        assert.strictEqual((yield* w.run([...one, "--ordered", "--force"])).code, 1)
        assert.lengthOf(yield* w.lines("out.jsonl"), 3)
        assert.lengthOf(w.requests, 4)
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "exits with 1 and one line when the reader of standard output leaves",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", items(3))
        for (const args of [
          ["in.jsonl", "-", "--route", "route.json"],
          [...command, "--json"]
        ]) {
          const running = yield* w.batch(args)
          running.child.stdout.destroy()
          const { code, err } = yield* running.exit
          assert.strictEqual(code, 1, err)
          assert.include(err, "standard output: the reader has gone")
          assert.notInclude(err, "    at ")
        }
      }).pipe(Effect.scoped),
    timeout
  )

  it.live(
    "continues with --force after the input has changed, and overwrites an unknown output",
    () =>
      Effect.gen(function* () {
        const w = yield* world()
        yield* w.write("in.jsonl", items(3))
        assert.strictEqual((yield* w.run(command)).code, 0)
        yield* w.write("in.jsonl", items(5))
        assert.strictEqual((yield* w.run(command)).code, 2)
        assert.lengthOf(yield* w.lines("out.jsonl"), 3)
        assert.strictEqual((yield* w.run([...command, "--force"])).code, 0)
        assertComplete(yield* w.lines("out.jsonl"), 5)
        assert.lengthOf(w.requests, 5)

        yield* w.write("other.jsonl", "precious\n")
        const other = ["in.jsonl", "other.jsonl", "--route", "route.json"]
        assert.strictEqual((yield* w.run(other)).code, 2)
        assert.strictEqual(yield* w.read("other.jsonl"), "precious\n")
        assert.strictEqual((yield* w.run([...other, "--force"])).code, 0)
        assertComplete(yield* w.lines("other.jsonl"), 5)

        // Results that the journal does not know are kept, unless forced.
        yield* w.write("other.jsonl", jsonl({ id: "i9", status: "ok" }))
        const unknown = yield* w.run(other)
        assert.strictEqual(unknown.code, 2)
        assert.include(
          unknown.err,
          "other.jsonl: holds 1 results that neither the journal other.jsonl.journal nor the input knows"
        )
        assert.lengthOf(yield* w.lines("other.jsonl"), 1)
        assert.strictEqual((yield* w.run([...other, "--force"])).code, 0)
        assertComplete(yield* w.lines("other.jsonl"), 5)
      }).pipe(Effect.scoped),
    timeout
  )
})
