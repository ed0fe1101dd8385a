/**
 * `npm run demo -- --stream`: streams that fail, printed as they arrive.
 *
 * One whose first provider dies before its first token, whose second one stalls, and whose third one answers; one that
 * breaks in the middle; and the same one again on a route that may begin anew.
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Chat from "effect-ai-gateway/Chat"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import type * as LocalGateway from "effect-ai-gateway/local"
import * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { check, heading, run, table } from "./demo-support.ts"

const question = Chat.user("Which planet has the most moons?")
const input: Chat.Request = { messages: [question], maxTokens: 200 }

const openai = Provider.openai.chat("gpt-4.1-mini")
const anthropic = Provider.anthropic.messages("claude-haiku-4-5")
const workersAi = Provider.workersAi.chat("@cf/meta/llama-3.1-8b-instruct")

/** The complete text of each provider. */
const answers: Readonly<Record<string, string>> = {
  openai: "Saturn. Astronomers have confirmed more moons of it than of all other planets taken together.",
  anthropic: "It is Saturn: its count passed that of Jupiter once more in 2023, and has not stopped rising since.",
  "workers-ai": "The planet with the most moons is Saturn, the one with the rings, and most of them are very small."
}

/** A word every 40 milliseconds. */
const upstreams = Object.fromEntries(
  Object.entries(answers).map(([provider, text]) => [
    provider,
    Upstream.echo({ text: () => text, stream: { delay: "40 millis" } })
  ])
)

/** The observations of a consumer of a stream. */
interface Seen {
  readonly deltas: ReadonlyArray<Chat.Delta>
  /** Everything that was printed, also of an answer that was begun anew. */
  readonly printed: string
  /** Milliseconds from the beginning to each delta. */
  readonly times: ReadonlyArray<number>
  readonly failure: GatewayError | undefined
}

/** Prints a stream as it arrives. */
const printing = <R>(deltas: Stream.Stream<Chat.Delta, GatewayError, R>): Effect.Effect<Seen, never, R> =>
  Effect.gen(function* () {
    const all: Array<Chat.Delta> = []
    const times: Array<number> = []
    let printed = ""
    const print = (text: string): void => {
      printed += text
      process.stdout.write(text)
    }
    const start = yield* Clock.currentTimeMillis
    process.stdout.write("  ")
    const exit = yield* Effect.result(
      Stream.runForEach(deltas, (delta) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          all.push(delta)
          times.push(now - start)
          if (delta.type === "text") print(delta.text)
          if (delta.type === "restart") process.stdout.write(" [discard that]\n  ")
        })
      )
    )
    process.stdout.write("\n\n")
    return { deltas: all, printed, times, failure: Result.isFailure(exit) ? exit.failure : undefined }
  })

const reply = ({ deltas }: Seen): Chat.Reply | undefined => {
  const collected = Chat.collect(deltas)
  return Result.isSuccess(collected) ? collected.success : undefined
}

/** Providers that were asked since the last reset, in order. */
const asked = (local: LocalGateway.LocalGateway): Effect.Effect<string> =>
  Effect.map(local.calls, (calls) => calls.map(({ provider }) => provider).join(", "))

/** Waits until the abandoned upstreams are closed; the server sees it a moment later. */
const noneOpen = (local: LocalGateway.LocalGateway): Effect.Effect<boolean> =>
  Effect.map(
    Effect.repeat(Effect.delay(local.openBodies, "10 millis"), { until: (open) => open === 0, times: 100 }),
    (open) => open === 0
  )

const failover = (local: LocalGateway.LocalGateway | undefined) =>
  Effect.gen(function* () {
    yield* heading("Two providers fail before their first token")
    if (local !== undefined) {
      yield* local.script("openai", [{ stream: { errorAfter: { deltas: 0 } } }])
      yield* local.script("anthropic", [{ stream: { stallAfter: { deltas: 0 } } }])
    }
    const ask = Route.fallback(openai, anthropic, workersAi).pipe(
      Route.firstTokenTimeout("600 millis"),
      Route.idleTimeout("2 seconds")
    )
    const { seen, summary } = yield* Effect.scoped(
      Effect.gen(function* () {
        const streamed = yield* Router.open(ask, input, { execution: "client" })
        const seen = yield* printing(streamed.deltas)
        return { seen, summary: yield* streamed.summary }
      })
    )
    yield* Console.log(table(summary.attempts))
    yield* Console.log("")
    const last = summary.attempts.at(-1)
    yield* check(
      `${summary.target} answered, under log id ${summary.logId}`,
      last?.target === summary.target && last.logId === summary.logId
    )
    yield* check("the answer is complete", seen.failure === undefined && seen.deltas.some(isFinish))
    yield* check("what was printed is that answer, and nothing else", reply(seen)?.text === seen.printed)
    if (local === undefined) return
    yield* check("it is the third provider's", seen.printed === answers["workers-ai"])
    const { deltas, times } = seen
    const between = (times.at(-1) ?? 0) - (times[0] ?? 0)
    // A word every 40 ms takes at least so long, and would take no time if it had been collected first.
    yield* check(`${deltas.length} deltas came one by one, over ${between} ms`, between >= deltas.length * 20)
    const reasons = summary.attempts.map(({ error }) => (error === undefined ? "success" : error._tag))
    yield* check(
      "an error inside a 200, then a stall, then an answer",
      reasons.join() === "ProviderUnavailable,Timeout,success" && summary.attempts.every(({ status }) => status === 200)
    )
    yield* check("no upstream is left open", yield* noneOpen(local))
  })

const isFinish = ({ type }: Chat.Delta): boolean => type === "finish"

const broken = [{ stream: { resetAfter: { deltas: 7 } } }]

const interrupted = (local: LocalGateway.LocalGateway) =>
  Effect.gen(function* () {
    yield* heading("A stream breaks in the middle")
    yield* local.reset
    yield* local.script("openai", broken)
    const seen = yield* printing(Router.stream(Route.fallback(openai, anthropic), input, { execution: "client" }))
    const { failure } = seen
    const reason = failure?.reason
    if (failure === undefined || reason?._tag !== "StreamInterrupted") {
      return yield* Effect.die(new Error("NOT TRUE: it fails with StreamInterrupted"))
    }
    yield* Console.log(`  ${failure.message}`)
    yield* Console.log(`  partial: ${JSON.stringify(reason.partial)}\n`)
    yield* Console.log(table(failure.attempts ?? []))
    yield* Console.log("")
    yield* check("it did not look complete", reply(seen) === undefined && !seen.deltas.some(isFinish))
    yield* check(
      "the error has what had arrived",
      reason.partial === seen.printed && reason.events === seen.deltas.length
    )
    yield* check(
      "that is a prefix of the one answer",
      seen.printed !== "" && answers["openai"]?.startsWith(seen.printed) === true
    )
    yield* check("no second answer was glued to it", (yield* asked(local)) === "openai")
  })

const restarted = (local: LocalGateway.LocalGateway) =>
  Effect.gen(function* () {
    yield* heading("The same, on a route that may begin anew")
    yield* local.reset
    yield* local.script("openai", broken)
    const ask = Route.fallback(openai, anthropic).pipe(Route.restart(1))
    const { seen, summary } = yield* Effect.scoped(
      Effect.gen(function* () {
        const streamed = yield* Router.open(ask, input, { execution: "client" })
        const seen = yield* printing(streamed.deltas)
        return { seen, summary: yield* streamed.summary }
      })
    )
    yield* Console.log(table(summary.attempts))
    yield* Console.log("")
    const at = seen.deltas.findIndex(({ type }) => type === "restart")
    yield* check("the consumer was told once to discard", summary.restarts === 1 && at > 0)
    yield* check(
      "what came after it is the whole answer of the other provider",
      reply(seen)?.text === answers["anthropic"]
    )
    yield* check("each was asked once", (yield* asked(local)) === "openai, anthropic")
    yield* check("no upstream is left open", yield* noneOpen(local))
  })

/** The demo. Against the real service nothing can be made to fail: there it is one stream. */
export const streaming = run(
  (local) =>
    Effect.gen(function* () {
      yield* failover(local)
      if (local === undefined) return
      yield* interrupted(local)
      yield* restarted(local)
      // The router's warning about a recovery would stand in the middle of a line.
    }).pipe(Effect.provideService(References.MinimumLogLevel, "Error")),
  upstreams
)
