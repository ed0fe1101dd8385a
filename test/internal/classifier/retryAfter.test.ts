import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { waitHint } from "../../../src/internal/classifier/retryAfter.ts"

const now = Date.UTC(2026, 10, 21, 12, 0, 0)
const millis = (
  headers: Readonly<Record<string, string | undefined>> | undefined,
  body?: unknown,
  at: number | undefined = now
) => {
  const hint = waitHint(headers, at, body)
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

  it("prefers milliseconds to seconds, and a header to the body", () => {
    const body = details({ retryDelay: "34s" })
    assert.strictEqual(millis({ "retry-after-ms": "1", "x-ms-retry-after-ms": "2", "retry-after": "3" }, body), 1)
    assert.strictEqual(millis({ "x-ms-retry-after-ms": "2", "retry-after": "3" }, body), 2)
    assert.strictEqual(millis({ "retry-after": "3" }, body), 3_000)
    assert.strictEqual(millis({}, body), 34_000)
  })

  it("passes over what it cannot read", () => {
    assert.strictEqual(millis({ "retry-after-ms": "x", "retry-after": "2" }), 2_000)
    assert.strictEqual(millis({ "retry-after": "-2" }, details({ retryDelay: "34s" })), 34_000)
  })

  it("does not guess a clock", () => {
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

  it.prop("is at least what was asked for", { seconds: Schema.Finite }, ({ seconds }) => {
    const asked = Math.abs(seconds) % 1_000_000
    const text = asked.toFixed(4)
    assert.isAtLeast(millis({ "retry-after": text }) ?? -1, Number(text) * 1_000)
  })
})
