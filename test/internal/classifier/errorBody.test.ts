import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { decode, type ErrorBody, isFailure } from "../../../src/internal/classifier/errorBody.ts"

type Expected = Omit<ErrorBody, "json">

const check = (name: string, body: unknown, expected: Expected) => {
  it(name, () => {
    const { json: _, ...actual } = decode(typeof body === "string" ? body : JSON.stringify(body))
    assert.deepStrictEqual(actual, expected)
  })
}

describe("E1, AI Gateway", () => {
  const entry = { code: 2003, message: "Rate limited" }
  check(
    "with every field",
    {
      success: false,
      result: [],
      messages: [],
      error: [entry],
      name: "AiGatewayError",
      httpCode: 429,
      internalCode: 2003,
      message: "Rate limited",
      description: "Too fast"
    },
    { shape: "E1", code: "2003", message: "Rate limited", name: "AiGatewayError", httpCode: 429, fromGateway: true }
  )
  const short: Expected = { shape: "E1", code: "2003", message: "Rate limited", fromGateway: true }
  check("without the trailing fields", { success: false, result: [], messages: [], error: [entry] }, short)
  check("only the list", { error: [entry] }, short)
  check("a text as the code", { success: false, error: [{ ...entry, code: "2003" }] }, short)
  check(
    "without a code",
    { success: false, error: [{ message: "No" }] },
    { shape: "E1", message: "No", fromGateway: true }
  )
  check(
    "only name, code and description",
    { name: "AiGatewayError", internalCode: 2003, description: "Too fast" },
    {
      shape: "E1",
      code: "2003",
      message: "Too fast",
      name: "AiGatewayError",
      fromGateway: true
    }
  )
  check("only the name", { name: "AiGatewayError" }, { shape: "E1", name: "AiGatewayError", fromGateway: true })
  check(
    "the plural list under the gateway's name",
    { name: "AiGatewayError", errors: [entry] },
    {
      ...short,
      name: "AiGatewayError"
    }
  )
})

describe("E2, Cloudflare's API", () => {
  const entry = { code: 10000, message: "Authentication error" }
  const expected: Expected = { shape: "E2", code: "10000", message: "Authentication error", fromGateway: false }
  check("with every field", { success: false, errors: [entry], messages: [], result: null }, expected)
  check("only the list", { errors: [entry] }, expected)
  check(
    "only the message",
    { success: false, errors: [{ message: "No" }] },
    { shape: "E2", message: "No", fromGateway: false }
  )
  check(
    "an empty list",
    { success: false, errors: [], messages: [], result: null },
    { shape: "E2", fromGateway: false }
  )
  check("the first of several", { success: false, errors: [entry, { code: 1, message: "x" }] }, expected)
})

describe("E3, coded behind the binding", () => {
  const body = { internalCode: 3040, message: "AiError: Full", name: "AiError", description: "Full" }
  check("of Workers AI", body, {
    shape: "E3",
    code: "3040",
    message: "AiError: Full",
    name: "AiError",
    fromGateway: false
  })
  check(
    "with its list",
    { ...body, errors: [{ code: 1, message: "x" }] },
    {
      shape: "E3",
      code: "3040",
      message: "AiError: Full",
      name: "AiError",
      fromGateway: false
    }
  )
  check(
    "only code and description",
    { internalCode: 3040, description: "Full" },
    {
      shape: "E3",
      code: "3040",
      message: "Full",
      fromGateway: false
    }
  )
  check("of the gateway, without its name", { internalCode: 2003 }, { shape: "E3", code: "2003", fromGateway: true })
})

describe("E4, the run API", () => {
  const error = { code: "rate_limit_exceeded", message: "Slow" }
  const expected: Expected = { shape: "E4", code: "rate_limit_exceeded", message: "Slow", fromGateway: false }
  check("bare", { state: "Failed", error, model: "m" }, expected)
  check("in the envelope", { success: true, result: { state: "Failed", error } }, expected)
  check(
    "a status as the code",
    { state: "Failed", error: { code: 504 } },
    { shape: "E4", httpCode: 504, fromGateway: false }
  )
  check("an error text", { state: "Failed", error: "No" }, { shape: "E4", message: "No", fromGateway: false })
  check("nothing else", { state: "Failed" }, { shape: "E4", fromGateway: false })
})

describe("E5, policies", () => {
  const denied: Expected = { shape: "E5", message: "Denied", fromGateway: true }
  check("denied", { success: false, error: { message: "Denied" } }, denied)
  check("without a message", { success: false, error: {} }, { shape: "E5", fromGateway: true })
  for (const field of ["bucket", "limit", "spent"]) {
    check(`with ${field}`, { success: false, error: { message: "Denied", [field]: 0 } }, { ...denied, type: "spend" })
  }
})

describe("E7, an expired resume", () => {
  check("404", { error: "Request not found" }, { shape: "E7", message: "Request not found", fromGateway: false })
})

describe("E8, not JSON", () => {
  check("empty", " \n", { shape: "E8", type: "empty", fromGateway: false })
  check("text", "upstream connect error", {
    shape: "E8",
    type: "text",
    message: "upstream connect error",
    fromGateway: false
  })
  check("a JSON text", '"nope"', { shape: "E8", type: "text", message: "nope", fromGateway: false })
  check("a JSON number", "42", { shape: "E8", type: "text", message: "42", fromGateway: false })
  check("cut JSON", '{"error":{', { shape: "E8", type: "text", message: '{"error":{', fromGateway: false })
  check("an edge's status", "error code: 522", {
    shape: "E8",
    type: "text",
    message: "error code: 522",
    httpCode: 522,
    fromGateway: false
  })
  check("an edge's code", "error code: 1031", {
    shape: "E8",
    type: "text",
    message: "error code: 1031",
    code: "1031",
    fromGateway: false
  })
  check(
    "a page",
    "<!DOCTYPE html><html><head><title>Access</title><style>a { b: c }</style></head><body><h1>No\n entry</h1></body></html>",
    { shape: "E8", type: "html", message: "Access No entry", fromGateway: false }
  )
})

it("reads a page to its end, because a cut may go through a credential", () => {
  assert.strictEqual(decode(`<title>Big</title>${"word ".repeat(10_000)}end`).message?.slice(-8), "word end")
})

describe("E6, providers", () => {
  const six = (fields: Partial<Expected>): Expected => ({ shape: "E6", fromGateway: false, ...fields })
  check(
    "nested",
    { error: { message: "m", type: "t", param: null, code: "c" } },
    six({ code: "c", type: "t", message: "m" })
  )
  check("flat", { message: "m", type: "t", code: "c" }, six({ code: "c", type: "t", message: "m" }))
  check(
    "Anthropic's outer type",
    { type: "error", error: { type: "t", message: "m" } },
    six({ type: "t", message: "m" })
  )
  check("a status as a code", { error: { code: 429, message: "m" } }, six({ httpCode: 429, message: "m" }))
  check("a status as a text", { error: { code: "404", message: "m" } }, six({ httpCode: 404, message: "m" }))
  check("a number that is no status", { error: { code: 1300, message: "m" } }, six({ code: "1300", message: "m" }))
  check(
    "Google's status",
    { error: { code: 400, status: "INVALID_ARGUMENT", message: "m" } },
    six({
      type: "INVALID_ARGUMENT",
      httpCode: 400,
      message: "m"
    })
  )
  check(
    "Google's reason",
    { error: { code: 400, message: "m", details: [{}, { reason: "API_KEY_INVALID" }] } },
    six({
      code: "API_KEY_INVALID",
      httpCode: 400,
      message: "m"
    })
  )
  check(
    "Google's quota",
    { error: { code: 429, details: [{ violations: [{ quotaId: "A" }, { quotaId: "BPerDay" }, { quotaId: "C" }] }] } },
    six({
      code: "BPerDay",
      httpCode: 429
    })
  )
  check("an array", [{ error: { message: "m" } }], six({ message: "m" }))
  check("an error text beside a code", { code: "c", error: "m" }, six({ code: "c", message: "m" }))
  check("a list of texts", { error: ["m", "n"], warnings: [] }, six({ message: "m" }))
  check("a list of errors without codes", { errors: [{ message: "m" }] }, six({ message: "m" }))
  check("detail", { detail: "m" }, six({ message: "m" }))
  check(
    "detail with a status word",
    { detail: { status: "invalid_api_key", message: "m" } },
    six({ type: "invalid_api_key", message: "m" })
  )
  check("validation", { detail: [{ loc: ["body"], msg: "m", type: "missing" }] }, six({ message: "m" }))
  check("validation, nested", { message: { detail: [{ msg: "m" }] } }, six({ message: "m" }))
  check("error_type", { error: "m", error_type: "t" }, six({ type: "t", message: "m" }))
  check("inner code", { error: { code: "400", innererror: { code: "t" } } }, six({ type: "t", httpCode: 400 }))
  check("__type", { __type: "a.b#T", message: "m" }, six({ type: "T", message: "m" }))
  check("a named exception", { fooException: { message: "m" } }, six({ type: "fooException", message: "m" }))
  check("Message", { Message: "m" }, six({ message: "m" }))
  check("statusCode", { statusCode: 401, message: "m" }, six({ httpCode: 401, message: "m" }))
  check("http_status_code", { error: { message: "m", http_status_code: 422 } }, six({ httpCode: 422, message: "m" }))
  check("raw_status_code", { message: "m", raw_status_code: 429 }, six({ httpCode: 429, message: "m" }))
  check(
    "a source of a limit",
    { error: { code: 402, metadata: { limit_source: "l", error_type: "e" } } },
    six({ code: "l", httpCode: 402 })
  )
  check(
    "a type in the metadata",
    { error: { code: 402, metadata: { error_type: "e" } } },
    six({ code: "e", httpCode: 402 })
  )
  check(
    "a response event",
    { type: "response.failed", response: { error: { code: "c", message: "m" } } },
    six({ code: "c", message: "m" })
  )
  check("an error event", { type: "error", code: "c", message: "m" }, six({ code: "c", message: "m" }))
  check(
    "an error of a choice",
    { choices: [{ error: { code: 429, message: "m" } }] },
    six({ httpCode: 429, message: "m" })
  )
  check(
    "a blocked prompt",
    { promptFeedback: { blockReason: "SAFETY", blockReasonMessage: "m" } },
    six({
      type: "promptFeedback",
      code: "SAFETY",
      message: "m"
    })
  )
  check("a blocked answer", { candidates: [{ finishReason: "SPII" }] }, six({ type: "finishReason", code: "SPII" }))
  check("an answer", { candidates: [{ finishReason: "STOP" }] }, six({}))
  check("a zero for Cloudflare's code", { internalCode: 0, message: "m" }, six({ message: "m" }))
  check("nothing known", { a: 1 }, six({}))
})

describe("a body inside a body", () => {
  const inner = { error: { type: "t", message: "m" } }
  const expected: Expected = { shape: "E6", type: "t", message: "m", httpCode: 400, fromGateway: false }
  check("as the message", { error: { code: 400, message: JSON.stringify(inner, null, 2) } }, expected)
  check(
    "as the raw metadata",
    { error: { code: 400, message: "Provider returned error", metadata: { raw: JSON.stringify(inner) } } },
    expected
  )
  check(
    "three deep",
    { error: { message: JSON.stringify({ error: { message: JSON.stringify(inner) } }) } },
    {
      shape: "E6",
      type: "t",
      message: "m",
      fromGateway: false
    }
  )
  check(
    "under the gateway's name",
    { success: false, error: [{ code: 2005, message: JSON.stringify(inner) }] },
    {
      shape: "E1",
      code: "2005",
      type: "t",
      message: "m",
      fromGateway: true
    }
  )
  check(
    "a message that only looks like one",
    { error: { code: 400, message: "{not json" } },
    {
      shape: "E6",
      message: "{not json",
      httpCode: 400,
      fromGateway: false
    }
  )

  it("returns the document that holds the facts", () => {
    assert.deepStrictEqual(decode(JSON.stringify({ error: { message: JSON.stringify(inner) } })).json, inner)
    assert.deepStrictEqual(decode(JSON.stringify([inner])).json, [inner])
    assert.notProperty(decode("text"), "json")
  })

  it("limits the depth", () => {
    let body = "x"
    for (let depth = 0; depth < 8; depth++) body = JSON.stringify({ error: { message: body } })
    assert.match(decode(body).message ?? "", /^\{/)
  })
})

describe("any text", () => {
  const shapes = /^E[1-8]$/
  it.prop("decodes", { text: Schema.String }, ({ text }) => {
    assert.match(decode(text).shape, shapes)
  })
  it.prop("decodes as JSON", { json: Schema.Json }, ({ json }) => {
    assert.match(decode(JSON.stringify(json)).shape, shapes)
    assert.isBoolean(isFailure(json))
  })
  // Random JSON rarely has the names that the decoder looks for.
  const Odd = Schema.Union([Schema.Json, Schema.Literals(["Failed", "AiGatewayError", "SAFETY", "[", "{}"])])
  const Items = Schema.Array(Odd)
  it.prop(
    "decodes with the known names in the wrong places",
    {
      value: Schema.Record(
        Schema.Literals([
          "error",
          "errors",
          "message",
          "detail",
          "result",
          "response",
          "choices",
          "candidates",
          "state",
          "name",
          "success",
          "internalCode",
          "promptFeedback",
          "xException"
        ]),
        Schema.Union([
          Odd,
          Items,
          Schema.Record(
            Schema.Literals([
              "code",
              "type",
              "status",
              "message",
              "details",
              "metadata",
              "raw",
              "innererror",
              "blockReason",
              "finishReason"
            ]),
            Odd
          )
        ])
      )
    },
    ({ value }) => {
      const body = decode(JSON.stringify(value))
      assert.match(body.shape, shapes)
      for (const field of [body.code, body.type, body.message, body.name]) {
        assert.isTrue(field === undefined || (typeof field === "string" && field !== ""))
      }
      assert.isBoolean(isFailure(value))
    }
  )
})
