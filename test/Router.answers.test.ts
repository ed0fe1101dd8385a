import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Chat from "effect-ai-gateway/Chat"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { brokenOff } from "./fixtures/answers/brokenOff.ts"
import { delivered } from "./fixtures/answers/delivered.ts"
import { empties } from "./fixtures/answers/empty.ts"
import { completion, type Fixture, messageEvents, type Outcome } from "./fixtures/answers/fixture.ts"
import { named } from "./fixtures/streams/drive.ts"
import { consume, executions, groq, lines, overHttp } from "./support/streamRuns.ts"
import * as S from "./support/streamScript.ts"

const leaf = ({ allowEmpty, target }: Fixture) => {
  const options = { allowEmpty, key: "first" }
  switch (target) {
    case "openai":
      return Provider.openai.chat("m", options)
    case "anthropic":
      return Provider.anthropic.messages("m", options)
    case "google-ai-studio":
      return Provider.googleAiStudio.chat("m", options)
    case "workers-ai":
      return Provider.workersAi.chat("@cf/a/m", options)
    case "custom-own":
      return Provider.custom("own").chat("m", options)
  }
}

/** The facts that the tests compare: the reply or the failure, and a line per attempt. */
interface Seen {
  readonly reply: Partial<Chat.Reply> | undefined
  readonly failure: string | undefined
  readonly attempts: ReadonlyArray<string>
}

const run = (fixture: Fixture, execution: Router.Execution): Effect.Effect<Seen> => {
  const provider = S.scripted({
    [fixture.target]: [{ headers: { "content-type": "application/json" }, steps: [JSON.stringify(fixture.run)] }],
    groq: [
      { headers: { "content-type": "application/json" }, steps: [JSON.stringify(completion({ content: "spare" }))] }
    ]
  })
  return Router.run(Route.fallback(leaf(fixture), groq), "hi", { execution, quiet: true }).pipe(
    Effect.exit,
    Effect.map((exit) => {
      if (Exit.isSuccess(exit)) {
        const { attempts, value } = exit.value
        const { raw: _, ...reply } = value
        return { reply, failure: undefined, attempts: lines(attempts) }
      }
      const error = Option.getOrThrow(Exit.findErrorOption(exit))
      return { reply: undefined, failure: error.reason._tag, attempts: lines(error.attempts ?? []) }
    }),
    Effect.provide(overHttp.layer(provider.upstreams)),
    Effect.orDie
  )
}

const stream = (fixture: Fixture, execution: Router.Execution): Effect.Effect<Seen> => {
  const { stream = "", type = "text/event-stream" } = fixture
  // Cut in the middle of a line, as networks do.
  const steps = [stream.slice(0, stream.length / 2), stream.slice(stream.length / 2)]
  const provider = S.scripted({
    [fixture.target]: [{ headers: { "content-type": type }, steps }],
    groq: [{ steps: S.words("spare") }]
  })
  return consume(Route.fallback(leaf(fixture), groq), "hi", { execution, quiet: true }).pipe(
    Effect.map(({ attempts, deltas, error }) => {
      const reason = error?.reason
      if (reason !== undefined) {
        return {
          reply: undefined,
          failure: reason._tag === "StreamInterrupted" ? `interrupted ${reason.failure}` : reason._tag,
          attempts: lines(attempts)
        }
      }
      const { raw: _, ...reply } = Result.getOrThrow(Chat.collect(deltas))
      return { reply, failure: undefined, attempts: lines(attempts) }
    }),
    Effect.provide(overHttp.layer(provider.upstreams)),
    Effect.orDie
  )
}

const check = (seen: Seen, outcome: Outcome): void => {
  if ("next" in outcome) {
    assert.strictEqual(seen.attempts[0], `first failure ${outcome.next}`)
    assert.strictEqual(seen.reply?.text, "spare")
  } else if ("stop" in outcome) {
    assert.deepStrictEqual(seen.attempts, [`first failure ${outcome.stop}`])
    assert.strictEqual(seen.failure, outcome.stop)
  } else if ("interrupted" in outcome) {
    assert.strictEqual(seen.failure, `interrupted ${outcome.interrupted}`)
  } else {
    assert.deepStrictEqual(seen.attempts, ["first success"])
    const { usage, ...expected } = outcome.reply
    for (const [field, value] of Object.entries(expected)) {
      assert.deepStrictEqual(Reflect.get(seen.reply ?? {}, field), value, field)
    }
    if (usage !== undefined) assert.deepInclude(seen.reply?.usage, usage)
  }
}

const suites: Readonly<Record<string, ReadonlyArray<Fixture>>> = {
  "an answer that broke off is a failure, and says what its error says": brokenOff,
  "an answer that says nothing is a failure, unless its reason or the leaf excuses it": empties,
  "an answer is delivered whole, with what it cost": delivered
}

for (const [suite, fixtures] of Object.entries(suites)) {
  describe.each(executions)(`${suite}: %s`, (execution) => {
    const whole = fixtures.filter((fixture) => fixture.run !== undefined)
    it.effect.each(whole)("$target: $name", (fixture) =>
      Effect.map(run(fixture, execution), (seen) => check(seen, fixture.outcome))
    )
    const streams = fixtures.filter((fixture) => fixture.stream !== undefined)
    it.effect.each(streams)("$target: $name, streamed", (fixture) =>
      Effect.map(stream(fixture, execution), (seen) => check(seen, fixture.streamed ?? fixture.outcome))
    )
  })
}

describe("Anthropic's stop reason completes an answer", () => {
  const said = messageEvents([[{ type: "text", text: "All of it." }]]).replace(named({ type: "message_stop" }), "")
  const endings: Readonly<Record<string, Partial<S.Reply>>> = {
    "although only pings follow": {
      steps: [said, ...Array.from({ length: 9 }, () => named({ type: "ping" })), S.stall]
    },
    "although the connection breaks then": { steps: [said, S.reset] }
  }
  for (const [name, reply] of Object.entries(endings)) {
    it.effect.each(executions)(`${name}: %s`, (execution) =>
      Effect.gen(function* () {
        const provider = S.scripted({ anthropic: [reply] })
        const seen = yield* Effect.provide(
          consume(Provider.anthropic.messages("m"), "hi", { execution }),
          overHttp.layer(provider.upstreams)
        )
        assert.isUndefined(seen.error)
        assert.strictEqual(seen.text, "All of it.")
      })
    )
  }
})
