/**
 * The OpenAI SDK through AI Gateway: its base URL comes from `getUrl`, and each call's log is found afterwards.
 *
 * Reads `CLOUDFLARE_ACCOUNT_ID`, `AI_GATEWAY_ID` and `OPENAI_API_KEY`, for the logs `CLOUDFLARE_API_TOKEN`, and where
 * they are needed `CF_AIG_TOKEN`, `AI_GATEWAY_URL` and `CLOUDFLARE_API_URL`.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Transport from "effect-ai-gateway/Transport"
import OpenAI from "openai"

const model = "gpt-4.1-mini"

export const makeClient = Effect.gen(function* () {
  const gateway = yield* GatewayService.GatewayService
  const token = yield* Config.option(Config.Redacted("CF_AIG_TOKEN"))
  return new OpenAI({
    baseURL: yield* gateway.getUrl("openai"),
    apiKey: Redacted.value(yield* Config.Redacted("OPENAI_API_KEY")),
    maxRetries: 0,
    defaultHeaders: Option.isSome(token) ? { "cf-aig-authorization": `Bearer ${Redacted.value(token.value)}` } : {}
  })
})

const gatewayHeaders = (eventId: string, call: string) => ({
  "cf-aig-event-id": eventId,
  "cf-aig-metadata": JSON.stringify({ example: "openai-sdk", call })
})

const plain = Effect.fn("plain")(function* (client: OpenAI, prompt: string) {
  const eventId = crypto.randomUUID()
  const { data, response } = yield* Effect.tryPromise((signal) =>
    client.chat.completions
      .create(
        { model, messages: [{ role: "user", content: prompt }] },
        { headers: gatewayHeaders(eventId, "plain"), signal }
      )
      .withResponse()
  )
  return { text: data.choices[0]?.message.content ?? "", logId: response.headers.get("cf-aig-log-id"), eventId }
})

const streamed = Effect.fn("streamed")(function* (client: OpenAI, prompt: string) {
  const eventId = crypto.randomUUID()
  return yield* Effect.tryPromise(async (signal) => {
    const { data, response } = await client.chat.completions
      .create(
        { model, messages: [{ role: "user", content: prompt }], stream: true },
        { headers: gatewayHeaders(eventId, "streamed"), signal }
      )
      .withResponse()
    const pieces: Array<string> = []
    for await (const chunk of data) pieces.push(chunk.choices[0]?.delta.content ?? "")
    return { text: pieces.join(""), pieces, logId: response.headers.get("cf-aig-log-id"), eventId }
  })
})

const findLogs = Effect.fn("findLogs")(function* (call: { readonly logId: string | null; readonly eventId: string }) {
  const gateway = yield* GatewayService.GatewayService
  // A fresh log can lag its answer; by event id it is found even when the answer named no log.
  const log = call.logId === null ? undefined : yield* gateway.getLog(call.logId, { awaitLog: true })
  const { logs } = yield* gateway.listLogs({ eventId: call.eventId })
  yield* Console.log(`  log ${call.logId ?? "unknown"}, ${logs.length} by event id, status ${log?.statusCode}`)
  return { log, logs }
})

export const main = Effect.fn("main")(function* (prompt = "Which planet has the most moons?") {
  const client = yield* makeClient
  const first = yield* plain(client, prompt)
  yield* Console.log(first.text)
  const firstLogs = yield* findLogs(first)
  const second = yield* streamed(client, prompt)
  yield* Console.log(second.text)
  const secondLogs = yield* findLogs(second)
  return { plain: { ...first, ...firstLogs }, streamed: { ...second, ...secondLogs } }
})

if (import.meta.filename === process.argv[1]) {
  const live = Layer.provide(GatewayService.layerConfig, Transport.layerFetch)
  NodeRuntime.runMain(Effect.provide(main(), live))
}
