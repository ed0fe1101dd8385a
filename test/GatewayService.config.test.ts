import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as GatewayService from "../src/GatewayService.ts"
import { json, makePeer, type Reply } from "./support/httpPeer.ts"

const ok: Reply = (_, response) => json(response, 200, {})
const query = { model: "m", messages: [{ role: "user", content: "hi" }] }
const leg = { provider: "openai", endpoint: "chat/completions", query }

describe("layerConfig", () => {
  const run = (env: Record<string, string>) =>
    Effect.gen(function* () {
      const peer = yield* makePeer(ok)
      const url = (value: string | undefined) => value?.replace("PEER", peer.url)
      const provided = Object.fromEntries(Object.entries(env).map(([key, value]) => [key, url(value)]))
      const context = yield* Layer.build(
        GatewayService.layerConfig.pipe(
          Layer.provide(FetchHttpClient.layer),
          Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(provided)))
        )
      )
      const gateway = yield* Effect.provide(GatewayService.GatewayService, context)
      yield* gateway.run(leg)
      if (env["CLOUDFLARE_API_URL"] !== undefined) yield* Effect.ignore(gateway.getLog("l"))
      return peer.requests.map(({ headers, url }) => [url, headers["cf-aig-authorization"] ?? headers["authorization"]])
    })

  it.effect("takes everything from the environment", () =>
    Effect.gen(function* () {
      const env = { CLOUDFLARE_ACCOUNT_ID: "acc", AI_GATEWAY_ID: "gw" }
      for (const url of ["PEER", "PEER/", "PEER/v1/acc/gw", "PEER/v1/acc/gw/"]) {
        assert.deepStrictEqual(yield* run({ ...env, AI_GATEWAY_URL: url }), [
          ["/v1/acc/gw/openai/chat/completions", undefined]
        ])
      }
      assert.deepStrictEqual(
        yield* run({
          ...env,
          AI_GATEWAY_URL: "PEER/base",
          CF_AIG_TOKEN: "t1",
          CLOUDFLARE_API_TOKEN: "t2",
          CLOUDFLARE_API_URL: "PEER/api"
        }),
        [
          ["/base/v1/acc/gw/openai/chat/completions", "Bearer t1"],
          ["/api/accounts/acc/ai-gateway/gateways/gw/logs/l", "Bearer t2"]
        ]
      )
    })
  )

  it.effect("names what is missing", () =>
    Effect.gen(function* () {
      for (const missing of ["CLOUDFLARE_ACCOUNT_ID", "AI_GATEWAY_ID"]) {
        const env = { CLOUDFLARE_ACCOUNT_ID: "acc", AI_GATEWAY_ID: "gw" }
        const error = yield* Effect.flip(
          run(Object.fromEntries(Object.entries(env).filter(([name]) => name !== missing)))
        )
        assert.instanceOf(error, Config.ConfigError)
        assert.include(String(error), missing)
      }
    })
  )
})
