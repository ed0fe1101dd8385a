import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import * as Classifier from "../src/Classifier.ts"
import * as GatewayError from "../src/GatewayError.ts"
import { failures } from "./fixtures/failures/index.ts"

const ruleIds: ReadonlySet<string> = new Set(Classifier.rules.map((rule) => rule.id))

/** Fields of a reason as plain values; durations in milliseconds. */
const plain = (reason: GatewayError.Reason): ReadonlyMap<string, unknown> =>
  new Map(
    Object.entries(reason).map(([key, value]) => [key, Duration.isDuration(value) ? Duration.toMillis(value) : value])
  )

describe("the corpus", () => {
  for (const { fields, input, name, reason, rule } of failures) {
    it(name, () => {
      const found = Classifier.classify(input)
      assert.deepStrictEqual([found.rule, found.reason._tag], [rule, reason])
      const actual = plain(found.reason)
      for (const [key, value] of Object.entries(fields)) assert.strictEqual(actual.get(key), value, key)
    })
  }

  it("has every name once", () => {
    const names = failures.map((failure) => failure.name)
    assert.deepStrictEqual(names, [...new Set(names)])
  })

  it("hits every rule", () => {
    const hit = new Set(failures.map((failure) => failure.rule))
    assert.deepStrictEqual(
      Classifier.rules.map((rule) => rule.id).filter((id) => !hit.has(id)),
      []
    )
  })
})

describe("the rules", () => {
  it("have ids of their own", () => {
    assert.strictEqual(ruleIds.size, Classifier.rules.length)
    for (const id of ruleIds) assert.match(id, /^[a-z0-9]+(-[a-z0-9]+)*$/)
  })

  it("end with one that matches everything", () => {
    const last = Classifier.rules[Classifier.rules.length - 1]
    assert.deepStrictEqual(last?.match, {})
    assert.strictEqual(last?.outcome.reason, "Unknown")
    for (const rule of Classifier.rules.slice(0, -1)) assert.isNotEmpty(Object.keys(rule.match), rule.id)
  })

  it("are plain data", () => {
    assert.deepStrictEqual(JSON.parse(JSON.stringify(Classifier.rules)), Classifier.rules)
    assert.match(Classifier.version, /^\d{4}-\d{2}-\d{2}$/)
  })

  it("never repeat an unknown failure on the same target", () => {
    const { reason } = Classifier.classify({ surface: "gateway", status: 302, body: "elsewhere" })
    assert.strictEqual(reason._tag, "Unknown")
    assert.deepInclude(GatewayError.decide(reason), { again: false, next: true })
  })

  it("move on when the same answer could not help, and stay when it could", () => {
    const decision = (status: number, body: unknown) => {
      const { again, next } = GatewayError.decide(
        Classifier.classify({ surface: "gateway", status, body: JSON.stringify(body) }).reason
      )
      return again ? "again" : next ? "next" : "stop"
    }
    assert.deepStrictEqual(
      [
        decision(400, { success: false, error: [{ code: 2005, message: "" }] }),
        decision(429, { error: { code: "insufficient_quota" } }),
        decision(429, { error: { code: "rate_limit_exceeded" } }),
        decision(401, { error: { code: "invalid_api_key" } }),
        decision(401, { success: false, error: [{ code: 2009, message: "Unauthorized" }] }),
        decision(400, { error: { message: "temperature is too high" } }),
        decision(424, { success: false, error: [{ code: 2016, message: "" }] }),
        decision(400, { error: { code: "content_filter" } })
      ],
      ["again", "next", "again", "next", "stop", "stop", "stop", "next"]
    )
  })
})

const Text = Schema.Union([
  Schema.String,
  Schema.Literals([
    "<html><title>x</title>",
    "error code: 1031",
    "2005: x",
    "[",
    "[]",
    "null",
    "{}",
    `{"error":[]}`,
    `{"error":null,"errors":[null]}`,
    `{"error":{"details":[null,{"violations":[null]}],"metadata":{"raw":"{\\"error\\":1}"}}}`,
    `{"success":false,"errors":[]}`,
    `{"candidates":[null],"promptFeedback":{"blockReason":7}}`,
    `{"internalCode":2005}`,
    `{"state":"Failed"}`,
    `{"detail":[null],"message":{"detail":[]}}`
  ])
])
const Inputs = {
  status: Schema.Union([
    Schema.Undefined,
    Schema.Int,
    Schema.Number,
    Schema.Literals([0, 200, 204, 400, 403, 404, 429, 503])
  ]),
  body: Schema.Union([Schema.Undefined, Text, Schema.Json]),
  headers: Schema.Record(
    Schema.Literals(["retry-after", "retry-after-ms", "x-ms-retry-after-ms", "x-amzn-errortype"]),
    Schema.Union([Schema.Undefined, Schema.String, Schema.Literals(["-1", "1e9", "5", "9".repeat(400), ":"])])
  ),
  thrown: Schema.Union([
    Schema.Undefined,
    Schema.Struct({
      name: Schema.optional(
        Schema.Union([Schema.String, Schema.Literals(["AbortError", "TypeError", "AiGatewayError"])])
      ),
      message: Text
    })
  ]),
  surface: Schema.Literals(["gateway", "api", "logs"]),
  now: Schema.Union([Schema.Undefined, Schema.Number]),
  secrets: Schema.Union([Schema.Undefined, Schema.Array(Schema.String)])
}

describe("any input", () => {
  it.prop("has one reason", Inputs, ({ body, ...rest }) => {
    const input = { ...rest, body: body === undefined || typeof body === "string" ? body : JSON.stringify(body) }
    const found = Classifier.classify(input)
    assert.isTrue(ruleIds.has(found.rule))
    assert.strictEqual(found.reason._tag, Classifier.rules.find((rule) => rule.id === found.rule)?.outcome.reason)
    assert.isAtMost(found.reason.detail?.length ?? 0, 2_000)
    assert.isAtMost(found.reason.code?.length ?? 0, 100)
    // Pure: the same input, the same answer.
    assert.deepStrictEqual(Classifier.classify(input), found)
  })

  it.prop(
    "can be asked whether its body is a failure",
    { status: Schema.Number, body: Schema.Json },
    ({ body, status }) => {
      assert.isBoolean(Classifier.isFailureBody(status, body))
    }
  )

  it("is bounded", () => {
    const long = "x".repeat(60_000)
    const detail = (body: string) =>
      Classifier.classify({ surface: "gateway", status: 400, body }).reason.detail?.length
    assert.strictEqual(detail(JSON.stringify({ error: { message: long } })), 2_000)
    assert.strictEqual(detail(long), 2_000)
    const { reason } = Classifier.classify({
      surface: "gateway",
      status: 400,
      body: JSON.stringify({ code: long, error: "no" })
    })
    assert.strictEqual(reason.code?.length, 100)
  })

  it("is classified in linear time", () => {
    // Each of these made a careless pattern quadratic: a minute instead of milliseconds.
    const bodies = [
      "a".repeat(65_000),
      "eyJ-".repeat(16_000),
      "key ".repeat(16_000),
      "<".repeat(65_000),
      "Bearer ".repeat(9_000)
    ]
    for (const body of bodies) Classifier.classify({ surface: "gateway", status: 400, body })
  }, 20_000)
})

describe("secrets", () => {
  const Secret = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{12,40}$/))

  it.prop(
    "stay out of the reason",
    { secret: Secret, status: Inputs.status, surface: Inputs.surface, before: Schema.String, after: Schema.String },
    ({ after, before, secret, status, surface }) => {
      const secrets = [secret.slice(0, 12), secret]
      const message = `${before} ${secret} ${after}`
      const inputs: ReadonlyArray<Classifier.FailureInput> = [
        { status, surface, secrets, body: message },
        { status, surface, secrets, body: JSON.stringify({ error: { message, code: secret, type: secret } }) },
        { status, surface, secrets, body: JSON.stringify({ code: secret, error: message }) },
        { status, surface, secrets, body: JSON.stringify({ success: false, error: [{ code: 2009, message }] }) },
        { surface, secrets, thrown: { name: "InferenceUpstreamError", message } },
        { surface, secrets, thrown: { message: `2005: ${message}` } }
      ]
      for (const input of inputs) {
        const { reason } = Classifier.classify(input)
        const shown = `${JSON.stringify(reason)} ${String(reason)} ${reason.message}`
        // Only what the message around the secret says may still contain it.
        if (!`${before}${after}`.includes(secret.slice(0, 12))) assert.notInclude(shown, secret.slice(0, 12))
      }
    }
  )

  it("are cut out whole when one begins another", () => {
    const secrets = ["abcdefghijkl", "abcdefghijklmnop"]
    const { reason } = Classifier.classify({ surface: "gateway", status: 400, secrets, body: "x abcdefghijklmnop y" })
    assert.strictEqual(reason.detail, "x <redacted> y")
  })

  it("are cut out in their JSON form, and before the text is cut to length", () => {
    const secret = 'quote"and\\slash'
    const classify = (body: string) =>
      Classifier.classify({ surface: "gateway", status: 302, secrets: ["", secret], body }).reason.detail
    assert.strictEqual(classify(JSON.stringify({ odd: secret })), `{"odd":"<redacted>"}`)
    assert.strictEqual(classify(`${"x".repeat(1_995)}${secret}`), `${"x".repeat(1_995)}<reda`)
  })

  const detailOf = (body: string, secret: string, status = 503) =>
    Classifier.classify({ surface: "gateway", status, secrets: [secret], body }).reason.detail ?? ""

  it("leave no beginning in a page, wherever it was cut", () => {
    const secret = "correct-horse-battery-staple"
    for (const length of [8_100, 8_150, 8_192, 65_000, 65_500]) {
      for (let cut = 1; cut <= secret.length; cut += 3) {
        // Markup and white space shrink, so that the end of what was read is shown.
        const page = `<html>${" ".repeat(length)}your key ${secret}`
        const detail = detailOf(page.slice(0, page.length - cut), secret)
        assert.notInclude(detail, "corr", `${length}, ${cut}`)
        assert.isTrue(detail.startsWith("your key"))
      }
    }
    assert.notInclude(detailOf(`${`${secret} `.repeat(2_400)}correct-hor`, secret), "corr")
  })

  it("are found before a page is taken apart", () => {
    for (const secret of ["a<b>c<d>e1234", "two  spaces   in it"]) {
      // What stands for it looks like a tag, and goes with them.
      assert.strictEqual(detailOf(`<html><b>key</b> ${secret} refused</html>`, secret), "key refused")
    }
  })

  it("do not change what is said about a failure, even where they look like a part of it", () => {
    const body = JSON.stringify({ success: false, error: [{ code: 2005, message: "the message of error 2005" }] })
    for (const secret of ["message", "error", "2005", "success"]) {
      const { reason, rule } = Classifier.classify({ surface: "gateway", status: 400, secrets: [secret], body })
      assert.strictEqual(rule, "cf-2005")
      assert.notInclude(`${reason.detail} ${reason.code}`, secret)
    }
  })

  for (const [text, shown] of [
    ["Incorrect API key provided: sk-proj-********abcd.", "Incorrect API key provided: <redacted>."],
    ["sent Authorization: Bearer abcdef123456, which", "sent Authorization: Bearer <redacted>, which"],
    ["key AIzaSyA1234567890 is blocked", "key <redacted> is blocked"],
    ["gsk_abcdef0123456789 is wrong", "<redacted> is wrong"],
    ["xai-0123456789abcdef0123 is wrong", "<redacted> is wrong"],
    [`the token was ${"0123456789abcdef".repeat(2)}!`, "the token was <redacted>!"],
    ["api_key=0123456789abcdefghijklmnopqrstuv", "api_key=<redacted>"],
    ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc is expired", "<redacted> is expired"],
    ["provided: na***ys. You", "provided: <redacted>. You"],
    ["model task-sk and 4096 tokens", "model task-sk and 4096 tokens"]
  ] as const) {
    it(`are recognised: ${shown}`, () => {
      const { reason } = Classifier.classify({ surface: "gateway", status: 400, body: JSON.stringify({ error: text }) })
      assert.strictEqual(reason.detail, shown)
    })
  }
})

describe("isFailureBody", () => {
  const cases: ReadonlyArray<readonly [name: string, failure: boolean, body: unknown]> = [
    ["failed run", true, { state: "Failed", error: { code: "x", message: "y" }, model: "m" }],
    ["failed run in the envelope", true, { success: true, result: { state: "Failed", error: {} } }],
    ["finished run", false, { state: "Completed", result: {} }],
    ["finished run in the envelope", false, { success: true, errors: [], result: { state: "Completed", result: {} } }],
    ["refused by the API", true, { success: false, errors: [], result: null }],
    ["error object", true, { error: { message: "x" } }],
    ["error text", true, { error: "x" }],
    ["error list", true, { error: [{ code: 2005, message: "x" }] }],
    ["error beside no answer", true, { error: { message: "x" }, choices: [], result: null }],
    ["error beside an answer", false, { error: { message: "x" }, choices: [{ message: {} }] }],
    ["error inside a choice", true, { choices: [{ message: { content: "a" }, error: { message: "x" } }] }],
    ["error inside a choice in the envelope", true, { success: true, result: { choices: [{ error: "x" }] } }],
    ["null error inside a choice", false, { choices: [{ message: { content: "a" }, error: null }] }],
    ["error beside a result", false, { error: { message: "x" }, result: { response: "y" } }],
    ["null error", false, { error: null, output: [] }],
    ["empty error", false, { error: "" }],
    ["error event", true, { type: "error", code: "x", message: "y" }],
    ["failed event", true, { type: "response.failed", response: {} }],
    ["error object of Mistral", true, { object: "error", message: "x" }],
    ["streamed error of Google", true, [{ error: { code: 400 } }]],
    ["list of answers", false, [{ generated_text: "x" }]],
    ["list with a failed item", false, [{ format: "error", error: "x" }]],
    ["blocked prompt", true, { promptFeedback: { blockReason: "SAFETY" } }],
    ["prompt feedback beside an answer", false, { promptFeedback: { blockReason: "SAFETY" }, candidates: [{}] }],
    ["completion", false, { id: "1", choices: [{ message: { content: "error" } }] }],
    ["message", false, { type: "message", content: [] }],
    ["text", false, "error"],
    ["null", false, null]
  ]
  for (const [name, failure, body] of cases) {
    it(name, () => assert.strictEqual(Classifier.isFailureBody(200, body), failure))
  }

  it("is true outside 2xx whatever the body says", () => {
    for (const status of [101, 199, 300, 404, 503]) assert.isTrue(Classifier.isFailureBody(status, { choices: [{}] }))
    for (const status of [200, 201, 299]) assert.isFalse(Classifier.isFailureBody(status, { choices: [{}] }))
  })
})
