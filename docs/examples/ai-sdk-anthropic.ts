/**
 * The AI SDK with Anthropic through AI Gateway: its base URL comes from `getUrl`, and each call's log is found
 * afterwards.
 *
 * Reads `CLOUDFLARE_ACCOUNT_ID`, `AI_GATEWAY_ID` and `ANTHROPIC_API_KEY`, for the logs `CLOUDFLARE_API_TOKEN`, and
 * where they are needed `CF_AIG_TOKEN`, `AI_GATEWAY_URL` and `CLOUDFLARE_API_URL`.
 */
import { type AnthropicProvider, createAnthropic } from "@ai-sdk/anthropic"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { generateText, streamText } from "ai"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Transport from "effect-ai-gateway/Transport"

const model = "claude-haiku-4-5"

export const makeProvider = Effect.gen(function* () {
  const gateway = yield* GatewayService.GatewayService
  const token = yield* Config.option(Config.Redacted("CF_AIG_TOKEN"))
  return createAnthropic({
    // The SDK appends `/messages`; the path at Anthropic is `v1/messages`.
    baseURL: `${yield* gateway.getUrl("anthropic")}/v1`,
    apiKey: Redacted.value(yield* Config.Redacted("ANTHROPIC_API_KEY")),
    headers: Option.isSome(token) ? { "cf-aig-authorization": `Bearer ${Redacted.value(token.value)}` } : {}
  })
})

const gatewayHeaders = (eventId: string, call: string) => ({
  "cf-aig-event-id": eventId,
  "cf-aig-metadata": JSON.stringify({ example: "ai-sdk-anthropic", call })
})

const plain = Effect.fn("plain")(function* (anthropic: AnthropicProvider, prompt: string) {
  const eventId = crypto.randomUUID()
  const { finalStep, text } = yield* Effect.tryPromise((signal) =>
    generateText({
      model: anthropic(model),
      prompt,
      maxRetries: 0,
      headers: gatewayHeaders(eventId, "plain"),
      abortSignal: signal
    })
  )
  return { text, logId: finalStep.response.headers?.["cf-aig-log-id"], eventId }
})

const streamed = Effect.fn("streamed")(function* (anthropic: AnthropicProvider, prompt: string) {
  const eventId = crypto.randomUUID()
  return yield* Effect.tryPromise(async (signal) => {
    const result = streamText({
      model: anthropic(model),
      prompt,
      maxRetries: 0,
      headers: gatewayHeaders(eventId, "streamed"),
      abortSignal: signal,
      onError: () => {} // it would print what is thrown below
    })
    const pieces: Array<string> = []
    for await (const part of result.stream) {
      if (part.type === "text-delta") pieces.push(part.text)
      if (part.type === "error") throw part.error
    }
    const { response } = await result.finalStep
    return { text: pieces.join(""), pieces, logId: response.headers?.["cf-aig-log-id"], eventId }
  })
})

const findLogs = Effect.fn("findLogs")(function* (call: {
  readonly logId: string | undefined
  readonly eventId: string
}) {
  const gateway = yield* GatewayService.GatewayService
  // A fresh log can lag its answer; by event id it is found even when the answer named no log.
  const log = call.logId === undefined ? undefined : yield* gateway.getLog(call.logId, { awaitLog: true })
  const { logs } = yield* gateway.listLogs({ eventId: call.eventId })
  yield* Console.log(`  log ${call.logId ?? "unknown"}, ${logs.length} by event id, status ${log?.statusCode}`)
  return { log, logs }
})

export const main = Effect.fn("main")(function* (prompt = "Which planet has the most moons?") {
  const anthropic = yield* makeProvider
  const first = yield* plain(anthropic, prompt)
  yield* Console.log(first.text)
  const firstLogs = yield* findLogs(first)
  const second = yield* streamed(anthropic, prompt)
  yield* Console.log(second.text)
  const secondLogs = yield* findLogs(second)
  return { plain: { ...first, ...firstLogs }, streamed: { ...second, ...secondLogs } }
})

if (import.meta.filename === process.argv[1]) {
  const live = Layer.provide(GatewayService.layerConfig, Transport.layerFetch)
  NodeRuntime.runMain(Effect.provide(main(), live))
}
