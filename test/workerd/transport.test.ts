/** `Transport.layerFetch` inside the released runtime: it is not Node, even where it claims to be. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { json, makePeer } from "../support/httpPeer.ts"
import { bundle } from "./support/bundle.ts"
import * as Workerd from "./support/workerd.ts"

describe("over the fetch of workerd", () => {
  for (const flags of [[], ["nodejs_compat"]]) {
    it.live(`with ${flags.join(", ") || "no flags"}: sends, and follows no redirect`, () =>
      Effect.gen(function* () {
        let redirects = false
        const peer = yield* makePeer((_, response) => {
          if (!redirects) return json(response, 200, { a: 1 })
          response.writeHead(307, { location: "http://elsewhere.test/" })
          response.end()
        })
        const { code } = yield* Effect.promise(() => bundle(new URL("workers/transport.ts", import.meta.url)))
        const worker = yield* Workerd.start({ code, ai: {}, flags, outbound: peer.url })
        assert.deepStrictEqual(yield* worker.call("/", {}), { value: { a: 1 } })
        redirects = true
        assert.deepStrictEqual(yield* worker.call("/", {}), {
          reason: { _tag: "InvalidResponse", status: 307, issue: "a redirect to another address" }
        })
        assert.strictEqual(peer.requests.length, 2)
      })
    )
  }
})
