import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import * as GatewayLog from "../src/GatewayLog.ts"

const full = {
  id: "0199c3a2-7a1e-7d54-9d6c-3f1f5f6a7b8c",
  created_at: "2026-11-02T10:11:12.345Z",
  provider: "openai",
  model: "gpt-4.1-mini",
  model_type: "chat",
  path: "chat/completions",
  duration: 812,
  status_code: 200,
  success: true,
  cached: false,
  step: 1,
  tokens_in: 12,
  tokens_out: 34,
  cost: 0.00042,
  custom_cost: false,
  event_id: "e-1",
  metadata: { team: "support", paid: true, seats: 3, note: null },
  feedback: 1,
  score: 80,
  request_type: "json",
  request_content_type: "application/json",
  response_content_type: "application/json",
  request_size: 100,
  response_size: 200,
  request_head: "{",
  response_head: "{",
  request_head_complete: true,
  response_head_complete: false
}

const decoded: GatewayLog.GatewayLog = {
  id: full.id,
  createdAt: new Date("2026-11-02T10:11:12.345Z"),
  provider: "openai",
  model: "gpt-4.1-mini",
  modelType: "chat",
  path: "chat/completions",
  duration: 812,
  statusCode: 200,
  success: true,
  cached: false,
  step: 1,
  tokensIn: 12,
  tokensOut: 34,
  cost: 0.00042,
  customCost: false,
  eventId: "e-1",
  metadata: { team: "support", paid: true, seats: 3, note: null },
  feedback: 1,
  score: 80,
  requestType: "json",
  requestContentType: "application/json",
  responseContentType: "application/json",
  requestSize: 100,
  responseSize: 200,
  requestHead: "{",
  responseHead: "{",
  requestHeadComplete: true,
  responseHeadComplete: false,
  extra: {}
}

const codec = Schema.toCodecJson(GatewayLog.GatewayLog)
const encode = Schema.encodeSync(codec)
const decode = Schema.decodeUnknownSync(codec)
const throughJson = (log: GatewayLog.GatewayLog) => decode(JSON.parse(JSON.stringify(encode(log))))

describe("fromWire", () => {
  it("reads every documented field", () => {
    assert.deepStrictEqual(GatewayLog.fromWire(full), decoded)
  })

  it("needs nothing but an id", () => {
    assert.deepStrictEqual(GatewayLog.fromWire({ id: "a" }), { id: "a", extra: {} })
    for (const wire of [undefined, null, "a", 7, [], [{ id: "a" }], {}, { id: 7 }, { id: null }, new Date(0)]) {
      assert.isUndefined(GatewayLog.fromWire(wire))
    }
  })

  it("takes metadata as an object, as its JSON, or as null", () => {
    const metadata = { team: "support", seats: 3 }
    assert.deepStrictEqual(GatewayLog.fromWire({ id: "a", metadata })?.metadata, metadata)
    assert.deepStrictEqual(GatewayLog.fromWire({ id: "a", metadata: JSON.stringify(metadata) })?.metadata, metadata)
    assert.deepStrictEqual(GatewayLog.fromWire({ id: "a", metadata: null }), { id: "a", extra: {} })
    assert.deepStrictEqual(GatewayLog.fromWire({ id: "a", metadata: "" }), { id: "a", extra: { metadata: "" } })
  })

  it("loses no metadata that it does not understand", () => {
    for (const metadata of [`{"a":`, "[1]", { team: "a", nested: { b: 1 } }, [1], 7]) {
      assert.deepStrictEqual(GatewayLog.fromWire({ id: "a", metadata }), { id: "a", extra: { metadata } })
    }
    const odd: unknown = JSON.parse(`{"id":"a","metadata":{"__proto__":"x"}}`)
    assert.deepStrictEqual(Object.entries(GatewayLog.fromWire(odd)?.metadata ?? {}), [["__proto__", "x"]])
  })

  it("takes null as absent: tokens, cost, feedback", () => {
    const wire = { id: "a", tokens_in: null, tokens_out: null, cost: null, feedback: null, metadata: null }
    assert.deepStrictEqual(GatewayLog.fromWire(wire), { id: "a", extra: {} })
  })

  it("takes a date as the binding gives it, as the REST API gives it, or as milliseconds", () => {
    for (const created_at of [new Date(5000), "1970-01-01T00:00:05Z", "1970-01-01T01:00:05+01:00", 5000]) {
      assert.deepStrictEqual(GatewayLog.fromWire({ id: "a", created_at })?.createdAt, new Date(5000))
    }
  })

  it("keeps fields that are not listed under their own names", () => {
    const extra = { wholesale: true, byok: "x", timings: { total: 5 }, usage_metadata: [1], user_agent: "curl" }
    assert.deepStrictEqual(GatewayLog.fromWire({ ...full, ...extra }), { ...decoded, extra })
  })

  it("keeps a value of another type in `extra`, and its field absent", () => {
    const wrong = {
      created_at: "yesterday",
      duration: "812",
      status_code: "200",
      success: 1,
      tokens_in: Number.NaN,
      provider: 7,
      request_head_complete: "true"
    }
    assert.deepStrictEqual(GatewayLog.fromWire({ id: "a", ...wrong }), { id: "a", extra: wrong })
  })

  it("leaves the caller's object alone", () => {
    const wire = Object.freeze({ id: "a", metadata: Object.freeze({ b: 1 }), other: 1 })
    const log = GatewayLog.fromWire(wire)
    assert.notStrictEqual(log?.metadata, wire.metadata)
    assert.deepStrictEqual(Object.keys(wire), ["id", "metadata", "other"])
  })

  it.prop(
    "loses nothing: every field is in the log or in `extra`",
    { wire: Schema.Record(Schema.Literals([...Object.keys(full), "other"]), Schema.Json) },
    ({ wire }) => {
      const log = GatewayLog.fromWire({ ...wire, id: "a" })
      assert(log !== undefined)
      const read = Object.keys(log).length - 2 + Object.keys(log.extra).length
      const given = Object.entries(wire).filter(([key, value]) => {
        const known = key !== "other"
        return key !== "id" && !(known && value === null)
      })
      assert.strictEqual(read, given.length)
    }
  )
})

describe("the JSON codec", () => {
  it("brings back what was read", () => {
    const log = GatewayLog.fromWire({ ...full, timings: { total: 5, list: [1, null, "a"] } })
    assert(log !== undefined)
    assert.deepStrictEqual(throughJson(log), log)
    assert.instanceOf(throughJson(log).createdAt, Date)
  })

  const unlisted = Schema.Union([
    Schema.String,
    Schema.Finite,
    Schema.Boolean,
    Schema.Null,
    Schema.Array(Schema.String)
  ])
  const wire = Arbitrary.map(
    Arbitrary.all({
      extra: Arbitrary.map(Arbitrary.schema(Schema.Record(Schema.String, unlisted)), (extra) =>
        // V8 reads an escaped key wrongly once it has seen one with a backslash in its place (nodejs/node#63785).
        Object.fromEntries(Object.entries(extra).filter(([key]) => !key.includes("\\")))
      ),
      createdAt: Arbitrary.schema(Schema.Date)
    }),
    ({ createdAt, extra }) => ({ ...full, ...extra, id: "a", created_at: createdAt })
  )
  it.prop("brings back any entry, unlisted fields included", { wire }, ({ wire }) => {
    const log = GatewayLog.fromWire(wire)
    assert(log !== undefined)
    const sent = JSON.stringify(encode(log))
    assert.strictEqual(JSON.stringify(encode(decode(JSON.parse(sent)))), sent)
    assert.deepStrictEqual(Object.keys(throughJson(log).extra), Object.keys(log.extra))
  })
})

describe("queries", () => {
  it("become the parameters of the REST API", () => {
    assert.deepStrictEqual(GatewayLog.toParams({}), [])
    assert.deepStrictEqual(
      GatewayLog.toParams({
        page: 2,
        perPage: 50,
        search: "a b&c",
        orderBy: "created_at",
        direction: "desc",
        filters: [
          { key: "metadata.key", operator: "eq", value: ["team"] },
          { key: "cost", operator: "gt", value: [0.5] }
        ],
        eventId: "e-1"
      }),
      [
        ["page", "2"],
        ["per_page", "50"],
        ["search", "a b&c"],
        ["order_by", "created_at"],
        ["order_by_direction", "desc"],
        [
          "filters",
          `[{"key":"metadata.key","operator":"eq","value":["team"]},{"key":"cost","operator":"gt","value":[0.5]},{"key":"event_id","operator":"eq","value":["e-1"]}]`
        ]
      ]
    )
    assert.deepStrictEqual(GatewayLog.toParams({ eventId: "e" }), [
      ["filters", `[{"key":"event_id","operator":"eq","value":["e"]}]`]
    ])
  })

  it("accept their bounds and every key and operator", () => {
    const all = GatewayLog.filterKeys.flatMap((key) =>
      GatewayLog.operators.map((operator) => ({ key, operator, value: ["a", 1, true, null] }))
    )
    assert.deepStrictEqual(GatewayLog.queryProblems({ page: 1, perPage: 1, filters: all }), [])
    assert.deepStrictEqual(GatewayLog.queryProblems({ perPage: 50, orderBy: "cached", direction: "asc" }), [])
  })

  // Types keep some of these out; JSON does not.
  const json = (text: string): GatewayLog.Query => JSON.parse(text)
  const bad: ReadonlyArray<readonly [query: GatewayLog.Query, field: string]> = [
    [{ page: 0 }, "page"],
    [{ page: 1.5 }, "page"],
    [{ page: Number.NaN }, "page"],
    [json(`{"page":"1"}`), "page"],
    [{ perPage: 0 }, "perPage"],
    [{ perPage: 51 }, "perPage"],
    [{ perPage: -1 }, "perPage"],
    [json(`{"orderBy":"cost"}`), "orderBy"],
    [json(`{"direction":"up"}`), "direction"],
    [json(`{"filters":[{"key":"prompt","operator":"eq","value":[1]}]}`), "filters[0].key"],
    [
      json(`{"filters":[{"key":"id","operator":"eq","value":[1]},{"key":"id","operator":"like","value":[1]}]}`),
      "filters[1].operator"
    ],
    [{ filters: [{ key: "id", operator: "eq", value: [] }] }, "filters[0].value"],
    [json(`{"filters":[{"key":"id","operator":"eq","value":"a"}]}`), "filters[0].value"],
    [json(`{"filters":[{"key":"id","operator":"eq","value":[{}]}]}`), "filters[0].value"],
    [json(`{"filters":[{"key":"id","operator":"eq"}]}`), "filters[0].value"],
    [json(`{"filters":[null]}`), "filters[0]"],
    [json(`{"filters":{"key":"id"}}`), "filters"],
    [json(`{"filters":null}`), "filters"],
    [json(`{"search":1}`), "search"],
    [json(`{"eventId":""}`), "eventId"],
    [json(`{"eventId":4}`), "eventId"],
    [json(`{"per_page":4}`), "per_page"],
    [json("null"), "query"],
    [json("[]"), "query"]
  ]
  for (const [query, field] of bad) {
    it(`name the field: ${JSON.stringify(query).slice(0, 90)}`, () => {
      const problems = GatewayLog.queryProblems(query)
      assert.deepStrictEqual(
        problems.map((problem) => problem.field),
        [field]
      )
      assert.isAbove(problems[0]?.accepted.length ?? 0, 3)
    })
  }
})

describe("feedback", () => {
  it("is accepted in any combination", () => {
    for (const patch of [
      { feedback: 1 as const },
      { feedback: -1 as const },
      { feedback: null },
      { score: 0 },
      { score: -3.5 },
      { score: null },
      { metadata: null },
      { metadata: { a: 1, b: "x", c: true } },
      { feedback: 1 as const, score: 5, metadata: { a: 1 } }
    ]) {
      assert.deepStrictEqual(GatewayLog.patchProblems(patch), [])
    }
  })

  const json = (text: string): GatewayLog.Patch => JSON.parse(text)
  const bad: ReadonlyArray<readonly [patch: GatewayLog.Patch, field: string]> = [
    [{}, "patch"],
    [{ feedback: undefined }, "patch"],
    [json(`{"feedback":0}`), "feedback"],
    [json(`{"feedback":2}`), "feedback"],
    [json(`{"feedback":"1"}`), "feedback"],
    [{ score: Number.NaN }, "score"],
    [{ score: Number.POSITIVE_INFINITY }, "score"],
    [json(`{"score":"5"}`), "score"],
    [{ metadata: { a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 } }, "metadata"],
    [{ metadata: { a: Number.NaN } }, "metadata.a"],
    [{ metadata: { "cf.a": 1 } }, `metadata key "cf.a"`],
    [json(`{"metadata":{"a":{"b":1}}}`), "metadata.a"],
    [json(`{"metadata":[1]}`), "metadata"],
    [json("null"), "patch"],
    [json(`"good"`), "patch"]
  ]
  for (const [patch, field] of bad) {
    it(`names the field: ${JSON.stringify(patch)}`, () => {
      assert.deepStrictEqual(
        GatewayLog.patchProblems(patch).map((problem) => problem.field),
        [field]
      )
    })
  }
})

describe("pageFromWire", () => {
  it("reads entries and counts", () => {
    const page = GatewayLog.pageFromWire({
      success: true,
      result: [full, { id: "b" }],
      result_info: { page: 2, per_page: 20, count: 2, total_count: 22, min_cost: 0 }
    })
    assert.deepStrictEqual(page, {
      logs: [decoded, { id: "b", extra: {} }],
      page: 2,
      perPage: 20,
      count: 2,
      totalCount: 22
    })
  })

  it("does without counts", () => {
    assert.deepStrictEqual(GatewayLog.pageFromWire({ result: [{ id: "a" }] }), {
      logs: [{ id: "a", extra: {} }],
      page: 1,
      perPage: 1,
      count: 1
    })
    assert.deepStrictEqual(GatewayLog.pageFromWire({ result: [], result_info: { page: "x", total_count: 0 } }), {
      logs: [],
      page: 1,
      perPage: 0,
      count: 0,
      totalCount: 0
    })
  })

  it("is nothing without a list of entries with ids", () => {
    for (const wire of [
      undefined,
      null,
      [],
      {},
      { result: null },
      { result: {} },
      { result: [{}] },
      { result: [null] }
    ]) {
      assert.isUndefined(GatewayLog.pageFromWire(wire))
    }
  })
})
