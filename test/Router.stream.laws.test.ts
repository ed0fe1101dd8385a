import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "effect-ai-gateway/Chat"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { bytesOf, cut } from "./fixtures/streams/drive.ts"
import { Answer, encoders } from "./fixtures/streams/encoders.ts"
import { drive } from "./support/drive.ts"
import { model, Play, replyOf } from "./support/streamModel.ts"
import { consume, deepseek, groq, interruption, json, openai, play, ways } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const jsonOutput = { type: "json", schema: { type: "object" } } as const

const Sizes = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 })))

describe("a stream gives the complete answer, however its bytes are cut", () => {
  for (const { body, dialect, id, name, stream } of encoders) {
    it.effect.prop(
      name,
      { answer: Answer, sizes: Sizes },
      ({ answer, sizes }) =>
        Effect.gen(function* () {
          const route = Provider.custom("own", { dialect }).chat("m")
          // Only a target that was asked for JSON by a tool answers with one.
          const input: Chat.Input =
            id === "anthropic-json-tool" ? { messages: [Chat.user("hi")], output: jsonOutput } : "hi"
          const bytes = bytesOf(stream(answer))
          const served = (reply: S.Reply) => S.scripted({ "custom-own": [reply] }).direct
          const whole = yield* Effect.provide(Router.run(route, input), served(json(body(answer))))
          const { raw: _, ...expected } = whole.value
          const seen = yield* Effect.forEach([[bytes], cut(bytes, sizes)], (steps) =>
            Effect.provide(consume(route, input), served({ steps }))
          )
          for (const { deltas, error, summary } of seen) {
            assert.isUndefined(error)
            const { raw: __, ...reply } = Result.getOrThrow(Chat.collect(deltas))
            assert.deepStrictEqual(reply, expected)
            assert.strictEqual(summary?.text, reply.text)
            assert.deepStrictEqual(summary?.usage ?? {}, reply.usage)
          }
          assert.deepStrictEqual(seen[0]?.deltas, seen[1]?.deltas)
          // A requested stream may arrive in one piece.
          const buffered = yield* Effect.provide(consume(route, input), served(json(body(answer))))
          const { raw: ___, ...reply } = Result.getOrThrow(Chat.collect(buffered.deltas))
          assert.deepStrictEqual(reply, expected)
        }),
      { arbitrary: { runs: 25 } }
    )
  }
})

describe("whatever goes wrong, a consumer sees one target's answer: all of it, or a beginning and a failure", () => {
  for (const way of ways) {
    it.effect.prop(
      way.name,
      { play: Play },
      ({ play: one }) =>
        Effect.gen(function* () {
          const { restarts, sizes, targets } = one
          const asked = new Map<string, number>()
          const names = ["openai", "groq", "deepseek"].slice(0, targets.length)
          const script = (provider: string): S.Reply => {
            const target = names.indexOf(provider)
            const attempt = asked.get(provider) ?? 0
            asked.set(provider, attempt + 1)
            return replyOf(targets[target]?.[attempt] ?? { kind: "answers", ending: "done" }, target, attempt, sizes)
          }
          const plain = targets.length === 2 ? Route.fallback(openai, groq) : Route.fallback(openai, groq, deepseek)
          const limited = plain.pipe(Route.firstTokenTimeout("2 seconds"), Route.idleTimeout("1 second"))
          const route = restarts === 0 ? limited : Route.restart(limited, restarts)
          const { exit } = yield* drive(play(script, route, "hi", way))
          if (Exit.isFailure(exit)) return assert.fail(String(exit.cause))
          const seen = exit.value
          const expected = model(one)

          assert.strictEqual(seen.text, expected.text)
          assert.strictEqual(seen.error === undefined, expected.complete)
          assert.deepStrictEqual(
            names.map((name) => asked.get(name) ?? 0),
            expected.asked
          )
          // Discarded answers have no finish, the last one has exactly one, if it is complete.
          const types = seen.deltas.map(({ type }) => type)
          assert.strictEqual(types.filter((type) => type === "restart").length, expected.restarts)
          assert.strictEqual(types.filter((type) => type === "finish").length, expected.complete ? 1 : 0)
          if (expected.complete) assert.isAbove(types.lastIndexOf("finish"), types.lastIndexOf("restart"))
          if (expected.interrupted) {
            const { events, failure, partial } = interruption(seen)
            assert.strictEqual(partial, expected.text)
            assert.strictEqual(events, types.length - (types.lastIndexOf("restart") + 1))
            // A target that was called again may have failed in another way since.
            const own = seen.attempts.filter(({ target }) => target === seen.summary?.target)
            assert.include(
              own.map(({ error }) => error?._tag),
              failure
            )
          } else if (!expected.complete) assert.notStrictEqual(seen.error?.reason._tag, "StreamInterrupted")
          // Records.
          assert.deepStrictEqual(seen.trail, seen.attempts)
          assert.strictEqual(
            seen.attempts.filter(({ outcome }) => outcome === "success").length,
            expected.complete ? 1 : 0
          )
          assert.isFalse(seen.attempts.some(({ outcome }) => outcome === "interrupted"))
          if (way.execution === "client") assert.strictEqual(seen.attempts.length, seen.provider.bodies.length)
          assert.strictEqual(seen.provider.open(), 0)
        }),
      { arbitrary: { runs: 90, seed: 4 } }
    )
  }
})
