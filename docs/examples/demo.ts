/**
 * `npm run demo`: one question, three providers, of which two fail.
 *
 * Starts the local gateway as a real server on a free loopback port and routes real HTTP requests through it. With
 * `CLOUDFLARE_ACCOUNT_ID` and `AI_GATEWAY_ID` set (and `CF_AIG_TOKEN`, `CLOUDFLARE_API_TOKEN` as needed) the same
 * program runs against the real service. Exits with 0 only when everything that it prints was checked. With
 * `-- --stream` the answers are streamed (`demo-stream.ts`), with `-- --batch` 5,000 items go through the command line
 * (`demo-batch.ts`), with `-- --chaos` two minutes of traffic are simulated (`demo-chaos.ts`), with `-- --ai` a program
 * of `effect/ai` runs over a route (`demo-ai.ts`).
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Chat from "effect-ai-gateway/Chat"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LogTrail from "effect-ai-gateway/LogTrail"
import type * as LocalGateway from "effect-ai-gateway/local"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Transport from "effect-ai-gateway/Transport"
import { ai } from "./demo-ai.ts"
import { batch } from "./demo-batch.ts"
import { chaos } from "./demo-chaos.ts"
import { streaming } from "./demo-stream.ts"
import { check, heading, run, table } from "./demo-support.ts"

const question = Chat.user("Which planet has the most moons?")

const ask = Route.fallback(
  Provider.openai.chat("gpt-4.1-mini").pipe(Route.retry({ attempts: 2, delay: "100 millis" })),
  Provider.anthropic.messages("claude-haiku-4-5"),
  Provider.workersAi.chat("@cf/meta/llama-3.1-8b-instruct")
).pipe(Route.timeout("500 millis"), Route.deadline("20 seconds"), Route.metadata({ app: "demo" }))

/** The parts of this route that the gateway cannot do; accepted when it executes the route below. */
const allow = ["retryAfter", "lastAttemptTimeout", "deadline"] as const

/** The program. `local` is there when the gateway is ours and can be told to fail. */
const program = (local: LocalGateway.LocalGateway | undefined) =>
  Effect.gen(function* () {
    const gateway = yield* GatewayService.GatewayService
    const script = Effect.gen(function* () {
      if (local === undefined) return
      yield* local.script("openai", [{ status: 503 }, { status: 429, retryAfter: 30 }])
      yield* local.script("anthropic", [{ ok: true, delay: "5 seconds" }])
    })
    const input: Chat.Request = { messages: [question], maxTokens: 200 }

    yield* heading("The route (Mermaid)")
    yield* Console.log(Route.toMermaid(ask))
    yield* check("it needs at most 4 attempts", Route.bounds(ask).attempts === 4)

    yield* heading("Run on the client")
    yield* script
    const { attempts: trail, value: answer } = yield* LogTrail.collect(Router.run(ask, input, { execution: "client" }))
    yield* Console.log(`  ${answer.value.text}\n`)
    yield* Console.log(table(answer.attempts))
    yield* Console.log("")
    const { logId } = answer
    if (logId === undefined) return yield* Effect.die(new Error("NOT TRUE: the answer has a log id"))
    yield* check(`${answer.target} answered, under log id ${logId}`, answer.attempts.at(-1)?.logId === logId)
    yield* check("the trail saw the same attempts", trail.length === answer.attempts.length)
    if (local !== undefined) {
      const reasons = answer.attempts.map(({ error }) => error?._tag ?? "success")
      yield* check(
        "503, then 429 with a long hint, then a timeout, then an answer",
        reasons.join() === "ProviderUnavailable,RateLimited,Timeout,success"
      )
    }

    yield* heading("Feedback on the right log")
    yield* gateway.patchLog(logId, { feedback: 1, metadata: { app: "demo", rated: true } })
    const log = yield* gateway.getLog(logId, { awaitLog: true })
    yield* Console.log(`  ${log.id}: ${log.provider} ${log.model}, ${log.tokensIn} tokens in, ${log.tokensOut} out\n`)
    yield* check("the log is the answer's", log.id === logId && log.provider === answer.provider)
    yield* check("the feedback is stored", log.metadata?.["rated"] === true)
    const { logs } = yield* gateway.listLogs({ eventId: answer.eventId })
    yield* check(
      `${logs.length} logs carry the event id ${answer.eventId}`,
      local === undefined ? logs.length > 0 : logs.length === answer.attempts.length
    )

    yield* heading("The same route as one universal request, executed by the gateway")
    const refused = Route.compile(ask, input)
    const losses = Result.isFailure(refused) ? refused.failure : []
    for (const { detail, kind, target } of losses) yield* Console.log(`  lost: ${kind} ${target ?? ""} (${detail})`)
    yield* check(
      "nothing is lost that was not listed",
      losses.every(({ kind }) => allow.some((one) => one === kind))
    )
    yield* script
    const compiled = yield* Router.run(ask, input, { execution: "gateway", allow })
    yield* Console.log(`\n  ${compiled.value.text}\n`)
    yield* Console.log(table(compiled.attempts))
    yield* Console.log("")
    if (local !== undefined) {
      yield* check("it is the same answer", compiled.value.text === answer.value.text)
      yield* check("leg 2 answered, after one request", compiled.step === 2 && compiled.attempts.length === 1)
      const calls = yield* local.calls
      const upstream = calls.filter(({ eventId }) => eventId === compiled.eventId).map(({ provider }) => provider)
      yield* check(`the gateway asked ${upstream.join(", ")}`, upstream.join() === "openai,openai,anthropic,workers-ai")
    }
  })

const has = (flag: string): boolean => process.argv.includes(flag)
const demo = has("--stream")
  ? streaming
  : has("--batch")
    ? batch
    : has("--chaos")
      ? chaos
      : has("--ai")
        ? ai
        : run(program)

NodeRuntime.runMain(Effect.provide(Effect.scoped(demo), Transport.layerFetch))
