/**
 * Request contexts in workerd: whatever requests share, each resumes in its own context, where its body and its calls
 * work.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { serve } from "../../src/local/node.ts"
import { json, makePeer } from "../support/httpPeer.ts"
import { completion } from "../support/scripted.ts"
import { bundle } from "./support/bundle.ts"
import * as Workerd from "./support/workerd.ts"

const { code } = await bundle(new URL("workers/turns.ts", import.meta.url))

const setting = Effect.gen(function* () {
  const { url } = yield* Effect.orDie(serve({ port: 0, gateway: "gw" }))
  const held: Array<() => void> = []
  let holds = true
  const peer = yield* makePeer((_seen, response) => {
    const answer = (): void => json(response, 200, completion("shared"))
    if (holds) held.push(answer)
    else answer()
  })
  const worker = yield* Workerd.start({ code, ai: { AI: { url }, PEER: { url: peer.url } } })
  const release = Effect.sync(() => {
    holds = false
    for (const answer of held) answer()
  })
  return { worker, peer, release }
})

describe("requests that share", () => {
  for (const what of ["promise", "semaphore", "limiter", "gate"]) {
    it.live(`a ${what} resume in their own contexts`, () =>
      Effect.gen(function* () {
        const { peer, release, worker } = yield* setting
        const requests = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: 8 }, (_, index) => `prompt ${index}`),
            (prompt) =>
              Effect.flatMap(worker.fetch(`/${what}`, { method: "POST", body: prompt }), (response) =>
                Effect.map(
                  Effect.promise(() => response.text()),
                  (text) => ({ prompt, status: response.status, text })
                )
              ),
            { concurrency: "unbounded" }
          )
        )
        if (what !== "gate") yield* peer.until(() => peer.requests.length > 0)
        yield* Effect.sleep(100)
        yield* release
        const logIds = new Set<unknown>()
        for (const { prompt, status, text } of yield* Fiber.join(requests)) {
          assert.strictEqual(status, 200, `${text} ${worker.output()}`)
          const answer: { prompt: string; logId?: string } = JSON.parse(text)
          assert.strictEqual(answer.prompt, prompt)
          assert.isString(answer.logId)
          logIds.add(answer.logId)
        }
        assert.strictEqual(logIds.size, 8)
      }).pipe(Effect.scoped)
    )
  }
})
