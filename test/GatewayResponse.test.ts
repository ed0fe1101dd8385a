import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { type GatewayError, isGatewayError } from "../src/GatewayError.ts"
import {
  bytes as bytesOf,
  events,
  GatewayResponse,
  maxExcerpt,
  metaFromHeaders,
  type ResponseOptions,
  unwrap
} from "../src/GatewayResponse.ts"
import { reveal, scrub, secretsOf } from "../src/internal/data/secrets.ts"
import { type Body, textBody, webBody } from "../src/internal/transport/body.ts"

const secret = "sk-live-0123456789"

const respond = (
  body: Body | string,
  headers: Record<string, string> = {},
  options: Partial<ResponseOptions> = {}
): GatewayResponse =>
  new GatewayResponse(
    { status: 200, headers, body: typeof body === "string" ? textBody(body) : body, resent: false },
    { method: "GatewayService.run", ...options }
  )

/** A web body that counts what is done to it. */
const web = (init: ConstructorParameters<typeof Response>[0], responseInit?: ResponseInit) => {
  const seen = { aborted: 0 }
  const body = webBody(
    new Response(init, responseInit),
    Effect.sync(() => {
      seen.aborted++
    })
  )
  return { body, seen }
}

/** A stream of chunks that counts pulls and cancellations; `"stall"` never comes, `"error"` breaks. */
const source = (...chunks: ReadonlyArray<string | Uint8Array | "stall" | "error">) => {
  const seen = { pulled: 0, cancelled: 0 }
  const stream = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        const chunk = chunks[seen.pulled++]
        if (chunk === undefined) return controller.close()
        if (chunk === "stall") return new Promise(() => {})
        if (chunk === "error") return controller.error(new TypeError(`terminated ${secret}`))
        return controller.enqueue(typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk)
      },
      cancel: () => {
        seen.cancelled++
      }
    },
    { highWaterMark: 0 }
  )
  return { stream, seen }
}

describe("meta", () => {
  it("is empty without headers", () => {
    assert.deepStrictEqual(metaFromHeaders({}), {})
    assert.deepStrictEqual(metaFromHeaders({ "content-type": "text/plain", "x-log-id": "a" }), {})
  })

  it("reads every header", () => {
    const headers = {
      "cf-aig-log-id": "01JADXYZ",
      "cf-aig-event-id": "e-1",
      "cf-aig-request-id": "r-1",
      "cf-aig-step": "2",
      "cf-aig-cache-status": "HIT",
      "cf-aig-provider": "openai",
      "cf-aig-model": "gpt-4.1-mini",
      "cf-aig-run-id": "ab".repeat(32),
      "cf-aig-dlp": `{"action":"FLAG","findings":[]}`
    }
    assert.deepStrictEqual(metaFromHeaders(headers), {
      logId: "01JADXYZ",
      eventId: "e-1",
      requestId: "r-1",
      step: 2,
      cacheStatus: "HIT",
      provider: "openai",
      model: "gpt-4.1-mini",
      runId: "ab".repeat(32),
      dlp: { action: "FLAG", findings: [] }
    })
    assert.deepStrictEqual(respond("", headers).meta, metaFromHeaders(headers))
  })

  it("absent is not 0, and garbage is absent", () => {
    assert.strictEqual(metaFromHeaders({ "cf-aig-step": "0" }).step, 0)
    for (const step of ["", " ", "x", "-1", "1.5", "1e3", "0x1", "null", "1, 2"]) {
      assert.isFalse("step" in metaFromHeaders({ "cf-aig-step": step }), step)
    }
  })

  it("takes an empty header as absent", () => {
    const names = ["log-id", "event-id", "request-id", "cache-status", "provider", "model", "run-id"]
    assert.deepStrictEqual(metaFromHeaders(Object.fromEntries(names.map((name) => [`cf-aig-${name}`, ""]))), {})
  })

  it("keeps findings that are not JSON as text", () => {
    assert.strictEqual(metaFromHeaders({ "cf-aig-dlp": "BLOCK" }).dlp, "BLOCK")
  })
})

describe("reading", () => {
  for (const type of ["application/json", "application/json; charset=utf-8", "text/plain;charset=UTF-8"]) {
    it.effect(`json, as ${type}`, () =>
      Effect.gen(function* () {
        const { body, seen } = web(`{"a":"é"}`, { headers: { "content-type": type } })
        assert.deepStrictEqual(yield* respond(body, { "content-type": type }).json, { a: "é" })
        assert.strictEqual(seen.aborted, 0)
      })
    )
  }

  it.effect("json that is null", () =>
    Effect.gen(function* () {
      assert.isNull(yield* respond("null").json)
      assert.isNull(yield* respond("null").result)
    })
  )

  it.effect("a second read gives what the first gave, in any form", () =>
    Effect.gen(function* () {
      const text = `{"success":true,"result":[1]}`
      const response = respond(web(text).body)
      assert.strictEqual(yield* response.text, text)
      assert.strictEqual(yield* response.text, text)
      assert.deepStrictEqual(yield* response.json, JSON.parse(text))
      assert.deepStrictEqual(yield* response.result, [1])
    })
  )

  it.effect("reads nothing before it is asked", () =>
    Effect.gen(function* () {
      const { seen, stream } = source("a", "b")
      const response = respond(web(stream).body)
      yield* Effect.yieldNow
      assert.strictEqual(seen.pulled, 0)
      assert.strictEqual(yield* response.text, "ab")
    })
  )

  it.effect("bytes", () =>
    Effect.gen(function* () {
      const bytes = new Uint8Array([0, 255, 10])
      assert.deepStrictEqual(yield* respond(web(bytes).body).bytes, bytes)
      assert.deepStrictEqual(yield* respond("é").bytes, new Uint8Array([0xc3, 0xa9]))
    })
  )

  it.effect("an empty answer is no JSON", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(respond(web(null, { status: 204 }).body).json)
      assert.strictEqual(error.reason._tag, "InvalidResponse")
    })
  )

  it.effect("a connection that breaks is a transport failure, and the request is stopped", () =>
    Effect.gen(function* () {
      for (const read of ["text", "json", "result", "bytes"] as const) {
        const { body, seen } = web(source("abc", "error").stream)
        const reading: Effect.Effect<unknown, GatewayError> = respond(body)[read]
        const error = yield* Effect.flip(reading)
        assert.deepInclude({ ...error.reason }, { _tag: "TransportFailure", kind: "reset" })
        assert.strictEqual(seen.aborted, 1)
        assert.notInclude(inspect(error, { depth: null }), secret)
      }
    })
  )
})

describe("readers of one body", () => {
  it.effect("share one read, also at the same time", () =>
    Effect.gen(function* () {
      const { seen, stream } = source(`{"success":true,`, `"result":[1]}`)
      const response = respond(web(stream).body)
      const all = yield* Effect.all([response.text, response.json, response.result, response.text], {
        concurrency: "unbounded"
      })
      const text = `{"success":true,"result":[1]}`
      assert.deepStrictEqual(all, [text, JSON.parse(text), [1], text])
      assert.strictEqual(seen.pulled, 3)
      const bytes = respond(web("abc").body)
      const [first, second] = yield* Effect.all([bytes.bytes, bytes.bytes], { concurrency: "unbounded" })
      assert.deepStrictEqual([first, second, yield* bytes.bytes], Array(3).fill(new TextEncoder().encode("abc")))
    })
  )

  it.effect("share what goes wrong, which is not tried again", () =>
    Effect.gen(function* () {
      const { seen, stream } = source("abc", "error")
      const response = respond(web(stream).body)
      const errors = yield* Effect.all([Effect.flip(response.text), Effect.flip(response.json)], {
        concurrency: "unbounded"
      })
      for (const error of [...errors, yield* Effect.flip(response.text)]) {
        assert.strictEqual(error.reason._tag, "TransportFailure")
      }
      assert.strictEqual(seen.pulled, 2)
    })
  )

  it.effect("are not left waiting when the one who reads is interrupted", () =>
    Effect.gen(function* () {
      const { body, seen } = web(source("abc", "stall").stream)
      const response = respond(body)
      const reading = yield* Effect.forkChild(response.text, { startImmediately: true })
      const waiting = yield* Effect.forkChild(Effect.flip(response.json), { startImmediately: true })
      yield* Fiber.interrupt(reading)
      const error = yield* Fiber.join(waiting)
      assert.deepInclude({ ...error.reason }, { _tag: "TransportFailure", kind: "reset" })
      assert.strictEqual((yield* Effect.flip(response.text)).reason, error.reason)
      assert.strictEqual(seen.aborted, 1)
    })
  )

  it.effect("whose one who waits is interrupted go on", () =>
    Effect.gen(function* () {
      const response = respond(web(source("abc").stream).body)
      const reading = yield* Effect.forkChild(response.text, { startImmediately: true })
      const waiting = yield* Effect.forkChild(response.text, { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      assert.strictEqual(yield* Fiber.join(reading), "abc")
    })
  )

  it.effect("who want it in another form get an error, whichever form was first", () =>
    Effect.gen(function* () {
      const forms = {
        text: (response: GatewayResponse) => response.text,
        bytes: (response: GatewayResponse) => response.bytes,
        reader: (response: GatewayResponse) => Effect.suspend(() => response.reader().read),
        stream: (response: GatewayResponse) => Stream.runDrain(bytesOf(response)),
        events: (response: GatewayResponse) => Stream.runDrain(events(response)),
        web: (response: GatewayResponse) => Effect.sync(() => response.web()),
        cancel: (response: GatewayResponse) => response.cancel
      } satisfies Record<string, (response: GatewayResponse) => Effect.Effect<unknown, GatewayError>>
      for (const [first, take] of Object.entries(forms)) {
        for (const later of ["text", "bytes", "reader", "stream", "events"] as const) {
          if (first === later && first !== "reader") continue
          for (const body of [web("data: abc\n\n").body, textBody("data: abc\n\n")]) {
            const response = respond(body, { "cf-aig-log-id": "l-1" }, { provider: "openai" })
            const taking: Effect.Effect<unknown, GatewayError> = take(response)
            yield* taking
            const late: Effect.Effect<unknown, GatewayError> = forms[later](response)
            const { logId, reason } = yield* Effect.flip(late)
            assert.isTrue(
              reason._tag === "InvalidRequest" && reason.origin === "client" && reason.field === "body",
              `${first}, then ${later}: ${reason._tag}`
            )
            assert.strictEqual(logId, "l-1")
          }
        }
        const response = respond(web("data: abc\n\n").body)
        const taking: Effect.Effect<unknown, GatewayError> = take(response)
        yield* taking
        const late = yield* Effect.flip(Effect.try({ try: () => response.web(), catch: (error) => error }))
        assert.isTrue(isGatewayError(late) && late.reason._tag === "InvalidRequest", `${first}, then web`)
      }
    })
  )
})

describe("letting go", () => {
  it.effect("cancel releases an unread body", () =>
    Effect.gen(function* () {
      const { seen: streamSeen, stream } = source("a", "stall")
      const { body, seen } = web(stream)
      yield* respond(body).cancel
      assert.deepStrictEqual(streamSeen, { pulled: 0, cancelled: 1 })
      assert.strictEqual(seen.aborted, 1)
    })
  )

  it.effect("cancel after a read, twice, or without a body does no harm", () =>
    Effect.gen(function* () {
      const read = respond(web(`"a"`).body)
      assert.strictEqual(yield* read.json, "a")
      yield* read.cancel
      yield* read.cancel
      assert.strictEqual(yield* read.json, "a")
      yield* respond(web(null).body).cancel
      yield* respond("a").cancel
    })
  )

  it.effect("cancel waits for no stream that never confirms it", () =>
    Effect.gen(function* () {
      const { body, seen } = web(new ReadableStream({ cancel: () => new Promise(() => {}) }))
      const fiber = yield* Effect.forkChild(respond(body).cancel, { startImmediately: true })
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(seen.aborted, 1)
    })
  )

  it.effect("interrupting a read stops the request", () =>
    Effect.gen(function* () {
      for (const read of ["text", "json", "result", "bytes"] as const) {
        const { body, seen } = web(source("abc", "stall").stream)
        const response = respond(body)
        const reading: Effect.Effect<unknown, unknown> = response[read]
        const fiber = yield* Effect.forkChild(reading, { startImmediately: true })
        yield* Effect.yieldNow
        assert.strictEqual(seen.aborted, 0)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(seen.aborted, 1)
      }
    })
  )
})

describe("the head of an error body", () => {
  it.effect("reads no more than it needs, and lets go of the rest", () =>
    Effect.gen(function* () {
      const { seen: streamSeen, stream } = source("abc", "def", "ghi", "stall")
      const { body, seen } = web(stream)
      assert.strictEqual(yield* body.head(5), "abcde")
      assert.deepStrictEqual(streamSeen, { pulled: 2, cancelled: 1 })
      assert.strictEqual(seen.aborted, 1)
    })
  )

  it.effect("puts characters together again that were cut between chunks", () =>
    Effect.gen(function* () {
      const [first = 0, second = 0] = new TextEncoder().encode("é")
      const { stream } = source(new Uint8Array([first]), new Uint8Array([second]))
      assert.strictEqual(yield* web(stream).body.head(10), "é")
    })
  )

  it.effect("is the whole body when that is short, or nothing when there is none", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* web("abc").body.head(65_536), "abc")
      assert.strictEqual(yield* web(null).body.head(10), "")
      assert.strictEqual(yield* textBody("abcdef").head(3), "abc")
    })
  )
})

describe("envelopes", () => {
  it("come off", () => {
    const answer = { response: "Hi" }
    assert.deepStrictEqual(unwrap({ success: true, errors: [], messages: [], result: answer }), answer)
    assert.deepStrictEqual(unwrap({ state: "Completed", result: answer, gatewayMetadata: {} }), answer)
    assert.deepStrictEqual(unwrap({ success: true, result: { state: "Completed", result: answer } }), answer)
    assert.isNull(unwrap({ success: true, result: null }))
  })

  it("leave everything else as it is", () => {
    for (const json of [
      null,
      "a",
      [{ success: true, result: 1 }],
      { result: 1 },
      { success: true },
      { success: false, result: 1 },
      { state: "Queued", result: 1 },
      { state: "Completed" },
      { choices: [], result: 1 }
    ]) {
      assert.strictEqual(unwrap(json), json)
    }
  })

  it.effect("a failure with status 200 is a failure, with its own reason", () =>
    Effect.gen(function* () {
      // Nothing about it looks like a credential, so only the list of secrets can tell.
      const secret = "correct horse battery"
      const failed = { state: "Failed", error: { code: 2021, message: `no credits for ${secret}` }, model: "m" }
      for (const body of [failed, { success: true, result: failed }]) {
        const response = respond(JSON.stringify(body), { "cf-aig-log-id": "l-1" }, { secrets: [secret] })
        for (const read of ["json", "result"] as const) {
          const error = yield* Effect.flip(response[read])
          assert.deepInclude({ ...error.reason }, { _tag: "QuotaExhausted", kind: "credits", code: "2021" })
          assert.strictEqual(error.logId, "l-1")
          assert.notInclude(inspect(error, { depth: null }), secret)
        }
        // The bytes are there all the same.
        assert.strictEqual(yield* response.text, JSON.stringify(body))
      }
      const refused = respond(
        `{"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"result":null}`
      )
      assert.strictEqual((yield* Effect.flip(refused.result)).reason._tag, "Unauthorized")
    })
  )
})

describe("failures of an answer", () => {
  it.effect("say which call they belong to: what the headers say, else what the caller knows", () =>
    Effect.gen(function* () {
      const known = { provider: "openai", model: "gpt", logId: "l-0", eventId: "e-0" }
      const silent = yield* Effect.flip(respond("<html>", {}, known).json)
      assert.deepInclude({ ...silent }, { method: "GatewayService.run", ...known })
      assert.isUndefined(silent.step)
      const headers = {
        "cf-aig-log-id": "l-1",
        "cf-aig-event-id": "e-1",
        "cf-aig-step": "0",
        "cf-aig-provider": "anthropic",
        "cf-aig-model": "claude"
      }
      const told = yield* Effect.flip(respond("<html>", headers, known).json)
      assert.deepInclude({ ...told }, { provider: "anthropic", model: "claude", logId: "l-1", eventId: "e-1", step: 0 })
    })
  )

  it.effect("carry a bounded excerpt, outside of the message", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(respond(`<html>${"prompt ".repeat(10_000)}`).json)
      assert.strictEqual(error.reason.detail?.length, maxExcerpt)
      assert.strictEqual(error.reason.status, 200)
      assert.strictEqual(error.message, "GatewayService.run: invalid response: not JSON (status 200)")
    })
  )

  it.effect("carry no credential, not even a part of one at the end of the excerpt", () =>
    Effect.gen(function* () {
      for (const length of [0, maxExcerpt - 20, maxExcerpt - 5, maxExcerpt]) {
        const response = respond(
          `${"x".repeat(length)}Bearer ${secret} ${secret}`,
          {},
          { secrets: secretsOf(`Bearer ${secret}`) }
        )
        const error = yield* Effect.flip(response.json)
        assert.notInclude(error.reason.detail, secret.slice(0, 4))
        assert.isAtMost(error.reason.detail?.length ?? 0, maxExcerpt)
      }
    })
  )

  it("printing a response shows neither credential nor body", () => {
    const response = respond(`{"answer":"${secret} forty-two"}`, { "cf-aig-log-id": "l-1" }, { secrets: [secret] })
    const shown = [
      inspect(response, { depth: null, showHidden: true, getters: true }),
      JSON.stringify(response),
      String(response),
      JSON.stringify({ ...response })
    ]
    for (const text of shown) {
      assert.notInclude(text, secret)
      assert.notInclude(text, "forty-two")
    }
    assert.include(shown[0], "l-1")
  })
})

describe("secrets", () => {
  it("are unwrapped at the point of use, and listed with and without their scheme", () => {
    const { headers, secrets } = reveal({
      "x-plain": "visible",
      authorization: Redacted.make(`Bearer ${secret}`),
      "x-api-key": Redacted.make("key-1234")
    })
    assert.deepStrictEqual(headers, {
      "x-plain": "visible",
      authorization: `Bearer ${secret}`,
      "x-api-key": "key-1234"
    })
    assert.deepStrictEqual(secrets, [`Bearer ${secret}`, secret, "key-1234"])
  })

  it("of which one is the beginning of another are both cut out", () => {
    assert.strictEqual(scrub("key-12345 key-1234", ["key-1234", "key-12345"]), "<redacted> <redacted>")
  })

  it("are cut out where they stand in JSON", () => {
    const odd = `pass"word\\1`
    assert.strictEqual(scrub(JSON.stringify({ a: odd }), [odd]), `{"a":"<redacted>"}`)
  })

  it("that are empty or too short to tell are left alone", () => {
    assert.strictEqual(scrub("abc", [""]), "abc")
    assert.deepStrictEqual(secretsOf("abc"), [])
  })
})
