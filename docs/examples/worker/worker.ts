/**
 * A chat with a fallback chain, and a place for feedback that ends on the log of the right answer.
 *
 *     POST /chat      { "message": "…" }                  → { "answer", "logId", "provider", "attempts" }
 *     POST /feedback  { "logId": "…", "feedback": 1 }     → 204; `feedback` is 1 or -1
 *
 * `npm run example:worker` runs it without a network; `wrangler deploy` runs it at Cloudflare.
 */
import type { Ai } from "@cloudflare/workers-types"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Chat from "effect-ai-gateway/Chat"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Worker from "effect-ai-gateway/worker"

interface Env {
  readonly AI: Ai
  readonly AI_GATEWAY_ID: string
}

const ask = Route.fallback(
  Provider.openai.chat("gpt-4.1-mini"),
  Provider.anthropic.messages("claude-haiku-4-5"),
  Provider.workersAi.chat("@cf/meta/llama-3.1-8b-instruct")
).pipe(Route.timeout("10 seconds"), Route.deadline("25 seconds"), Route.metadata({ app: "example" }))

const Question = Schema.Struct({ message: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(4000)) })
const Feedback = Schema.Struct({ logId: Schema.String, feedback: Schema.Literals([1, -1]) })

/** The body of a request. What does not decode is the client's mistake. */
const bodyOf = <A>(schema: Schema.Codec<A, unknown>, request: Request) =>
  Effect.tryPromise(() => request.json()).pipe(
    Effect.flatMap(Schema.decodeUnknownEffect(schema)),
    Effect.mapError(() => new Response("expected another body, see the source\n", { status: 400 }))
  )

/** Costs and tokens are in the log, which is there a moment after the answer. */
const account = Effect.fnUntraced(function* (logId: string) {
  const gateway = yield* GatewayService.GatewayService
  const { cost, tokensIn, tokensOut } = yield* gateway.getLog(logId, { awaitLog: true })
  yield* Effect.logInfo("answered", { logId, tokensIn, tokensOut, cost })
})

const chat = Effect.fnUntraced(function* (request: Request) {
  const { message } = yield* bodyOf(Question, request)
  const { attempts, logId, provider, value } = yield* Router.run(ask, {
    messages: [Chat.user(message)],
    maxTokens: 300
  })
  if (logId !== undefined) yield* Worker.waitUntil(account(logId))
  return Response.json({ answer: value.text, logId, provider, attempts: attempts.length })
})

const rate = Effect.fnUntraced(function* (request: Request) {
  const { feedback, logId } = yield* bodyOf(Feedback, request)
  const gateway = yield* GatewayService.GatewayService
  yield* gateway.patchLog(logId, { feedback })
  return new Response(null, { status: 204 })
})

const handle = (request: Request) => {
  switch (`${request.method} ${new URL(request.url).pathname}`) {
    case "POST /chat":
      return chat(request)
    case "POST /feedback":
      return rate(request)
    default:
      return Effect.succeed(new Response("POST /chat or POST /feedback\n", { status: 404 }))
  }
}

export default Worker.make({
  layer: (env: Env) =>
    Layer.provideMerge(
      Router.layer,
      Layer.unwrap(
        Effect.map(Config.String("AI_GATEWAY_ID"), (gateway) => GatewayService.layerBinding(env.AI, { gateway }))
      )
    ),
  fetch: (request) => Effect.catchIf(handle(request), (error) => error instanceof Response, Effect.succeed)
})
