import { assert, describe, it } from "@effect/vitest"
import type { Usage } from "effect-ai-gateway/Chat"
import * as Pricing from "effect-ai-gateway/Pricing"
import { decodeUsage as anthropicUsage } from "../src/internal/dialect/anthropic.ts"
import { decodeUsage as googleUsage } from "../src/internal/dialect/google.ts"
import { decodeUsage as openaiUsage } from "../src/internal/dialect/openai.ts"

/** Sums of fractions are compared as amounts of money are: to a billionth of a dollar. */
const isUsd = (actual: number, expected: number): void => assert.closeTo(actual, expected, 1e-9)

const isCost = (actual: Pricing.Cost, expected: Pricing.Cost): void => {
  isUsd(actual.usd, expected.usd)
  isUsd(actual.estimatedUsd, expected.estimatedUsd)
  assert.strictEqual(actual.unpriced, expected.unpriced)
}

const openai = { target: "openai/gpt-4.1-mini", provider: "openai", requestedModel: "gpt-4.1-mini" }
const price: Pricing.Price = { input: 2, output: 8 }

describe("usd", () => {
  // Each usage is what the vendor's API reports, read by the dialect that reads its answers.
  it.each<[string, Usage, Pricing.Price, number]>([
    [
      "OpenAI, whose prompt tokens include cached ones and whose completion tokens include reasoning",
      openaiUsage({
        prompt_tokens: 2006,
        completion_tokens: 1300,
        total_tokens: 3306,
        prompt_tokens_details: { cached_tokens: 1920 },
        completion_tokens_details: { reasoning_tokens: 1024 }
      }),
      { input: 1.25, cacheRead: 0.125, output: 10 },
      // 86 × 1.25 + 1920 × 0.125 + 1300 × 10 = 107.5 + 240 + 13000
      0.0133475
    ],
    [
      "OpenAI with cache writes",
      openaiUsage({
        prompt_tokens: 3000,
        completion_tokens: 100,
        prompt_tokens_details: { cached_tokens: 1000, cache_write_tokens: 1500 }
      }),
      { input: 2, cacheRead: 0.2, cacheWrite: 2.5, output: 8 },
      // 500 × 2 + 1000 × 0.2 + 1500 × 2.5 + 100 × 8 = 1000 + 200 + 3750 + 800
      0.00575
    ],
    [
      "Anthropic, whose input tokens leave cached ones out",
      anthropicUsage({
        input_tokens: 50,
        cache_read_input_tokens: 100_000,
        cache_creation_input_tokens: 248,
        output_tokens: 503
      }),
      { input: 3, cacheRead: 0.3, cacheWrite: 3.75, output: 15 },
      // 50 × 3 + 100000 × 0.3 + 248 × 3.75 + 503 × 15 = 150 + 30000 + 930 + 7545
      0.038625
    ],
    [
      "Google, whose candidates leave thoughts out",
      googleUsage({
        promptTokenCount: 10_000,
        cachedContentTokenCount: 8000,
        candidatesTokenCount: 400,
        thoughtsTokenCount: 600,
        totalTokenCount: 11_000
      }),
      { input: 0.3, cacheRead: 0.075, output: 2.5 },
      // 2000 × 0.3 + 8000 × 0.075 + 1000 × 2.5 = 600 + 600 + 2500
      0.0037
    ],
    [
      "DeepSeek, which counts hits and misses beside the prompt",
      openaiUsage({
        prompt_tokens: 1000,
        completion_tokens: 500,
        total_tokens: 1500,
        prompt_cache_hit_tokens: 640,
        prompt_cache_miss_tokens: 360
      }),
      { input: 0.28, cacheRead: 0.028, output: 0.42 },
      // 360 × 0.28 + 640 × 0.028 + 500 × 0.42 = 100.8 + 17.92 + 210
      0.00032872
    ],
    [
      "xAI, which counts thinking beside the answer",
      openaiUsage({
        prompt_tokens: 279,
        completion_tokens: 6,
        total_tokens: 374,
        completion_tokens_details: { reasoning_tokens: 89 }
      }),
      { input: 2, output: 6, reasoning: 10 },
      // 279 × 2 + 6 × 6 + 89 × 10 = 558 + 36 + 890
      0.001484
    ]
  ])("counts each token of %s once", (_, usage, price, expected) => {
    isUsd(Pricing.usd(price, usage), expected)
  })

  it("takes cached tokens at the input price, and reasoning at the output price, where those have none", () => {
    const usage = {
      inputTokens: 1000,
      cachedInputTokens: 600,
      cacheWriteTokens: 100,
      outputTokens: 50,
      reasoningTokens: 20
    }
    isUsd(Pricing.usd(price, usage), 0.0024)
  })

  it("never counts less than nothing when details exceed their sum", () => {
    const usage = { inputTokens: 5, cachedInputTokens: 10, outputTokens: 1, reasoningTokens: 4 }
    isUsd(Pricing.usd({ ...price, cacheRead: 0.5 }, usage), (10 * 0.5 + 4 * 8) / 1e6)
  })

  it("distinguishes a price of 0 from none", () => {
    isUsd(Pricing.usd({ ...price, cacheRead: 0 }, { inputTokens: 10, cachedInputTokens: 10 }), 0)
  })
})

describe("priceOf", () => {
  const named = { target: "eu", provider: "openai", model: "gpt-4.1-2025-04-14", requestedModel: "gpt-4.1" }
  const [byTarget, byAnswer, byRequest] = [1, 2, 3].map((input): Pricing.Price => ({ input, output: 0 }))

  it("looks for the target, then for the answered model, then for the requested one", () => {
    const pricing = {
      ...(byTarget && { eu: byTarget }),
      ...(byAnswer && { "openai/gpt-4.1-2025-04-14": byAnswer }),
      ...(byRequest && { "openai/gpt-4.1": byRequest })
    }
    assert.strictEqual(Pricing.priceOf(pricing, named), byTarget)
    assert.strictEqual(Pricing.priceOf(pricing, { ...named, target: "us" }), byAnswer)
    assert.strictEqual(Pricing.priceOf(pricing, { ...named, target: "us", model: undefined }), byRequest)
  })

  it.each([["openai/gpt-4"], ["openai/GPT-4.1"], ["azure-openai/gpt-4.1"], ["gpt-4.1"], ["openai/gpt-4.1*"]])(
    "does not take the price of %s",
    (name) => {
      assert.isUndefined(Pricing.priceOf({ [name]: price }, named))
    }
  )

  it("finds nothing under the names that every object has", () => {
    assert.isUndefined(Pricing.priceOf({}, { target: "constructor", provider: "openai" }))
    assert.isUndefined(Pricing.priceOf({}, { target: "__proto__", provider: "openai" }))
  })
})

describe("cost", () => {
  const pricing = { [openai.target]: price }

  it("keeps reported tokens, estimated ones and attempts without a price apart", () => {
    isCost(
      Pricing.cost(pricing, [
        { ...openai, estimate: { inputTokens: 1000, outputTokens: 0 } },
        { ...openai, estimate: { inputTokens: 1000, outputTokens: 250 } },
        { target: "groq/llama", provider: "groq", usage: { inputTokens: 5, outputTokens: 5 } },
        {
          ...openai,
          usage: { inputTokens: 1000, outputTokens: 500 },
          estimate: { inputTokens: 9e9, outputTokens: 9e9 }
        }
      ]),
      { usd: 0.006, estimatedUsd: 0.006, unpriced: 1 }
    )
  })

  it("is nothing for a hit of the gateway's cache, with or without a price", () => {
    const usage = { inputTokens: 1000, outputTokens: 500 }
    isCost(Pricing.costOf(pricing, { ...openai, usage, cacheStatus: "HIT" }), Pricing.none)
    isCost(Pricing.costOf({}, { ...openai, usage, cacheStatus: "HIT" }), Pricing.none)
    isCost(Pricing.costOf(pricing, { ...openai, usage, cacheStatus: "MISS" }), { ...Pricing.none, usd: 0.006 })
  })

  it("counts an attempt without a price as such, whatever is known of its tokens", () => {
    isCost(Pricing.costOf({}, openai), { ...Pricing.none, unpriced: 1 })
    isCost(Pricing.costOf({}, { ...openai, usage: { inputTokens: 1 } }), { ...Pricing.none, unpriced: 1 })
  })

  it("does not take an attempt of which nothing is known for a free one", () => {
    isCost(Pricing.costOf(pricing, openai), { ...Pricing.none, unpriced: 1 })
    isCost(Pricing.costOf(pricing, { ...openai, usage: {} }), { ...Pricing.none, unpriced: 1 })
    isCost(Pricing.costOf(pricing, { ...openai, usage: { totalTokens: 8 } }), { ...Pricing.none, unpriced: 1 })
  })

  it("estimates only the side that the provider did not report", () => {
    const estimate = { inputTokens: 70, outputTokens: 100 }
    const spent = { ...openai, usage: { inputTokens: 1000 }, estimate }
    isCost(Pricing.costOf(pricing, spent), { usd: 0.002, estimatedUsd: 0.0008, unpriced: 0 })
  })

  it("finds a missing side in the total", () => {
    const spent = { ...openai, usage: { inputTokens: 1000, totalTokens: 1500 } }
    isCost(Pricing.costOf(pricing, spent), { usd: 0.006, estimatedUsd: 0, unpriced: 0 })
  })

  it("knows all of an embedding that reports its input alone", () => {
    const embeddings = { "openai/text-embedding-3-small": { input: 0.02, output: 0 } }
    const spent = { target: "openai/text-embedding-3-small", provider: "openai", usage: { inputTokens: 1_000_000 } }
    isCost(Pricing.costOf(embeddings, spent), { ...Pricing.none, usd: 0.02 })
  })

  it("adds up to the same amounts in any order and grouping", () => {
    for (let run = 0; run < 50; run++) {
      const attempts = Array.from({ length: 8 }, (): Pricing.Spent => {
        const tokens = { inputTokens: Math.floor(Math.random() * 9999), outputTokens: Math.floor(Math.random() * 9999) }
        const target = Math.random() < 0.3 ? "other" : openai.target
        return {
          ...openai,
          target,
          requestedModel: undefined,
          ...(Math.random() < 0.5 ? { usage: tokens } : { estimate: tokens })
        }
      })
      const parts = [attempts.slice(5), attempts.slice(0, 5)].map((part) => Pricing.cost(pricing, part))
      isCost(Pricing.sum(parts), Pricing.cost(pricing, attempts))
    }
    assert.deepStrictEqual(Pricing.cost(pricing, []), Pricing.none)
  })
})

describe("problems", () => {
  it("finds none in prices that can be used", () => {
    const full = { input: 0, output: 1e6, cacheRead: 0.01, cacheWrite: undefined, reasoning: 3 }
    assert.deepStrictEqual(Pricing.problems({ "openai/gpt-4.1": full, mine: price }), [])
    assert.deepStrictEqual(Pricing.problems({}), [])
  })

  const accepted = "US dollars per million tokens: a number from 0 to 1000000"

  // From callers without types: settings in a file.
  it.each<[unknown, string, string]>([
    [{ a: { input: -1, output: 1 } }, `pricing["a"].input`, accepted],
    [{ a: { input: Number.NaN, output: 1 } }, `pricing["a"].input`, accepted],
    [{ a: { input: 1, output: Number.POSITIVE_INFINITY } }, `pricing["a"].output`, accepted],
    [{ a: { input: 1, output: 1_000_001 } }, `pricing["a"].output`, accepted],
    [{ a: { input: 1, output: 1, cacheRead: -0.1 } }, `pricing["a"].cacheRead`, accepted],
    [{ a: { input: 1, output: 1, cacheWrite: "3" } }, `pricing["a"].cacheWrite`, accepted],
    [{ a: { input: 1, output: 1, reasoning: null } }, `pricing["a"].reasoning`, accepted],
    [{ a: { input: 1 } }, `pricing["a"].output`, accepted],
    [
      { a: { input: 1, output: 1, cache_read: 1 } },
      `pricing["a"].cache_read`,
      "one of input, output, cacheRead, cacheWrite, reasoning"
    ],
    [{ "": price }, `pricing[""]`, "the key of a target, or provider/model, without spaces around it"],
    [{ " a": price }, `pricing[" a"]`, "the key of a target, or provider/model, without spaces around it"],
    [{ a: 3 }, `pricing["a"]`, "an object with `input` and `output`"],
    [[price], "pricing", "an object of prices by name"],
    [null, "pricing", "an object of prices by name"]
  ])("finds the one of %j", (given, field, accepted) => {
    assert.deepStrictEqual(Pricing.problems(given as Pricing.Prices), [{ field, accepted }])
  })

  it("lists all of them", () => {
    assert.lengthOf(Pricing.problems({ "": { input: -1, output: -1 }, b: { input: Number.NaN, output: 0 } }), 4)
  })
})

describe("a meter with a limit", () => {
  it("reckons with the dearest kind of input, whatever the prompt cache costs", () => {
    const body = "x".repeat(298)
    for (const dear of ["cacheRead", "cacheWrite"] as const) {
      const { meter } = Pricing.make({ a: { input: 1, output: 0, [dear]: 1_000 } })
      const begun = meter(0.099).begin([{ target: "a", provider: "a" }], body)
      assert.deepInclude(begun, { _tag: "Rejected", by: "cost" }, dear)
      assert.isFalse(meter(0.099).fits({ target: "a", provider: "a" }, body), dear)
      assert.isTrue(meter(0.1).fits({ target: "a", provider: "a" }, body), dear)
    }
  })
})
