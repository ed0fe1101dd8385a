import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Chat from "effect-ai-gateway/Chat"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import {
  client,
  consume,
  gateway,
  groq,
  interruption,
  json,
  lines,
  openai,
  overHttp,
  play,
  ways
} from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const both = Route.fallback(openai, groq)

describe("a target that cannot stream", () => {
  const whole = Route.make({
    provider: "groq",
    endpoint: "chat/completions",
    key: "whole",
    query: (input: Chat.Input) => ({ input }),
    success: Schema.Unknown
  })

  it.effect.each(ways)("$name: is rejected before anything is sent, even in last place", (way) =>
    Effect.gen(function* () {
      const routes = [whole, Route.fallback(openai.pipe(Route.map((reply): unknown => reply)), whole)]
      for (const route of routes) {
        const seen = yield* play({}, route, "hi", way)
        assert.strictEqual(
          seen.error?.message,
          "Router.stream: invalid whole: expected a target that streams chat answers"
        )
        assert.strictEqual(seen.error?.reason._tag, "InvalidRequest")
        assert.deepStrictEqual(seen.provider.bodies, [])
        assert.deepStrictEqual(seen.trail, [])
      }
      const embeddings = yield* play({}, Provider.openai.embeddings("e"), ["hi"], way)
      assert.include(embeddings.error?.message, "invalid openai/e: expected a target that streams")
    })
  )

  it.effect("does not matter if the input does not lead to it", () =>
    Effect.gen(function* () {
      const chat = openai.pipe(Route.map((reply): unknown => reply))
      const route = Route.when((input) => input === "hi", chat, whole)
      assert.strictEqual((yield* play({}, route, "hi", client)).text, "from openai")
      assert.include((yield* play({}, route, "ho", client)).error?.message, "invalid whole")
    })
  )

  it.effect("other problems of a route are reported as in run", () =>
    Effect.gen(function* () {
      const invalid = yield* play({}, Route.timeout(openai, 0), "hi", client)
      assert.include(invalid.error?.message, "Router.stream: invalid timeout: expected 1 millisecond")
      const lossy = yield* play({}, Route.deadline(both, "1 second"), "hi", gateway)
      assert.include(lossy.error?.message, "Router.stream: invalid execution")
      assert.deepStrictEqual(lossy.provider.bodies, [])
    })
  )
})

describe("a custom decoder", () => {
  /** Lines of `w:` and a word, and `.` at the end. */
  const own = (decoder: () => Chat.DeltaDecoder, key?: string) =>
    Route.make({
      provider: "custom-own",
      endpoint: "say",
      model: "own",
      key,
      query: (prompt: string) => ({ prompt }),
      success: Schema.Struct({ said: Schema.String }),
      stream: {
        query: (query) => ({ ...query, live: true }),
        endpoint: (endpoint) => `${endpoint}/live`,
        decoder,
        reply: (body) =>
          Result.map(Schema.decodeUnknownResult(Schema.Struct({ said: Schema.String }))(body), ({ said }) => ({
            text: said,
            toolCalls: [],
            finishReason: "stop" as const,
            usage: {},
            raw: body
          })).pipe(Result.mapError(() => ({ field: "said", accepted: "a text" })))
      }
    })

  const speaking = (): Chat.DeltaDecoder => {
    let finished = false
    return {
      event: ({ data }) => {
        if (data !== ".") return { deltas: [{ type: "text", text: data }] }
        finished = true
        return { deltas: [{ type: "finish", reason: "stop" }], done: true }
      },
      end: () => (finished ? { deltas: [], done: true } : { deltas: [], fault: { issue: "end: expected a dot" } })
    }
  }

  const two = Route.fallback(own(speaking, "one"), own(speaking, "two"))
  const dots = "data: two \n\ndata: words\n\ndata: .\n\n"

  it.effect.each(ways)("$name: end to end", (way) =>
    Effect.gen(function* () {
      const script = { "custom-own": [{ steps: ["data: .."] }, { steps: [dots] }] }
      const seen = yield* play({ "custom-own": [{ steps: [dots] }] }, two, "hi", way)
      assert.deepStrictEqual(seen.deltas, [
        { type: "text", text: "two " },
        { type: "text", text: "words" },
        { type: "finish", reason: "stop" }
      ])
      assert.deepStrictEqual(seen.provider.bodies[0]?.json, { prompt: "hi", live: true })
      assert.deepInclude(seen.attempts[0], { target: "one", endpoint: "say/live", model: "own" })
      const broken = yield* play(script, two, "hi", way)
      assert.include(interruption(broken).failure, "InvalidResponse")
      const failed = yield* play({ "custom-own": [{ steps: [""] }, { steps: [dots] }] }, two, "hi", way)
      assert.deepStrictEqual(lines(failed.attempts), ["one failure InvalidResponse", "two success"])
      const whole = yield* play({ "custom-own": [json({ said: "all" })] }, two, "hi", way)
      assert.strictEqual(whole.text, "all")
      const wrong = yield* play({ "custom-own": [json({ said: 1 }), { steps: [dots] }] }, two, "hi", way)
      assert.include(wrong.attempts[0]?.error?.message, "said: expected a text")
      assert.strictEqual(wrong.text, "two words")
    })
  )

  const odd: ReadonlyArray<readonly [name: string, decoded: Chat.Decoded, issue: string]> = [
    ["ends without a finish", { deltas: [], done: true }, "finish: expected one before the stream ends"],
    ["makes a restart", { deltas: [{ type: "restart" }] }, "restart: expected none from a decoder"]
  ]
  it.effect.each(odd)("one that %s does not get through", ([, decoded, issue]) =>
    Effect.gen(function* () {
      const decoder = (): Chat.DeltaDecoder => ({ event: () => decoded, end: () => ({ deltas: [] }) })
      const route = Route.fallback(own(decoder, "odd"), own(speaking, "two"))
      const seen = yield* play(() => ({ steps: [dots] }), route, "hi", client)
      assert.include(seen.attempts[0]?.error?.message, issue)
      assert.strictEqual(seen.text, "two words")
    })
  )

  it.effect("fails with two finishes, which are two answers", () =>
    Effect.gen(function* () {
      const decoder = (): Chat.DeltaDecoder => ({
        event: ({ data }) => ({
          deltas: [
            { type: "text", text: data },
            { type: "finish", reason: "stop" }
          ]
        }),
        end: () => ({ deltas: [] })
      })
      const seen = yield* play(
        { "custom-own": [{ steps: ["data: a\n\n", "data: b\n\n"] }] },
        own(decoder),
        "hi",
        client
      )
      assert.include(seen.attempts[0]?.error?.message, "finish: expected only one")
      assert.strictEqual(interruption(seen).failure, "InvalidResponse")
    })
  )

  it.effect("one that throws is a defect, and the attempt a failure", () =>
    Effect.gen(function* () {
      const decoder = (): Chat.DeltaDecoder => ({
        event: ({ data }) => {
          if (data === "words") throw new Error("bug")
          return { deltas: [{ type: "text", text: data }] }
        },
        end: () => ({ deltas: [] })
      })
      for (const steps of [["data: a\n\n", "data: words\n\n"], ["data: words\n\n"]]) {
        const provider = S.scripted({ "custom-own": [{ steps: [...steps, S.stall] }] })
        const { attempts, value: exit } = yield* LogTrail.collect(Effect.exit(consume(own(decoder), "hi"))).pipe(
          Effect.provide(overHttp.layer(provider.upstreams))
        )
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        assert.deepStrictEqual(lines(attempts), ["custom-own/own failure"])
        assert.deepStrictEqual(provider.states(), ["custom-own cancelled"])
      }
    })
  )
})
