import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Chat from "effect-ai-gateway/Chat"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { allow, failure, seen, success, throughFile } from "./support/routeJson.ts"

describe("toJson", () => {
  it("writes the form that a person would write", () => {
    const route = Route.fallback(
      Provider.openai.chat("gpt-4.1-mini"),
      Provider.anthropic.messages("claude-haiku-4-5").pipe(Route.timeout("90 seconds")),
      Provider.workersAi.chat("@cf/meta/llama-3.1-8b-instruct")
    ).pipe(
      Route.fallbackOn(["RateLimited"]),
      Route.retry({ attempts: 3, delay: "200 millis", on: ["Timeout"] }),
      Route.timeout("5 seconds"),
      Route.deadline("2 minutes"),
      Route.cache({ ttl: "1 hour" }),
      Route.metadata({ team: "support" })
    )
    assert.deepStrictEqual(throughFile(success(Route.toJson(route))), {
      version: 1,
      route: {
        options: { metadata: { team: "support" } },
        route: {
          options: { cache: { ttl: "60 minutes" } },
          deadline: "2 minutes",
          timeout: "5 seconds",
          retry: {
            attempts: 3,
            delay: "200 millis",
            backoff: "exponential",
            maxDelay: "5 seconds",
            jitter: 0,
            retryAfter: true,
            on: ["Timeout"]
          },
          fallbackOn: ["RateLimited"],
          fallback: [
            { provider: "openai", model: "gpt-4.1-mini" },
            { timeout: "90 seconds", provider: "anthropic", model: "claude-haiku-4-5" },
            { provider: "workers-ai", model: "@cf/meta/llama-3.1-8b-instruct" }
          ]
        }
      }
    })
  })

  it("writes everything that differs from the provider's defaults", () => {
    const place = { resource: "r", apiVersion: "2024-10-21" }
    const apiKey = Redacted.make("sk-secret")
    const leaves = [
      Provider.azureOpenai.chat("gpt", { ...place, apiKey }),
      Provider.anthropic.messages("claude", {
        version: "2024-01-01",
        dialect: Chat.anthropicJsonTool,
        body: { top_k: 5 },
        allowEmpty: true,
        contextWindow: 200_000
      }),
      Provider.custom("x", { chatEndpoint: "api", auth: { header: "x-key" } }).chat("m", {
        apiKey,
        headers: { "x-a": "1" }
      }),
      Provider.openai.chat("gpt", { key: "mine", endpoint: "v1/chat/completions" })
    ]
    const written = leaves.map((leaf) => throughFile(success(Route.toJson(leaf))))
    assert.deepStrictEqual(written, [
      {
        version: 1,
        route: {
          provider: "azure-openai",
          model: "gpt",
          endpoint: "r/gpt/chat/completions?api-version=2024-10-21",
          credentials: ["api-key"]
        }
      },
      {
        version: 1,
        route: {
          provider: "anthropic",
          model: "claude",
          dialect: "anthropic-json-tool",
          headers: { "anthropic-version": "2024-01-01" },
          body: { top_k: 5 },
          allowEmpty: true,
          contextWindow: 200_000
        }
      },
      {
        version: 1,
        route: { provider: "custom-x", model: "m", endpoint: "api", headers: { "x-a": "1" }, credentials: ["x-key"] }
      },
      { version: 1, route: { provider: "openai", model: "gpt", key: "mine", endpoint: "v1/chat/completions" } }
    ])
    assert.notInclude(JSON.stringify(written), "sk-secret")
  })

  it("writes only what can be read again, however odd", () => {
    const leaf = Provider.openai.chat("gpt")
    const odd = [
      leaf.pipe(Route.retry({ attempts: 2, delay: 0, maxDelay: 1e30 })),
      leaf.pipe(Route.retry({ attempts: 2, delay: 0.25, jitter: 1, retryAfter: false, on: [] })),
      leaf.pipe(Route.cache({ ttl: "61 seconds", skip: true })),
      leaf.pipe(Route.cache({ ttl: "off", key: "k" })),
      leaf.pipe(Route.cache({ skip: false })),
      leaf.pipe(Route.options({}), Route.fallbackOn([])),
      leaf.pipe(
        Route.options({
          eventId: "e",
          timeout: "1500 millis",
          retries: { attempts: 2, delay: "1 second", backoff: "linear" },
          log: { collect: true, payload: false },
          byokAlias: "a",
          zeroDataRetention: true,
          noWholesale: false,
          customCost: { perTokenIn: 0.1, perTokenOut: 1, perCacheReadToken: 0, perCacheWriteToken: 2, totalCost: 3 },
          metadata: { a: "x", b: 1, c: true }
        })
      )
    ]
    for (const route of odd) {
      const loaded = success(Route.fromJson(throughFile(success(Route.toJson(route)))))
      assert.deepStrictEqual(seen(loaded, "Hi"), seen(route, "Hi"))
    }
  })

  it("keeps targets apart that only differ in a credential", () => {
    const key = (name: string) => Redacted.make(`sk-${name}`, { label: name })
    const shared = Provider.groq.chat("llama")
    const route = Route.fallback(
      Provider.openai.chat("gpt", { apiKey: key("a") }),
      Provider.openai.chat("gpt", { apiKey: key("b") }),
      shared,
      Provider.groq.chat("llama"),
      shared
    )
    const json = success(Route.toJson(route))
    assert.deepStrictEqual(
      json.route.fallback?.map((leaf) => leaf.key),
      ["openai/gpt@a", "openai/gpt@b", undefined, "groq/llama#2", undefined]
    )
    const credentials = { "openai/gpt@a": Redacted.make("sk-a"), "openai/gpt@b": Redacted.make("sk-b") }
    const loaded = success(Route.fromJson(throughFile(json), { credentials }))
    assert.deepStrictEqual(seen(loaded, "Hi"), seen(route, "Hi"))
    assert.deepStrictEqual(Route.targets(loaded), [
      "openai/gpt@a",
      "openai/gpt@b",
      "groq/llama",
      "groq/llama#2",
      "groq/llama"
    ])
  })

  it("lists every node that is not data", () => {
    const leaf = Provider.openai.chat("gpt")
    const made = Route.make({ provider: "openai", endpoint: "x", query: () => ({}), success: Schema.Unknown })
    const problemsOf = (route: Route.Route<never, unknown>) => failure(Route.toJson(route))
    const fields = (route: Route.Route<never, unknown>) => problemsOf(route).map(({ field }) => field)
    assert.deepStrictEqual(fields(made), ["route"])
    assert.include(problemsOf(made)[0]?.accepted, "made")
    const several = Route.fallback(
      leaf.pipe(Route.map((reply) => reply)),
      leaf.pipe(Route.mapInput((input: Chat.Input) => input)),
      Route.when(() => true, leaf, leaf.pipe(Route.retry(Schedule.recurs(2)))),
      leaf.pipe(
        Route.retry(Schedule.recurs(2)),
        Route.fallbackOn(() => true),
        Route.timeout("1 second")
      ),
      Provider.openai.chat(""),
      leaf.pipe(Route.timeout("0 seconds"))
    ).pipe(Route.retry({ attempts: 0 }))
    assert.deepStrictEqual(fields(several), [
      "route.retry.attempts",
      "route.fallback[0]",
      "route.fallback[1]",
      "route.fallback[2]",
      "route.fallback[2].onFalse.retry",
      "route.fallback[3].fallbackOn",
      "route.fallback[3].route.retry",
      "route.fallback[4].openai.model",
      "route.fallback[5].timeout"
    ])
  })

  it("rejects what could not be read again", () => {
    const clash = Route.fallback(Provider.openai.chat("a", { key: "k" }), Provider.openai.chat("b", { key: "k" }))
    assert.deepStrictEqual(failure(Route.toJson(clash)), [...Route.problems(clash)])
  })
})

describe("fromJson", () => {
  const leaf = { provider: "openai", model: "gpt-4.1-mini" }
  const file = (route: unknown) => ({ version: 1, route })

  it("reads a file as a person writes it", () => {
    const loaded = success(
      Route.fromJson(
        {
          version: 1,
          route: {
            retry: { attempts: 3 },
            fallback: [
              leaf,
              { provider: "azure-openai", model: "gpt", resource: "r", deployment: "d", apiVersion: "2024-10-21" },
              { provider: "google-vertex-ai", model: "gemini-2.5-flash", project: "p", region: "us-central1" },
              { provider: "aws-bedrock", model: "anthropic.claude-opus-5", region: "us-east-1", version: "2024-01-01" },
              { provider: "compat", model: "dynamic/support" },
              { provider: "custom-ours", model: "m", endpoint: "api" },
              {
                provider: "cohere",
                model: "command",
                endpoint: "compatibility/v1/chat/completions",
                dialect: "openai-compatible"
              }
            ],
            timeout: 5000,
            options: { cache: { ttl: "1 hour", key: "k" }, log: { payload: false } }
          }
        },
        { credentials: { unused: Redacted.make("x") } }
      )
    )
    const { fromNode, isRoute } = Route
    assert.isTrue(isRoute(loaded))
    const expected = Route.fallback(
      Provider.openai.chat("gpt-4.1-mini"),
      Provider.azureOpenai.chat("gpt", { resource: "r", deployment: "d", apiVersion: "2024-10-21" }),
      Provider.googleVertexAi.chat("gemini-2.5-flash", { project: "p", region: "us-central1" }),
      Provider.awsBedrock.messages("anthropic.claude-opus-5", { region: "us-east-1", version: "2024-01-01" }),
      Provider.dynamic("support"),
      Provider.custom("ours", { chatEndpoint: "api" }).chat("m")
    ).node
    const cohere = loaded.planned.targets[6]?.leaf
    assert.isDefined(cohere)
    const whole = fromNode({
      _tag: "Fallback",
      routes: [...(expected._tag === "Fallback" ? expected.routes : []), cohere]
    }).pipe(
      Route.retry({ attempts: 3 }),
      Route.timeout("5 seconds"),
      Route.options({ cache: { ttl: "1 hour", key: "k" }, log: { payload: false } })
    )
    assert.deepStrictEqual(seen(loaded, "Hi"), seen(whole, "Hi"))
    assert.strictEqual(cohere.label, "compatibility/v1/chat/completions")
  })

  it("reads embeddings", () => {
    const route = Route.fallback(
      Provider.openai.embeddings("text-embedding-3-small", { body: { user: "u" } }),
      Provider.workersAi.embeddings("@cf/baai/bge-m3")
    )
    const json = success(Route.toJson(route))
    const loaded = success(Route.embeddingsFromJson(throughFile(json)))
    assert.deepStrictEqual(seen(loaded, ["a", "b"]), seen(route, ["a", "b"]))
    assert.isTrue(Result.isSuccess(Route.embeddingsFromJson(file({ provider: "mistral", model: "mistral-embed" }))))
    assert.deepStrictEqual(
      failure(Route.fromJson(throughFile(json))).map(({ field }) => field),
      ["route.fallback[0].kind", "route.fallback[1].kind"]
    )
    assert.deepStrictEqual(failure(Route.embeddingsFromJson(file({ provider: "groq", model: "m" }))), [
      { field: "route.provider", accepted: "a provider with embeddings of its own, or endpoint and dialect beside it" }
    ])
  })

  it("takes equal words for one target", () => {
    const loaded = success(Route.fromJson(file({ fallback: [leaf, { provider: "groq", model: "m" }, { ...leaf }] })))
    assert.deepStrictEqual(Route.targets(loaded), ["openai/gpt-4.1-mini", "groq/m", "openai/gpt-4.1-mini"])
  })

  const authorizations = (route: Route.Route<Chat.Input, Chat.Reply>) => {
    const { legs } = success(Route.compile(route, "Hi", "universal", { allow }))
    return legs.map(({ headers }) =>
      Object.entries(headers).flatMap(([name, value]) =>
        Redacted.isRedacted(value) ? [`${name}: ${Redacted.value(value)}`] : []
      )
    )
  }

  it("gives each target its credentials: by key, then by provider, as a key or by header", () => {
    const named = { ...leaf, credentials: ["authorization"] }
    const json = file({
      fallback: [
        named,
        { ...named, key: "second" },
        { options: { byokAlias: "a" }, ...named },
        { ...leaf, model: "plain" },
        { provider: "anthropic", model: "claude", credentials: ["x-api-key", "x-extra"] }
      ]
    })
    const loaded = success(
      Route.fromJson(json, {
        credentials: {
          openai: Redacted.make("one"),
          second: Redacted.make("two", { label: "b" }),
          "openai/gpt-4.1-mini@a": { authorization: Redacted.make("Basic three") },
          anthropic: { "x-api-key": Redacted.make("four"), "x-extra": Redacted.make("five") }
        }
      })
    )
    assert.deepStrictEqual(authorizations(loaded), [
      ["authorization: Bearer one"],
      ["authorization: Bearer two"],
      ["authorization: Basic three"],
      [],
      ["x-api-key: four", "x-extra: five"]
    ])
    // A route that was read can be written again, with only the names.
    const again = success(Route.toJson(loaded))
    assert.notInclude(JSON.stringify(again), "one")
    assert.deepStrictEqual(again.route.fallback?.[4]?.credentials, ["x-api-key", "x-extra"])
    assert.notInclude(inspect(loaded, { depth: 20 }), "Bearer one")
  })

  it("requires every credential that the file names", () => {
    const named = { ...leaf, credentials: ["authorization"] }
    const problems = (route: unknown, credentials?: Route.FromJsonOptions["credentials"]) =>
      failure(Route.fromJson(file(route), { credentials }))
    assert.deepStrictEqual(problems({ fallback: [leaf, named] }), [
      { field: "route.fallback[1].credentials", accepted: `a credential for "openai/gpt-4.1-mini#2" or "openai"` }
    ])
    assert.deepStrictEqual(
      problems({ ...leaf, credentials: ["authorization", "x-more"] }, { openai: Redacted.make("k") }),
      [{ field: "route.credentials", accepted: `a Redacted value for the header x-more of "openai/gpt-4.1-mini"` }]
    )
    for (const given of [{}, { authorization: "text" }, "text"]) {
      // @ts-expect-error: a caller without types
      assert.strictEqual(problems(named, { openai: given })[0]?.field, "route.credentials")
    }
    for (const given of ["", "two words", "line\nbreak"]) {
      const [problem] = problems(named, { openai: Redacted.make(given) })
      assert.strictEqual(problem?.field, "route.credentials", given)
    }
    // A property name of every object is not a credential.
    const proto = problems({ ...named, key: "toString" })
    assert.deepStrictEqual(proto, [{ field: "route.credentials", accepted: `a credential for "toString" or "openai"` }])
  })

  const bad: ReadonlyArray<readonly [what: string, json: unknown, fields: ReadonlyArray<string>, accepted?: string]> = [
    ["text", JSON.stringify(file(leaf)), ["json"], "object"],
    ["null", null, ["json"], "object"],
    ["an array", [], ["json"], "object"],
    ["nothing", {}, ["version", "route"], "1"],
    ["another version", { version: 2, route: leaf }, ["version"], "1"],
    ["a field at the top", { ...file(leaf), routes: [] }, ["routes"], "one of version, route"],
    ["no body", file({ timeout: "5 seconds" }), ["route"], "exactly one of fallback, race, balance, route, provider"],
    [
      "two bodies",
      file({ ...leaf, fallback: [leaf] }),
      ["route"],
      "exactly one of fallback, race, balance, route, provider"
    ],
    ["a misspelt setting", file({ ...leaf, time_out: "1 second" }), ["route.time_out"]],
    [
      "a misspelt setting deep down",
      file({ fallback: [{ route: { ...leaf, retries: {} } }] }),
      ["route.fallback[0].route.retries"]
    ],
    ["a field with a dot", file({ ...leaf, "a.b": 1 }), [`route["a.b"]`]],
    ["an empty fallback", file({ fallback: [] }), ["route.fallback"], "at least one route"],
    ["fallback as an object", file({ fallback: leaf }), ["route.fallback"], "array"],
    ["a route that is none", file({ fallback: [leaf, 5] }), ["route.fallback[1]"], "object"],
    [
      "a target's field beside fallback",
      file({ fallback: [leaf], model: "x" }),
      ["route.model"],
      "nothing beside fallback"
    ],
    ["no model", file({ provider: "openai" }), ["route.model"]],
    ["a model that is no text", file({ ...leaf, model: 4 }), ["route.model"], "string"],
    ["a bad model", file({ provider: "workers-ai", model: "llama" }), ["route.model"]],
    ["an unknown provider", file({ ...leaf, provider: "opnai" }), ["route.provider"]],
    ["a bad custom provider", file({ ...leaf, provider: "custom-A/b" }), ["route.provider"]],
    ["a provider without chat", file({ ...leaf, provider: "cohere" }), ["route.provider"]],
    ["an unknown dialect", file({ ...leaf, dialect: "x" }), ["route.dialect"]],
    ["a dialect of embeddings", file({ ...leaf, dialect: "openai-embeddings" }), ["route.dialect"]],
    ["a kind", file({ ...leaf, kind: "image" }), ["route.kind"]],
    ["an endpoint", file({ ...leaf, endpoint: "../x" }), ["route.endpoint"]],
    ["an empty key", file({ ...leaf, key: "" }), ["route.key"]],
    [
      "one key twice",
      file({
        fallback: [
          { ...leaf, key: "k" },
          { ...leaf, key: "k", body: {} }
        ]
      }),
      ["route: key k"]
    ],
    ["a missing place", file({ provider: "azure-openai", model: "m" }), ["route.resource", "route.apiVersion"]],
    [
      "a place that is not its own",
      file({ ...leaf, region: "us-east-1" }),
      ["route.region"],
      "nothing: openai has none"
    ],
    [
      "a place beside an endpoint",
      file({ provider: "azure-openai", model: "m", resource: "r", endpoint: "r/m/x" }),
      ["route.resource"],
      "nothing beside endpoint"
    ],
    ["a header that is no text", file({ ...leaf, headers: { "x-a": 1 } }), ["route.headers.x-a"], "string"],
    ["a header in upper case", file({ ...leaf, headers: { "X-A": "1" } }), ["route.headers.X-A"]],
    [
      "a credential in the file",
      file({ ...leaf, headers: { authorization: "Bearer sk-secret" } }),
      ["route.headers.authorization"]
    ],
    ["a credential that is no header", file({ ...leaf, credentials: ["Authorization"] }), ["route.credentials[0]"]],
    ["a credential twice", file({ ...leaf, credentials: ["a", "a"] }), ["route.credentials[1]"]],
    [
      "a header and a credential",
      file({ ...leaf, headers: { "x-a": "1" }, credentials: ["x-a"] }),
      ["route.credentials[0]"]
    ],
    ["a body", file({ ...leaf, body: [1] }), ["route.body"], "object"],
    ["no window", file({ ...leaf, contextWindow: "big" }), ["route.contextWindow"], "number"],
    ["no truth value", file({ ...leaf, allowEmpty: "yes" }), ["route.allowEmpty"], "boolean"],
    [
      "a timeout",
      file({ ...leaf, timeout: "soon" }),
      ["route.timeout"],
      `a duration such as "5 seconds", or milliseconds`
    ],
    ["a timeout of zero", file({ ...leaf, timeout: 0 }), ["route.timeout"]],
    ["a timeout of nulls", file({ ...leaf, timeout: null }), ["route.timeout"]],
    ["an endless deadline", file({ ...leaf, deadline: "Infinity" }), ["route.deadline"]],
    ["a negative deadline", file({ ...leaf, deadline: "-1 seconds" }), ["route.deadline"]],
    ["retry without attempts", file({ ...leaf, retry: {} }), ["route.retry.attempts"], "a whole number from 1 to 100"],
    [
      "retry attempts",
      file({ ...leaf, retry: { attempts: 101 } }),
      ["route.retry.attempts"],
      "a whole number from 1 to 100"
    ],
    ["retry attempts as text", file({ ...leaf, retry: { attempts: "3" } }), ["route.retry.attempts"], "number"],
    ["a misspelt policy", file({ ...leaf, retry: { attempts: 2, maxdelay: 1 } }), ["route.retry.maxdelay"]],
    ["retry back-off", file({ ...leaf, retry: { attempts: 2, backoff: "random" } }), ["route.retry.backoff"]],
    [
      "retry jitter",
      file({ ...leaf, retry: { attempts: 2, jitter: 2 } }),
      ["route.retry.jitter"],
      "a number from 0 to 1"
    ],
    [
      "retry delays",
      file({ ...leaf, retry: { attempts: 2, delay: "9 seconds", maxDelay: 1 } }),
      ["route.retry.maxDelay"]
    ],
    ["a reason", file({ ...leaf, retry: { attempts: 2, on: ["Timout"] } }), ["route.retry.on[0]"]],
    ["a reason to fall back", file({ fallback: [leaf], fallbackOn: ["Timeout", "x"] }), ["route.fallbackOn[1]"]],
    ["a short cache", file({ ...leaf, options: { cache: { ttl: "1 second" } } }), ["route.options.cache.ttl"]],
    [
      "a cache that is no duration",
      file({ ...leaf, options: { cache: { ttl: "x" } } }),
      ["route.options.cache.ttl"],
      `a duration such as "1 hour", or "off"`
    ],
    ["a misspelt option", file({ ...leaf, options: { cach: {} } }), ["route.options.cach"]],
    [
      "gateway attempts",
      file({ ...leaf, options: { retries: { attempts: 6 }, timeout: 0 } }),
      ["route.options.timeout", "route.options.retries.attempts"]
    ],
    ["metadata", file({ ...leaf, options: { metadata: { a: [1] } } }), ["route.options.metadata.a"]],
    [
      "metadata that is too much together",
      file({
        options: { metadata: { a: 1, b: 2, c: 3 } },
        route: { options: { metadata: { d: 1, e: 2, f: 3 } }, ...leaf }
      }),
      ["route.route: metadata"]
    ],
    [
      "several at once",
      file({
        timeout: 0,
        fallback: [
          { ...leaf, model: "" },
          { provider: "x", model: "y" },
          { ...leaf, retry: {} }
        ]
      }),
      ["route.fallback[0].model", "route.fallback[1].provider", "route.fallback[2].retry.attempts", "route.timeout"]
    ]
  ]
  it("rejects nesting without end", () => {
    const nested = (levels: number) => {
      let route: unknown = leaf
      for (let i = 0; i < levels; i++) route = { route }
      return file(route)
    }
    assert.isTrue(Result.isSuccess(Route.fromJson(nested(150))))
    const problem = { field: "json", accepted: "at most 200 levels of nesting" }
    assert.deepStrictEqual(failure(Route.fromJson(nested(100_000))), [problem])
    const cycle: Record<string, unknown> = {}
    cycle["route"] = cycle
    assert.deepStrictEqual(failure(Route.fromJson(file(cycle))), [problem])
  })

  for (const [what, json, fields, accepted] of bad) {
    it(`names the place: ${what}`, () => {
      const problems = failure(Route.fromJson(json))
      assert.deepStrictEqual(
        problems.map(({ field }) => field),
        fields
      )
      if (accepted !== undefined) assert.strictEqual(problems[0]?.accepted, accepted)
      for (const problem of problems) assert.isAbove(problem.accepted.length, 0)
      assert.notInclude(JSON.stringify(problems), "sk-secret")
    })
  }
})
