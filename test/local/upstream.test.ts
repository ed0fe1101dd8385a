import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { call, chat, dataPlane, drive, leg, logs, request, settle, started, trace, universal } from "./support.ts"

const once = (fault: Upstream.Fault) =>
  Effect.flatMap(LocalGateway.make({ upstreams: { openai: Upstream.script([fault]) } }), (gateway) =>
    drive(chat(gateway))
  )

describe("faults", () => {
  it.effect("with a status have an error body in the provider's dialect, or their own body", () =>
    Effect.gen(function* () {
      const openai = yield* once({ status: 500 })
      assert.deepStrictEqual(openai.json.error.type, "server_error")
      const own = yield* once({
        status: 503,
        body: { a: 1 },
        headers: { "X-Request-Id": "r" },
        retryAfter: "Wed, 21 Oct 2026 07:28:00 GMT"
      })
      assert.deepStrictEqual(own.json, { a: 1 })
      assert.strictEqual(own.headers["x-request-id"], "r")
      assert.strictEqual(own.headers["retry-after"], "Wed, 21 Oct 2026 07:28:00 GMT")
      const text = yield* once({ status: 502, body: "bad gateway" })
      assert.strictEqual(text.text, "bad gateway")
      assert.strictEqual(text.headers["content-type"], "text/plain; charset=utf-8")
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("anthropic", [{ status: 529 }])
      const overloaded = yield* universal(gateway, [leg("anthropic")])
      assert.strictEqual(overloaded.json.error.type, "overloaded_error")
      yield* gateway.script("google-ai-studio", [{ status: 429 }])
      const google = yield* call(gateway, "POST", `${dataPlane}/google-ai-studio/v1beta/models/g:generateContent`, {})
      assert.strictEqual(google.json.error.status, "RESOURCE_EXHAUSTED")
    })
  )

  it.effect("with a successful status and no body keep the answer", () =>
    Effect.gen(function* () {
      const reply = yield* once({ status: 203, headers: { "x-note": "n" } })
      assert.strictEqual(reply.status, 203)
      assert.strictEqual(reply.headers["x-note"], "n")
      assert.strictEqual(reply.json.choices[0].message.content, "openai/m: Hello")
      const empty = yield* once({ status: 204, body: "" })
      assert.deepStrictEqual([empty.status, empty.text], [204, ""])
    })
  )

  it.effect("with html have their own status", () =>
    Effect.gen(function* () {
      const page = yield* once({ html: true, status: 200 })
      assert.strictEqual(page.status, 200)
      assert.strictEqual(page.headers["content-type"], "text/html; charset=utf-8")
      assert.isTrue(page.text.startsWith("<!DOCTYPE html>"))
      assert.strictEqual((yield* once({ html: true })).status, 502)
    })
  )

  it.effect("that cut a stream of events reach the client up to the cut, then break", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make({ upstreams: { openai: Upstream.script([{ truncate: 30 }]) } })
      const body = { ...leg("openai").query, stream: true }
      const response = yield* gateway.handle(request("POST", `${dataPlane}/openai/chat/completions`, body))
      assert.strictEqual(response.status, 200)
      const reader = response.body?.getReader()
      const first = yield* Effect.promise(() => reader?.read() ?? Promise.reject())
      assert.strictEqual(first.value?.length, 30)
      const second = yield* Effect.exit(Effect.tryPromise(async () => reader?.read()))
      assert.isTrue(Exit.isFailure(second))
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 failed 200"])
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.deepStrictEqual([entry.status_code, entry.success], [200, false])
    })
  )

  it.effect("with drop fail with Disconnect, and are logged as a client that left", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ drop: true }])
      const error = yield* Effect.flip(universal(gateway, [leg("openai"), leg("groq")], { "cf-aig-max-attempts": "3" }))
      assert.strictEqual(error._tag, "Disconnect")
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 failed"])
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.deepStrictEqual([entry.status_code, entry.success], [499, false])
    })
  )
})

describe("interruption", () => {
  it.effect("reaches the upstream, stops the chain, and is recorded", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const stopped = yield* Deferred.make<void>()
      const openai = Upstream.make(() =>
        Deferred.succeed(gate, undefined).pipe(
          Effect.andThen(Effect.never),
          Effect.onInterrupt(() => Deferred.succeed(stopped, undefined))
        )
      )
      const gateway = yield* LocalGateway.make({ upstreams: { openai } })
      const fiber = yield* started(
        universal(gateway, [leg("openai"), leg("groq")], { "cf-aig-request-timeout": "900" })
      )
      yield* Deferred.await(gate)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(yield* Deferred.isDone(stopped))
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 interrupted"])
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.strictEqual(entry.status_code, 499)
    })
  )

  it.effect("prevents further attempts during back-off", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ status: 500, repeat: "forever" }])
      const fiber = yield* started(chat(gateway, { "cf-aig-max-attempts": "5", "cf-aig-retry-delay": "5000" }))
      assert.strictEqual((yield* gateway.calls).length, 1)
      yield* Fiber.interrupt(fiber)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.strictEqual((yield* gateway.calls).length, 1)
    })
  )

  it.effect("follows an attempt that was visible while it ran", () =>
    Effect.gen(function* () {
      const gateway = yield* LocalGateway.make()
      yield* gateway.script("openai", [{ stall: true }])
      const fiber = yield* started(chat(gateway))
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 running"])
      assert.isUndefined((yield* gateway.calls)[0]?.endedAt)
      yield* Fiber.interrupt(fiber)
    })
  )
})

describe("proxy", () => {
  /** A proxy over a function, with its recorded requests. */
  const proxied = (
    answer: (url: string, init: RequestInit) => Response | Promise<Response>,
    baseUrl = "http://up.test/v1/"
  ) => {
    const seen: Array<{ url: string; init: RequestInit; headers: Record<string, string> }> = []
    const openai = Upstream.proxy({
      baseUrl,
      headers: { authorization: Redacted.make("Bearer real"), "x-extra": "1" },
      fetch: async (input, init = {}) => {
        const url = String(input)
        seen.push({ url, init, headers: Object.fromEntries(new Headers(init.headers)) })
        return answer(url, init)
      }
    })
    return { seen, options: { upstreams: { openai } } }
  }

  it.effect("forwards method, path, body and headers, and replaces the credential", () =>
    Effect.gen(function* () {
      const { options, seen } = proxied(() =>
        Response.json({ ok: 1 }, { status: 201, headers: { "x-up": "2", "cf-aig-cache-status": "HIT" } })
      )
      const gateway = yield* LocalGateway.make(options)
      const body = leg("openai").query
      const headers = { authorization: "Bearer fake", "cf-aig-event-id": "e", "x-own": "3" }
      const reply = yield* call(gateway, "POST", `${dataPlane}/openai/chat/completions?a=b`, body, headers)
      assert.deepStrictEqual(
        [reply.status, reply.json, reply.headers["x-up"], reply.headers["cf-aig-cache-status"]],
        [201, { ok: 1 }, "2", undefined]
      )
      assert.strictEqual(seen[0]?.url, "http://up.test/v1/chat/completions?a=b")
      assert.strictEqual(seen[0]?.init.method, "POST")
      assert.deepStrictEqual(seen[0]?.headers, {
        authorization: "Bearer real",
        "content-type": "text/plain;charset=UTF-8",
        "x-extra": "1",
        "x-own": "3"
      })
      const sent = seen[0]?.init.body
      assert.deepStrictEqual(JSON.parse(sent instanceof Uint8Array ? new TextDecoder().decode(sent) : ""), body)
      yield* call(gateway, "GET", `${dataPlane}/openai/v1/models`)
      assert.strictEqual(seen[1]?.url, "http://up.test/v1/models")
      assert.isNull(seen[1]?.init.body)
    })
  )

  it.effect("retries a refused connection and a broken body, then reports 2005", () =>
    Effect.gen(function* () {
      let n = 0
      const { options } = proxied(() => {
        if (++n === 1) return Promise.reject(new TypeError("refused"))
        const body = new ReadableStream({
          pull: (controller) =>
            n++ === 2 ? controller.enqueue(new Uint8Array([1])) : controller.error(new Error("cut"))
        })
        return new Response(body, { headers: { "content-type": "application/json" } })
      })
      const gateway = yield* LocalGateway.make(options)
      const reply = yield* drive(chat(gateway, { "cf-aig-max-attempts": "2" }))
      assert.deepStrictEqual([reply.status, reply.json.error[0].code], [400, 2005])
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 failed", "0:openai#2 failed"])
    })
  )

  it.effect("passes a stream piece by piece, logs it at its end, and counts its usage", () =>
    Effect.gen(function* () {
      let push: (text: string) => void = () => {}
      let close = () => {}
      const { options } = proxied(() => {
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => {
            push = (text) => controller.enqueue(new TextEncoder().encode(text))
            close = () => controller.close()
          }
        })
        return new Response(body, { headers: { "content-type": "text/event-stream" } })
      })
      const gateway = yield* LocalGateway.make(options)
      const url = `${dataPlane}/openai/chat/completions`
      const fiber = yield* started(gateway.handle(request("POST", url, { model: "m", stream: true })))
      assert.isUndefined(fiber.pollUnsafe())
      push("data: one\n\n")
      const response = yield* Fiber.join(fiber)
      const reader = response.body?.getReader()
      const read = Effect.promise(() => reader?.read() ?? Promise.reject())
      assert.strictEqual(new TextDecoder().decode((yield* read).value), "data: one\n\n")
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 running"])
      push(`data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n`)
      yield* read
      close()
      assert.isTrue((yield* read).done)
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 answered 200"])
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.deepStrictEqual([entry.tokens_in, entry.tokens_out, entry.success], [3, 4, true])
      assert.include((yield* call(gateway, "GET", `${logs}/${entry.id}/response`)).text, "data: one")
    })
  )

  it.effect("cancels the source when a client leaves a stream", () =>
    Effect.gen(function* () {
      let cancelled = false
      const { options } = proxied(() => {
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => controller.enqueue(new TextEncoder().encode("data: x\n\n")),
          cancel: () => {
            cancelled = true
          }
        })
        return new Response(body, { headers: { "content-type": "text/event-stream" } })
      })
      const gateway = yield* LocalGateway.make(options)
      const response = yield* gateway.handle(request("POST", `${dataPlane}/openai/x`, {}))
      const reader = response.body?.getReader()
      yield* Effect.promise(() => reader?.read() ?? Promise.reject())
      // A read of the source is pending when the client leaves.
      const waiting = reader?.read()
      yield* settle
      yield* Effect.promise(() => reader?.cancel() ?? Promise.reject())
      assert.isTrue((yield* Effect.promise(() => waiting ?? Promise.reject())).done)
      yield* settle
      assert.isTrue(cancelled)
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 interrupted 200"])
    })
  )

  it.effect.each(["headers", "first part", "rest"] as const)("interruption while waiting for the %s aborts", (stage) =>
    Effect.gen(function* () {
      let stopped = false
      const { options } = proxied((_, init) => {
        init.signal?.addEventListener("abort", () => {
          stopped = true
        })
        if (stage === "headers") return new Promise(() => {})
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => {
            if (stage === "rest") controller.enqueue(new Uint8Array([123]))
          },
          cancel: () => {
            stopped = true
          }
        })
        return new Response(body, { headers: { "content-type": "application/json" } })
      })
      const gateway = yield* LocalGateway.make(options)
      const fiber = yield* started(chat(gateway))
      yield* settle
      assert.isFalse(stopped)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(stopped)
      assert.deepStrictEqual(yield* trace(gateway), ["0:openai#1 interrupted"])
    })
  )

  it.effect("applies the time limit to the first part of the body only", () =>
    Effect.gen(function* () {
      let push: (text: string | undefined) => void = () => {}
      const { options } = proxied(() => {
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => {
            push = (text) =>
              text === undefined ? controller.close() : controller.enqueue(new TextEncoder().encode(text))
          }
        })
        return new Response(body, { headers: { "content-type": "application/json" } })
      })
      const gateway = yield* LocalGateway.make(options)
      const limit = { "cf-aig-request-timeout": "500" }
      assert.strictEqual((yield* drive(chat(gateway, limit))).status, 408)
      const fiber = yield* started(chat(gateway, limit))
      push(`{"a":`)
      yield* settle
      yield* Effect.replicateEffect(Effect.andThen(Effect.yieldNow, settle), 3)
      push("1}")
      push(undefined)
      const reply = yield* drive(Fiber.join(fiber), "1 second")
      assert.deepStrictEqual([reply.status, reply.json], [200, { a: 1 }])
    })
  )
})

describe("make", () => {
  it.effect("receives the gateway's request", () =>
    Effect.gen(function* () {
      const openai = Upstream.make(({ endpoint, json, method, model, provider }) =>
        Effect.succeed({
          status: 200,
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ endpoint, json, method, model, provider })
        })
      )
      const gateway = yield* LocalGateway.make({ upstreams: { openai } })
      const { json } = yield* chat(gateway)
      assert.deepStrictEqual(json, {
        endpoint: "chat/completions",
        json: leg("openai").query,
        method: "POST",
        model: "m",
        provider: "openai"
      })
    })
  )
})
