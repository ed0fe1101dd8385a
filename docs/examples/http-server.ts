/**
 * An HTTP service with Effect's `HttpRouter`: chat, the same as a stream, and feedback on the answer that a client got.
 *
 * As a program it listens on port 3000 over the embedded local gateway:
 * `node --conditions=effect-ai-gateway-source docs/examples/http-server.ts`.
 */
import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as LocalGateway from "effect-ai-gateway/local"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"

const ask = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.anthropic.messages("claude-haiku-4-5")).pipe(
  Route.firstTokenTimeout("3 seconds"),
  Route.idleTimeout("10 seconds"),
  Route.deadline("1 minute")
)

const Question = Schema.Struct({ prompt: Schema.NonEmptyString.check(Schema.isMaxLength(4_000)) })
const Rating = Schema.Struct({ logId: Schema.NonEmptyString, feedback: Schema.Literals([-1, 1]) })

/**
 * A body that is not what the handler wants is answered with 400 by Effect, a `GatewayError` with the status of its
 * reason.
 */
const chat = HttpRouter.add(
  "POST",
  "/chat",
  Effect.gen(function* () {
    const { prompt } = yield* HttpServerRequest.schemaBodyJson(Question)
    const { logId, value } = yield* Router.run(ask, prompt)
    return yield* HttpServerResponse.json({ text: value.text, logId })
  })
)

/** The client sees the words as they are generated. When it leaves, the request to the provider ends. */
const stream = HttpRouter.add(
  "POST",
  "/chat/stream",
  Effect.gen(function* () {
    const { prompt } = yield* HttpServerRequest.schemaBodyJson(Question)
    const response = yield* StreamResponse.fromRoute(ask, prompt, {
      onEnd: ({ logId, outcome, usage }) => Effect.logInfo(outcome, { logId, outputTokens: usage?.outputTokens })
    })
    return HttpServerResponse.fromWeb(response)
  })
)

/** The log id came with the answer: in the body of `/chat`, in the header `cf-aig-log-id` of `/chat/stream`. */
const feedback = HttpRouter.add(
  "POST",
  "/feedback",
  Effect.gen(function* () {
    const { feedback, logId } = yield* HttpServerRequest.schemaBodyJson(Rating)
    const gateway = yield* GatewayService.GatewayService
    yield* gateway.patchLog(logId, { feedback })
    return HttpServerResponse.empty()
  })
)

/** The service. It needs a router and its gateway, and does not know which ones. */
export const routes = Layer.mergeAll(chat, stream, feedback)

if (import.meta.main) {
  const services = Layer.provideMerge(Router.layer, LocalGateway.layer())
  const server = NodeHttpServer.layer(createServer, { port: 3000, host: "127.0.0.1" })
  HttpRouter.serve(routes).pipe(Layer.provide([services, server]), Layer.launch, NodeRuntime.runMain)
}
