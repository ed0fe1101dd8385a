import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import { transportOr } from "../../src/cli/shared/gateway.ts"

const answering = (status: number) => Layer.succeed(FetchHttpClient.Fetch, async () => new Response("", { status }))

/** Status of the answer to a request over a transport; the `fetch` of these tests answers 299. */
const statusOver = (load: Parameters<typeof transportOr>[0]) =>
  HttpClient.get("http://127.0.0.1:1/").pipe(
    Effect.map(({ status }) => status),
    Effect.provide(Layer.provide(transportOr(load), answering(299)))
  )

describe("the transport of the batch command", () => {
  it.effect("is the module's own if it can be built", () =>
    Effect.gen(function* () {
      const client = HttpClient.make((request) =>
        Effect.succeed(HttpClientResponse.fromWeb(request, new Response("", { status: 201 })))
      )
      const layer = Layer.succeed(HttpClient.HttpClient, client)
      assert.strictEqual(yield* statusOver(async () => ({ layer })), 201)
    })
  )

  it.effect.each([
    ["fails", async () => ({ layer: Layer.effect(HttpClient.HttpClient, Effect.fail("no dispatch")) })],
    ["dies", async () => ({ layer: Layer.effect(HttpClient.HttpClient, Effect.die(new Error("no dispatch"))) })],
    [
      "is not installed",
      async () => {
        throw new Error("Cannot find package")
      }
    ]
  ] as const)("is fetch if undici %s", ([, load]) =>
    Effect.map(statusOver(load), (status) => assert.strictEqual(status, 299))
  )
})
