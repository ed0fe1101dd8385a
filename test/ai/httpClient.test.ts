/**
 * Effect's clients for single providers through the gateway: `@effect/ai-openai` and `@effect/ai-anthropic` as
 * published on npm.
 */
import { inspect } from "node:util"
import * as AnthropicClient from "@effect/ai-anthropic/AnthropicClient"
import * as AnthropicLanguageModel from "@effect/ai-anthropic/AnthropicLanguageModel"
import * as OpenAiClient from "@effect/ai-openai/OpenAiClient"
import * as OpenAiEmbeddingModel from "@effect/ai-openai/OpenAiEmbeddingModel"
import * as OpenAiLanguageModel from "@effect/ai-openai/OpenAiLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import * as EmbeddingModel from "effect/ai/EmbeddingModel"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { GatewayHttpClient, GatewayModel } from "effect-ai-gateway/ai"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import type * as LocalGateway from "effect-ai-gateway/local"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Undici from "effect-ai-gateway/undici"
import * as Node from "../../src/local/node.ts"
import { json, makePeer } from "../support/httpPeer.ts"
import { to, token } from "./support.ts"

const apiKey = Redacted.make("sk-provider-key")

/** A local gateway with authentication on a socket, and a client that uses it. */
const through = (
  client: Layer.Layer<HttpClient.HttpClient, GatewayError>,
  options: LocalGateway.Options = {},
  given: GatewayHttpClient.Options = { token }
) =>
  Layer.unwrap(
    Effect.map(Node.serve({ account: "acc", gateway: "gw", token, ...options, port: 0 }), ({ url }) =>
      GatewayHttpClient.layer(given).pipe(
        Layer.provideMerge(
          GatewayService.layerHttp({
            accountId: "acc",
            gateway: "gw",
            token,
            apiToken: token,
            baseUrl: url,
            apiBaseUrl: `${url}/client/v4`
          })
        ),
        Layer.provide(client)
      )
    )
  )

const event = (data: { readonly type: string; readonly [field: string]: unknown }): string =>
  `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`
const claudeMessage = {
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-haiku-4-5",
  content: [],
  stop_reason: null,
  stop_sequence: null,
  container: null,
  context_management: null,
  usage: {
    input_tokens: 3,
    output_tokens: 1,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    cache_creation: null,
    inference_geo: null,
    server_tool_use: null,
    service_tier: "standard"
  }
}

const openai = OpenAiLanguageModel.layer({ model: "gpt-4.1-mini" }).pipe(Layer.provide(OpenAiClient.layer({ apiKey })))
const claude = AnthropicLanguageModel.layer({ model: "claude-haiku-4-5" }).pipe(
  Layer.provide(AnthropicClient.layer({ apiKey }))
)

const textOf = (parts: ReadonlyArray<{ readonly type: string; readonly delta?: string }>): string =>
  parts.map(({ delta, type }) => (type === "text-delta" ? delta : "")).join("")

const Add = Tool.make("add", {
  description: "Adds two numbers.",
  parameters: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
  success: Schema.Int
})
const kit = Toolkit.make(Add)

describe.each([
  { name: "fetch", client: FetchHttpClient.layer },
  { name: "undici", client: Undici.layer }
])("over $name", ({ client }) => {
  it.live("answers of OpenAI's client come through the gateway, each with its log", () =>
    Effect.gen(function* () {
      const { attempts, value } = yield* LogTrail.collect(LanguageModel.generateText({ prompt: "Hello there" }))
      assert.include(value.text, "Hello there")
      assert.strictEqual(attempts.length, 1)
      const [attempt] = attempts
      assert.deepInclude(attempt, { provider: "openai", endpoint: "responses", status: 200, outcome: "success" })
      const gateway = yield* GatewayService.GatewayService
      const log = yield* gateway.getLog(attempt?.logId ?? "", { awaitLog: true })
      assert.deepInclude(log, { provider: "openai", success: true })
    }).pipe(Effect.provide(openai), Effect.provide(through(client)))
  )

  it.live("answers of Anthropic's client come through the gateway, complete and as a stream", () =>
    Effect.gen(function* () {
      const { attempts, value } = yield* LogTrail.collect(
        Effect.all([
          LanguageModel.generateText({ prompt: "Hello there" }),
          Stream.runCollect(LanguageModel.streamText({ prompt: "Hello stream" }))
        ])
      )
      assert.include(value[0].text, "Hello there")
      assert.include(textOf(value[1]), "Hello stream")
      assert.deepStrictEqual(
        attempts.map(({ endpoint, provider }) => `${provider} ${endpoint}`),
        ["anthropic v1/messages?beta=true", "anthropic v1/messages"]
      )
      assert.strictEqual(new Set(attempts.map(({ logId }) => logId)).size, 2)
    }).pipe(Effect.provide(claude), Effect.provide(through(client)))
  )

  it.live("streams, tools and embeddings of OpenAI's client work", () =>
    Effect.gen(function* () {
      const streamed = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "Hello stream" }))
      assert.include(textOf(streamed), "Hello stream")
      const called = yield* LanguageModel.generateText({
        prompt: "Add the numbers.",
        toolkit: kit,
        toolChoice: { tool: "add" }
      })
      assert.deepStrictEqual(
        called.toolResults.map(({ result }) => result),
        [0]
      )
      const { vector } = yield* EmbeddingModel.EmbeddingModel.use((model) => model.embed("near")).pipe(
        Effect.provide(
          OpenAiEmbeddingModel.layer({ model: "text-embedding-3-small" }).pipe(
            Layer.provide(OpenAiClient.layer({ apiKey }))
          )
        )
      )
      assert.isAbove(vector.length, 0)
    }).pipe(
      Effect.provide(kit.toLayer({ add: ({ a, b }) => Effect.succeed(a + b) })),
      Effect.provide(openai),
      Effect.provide(through(client))
    )
  )

  it.live("errors of the provider stay those of its client, with a log id in the trail", () =>
    Effect.gen(function* () {
      const { attempts, value } = yield* LogTrail.collect(
        Effect.flip(LanguageModel.generateText({ prompt: "Hello there" }))
      )
      assert.strictEqual(value.reason._tag, "RateLimitError")
      assert.strictEqual(attempts.length, 1)
      assert.deepInclude(attempts[0], { outcome: "failure", status: 429 })
      assert.isString(attempts[0]?.logId)
    }).pipe(
      Effect.provide(openai),
      Effect.provide(
        through(client, { upstreams: { openai: Upstream.script([{ status: 429, headers: { "retry-after": "7" } }]) } })
      )
    )
  )

  it.live("a consumer that leaves a stream closes the connection to the gateway", () =>
    Effect.gen(function* () {
      const peer = yield* makePeer((_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream", "cf-aig-log-id": "log-1" })
        response.write(event({ type: "message_start", message: claudeMessage }))
        response.write(
          event({ type: "content_block_start", index: 0, content_block: { type: "text", text: "", citations: null } })
        )
        response.write(
          event({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "one of many" } })
        )
      })
      const first = yield* LanguageModel.streamText({ prompt: "Count." }).pipe(
        Stream.filter((part) => part.type === "text-delta"),
        Stream.runHead,
        Effect.provide(claude),
        Effect.provide(to(peer.url, client))
      )
      assert.strictEqual(first._tag, "Some")
      yield* peer.until(() => peer.open() === 0)
    })
  )

  it.live("redirects are not followed: the gateway's token would go with them", () =>
    Effect.gen(function* () {
      const elsewhere = yield* makePeer((_, response) => json(response, 200, {}))
      const peer = yield* makePeer((_, response) => {
        response.writeHead(307, { location: `${elsewhere.url}/v1` })
        response.end()
      })
      yield* Effect.exit(LanguageModel.generateText({ prompt: "Hello" })).pipe(
        Effect.provide(openai),
        Effect.provide(to(peer.url, client))
      )
      assert.strictEqual(peer.requests.length, 1)
      assert.strictEqual(peer.requests[0]?.headers["cf-aig-authorization"], "Bearer gateway-token-1")
      assert.deepStrictEqual(elsewhere.requests, [])
    })
  )
})

describe("requests", () => {
  const peerWith = makePeer((_, response) => json(response, 200, { data: [] }, { "cf-aig-log-id": "log-1" }))
  const get = (url: string) => Effect.flatMap(HttpClient.HttpClient, (client) => client.get(url))

  it.live.each<readonly [string, string]>([
    ["https://api.openai.com/v1/models", "/v1/acc/gw/openai/models"],
    ["https://api.openai.com/v1/files/a%20b?x=1&y=2#frag", "/v1/acc/gw/openai/files/a%20b?x=1&y=2"],
    ["https://API.anthropic.com/v1/models", "/v1/acc/gw/anthropic/v1/models"],
    ["https://api.anthropic.com:443/v1/models", "/v1/acc/gw/anthropic/v1/models"],
    ["https://openrouter.ai/api/v1/models", "/v1/acc/gw/openrouter/v1/models"],
    ["https://api.groq.com/openai/v1/models", "/v1/acc/gw/groq/models"],
    ["https://generativelanguage.googleapis.com/v1beta/models", "/v1/acc/gw/google-ai-studio/v1beta/models"],
    ["https://models.example.com/base/v1/models", "/v1/acc/gw/custom-models/v1/models"]
  ])("to %s are sent to %s of the gateway", ([url, path]) =>
    Effect.gen(function* () {
      const peer = yield* peerWith
      yield* Effect.provide(
        get(url),
        to(peer.url, FetchHttpClient.layer, {
          token,
          providers: { "https://models.example.com/base/": "custom-models" }
        })
      )
      assert.deepStrictEqual(
        peer.requests.map(({ method, url: at }) => `${method} ${at}`),
        [`GET ${path}`]
      )
    })
  )

  it.live.each([
    "https://api.openai.com/v2/models",
    "https://api.openai.com.example.com/v1/models",
    "https://api.openai.com/v1",
    "https://api.openai.com/v1/../v2/models",
    "https://api.openai.com/v1/%2e%2e/v2/models",
    "http://api.openai.com/v1/models",
    "https://example.com/v1/models",
    "/v1/models"
  ])("to %s fail and are not sent, because they would pass by the gateway", (url) =>
    Effect.gen(function* () {
      const peer = yield* peerWith
      const error = yield* Effect.flip(Effect.provide(get(url), to(peer.url, FetchHttpClient.layer)))
      assert.strictEqual(error._tag, "HttpClientError")
      if (error._tag !== "HttpClientError") return
      assert.strictEqual(error.reason._tag, "InvalidUrlError")
      assert.include(error.message, "https://api.openai.com/v1")
      assert.deepStrictEqual(peer.requests, [])
    })
  )

  it.live("carry the options of the layer and of the call, and headers of the client win", () =>
    Effect.gen(function* () {
      const peer = yield* peerWith
      const request = HttpClientRequest.get("https://api.openai.com/v1/models").pipe(
        HttpClientRequest.setHeader("cf-aig-cache-ttl", "120")
      )
      yield* Effect.flatMap(HttpClient.HttpClient, (client) => client.execute(request)).pipe(
        Effect.provideService(GatewayModel.Config, { metadata: { tenant: "acme" }, eventId: "event-1" }),
        Effect.provide(
          to(peer.url, FetchHttpClient.layer, {
            options: { cache: { ttl: "1 hour" }, metadata: { app: "docs" }, log: { payload: false } }
          })
        )
      )
      const headers = peer.requests[0]?.headers ?? {}
      assert.deepStrictEqual(JSON.parse(String(headers["cf-aig-metadata"])), { app: "docs", tenant: "acme" })
      assert.deepInclude(headers, {
        "cf-aig-cache-ttl": "120",
        "cf-aig-event-id": "event-1",
        "cf-aig-collect-log-payload": "false"
      })
      // Without a token or a key, none is sent.
      assert.notProperty(headers, "cf-aig-authorization")
      assert.notProperty(headers, "authorization")
    })
  )

  it.live.each([
    [{ deadline: "1 second" }, "GatewayModel.Config.deadline"],
    [{ session: "s" }, "GatewayModel.Config.session"],
    [{ request: { maxTokens: 5 } }, "GatewayModel.Config.request"],
    [{ metadata: { "cf.x": 1 } }, "metadata key"]
  ] satisfies ReadonlyArray<[GatewayModel.Options, string]>)(
    "fail and are not sent when the call has %j",
    ([config, field]) =>
      Effect.gen(function* () {
        const peer = yield* peerWith
        const error = yield* Effect.flip(
          get("https://api.openai.com/v1/models").pipe(
            Effect.provideService(GatewayModel.Config, config),
            Effect.provide(to(peer.url, FetchHttpClient.layer))
          )
        )
        assert.include(error.message, field)
        assert.deepStrictEqual(peer.requests, [])
      })
  )

  const failures = {
    "an error status": makePeer((_, response) => json(response, 401, { error: { message: "no" } })),
    "a body that is no JSON": makePeer((_, response) => response.end("<html>")),
    "a body that breaks off": makePeer((_, response, socket) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "100" })
      response.write("{", () => socket.destroy())
    }),
    "a connection that breaks": makePeer((_, _response, socket) => socket.destroy())
  }
  for (const [what, start] of Object.entries(failures)) {
    it.live(`leave no token in the error after ${what}`, () =>
      Effect.gen(function* () {
        const peer = yield* start
        for (const client of [FetchHttpClient.layer, Undici.layer]) {
          // An exit, because with Effect 4.1 the client dies when a connection breaks.
          const error = yield* LanguageModel.generateText({ prompt: "Hello" }).pipe(
            Effect.exit,
            Effect.provide(openai),
            Effect.provide(to(peer.url, client))
          )
          const raw = yield* HttpClient.HttpClient.use((client) => client.get("https://api.openai.com/v1/models")).pipe(
            Effect.flatMap((response) => Effect.andThen(HttpClientResponse.filterStatusOk(response), response.json)),
            Effect.flip,
            Effect.provide(to(peer.url, client))
          )
          for (const shown of [error, raw]) {
            const text = `${inspect(shown, { depth: 20, showHidden: true })} ${JSON.stringify(shown)} ${String(shown)}`
            assert.notInclude(text, "gateway-token-1")
          }
        }
        assert.strictEqual(peer.requests.at(-1)?.headers["cf-aig-authorization"], "Bearer gateway-token-1")
      })
    )
  }

  it.live("have separate log ids when a thousand run at once", () =>
    Effect.gen(function* () {
      const { attempts, value } = yield* LogTrail.collect(
        Effect.forEach(
          Array.from({ length: 1000 }, (_, index) => index),
          (index) =>
            LogTrail.collect(
              Effect.flatMap(HttpClient.HttpClient, (client) =>
                client.post("https://api.openai.com/v1/chat/completions", {
                  body: HttpBody.jsonUnsafe({ model: "m", messages: [{ role: "user", content: `number ${index}` }] })
                })
              ).pipe(Effect.flatMap((response) => response.text))
            ),
          { concurrency: 100 }
        )
      )
      assert.strictEqual(new Set(attempts.map(({ logId }) => logId)).size, 1000)
      for (const [index, own] of value.entries()) {
        assert.include(own.value, `number ${index}`)
        assert.strictEqual(own.attempts.length, 1)
      }
    }).pipe(Effect.provide(through(Undici.layer)))
  )
})

describe("options", () => {
  it.effect.each([
    [{ token: "plain" }, "token"],
    [{ token: Redacted.make("") }, "token"],
    [{ options: { cache: { ttl: "1 second" } } }, "options.cache.ttl"],
    [{ options: { eventId: "e" } }, "options.eventId"],
    [{ providers: { "ftp://x": "openai" } }, "providers key"],
    [{ providers: { "https://x.example": "Open AI" } }, "providers["],
    [{ providers: [] }, "providers"],
    [{ gateway: "gw" }, "gateway"],
    [null, "options"]
  ])("%j are rejected naming the field", ([given, field]) =>
    Effect.gen(function* () {
      // @ts-expect-error Mistakes that types keep out of TypeScript.
      const made = GatewayHttpClient.layer(given)
      const error = yield* Effect.flip(
        Effect.scoped(Layer.build(made.pipe(Layer.provide(to("http://127.0.0.1:9", FetchHttpClient.layer)))))
      )
      assert.include(error.message, String(field))
    })
  )
})
