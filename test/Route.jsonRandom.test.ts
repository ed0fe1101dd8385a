import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Chat from "effect-ai-gateway/Chat"
import { decisions } from "effect-ai-gateway/GatewayError"
import type * as GatewayOptions from "effect-ai-gateway/GatewayOptions"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { failure, seen, success, throughFile } from "./support/routeJson.ts"

describe("a random route", () => {
  const reasons = [...new Set(decisions.map(({ reason }) => reason))]
  const Millis = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100_000 }))
  const Reasons = Schema.Array(Schema.Literals(reasons)).check(Schema.isMaxLength(3))
  const Name = Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9-]{0,6}$/))
  const Leaf = Schema.Struct({
    model: Name,
    provider: Schema.Literals([
      "openai",
      "anthropic",
      "google",
      "vertex",
      "workersAi",
      "azure",
      "bedrock",
      "groq",
      "compat",
      "custom"
    ]),
    key: Schema.Boolean,
    apiKey: Schema.Literals(["none", "plain", "labelled", "header"]),
    body: Schema.optional(Schema.Record(Name, Schema.Json)),
    headers: Schema.optional(Schema.Struct({ "x-a": Name })),
    endpoint: Schema.optional(Name)
  })
  const Setting = Schema.Union([
    Schema.TaggedStruct("Timeout", { millis: Millis }),
    Schema.TaggedStruct("Deadline", { millis: Millis }),
    Schema.TaggedStruct("FallbackOn", { on: Reasons }),
    Schema.TaggedStruct("Retry", {
      attempts: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100 })),
      delay: Schema.Number.check(Schema.isBetween({ minimum: 0, maximum: 100_000 })),
      backoff: Schema.Literals(["constant", "linear", "exponential"]),
      jitter: Schema.Number.check(Schema.isBetween({ minimum: 0, maximum: 1 })),
      retryAfter: Schema.Boolean,
      on: Schema.optional(Reasons)
    }),
    Schema.TaggedStruct("Options", {
      ttl: Schema.optional(
        Schema.Union([Schema.Literal("off"), Schema.Int.check(Schema.isBetween({ minimum: 60, maximum: 2_592_000 }))])
      ),
      skip: Schema.optional(Schema.Boolean),
      metadata: Schema.Struct({ a: Schema.optional(Schema.Union([Schema.String, Schema.Boolean, Schema.Int])) }),
      attempts: Schema.optional(Schema.Literals([1, 1, 1, 5])),
      delay: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5000 })),
      timeout: Schema.optional(Millis),
      byokAlias: Schema.optional(Name),
      payload: Schema.optional(Schema.Boolean),
      noWholesale: Schema.optional(Schema.Boolean),
      cost: Schema.optional(Schema.Number.check(Schema.isBetween({ minimum: 0, maximum: 1 })))
    })
  ])
  const Settings = Schema.Array(Setting).check(Schema.isMaxLength(4))
  const Target = Schema.Struct({ leaf: Leaf, settings: Settings })
  const Chain = Schema.Struct({
    targets: Schema.NonEmptyArray(Target).check(Schema.isMaxLength(3)),
    settings: Settings
  })
  const Random = Schema.Struct({
    first: Chain,
    rest: Schema.Array(Chain).check(Schema.isMaxLength(2)),
    again: Schema.Boolean,
    settings: Settings
  })

  const leafRoute = (leaf: typeof Leaf.Type, count: number): Provider.ChatRoute => {
    const options: Provider.ChatOptions = {
      key: leaf.key ? `k${count}` : undefined,
      body: leaf.body && JSON.parse(JSON.stringify(leaf.body)),
      endpoint: leaf.endpoint,
      headers: { ...leaf.headers, ...(leaf.apiKey === "header" && { "x-secret": Redacted.make(`SECRET-${count}`) }) },
      apiKey:
        leaf.apiKey === "plain"
          ? Redacted.make(`SECRET-${count}`)
          : leaf.apiKey === "labelled"
            ? Redacted.make(`SECRET-${count}`, { label: leaf.model })
            : undefined
    }
    switch (leaf.provider) {
      case "openai":
        return Provider.openai.chat("gpt", options)
      case "anthropic":
        return Provider.anthropic.messages(leaf.model, { ...options, version: leaf.endpoint })
      case "google":
        return Provider.googleAiStudio.chat(leaf.model, options)
      case "vertex":
        return Provider.googleVertexAi.chat(leaf.model, { ...options, project: "p", region: leaf.model })
      case "workersAi":
        return Provider.workersAi.chat(`@cf/a/${leaf.model}`, options)
      case "azure":
        return Provider.azureOpenai.chat("gpt", { ...options, resource: "r", apiVersion: "1", deployment: leaf.model })
      case "bedrock":
        return Provider.awsBedrock.chat(leaf.model, { ...options, region: "eu-west-1" })
      case "groq":
        return Provider.groq.chat(leaf.model, { ...options, dialect: Chat.openai })
      case "compat":
        return Provider.compat.chat(`openai/${leaf.model}`, options)
      case "custom":
        return Provider.custom("ours", { chatEndpoint: "x" }).chat(leaf.model, options)
    }
  }

  const optionsOf = (setting: typeof Setting.Type & { readonly _tag: "Options" }): GatewayOptions.Input => ({
    cache: {
      ttl: typeof setting.ttl === "number" ? setting.ttl * 1000 : setting.ttl,
      skip: setting.ttl === "off" ? undefined : setting.skip
    },
    metadata: setting.metadata.a === undefined ? undefined : { a: setting.metadata.a },
    retries: setting.attempts && { attempts: setting.attempts, delay: setting.delay, backoff: "linear" },
    timeout: setting.timeout,
    byokAlias: setting.byokAlias,
    log: setting.payload === undefined ? undefined : { payload: setting.payload },
    noWholesale: setting.noWholesale,
    customCost: setting.cost === undefined ? undefined : { totalCost: setting.cost + 0 }
  })

  const apply = (inner: Provider.ChatRoute, setting: typeof Setting.Type): Provider.ChatRoute => {
    switch (setting._tag) {
      case "Timeout":
        return Route.timeout(inner, setting.millis)
      case "Deadline":
        return Route.deadline(inner, setting.millis)
      case "FallbackOn":
        return Route.fallbackOn(inner, setting.on)
      case "Retry":
        return Route.retry(inner, { ...setting, delay: setting.delay + 0 })
      case "Options":
        return Route.options(inner, optionsOf(setting))
    }
  }

  const applied = (route: Provider.ChatRoute, settings: typeof Settings.Type): Provider.ChatRoute =>
    settings.reduce(apply, route)

  const build = ({ again, first, rest, settings }: typeof Random.Type): Provider.ChatRoute => {
    const leaves: Array<Provider.ChatRoute> = []
    const chain = ({ settings, targets: [one, ...others] }: typeof Chain.Type): Provider.ChatRoute => {
      const route = (target: typeof Target.Type) => {
        const leaf = leafRoute(target.leaf, leaves.length)
        leaves.push(leaf)
        return applied(leaf, target.settings)
      }
      return applied(Route.fallback(route(one), ...others.map(route)), settings)
    }
    const chains = [chain(first), ...rest.map(chain)]
    return applied(Route.fallback(chain(first), ...chains, ...(again ? leaves : [])), settings)
  }

  it.prop("comes back from its file unchanged", { random: Random }, ({ random }) => {
    const route = build(random)
    const written = Route.toJson(route)
    // Contradictory settings are rejected here as when the route runs.
    if (Route.problems(route).length > 0) {
      assert.strictEqual(failure(written).length > 0, true)
      return
    }
    const json = success(written)
    assert.notInclude(JSON.stringify(json), "SECRET")
    const credentials = Object.fromEntries(
      route.planned.targets.map(({ key, leaf }) => [
        key,
        Object.fromEntries(
          Object.entries(leaf.headers).flatMap(([name, value]) => (Redacted.isRedacted(value) ? [[name, value]] : []))
        )
      ])
    )
    const loaded = success(Route.fromJson(throughFile(json), { credentials }))
    assert.deepStrictEqual(seen(loaded, "Hi"), seen(route, "Hi"))
    // Writing the route that was read gives the same file.
    assert.deepStrictEqual(throughFile(success(Route.toJson(loaded))), throughFile(json))
  })
})
