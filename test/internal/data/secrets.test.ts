import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { isCredential, reveal, scrub, shownEndpoint } from "../../../src/internal/data/secrets.ts"

/** A credential with every character that some encoding escapes. */
const odd = `a1+/=&"<b>'%~ c\\d\\\\e#?`

const html = (text: string, more: RegExp = /[&<>"]/g): string =>
  text.replace(more, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] ?? `&#${c.charCodeAt(0)};`)

describe("a credential is cut out", () => {
  const ways: ReadonlyArray<readonly [how: string, write: (secret: string) => string]> = [
    ["as it is", (secret) => secret],
    ["in JSON", (secret) => JSON.stringify(secret).slice(1, -1)],
    ["in JSON with escaped slashes", (secret) => JSON.stringify(secret).slice(1, -1).replaceAll("/", "\\/")],
    [
      "in JSON with everything escaped",
      (secret) =>
        JSON.stringify(secret)
          .slice(1, -1)
          .replace(/[<>&'+=]/g, (c) => `\\u00${c.charCodeAt(0).toString(16).toUpperCase()}`)
    ],
    ["percent-encoded", encodeURIComponent],
    [
      "percent-encoded in lower case",
      (secret) => encodeURIComponent(secret).replace(/%../g, (hex) => hex.toLowerCase())
    ],
    ["in a page", (secret) => html(secret)],
    ["in a page with numeric entities", (secret) => html(secret, /[&<>"'`=/+]/g)],
    [
      "in a page with hexadecimal entities",
      (secret) => secret.replace(/[&<>"'/]/g, (c) => `&#x${c.charCodeAt(0).toString(16)};`)
    ]
  ]
  for (const [how, write] of ways) {
    it(how, () => {
      for (const secret of [odd, "sk-live_0123", "dXNlcjpwYXNz+/8=", "\\\\\\\\", "Basic dXNlcg=="]) {
        assert.strictEqual(scrub(`before ${write(secret)} after`, [secret]), "before <redacted> after", secret)
      }
    })
  }

  it.prop(
    "in each of its forms",
    {
      secret: Schema.String.check(Schema.isPattern(/^[!-~]{4,40}$/)),
      way: Schema.Literals([0, 1, 2, 4, 6, 7]),
      before: Schema.String,
      after: Schema.String
    },
    ({ after, before, secret, way }) => {
      const written = ways[way]?.[1](secret) ?? ""
      const out = scrub(`${before} ${written} ${after}`, [secret])
      if (!`${before}${after}`.includes(written)) assert.notInclude(out, written)
    }
  )

  it("in time that only grows with the text", () => {
    const secret = `${"\\".repeat(200)}${"&".repeat(200)}x`
    for (const text of ["\\".repeat(60_000), "&amp;".repeat(12_000), "%5c".repeat(20_000), "&#38;".repeat(12_000)]) {
      scrub(text, [secret, secret.slice(1)])
    }
  }, 5_000)
})

describe("the beginning of a credential at the cut end of a text", () => {
  const secret = "correct-horse-battery-staple"
  it("is cut out too", () => {
    for (let length = 4; length < secret.length; length++) {
      assert.strictEqual(scrub(`key: ${secret.slice(0, length)}`, ["other", secret]), "key: <redacted>")
    }
    assert.strictEqual(scrub(`${secret}, ${secret.slice(0, 9)}`, [secret]), "<redacted>, <redacted>")
  })

  it("is kept when it is too short, or not at the end", () => {
    assert.strictEqual(scrub("key: cor", [secret]), "key: cor")
    assert.strictEqual(scrub("a correct answer", [secret]), "a correct answer")
    assert.strictEqual(scrub("send a Bearer", [`Bearer ${secret}`]), "send a Bearer")
    assert.strictEqual(scrub("send a Bearer corr", [`Bearer ${secret}`]), "send a <redacted>")
  })
})

describe("reveal", () => {
  it("treats the value of a credential's header as a credential, also as plain text", () => {
    const { headers, secrets } = reveal({
      authorization: "Bearer plain-key-1",
      "x-api-key": "plain-key-2",
      "cf-aig-cache-key": "no-secret",
      "idempotency-key": "no-secret",
      "x-token-limit": "1000",
      "x-odd": Redacted.make("odd-secret")
    })
    assert.deepStrictEqual(secrets, ["Bearer plain-key-1", "plain-key-1", "plain-key-2", "odd-secret"])
    assert.strictEqual(headers["authorization"], "Bearer plain-key-1")
    assert.isTrue(
      ["authorization", "cf-aig-authorization", "x-goog-api-key", "api-key", "cookie", "x-auth-token"].every(
        isCredential
      )
    )
  })
})

describe("an endpoint as it is shown", () => {
  for (const [endpoint, shown] of [
    ["chat/completions", "chat/completions"],
    ["chat?api-version=2024-10-21&x=1", "chat?api-version=2024-10-21&x=1"],
    ["v1beta/models/m:generateContent?key=AIza123", "v1beta/models/m:generateContent?key=<redacted>"],
    ["a?x=1&access_token=abc&y=2", "a?x=1&access_token=<redacted>&y=2"],
    ["a?X-Amz-Signature=abc&API_KEY=def", "a?X-Amz-Signature=<redacted>&API_KEY=<redacted>"],
    ["a&key=abc", "a&key=<redacted>"],
    ["a?code=abc&pwd=def&pass=ghi", "a?code=<redacted>&pwd=<redacted>&pass=<redacted>"],
    ["a?jwt=abc&x-hmac=def&secret_id=ghi", "a?jwt=<redacted>&x-hmac=<redacted>&secret_id=<redacted>"],
    ["a?x=1;key=abc", "a?x=1;key=<redacted>"],
    ["a?key[]=abc&token%5B%5D=def", "a?key[]=<redacted>&token%5B%5D=<redacted>"],
    ["a?bypass=1&language_code=en&monkey_id=2", "a?bypass=1&language_code=en&monkey_id=2"]
  ] as const) {
    it(endpoint, () => assert.strictEqual(shownEndpoint(endpoint), shown))
  }
})
