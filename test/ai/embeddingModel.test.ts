/**
 * Routes behind the `EmbeddingModel` of `effect/ai`.
 */
import { assert, describe, it } from "@effect/vitest"
import * as EmbeddingModel from "effect/ai/EmbeddingModel"
import * as Model from "effect/ai/Model"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { GatewayEmbeddingModel, GatewayModel } from "effect-ai-gateway/ai"
import * as LocalGateway from "effect-ai-gateway/local"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import type { ScriptedPeer } from "effect-ai-gateway/testing"
import { make } from "../support/scripted.ts"

/** Each text, `text 7`, becomes a vector with its number in it. */
const numbered = ({ body, provider }: ScriptedPeer.Seen): ScriptedPeer.Line => {
  const given = body as { input?: string | ReadonlyArray<string>; text?: string | ReadonlyArray<string> }
  const texts = [given.input ?? given.text ?? []].flat()
  const vectors = texts.map((text) => [Number(/\d+/.exec(text)?.[0]), 0.5])
  return provider === "workers-ai"
    ? { body: { success: true, result: { shape: [vectors.length, 2], data: vectors } } }
    : {
        body: {
          data: vectors.map((embedding, index) => ({ index, embedding })).reverse(),
          usage: { prompt_tokens: vectors.length, total_tokens: vectors.length }
        }
      }
}

const scripted = (
  route: GatewayEmbeddingModel.EmbeddingRoute,
  options: GatewayEmbeddingModel.Options = {},
  script: ScriptedPeer.Script = numbered
) => {
  const peer = make(script)
  return { seen: peer.seen, layer: GatewayEmbeddingModel.layer(route, options).pipe(Layer.provide(peer.layer)) }
}

const texts = (count: number) => Array.from({ length: count }, (_, n) => `text ${n}`)
const sizesOf = (seen: ReadonlyArray<ScriptedPeer.Seen>) =>
  seen.map(({ body }) => {
    const { input, text } = body as { input?: ReadonlyArray<string>; text?: ReadonlyArray<string> }
    return (input ?? text ?? []).length
  })

const embedMany = (input: ReadonlyArray<string>) =>
  Effect.flatMap(EmbeddingModel.EmbeddingModel, (model) => model.embedMany(input))

const openai = Provider.openai.embeddings("text-embedding-3-small")
const bge = Provider.workersAi.embeddings("@cf/baai/bge-m3")

describe("batches", () => {
  it.effect("are split to the size that Workers AI takes, and return in order", () => {
    const { layer, seen } = scripted(bge)
    return Effect.gen(function* () {
      const { embeddings, usage } = yield* embedMany(texts(250))
      assert.deepStrictEqual(sizesOf(seen), [100, 100, 50])
      assert.deepStrictEqual(
        embeddings.map(({ vector }) => vector[0]),
        texts(250).map((_, n) => n)
      )
      assert.strictEqual(usage.inputTokens, undefined)
    }).pipe(Effect.provide(layer))
  })

  it.effect("use the smallest batch size of the providers, and add up tokens", () => {
    const azure = Provider.azureOpenai.embeddings("text-embedding-3-small", { resource: "r", apiVersion: "2024-10-21" })
    const fireworks = Provider.fireworks.embeddings("text-embedding-3-small")
    const cases = [
      [Route.fallback(openai, azure), {}, [2_048, 352]],
      [Route.fallback(openai, fireworks), {}, Array.from({ length: 25 }, () => 96)],
      [openai, { batchSize: 1_000, concurrency: 1 }, [1_000, 1_000, 400]]
    ] as const
    return Effect.forEach(cases, ([route, options, sizes]) => {
      const { layer, seen } = scripted(route, options)
      return Effect.gen(function* () {
        const { usage } = yield* embedMany(texts(2_400))
        assert.deepStrictEqual(sizesOf(seen), sizes)
        assert.strictEqual(usage.inputTokens, 2_400)
      }).pipe(Effect.provide(layer))
    })
  })

  it.effect("combine simultaneous calls, except across tenants", () => {
    const { layer, seen } = scripted(openai)
    return Effect.gen(function* () {
      const { embed } = yield* EmbeddingModel.EmbeddingModel
      const of = (tenant: string) => {
        const options = { metadata: { tenant } }
        return (text: string) => Effect.provideService(embed(text), GatewayModel.Config, options)
      }
      const [a, b] = [of("a"), of("b")]
      const answers = yield* Effect.all([a("text 1"), b("text 2"), a("text 3"), embed("text 4")], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(
        answers.map(({ vector }) => vector[0]),
        [1, 2, 3, 4]
      )
      const sent = seen.map(({ body, headers }) => [headers["cf-aig-metadata"], (body as { input: unknown }).input])
      assert.deepStrictEqual(
        sent.sort(([x], [y]) => String(x).localeCompare(String(y))),
        [
          [undefined, ["text 4"]],
          ['{"tenant":"a"}', ["text 1", "text 3"]],
          ['{"tenant":"b"}', ["text 2"]]
        ].sort(([x], [y]) => String(x).localeCompare(String(y)))
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("fail as a whole, with the reason of the one that failed", () => {
    const { layer } = scripted(bge, { concurrency: 1 }, (request) =>
      JSON.stringify(request.body).includes("text 100")
        ? { status: 429, headers: { "retry-after": "3" } }
        : numbered(request)
    )
    return Effect.gen(function* () {
      const error = yield* Effect.flip(embedMany(texts(150)))
      assert.strictEqual(error.reason._tag, "RateLimitError")
      assert.strictEqual(`${error.module}.${error.method}`, "GatewayEmbeddingModel.embedMany")
      assert.strictEqual(GatewayModel.failureOf(error)?.provider, "workers-ai")
    }).pipe(Effect.provide(layer))
  })
})

describe("vectors", () => {
  it.effect("match the number of texts in each request, or the next target is called", () => {
    // Four in total, as there should be, but those after the second text would belong to another text.
    const shifted: ScriptedPeer.Script = (seen) => {
      const line = numbered(seen)
      const { data } = (line as { body: { data: Array<object> } }).body
      if (seen.provider === "openrouter") return line
      return {
        body: { data: Array.from({ length: seen.number === 1 ? 3 : 1 }, (_, index) => ({ ...data[0], index })) }
      }
    }
    const route = Route.fallback(openai, Provider.openrouter.embeddings("openai/text-embedding-3-small"))
    const { layer, seen } = scripted(route, { batchSize: 2, concurrency: 1 }, shifted)
    const alone = scripted(openai, { batchSize: 2, concurrency: 1 }, shifted)
    return Effect.gen(function* () {
      const { embeddings } = yield* Effect.provide(embedMany(texts(4)), layer)
      assert.deepStrictEqual(
        embeddings.map(({ vector }) => vector[0]),
        [0, 1, 2, 3]
      )
      assert.strictEqual(seen.length, 4)
      const error = yield* Effect.flip(Effect.provide(embedMany(texts(4)), alone.layer))
      assert.strictEqual(error.reason._tag, "InvalidOutputError")
      assert.include(error.message, "3 vectors instead of 2")
    })
  })
})

describe("vector spaces", () => {
  const large = Provider.openai.embeddings("text-embedding-3-large")
  const refused: ReadonlyArray<readonly [string, GatewayEmbeddingModel.EmbeddingRoute]> = [
    ["a fallback", Route.fallback(openai, large)],
    ["a race", Route.race(openai, bge)],
    ["a choice by input", Route.when({ predicate: () => true, onTrue: openai, onFalse: large })],
    [
      "a shorter vector of the same model",
      Route.fallback(
        openai,
        Provider.openai.embeddings("text-embedding-3-small", { key: "short", body: { dimensions: 256 } })
      )
    ]
  ]
  for (const [name, route] of refused) {
    it.effect(`rejects ${name} to vectors of another space, before anything is sent`, () => {
      const { layer, seen } = scripted(route)
      return Effect.gen(function* () {
        const error = yield* Effect.flip(embedMany(["text 1"]))
        assert.strictEqual(error.reason._tag, "InvalidRequestError")
        assert.include(error.message, "cannot be compared")
        assert.strictEqual(seen.length, 0)
      }).pipe(Effect.provide(layer))
    })
  }

  it.effect("accepts the same model at another provider", () => {
    const route = Route.fallback(bge, Provider.openrouter.embeddings("baai/bge-m3"))
    const { layer, seen } = scripted(route, {}, (request) =>
      request.provider === "workers-ai" ? { status: 503 } : numbered(request)
    )
    return Effect.gen(function* () {
      const { embeddings } = yield* embedMany(["text 1"])
      assert.deepStrictEqual(embeddings[0]?.vector, [1, 0.5])
      assert.strictEqual(seen.length, 2)
    }).pipe(Effect.provide(layer))
  })

  it.effect("accepts one model under two names when the program declares it", () => {
    const { layer } = scripted(Route.fallback(openai, Provider.openai.embeddings("alias-of-it")), { sameModel: true })
    return Effect.gen(function* () {
      assert.strictEqual((yield* embedMany(["text 1"])).embeddings.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect("rejects vectors of another length than the declared one", () => {
    const { layer } = scripted(bge, { dimensions: 1_024, shorten: false })
    return Effect.gen(function* () {
      const error = yield* Effect.flip(embedMany(["text 1"]))
      assert.strictEqual(error.reason._tag, "InvalidResponseError")
      assert.include(error.message, "length 2 instead of 1024")
    }).pipe(Effect.provide(layer))
  })
})

describe("options", () => {
  it("are checked by field", () => {
    const wrong: ReadonlyArray<readonly [GatewayEmbeddingModel.Options & { readonly size?: number }, string]> = [
      [{ batchSize: 0 }, "batchSize"],
      [{ batchSize: 2.5 }, "batchSize"],
      [{ concurrency: 101 }, "concurrency"],
      [{ dimensions: -1 }, "dimensions"],
      [{ size: 5 }, "size"]
    ]
    for (const [options, field] of wrong) {
      assert.deepStrictEqual(
        GatewayEmbeddingModel.problems(openai, options).map((problem) => problem.field),
        [field]
      )
    }
    assert.deepStrictEqual(GatewayEmbeddingModel.problems(openai), [])
  })

  it.effect("request shorter vectors, and provide their length", () => {
    const peer = make(numbered)
    const model = GatewayEmbeddingModel.model("search", openai, { dimensions: 2 })
    return Effect.gen(function* () {
      yield* embedMany(["text 1"])
      assert.deepInclude(peer.seen[0]?.body, { dimensions: 2 })
      assert.strictEqual(yield* EmbeddingModel.Dimensions, 2)
      assert.strictEqual(yield* Model.ModelName, "search")
    }).pipe(Effect.provide(model.pipe(Layer.provide(peer.layer))))
  })
})

it.live("embeds over the local gateway", () => {
  const layer = GatewayEmbeddingModel.layer(bge).pipe(
    Layer.provide(Router.layer.pipe(Layer.provide(LocalGateway.layer())))
  )
  return Effect.gen(function* () {
    const { embeddings } = yield* embedMany(texts(120))
    assert.strictEqual(embeddings.length, 120)
  }).pipe(Effect.provide(layer))
})
