import { assert, describe, it } from "@effect/vitest"
import * as Classifier from "../../src/Classifier.ts"
import { waitHint } from "../../src/internal/classifier/retryAfter.ts"
import { isBaseUrl } from "../../src/internal/data/baseUrl.ts"
import { isHeaderName, isHeaderValue, isId, isPath } from "../../src/internal/data/headers.ts"
import { maxJsonDepth, measureJson } from "../../src/internal/data/jsonDepth.ts"
import { isCredential, shownEndpoint } from "../../src/internal/data/secrets.ts"
import { trimSlashes } from "../../src/internal/data/trimSlashes.ts"
import { passedHeaders } from "../../src/internal/server/responseHeaders.ts"
import { redactEndpoint } from "../../src/local/gateway/providers.ts"
import { linear } from "../support/growth.ts"

const rows: ReadonlyArray<readonly [unit: string, end: string]> = [
  ["?", "=x"],
  ["&", "=x"],
  ["?key=", "&"],
  ["a=", ""],
  ["/", "x"],
  ["%2f.", "x"],
  ["..;", "x"],
  ['"', "x"],
  ['\\"', ""],
  ["{", ""],
  [" ", "x"],
  ["\n", "x"],
  ["11:", "x"],
  ["1", "x"],
  ["<", ""],
  ["<script>", ""],
  ["key", ""],
  ["sk-a", ""],
  ["Bearer ", ""],
  ["*", "x"],
  ["token a", ""],
  ["-", "\u0001"],
  ["a", "\u0001"]
]

const readers: Readonly<Record<string, (text: string) => unknown>> = {
  shownEndpoint,
  isPath,
  isId: (text) => isId(text, 1e9),
  isHeaderName,
  isHeaderValue,
  isCredential,
  isBaseUrl: (text) => isBaseUrl(`http://x/${text}`),
  trimSlashes,
  measureJson,
  passedHeaders: (text) => passedHeaders({ [text]: "x", connection: text }),
  waitHint: (text) => [waitHint({ "retry-after": text }, 0), waitHint({ "retry-after-ms": text }, 0)],
  "the classifier": (body) => Classifier.classify({ status: 500, body, surface: "gateway", secrets: ["secret"] }),
  "the classifier, of JSON": (text) =>
    Classifier.classify({ status: 500, body: JSON.stringify({ error: { message: text } }), surface: "gateway" })
}

describe("the cost of reading grows in proportion to the length", () => {
  for (const [name, read] of Object.entries(readers)) {
    it(name, () => {
      for (const [unit, end] of rows) {
        linear(`${name} of ${JSON.stringify(unit)}`, (n) => unit.repeat(n) + end, read)
      }
    })
  }
})

describe("an endpoint as it is shown, in odd forms", () => {
  for (const [endpoint, shown] of [
    ["?key=", "?key=<redacted>"],
    ["?key=a&key=b", "?key=<redacted>&key=<redacted>"],
    ["?a?api_key=b?token=c&d=e", "?a?api_key=<redacted>&d=e"],
    ["a=b?token=c=d", "a=b?token=<redacted>"],
    ["?code=a&sig=b;jwt=c&key[]=d", "?code=<redacted>&sig=<redacted>&key[]=<redacted>"],
    ["?x=1;pwd=b&pass=c&bypass=d", "?x=1;pwd=<redacted>&pass=<redacted>&bypass=d"],
    ["key=a", "key=a"],
    ["?x=key=a", "?x=key=a"]
  ] as const) {
    it(endpoint, () => assert.deepStrictEqual([shownEndpoint(endpoint), redactEndpoint(endpoint)], [shown, shown]))
  }
})

describe("measureJson", () => {
  for (const [text, depth, values] of [
    ["1", 0, 1],
    ["[]", 1, 2],
    ['{"a":[1,{"b":2}]}', 3, 5],
    ['"[[["', 0, 1],
    ['["\\"[",["\\\\",["]"]]]', 3, 6],
    ['["[', 1, 2],
    ["]]][", -2, 2]
  ] as const) {
    it(`finds ${Math.max(depth, 0)} levels in ${text}`, () =>
      assert.deepStrictEqual(measureJson(text), { depth: Math.max(depth, 0), values }))
  }

  it(`accepts a thousand levels, the deepest nesting that is allowed`, () => {
    assert.strictEqual(measureJson("[".repeat(maxJsonDepth)).depth, 1000)
  })
})

describe("trimSlashes", () => {
  it("removes slashes only from the end", () => {
    assert.deepStrictEqual(["", "/", "//", "/a", "a/", "a//b//", "http://x/"].map(trimSlashes), [
      "",
      "",
      "",
      "/a",
      "a",
      "a//b",
      "http://x"
    ])
  })
})

describe("a path at a provider", () => {
  it("has no dot segments, however they are encoded", () => {
    for (const path of ["..%2fapi", "a%2F..%5capi", "..;/api", "..;x", ".%2e%2fa", "%2e", "a/%2E%2e?x", "..\\a"]) {
      assert.isFalse(isPath(path), path)
    }
    for (const path of ["a..b", "a%2fb", "...", "v1/models/gemini-2.5:generateContent", "a?x=1.."]) {
      assert.isTrue(isPath(path), path)
    }
  })
})

describe("a base URL", () => {
  it("has no part that would change a path after it", () => {
    for (const url of ["https://x", "http://x/a/", "https://x:1/a%20b"]) assert.isTrue(isBaseUrl(url), url)
    for (const url of [
      "https://x?",
      "https://x/#",
      " https://x",
      "https://x/a\n",
      "https://x/a b",
      "ftp://x",
      "x",
      "https://u@x"
    ]) {
      assert.isFalse(isBaseUrl(url), url)
    }
  })
})
