import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as GatewayError from "effect-ai-gateway/GatewayError"
import { GatewayResponse } from "effect-ai-gateway/GatewayResponse"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as LocalGateway from "effect-ai-gateway/local"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import { textBody, webBody } from "../src/internal/transport/body.ts"
import { assertSilent, traced } from "./support/leaks.ts"
import { dataOf, eventsOf, readerOf, recorder, say, settle, text } from "./support/streamResponses.ts"

const openai = Provider.openai.chat("m")
const groq = Provider.groq.chat("m")
const anthropic = Provider.anthropic.messages("claude")

/** A router over a local gateway in this process; faults by provider. */
const over = (
  faults: Readonly<Record<string, ReadonlyArray<Upstream.Fault>>> = {},
  options: LocalGateway.Options = {}
) =>
  Router.layerWith({ execution: "client" }).pipe(
    Layer.provideMerge(
      LocalGateway.layer({
        upstreams: Object.fromEntries(
          Object.entries(faults).map(([slug, list]) => [slug, Upstream.script(list, Upstream.echo())])
        ),
        ...options
      })
    )
  )

const local = LocalGateway.Current

describe("a route as a response", () => {
  it.effect("begins with the first delta of the target that answers", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const response = yield* StreamResponse.fromRoute(Route.fallback(openai, groq, anthropic), "Hi", { onEnd })
      assert.strictEqual(response.status, 200)
      assert.deepStrictEqual(summaries, [])
      const body = yield* text(response)
      const data = dataOf(body)
      assert.deepInclude(data, say("anthropic/claude:"))
      assert.deepStrictEqual(data.slice(-1), ["[DONE]"])
      const [summary] = summaries
      assert.strictEqual(summaries.length, 1)
      assert.deepInclude(summary, {
        outcome: "complete",
        provider: "anthropic",
        text: "anthropic/claude: Hi",
        restarts: 0
      })
      assert.deepStrictEqual(
        summary?.attempts.map(({ outcome, target }) => `${target} ${outcome}`),
        ["openai/m failure", "groq/m failure", "anthropic/claude success"]
      )
      assert.strictEqual(summary?.usage?.outputTokens, 2)
      assert.isString(summary?.eventId)
      assert.isString(summary?.logId)
      assert.strictEqual(response.headers.get("cf-aig-log-id"), summary?.logId ?? null)
    }).pipe(Effect.provide(over({ openai: [{ status: 500 }], groq: [{ stream: { endAfter: { deltas: 0 } } }] })))
  )

  it.effect("in the format of OpenAI, with the facts of the route", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const response = yield* StreamResponse.fromRoute(anthropic, "Hi", { format: "openai", onEnd })
      const data = dataOf(yield* text(response))
      assert.deepInclude(data[0], { object: "chat.completion.chunk", model: "claude" })
      assert.deepStrictEqual(data.at(-1), "[DONE]")
      assert.deepInclude(data.at(-2), {
        choices: [],
        usage: {
          prompt_tokens: 1,
          completion_tokens: 2,
          total_tokens: 3,
          prompt_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 }
        }
      })
      assert.strictEqual(summaries[0]?.outcome, "complete")
    }).pipe(Effect.provide(over()))
  )

  it.effect("a failure after the first delta is reported in the stream", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const body = yield* Effect.flatMap(StreamResponse.fromRoute(openai, "a b c d", { onEnd }), text)
      const events = eventsOf(body)
      const last = events.at(-1)
      const { error } = summaries[0] ?? {}
      assert.strictEqual(last?.event, "error")
      assert.notInclude(body, "[DONE]")
      assert.strictEqual(error?.reason._tag, "StreamInterrupted")
      if (error?.reason._tag !== "StreamInterrupted") return
      assert.deepStrictEqual(JSON.parse(last?.data ?? ""), {
        reason: "StreamInterrupted",
        message: error.reason.message,
        events: error.reason.events
      })
      assert.strictEqual(events.length, error.reason.events + 1)
      assert.deepInclude(summaries[0], { outcome: "failed", deltas: error.reason.events })
      assert.strictEqual(summaries[0]?.text, error.reason.partial)
      assert.deepStrictEqual(
        summaries[0]?.attempts.map(({ outcome }) => outcome),
        ["failure"]
      )
    }).pipe(Effect.provide(over({ openai: [{ stream: { resetAfter: { deltas: 2 } } }] })))
  )

  it.effect("a client that leaves stops the request, and the summary says so", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const reader = readerOf(yield* StreamResponse.fromRoute(openai, "a b c d", { onEnd }))
      yield* Effect.promise(() => reader.read())
      const gateway = yield* local
      assert.strictEqual(yield* gateway.openBodies, 1)
      yield* Effect.promise(() => reader.cancel())
      assert.strictEqual(yield* gateway.openBodies, 0)
      assert.strictEqual(summaries.length, 1)
      assert.deepInclude(summaries[0], { outcome: "left", provider: "openai", text: "openai/m:" })
      assert.deepStrictEqual(
        summaries[0]?.attempts.map(({ outcome }) => outcome),
        ["interrupted"]
      )
    }).pipe(Effect.provide(over({ openai: [{ stream: { stallAfter: { deltas: 2 } } }] })))
  )

  it.effect("200 responses, half of them left in the middle: nothing stays open, each has ended once", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const one = (i: number) =>
        Effect.gen(function* () {
          const response = yield* StreamResponse.fromRoute(openai, "a b c d e f", { onEnd })
          if (i % 2 === 0) return yield* text(response)
          const reader = readerOf(response)
          for (let n = 0; n < i % 7; n++) yield* Effect.promise(() => reader.read())
          yield* Effect.promise(() => reader.cancel())
        })
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, i) => i),
        one,
        { concurrency: 20, discard: true }
      )
      assert.strictEqual(yield* (yield* local).openBodies, 0)
      assert.strictEqual(summaries.length, 200)
      assert.strictEqual(new Set(summaries.map(({ eventId }) => eventId)).size, 200)
      assert.strictEqual(summaries.filter(({ outcome }) => outcome === "left").length, 100)
    }).pipe(Effect.provide(over({}, { upstreams: { openai: Upstream.echo({ stream: { words: 1 } }) } })))
  )
})

describe("a route that does not begin", () => {
  const failed = (faults: ReadonlyArray<Upstream.Fault>, options: StreamResponse.RouteOptions = {}) => {
    const { onEnd, summaries } = recorder()
    return Effect.gen(function* () {
      const response = yield* StreamResponse.fromRoute(openai, "my prompt", { onEnd, ...options })
      const body = yield* text(response)
      assert.strictEqual(summaries.length, 1)
      const [summary] = summaries
      if (summary?.error === undefined) throw new Error("no failure was told")
      assert.strictEqual(summary.outcome, "failed")
      return { response, body, summary, error: summary.error }
    }).pipe(Effect.provide(over({ openai: faults })))
  }

  const cases: ReadonlyArray<readonly [fault: Upstream.Fault, reason: GatewayError.ReasonTag, status: number]> = [
    [{ status: 429, retryAfter: 7 }, "RateLimited", 429],
    [{ status: 401 }, "Unauthorized", 502],
    [{ status: 503 }, "ProviderUnavailable", 503],
    [{ reset: true }, "ProviderUnavailable", 503],
    [{ html: true, status: 200 }, "InvalidResponse", 502],
    [{ stream: { endAfter: { deltas: 0 } } }, "InvalidResponse", 502]
  ]

  for (const [fault, reason, status] of cases) {
    it.effect(`${JSON.stringify(fault)} is ${status}`, () =>
      Effect.gen(function* () {
        const { body, error, response, summary } = yield* failed([fault])
        assert.strictEqual(error.reason._tag, reason)
        assert.strictEqual(response.status, status)
        assert.strictEqual(response.status, StreamResponse.failureStatus[reason])
        assert.match(response.headers.get("content-type") ?? "", /^application\/json/)
        assert.strictEqual(response.headers.get("cache-control"), "no-store")
        assert.strictEqual(response.headers.get("retry-after"), status === 429 ? "7" : null)
        const retryable = GatewayError.decide(error.reason).again
        assert.deepStrictEqual(JSON.parse(body), { error: { reason, retryable } })
        assert.deepStrictEqual(
          summary.attempts.map(({ outcome, target }) => [target, outcome]),
          [["openai/m", "failure"]]
        )
        assert.deepInclude(summary, { target: "openai/m", provider: "openai", model: "m", deltas: 0, text: "" })
        assert.isString(summary.eventId)
      })
    )
  }

  it.effect("in the format of OpenAI, as its clients expect an error", () =>
    Effect.gen(function* () {
      const { body, response } = yield* failed([{ status: 429, retryAfter: 7 }], {
        format: "openai",
        headers: { "x-own": "1", "content-type": "text/plain" }
      })
      assert.strictEqual(response.status, 429)
      assert.strictEqual(response.headers.get("retry-after"), "7")
      assert.strictEqual(response.headers.get("x-own"), "1")
      assert.match(response.headers.get("content-type") ?? "", /^application\/json/)
      assert.deepStrictEqual(JSON.parse(body), {
        error: {
          message: "RateLimited",
          type: "rate_limit_error",
          param: null,
          code: "rate_limit_exceeded",
          reason: "RateLimited",
          retryable: true
        }
      })
    })
  )

  it.effect("has the status and the code by which OpenAI's clients know a prompt that is too long", () =>
    Effect.gen(function* () {
      const tooLong = { error: { message: "x", type: "invalid_request_error", code: "context_length_exceeded" } }
      const { body, error, response } = yield* failed([{ status: 400, body: tooLong }], { format: "openai" })
      assert.strictEqual(error.reason._tag, "ContextLengthExceeded")
      assert.strictEqual(response.status, 400)
      assert.deepInclude(JSON.parse(body).error, { type: "invalid_request_error", code: "context_length_exceeded" })
    })
  )

  it.effect("a route that cannot stream is refused", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const whole = Route.make({
        provider: "openai",
        endpoint: "chat/completions",
        query: (prompt: string) => ({ prompt }),
        success: Schema.Unknown
      })
      const response = yield* StreamResponse.fromRoute(whole, "Hi", { onEnd })
      assert.strictEqual(response.status, 400)
      assert.deepInclude(summaries[0], { outcome: "failed", attempts: [] })
    }).pipe(Effect.provide(over()))
  )

  it.effect("a signal that is aborted meanwhile stops the request", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const controller = new AbortController()
      const { signal } = controller
      const fiber = yield* Effect.forkChild(StreamResponse.fromRoute(openai, "Hi", { onEnd, signal }))
      yield* settle
      controller.abort()
      assert.strictEqual((yield* Fiber.join(fiber)).status, 499)
      assert.deepStrictEqual(
        summaries.map(({ attempts, outcome }) => [outcome, attempts.map((attempt) => attempt.outcome)]),
        [["left", ["interrupted"]]]
      )
      assert.deepInclude(summaries[0], { target: "openai/m", deltas: 0 })
      const [call] = yield* (yield* local).calls
      assert.strictEqual(call?.outcome, "interrupted")
    }).pipe(Effect.provide(over({ openai: [{ stall: true }] })))
  )

  it.effect("so does the interruption of the fiber that waits for the response", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const fiber = yield* Effect.forkChild(StreamResponse.fromRoute(openai, "Hi", { onEnd }))
      yield* settle
      yield* Fiber.interrupt(fiber)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.deepStrictEqual([summaries.length, summaries[0]?.outcome], [1, "left"])
    }).pipe(Effect.provide(over({ openai: [{ stall: true }] })))
  )

  it.effect("its attempts are in the caller's trail too", () =>
    Effect.gen(function* () {
      const { attempts, value } = yield* LogTrail.collect(StreamResponse.fromRoute(openai, "Hi"))
      assert.strictEqual(value.status, 503)
      assert.deepStrictEqual(
        attempts.map(({ outcome }) => outcome),
        ["failure"]
      )
    }).pipe(Effect.provide(over({ openai: [{ status: 503 }] })))
  )

  it.effect("no secret and no prompt is in what it leaves behind", () =>
    Effect.gen(function* () {
      const key = "sk-live-0123456789"
      const prompt = "the prompt that nobody may see"
      const route = Provider.openai.chat("m", { apiKey: Redacted.make(key) })
      const traces = yield* traced(
        Effect.gen(function* () {
          const said: Array<string> = []
          for (let i = 0; i < 3; i++) {
            const response = yield* StreamResponse.fromRoute(route, prompt)
            said.push(JSON.stringify([...response.headers]), (yield* text(response)).split("event: error")[1] ?? "")
          }
          return said.join()
        })
      )
      assertSilent(traces, [key, prompt])
      const said = Exit.isSuccess(traces.exit) ? traces.exit.value : ""
      assert.include(said, "StreamInterrupted")
      assert.notInclude(said, key)
      assert.notInclude(said, prompt)
    }).pipe(
      Effect.provide(
        over({
          openai: [
            { status: 401, body: { error: { message: "wrong key sk-live-0123456789" } } },
            { stream: { resetAfter: { deltas: 3 } } },
            { stream: { errorAfter: { deltas: 2, body: { error: { message: "sk-live-0123456789" } } } } }
          ]
        })
      )
    )
  )
})

describe("the time limits of a route", () => {
  it.effect("hold inside of a response", () =>
    Effect.gen(function* () {
      const { onEnd, summaries } = recorder()
      const route = openai.pipe(Route.idleTimeout("3 seconds"))
      const reader = readerOf(yield* StreamResponse.fromRoute(route, "a b c", { onEnd, heartbeat: "2 seconds" }))
      const chunks: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Effect.promise(async () => {
          for (let next = await reader.read(); !next.done; next = await reader.read()) {
            chunks.push(new TextDecoder().decode(next.value))
          }
        })
      )
      for (let i = 0; i < 40 && fiber.pollUnsafe() === undefined; i++) {
        yield* settle
        yield* TestClock.adjust("100 millis")
      }
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        chunks.slice(-2).map((chunk) => chunk.split("\n")[0]),
        [": keep-alive", "event: error"]
      )
      const { error } = summaries[0] ?? {}
      assert.isTrue(error?.reason._tag === "StreamInterrupted" && error.reason.failure === "Timeout")
    }).pipe(Effect.provide(over({ openai: [{ stream: { stallAfter: { deltas: 2 } } }] })))
  )
})

describe("bytes as they are", () => {
  const headers = {
    "content-type": "text/event-stream",
    "cf-aig-log-id": "log-1",
    "cf-aig-cache-status": "MISS",
    "x-ratelimit-remaining-tokens": "12",
    "x-request-id": "r-1",
    "openai-processing-ms": "12",
    "cache-control": "max-age=60"
  }
  const withheld = {
    connection: "keep-alive, x-hop",
    "x-hop": "1",
    "keep-alive": "timeout=5",
    "transfer-encoding": "chunked",
    te: "trailers",
    trailer: "x-t",
    upgrade: "h2c",
    "proxy-authenticate": "Basic",
    "proxy-authorization": "Basic a",
    "www-authenticate": "Bearer",
    "set-cookie": "a=1",
    "set-cookie2": "a=1",
    cookie: "a=1",
    authorization: "Bearer k",
    "cf-aig-authorization": "Bearer k",
    "x-api-key": "k",
    "api-key": "k",
    "x-goog-api-key": "k",
    "x-amz-security-token": "k",
    "x-auth-token": "k",
    "x-client-secret": "k",
    "openai-organization": "acme",
    "anthropic-organization-id": "acme",
    "access-control-allow-origin": "*",
    "strict-transport-security": "max-age=1",
    "content-security-policy": "default-src 'none'",
    "clear-site-data": "*",
    "alt-svc": "h3",
    "content-encoding": "gzip",
    "content-length": "3"
  }

  it("hands the body through, and the headers that concern the client", async () => {
    const web = new Response("data: a\n\n", { status: 201 })
    const response = new GatewayResponse(
      { status: 201, headers: { ...headers, ...withheld }, body: webBody(web, Effect.void), resent: false },
      { method: "AiService.run" }
    )
    const passed = StreamResponse.fromBytes(response, { headers: { "access-control-allow-origin": "https://me.test" } })
    // The very same stream: nothing stands between.
    assert.strictEqual(passed.body, web.body)
    assert.strictEqual(passed.status, 201)
    assert.deepStrictEqual(Object.fromEntries(passed.headers), {
      ...headers,
      "cache-control": "no-store",
      "x-accel-buffering": "no",
      "access-control-allow-origin": "https://me.test"
    })
    assert.strictEqual(await passed.text(), "data: a\n\n")
  })

  it("leaves what is no stream as it is, with its length where that is true", () => {
    const respond = (headers: Record<string, string>) =>
      StreamResponse.fromBytes(
        new GatewayResponse({ status: 200, headers, body: textBody("abc"), resent: false }, { method: "AiService.run" })
      )
    const json = { "content-type": "application/json", "content-length": "3" }
    assert.deepStrictEqual(Object.fromEntries(respond(json).headers), json)
    assert.deepStrictEqual(Object.fromEntries(respond({ ...json, "content-encoding": "br" }).headers), {
      "content-type": "application/json"
    })
  })

  it("refuses a malformed header of its own", () => {
    const response = new GatewayResponse(
      { status: 200, headers: {}, body: textBody("abc"), resent: false },
      { method: "AiService.run" }
    )
    assert.throws(() => StreamResponse.fromBytes(response, { headers: { "x-a": "a\nb" } }), "invalid headers.x-a")
  })
})
