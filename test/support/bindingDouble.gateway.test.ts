import { assert, describe, it } from "@effect/vitest"
import { failure, json, leg, rejection, scripted, withLogId } from "./bindingDouble.fixtures.ts"
import type { AiGatewayRunOptions, AiGatewayUniversalRequest } from "./bindingDouble.ts"

describe("AiGateway.run", () => {
  const headersFor = async (options: AiGatewayRunOptions): Promise<Record<string, string>> => {
    const { ai, sent } = scripted(json({}))
    await ai.gateway("g").run([], options)
    assert(sent[0] !== undefined)
    return sent[0].headers
  }
  const parsed = (text: string): AiGatewayUniversalRequest => JSON.parse(text)

  it("is a method of a new object each time", () => {
    const { ai } = scripted()
    assert.notStrictEqual(ai.gateway("g"), ai.gateway("g"))
  })

  it("posts an array, also for one leg and for none, and sends the rest of a leg as given", async () => {
    const { ai, sent } = scripted(json({}), json({}), json({}))
    const one = { ...leg(), config: { maxAttempts: 2 } }
    await ai.gateway("g").run(one)
    await ai.gateway("g").run([leg(), leg({ a: "b" })])
    await ai.gateway("g").run([])
    assert.deepStrictEqual(
      sent.map(({ body, headers, method, path }) => [method, path, headers, JSON.parse(body)]),
      [[one], [leg(), leg({ a: "b" })], []].map((legs) => [
        "POST",
        "/ai-gateway/universal/run/g",
        { "content-type": "application/json" },
        legs
      ])
    )
  })

  it("returns the response, never throwing on a status or reading its body", async () => {
    const { ai } = scripted(withLogId("A", { error: "x" }, 503))
    const response = await ai.gateway("g").run(leg())
    assert.strictEqual(response.status, 503)
    assert.strictEqual(response.headers.get("cf-aig-log-id"), "A")
    assert.strictEqual(await response.text(), `{"error":"x"}`)
  })

  it("rewrites the caller's leg headers in place before it returns", async () => {
    const { ai, sent } = scripted(json({}))
    const headers = { n: 1, b: false, o: { d: 1 }, l: [1], s: "s", z: null, u: undefined }
    const run = ai.gateway("g").run(leg(headers))
    const rewritten = { n: "1", b: "false", o: `{"d":1}`, l: "[1]", s: "s", z: null }
    assert.deepStrictEqual<object>(headers, { ...rewritten, u: undefined })
    await run
    assert.deepStrictEqual(JSON.parse(sent[0]?.body ?? "")[0].headers, rewritten)
  })

  it("throws at once for frozen headers that it must rewrite, and takes those that it need not", async () => {
    const { ai, sent } = scripted(json({}))
    const gateway = ai.gateway("g")
    assert.throws(() => gateway.run(leg(Object.freeze({ a: 1 }))), TypeError)
    assert.lengthOf(sent, 0)
    await gateway.run(leg(Object.freeze({ a: "s", z: null })))
    assert.lengthOf(sent, 1)
  })

  it("throws at once for a leg without headers, having rewritten the legs before it", () => {
    const { ai, sent } = scripted()
    const headers = { a: 1 }
    const bad = parsed(`{"provider":"p","endpoint":"e","query":{}}`)
    assert.throws(() => ai.gateway("g").run([leg(headers), bad]), TypeError)
    assert.deepStrictEqual<object>(headers, { a: "1" })
    assert.lengthOf(sent, 0)
  })

  it("throws at once for a bigint in headers, query or metadata", () => {
    const gateway = scripted().ai.gateway("g")
    assert.throws(() => gateway.run(leg({ a: 1n })), TypeError)
    assert.throws(() => gateway.run({ ...leg(), query: 1n }), TypeError)
    assert.throws(() => gateway.run(leg(), { gateway: { metadata: { a: 1n } } }), TypeError)
  })

  it("throws at once for CR or LF in a header, before it rewrites anything", () => {
    const gateway = scripted().ai.gateway("g")
    const headers = { a: 1 }
    for (const options of [{ extraHeaders: { "x-a": "a\r\nb" } }, { gateway: { cacheKey: "a\nb" } }]) {
      assert.throws(() => gateway.run(leg(headers), options), TypeError, "Invalid header value.")
    }
    assert.deepStrictEqual(headers, { a: 1 })
  })

  it("turns every option but the id into a header", async () => {
    const headers = await headersFor({
      gateway: {
        id: "ignored",
        skipCache: true,
        cacheTtl: 60,
        cacheKey: "k",
        metadata: { a: 1, b: "x", c: null, d: true },
        collectLog: false,
        eventId: "ev",
        requestTimeoutMs: 1500,
        retries: { maxAttempts: 3, retryDelayMs: 250, backoff: "linear" }
      }
    })
    assert.deepStrictEqual(headers, {
      "content-type": "application/json",
      "cf-aig-skip-cache": "true",
      "cf-aig-cache-ttl": "60",
      "cf-aig-cache-key": "k",
      "cf-aig-metadata": `{"a":1,"b":"x","c":null,"d":true}`,
      "cf-aig-collect-log": "false",
      "cf-aig-event-id": "ev",
      "cf-aig-request-timeout": "1500",
      "cf-aig-max-attempts": "3",
      "cf-aig-retry-delay": "250",
      "cf-aig-backoff": "linear"
    })
  })

  it("drops a cacheTtl of 0 and an empty cacheKey, and sends every other falsy value", async () => {
    const headers = await headersFor({
      gateway: {
        skipCache: false,
        cacheTtl: 0,
        cacheKey: "",
        metadata: {},
        collectLog: false,
        eventId: "",
        requestTimeoutMs: 0,
        retries: { retryDelayMs: 0 }
      }
    })
    assert.deepStrictEqual(headers, {
      "content-type": "application/json",
      "cf-aig-skip-cache": "false",
      "cf-aig-metadata": "{}",
      "cf-aig-collect-log": "false",
      "cf-aig-event-id": "",
      "cf-aig-request-timeout": "0",
      "cf-aig-retry-delay": "0"
    })
  })

  it("sends no header for an undefined option", async () => {
    const headers = await headersFor({
      gateway: {
        skipCache: undefined,
        cacheTtl: undefined,
        cacheKey: undefined,
        metadata: undefined,
        collectLog: undefined,
        eventId: undefined,
        requestTimeoutMs: undefined,
        retries: { maxAttempts: undefined, retryDelayMs: undefined, backoff: undefined }
      }
    })
    assert.deepStrictEqual(headers, { "content-type": "application/json" })
  })

  it("sends metadata outside ASCII as UTF-8 bytes", async () => {
    const headers = await headersFor({ gateway: { metadata: { a: "é✓" } } })
    assert.strictEqual(Buffer.from(headers["cf-aig-metadata"] ?? "", "latin1").toString("utf8"), `{"a":"é✓"}`)
  })

  it("sets extraHeaders last, whatever their letter case", async () => {
    const headers = await headersFor({
      gateway: { skipCache: true },
      extraHeaders: { "CF-AIG-Skip-Cache": "false", "Content-Type": "text/plain", "cf-aig-zdr": "true" }
    })
    assert.deepStrictEqual(headers, {
      "content-type": "text/plain",
      "cf-aig-skip-cache": "false",
      "cf-aig-zdr": "true"
    })
  })

  it("passes the signal to the fetcher and nowhere else", async () => {
    const controller = new AbortController()
    const { ai, sent } = scripted(json({}), json({}))
    await ai.gateway("g").run([], { signal: controller.signal })
    await ai.run("m", {}, { signal: controller.signal })
    assert.deepStrictEqual(
      sent.map(({ body, signal }) => [body, signal.aborted]),
      [
        ["[]", false],
        [`{"inputs":{},"options":{}}`, false]
      ]
    )
    controller.abort()
    assert.deepStrictEqual(
      sent.map(({ signal }) => signal.aborted),
      [true, true]
    )
  })
})

describe("AiGateway: ids", () => {
  it("puts gateway ids, log ids and providers into the URL unencoded", async () => {
    const { ai, sent } = scripted(json({}), json({}), json({ result: {} }), json({ result: { url: "u" } }), json({}))
    await ai.gateway("a/b c?d").run([])
    await ai.gateway("../../run").run([])
    await ai.gateway("g/h").getLog("../x?y z")
    await ai.gateway("g").getUrl("a/b")
    await ai.gateway("a#b").run([])
    assert.deepStrictEqual(
      sent.map(({ path }) => path),
      [
        "/ai-gateway/universal/run/a/b%20c?d",
        "/ai-gateway/run",
        "/ai-gateway/gateways/g/h/x?y%20z",
        "/ai-gateway/gateways/g/url/a/b",
        "/ai-gateway/universal/run/a"
      ]
    )
  })
})

describe("AiGateway: logs and URL", () => {
  it("getLog unwraps the result, keeps unknown fields and makes created_at a Date", async () => {
    const { ai, sent } = scripted(json({ result: { id: "l", created_at: "2026-01-02T03:04:05Z", later: 1 } }))
    const log = await ai.gateway("g").getLog("l")
    assert.deepStrictEqual<object>(log, { id: "l", created_at: new Date("2026-01-02T03:04:05Z"), later: 1 })
    assert.strictEqual(`${sent[0]?.method} ${sent[0]?.path}`, "GET /ai-gateway/gateways/g/logs/l")
  })

  it("getLog makes an invalid Date of a missing created_at, and leaks a SyntaxError for a 200 that is not JSON", async () => {
    const { ai } = scripted(json({ result: { id: "l" } }), new Response("hello"))
    assert.isNaN((await ai.gateway("g").getLog("l")).created_at.getTime())
    assert.instanceOf(await rejection(ai.gateway("g").getLog("l")), SyntaxError)
  })

  it("patchLog sends the patch as JSON and returns nothing", async () => {
    const { ai, sent } = scripted(new Response("not read"))
    assert.isUndefined(await ai.gateway("g").patchLog("l", { score: 1, feedback: -1, metadata: { a: 1 } }))
    assert.strictEqual(`${sent[0]?.method} ${sent[0]?.path}`, "PATCH /ai-gateway/gateways/g/logs/l")
    assert.deepStrictEqual(sent[0]?.headers, { "content-type": "application/json" })
    assert.strictEqual(sent[0]?.body, `{"score":1,"feedback":-1,"metadata":{"a":1}}`)
  })

  it("getUrl asks for the provider, or the universal endpoint", async () => {
    const { ai, sent } = scripted(
      json({ result: { url: "https://u" } }, { status: 201 }),
      json({ result: { url: "v" } }),
      json({ result: { url: "w" } })
    )
    assert.strictEqual(await ai.gateway("g").getUrl("openai"), "https://u")
    await ai.gateway("g").getUrl()
    await ai.gateway("g").getUrl("")
    assert.deepStrictEqual(
      sent.map(({ method, path }) => `${method} ${path}`),
      ["openai", "universal", ""].map((provider) => `GET /ai-gateway/gateways/g/url/${provider}`)
    )
  })

  const missing = "AiGatewayLogNotFound"
  const internal = "AiGatewayInternalError"
  const errors: ReadonlyArray<
    readonly [what: string, status: number, body: string, log: readonly [string, string], url: string]
  > = [
    ["404", 404, `{"errors":[{"code":7002,"message":"nope"}]}`, [missing, "nope"], "nope"],
    ["404 without a message", 404, `{"errors":[{"message":""}]}`, [missing, "Log Not Found"], "Internal Error"],
    ["404 with empty errors", 404, `{"errors":[]}`, [missing, "Log Not Found"], "Internal Error"],
    ["404 without errors", 404, "{}", [internal, "{}"], "{}"],
    ["404 that is not JSON", 404, "gone", [internal, "gone"], "gone"],
    ["500", 500, `{"errors":[{"message":"five"}]}`, [internal, "five"], "five"],
    ["500 without a message", 500, `{"errors":[{}]}`, [internal, "Internal Error"], "Internal Error"],
    ["500 that is not JSON", 500, "oops", [internal, "oops"], "oops"]
  ]
  for (const [what, status, body, [name, message], urlMessage] of errors) {
    it(`${what} is ${name} (${message}) for a log and ${internal} (${urlMessage}) for a URL`, async () => {
      const reply = () => new Response(body, { status })
      const gateway = scripted(reply(), reply(), reply()).ai.gateway("g")
      assert.deepStrictEqual(await failure(gateway.getLog("l")), { name, message })
      assert.deepStrictEqual(await failure(gateway.patchLog("l", {})), { name, message })
      assert.deepStrictEqual(await failure(gateway.getUrl()), { name: internal, message: urlMessage })
    })
  }

  it("takes every status but 200 for a failed log call", async () => {
    const body = { success: true, result: { id: "l" } }
    const gateway = scripted(json(body, { status: 201 }), new Response(null, { status: 204 })).ai.gateway("g")
    assert.deepStrictEqual(await failure(gateway.getLog("l")), { name: internal, message: JSON.stringify(body) })
    assert.deepStrictEqual(await failure(gateway.patchLog("l", {})), { name: internal, message: "" })
  })
})
