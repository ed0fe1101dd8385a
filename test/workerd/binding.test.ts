/** Answers of the service behind `env.AI`, and how our callers see them, over the genuine binding. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { makePeer, type Peer } from "../support/httpPeer.ts"
import { bundle } from "./support/bundle.ts"
import * as Workerd from "./support/workerd.ts"
import type { Outcome } from "./workers/binding.ts"

interface Said {
  readonly status: number
  readonly body: string
  readonly type?: string
  readonly headers?: Readonly<Record<string, string>>
}

const scope = Scope.makeUnsafe()
let peer: Peer
let worker: Workerd.Workerd
let said: Said = { status: 200, body: "{}" }

beforeAll(async () => {
  const { code } = await bundle(new URL("workers/binding.ts", import.meta.url))
  const starting = Effect.gen(function* () {
    peer = yield* makePeer((_, response) => {
      response.writeHead(said.status, { "content-type": said.type ?? "application/json", ...said.headers })
      response.end(said.body)
    })
    worker = yield* Workerd.start({ code, ai: { AI: { url: peer.url } } })
  })
  await Effect.runPromise(Effect.provideService(starting, Scope.Scope, scope))
}, 60_000)
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

/** Makes a call while the service gives an answer. */
const calling = (name: string, saying: Said): Effect.Effect<Outcome> =>
  Effect.suspend(() => {
    said = saying
    return worker.call("/", name) as Effect.Effect<Outcome>
  })

type Expected = { readonly _tag: string } & Readonly<Record<string, unknown>>

const pick = (reason: Outcome["reason"], expected: Expected): unknown =>
  Object.fromEntries(Object.keys(expected).map((key) => [key, reason?.[key]]))

const json = (status: number, body: unknown): Said => ({
  status,
  body: JSON.stringify(body),
  headers: { "cf-aig-log-id": "log-of-the-failure" }
})
/** E1 of the protocol: the gateway's own body, whose list of errors is called `error`. */
const gatewayError = (status: number, code: number, message = "message", description = "description"): Said =>
  json(status, {
    success: false,
    result: [],
    messages: [],
    error: [{ code, message }],
    name: "AiGatewayError",
    httpCode: status,
    internalCode: code,
    message,
    description
  })
/** E2: Cloudflare's API. */
const apiError = (status: number, code: number): Said =>
  json(status, { success: false, errors: [{ code, message: "message" }], messages: [], result: null })
/** E3: Workers AI. */
const aiError = (status: number, code: number): Said =>
  json(status, { internalCode: code, message: "message", name: "InferenceUpstreamError", description: "description" })

const unavailable = { _tag: "ProviderUnavailable" }
const invalid = { _tag: "InvalidRequest" }
const noModel = { _tag: "NotFound", what: "model" }
const noRun = { _tag: "NotFound", what: "run" }
const credits = { _tag: "QuotaExhausted", kind: "credits" }
const spend = { _tag: "QuotaExhausted", kind: "spend" }
const guardrail = (subject: string) => ({ _tag: "ContentBlocked", by: "guardrail", subject })
const dlp = (subject: string) => ({ _tag: "ContentBlocked", by: "dlp", subject })
const unauthorized = (origin: string) => ({ _tag: "Unauthorized", origin })

/**
 * An answer and its reason. The last column is the reason when only the thrown error remains: a name and `NNNN: text`,
 * or the body as text, without status and headers.
 */
const cases: ReadonlyArray<readonly [name: string, answer: Said, expected: Expected, thrown?: Expected]> = [
  ["2001", gatewayError(400, 2001), { _tag: "NotFound", what: "gateway" }],
  ["2002", gatewayError(500, 2002, "invalid run id", "invalid run id"), noRun],
  ["2003", gatewayError(429, 2003), { _tag: "RateLimited", origin: "gateway" }],
  ["2005", gatewayError(400, 2005), unavailable],
  ["2008", gatewayError(400, 2008), { _tag: "NotFound", what: "endpoint" }],
  ["2009", gatewayError(401, 2009), unauthorized("gateway")],
  ["2016", gatewayError(424, 2016), guardrail("prompt")],
  ["2017", gatewayError(422, 2017), guardrail("unknown")],
  ["2019", gatewayError(400, 2019), invalid],
  ["2021", gatewayError(402, 2021), credits],
  ["2029", gatewayError(400, 2029), dlp("prompt")],
  ["2030", gatewayError(400, 2030), dlp("response")],
  ["2040", gatewayError(400, 2040), unauthorized("provider")],
  ["2041", gatewayError(429, 2041), spend],
  ["2045", gatewayError(429, 2045), spend],
  ["2047", gatewayError(401, 2047), unauthorized("provider")],
  ["2049", gatewayError(402, 2049), credits],
  ["7001", gatewayError(400, 7001), invalid],
  ["7003, no model", gatewayError(404, 7003), noModel],
  // Only the status tells these two apart.
  ["7003, no such input", gatewayError(400, 7003), invalid, noModel],
  ["7013", gatewayError(503, 7013), unavailable],
  ["10000", apiError(401, 10000), { _tag: "Unauthorized" }],
  ["3003", aiError(400, 3003), invalid],
  ["3006", aiError(413, 3006), invalid],
  ["3007", aiError(408, 3007), { _tag: "Timeout" }],
  ["3036", aiError(429, 3036), { _tag: "QuotaExhausted", kind: "allocation" }],
  ["3040", aiError(429, 3040), { _tag: "RateLimited", origin: "provider" }],
  ["3042", aiError(404, 3042), noModel],
  ["5004", aiError(400, 5004), invalid],
  ["5005", aiError(405, 5005), invalid],
  ["5007", aiError(400, 5007), noModel],
  ["5016", aiError(403, 5016), unauthorized("provider")],
  ["a failed run", json(402, { state: "Failed", error: { code: "2021", message: "no credits" }, model: "m" }), credits],
  [
    "a policy",
    json(429, { success: false, error: { message: "limit reached", bucket: "b", spent: 2, limit: 1 } }),
    spend
  ],
  [
    "a provider's key",
    json(401, {
      error: { message: "Incorrect API key provided", type: "invalid_request_error", code: "invalid_api_key" }
    }),
    unauthorized("provider")
  ],
  [
    "a provider's rate limit",
    json(429, { type: "error", error: { type: "rate_limit_error", message: "slow down" } }),
    { _tag: "RateLimited" }
  ],
  [
    "a provider's context length",
    json(400, { error: { message: "too long", type: "invalid_request_error", code: "context_length_exceeded" } }),
    { _tag: "ContextLengthExceeded" }
  ],
  [
    "an overloaded provider",
    json(529, { type: "error", error: { type: "overloaded_error", message: "x" } }),
    unavailable
  ],
  ["an expired run", json(404, { error: "Request not found" }), noRun],
  // Only the status distinguishes these.
  [
    "a page of the edge",
    { status: 520, type: "text/html", body: "<html>520</html>" },
    unavailable,
    { _tag: "InvalidResponse" }
  ],
  ["text", { status: 503, type: "text/plain", body: "upstream error" }, unavailable, { _tag: "Unknown" }],
  ["nothing", { status: 502, type: "text/plain", body: "" }, unavailable, { _tag: "Unknown" }],
  ["broken JSON", { status: 500, body: '{"error":' }, unavailable, { _tag: "Unknown" }]
]

describe("over the genuine binding, an error", () => {
  for (const [name, answer, expected, thrown = expected] of cases) {
    it.live(`(${name}) keeps its reason`, () =>
      Effect.gen(function* () {
        for (const call of ["one", "many", "run"]) {
          const { logId, reason } = yield* calling(call, answer)
          assert.deepStrictEqual(pick(reason, { ...expected, status: 0 }), { ...expected, status: answer.status }, call)
          assert.strictEqual(logId, answer.headers?.["cf-aig-log-id"])
        }
      })
    )

    it.live(`(${name}) keeps its reason when it is thrown, and claims no log id`, () =>
      Effect.gen(function* () {
        const { logId, reason } = yield* calling("thrown", answer)
        assert.deepStrictEqual(pick(reason, thrown), thrown, JSON.stringify(reason))
        assert.isUndefined(logId)
      })
    )
  }
})

describe("over the genuine binding, a log operation", () => {
  const log = { id: "log", provider: "openai", model: "m", created_at: "2026-11-21T00:00:00Z", success: true }
  const noLog = { _tag: "NotFound", what: "log" }
  const text = (status: number, body: string): Said => ({ status, type: "text/plain", body })
  const failures: ReadonlyArray<readonly [calls: ReadonlyArray<string>, answer: Said, expected: Expected]> = [
    [["getLog", "patchLog"], apiError(404, 7002), noLog],
    [["getLog", "patchLog"], json(404, { success: false, errors: [{ code: 7002, message: "Log not found" }] }), noLog],
    // Without a list of errors the binding forgets the 404, and passes the text on.
    [["getLog", "patchLog"], json(404, { errors: [] }), noLog],
    [["getLog", "patchLog"], text(404, "log not found"), noLog],
    [
      ["getLog", "patchLog", "getUrl", "models"],
      json(401, { success: false, errors: [{ code: 10000, message: "Authentication error" }] }),
      { _tag: "Unauthorized" }
    ],
    [["getLog", "patchLog", "getUrl"], json(500, { errors: [{ message: "Internal Error" }] }), unavailable],
    [["getLog", "patchLog", "getUrl"], json(500, { errors: [] }), unavailable],
    [
      ["getLog", "patchLog", "getUrl"],
      json(400, { errors: [{ message: "Gateway not found" }] }),
      { _tag: "NotFound", what: "gateway" }
    ],
    [["getLog", "patchLog", "getUrl", "models"], text(502, "<html>bad gateway</html>"), { _tag: "InvalidResponse" }],
    [["getLog"], json(200, { success: true, result: {} }), { _tag: "InvalidResponse" }],
    [["getLog", "getUrl", "models"], text(200, "hello"), { _tag: "InvalidResponse" }],
    [["getLog", "getUrl", "models"], json(200, { success: true }), { _tag: "InvalidResponse" }],
    [["models"], json(500, { success: false }), { _tag: "InvalidResponse" }],
    [["models"], json(200, { success: true, result: [{ name: 1 }] }), { _tag: "InvalidResponse" }]
  ]
  for (const [names, answer, expected] of failures) {
    for (const name of names) {
      it.live(`${name} fails correctly after ${answer.status} ${answer.body}`, () =>
        Effect.gen(function* () {
          const { logId, message, reason } = yield* calling(name, answer)
          assert.deepStrictEqual(pick(reason, expected), expected, JSON.stringify(reason))
          assert.strictEqual(logId, /Log$/.test(name) ? "log" : undefined)
          assert.match(message ?? "", /^(Gateway|Ai)Service\./)
        })
      )
    }
  }

  it.live("has typed results", () =>
    Effect.gen(function* () {
      const { value: entry } = yield* calling("getLog", json(200, { success: true, result: log }))
      assert.deepInclude(entry, { id: "log", createdAt: "2026-11-21T00:00:00.000Z", success: true })
      assert.deepStrictEqual(yield* calling("patchLog", json(200, { success: true, result: {} })), {})
      const seen = peer.requests.at(-1)
      assert.deepStrictEqual(
        [seen?.method, seen?.url, seen?.body],
        ["PATCH", "/ai-gateway/gateways/gw/logs/log", '{"feedback":1}']
      )
      const models = yield* calling("models", json(200, { result: [{ id: "1", name: "@cf/a/b", tags: ["x"] }] }))
      assert.deepStrictEqual(models.value, [{ id: "1", name: "@cf/a/b", tags: ["x"], properties: {} }])
      const url = yield* calling("getUrl", json(200, { result: { url: "https://gateway.test/openai" } }))
      assert.strictEqual(url.value, "https://gateway.test/openai")
      const before = peer.requests.length
      const { reason } = yield* calling("listLogs", json(200, {}))
      assert.strictEqual(reason?.["_tag"], "BindingMissing")
      assert.strictEqual(peer.requests.length, before)
    })
  )
})

describe("over the genuine binding, a run", () => {
  const output = { choices: [{ message: { content: "hi" } }] }

  for (const type of ["application/json", "application/json; charset=utf-8", "text/plain"]) {
    it.live(`reads ${type}, even when the binding has already examined the body`, () =>
      Effect.gen(function* () {
        for (const call of ["one", "many", "run", "thrown"]) {
          const outcome = yield* calling(call, { status: 200, type, body: JSON.stringify(output) })
          assert.deepStrictEqual(outcome, { value: output }, call)
        }
      })
    )
  }

  for (const [name, body] of [
    ["bare", output],
    ["a state", { state: "Completed", result: output, gatewayMetadata: { keySource: "Unified" } }],
    ["an envelope around a state", { success: true, result: { state: "Completed", result: output } }]
  ] as const) {
    it.live(`unwraps the output of ${name}`, () =>
      Effect.gen(function* () {
        for (const call of ["run", "thrown"]) {
          assert.deepStrictEqual(yield* calling(call, json(200, body)), { value: output }, call)
        }
      })
    )
  }

  it.live("fails with 200 when the run failed", () =>
    Effect.gen(function* () {
      const failed = json(200, { state: "Failed", error: { code: "2021", message: "no credits" }, model: "m" })
      for (const call of ["run", "thrown"]) {
        const { reason } = yield* calling(call, failed)
        assert.deepStrictEqual(pick(reason, credits), credits)
      }
    })
  )

  it.live("sends frozen legs and inputs unchanged, repeatedly", () =>
    Effect.gen(function* () {
      const answer = json(200, output)
      for (let n = 0; n < 2; n++) {
        const from = peer.requests.length
        for (const call of ["one", "many", "run"]) {
          assert.deepStrictEqual(yield* calling(call, answer), { value: output }, call)
        }
        const [one, many, run] = peer.requests.slice(from)
        const sent = {
          provider: "openai",
          endpoint: "chat/completions",
          headers: { "content-type": "application/json", authorization: "key-of-the-caller", "x-number": "1" },
          query: { model: "m", messages: [{ role: "user", content: "hi" }] },
          config: { maxAttempts: 1 }
        }
        assert.strictEqual(one?.url, "/ai-gateway/universal/run/gw")
        assert.deepStrictEqual(JSON.parse(one?.body ?? ""), [sent])
        assert.deepStrictEqual(JSON.parse(many?.body ?? ""), [sent, { ...sent, provider: "groq" }])
        assert.strictEqual(run?.url, "/ai-gateway/run?version=3")
        assert.strictEqual(run?.headers["x-trace"], "t")
        assert.strictEqual(run?.headers["cf-consn-model-id"], "openai/m")
        assert.deepStrictEqual(JSON.parse(run?.body ?? ""), {
          inputs: { messages: [{ role: "user", content: "hi" }] },
          options: { gateway: { id: "gw", metadata: { team: "a", n: 1 } }, returnRawResponse: true }
        })
      }
    })
  )

  it.live("is rejected before an id reaches a URL", () =>
    Effect.gen(function* () {
      const before = peer.requests.length
      const outcomes = (yield* worker.call("/", "invalid")) as ReadonlyArray<Outcome>
      assert.isAbove(outcomes.length, 50)
      for (const { message, reason } of outcomes) {
        assert.deepStrictEqual(
          pick(reason, { _tag: "", origin: "" }),
          { _tag: "InvalidRequest", origin: "client" },
          message
        )
        assert.isString(reason?.["field"])
      }
      assert.strictEqual(peer.requests.length, before)
    })
  )

  it.live("works where the runtime would return remote stubs of gateways", () =>
    Effect.gen(function* () {
      const { code } = yield* Effect.promise(() => bundle(new URL("workers/binding.ts", import.meta.url)))
      const flags = ["enable_request_signal", "experimental"]
      const experimental = yield* Workerd.start({ code, flags, ai: { AI: { url: peer.url } } })
      said = json(200, output)
      for (const call of ["one", "many", "run"]) {
        assert.deepStrictEqual(yield* experimental.call("/", call), { value: output }, call)
      }
    }).pipe(Effect.scoped)
  )
})
