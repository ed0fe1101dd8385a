import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "effect-ai-gateway/Chat"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as UniversalRequest from "effect-ai-gateway/UniversalRequest"
import { knownSlugs } from "../src/local/gateway/providers.ts"

const secret = "sk-very-secret-1234"
const apiKey = Redacted.make(secret)

const azure = { resource: "my-res", deployment: "mini-eu", apiVersion: "2024-10-21" }
const vertex = { project: "my-project", region: "us-central1" }
const bedrock = { region: "us-east-1" }

/** The one leg of a route for an input; fails the test when there is none. */
const legOf = <In, Out>(route: Route.Route<In, Out>, input: In): UniversalRequest.Leg => {
  const compiled = Route.compile(route, input)
  if (Result.isFailure(compiled)) assert.fail(JSON.stringify(compiled.failure))
  assert.strictEqual(compiled.success.legs.length, 1)
  return compiled.success.legs[0]
}

const revealed = (leg: UniversalRequest.Leg): Record<string, string> =>
  Object.fromEntries(
    Object.entries(leg.headers).map(([name, value]) => [
      name,
      Redacted.isRedacted(value) ? Redacted.value(value) : value
    ])
  )

const problemsOf = (route: Route.Route<never, unknown>) => Route.problems(route)

const openAiBody = (model: string) => ({ model, messages: [{ role: "user", content: "Hi" }] })
const anthropicBody = (model: string) => ({ model, max_tokens: 4096, messages: [{ role: "user", content: "Hi" }] })
const googleBody = { contents: [{ role: "user", parts: [{ text: "Hi" }] }] }
const anthropicVersion = { "anthropic-version": "2023-06-01" }
const embeddingBody = (model: string) => ({ model, input: "Hi" })

type Row = readonly [
  slug: string,
  route: (options: Provider.ChatOptions) => Provider.ChatRoute,
  model: string,
  endpoint: string,
  dialect: string,
  body: unknown,
  headers?: Record<string, string>
]

const openAiRow = (
  provider: Provider.Provider & Provider.WithChat,
  endpoint: string,
  dialect = "openai-compatible"
): Row => [
  provider.slug,
  (o) => provider.chat("some/model-1", o),
  "some/model-1",
  endpoint,
  dialect,
  openAiBody("some/model-1")
]

const vertexPath =
  "v1/projects/my-project/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent"

const chats: ReadonlyArray<Row> = [
  openAiRow(Provider.openai, "chat/completions", "openai"),
  openAiRow(Provider.grok, "v1/chat/completions"),
  openAiRow(Provider.groq, "chat/completions"),
  openAiRow(Provider.deepseek, "chat/completions"),
  openAiRow(Provider.mistral, "v1/chat/completions"),
  openAiRow(Provider.cerebras, "chat/completions"),
  openAiRow(Provider.openrouter, "v1/chat/completions"),
  openAiRow(Provider.perplexityAi, "chat/completions"),
  openAiRow(Provider.baseten, "v1/chat/completions"),
  openAiRow(Provider.fireworks, "chat/completions"),
  openAiRow(Provider.compat, "chat/completions"),
  openAiRow(Provider.custom("our-llm"), "v1/chat/completions"),
  ...[Provider.anthropic.messages, Provider.anthropic.chat].map(
    (chat): Row => [
      "anthropic",
      (o) => chat("claude-haiku-4-5", o),
      "claude-haiku-4-5",
      "v1/messages",
      "anthropic",
      anthropicBody("claude-haiku-4-5"),
      anthropicVersion
    ]
  ),
  ...[Provider.awsBedrock.messages, Provider.awsBedrock.chat].map(
    (chat): Row => [
      "aws-bedrock",
      (o) => chat("anthropic.claude-opus-5", { ...o, ...bedrock }),
      "anthropic.claude-opus-5",
      "bedrock-mantle/us-east-1/anthropic/v1/messages",
      "anthropic",
      anthropicBody("anthropic.claude-opus-5"),
      anthropicVersion
    ]
  ),
  [
    "google-ai-studio",
    (o) => Provider.googleAiStudio.chat("gemini-2.5-flash", o),
    "gemini-2.5-flash",
    "v1beta/models/gemini-2.5-flash:generateContent",
    "google",
    googleBody
  ],
  [
    "google-vertex-ai",
    (o) => Provider.googleVertexAi.chat("gemini-2.5-flash", { ...o, ...vertex }),
    "gemini-2.5-flash",
    vertexPath,
    "google-vertex",
    googleBody
  ],
  [
    "workers-ai",
    (o) => Provider.workersAi.chat("@cf/meta/llama-3.1-8b-instruct", o),
    "@cf/meta/llama-3.1-8b-instruct",
    "@cf/meta/llama-3.1-8b-instruct",
    "workers-ai",
    { messages: [{ role: "user", content: "Hi" }] }
  ],
  [
    "azure-openai",
    (o) => Provider.azureOpenai.chat("gpt-4.1-mini", { ...o, ...azure }),
    "gpt-4.1-mini",
    "my-res/mini-eu/chat/completions?api-version=2024-10-21",
    "openai",
    openAiBody("gpt-4.1-mini")
  ]
]

const embeddings: ReadonlyArray<
  readonly [slug: string, route: Provider.EmbeddingRoute, endpoint: string, body: unknown]
> = [
  ["openai", Provider.openai.embeddings("e-1"), "embeddings", embeddingBody("e-1")],
  ["mistral", Provider.mistral.embeddings("e-1"), "v1/embeddings", embeddingBody("e-1")],
  ["openrouter", Provider.openrouter.embeddings("e-1"), "v1/embeddings", embeddingBody("e-1")],
  ["fireworks", Provider.fireworks.embeddings("e-1"), "embeddings", embeddingBody("e-1")],
  ["custom-our-llm", Provider.custom("our-llm").embeddings("e-1"), "v1/embeddings", embeddingBody("e-1")],
  [
    "azure-openai",
    Provider.azureOpenai.embeddings("e-1", { resource: "my-res", apiVersion: "2024-10-21" }),
    "my-res/e-1/embeddings?api-version=2024-10-21",
    embeddingBody("e-1")
  ],
  ["workers-ai", Provider.workersAi.embeddings("@cf/baai/bge-m3"), "@cf/baai/bge-m3", { text: "Hi" }]
]

/** Every provider value, and how it writes a key. */
const keys: ReadonlyArray<readonly [provider: Provider.Provider, header: string, value: string]> = [
  [Provider.openai, "authorization", `Bearer ${secret}`],
  [Provider.anthropic, "x-api-key", secret],
  [Provider.googleAiStudio, "x-goog-api-key", secret],
  [Provider.googleVertexAi, "authorization", `Bearer ${secret}`],
  [Provider.workersAi, "authorization", `Bearer ${secret}`],
  [Provider.azureOpenai, "api-key", secret],
  [Provider.awsBedrock, "authorization", `Bearer ${secret}`],
  [Provider.grok, "authorization", `Bearer ${secret}`],
  [Provider.groq, "authorization", `Bearer ${secret}`],
  [Provider.deepseek, "authorization", `Bearer ${secret}`],
  [Provider.mistral, "authorization", `Bearer ${secret}`],
  [Provider.cerebras, "authorization", `Bearer ${secret}`],
  [Provider.openrouter, "authorization", `Bearer ${secret}`],
  [Provider.cohere, "authorization", `Bearer ${secret}`],
  [Provider.perplexityAi, "authorization", `Bearer ${secret}`],
  [Provider.huggingface, "authorization", `Bearer ${secret}`],
  [Provider.replicate, "authorization", `Bearer ${secret}`],
  [Provider.fal, "authorization", `Key ${secret}`],
  [Provider.ideogram, "api-key", secret],
  [Provider.baseten, "authorization", `Bearer ${secret}`],
  [Provider.fireworks, "authorization", `Bearer ${secret}`],
  [Provider.parallel, "x-api-key", secret],
  [Provider.cartesia, "x-api-key", secret],
  [Provider.deepgram, "authorization", `Token ${secret}`],
  [Provider.elevenlabs, "xi-api-key", secret],
  [Provider.adobeFirefly, "authorization", `Bearer ${secret}`],
  [Provider.compat, "authorization", `Bearer ${secret}`],
  [Provider.custom("our-llm"), "authorization", `Bearer ${secret}`]
]
const keyOf = (slug: string) => {
  const row = keys.find(([provider]) => provider.slug === slug)
  assert.isDefined(row)
  return { [row[1]]: row[2] }
}

describe("Provider", () => {
  it("has one value for each slug of the gateway", () => {
    const slugs = Object.values(Provider).flatMap((value) => (typeof value === "object" ? [value.slug] : []))
    assert.deepStrictEqual(slugs.sort(), [...knownSlugs, "compat"].sort())
    assert.deepStrictEqual(keys.map(([provider]) => provider.slug).sort(), [...slugs, "custom-our-llm"].sort())
  })

  for (const [slug, route, model, endpoint, dialect, body, headers = {}] of chats) {
    it(`${slug}: chat`, () => {
      const plain = route({})
      assert.deepStrictEqual(problemsOf(plain), [])
      const leg = legOf(plain, "Hi")
      assert.strictEqual(leg.provider, slug)
      assert.strictEqual(leg.endpoint, endpoint)
      assert.deepStrictEqual(leg.query, body)
      // No key, no header: neither an empty one nor a placeholder.
      assert.deepStrictEqual(leg.headers, headers)
      assert.deepStrictEqual(revealed(legOf(route({ apiKey }), "Hi")), { ...headers, ...keyOf(slug) })
      assert.deepStrictEqual(Route.targets(plain), [`${slug}/${model}`])
      const { node } = plain
      assert.strictEqual(node._tag === "Leaf" ? node.spec?.dialect : undefined, dialect)
      Effect.runSync(UniversalRequest.make([leg]))
    })
  }

  it("asks every provider with a chat of its own in the table above", () => {
    const tested = new Set(chats.map(([slug]) => slug))
    const withChat = Object.values(Provider).flatMap((value) =>
      typeof value === "object" && "chat" in value ? [value.slug] : []
    )
    assert.deepStrictEqual([...tested].sort(), [...withChat, "custom-our-llm"].sort())
  })

  for (const [slug, route, endpoint, body] of embeddings) {
    it(`${slug}: embeddings`, () => {
      const leg = legOf(route, "Hi")
      assert.deepStrictEqual([leg.provider, leg.endpoint, leg.query, leg.headers], [slug, endpoint, body, {}])
    })
  }

  for (const [provider, header, value] of keys) {
    it(`${provider.slug}: request`, () => {
      const options = {
        endpoint: "v2/thing?x=1",
        model: "m",
        query: (n: number) => ({ n }),
        success: Schema.Struct({ ok: Schema.Boolean }),
        headers: { "x-more": "1" }
      }
      const leg = legOf(Provider.request(provider, options), 7)
      const fixed = provider.slug === "anthropic" ? anthropicVersion : {}
      assert.deepStrictEqual([leg.provider, leg.endpoint, leg.query], [provider.slug, "v2/thing?x=1", { n: 7 }])
      assert.deepStrictEqual(leg.headers, { "x-more": "1", ...fixed })
      const keyed = legOf(
        Provider.request(provider, { ...options, apiKey, key: "mine", endpoint: (n: number) => `n/${n}` }),
        7
      )
      assert.deepStrictEqual(revealed(keyed), { "x-more": "1", ...fixed, [header]: value })
      assert.strictEqual(keyed.endpoint, "n/7")
      assert.deepStrictEqual(Route.targets(Provider.request(provider, { ...options, key: "mine" })), ["mine"])
    })
  }

  it("reads a request's answer as asked", () => {
    const { node } = Provider.request(Provider.elevenlabs, {
      endpoint: "v1/text-to-speech/x",
      query: (text: string) => ({ text }),
      success: Schema.Uint8Array,
      accept: "bytes"
    })
    assert.strictEqual(node._tag === "Leaf" ? node.accept : undefined, "bytes")
  })

  it("merges body fields below those of the request, and headers above the provider's own", () => {
    const route = Provider.anthropic.messages("claude-haiku-4-5", {
      version: "2024-01-01",
      body: { top_k: 5, max_tokens: 1 },
      headers: { "anthropic-beta": "b" }
    })
    const leg = legOf(route, { messages: [Chat.user("Hi")], maxTokens: 9 })
    assert.deepStrictEqual(leg.query, { top_k: 5, ...anthropicBody("claude-haiku-4-5"), max_tokens: 9 })
    assert.deepStrictEqual(leg.headers, { "anthropic-version": "2024-01-01", "anthropic-beta": "b" })
    const other = Provider.anthropic.messages("claude-haiku-4-5", { headers: { "anthropic-version": "2025-01-01" } })
    assert.deepStrictEqual(legOf(other, "Hi").headers, { "anthropic-version": "2025-01-01" })
  })

  it("takes another dialect and endpoint", () => {
    const model = "@cf/meta/llama-3.1-8b-instruct"
    const route = Provider.workersAi.chat(model, { endpoint: "v1/chat/completions", dialect: Chat.openaiCompatible })
    const leg = legOf(route, "Hi")
    assert.deepStrictEqual([leg.endpoint, leg.query], ["v1/chat/completions", openAiBody(model)])
  })

  it("names the Azure deployment after the model unless it has a name", () => {
    const { deployment: _, ...rest } = azure
    const leg = legOf(Provider.azureOpenai.chat("gpt-4.1", rest), "Hi")
    assert.strictEqual(leg.endpoint, "my-res/gpt-4.1/chat/completions?api-version=2024-10-21")
  })
})

describe("compat, dynamic, custom", () => {
  it("splits a compat model at its first slash only", () => {
    for (const model of [
      "openai/gpt-4.1",
      "workers-ai/@cf/meta/llama-3.1-8b-instruct",
      "google-vertex-ai/google/gemini-2.5-pro",
      "dynamic/support"
    ]) {
      const leg = legOf(Provider.compat.chat(model), "Hi")
      assert.deepStrictEqual([leg.provider, leg.endpoint, leg.query], ["compat", "chat/completions", openAiBody(model)])
    }
    for (const model of ["gpt-4.1", "/gpt", "openai/", "openai//x", "open ai/x", "", "openai/a b"]) {
      assert.deepStrictEqual(
        problemsOf(Provider.compat.chat(model)).map(({ field }) => field),
        ["compat.model"],
        model
      )
    }
  })

  it("limits tokens through compat as the provider behind it wants it", () => {
    const body = (model: string) =>
      legOf(Provider.compat.chat(model), { messages: [Chat.user("Hi")], maxTokens: 5 }).query
    assert.deepStrictEqual(body("openai/gpt-5"), { ...openAiBody("openai/gpt-5"), max_completion_tokens: 5 })
    assert.deepStrictEqual(body("mistral/large"), { ...openAiBody("mistral/large"), max_tokens: 5 })
  })

  it("makes a dynamic route one target", () => {
    const leg = legOf(Provider.dynamic("support", { apiKey }), "Hi")
    assert.deepStrictEqual(
      [leg.provider, leg.endpoint, leg.query],
      ["compat", "chat/completions", openAiBody("dynamic/support")]
    )
    assert.deepStrictEqual(revealed(leg), { authorization: `Bearer ${secret}` })
    for (const name of ["", "a b", "dynamic/support"]) {
      assert.deepStrictEqual(
        problemsOf(Provider.dynamic(name)).map(({ field }) => field),
        ["compat.route"],
        name
      )
    }
  })

  it("gives a custom provider its own codec, paths and key header", () => {
    const ours = Provider.custom("our-llm", {
      dialect: Chat.anthropic,
      chatEndpoint: "api/chat",
      embeddingsEndpoint: "api/embed",
      auth: { header: "x-our-key", scheme: "Secret" }
    })
    const leg = legOf(ours.chat("m", { apiKey }), "Hi")
    assert.deepStrictEqual([leg.provider, leg.endpoint, leg.query], ["custom-our-llm", "api/chat", anthropicBody("m")])
    assert.deepStrictEqual(revealed(leg), { "x-our-key": `Secret ${secret}` })
    assert.strictEqual(legOf(ours.embeddings("m"), "Hi").endpoint, "api/embed")
    assert.strictEqual(legOf(ours.chat("m", { endpoint: "other" }), "Hi").endpoint, "other")
  })

  it("refuses what no custom provider can be called", () => {
    const ask = { endpoint: "x", query: () => ({}), success: Schema.Unknown }
    for (const slug of ["", "a/b c?d", "Upper", "-x", "x-", "a".repeat(58)]) {
      const provider = Provider.custom(slug)
      for (const route of [provider.chat("m"), provider.embeddings("m"), Provider.request(provider, ask)]) {
        assert.deepStrictEqual(
          problemsOf(route).map(({ field }) => field),
          [`custom-${slug}.slug`],
          slug
        )
      }
    }
    const fields = (auth: { readonly header: string; readonly scheme?: string }) =>
      problemsOf(Provider.custom("x", { auth }).chat("m")).map(({ field }) => field)
    assert.deepStrictEqual(fields({ header: "X-Key" }), ["custom-x.auth.header"])
    assert.deepStrictEqual(fields({ header: "cf-aig-authorization" }), ["custom-x.auth.header"])
    assert.deepStrictEqual(fields({ header: "x-key", scheme: "a b" }), ["custom-x.auth.scheme"])
    assert.deepStrictEqual(
      problemsOf(Provider.custom("x", { chatEndpoint: "../y" }).chat("m")).map(({ field }) => field),
      ["custom-x.endpoint"]
    )
  })
})

describe("arguments that cannot be used", () => {
  const chat = Provider.openai.chat
  const invalid: ReadonlyArray<
    readonly [what: string, route: Route.Route<never, unknown>, fields: ReadonlyArray<string>]
  > = [
    ["empty model", chat(""), ["openai.model"]],
    ["model of spaces", chat("  "), ["openai.model"]],
    ["model with a line break", chat("a\nb"), ["openai.model"]],
    // @ts-expect-error: a caller without types
    ["no model", chat(), ["openai.model"]],
    ["empty key", chat("m", { key: "" }), ["openai.key"]],
    ["empty api key", chat("m", { apiKey: Redacted.make("") }), ["openai.apiKey"]],
    ["api key with its scheme", chat("m", { apiKey: Redacted.make(`Bearer ${secret}`) }), ["openai.apiKey"]],
    ["api key with a line break", chat("m", { apiKey: Redacted.make(`${secret}\n`) }), ["openai.apiKey"]],
    // @ts-expect-error: a caller without types
    ["api key as text", chat("m", { apiKey: secret }), ["openai.apiKey"]],
    ["header in upper case", chat("m", { headers: { "X-A": "1" } }), ["openai.headers.X-A"]],
    ["header with a line break", chat("m", { headers: { "x-a": "1\n2" } }), ["openai.headers.x-a"]],
    [
      "credential as text",
      chat("m", { headers: { authorization: `Bearer ${secret}` } }),
      ["openai.headers.authorization"]
    ],
    [
      "two credentials in one place",
      chat("m", { apiKey, headers: { authorization: apiKey } }),
      ["openai.headers.authorization"]
    ],
    [
      "gateway token in a leg",
      chat("m", { headers: { "cf-aig-authorization": apiKey } }),
      ["openai.headers.cf-aig-authorization"]
    ],
    // @ts-expect-error: a caller without types
    ["headers as text", chat("m", { headers: "x" }), ["openai.headers"]],
    // @ts-expect-error: a caller without types
    ["body as text", chat("m", { body: "x" }), ["openai.body"]],
    // @ts-expect-error: a caller without types
    ["allowEmpty as text", chat("m", { allowEmpty: "yes" }), ["openai.allowEmpty"]],
    ["contextWindow of nothing", chat("m", { contextWindow: 0 }), ["openai.contextWindow"]],
    ["contextWindow as a fraction", chat("m", { contextWindow: 1.5 }), ["openai.contextWindow"]],
    ["empty endpoint", chat("m", { endpoint: "" }), ["openai.endpoint"]],
    ["endpoint that leaves", chat("m", { endpoint: "../anthropic/v1" }), ["openai.endpoint"]],
    ["endpoint with a key", chat("m", { endpoint: `chat?key=${secret}` }), ["openai.endpoint"]],
    [
      "request with a bad path",
      Provider.request(Provider.cohere, { endpoint: "/v1", query: () => ({}), success: Schema.Unknown }),
      ["cohere.endpoint"]
    ],
    [
      "request with a bad key",
      Provider.request(Provider.cohere, {
        endpoint: "v1",
        apiKey: Redacted.make(""),
        key: "",
        query: () => ({}),
        success: Schema.Unknown
      }),
      ["cohere.key", "cohere.apiKey"]
    ],
    ["several at once", chat("", { key: "", endpoint: "/x" }), ["openai.model", "openai.endpoint", "openai.key"]],
    // @ts-expect-error: a caller without types
    ["no Azure place", Provider.azureOpenai.chat("m"), ["azure-openai.resource", "azure-openai.apiVersion"]],
    ["Azure resource", Provider.azureOpenai.chat("m", { ...azure, resource: "a/b" }), ["azure-openai.resource"]],
    ["Azure version", Provider.azureOpenai.chat("m", { ...azure, apiVersion: "1&x=2" }), ["azure-openai.apiVersion"]],
    ["Azure deployment", Provider.azureOpenai.chat("m", { ...azure, deployment: ".." }), ["azure-openai.deployment"]],
    [
      "Azure model as deployment",
      Provider.azureOpenai.chat("a b", { resource: "r", apiVersion: "v" }),
      ["azure-openai.deployment"]
    ],
    // @ts-expect-error: a caller without types
    ["no Vertex place", Provider.googleVertexAi.chat("m"), ["google-vertex-ai.project", "google-vertex-ai.region"]],
    ["Vertex region", Provider.googleVertexAi.chat("m", { ...vertex, region: "us/x" }), ["google-vertex-ai.region"]],
    ["Vertex project", Provider.googleVertexAi.chat("m", { ...vertex, project: "../x" }), ["google-vertex-ai.project"]],
    ["Bedrock region", Provider.awsBedrock.messages("m", { region: "us east" }), ["aws-bedrock.region"]],
    ["Anthropic version", Provider.anthropic.chat("m", { version: "a b" }), ["anthropic.version"]],
    ["another method at Google", Provider.googleAiStudio.chat("m:countTokens"), ["google-ai-studio.model"]],
    ["no Workers AI model", Provider.workersAi.chat("llama"), ["workers-ai.model"]],
    ["Workers AI embeddings", Provider.workersAi.embeddings("@cf/../x"), ["workers-ai.model"]]
  ]
  for (const [what, route, fields] of invalid) {
    it(`${what}: ${fields.join(", ")}`, () => {
      const problems = problemsOf(route)
      assert.deepStrictEqual(
        problems.map(({ field }) => field),
        fields
      )
      for (const { accepted } of problems) assert.isAbove(accepted.length, 5)
      assert.notInclude(JSON.stringify(problems), secret)
      assert.include(Route.describe(route), "INVALID")
    })
  }

  it("is fine where it looks alike", () => {
    const headers = { "idempotency-key": "1", "x-token-limit": "5", "openai-organization": "o" }
    assert.deepStrictEqual(problemsOf(chat("openai/gpt 5", { headers, endpoint: "v1/x?api-version=1" })), [])
  })

  const Part = Schema.Literals([
    "a",
    "m-1",
    "@cf",
    "@",
    "..",
    ".",
    "%2e",
    "/",
    "/",
    "?",
    "#",
    "&x=",
    ":",
    " ",
    "\\",
    "é"
  ])
  const Path = Schema.Array(Part).check(Schema.isMaxLength(5))
  it.prop("a model never changes the path around it", { parts: Path }, ({ parts }) => {
    const model = parts.join("")
    const routes: ReadonlyArray<readonly [Provider.ChatRoute, (model: string) => string]> = [
      [Provider.googleAiStudio.chat(model), (m) => `v1beta/models/${m}:generateContent`],
      [Provider.googleVertexAi.chat(model, vertex), (m) => vertexPath.replace("gemini-2.5-flash", m)],
      [Provider.workersAi.chat(model), (m) => m],
      [
        Provider.azureOpenai.chat("m", { ...azure, deployment: model }),
        (m) => `my-res/${m}/chat/completions?api-version=2024-10-21`
      ]
    ]
    for (const [route, path] of routes) {
      if (problemsOf(route).length > 0) continue
      const { endpoint } = legOf(route, "Hi")
      assert.strictEqual(endpoint, path(model))
      const url = new URL(`https://gateway.test/v1/a/g/p/${endpoint}`)
      assert.strictEqual(url.href, `https://gateway.test/v1/a/g/p/${endpoint}`)
      assert.strictEqual(url.hash, "")
      assert.strictEqual(url.search, endpoint.includes("?") ? "?api-version=2024-10-21" : "")
    }
  })

  it.effect.prop("an endpoint is accepted here exactly when it can be sent", { parts: Path }, ({ parts }) => {
    const endpoint = parts.join("")
    return Effect.map(
      Effect.result(UniversalRequest.make([{ provider: "openai", endpoint, query: {} }])),
      (sendable) => {
        assert.strictEqual(problemsOf(chat("m", { endpoint })).length === 0, Result.isSuccess(sendable), endpoint)
      }
    )
  })
})

describe("targets", () => {
  it("are two when anything but the words differs", () => {
    const a = Provider.openai.chat("gpt", { apiKey: Redacted.make("k1", { label: "a" }) })
    const b = Provider.openai.chat("gpt", { apiKey: Redacted.make("k2", { label: "b" }) })
    const alias = Provider.openai.chat("gpt").pipe(Route.options({ byokAlias: "team" }))
    const named = Provider.openai.chat("gpt", { key: "eu" })
    assert.deepStrictEqual(Route.targets(Route.fallback(a, b, alias, named, Provider.openai.chat("gpt"))), [
      "openai/gpt@a",
      "openai/gpt@b",
      "openai/gpt@team",
      "eu",
      "openai/gpt"
    ])
    const [one, two] = [Redacted.make("k1"), Redacted.make("k2")].map((key) =>
      Provider.openai.chat("gpt", { apiKey: key })
    )
    assert.isDefined(one)
    assert.isDefined(two)
    assert.strictEqual(new Set(Route.targets(Route.fallback(one, two))).size, 2)
    const regions = ["us-east-1", "eu-west-1"].map((region) => Provider.awsBedrock.messages("m", { region }))
    assert.strictEqual(new Set(regions.map((route) => legOf(route, "Hi").endpoint)).size, 2)
  })

  it("print no credential", () => {
    const route = Route.fallback(
      Provider.openai.chat("gpt", { apiKey: Redacted.make(secret, { label: "team" }) }),
      Provider.openai.chat("gpt", { headers: { "x-secret": apiKey } }),
      Provider.openai.chat("")
    )
    const compiled = Route.compile(Route.fallback(Provider.openai.chat("gpt", { apiKey })), "Hi")
    const printed = [
      Route.describe(route),
      Route.toMermaid(route),
      JSON.stringify(route),
      inspect(route, { depth: 20, showHidden: true }),
      JSON.stringify(Route.problems(route)),
      JSON.stringify(Route.targets(route)),
      JSON.stringify(compiled),
      inspect(compiled, { depth: 20 }),
      String(route)
    ]
    for (const text of printed) assert.notInclude(text, secret)
    assert.include(printed[3], "redacted")
  })
})
