import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as UniversalRequest from "../src/UniversalRequest.ts"

const leg: UniversalRequest.LegInput = {
  provider: "openai",
  endpoint: "chat/completions",
  query: { model: "gpt-4.1-mini", messages: [] }
}

// Types keep these out; JSON does not.
const json = (text: string): ReadonlyArray<UniversalRequest.LegInput> => JSON.parse(text)

const refusal = (legs: ReadonlyArray<UniversalRequest.LegInput>) =>
  Effect.map(Effect.flip(UniversalRequest.make(legs)), (error) => {
    const { reason } = error
    assert(reason._tag === "InvalidRequest")
    assert.strictEqual(reason.origin, "client")
    assert.strictEqual(error.message, `UniversalRequest.make: invalid ${reason.field}: expected ${reason.accepted}`)
    return { error, field: reason.field }
  })

describe("make", () => {
  it.effect("keeps the legs in order", () =>
    Effect.gen(function* () {
      const other = { ...leg, provider: "anthropic", endpoint: "v1/messages" }
      const request = yield* UniversalRequest.make([leg, other])
      assert.deepStrictEqual(request, [
        { ...leg, headers: {} },
        { ...other, headers: {} }
      ])
    })
  )

  it.effect("refuses an empty array", () =>
    Effect.map(refusal([]), ({ error, field }) => {
      assert.strictEqual(field, "legs")
      assert.include(error.message, "at least one leg")
    })
  )

  it.effect("names the leg at fault", () =>
    Effect.map(refusal([leg, leg, { ...leg, provider: "" }]), ({ field }) =>
      assert.strictEqual(field, "legs[2].provider")
    )
  )

  it.effect("hands out fresh objects and leaves the caller's alone", () =>
    Effect.gen(function* () {
      const config = Object.freeze({ maxAttempts: 1 })
      const headers = Object.freeze({ authorization: Redacted.make("Bearer secret") })
      const input = Object.freeze({ ...leg, headers, config })
      const [made] = yield* UniversalRequest.make(Object.freeze([input]))
      assert.deepStrictEqual(made, input)
      assert.notStrictEqual(made.headers, headers)
      assert.notStrictEqual(made.config, config)
      assert.isFalse(Object.isFrozen(made.headers))
      assert.isTrue(Redacted.isRedacted(made.headers["authorization"]))
    })
  )
})

describe("slugs", () => {
  const accepted = ["openai", "workers-ai", "compat", "custom-my-llm", "a", "01ai", "x".repeat(64)]
  for (const provider of accepted) {
    it.effect(`accept ${provider}`, () => UniversalRequest.make([{ ...leg, provider }]))
  }

  const refused = ["", "OpenAI", "-a", "a-", "a/b", "a b", "..", "a.b", "a?b", "a%2fb", "ä", "a\n", "x".repeat(65)]
  for (const provider of refused) {
    it.effect(`refuse ${JSON.stringify(provider)}`, () =>
      Effect.map(refusal([{ ...leg, provider }]), ({ field }) => assert.strictEqual(field, "legs[0].provider"))
    )
  }
})

describe("endpoints", () => {
  const accepted = [
    "chat/completions",
    "v1/messages",
    "@cf/meta/llama-3.1-8b-instruct",
    "run/@cf/meta/llama-3.1-8b-instruct",
    "v1beta/models/gemini-2.5-flash:generateContent?alt=sse",
    "openai/deployments/my.model/chat/completions?api-version=2024-10-21",
    "model/anthropic.claude%3A0/invoke",
    "a/.hidden/b",
    "a/...",
    "a/..b"
  ]
  for (const endpoint of accepted) {
    it.effect(`accept ${endpoint}`, () =>
      Effect.gen(function* () {
        const [made] = yield* UniversalRequest.make([{ ...leg, endpoint }])
        // What is accepted reaches the provider as it was written.
        const { pathname, search } = new URL(`https://gateway.test/v1/a/g/openai/${made.endpoint}`)
        assert.strictEqual(pathname + search, `/v1/a/g/openai/${endpoint}`)
      })
    )
  }

  const refused = [
    "",
    "/chat/completions",
    "//evil.test/a",
    ".",
    "..",
    "./a",
    "../a",
    "a/../../b",
    "a/..",
    "a/.",
    "a/..?b",
    "%2e%2e/a",
    "%2E%2E/a",
    "a/.%2e/b",
    "a/%2e./b",
    "a/%2e",
    "a b",
    " a",
    "a\tb",
    "a\nb",
    "a#b",
    "a\\b",
    "..\\a",
    "ä"
  ]
  for (const endpoint of refused) {
    it.effect(`refuse ${JSON.stringify(endpoint)}`, () =>
      Effect.map(refusal([{ ...leg, endpoint }]), ({ field }) => assert.strictEqual(field, "legs[0].endpoint"))
    )
  }
})

describe("headers", () => {
  const secret = "sk-live-4242424242"

  for (const name of ["Authorization", "X-Mine", "a b", "a:b", "a\r\nb", "", "é"]) {
    it.effect(`refuse the name ${JSON.stringify(name)}`, () =>
      Effect.map(refusal([{ ...leg, headers: { [name]: secret } }]), ({ error, field }) => {
        assert.strictEqual(field, "legs[0].headers")
        assert.notInclude(JSON.stringify(error), secret)
      })
    )
  }

  for (const [name, value] of [
    ["CR and LF", `${secret}\r\nx-evil: 1`],
    ["a line feed", `${secret}\n`],
    ["NUL", `${secret}\u0000`],
    ["a tab", `a\t${secret}`],
    ["a character outside ASCII", `${secret}é`],
    ["a leading space", ` ${secret}`],
    ["a trailing space", `${secret} `],
    ["nothing", ""]
  ] as const) {
    it.effect(`refuse a value with ${name}, plain or redacted, and never show it`, () =>
      Effect.gen(function* () {
        const plain = yield* refusal([{ ...leg, headers: { "x-key": value } }])
        const redacted = yield* refusal([{ ...leg, headers: { "x-key": Redacted.make(value) } }])
        for (const { error, field } of [plain, redacted]) {
          assert.strictEqual(field, "legs[0].headers.x-key")
          for (const shown of [error.message, String(error), JSON.stringify(error), error.stack ?? ""]) {
            assert.notInclude(shown, secret)
          }
        }
      })
    )
  }

  it.effect("accept tokens and credentials", () =>
    Effect.gen(function* () {
      const headers = { "anthropic-version": "2023-06-01", authorization: Redacted.make(`Bearer ${secret}`) }
      const request = yield* UniversalRequest.make([{ ...leg, headers }])
      assert.deepStrictEqual(request[0].headers, headers)
      assert.notInclude(JSON.stringify(request), secret)
    })
  )
})

describe("config", () => {
  it.effect("accept what the gateway can do", () =>
    UniversalRequest.make([
      { ...leg, config: {} },
      { ...leg, config: { requestTimeout: 1, maxAttempts: 1, retryDelay: 0, backoff: "constant" } },
      { ...leg, config: { requestTimeout: 600_000, maxAttempts: 5, retryDelay: 5000, backoff: "exponential" } }
    ])
  )

  const bad = [
    ["requestTimeout", 0],
    ["requestTimeout", -1],
    ["requestTimeout", 1.5],
    ["requestTimeout", Number.NaN],
    ["requestTimeout", Number.POSITIVE_INFINITY],
    ["maxAttempts", 0],
    ["maxAttempts", 6],
    ["maxAttempts", 1.5],
    ["maxAttempts", Number.NaN],
    ["retryDelay", -1],
    ["retryDelay", 5001],
    ["retryDelay", Number.NaN]
  ] as const
  for (const [name, value] of bad) {
    it.effect(`refuse ${name} ${value}`, () =>
      Effect.map(refusal([{ ...leg, config: { [name]: value } }]), ({ field }) =>
        assert.strictEqual(field, `legs[0].config.${name}`)
      )
    )
  }
})

describe("legs from JSON", () => {
  const bad: ReadonlyArray<readonly [text: string, field: string]> = [
    [`[null]`, "legs[0]"],
    [`["openai"]`, "legs[0]"],
    [`[{"endpoint":"a"}]`, "legs[0].provider"],
    [`[{"provider":"a"}]`, "legs[0].endpoint"],
    [`[{"provider":"a","endpoint":7}]`, "legs[0].endpoint"],
    [`[{"provider":"a","endpoint":"b"}]`, "legs[0].query"],
    [`[{"provider":"a","endpoint":"b","query":1,"headers":["c"]}]`, "legs[0].headers"],
    [`[{"provider":"a","endpoint":"b","query":1,"headers":{"c":7}}]`, "legs[0].headers.c"],
    [`[{"provider":"a","endpoint":"b","query":1,"headers":{"c":null}}]`, "legs[0].headers.c"],
    [`[{"provider":"a","endpoint":"b","query":1,"config":null}]`, "legs[0].config"],
    [`[{"provider":"a","endpoint":"b","query":1,"config":{"backoff":"jitter"}}]`, "legs[0].config.backoff"],
    [`[{"provider":"a","endpoint":"b","query":1,"config":{"maxAttempts":"3"}}]`, "legs[0].config.maxAttempts"]
  ]
  for (const [text, field] of bad) {
    it.effect(`refuse ${text}`, () =>
      Effect.map(refusal(json(text)), (found) => assert.strictEqual(found.field, field))
    )
  }
})
