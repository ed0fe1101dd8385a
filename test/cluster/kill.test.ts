import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert, describe, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Cluster from "effect-ai-gateway/cluster"
import { serve } from "effect-ai-gateway/local/node"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import { childEnv } from "../support/childEnv.ts"
import type { Task } from "./child.ts"
import { client, missing, start } from "./postgres.ts"
import { brief, collected, items, text, until } from "./support.ts"

const child = fileURLToPath(new URL("child.ts", import.meta.url))

class Database extends Context.Service<Database, string>()("test/Database") {}
const Live = Layer.unwrap(Effect.map(start, (url) => Layer.merge(client(url), Layer.succeed(Database, url))))

const spawned = (task: Task) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, ["--conditions=effect-ai-gateway-source", child, JSON.stringify(task)], {
        env: childEnv,
        stdio: ["ignore", "pipe", "inherit"]
      })
    ),
    (process) => Effect.sync(() => process.kill("SIGKILL"))
  )

/** The complete output of a process. */
const outputOf = (process: ChildProcess): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let text = ""
    process.stdout?.on("data", (data) => {
      text += String(data)
    })
    process.once("close", () => resume(Effect.succeed(text)))
  })

describe.skipIf(missing !== undefined)(missing ?? "cluster, killed with -9", () => {
  layer(Live, { excludeTestServices: true, timeout: 120_000 })((it) => {
    it.effect(
      "keeps one result per item when two of three workers are killed, at the cost of requests in flight",
      () =>
        Effect.gen(function* () {
          const count = 600
          const concurrency = 8
          const calls = new Map<string, number>()
          let total = 0
          const [both, killed] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
          const echo = yield* Upstream.echo({ text: ({ prompt }) => `answer-to-${prompt}` }).start
          const upstream = Upstream.make((request) => {
            const [prompt = ""] = /i\d+/.exec(JSON.stringify(request.json)) ?? []
            const nth = (calls.get(prompt) ?? 0) + 1
            calls.set(prompt, nth)
            total++
            const answer =
              nth === 1 && prompt.endsWith("3")
                ? Effect.succeed({ status: 503, headers: {}, body: "{}" })
                : echo(request)
            // More than one worker requests: however long a process takes to start, two are at work from here on.
            if (total > concurrency) Deferred.doneUnsafe(both, Effect.void)
            // However late the first one is killed, much remains to be done.
            const goOn = total > 250 ? killed : both
            return Effect.andThen(Deferred.await(goOn), Effect.delay(answer, 5 + (Number(prompt.slice(1)) % 37)))
          })
          const { url } = yield* serve({ port: 0, upstreams: { openai: upstream } })
          yield* Cluster.submit({ job: "kill", items: items(count), ...text })
          const task = { url, database: yield* Database, job: "kill", concurrency }
          const first = yield* spawned(task)
          const second = yield* spawned(task)
          const haveEnded = (count: number) =>
            Effect.map(
              Cluster.status("kill"),
              ({ workers }) => workers.filter(({ ended }) => ended > 0).length === count && total >= 120
            )
          yield* until(haveEnded(2))
          first.kill("SIGKILL")
          yield* Deferred.succeed(killed, undefined)
          // Added while others work.
          const third = yield* spawned(task)
          const said = outputOf(third)
          yield* until(Effect.sync(() => total >= 300))
          second.kill("SIGKILL")
          assert.include(yield* said, `"state":"complete"`)
          assert.deepStrictEqual(
            [first, second, third].map(({ signalCode }) => signalCode),
            ["SIGKILL", "SIGKILL", null]
          )

          assert.deepStrictEqual(
            (yield* collected("kill")).map(brief),
            items(count).map(({ id }) => `${id} answer-to-${id}`)
          )
          assert.strictEqual(calls.size, count)
          assert.isAtMost(total, count + count / 10 + 2 * concurrency)
          const { open, state, workers } = yield* Cluster.status("kill")
          assert.deepStrictEqual([state, open, workers.length], ["finished", 0, 3])
          assert.isTrue(workers.every(({ ended }) => ended > 0))
        }),
      180_000
    )

    it.effect(
      "ends a poison item as a dead letter, without harm to others",
      () =>
        Effect.gen(function* () {
          const echo = yield* Upstream.echo({ text: ({ prompt }) => `answer-to-${prompt}` }).start
          let total = 0
          const upstream = Upstream.make((request) => {
            total++
            return Effect.delay(echo(request), 40)
          })
          const { url } = yield* serve({ port: 0, upstreams: { openai: upstream } })
          yield* Cluster.submit({ job: "poison", items: items(12), ...text })
          const task = { url, database: yield* Database, job: "poison", concurrency: 12, maxAttempts: 3, poison: "i11" }
          let kills = 0
          let last = yield* spawned(task)
          for (; kills < 10; kills++) {
            yield* outputOf(last)
            if (last.signalCode === null) break
            last = yield* spawned(task)
          }
          assert.strictEqual(kills, 3)
          const results = yield* collected("poison")
          assert.deepStrictEqual(
            results.map(brief),
            items(12).map(({ id }) => (id === "i11" ? "i11 Rejected" : `${id} answer-to-${id}`))
          )
          const poison = results.at(-1)
          assert.include(poison?._tag === "DeadLetter" ? { ...poison.error.reason } : {}, {
            by: "budget",
            code: "poison"
          })
          assert.isAtMost(total, 11 * 3)
        }),
      180_000
    )
  })
})
