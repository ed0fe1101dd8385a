import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { waitHint } from "../../../src/internal/classifier/retryAfter.ts"

const now = Date.UTC(2026, 10, 21, 12, 0, 0)
const millis = (
  headers: Readonly<Record<string, string | undefined>> | undefined,
  body?: unknown,
  at: number | undefined = now,
  message?: string
) => {
  const hint = waitHint(headers, at, body, message)
  return hint === undefined ? undefined : Duration.toMillis(hint)
}
const details = (...items: ReadonlyArray<unknown>) => ({ error: { code: 429, details: items } })

describe("waitHint", () => {
  const headers: ReadonlyArray<readonly [header: string, value: string, millis: number | undefined]> = [
    ["retry-after", "0", 0],
    ["retry-after", "7", 7_000],
    ["retry-after", " 7 ", 7_000],
    ["retry-after", "1.5", 1_500],
    ["retry-after", "0.0001", 1],
    ["retry-after", "Sat, 21 Nov 2026 12:00:30 GMT", 30_000],
    ["retry-after", "Saturday, 21-Nov-26 12:01:00 GMT", 60_000],
    ["retry-after", "2026-11-21T12:00:05Z", 5_000],
    ["retry-after", "Sat, 21 Nov 2026 11:59:00 GMT", 0],
    ["retry-after", "-1", undefined],
    ["retry-after", "-0", undefined],
    ["retry-after", "1e3", undefined],
    ["retry-after", "0x10", undefined],
    ["retry-after", "", undefined],
    ["retry-after", "   ", undefined],
    ["retry-after", "NaN", undefined],
    ["retry-after", "Infinity", undefined],
    ["retry-after", "9".repeat(400), undefined],
    ["retry-after", "soon", undefined],
    ["retry-after", "in 5 minutes", undefined],
    ["retry-after", "Sat, 99 Nov 2026 12:00:30 GMT", undefined],
    ["retry-after", "3, 4", undefined],
    ["retry-after-ms", "250", 250],
    ["retry-after-ms", "250.2", 251],
    ["retry-after-ms", "-250", undefined],
    ["x-ms-retry-after-ms", "19500", 19_500]
  ]
  for (const [header, value, expected] of headers) {
    it(`${header}: ${value.slice(0, 40)}`, () => assert.strictEqual(millis({ [header]: value }), expected))
  }

  const messages: ReadonlyArray<readonly [message: string, millis: number | undefined]> = [
    ["Rate limit reached for gpt-4.1 in organization org on tokens per min. Please try again in 634ms. Visit …", 634],
    ["Please try again in 1m2.5s. Need more tokens?", 62_500],
    ["Please try again in 7.66s.", 7_660],
    ["Please try again in 1h2m3s", 3_723_000],
    ["Please retry after 26 seconds.", 26_000],
    ["Please retry in 12.5s", 12_500],
    ["Retry your request after 2 minutes", 120_000],
    ["try again in 500 milliseconds", 500],
    ["Rate limit of 10 per 60s exceeded for UserByModelByMinute. Please wait 37 seconds before retrying.", 37_000],
    ["Please wait for 20 s and retry", 20_000],
    ["Retry after 5 sec", 5_000],
    ["Too many requests. Retry-After: 9 seconds", 9_000],
    ["try again in 1 minute 30 seconds", 90_000],
    ["try again in 1 minute and 30 seconds", 90_000],
    ["Try again in about 5 Minutes.", 300_000],
    ["Please try your request again in 20S", 20_000],
    ["Your limit resets in 2 hours, 5 minutes", 7_500_000],
    ["Please try again in 1,500ms", 1_500],
    ["Please wait 3 seconds or try again in 5s", 3_000],
    ["Retry later, or try again in 5s", 5_000],
    ["Retry after 2 more messages", undefined],
    ["Retry after 3 steps", undefined],
    ["Retry in 5 months", undefined],
    ["Please wait 2 turns, then retry in 5 models", undefined],
    ["Please try again in an hour", undefined],
    ["Please try again later", undefined],
    ["try again in 3 tries", undefined],
    ["You made 30 requests in 10s; try again", undefined],
    [`${"try again in ".repeat(1000)}5s`, undefined]
  ]
  for (const [message, expected] of messages) {
    it(`"${message.slice(0, 60)}"`, () => assert.strictEqual(millis({}, undefined, now, message), expected))
  }

  it("prefers a header and a field to a message", () => {
    const message = "try again in 9s"
    assert.strictEqual(millis({ "retry-after": "3" }, undefined, now, message), 3_000)
    assert.strictEqual(millis({}, details({ retryDelay: "34s" }), now, message), 34_000)
  })

  const windows: ReadonlyArray<readonly [name: string, headers: Record<string, string>, millis: number | undefined]> = [
    ["OpenAI", { "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s" }, 360_000],
    ["OpenAI", { "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms" }, 120],
    [
      "the one that is used up",
      {
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1h0m0s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "7.66s"
      },
      7_660
    ],
    [
      "the longer of two",
      {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "2s"
      },
      2_000
    ],
    ["something left", { "x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m0s" }, undefined],
    ["nothing said of what is left", { "x-ratelimit-reset-tokens": "6m0s" }, undefined],
    [
      "Anthropic",
      {
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:05Z"
      },
      5_000
    ],
    ["OpenRouter", { "x-ratelimit-remaining": "0", "x-ratelimit-reset": `${now + 4_000}` }, 4_000],
    ["seconds since the epoch", { "x-ratelimit-remaining": "0", "x-ratelimit-reset": `${now / 1000 + 4}` }, 4_000],
    ["seconds", { "ratelimit-remaining": "0", "ratelimit-reset": "30" }, 30_000],
    ["what cannot be read", { "ratelimit-remaining": "0", "ratelimit-reset": "soon" }, undefined]
  ]
  for (const [name, given, expected] of windows) {
    it(`windows: ${name}`, () => assert.strictEqual(millis(given), expected))
  }

  it("prefers milliseconds to seconds, and a header to the body", () => {
    const body = details({ retryDelay: "34s" })
    assert.strictEqual(millis({ "retry-after-ms": "1", "x-ms-retry-after-ms": "2", "retry-after": "3" }, body), 1)
    assert.strictEqual(millis({ "x-ms-retry-after-ms": "2", "retry-after": "3" }, body), 2)
    assert.strictEqual(millis({ "retry-after": "3" }, body), 3_000)
    assert.strictEqual(millis({}, body), 34_000)
  })

  it("skips values that it cannot read", () => {
    assert.strictEqual(millis({ "retry-after-ms": "x", "retry-after": "2" }), 2_000)
    assert.strictEqual(millis({ "retry-after": "-2" }, details({ retryDelay: "34s" })), 34_000)
  })

  it("does not assume a clock", () => {
    const header = { "retry-after": "Sat, 21 Nov 2026 12:00:30 GMT" }
    assert.isUndefined(waitHint(header, undefined))
    assert.isDefined(waitHint(header, now))
  })

  const bodies: ReadonlyArray<readonly [body: unknown, millis: number | undefined]> = [
    [details({ retryDelay: "34s" }), 34_000],
    [details({ "@type": "a" }, { retryDelay: "0.5s" }), 500],
    [[details({ retryDelay: "34.074824224s" })], 34_075],
    [details({ retryDelay: "34" }), undefined],
    [details({ retryDelay: "-34s" }), undefined],
    [details({ retryDelay: 34 }), undefined],
    [details(null, 3, "x"), undefined],
    [{ error: { details: "34s" } }, undefined],
    [{ error: "x", estimated_time: 20.5 }, 20_500],
    [{ estimated_time: -1 }, undefined],
    [{ estimated_time: "20" }, undefined],
    [null, undefined],
    ["34s", undefined],
    [undefined, undefined]
  ]
  for (const [body, expected] of bodies) {
    it(`body ${JSON.stringify(body)}`, () => assert.strictEqual(millis(undefined, body), expected))
  }

  it.prop(
    "is finite and not negative, whatever arrives",
    { value: Schema.String, body: Schema.Json, at: Schema.Number },
    ({ at, body, value }) => {
      for (const header of ["retry-after", "retry-after-ms", "x-ms-retry-after-ms"]) {
        const hint = millis({ [header]: value }, body, at)
        if (hint !== undefined) assert.isTrue(Number.isFinite(hint) && hint >= 0, `${hint}`)
      }
    }
  )

  it.prop("is at least the requested wait", { seconds: Schema.Finite }, ({ seconds }) => {
    const asked = Math.abs(seconds) % 1_000_000
    const text = asked.toFixed(4)
    assert.isAtLeast(millis({ "retry-after": text }) ?? -1, Number(text) * 1_000)
  })
})
