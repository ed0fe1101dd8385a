/**
 * The storm law over real sockets: the number of requests that a peer counts when every target fails.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Undici from "effect-ai-gateway/undici"
import { json, makePeer, type Seen } from "./support/httpPeer.ts"
import { groq, openai } from "./support/streamRuns.ts"

const runs = 600

/** Everything that a purse pays for: retries, a fallback to the same provider, hedges. */
const route = Route.fallback(
  Route.retry(Route.fallback(openai, Provider.openai.chat("n")), { attempts: 4, delay: 0 }),
  Route.retry(groq, { attempts: 3, delay: 0 })
).pipe(Route.hedge({ after: 5, max: 2 }))

interface Count {
  first: number
  further: number
}

const countOf = (requests: ReadonlyArray<Seen>): ReadonlyMap<string, Count> => {
  const counts = new Map<string, Count>()
  const seen = new Set<string>()
  for (const { headers, url } of requests) {
    const provider = url.split("/")[4] ?? ""
    const key = `${provider} ${headers["cf-aig-event-id"]}`
    const count = counts.get(provider) ?? { first: 0, further: 0 }
    counts.set(provider, count)
    count[seen.has(key) ? "further" : "first"]++
    seen.add(key)
  }
  return counts
}

describe("the storm law over sockets", () => {
  for (const { name, reply } of [
    { name: "answers 503", reply: (response: Parameters<typeof json>[0]) => json(response, 503, {}) },
    { name: "closes the connection", reply: (response: Parameters<typeof json>[0]) => response.destroy() }
  ]) {
    it.live(`holds while every target ${name}, and runs stop for the budget`, () =>
      Effect.gen(function* () {
        const ratio = 0.2
        const peer = yield* makePeer((_request, response) => reply(response))
        // Without a floor the law holds for any length of time, so the speed of the machine does not matter.
        const router = Router.layerWith({ execution: "client", budget: { ratio, perSecond: 0 } }).pipe(
          Layer.provide(GatewayService.layerHttp({ accountId: "a", gateway: "g", baseUrl: peer.url })),
          Layer.provide(Undici.layer)
        )
        const endings = yield* Effect.forEach(
          Array.from({ length: runs }),
          () => Effect.map(Effect.flip(Router.run(route, "hi", { quiet: true })), ({ ended }) => ended),
          { concurrency: 32 }
        ).pipe(Effect.provide(router))
        const counts = countOf(peer.requests)
        assert.deepStrictEqual([...counts.keys()].sort(), ["groq", "openai"])
        for (const [provider, { first, further }] of counts) {
          assert.isAtMost(first, runs, provider)
          assert.isAtMost(further, ratio * first, provider)
        }
        // The bound is effective: most of it is used.
        const { first = 0, further = 0 } = counts.get("openai") ?? {}
        assert.strictEqual(first, runs)
        assert.isAbove(further, ratio * first * 0.5)
        assert.isAbove(endings.filter((ended) => ended === "budget").length, runs / 2)
      })
    )
  }
})
