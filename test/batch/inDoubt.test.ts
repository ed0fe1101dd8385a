import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import * as BatchJournal from "effect-ai-gateway/BatchJournal"
import type * as GatewayLog from "effect-ai-gateway/GatewayLog"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LocalGateway from "effect-ai-gateway/local"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Provider from "effect-ai-gateway/Provider"
import * as Router from "effect-ai-gateway/Router"
import { brief, drive, names, over, runOnce, runSome, tagsOf, tick, world } from "./support.ts"

describe("items in doubt", () => {
  const local = (upstream: Upstream.Upstream) =>
    Layer.provideMerge(Router.layer, LocalGateway.layer({ upstreams: { openai: upstream } }))

  /** The journal of a killed run: entries `sent`, and nothing else. */
  const left = (journal: BatchJournal.Journal, count: number) =>
    Effect.scoped(
      Effect.flatMap(journal.open({ fingerprint: {}, force: false, onEntry: () => undefined }), ({ append }) =>
        append(names(count).map((id) => ({ _tag: "sent", id, eventId: `event-${id}` })))
      )
    )

  it.effect("are looked up in the logs before they are sent again", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      let stuck = true
      const echo = yield* Upstream.echo().start
      const upstream = Upstream.make((request) =>
        stuck && JSON.stringify(request.json).includes("unsent") ? Effect.never : echo(request)
      )
      yield* Effect.gen(function* () {
        const gateway = yield* GatewayService.GatewayService
        const router = yield* Router.Router
        const input = (item: string) => item
        const route = Provider.openai.chat("m")
        yield* left(journal, 3)
        yield* router.run(route, "i0", { options: { eventId: "event-i0" } })
        yield* Effect.exit(router.run(Provider.openai.chat(""), "i1", { options: { eventId: "event-i1" } }))
        stuck = false
        const { exit } = yield* drive(
          Effect.scoped(
            Effect.gen(function* () {
              const job = yield* Batch.start(["i0", "i1", "i2", "i3"], {
                route,
                id: (item) => item,
                input,
                ordered: true,
                journal: { store: journal, value: "ids" }
              })
              return { results: yield* Stream.runCollect(job.results), summary: yield* job.summary }
            })
          )
        )
        const { results, summary } = yield* exit
        const found = results.map((result) => (result._tag === "DoneBefore" ? undefined : result.inDoubt?.found))
        assert.strictEqual(found[0], "success")
        assert.strictEqual(found[2], "nothing")
        assert.isUndefined(found[3])
        const [first] = results
        const { logs } = yield* gateway.listLogs({ eventId: "event-i0" })
        assert.deepStrictEqual(
          first?._tag === "Success" ? first.inDoubt?.logIds : [],
          logs.map(({ id }) => id)
        )
        // Sent again under its own id, so that both can be told apart.
        assert.isTrue(first?._tag === "Success" && first.eventId !== "event-i0")
        assert.deepInclude(summary, { inDoubt: 3, resent: 1, succeeded: 4 })
      }).pipe(Effect.provide(local(upstream)))
    })
  )

  it.effect("are admitted when they are sent, and not during the look into the logs", () =>
    Effect.gen(function* () {
      const w = yield* world()
      const runWith = Effect.fnUntraced(function* (asks: Effect.Effect<GatewayLog.Page>) {
        const journal = yield* BatchJournal.memory
        yield* left(journal, 4)
        const router = yield* Effect.provide(Router.Router, w.layer)
        const slow = { ...router, gateway: { ...router.gateway, listLogs: () => asks } }
        const options = { ...over(journal), limits: { requestsPerMinute: 6, skew: 0 }, concurrency: 4 }
        const before = w.requests.length
        const { exit } = yield* drive(
          Effect.provideService(Stream.runCollect(Batch.run(names(12), options)), Router.Router, slow)
        )
        const results = yield* exit
        assert.strictEqual(results.length, 12)
        return { results, times: w.requests.slice(before).map(({ at }) => at) }
      })
      // No minute of the upstream has more than six.
      const { times } = yield* runWith(
        Effect.delay(Effect.succeed({ logs: [], page: 1, perPage: 50, count: 0 }), "20 seconds")
      )
      for (const [index, at] of times.entries())
        assert.isAtLeast((times[index + 6] ?? Number.POSITIVE_INFINITY) - at, 60_000)
      // Unresponsive logs delay the job only briefly.
      const { results } = yield* runWith(Effect.never)
      const found = results.map((result) => (result._tag === "Success" ? result.inDoubt?.found : undefined))
      assert.strictEqual(found.filter((what) => what === "unknown").length, 4)
    })
  )

  it.effect("probe an exhausted quota like any other item", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* left(journal, 8)
      const body = { error: { code: "insufficient_quota", type: "insufficient_quota", message: "x" } }
      const w = yield* world((_prompt, _nth, { at }) => (at < 300_000 ? { status: 429, body, delay: 100 } : undefined))
      const { exit, results, summary } = yield* runOnce(names(12), { ...over(journal), concurrency: 2 }, w)
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(results.length, 12)
      assert.deepInclude(summary, { inDoubt: 8, succeeded: 12 })
    })
  )

  it.effect("become dead letters when they exceed a minute's tokens", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      yield* left(journal, 2)
      const w = yield* world()
      const limits = { tokensPerMinute: 100, tokens: (item: string) => (item === "i1" ? 101 : 1) }
      const { results } = yield* runOnce(names(3), { ...over(journal), limits }, w)
      assert.deepStrictEqual(results.map(brief).sort(), ["i0 Success", "i1 Rejected", "i2 Success"])
    })
  )

  it.effect("are sent again as unknown when the logs are unavailable", () =>
    Effect.gen(function* () {
      const journal = yield* BatchJournal.memory
      const w = yield* world((_prompt, nth) => (nth === 0 ? { never: true } : undefined))
      const first = yield* Effect.forkChild(
        Effect.provide(Stream.runDrain(Batch.run(names(2), over(journal))), w.layer)
      )
      yield* tick(10)
      yield* Fiber.interrupt(first)
      assert.deepStrictEqual(tagsOf(journal, "i0"), ["sent"])
      const { results } = yield* runOnce(names(2), over(journal), w)
      assert.deepStrictEqual(
        results.map((result) => (result._tag === "Success" ? result.inDoubt : undefined)),
        names(2).map((_, index) => ({
          eventId: w.requests[index]?.eventId ?? "",
          found: "unknown" as const,
          logIds: []
        }))
      )
      // Stored too, so that later runs know it.
      const again = yield* runSome(names(2), over(journal), w, 1)
      assert.strictEqual(again[0]?._tag === "Success" ? again[0].inDoubt?.found : "", "unknown")
    })
  )
})
