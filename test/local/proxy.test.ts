import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { gunzipSync, gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Server from "effect-ai-gateway/local/node"
import * as Upstream from "effect-ai-gateway/local/Upstream"

/** A provider that records its requests as bytes, and sets two cookies. */
const provider = Effect.acquireRelease(
  Effect.callback<{
    readonly url: string
    readonly seen: Array<{ readonly encoding: string | undefined; readonly body: Buffer }>
    readonly close: () => void
  }>((resume) => {
    const seen: Array<{ readonly encoding: string | undefined; readonly body: Buffer }> = []
    const server = createServer((request, response) => {
      const chunks: Array<Buffer> = []
      request.on("data", (chunk: Buffer) => chunks.push(chunk))
      request.on("end", () => {
        seen.push({ encoding: request.headers["content-encoding"], body: Buffer.concat(chunks) })
        response.setHeader("set-cookie", ["a=1; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"])
        response.setHeader("content-type", "application/json")
        response.setHeader("content-encoding", "gzip")
        response.end(gzipSync(`{"ok":true}`))
      })
    })
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      resume(Effect.succeed({ url: `http://127.0.0.1:${port}/v1`, seen, close: () => server.close() }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

const gatewayFor = (url: string) => Server.serve({ port: 0, upstreams: { openai: Upstream.proxy({ baseUrl: url }) } })

describe("a real server behind the local gateway", () => {
  it.live("gets a compressed body with its encoding, and its cookies reach the client one by one", () =>
    Effect.gen(function* () {
      const { seen, url } = yield* provider
      const gateway = yield* gatewayFor(url)
      const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: "hi" }] })
      const response = yield* Effect.promise(() =>
        fetch(`${gateway.url}/v1/acc/default/openai/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json", "content-encoding": "gzip" },
          body: new Uint8Array(gzipSync(body))
        })
      )
      assert.deepStrictEqual(yield* Effect.promise(() => response.json()), { ok: true })
      assert.strictEqual(seen[0]?.encoding, "gzip")
      assert.strictEqual(gunzipSync(seen[0]?.body ?? "").toString(), body)
      assert.deepStrictEqual(response.headers.getSetCookie(), [
        "a=1; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        "b=2"
      ])
    }).pipe(Effect.scoped)
  )

  it.live("sets no cookies from the cache", () =>
    Effect.gen(function* () {
      const { url } = yield* provider
      const gateway = yield* gatewayFor(url)
      const ask = Effect.promise(async () => {
        const response = await fetch(`${gateway.url}/v1/acc/default/openai/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json", "cf-aig-cache-ttl": "60" },
          body: `{"model":"m","messages":[]}`
        })
        await response.text()
        return [response.headers.get("cf-aig-cache-status"), response.headers.getSetCookie().length] as const
      })
      assert.deepStrictEqual(
        [yield* ask, yield* ask],
        [
          ["MISS", 2],
          ["HIT", 0]
        ]
      )
    }).pipe(Effect.scoped)
  )
})

describe("a header for the gateway", () => {
  it.live("is read as UTF-8, as clients write it", () =>
    Effect.gen(function* () {
      const gateway = yield* Server.serve({ port: 0 })
      const written = (text: string): string => Buffer.from(text, "utf8").toString("latin1")
      // The last one is Latin-1 and not UTF-8, and stays unchanged.
      for (const metadata of [written(`{"u":"日本é"}`), written(`{"u":"é"}`), `{"u":"\u00e9"}`]) {
        yield* Effect.promise(async () => {
          const response = await fetch(`${gateway.url}/v1/acc/default/openai/chat/completions`, {
            method: "POST",
            headers: { "content-type": "application/json", "cf-aig-metadata": metadata },
            body: `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
          })
          await response.text()
        })
      }
      const page = yield* Effect.promise(async () =>
        (await fetch(`${gateway.url}/client/v4/accounts/acc/ai-gateway/gateways/default/logs`)).text()
      )
      const found = [...page.matchAll(/"metadata":"?(\{.*?\})/g)].map(([, json]) => json?.replaceAll("\\", ""))
      assert.deepStrictEqual(found.toReversed(), [`{"u":"日本é"}`, `{"u":"é"}`, `{"u":"é"}`])
    }).pipe(Effect.scoped)
  )
})
