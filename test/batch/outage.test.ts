import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import * as BatchJournal from "effect-ai-gateway/BatchJournal"
import * as Route from "effect-ai-gateway/Route"
import type { Line } from "../support/scripted.ts"
import { brief, drive, leaf, names, over, plain, reasonIn, runAll, runOnce, tagsOf, tick, world } from "./support.ts"

const down = { status: 503, delay: 100 }
const refused = {
  status: 401,
  body: { error: { message: "Incorrect API key provided", type: "invalid_request_error" } }
}
const unknownModel = {
  status: 404,
  body: { error: { code: "model_not_found", message: "The model `m` does not exist" } }
}
const fine = { delay: 100 }

const isDead = ({ _tag }: Batch.Result<unknown>): boolean => _tag === "DeadLetter"

describe("an outage of all providers", () => {
  it.effect("pauses the job, probes with one item at a time, and loses none", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, _nth, { at }) => (at >= 1_000 && at < 10_000 ? down : fine))
      const { exit, results, summary } = yield* runAll(names(100), { ...plain, concurrency: 4 }, w, 100)
      assert.strictEqual(exit._tag, "Success")
      assert.strictEqual(results.length, 100)
      assert.isFalse(results.some(isDead))
      assert.strictEqual(summary.pauses, 1)
      const failed = w.requests.filter(({ at }) => at >= 1_000 && at < 10_000).map(({ at }) => at)
      // Requests in flight when the fifth item in a row fails, and probes after 1, 2 and 4 seconds.
      assert.isAtMost(failed.filter((at) => at < 1_500).length, 12)
      assert.strictEqual(failed.filter((at) => at >= 1_500).length, 3)
      const again = results.filter(({ attempts }) => attempts.length > 1)
      assert.isAtLeast(again.length, 5)
      assert.isTrue(again.every(({ attempts }) => attempts[0]?.error?._tag === "ProviderUnavailable"))
    })
  )

  it.effect("fails the job when patience ends, leaving every item to a later run", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      let isDown = true
      const w = yield* world(() => (isDown ? down : fine))
      const options = { ...over(journal), concurrency: 4, outagePatience: "20 seconds" as const }
      const first = yield* runOnce(names(60), options, w)
      assert.strictEqual(reasonIn(first.exit)?._tag, "ProviderUnavailable")
      assert.deepStrictEqual(first.results, [])
      assert.deepInclude(first.summary, { state: "failed", deadLetters: 0, pauses: 1 })
      assert.strictEqual(first.summary.firstProblem?.error.reason._tag, "ProviderUnavailable")
      assert.isAtMost(w.requests.length, 16)
      assert.strictEqual(first.summary.requests, w.requests.length)
      assert.deepInclude(first.summary.targets["openai/m"], {
        requests: w.requests.length,
        failures: { ProviderUnavailable: w.requests.length }
      })
      assert.isFalse(journal.entries.some(({ _tag }) => _tag === "dead"))
      isDown = false
      const second = yield* runOnce(names(60), options, w)
      assert.strictEqual(second.results.filter(({ _tag }) => _tag === "Success").length, 60)
    })
  )

  it.effect("is probed a last time when patience ends, and never with a patience of 0", () =>
    Effect.gen(function* () {
      const w = yield* world(() => down)
      const patient = yield* runAll(names(50), { ...plain, concurrency: 1, outagePatience: "10 seconds" }, w, 100)
      assert.strictEqual(patient.exit._tag, "Failure")
      // Probes 1, 3, 7 and 10 seconds after the fifth failure.
      assert.deepStrictEqual(
        w.requests.slice(5).map(({ at }) => Math.floor((at - 500) / 1000)),
        [1, 3, 7, 10]
      )
      const other = yield* world(() => down)
      const impatient = yield* runAll(names(50), { ...plain, concurrency: 1, outagePatience: 0 }, other, 100)
      assert.strictEqual(reasonIn(impatient.exit)?._tag, "ProviderUnavailable")
      assert.strictEqual(other.requests.length, 5)
    })
  )

  it.effect("shows as endless throttling, hanging requests and broken connections too", () =>
    Effect.gen(function* () {
      const outages: ReadonlyArray<readonly [string, Line]> = [
        ["RateLimited", { status: 429 }],
        ["Timeout", { never: true }],
        ["TransportFailure", { reset: true }],
        ["ProviderUnavailable", { status: 503, headers: { "retry-after": "2" } }]
      ]
      for (const [reason, line] of outages) {
        const startedAt = yield* Clock.currentTimeMillis
        const w = yield* world((_prompt, _nth, { at }) => (at >= startedAt + 1_000 ? line : fine))
        const route = leaf().pipe(Route.timeout("2 seconds"))
        const options = {
          ...plain,
          route,
          concurrency: 4,
          throttlePatience: "3 seconds",
          outagePatience: "30 seconds"
        } as const
        const { exit, results } = yield* runAll(names(100), options, w, 100)
        assert.strictEqual(reasonIn(exit)?._tag, reason)
        assert.isFalse(results.some(isDead), reason)
        assert.isAtLeast(results.length, 30)
      }
    })
  )

  it.effect("shows as answers from a portal, a proxy or a wrong address too", () =>
    Effect.gen(function* () {
      const html = { "content-type": "text/html" }
      const foreign: Readonly<Record<string, Line>> = {
        "a page": { status: 200, text: "<html><body>Log in</body></html>", headers: html },
        "an empty answer": { status: 200, text: "" },
        "a text": { status: 200, text: "upstream error", headers: { "content-type": "text/plain" } },
        "a redirect": { status: 302, text: "", headers: { location: "https://portal.example/login" } },
        "a challenge": {
          status: 403,
          text: "<title>Just a moment...</title>",
          headers: { "cf-mitigated": "challenge" }
        },
        "a firewall": { status: 403, text: "<p>Sorry, you have been blocked</p>", headers: html },
        "another method": { status: 405, text: "<html>Method not allowed</html>", headers: html },
        "a proxy that wants a password": { status: 407, text: "", headers: html }
      }
      for (const [name, line] of Object.entries(foreign)) {
        const startedAt = yield* Clock.currentTimeMillis
        const w = yield* world((_prompt, _nth, { at }) =>
          at >= startedAt + 1_000 && at < startedAt + 10_000 ? { ...line, delay: 100 } : fine
        )
        const { exit, results } = yield* runAll(names(100), { ...plain, concurrency: 4 }, w, 100)
        assert.strictEqual(exit._tag, "Success", name)
        assert.lengthOf(results, 100)
        assert.isFalse(results.some(isDead), name)
      }
    })
  )

  it.effect("takes nothing from the deadlines of waiting items", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, _nth, { at }) => (at < 40_000 ? down : { delay: 1_500 }))
      const options = { ...plain, concurrency: 4, itemDeadline: "2 seconds" } as const
      const { exit, results } = yield* runAll(names(20), options, w, 100)
      assert.strictEqual(exit._tag, "Success")
      assert.strictEqual(results.filter(({ _tag }) => _tag === "Success").length, 20)
    })
  )

  it.effect("is not over when the gateway's cache or bad items answer", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) =>
        Number(prompt.slice(1)) % 2 === 0 ? { ...fine, headers: { "cf-aig-cache-status": "HIT" } } : down
      )
      const { exit, results } = yield* runAll(
        names(100),
        { ...plain, concurrency: 4, outagePatience: "20 seconds" },
        w,
        100
      )
      assert.strictEqual(reasonIn(exit)?._tag, "ProviderUnavailable")
      assert.isFalse(results.some(isDead))
    })
  )

  it.effect("leaves items undone when the job drains in the meantime", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i0" ? fine : down))
      const { exit } = yield* drive(
        Effect.gen(function* () {
          const job = yield* Batch.start(names(50), { ...plain, concurrency: 4 })
          yield* Effect.forkChild(Effect.andThen(Effect.sleep("3 seconds"), job.drain))
          const results = yield* Stream.runCollect(job.results)
          return { results, summary: yield* job.summary }
        }).pipe(Effect.scoped, Effect.provide(w.layer))
      )
      const { results, summary } = yield* exit
      assert.deepStrictEqual(results.map(brief), ["i0 Success"])
      assert.deepInclude(summary, { state: "drained", deadLetters: 0, requests: w.requests.length })
      assert.strictEqual(summary.firstProblem?.error.reason._tag, "ProviderUnavailable")
    })
  )

  it.effect("is logged while the job pauses", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, _nth, { at }) => (at < 30_000 ? down : fine))
      const seen: Array<Batch.Progress> = []
      const { exit } = yield* drive(
        Effect.gen(function* () {
          const job = yield* Batch.start(names(10), plain)
          yield* Effect.forkChild(
            Stream.runForEach(job.progress("10 seconds"), (event) => Effect.sync(() => seen.push(event)))
          )
          yield* Stream.runDrain(job.results)
        }).pipe(Effect.scoped, Effect.provide(w.layer))
      )
      yield* exit
      assert.deepInclude(seen[0], { state: "paused", pausedFor: "outage" })
    })
  )
})

describe("items that fail among others", () => {
  it.effect("become dead letters after one attempt, however they fail", () =>
    Effect.gen(function* () {
      const lines: ReadonlyArray<Line> = [down, refused, unknownModel, { reset: true }, { status: 429 }]
      for (const line of lines) {
        const w = yield* world((prompt) => (/^i\d*7$/.test(prompt) ? line : fine))
        const options = { ...plain, concurrency: 4, throttlePatience: 0 } as const
        const { exit, millis, results, summary } = yield* runAll(names(100), options, w, 100)
        assert.strictEqual(exit._tag, "Success")
        const dead = results.filter(isDead)
        assert.deepStrictEqual(
          dead.map(({ id }) => id).sort(),
          names(10)
            .map((_, tens) => (tens === 0 ? "i7" : `i${tens}7`))
            .sort()
        )
        assert.isTrue(dead.every(({ attempts }) => attempts.length === 1))
        assert.deepInclude(summary, { deadLetters: 10, pauses: 0 })
        assert.strictEqual(summary.firstProblem?.id, "i7")
        assert.isAtMost(millis, 3_500)
      }
    })
  )

  it.effect("cannot stop the job, however many follow each other", () =>
    Effect.gen(function* () {
      const isBad = (prompt: string) => Number(prompt.slice(1)) >= 20 && Number(prompt.slice(1)) < 40
      const w = yield* world((prompt) => (isBad(prompt) ? down : fine))
      const { exit, results } = yield* runAll(
        names(100),
        { ...plain, concurrency: 4, outagePatience: "15 minutes" },
        w,
        100
      )
      assert.strictEqual(exit._tag, "Success")
      assert.deepStrictEqual(
        results
          .filter(isDead)
          .map(({ id }) => id)
          .sort(),
        names(100).filter(isBad).sort()
      )
    })
  )

  it.effect("delay the job for seconds when a few follow each other at concurrency 1", () =>
    Effect.gen(function* () {
      const isBad = (id: string) => ["i5", "i6", "i7", "i8", "i9", "i10", "i11"].includes(id)
      const w = yield* world((prompt) => (isBad(prompt) ? down : fine))
      const { exit, results, summary } = yield* runAll(names(60), { ...plain, concurrency: 1 }, w, 100)
      assert.strictEqual(exit._tag, "Success")
      assert.deepStrictEqual(
        results
          .filter(isDead)
          .map(({ id }) => id)
          .sort(),
        names(60).filter(isBad).sort()
      )
      // Two probes fail, and the third one is a good item.
      assert.isAtMost(Duration.toMillis(summary.duration), 40_000)
    })
  )

  it.effect("end at once when nothing is left that could show the cause", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i9" || prompt === "i8" ? down : fine))
      const { exit, millis, results } = yield* runAll(names(10), { ...plain, concurrency: 2 }, w, 100)
      assert.strictEqual(exit._tag, "Success")
      assert.deepStrictEqual(
        results
          .filter(isDead)
          .map(({ id }) => id)
          .sort(),
        ["i8", "i9"]
      )
      assert.isAtMost(millis, 700)
    })
  )

  it.effect("end after a second when the next item arrives only after their result", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (prompt === "i1" ? down : fine))
      const asked: Array<() => void> = []
      const { exit } = yield* drive(
        Effect.gen(function* () {
          const items = Stream.concat(
            Stream.make("i0", "i1"),
            Stream.fromEffect(Effect.callback<string>((resume) => void asked.push(() => resume(Effect.succeed("i2")))))
          )
          const seen: Array<string> = []
          yield* Stream.runForEach(Batch.run(items, plain), (result) =>
            Effect.sync(() => {
              seen.push(brief(result))
              if (isDead(result)) for (const next of asked) next()
            })
          )
          return seen
        }).pipe(Effect.provide(w.layer))
      )
      assert.deepStrictEqual(yield* exit, ["i0 Success", "i1 ProviderUnavailable", "i2 Success"])
    })
  )

  it.effect("let a job continue whose fallback answers", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, _nth, { provider }) => (provider === "openai" ? down : fine))
      const route = Route.fallback(leaf("openai"), leaf("groq"))
      const { results, summary } = yield* runAll(names(50), { ...plain, route, concurrency: 4 }, w, 100)
      assert.isFalse(results.some(isDead))
      assert.deepInclude(summary, { succeeded: 50, fallbacks: 50, pauses: 0 })
    })
  )
})

describe("credentials that every target rejects", () => {
  it.effect("end the job after a handful of items without a success, leaving every item undone", () =>
    Effect.gen(function* () {
      for (const [line, reason] of [
        [refused, "Unauthorized"],
        [unknownModel, "NotFound"]
      ] as const) {
        const journal = yield* BatchJournal.memory
        const w = yield* world(() => ({ ...line, delay: 50 }))
        const { exit, results, summary } = yield* runOnce(names(500), over(journal), w)
        assert.strictEqual(reasonIn(exit)?._tag, reason)
        assert.deepStrictEqual(results, [])
        assert.isAtMost(w.requests.length, 25)
        assert.isAtMost(Duration.toMillis(summary.duration), 2_000)
        assert.isFalse(journal.entries.some(({ _tag }) => _tag === "dead"))
        assert.deepStrictEqual(tagsOf(journal, "i0"), ["sent"])
      }
    })
  )

  it.effect("are the first problem of the job when the gateway rejects them", () =>
    Effect.gen(function* () {
      const body = { success: false, result: [], messages: [], error: [{ code: 2009, message: "Unauthorized" }] }
      const w = yield* world(() => ({ status: 401, body }))
      const { exit, summary } = yield* runAll(names(50), { ...plain, concurrency: 4 }, w)
      assert.strictEqual(reasonIn(exit)?._tag, "Unauthorized")
      assert.strictEqual(summary.firstProblem?.error.reason.code, "2009")
      assert.isAtLeast(summary.requests, 1)
    })
  )

  it.effect("end a job of fewer items too", () =>
    Effect.gen(function* () {
      const w = yield* world(() => refused)
      const { exit, results } = yield* runAll(names(2), plain, w)
      assert.strictEqual(reasonIn(exit)?._tag, "Unauthorized")
      assert.deepStrictEqual(results, [])
    })
  )

  it.effect("wait for items in flight, which may prove them valid", () =>
    Effect.gen(function* () {
      const w = yield* world((prompt) => (Number(prompt.slice(1)) < 8 ? { ...refused, delay: 10 } : { delay: 5_000 }))
      const { exit, results } = yield* runAll(names(40), { ...plain, concurrency: 10 }, w, 100)
      assert.strictEqual(exit._tag, "Success")
      assert.deepStrictEqual(
        results
          .filter(isDead)
          .map(({ id }) => id)
          .sort(),
        [...names(8)].sort()
      )
    })
  )

  it.effect("pause a job that had answers before, like an outage", () =>
    Effect.gen(function* () {
      const w = yield* world((_prompt, _nth, { at }) => (at >= 1_000 && at < 20_000 ? refused : fine))
      const { exit, results } = yield* runAll(names(100), { ...plain, concurrency: 4 }, w, 100)
      assert.strictEqual(exit._tag, "Success")
      assert.isFalse(results.some(isDead))
    })
  )
})

describe("outagePatience", () => {
  it.effect("is checked before anything is sent", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const exit = yield* Effect.exit(
        Effect.scoped(Batch.start(names(1), { ...plain, outagePatience: -1 })).pipe(Effect.provide(w.layer))
      )
      assert.deepInclude(reasonIn(exit), { _tag: "InvalidRequest", field: "outagePatience" })
      yield* tick(0)
      assert.strictEqual(w.requests.length, 0)
    })
  )
})
