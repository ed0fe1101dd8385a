import { type ChildProcess, spawn } from "node:child_process"
import * as Fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileJournal from "effect-ai-gateway/journal"
import { serve } from "effect-ai-gateway/local/node"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import { childEnv } from "../support/childEnv.ts"
import type { Task } from "./child.ts"

const child = fileURLToPath(new URL("child.ts", import.meta.url))

const start = (task: Task): ChildProcess =>
  spawn(process.execPath, ["--conditions=effect-ai-gateway-source", child, JSON.stringify(task)], {
    env: childEnv,
    stdio: ["ignore", "pipe", "inherit"]
  })

/** The complete output of a process. `onStart` is called when it is about to run. */
const outputOf = (process: ChildProcess, onStart: () => void): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let text = ""
    process.stdout?.on("data", (data) => {
      if (text === "") onStart()
      text += String(data)
    })
    process.once("close", () => resume(Effect.succeed(text)))
    return Effect.sync(() => process.kill("SIGKILL"))
  })

const folder = Effect.acquireRelease(
  Effect.promise(() => Fs.mkdtemp(join(tmpdir(), "batch-kill-"))),
  (path) => Effect.promise(() => Fs.rm(path, { recursive: true, force: true }))
)

const linesOf = (path: string) =>
  Effect.promise(async () =>
    (await Fs.readFile(path, "utf8").catch(() => ""))
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => line.split(" "))
  )

describe("kill -9", () => {
  // Milliseconds after the batch has begun, in no order.
  const moments = [150, 0, 320, 40, 5, 210, 90, 400, 15, 260, 1, 130, 60, 350, 25]
  const items = 2_400
  const concurrency = 8

  it.live(
    "loses no result at any moment, repeats none, and costs at most the requests in flight",
    () =>
      Effect.gen(function* () {
        const path = yield* folder
        const calls = new Map<string, number>()
        const echo = yield* Upstream.echo({ text: ({ prompt }) => `answer-to-${prompt}` }).start
        const upstream = Upstream.make((request) => {
          const prompt = /item-(\d+)/.exec(JSON.stringify(request.json))
          const nth = (calls.get(prompt?.[0] ?? "") ?? 0) + 1
          calls.set(prompt?.[0] ?? "", nth)
          const answer =
            nth === 1 && Number(prompt?.[1]) % 10 === 0
              ? Effect.succeed({ status: 503, headers: {}, body: "{}" })
              : echo(request)
          return Effect.delay(answer, 3 + (Number(prompt?.[1]) % 17))
        })
        const { url } = yield* serve({ port: 0, upstreams: { openai: upstream } })
        const task = { url, journal: join(path, "journal"), items, concurrency }
        const fresh: Array<string> = []
        for (const [number, moment] of moments.entries()) {
          const out = join(path, `out-${number}`)
          const running = start({ ...task, out })
          const before = calls.size
          const kill = (): void => {
            // One run must reach results, however slow the machine is.
            if (number === 0 && calls.size < before + 5 * concurrency) setTimeout(kill, 5)
            else running.kill("SIGKILL")
          }
          yield* outputOf(running, () => setTimeout(kill, moment))
          assert.strictEqual(running.signalCode, "SIGKILL", "it ended before it was killed: more items are needed")
          const lines = yield* linesOf(out)
          fresh.push(...lines.flatMap(([kind, id]) => (kind === "new" && id !== undefined ? [id] : [])))
        }
        const out = join(path, "out-last")
        const said = yield* outputOf(start({ ...task, out }), () => undefined)
        const summary = JSON.parse(said.split("\n").find((line) => line.startsWith("{")) ?? "{}")
        assert.strictEqual(summary.state, "complete")

        const last = yield* linesOf(out)
        const ids = Array.from({ length: items }, (_, i) => `item-${i}`)
        assert.deepStrictEqual(last.map(([, id]) => id).sort(), [...ids].sort())
        for (const [, id, value] of last) assert.strictEqual(value, `answer-to-${id}`)
        // A reported result is never forgotten, and never new again.
        const again = new Set(last.flatMap(([kind, id]) => (kind === "again" ? [id] : [])))
        assert.deepStrictEqual(
          fresh.filter((id) => !again.has(id)),
          []
        )
        fresh.push(...last.flatMap(([kind, id]) => (kind === "new" && id !== undefined ? [id] : [])))
        assert.strictEqual(new Set(fresh).size, fresh.length)
        assert.isAbove(again.size, 0)

        const failures = ids.length / 10
        const total = [...calls.values()].reduce((sum, times) => sum + times, 0)
        assert.strictEqual(calls.size, items)
        assert.isAtMost(total, items + failures + moments.length * concurrency)
        // Each item with an extra request was in flight in a killed run, and was looked up in the logs.
        let [ended, doubtful] = [0, 0]
        yield* Effect.scoped(
          FileJournal.make({ path: task.journal }).open({
            fingerprint: { items: String(items) },
            force: false,
            onEntry: ({ _tag }) => {
              if (_tag === "sent") doubtful++
              else ended++
            }
          })
        )
        assert.strictEqual(ended, items)
        assert.isAtMost(doubtful - ended, moments.length * concurrency)
      }).pipe(Effect.scoped),
    300_000
  )

  it.live(
    "rejects a second process on the same journal, which does no harm",
    () =>
      Effect.gen(function* () {
        const path = yield* folder
        const asked: Array<string> = []
        const refused = yield* Deferred.make<void>()
        const echo = yield* Upstream.echo().start
        const upstream = Upstream.make((request) => {
          asked.push(JSON.stringify(request.json))
          return Effect.andThen(Deferred.await(refused), echo(request))
        })
        const { url } = yield* serve({ port: 0, upstreams: { openai: upstream } })
        const task = { url, journal: join(path, "journal"), items: 400, concurrency: 2 }
        const started = yield* Deferred.make<void>()
        const first = yield* Effect.forkChild(
          outputOf(start({ ...task, out: join(path, "first") }), () => Deferred.doneUnsafe(started, Effect.void))
        )
        yield* Deferred.await(started)
        while (asked.length === 0) yield* Effect.sleep(5)
        const second = start({ ...task, out: join(path, "second") })
        assert.include(yield* outputOf(second, () => undefined), "is in use by process")
        assert.strictEqual(second.exitCode, 3)
        yield* Deferred.succeed(refused, undefined)
        assert.include(yield* Fiber.join(first), `"state":"complete"`)
        assert.deepStrictEqual(yield* linesOf(join(path, "second")), [])
        assert.strictEqual((yield* linesOf(join(path, "first"))).length, 400)
        assert.strictEqual(asked.length, 400)
      }).pipe(Effect.scoped),
    180_000
  )
})
