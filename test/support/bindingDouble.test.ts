import { getEventListeners } from "node:events"
import { assert, describe, it } from "@effect/vitest"
import { deferred, failure, json, leg, rejection, scripted, stream, withLogId } from "./bindingDouble.fixtures.ts"
import { type Ai, type AiOptions, type Fetcher, makeBinding } from "./bindingDouble.ts"

const textOf = (value: unknown): Promise<string> => {
  assert.instanceOf(value, ReadableStream)
  return new Response(value).text()
}

describe("Ai.run: request", () => {
  it("posts inputs and options to /run without a gateway", async () => {
    const { ai, sent } = scripted(json({ response: "hi" }))
    assert.deepStrictEqual(await ai.run("@cf/meta/x", { prompt: "p" }), { response: "hi" })
    const [request] = sent
    assert.strictEqual(request?.method, "POST")
    assert.strictEqual(request?.url, "https://workers-binding.ai/run?version=3")
    assert.deepStrictEqual(request?.headers, {
      "content-type": "application/json",
      "cf-consn-sdk-version": "2.0.0",
      "cf-consn-model-id": "@cf/meta/x"
    })
    assert.strictEqual(request?.body, `{"inputs":{"prompt":"p"},"options":{}}`)
  })

  it("posts to /ai-gateway/run with a gateway id, settings in the body only, a cacheTtl of 0 included", async () => {
    const { ai, sent } = scripted(json({}))
    await ai.run("openai/x", {}, { gateway: { id: "g", cacheTtl: 0, skipCache: false, metadata: { a: 1 } } })
    assert.strictEqual(sent[0]?.path, "/ai-gateway/run?version=3")
    assert.strictEqual(
      sent[0]?.body,
      `{"inputs":{},"options":{"gateway":{"id":"g","cacheTtl":0,"skipCache":false,"metadata":{"a":1}}}}`
    )
    assert.deepStrictEqual(Object.keys(sent[0]?.headers ?? {}).sort(), [
      "cf-consn-model-id",
      "cf-consn-sdk-version",
      "content-type"
    ])
  })

  it("takes an empty gateway id for none", async () => {
    const { ai, sent } = scripted(json({}))
    await ai.run("m", {}, { gateway: { id: "" } })
    assert.strictEqual(sent[0]?.path, "/run?version=3")
  })

  it("leaves prefix, extraHeaders, sessionOptions and signal out of the body, and keeps unknown options", async () => {
    const { ai, sent } = scripted(json({}))
    const options = {
      prefix: "px",
      extraHeaders: { "cf-aig-zdr": "true" },
      sessionOptions: { a: 1 },
      signal: new AbortController().signal,
      tags: ["t"],
      queueRequest: false,
      invented: "kept"
    }
    await ai.run("m", {}, options)
    assert.strictEqual(sent[0]?.body, `{"inputs":{},"options":{"tags":["t"],"queueRequest":false,"invented":"kept"}}`)
    assert.strictEqual(sent[0]?.headers["cf-consn-model-id"], "px:m")
    assert.strictEqual(sent[0]?.headers["cf-aig-zdr"], "true")
  })

  it("writes its own headers after extraHeaders, and joins them when the letter case differs", async () => {
    const { ai, sent } = scripted(json({}), json({}))
    await ai.run("m", {}, { extraHeaders: { "content-type": "text/plain", "cf-consn-model-id": "other" } })
    await ai.run("m", {}, { extraHeaders: { "Content-Type": "text/plain" } })
    assert.strictEqual(sent[0]?.headers["content-type"], "application/json")
    assert.strictEqual(sent[0]?.headers["cf-consn-model-id"], "m")
    assert.strictEqual(sent[1]?.headers["content-type"], "text/plain, application/json")
  })

  it("rejects with a TypeError for a header value with CR or LF, without quoting it", async () => {
    const { ai, sent } = scripted(json({}))
    const error = await rejection(ai.run("m", {}, { extraHeaders: { "x-key": "secret\r\nx: y" } }))
    assert.instanceOf(error, TypeError)
    assert.notInclude(String(error), "secret")
    assert.lengthOf(sent, 0)
  })

  it("sends header text outside ASCII as UTF-8 bytes", async () => {
    const { ai, sent } = scripted(json({}))
    await ai.run("m", {}, { extraHeaders: { "x-a": "é✓" } })
    assert.strictEqual(Buffer.from(sent[0]?.headers["x-a"] ?? "", "latin1").toString("utf8"), "é✓")
  })

  it("rejects with a TypeError for a bigint in the metadata", async () => {
    const { ai } = scripted(json({}))
    assert.instanceOf(await rejection(ai.run("m", {}, { gateway: { id: "g", metadata: { a: 1n } } })), TypeError)
  })

  it("sends one stream input as the body and the rest as a query", async () => {
    const { ai, sent } = scripted(json({}))
    const audio = { body: stream("abc"), contentType: "audio/mpeg" }
    await ai.run("m", { audio, lang: "en" }, { tags: ["a", "b"], prefix: "px" })
    const url = new URL(sent[0]?.url ?? "")
    assert.strictEqual(url.pathname, "/run")
    assert.deepStrictEqual(
      [...url.searchParams],
      [
        ["tags", "a,b"],
        ["version", "3"],
        ["userInputs", `{"lang":"en"}`]
      ]
    )
    assert.strictEqual(sent[0]?.headers["content-type"], "audio/mpeg")
    assert.strictEqual(sent[0]?.headers["cf-consn-model-id"], "px:m")
    assert.strictEqual(sent[0]?.body, "abc")
  })

  it("fails with AiInternalError for a stream with a gateway, two streams, or a stream without a content type", async () => {
    const { ai, sent } = scripted(json({}))
    const name = "AiInternalError"
    const audio = { body: stream("abc"), contentType: "audio/mpeg" }
    assert.deepStrictEqual(await failure(ai.run("m", { audio }, { gateway: { id: "g" } })), {
      name,
      message: "AI Gateway does not support ReadableStreams yet."
    })
    assert.deepStrictEqual(await failure(ai.run("m", { audio, other: stream("d") })), {
      name,
      message: "Multiple ReadableStreams are not supported. Found streams in keys: [audio, other]"
    })
    assert.deepStrictEqual(await failure(ai.run("m", { audio: stream("abc") })), {
      name,
      message: "Content-Type is required with ReadableStream inputs"
    })
    assert.lengthOf(sent, 0)
  })

  it("opens a websocket at /run, never through the gateway, and returns the response as it is", async () => {
    const { ai, sent } = scripted(new Response("no", { status: 426 }))
    const response = await ai.run("m", { a: "1 2" }, { websocket: true, gateway: { id: "g" } })
    assert.instanceOf(response, Response)
    assert.strictEqual(response.status, 426)
    const url = new URL(sent[0]?.url ?? "")
    assert.strictEqual(sent[0]?.method, "GET")
    assert.strictEqual(url.pathname, "/run")
    assert.strictEqual(
      url.searchParams.get("body"),
      `{"inputs":{"a":"1 2"},"options":{"websocket":true,"gateway":{"id":"g"}}}`
    )
    assert.strictEqual(sent[0]?.headers["upgrade"], "websocket")
    assert.notProperty(sent[0]?.headers, "content-type")
  })
})

describe("Ai.run: result", () => {
  it("parses exactly application/json and returns every other body as a stream", async () => {
    const typed = (type: string) => new Response("{}", { headers: { "content-type": type } })
    const types = ["application/json; charset=utf-8", "Application/JSON", "text/event-stream"]
    const { ai } = scripted(json({ a: 1 }), ...types.map(typed), new Response(new Uint8Array([123, 125])))
    assert.deepStrictEqual(await ai.run("m", {}), { a: 1 })
    for (const _ of [...types, "none"]) assert.strictEqual(await textOf(await ai.run("m", {})), "{}")
  })

  it("returns the raw response, whatever its status, when asked to", async () => {
    const { ai } = scripted(json({ a: 1 }), new Response("boom", { status: 500 }), new Response(null, { status: 204 }))
    for (const [status, body] of [
      [200, `{"a":1}`],
      [500, "boom"],
      [204, ""]
    ]) {
      const response = await ai.run("m", {}, { returnRawResponse: true })
      assert.instanceOf(response, Response)
      assert.strictEqual(response.status, status)
      assert.strictEqual(await response.text(), body)
    }
  })

  it("hands out immutable headers and byte streams, as fetch does", async () => {
    const { ai } = scripted(json({}), new Response("abc"))
    const response = await ai.run("m", {}, { returnRawResponse: true })
    assert.instanceOf(response, Response)
    assert.throws(() => response.headers.set("a", "b"), TypeError)
    const body = await ai.run("m", {})
    assert.instanceOf(body, ReadableStream)
    const chunk = await body.getReader({ mode: "byob" }).read(new Uint8Array(2))
    assert.deepStrictEqual(chunk.value, new Uint8Array([97, 98]))
  })

  it("has an empty stream, not null, for an empty body", async () => {
    const { ai } = scripted(new Response(null))
    assert.strictEqual(await textOf(await ai.run("m", {})), "")
  })

  it("passes bytes on only as they are read, and a cancellation back to the service", async () => {
    let pulled = 0
    const cancelled = deferred<unknown>()
    const source = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => {
          pulled += 1
          controller.enqueue(new Uint8Array([pulled]))
        },
        cancel: (reason) => cancelled.resolve(reason)
      },
      { highWaterMark: 0 }
    )
    const { ai } = scripted(new Response(source))
    const body = await ai.run("m", {})
    assert.instanceOf(body, ReadableStream)
    assert.strictEqual(pulled, 0)
    const reader = body.getReader()
    await reader.read()
    assert.strictEqual(pulled, 1)
    await reader.cancel("enough")
    assert.strictEqual(await cancelled.promise, "enough")
  })

  it("leaves the service its own chunks", async () => {
    const chunk = new Uint8Array([97])
    const source = new ReadableStream<Uint8Array>({
      start: (controller) => {
        controller.enqueue(chunk)
        controller.enqueue(new Uint8Array(0))
        controller.enqueue(chunk)
        controller.close()
      }
    })
    const { ai } = scripted(new Response(source))
    assert.strictEqual(await textOf(await ai.run("m", {})), "aa")
    assert.deepStrictEqual(chunk, new Uint8Array([97]))
  })

  it("breaks the stream where the service breaks it", async () => {
    const source = new ReadableStream<Uint8Array>(
      { pull: (controller) => controller.error(new Error("cut")) },
      { highWaterMark: 0 }
    )
    const { ai } = scripted(new Response(source))
    const error = await rejection(textOf(await ai.run("m", {})))
    assert.strictEqual(String(error), "Error: cut")
  })
})

describe("Ai.run: errors", () => {
  const cases: ReadonlyArray<readonly [what: string, reply: Response, name: string, message: string]> = [
    [
      "code and description, not the message, and the name from the body",
      json(
        { internalCode: 7003, name: "AiGatewayError", description: "User Input Error", message: "Model not found: X" },
        { status: 404 }
      ),
      "AiGatewayError",
      "7003: User Input Error"
    ],
    [
      "the first of errors[]",
      json({ errors: [{ code: 10000, message: "Authentication error" }, { code: 2 }] }, { status: 401 }),
      "InferenceUpstreamError",
      "10000: Authentication error"
    ],
    [
      "the text of a body with the singular error array",
      json({ success: false, error: [{ code: 2001, message: "x" }] }, { status: 400 }),
      "InferenceUpstreamError",
      `{"success":false,"error":[{"code":2001,"message":"x"}]}`
    ],
    ["the text for empty errors[]", json({ errors: [] }, { status: 400 }), "InferenceUpstreamError", `{"errors":[]}`],
    ["the text for a null body", json(null, { status: 400 }), "InferenceUpstreamError", "null"],
    ["the text for HTML", new Response("<html>", { status: 502 }), "InferenceUpstreamError", "<html>"],
    ["an empty text", new Response(null, { status: 502 }), "InferenceUpstreamError", ""],
    ["an empty text for 204", new Response(null, { status: 204 }), "InferenceUpstreamError", ""]
  ]
  for (const [what, reply, name, message] of cases) {
    it(`throws InferenceUpstreamError with ${what}`, async () => {
      assert.deepStrictEqual(await failure(scripted(reply).ai.run("m", {})), { name, message })
    })
  }

  it("keeps the internal code until the next one", async () => {
    const { ai } = scripted(json({ internalCode: 2001, description: "d" }, { status: 400 }), json({}))
    assert.strictEqual((await failure(ai.run("m", {}))).name, "InferenceUpstreamError")
    await ai.run("m", {})
    assert.strictEqual(ai.lastRequestInternalStatusCode, 2001)
  })

  it("lets the fetcher's own failure through", async () => {
    const ai = makeBinding(() => {
      throw new TypeError("network")
    })
    assert.strictEqual(String(await rejection(ai.run("m", {}))), "TypeError: network")
  })
})

describe("Ai: shared state", () => {
  it("is null at first, and set from each response, absent headers included", async () => {
    const state = (ai: Ai) => [ai.aiGatewayLogId, ai.lastRequestId, ai.lastRequestHttpStatusCode]
    const headers = { "cf-ai-req-id": "r1", "cf-aig-log-id": "l1" }
    const { ai } = scripted(json({}, { status: 201, headers }), json({}))
    assert.deepStrictEqual(state(ai), [null, null, null])
    assert.isNull(ai.lastRequestInternalStatusCode)
    await ai.run("m", {})
    assert.deepStrictEqual(state(ai), ["l1", "r1", 201])
    const second = ai.run("m", {})
    assert.deepStrictEqual(state(ai), ["l1", "", 201])
    await second
    assert.deepStrictEqual(state(ai), [null, null, 200])
  })

  it("late read: after two overlapping runs both see the id of the later response", async () => {
    const first = deferred<Response>()
    const second = deferred<Response>()
    const { ai } = scripted(first.promise, second.promise)
    const a = ai.run("m", {})
    const b = ai.run("m", {})
    first.resolve(withLogId("A"))
    assert.deepStrictEqual(await a, { from: "A" })
    assert.strictEqual(ai.aiGatewayLogId, "A")
    second.resolve(withLogId("B"))
    assert.deepStrictEqual(await b, { from: "B" })
    assert.strictEqual(ai.aiGatewayLogId, "B")
  })

  it("slow body: even a read right after the own run sees another's id", async () => {
    const reading = deferred<void>()
    const rest = deferred<void>()
    const slow = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          reading.resolve()
          await rest.promise
          controller.enqueue(new TextEncoder().encode(`{"from":"A"}`))
          controller.close()
        }
      },
      { highWaterMark: 0 }
    )
    const headers = { "content-type": "application/json", "cf-aig-log-id": "A" }
    const { ai } = scripted(new Response(slow, { headers }), withLogId("B"))
    const a = ai.run("m", {}).then((body) => ({ body, logId: ai.aiGatewayLogId }))
    await reading.promise
    assert.strictEqual(ai.aiGatewayLogId, "A")
    await ai.run("m", {})
    rest.resolve()
    assert.deepStrictEqual(await a, { body: { from: "A" }, logId: "B" })
  })

  for (const [what, first, second, raw] of [
    ["loses returnRawResponse to an overlapping call without it", { returnRawResponse: true }, {}, false],
    ["gets a Response for an overlapping call's returnRawResponse", {}, { returnRawResponse: true }, true],
    [
      "keeps returnRawResponse when every call passes it",
      { returnRawResponse: true },
      { returnRawResponse: true },
      true
    ]
  ] satisfies ReadonlyArray<readonly [string, AiOptions, AiOptions, boolean]>) {
    it(`options: a run ${what}`, async () => {
      const reply = deferred<Response>()
      const { ai } = scripted(reply.promise, json({}))
      const a = ai.run("m", {}, first)
      const b = ai.run("m", {}, second)
      reply.resolve(withLogId("A"))
      const result = await a
      assert.strictEqual(result instanceof Response, raw)
      if (!raw) assert.deepStrictEqual(result, { from: "A" })
      await b
    })
  }

  it("options: with returnRawResponse lost, a run throws on an error status", async () => {
    const reply = deferred<Response>()
    const { ai } = scripted(reply.promise, json({}))
    const a = ai.run("m", {}, { returnRawResponse: true })
    await ai.run("m", {})
    reply.resolve(withLogId("A", { errors: [{ code: 5, message: "five" }] }, 500))
    assert.deepStrictEqual(await failure(a), { name: "InferenceUpstreamError", message: "5: five" })
  })

  it("options: a change that the caller makes to the object counts too", async () => {
    const { ai } = scripted(json({ a: 1 }))
    const options = { returnRawResponse: true }
    const run = ai.run("m", {}, options)
    options.returnRawResponse = false
    assert.deepStrictEqual(await run, { a: 1 })
  })

  it("stale id: no response leaves the previous id, a failing one replaces it before the error", async () => {
    const controller = new AbortController()
    controller.abort()
    const { ai } = scripted(
      withLogId("first"),
      new TypeError("network"),
      withLogId("failed", { errors: [{ code: 1, message: "m" }] }, 400)
    )
    await ai.run("m", {})
    await rejection(ai.run("m", {}))
    assert.strictEqual(ai.aiGatewayLogId, "first")
    await rejection(ai.run("m", {}, { signal: controller.signal }))
    assert.strictEqual(ai.aiGatewayLogId, "first")
    await failure(ai.run("m", {}))
    assert.strictEqual(ai.aiGatewayLogId, "failed")
  })

  it("reads prefix, extraHeaders and gateway before it returns, so overlapping calls keep their own", async () => {
    const { ai, sent } = scripted(json({}), json({}))
    const one = ai.run("m", {}, { prefix: "a", extraHeaders: { "x-a": "1" }, gateway: { id: "g1" } })
    const two = ai.run("m", {}, { prefix: "b", extraHeaders: { "x-a": "2" }, gateway: { id: "g2" } })
    await Promise.all([one, two])
    assert.deepStrictEqual(
      sent.map(({ body, headers }) => [headers["cf-consn-model-id"], headers["x-a"], body]),
      [
        ["a:m", "1", `{"inputs":{},"options":{"gateway":{"id":"g1"}}}`],
        ["b:m", "2", `{"inputs":{},"options":{"gateway":{"id":"g2"}}}`]
      ]
    )
  })

  it("is not touched by gateway().run and fetch", async () => {
    const { ai } = scripted(withLogId("A"), withLogId("B"), withLogId("C"))
    await ai.run("m", {})
    const b = await ai.gateway("g").run(leg())
    const c = await ai.fetch("https://workers-binding.ai/ai-gateway/run?version=3", { method: "POST", body: "x" })
    assert.deepStrictEqual([b.headers.get("cf-aig-log-id"), c.headers.get("cf-aig-log-id")], ["B", "C"])
    assert.strictEqual(ai.aiGatewayLogId, "A")
  })
})

describe("abort", () => {
  const callers: ReadonlyArray<readonly [string, (ai: Ai, signal: AbortSignal) => Promise<unknown>]> = [
    ["run", (ai, signal) => ai.run("m", {}, { signal })],
    ["gateway().run", (ai, signal) => ai.gateway("g").run(leg(), { signal })],
    ["fetch", (ai, signal) => ai.fetch("https://workers-binding.ai/x", { signal })]
  ]
  const isAbortError = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError"

  for (const [name, call] of callers) {
    it(`before ${name} rejects with AbortError and sends nothing`, async () => {
      const controller = new AbortController()
      controller.abort()
      const { ai, sent } = scripted(json({}))
      assert.isTrue(isAbortError(await rejection(call(ai, controller.signal))))
      assert.lengthOf(sent, 0)
    })

    it(`during ${name} rejects at once, aborts the request and cancels a late answer`, async () => {
      const controller = new AbortController()
      const asked = deferred<AbortSignal>()
      const reply = deferred<Response>()
      const cancelled = deferred<unknown>()
      const fetcher: Fetcher = (request) => {
        asked.resolve(request.signal)
        return reply.promise
      }
      const run = call(makeBinding(fetcher), controller.signal)
      const signal = await asked.promise
      controller.abort()
      assert.isTrue(isAbortError(await rejection(run)))
      assert.isTrue(signal.aborted)
      reply.resolve(new Response(new ReadableStream({ cancel: (reason) => cancelled.resolve(reason) })))
      assert.isTrue(isAbortError(await cancelled.promise))
    })
  }

  it("while the body arrives breaks the stream and cancels it at the service", async () => {
    const controller = new AbortController()
    const cancelled = deferred<unknown>()
    const source = new ReadableStream<Uint8Array>({
      start: (source) => source.enqueue(new Uint8Array([1])),
      cancel: (reason) => cancelled.resolve(reason)
    })
    const { ai } = scripted(new Response(source))
    const body = await ai.run("m", {}, { signal: controller.signal })
    assert.instanceOf(body, ReadableStream)
    const reader = body.getReader()
    await reader.read()
    const pending = reader.read()
    controller.abort()
    assert.isTrue(isAbortError(await rejection(pending)))
    assert.isTrue(isAbortError(await cancelled.promise))
  })

  it("between headers and body breaks the stream too", async () => {
    const controller = new AbortController()
    const reply = Promise.resolve(new Response("abc"))
    const ai = makeBinding(() => {
      // One turn later than the double sees the reply, one earlier than it makes the body.
      reply.then(() => {}).then(() => controller.abort())
      return reply
    })
    assert.isTrue(isAbortError(await rejection(textOf(await ai.run("m", {}, { signal: controller.signal })))))
  })

  it("is no longer listened for once a body has ended, broken or was cancelled", async () => {
    const { signal } = new AbortController()
    const broken = new ReadableStream<Uint8Array>({ start: (controller) => controller.error(new Error("cut")) })
    const { ai } = scripted(new Response("a"), new Response("b"), new Response(broken))
    const listeners = () => getEventListeners(signal, "abort").length
    const cancel = async (body: unknown) => body instanceof ReadableStream && body.cancel()
    for (const finish of [textOf, cancel, (body: unknown) => rejection(textOf(body))]) {
      const body = await ai.run("m", {}, { signal })
      const before = listeners()
      await finish(body)
      assert.strictEqual(listeners(), before - 1)
    }
  })

  it("rejects with the signal's own reason", async () => {
    const { ai } = scripted()
    const controller = new AbortController()
    controller.abort(new TypeError("why"))
    assert.strictEqual(String(await rejection(ai.run("m", {}, { signal: controller.signal }))), "TypeError: why")
  })
})

describe("methods taken off their object", () => {
  it("fail, because of the private fields", async () => {
    const { ai, sent } = scripted(json({}))
    const { fetch, gateway, models, run } = ai
    const { getLog, run: runLegs } = ai.gateway("g")
    assert.instanceOf(await rejection(run("m", {})), TypeError)
    assert.instanceOf(await rejection(models()), TypeError)
    assert.instanceOf(await rejection(fetch("https://workers-binding.ai/x")), TypeError)
    assert.instanceOf(await rejection(getLog("l")), TypeError)
    assert.throws(() => gateway("g"), TypeError)
    assert.throws(() => runLegs([]), TypeError)
    assert.lengthOf(sent, 0)
  })
})

describe("Ai.fetch", () => {
  it("passes everything on as it is", async () => {
    const { ai, sent } = scripted(json({}), json({}))
    await ai.fetch("https://workers-binding.ai/ai-gateway/run?version=3", {
      method: "POST",
      headers: { a: "b" },
      body: "x"
    })
    await ai.fetch(new Request("https://other.example/q", { method: "PUT", body: "y" }))
    assert.deepStrictEqual(
      sent.map(({ body, headers, method, url }) => [method, url, headers["a"], body]),
      [
        ["POST", "https://workers-binding.ai/ai-gateway/run?version=3", "b", "x"],
        ["PUT", "https://other.example/q", undefined, "y"]
      ]
    )
  })
})

describe("Ai.models", () => {
  it("searches and unwraps the result", async () => {
    const { ai, sent } = scripted(json({ result: [{ id: "1", name: "n" }] }), json({ result: [] }))
    assert.deepStrictEqual(await ai.models({ search: "a b", page: 2, hide_experimental: true }), [
      { id: "1", name: "n" }
    ])
    assert.deepStrictEqual(await ai.models(), [])
    assert.deepStrictEqual(
      sent.map(({ method, path }) => `${method} ${path}`),
      ["GET /ai-api/models/search?search=a+b&page=2&hide_experimental=true", "GET /ai-api/models/search"]
    )
  })

  it("throws AiInternalError with the first message, and leaks whatever goes wrong with other bodies", async () => {
    const { ai } = scripted(
      json({ errors: [{ code: 7, message: "seven" }] }, { status: 400 }),
      json({ errors: [] }, { status: 500 }),
      new Response("<html>", { status: 502 }),
      json({ result: [] }, { status: 201 })
    )
    assert.deepStrictEqual(await failure(ai.models()), { name: "AiInternalError", message: "seven" })
    assert.deepStrictEqual(await failure(ai.models()), { name: "AiInternalError", message: "Internal Error" })
    assert.instanceOf(await rejection(ai.models()), SyntaxError)
    assert.instanceOf(await rejection(ai.models()), TypeError)
  })
})
