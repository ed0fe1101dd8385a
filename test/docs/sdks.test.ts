/** The examples of `docs/sdks.md` and the page's claims about SDKs, against the local gateway on a real socket. */
import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { createAnthropic } from "@ai-sdk/anthropic"
import { createOpenAI } from "@ai-sdk/openai"
import { assert, describe, it } from "@effect/vitest"
import { APICallError, generateText, type LanguageModel, streamText } from "ai"
import * as Cause from "effect/Cause"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestConsole from "effect/testing/TestConsole"
import OpenAI, { APIError } from "openai"
import * as AiSdkAnthropic from "../../docs/examples/ai-sdk-anthropic.ts"
import * as AiSdkOpenAi from "../../docs/examples/ai-sdk-openai.ts"
import * as CloudflareProviders from "../../docs/examples/cloudflare-providers.ts"
import * as OpenAiSdk from "../../docs/examples/openai-sdk.ts"
import type * as GatewayLog from "../../src/GatewayLog.ts"
import * as GatewayService from "../../src/GatewayService.ts"
import type { UpstreamCall } from "../../src/local/LocalGateway.ts"
import { type Server, serve } from "../../src/local/node.ts"
import { childEnv } from "../support/childEnv.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const page = await readFile(`${root}docs/sdks.md`, "utf8")

const token = "gateway-token"
const environment = (server: Server) => ({
  CLOUDFLARE_ACCOUNT_ID: "acme",
  AI_GATEWAY_ID: "docs",
  AI_GATEWAY_URL: server.url,
  CLOUDFLARE_API_URL: `${server.url}/client/v4`,
  CF_AIG_TOKEN: token,
  CLOUDFLARE_API_TOKEN: token,
  OPENAI_API_KEY: "openai-key",
  ANTHROPIC_API_KEY: "anthropic-key"
})

/** A gateway that requires its token, whose logs are late like the service's. */
const start = serve({ port: 0, account: "acme", gateway: "docs", token: Redacted.make(token), freshLogDelay: 200 })

const live = (server: Server) =>
  Layer.provide(GatewayService.layerConfig, FetchHttpClient.layer).pipe(
    Layer.provideMerge(ConfigProvider.layer(ConfigProvider.fromUnknown(environment(server)))),
    Layer.merge(TestConsole.layer)
  )

interface Call {
  readonly text: string
  readonly logId: string | null | undefined
  readonly eventId: string
  readonly log: GatewayLog.GatewayLog | undefined
  readonly logs: ReadonlyArray<GatewayLog.GatewayLog>
}

interface Example {
  readonly name: string
  readonly main: (
    prompt: string
  ) => Effect.Effect<
    { readonly plain: Call; readonly streamed: Call & { readonly pieces: ReadonlyArray<string> } },
    unknown,
    GatewayService.GatewayService
  >
  readonly provider: string
  readonly model: string
  /** The request to the provider. */
  readonly endpoint: string
}

const examples: ReadonlyArray<Example> = [
  { name: "openai-sdk", ...OpenAiSdk, provider: "openai", model: "gpt-4.1-mini", endpoint: "chat/completions" },
  { name: "ai-sdk-openai", ...AiSdkOpenAi, provider: "openai", model: "gpt-4.1-mini", endpoint: "responses" },
  {
    name: "ai-sdk-anthropic",
    ...AiSdkAnthropic,
    provider: "anthropic",
    model: "claude-haiku-4-5",
    endpoint: "v1/messages"
  }
]

/** Waits until the gateway's calls match. */
const until = (server: Server, seen: (calls: ReadonlyArray<UpstreamCall>) => boolean) =>
  Effect.repeat(Effect.delay(server.gateway.calls, 5), { until: seen })

for (const { endpoint, main, model, name, provider } of examples) {
  describe(`docs/examples/${name}.ts`, () => {
    it.live("answers, streams, and finds the log of each call", () =>
      Effect.gen(function* () {
        const server = yield* start
        const prompts = ["Hello there", "Good night to all of you"]
        // Two at once: an id from shared state would be the other one's.
        const runs = yield* Effect.forEach(prompts, (prompt) => Effect.provide(main(prompt), live(server)), {
          concurrency: "unbounded"
        })
        for (const [index, run] of runs.entries()) {
          const text = `${provider}/${model}: ${prompts[index]}`
          assert.strictEqual(run.plain.text, text)
          assert.strictEqual(run.streamed.text, text)
          assert.isAbove(run.streamed.pieces.filter((piece) => piece !== "").length, 1)
          for (const call of ["plain", "streamed"] as const) {
            const { eventId, log, logId, logs } = run[call]
            assert.isDefined(log)
            assert.strictEqual(log.id, logId)
            assert.strictEqual(log.eventId, eventId)
            assert.deepStrictEqual(log.metadata, { example: name, call })
            assert.include(log.requestHead, prompts[index])
            assert.strictEqual(log.model, model)
            assert.strictEqual(log.statusCode, 200)
            assert.deepStrictEqual(
              logs.map(({ id }) => id),
              [log.id]
            )
          }
        }
        const ids = runs.flatMap(({ plain, streamed }) => [plain.logId, streamed.logId])
        assert.strictEqual(new Set(ids).size, 4)
        const calls = yield* server.gateway.calls
        assert.strictEqual(calls.length, 4)
        for (const call of calls) {
          assert.strictEqual(call.provider, provider)
          assert.strictEqual(call.endpoint, endpoint)
        }
      })
    )

    it.live("tries once: a 503 is seen once upstream, plain and streamed", () =>
      Effect.gen(function* () {
        const server = yield* start
        const attempt = Effect.flip(Effect.provide(main("Hello"), live(server)))
        yield* server.gateway.script(provider, [{ status: 503, repeat: 5 }])
        const plain = yield* attempt
        assert.strictEqual((yield* server.gateway.calls).length, 1)
        assert.strictEqual(statusOf(plain), 503)
        yield* server.gateway.reset
        yield* server.gateway.script(provider, [{ ok: true }, { status: 503, repeat: 5 }])
        const streamed = yield* attempt
        assert.strictEqual((yield* server.gateway.calls).length, 2)
        assert.strictEqual(statusOf(streamed), 503)
      })
    )

    it.live("ends the request when its fiber is interrupted", () =>
      Effect.gen(function* () {
        const server = yield* start
        yield* server.gateway.script(provider, [{ stall: true }])
        const fiber = yield* Effect.forkChild(Effect.provide(main("Hello"), live(server)))
        yield* until(server, (calls) => calls.length === 1)
        yield* Fiber.interrupt(fiber)
        const [call] = yield* until(server, ([call]) => call?.outcome !== undefined)
        assert.strictEqual(call?.outcome, "interrupted")
      })
    )

    it.live("runs as a program", () =>
      Effect.gen(function* () {
        const server = yield* start
        const { stderr, stdout } = yield* Effect.promise(() =>
          promisify(execFile)(
            process.execPath,
            ["--conditions=effect-ai-gateway-source", `${root}docs/examples/${name}.ts`],
            { env: { ...childEnv, ...environment(server) }, timeout: 60_000 }
          )
        )
        assert.strictEqual(stderr, "")
        assert.strictEqual(stdout.match(/^ {2}log [0-9a-f-]{36}, 1 by event id, status 200$/gm)?.length, 2, stdout)
      })
    )
  })
}

/** The status in any SDK error behind a failed promise. */
const statusOf = (error: unknown): number | undefined => {
  const cause = Cause.isUnknownError(error) ? error.cause : error
  if (cause instanceof APIError) return cause.status
  return APICallError.isInstance(cause) ? cause.statusCode : undefined
}

describe("docs/sdks.md", () => {
  const prompt = "Hello"
  const headers = { "cf-aig-authorization": `Bearer ${token}` }

  const ask = (model: LanguageModel) => generateText({ model, prompt, maxRetries: 0, headers })
  const openAi = (baseURL: string) => new OpenAI({ baseURL, apiKey: "k", maxRetries: 0, defaultHeaders: headers })
  /** One call per row of the table of base URLs, by its first cell. */
  const rows: Record<string, (baseURL: string) => PromiseLike<unknown>> = {
    "`openai`, `client.chat.completions`": (baseURL) =>
      openAi(baseURL).chat.completions.create({ model: "m", messages: [{ role: "user", content: prompt }] }),
    "`openai`, `client.responses`": (baseURL) => openAi(baseURL).responses.create({ model: "m", input: prompt }),
    "`@ai-sdk/openai`, `openai(model)`": (baseURL) => ask(createOpenAI({ baseURL, apiKey: "k" })("m")),
    "`@ai-sdk/openai`, `openai.chat(model)`": (baseURL) => ask(createOpenAI({ baseURL, apiKey: "k" }).chat("m")),
    "`@ai-sdk/anthropic`, `anthropic(model)`": (baseURL) =>
      ask(createAnthropic({ baseURL, apiKey: "k" })("claude-haiku-4-5"))
  }
  const [, section = ""] = page.split("\n## Base URLs\n")
  const documented = [...(section.split("\n## ")[0] ?? "").matchAll(/^\| (`.*) \|$/gm)].map(([, row = ""]) =>
    row.split(" | ")
  )

  it("has one row for each tested call", () => {
    assert.sameMembers(
      documented.map(([sdk]) => sdk ?? ""),
      Object.keys(rows)
    )
  })

  it.live.each(documented)("%s", ([sdk = "", base = "", appended = "", path = ""]) =>
    Effect.gen(function* () {
      const server = yield* start
      const [, provider = "", suffix = ""] = /^`getUrl\("(\w+)"\)`(?: \+ `(.*)`)?$/.exec(base) ?? []
      const gateway = yield* Effect.provide(GatewayService.GatewayService, live(server))
      const url = yield* gateway.getUrl(provider)
      assert.strictEqual(url, `${server.url}/v1/acme/docs/${provider}`)
      yield* Effect.promise(async () => rows[sdk]?.(url + suffix))
      const [call, ...more] = yield* server.gateway.calls
      assert.strictEqual(more.length, 0)
      assert.strictEqual(call?.endpoint, path.replaceAll("`", ""))
      assert.strictEqual(`/${call?.endpoint}`, suffix + appended.replaceAll("`", ""))
    })
  )

  it.live("the AI SDK with the bare URL for Anthropic asks for `messages`, and the local gateway answers", () =>
    Effect.gen(function* () {
      const server = yield* start
      const baseURL = server.gateway.url("docs", "anthropic")
      const { text } = yield* Effect.promise(() => ask(createAnthropic({ baseURL, apiKey: "k" })("claude-haiku-4-5")))
      assert.strictEqual(text, `anthropic/claude-haiku-4-5: ${prompt}`)
      assert.strictEqual((yield* server.gateway.calls)[0]?.endpoint, "messages")
    })
  )

  it("shows code of the examples", async () => {
    const sources = await Promise.all(
      examples.map(async ({ name }) => readFile(`${root}docs/examples/${name}.ts`, "utf8"))
    )
    const [, setUps = ""] = page.split("\n## The three set-ups\n")
    const blocks = [...(setUps.split("\n## ")[0] ?? "").matchAll(/^```ts\n(?:import .*\n)+\n([\s\S]*?)^```$/gm)]
    assert.strictEqual(blocks.length, sources.length)
    for (const [index, [, code = ""]] of blocks.entries()) assert.include(sources[index], code)
  })

  it("shows the code of the example for Cloudflare's providers", async () => {
    const source = await readFile(`${root}docs/examples/cloudflare-providers.ts`, "utf8")
    const [, section = ""] = page.split("\n## Cloudflare's providers for the AI SDK\n")
    const [, code = "absent"] = /^```ts\n([\s\S]*?)^```$/m.exec(section) ?? []
    assert.include(source, code)
  })

  // As `ai-gateway-provider` 4.0.1 sends them: with the paths of the providers' own hosts.
  const messages = [{ role: "user", content: prompt }]
  const requests = [
    {
      provider: "openai",
      endpoint: "v1/chat/completions",
      headers: { authorization: "Bearer k" },
      query: { model: "m", messages }
    },
    {
      provider: "anthropic",
      endpoint: "v1/messages",
      headers: { "x-api-key": "k" },
      query: { model: "m", messages, max_tokens: 10 }
    }
  ]
  it.live("ai-gateway-provider falls back in the local gateway through `bindingTo`", () =>
    Effect.gen(function* () {
      const server = yield* start
      yield* server.gateway.script("openai", [{ status: 503 }])
      const gateway = yield* Effect.provide(GatewayService.GatewayService, live(server))
      const binding = CloudflareProviders.bindingTo(yield* gateway.getUrl(), token)
      const response = yield* Effect.promise((signal) => binding.run(requests, { signal }))
      assert.deepStrictEqual([response.status, response.headers.get("cf-aig-step")], [200, "1"])
      const called = (yield* server.gateway.calls).map(({ endpoint, provider }) => `${provider} ${endpoint}`)
      assert.deepStrictEqual(called, ["openai v1/chat/completions", "anthropic v1/messages"])
    })
  )

  it.live("ai-gateway-provider aborts a request through `bindingTo`", () =>
    Effect.gen(function* () {
      const server = yield* start
      yield* server.gateway.script("openai", [{ stall: true }])
      const gateway = yield* Effect.provide(GatewayService.GatewayService, live(server))
      const binding = CloudflareProviders.bindingTo(yield* gateway.getUrl(), token)
      const fiber = yield* Effect.forkChild(Effect.promise((signal) => binding.run(requests, { signal })))
      yield* until(server, ([call]) => call !== undefined)
      yield* Fiber.interrupt(fiber)
      const [call] = yield* until(server, ([call]) => call?.outcome !== undefined)
      assert.strictEqual(call?.outcome, "interrupted")
    })
  )

  const model = "@cf/meta/llama-3.1-8b-instruct"
  it.live.each([
    `https://gateway.ai.cloudflare.com/v1/acme/docs/workers-ai/run/${model}`,
    `https://api.cloudflare.com/client/v4/accounts/acme/ai/run/${model}`
  ])("workers-ai-provider reaches the local gateway through `fetchTo` by %s", (url) =>
    Effect.gen(function* () {
      const server = yield* start
      const send = CloudflareProviders.fetchTo(server.url, token)
      const init = { method: "POST", headers: { authorization: `Bearer ${token}` }, body: JSON.stringify({ messages }) }
      const response = yield* Effect.promise(() => send(url, init))
      assert.strictEqual(response.status, 200)
      assert.include(yield* Effect.promise(() => response.text()), `workers-ai/${model}: ${prompt}`)
    })
  )

  // The hint keeps the SDKs' own retries short.
  const failing = { status: 503, repeat: "forever", headers: { "retry-after-ms": "1" } } as const
  const eager: Record<string, (baseURL: string, headers: Record<string, string>) => PromiseLike<unknown>> = {
    openai: (baseURL, headers) =>
      new OpenAI({ baseURL, apiKey: "k", defaultHeaders: headers }).responses.create({ model: "m", input: prompt }),
    ai: (baseURL, headers) => generateText({ model: createOpenAI({ baseURL, apiKey: "k" })("m"), prompt, headers })
  }
  it.live.each(Object.keys(eager))("%s tries three times by default, and the gateway as often each time", (sdk) =>
    Effect.gen(function* () {
      const server = yield* start
      yield* server.gateway.script("openai", [failing])
      const url = server.gateway.url("docs", "openai")
      yield* Effect.flip(Effect.tryPromise(async () => eager[sdk]?.(url, headers)))
      assert.strictEqual((yield* server.gateway.calls).length, 3)
      yield* Effect.flip(Effect.tryPromise(async () => eager[sdk]?.(url, { ...headers, "cf-aig-max-attempts": "5" })))
      assert.strictEqual((yield* server.gateway.calls).length, 3 + 15)
    })
  )

  it.live("names the log of a failure too", () =>
    Effect.gen(function* () {
      const server = yield* start
      yield* server.gateway.script("openai", [failing])
      const url = server.gateway.url("docs", "openai")
      const failures = yield* Effect.forEach(
        ["`openai`, `client.responses`", "`@ai-sdk/openai`, `openai(model)`"],
        (row) => Effect.flip(Effect.tryPromise(async () => rows[row]?.(url)))
      )
      const [openai, ai] = failures.map(({ cause }) => cause)
      assert.isTrue(openai instanceof APIError && APICallError.isInstance(ai))
      const ids = [
        openai instanceof APIError ? openai.headers?.get("cf-aig-log-id") : undefined,
        APICallError.isInstance(ai) ? ai.responseHeaders?.["cf-aig-log-id"] : undefined
      ]
      assert.deepStrictEqual(
        ids,
        (yield* server.gateway.calls).map(({ logId }) => logId)
      )
    })
  )

  it.live("works without a provider's key", () =>
    Effect.gen(function* () {
      const server = yield* start
      const without =
        (name: string): typeof fetch =>
        (input, init) => {
          const rest = new Headers(init?.headers)
          rest.delete(name)
          return fetch(input, { ...init, headers: rest })
        }
      const baseURL = server.gateway.url("docs", "openai")
      const client = new OpenAI({ baseURL, apiKey: "k", defaultHeaders: { ...headers, Authorization: null } })
      yield* Effect.promise(() => client.responses.create({ model: "m", input: prompt }))
      yield* Effect.promise(() => ask(createOpenAI({ baseURL, apiKey: "k", fetch: without("authorization") })("m")))
      const anthropic = { baseURL: `${server.gateway.url("docs", "anthropic")}/v1`, apiKey: "k" }
      yield* Effect.promise(() =>
        ask(createAnthropic({ ...anthropic, fetch: without("x-api-key") })("claude-haiku-4-5"))
      )
      const calls = yield* server.gateway.calls
      assert.strictEqual(calls.length, 3)
      for (const call of calls) assert.notInclude(Object.keys(call.headers), "authorization")
      for (const call of calls) assert.notInclude(Object.keys(call.headers), "x-api-key")
    })
  )

  it.live("documents that the AI SDK's textStream hides a failure", () =>
    Effect.gen(function* () {
      const server = yield* start
      yield* server.gateway.script("openai", [failing])
      const baseURL = server.gateway.url("docs", "openai")
      const model = createOpenAI({ baseURL, apiKey: "k" })("m")
      const pieces = yield* Effect.promise(async () => {
        const seen: Array<string> = []
        const { textStream } = streamText({ model, prompt, maxRetries: 0, headers, onError: () => {} })
        for await (const piece of textStream) seen.push(piece)
        return seen
      })
      assert.deepStrictEqual(pieces, [])
    })
  )
})
