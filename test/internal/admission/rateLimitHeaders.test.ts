import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import { LearntLimits, type ToldLimits } from "../../../src/internal/admission/learntLimits.ts"
import { toldLimits } from "../../../src/internal/admission/rateLimitHeaders.ts"

const now = Date.UTC(2026, 10, 30, 12)

const shown = (told: ToldLimits | undefined) => {
  const units = (one: ToldLimits["requests"]) =>
    one && `${one.remaining}/${one.limit ?? "?"} ${Duration.toMillis(one.resetAfter)}`
  return (
    told && [
      units(told.requests),
      units(told.tokens),
      told.retryAfter === undefined ? undefined : Duration.toMillis(told.retryAfter)
    ]
  )
}

describe("headers about limits", () => {
  const cases: ReadonlyArray<readonly [name: string, headers: Record<string, string>, expected: unknown]> = [
    [
      "OpenAI",
      {
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "2,000,000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0.5s"
      },
      ["9999/10000 6", "149984/2000000 360500", undefined]
    ],
    [
      "Anthropic, of whose tokens the tightest count",
      {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-30T12:00:01Z",
        "anthropic-ratelimit-tokens-limit": "100000",
        "anthropic-ratelimit-tokens-remaining": "90000",
        "anthropic-ratelimit-tokens-reset": "2026-11-30T12:00:06Z",
        "anthropic-ratelimit-input-tokens-limit": "80000",
        "anthropic-ratelimit-input-tokens-remaining": "80000",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-30T12:00:06Z",
        "anthropic-ratelimit-output-tokens-limit": "20000",
        "anthropic-ratelimit-output-tokens-remaining": "1000",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-30T12:00:57Z"
      },
      ["49/50 1000", "1000/20000 57000", undefined]
    ],
    [
      "seconds",
      { "x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "12" },
      ["3/? 12000", undefined, undefined]
    ],
    ["retry-after in seconds", { "retry-after": "1.5" }, [undefined, undefined, 1_500]],
    [
      "retry-after-ms before retry-after",
      { "retry-after": "2", "retry-after-ms": "1800" },
      [undefined, undefined, 1_800]
    ],
    ["retry-after as a date", { "retry-after": "Mon, 30 Nov 2026 12:00:09 GMT" }, [undefined, undefined, 9_000]],
    ["nothing", { "content-type": "text/plain" }, undefined],
    ["no reset", { "x-ratelimit-remaining-requests": "3", "x-ratelimit-limit-requests": "5" }, undefined],
    [
      "a reset in the past",
      { "x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "2020-01-01T00:00:00Z" },
      undefined
    ],
    ["no count", { "x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "1s" }, undefined],
    ["words", { "x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "soon" }, undefined]
  ]
  for (const [name, headers, expected] of cases) {
    it(`are read: ${name}`, () => assert.deepStrictEqual(shown(toldLimits(headers, now)), expected))
  }

  it("have no timestamps without a clock", () => {
    const headers = {
      "anthropic-ratelimit-requests-remaining": "3",
      "anthropic-ratelimit-requests-reset": "2026-11-30T12:00:01Z"
    }
    assert.isUndefined(toldLimits(headers, undefined))
  })
})

describe("learned limits", () => {
  const told = (remaining: number, seconds: number, limit?: number): ToldLimits => ({
    requests: { remaining, resetAfter: Duration.seconds(seconds), limit }
  })

  it("apply until the reset, and count later admissions", () => {
    const learnt = new LearntLimits()
    learnt.learn(told(2, 10), { at: 0, requests: 5, tokens: 0 }, 1_000)
    const delay = (at: number, admitted: number) => learnt.delay(at, 1, 0, { requests: admitted, tokens: 0 })
    assert.strictEqual(delay(1_000, 5), 0)
    assert.strictEqual(delay(1_000, 6), 0)
    assert.strictEqual(delay(1_000, 7), 10_000)
    assert.strictEqual(delay(11_000, 7), 0)
  })

  it("return evenly if the total is known", () => {
    const learnt = new LearntLimits()
    learnt.learn(told(0, 10, 100), { at: 0, requests: 1, tokens: 0 }, 0)
    const delay = (at: number, admitted: number) => learnt.delay(at, 1, 0, { requests: admitted, tokens: 0 })
    assert.strictEqual(delay(0, 1), 100)
    assert.strictEqual(delay(100, 1), 0)
    assert.strictEqual(delay(100, 2), 100)
  })

  it("ignore older answers that arrive late", () => {
    const learnt = new LearntLimits()
    learnt.learn(told(0, 60), { at: 2_000, requests: 9, tokens: 0 }, 2_100)
    learnt.learn(told(50, 60), { at: 1_000, requests: 5, tokens: 0 }, 2_200)
    assert.isAbove(learnt.delay(2_200, 1, 0, { requests: 9, tokens: 0 }), 0)
    learnt.learn(told(50, 60), { at: 3_000, requests: 9, tokens: 0 }, 3_100)
    assert.strictEqual(learnt.delay(3_100, 1, 0, { requests: 9, tokens: 0 }), 0)
  })

  it("admit nothing before the time that an answer asks for", () => {
    const learnt = new LearntLimits()
    const totals = { at: 0, requests: 1, tokens: 0 }
    learnt.learn({ retryAfter: Duration.seconds(3) }, totals, 0)
    learnt.learn({ retryAfter: Duration.seconds(1) }, totals, 0)
    assert.strictEqual(learnt.delay(0, 1, 0, totals), 3_000)
    assert.strictEqual(learnt.delay(3_000, 1, 0, totals), 0)
  })
})
