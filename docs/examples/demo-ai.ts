/**
 * `npm run demo -- --ai`: a program of `effect/ai` with a tool and an object, whose first provider fails.
 *
 * The program itself knows nothing of a gateway; what happened is in the metadata of its answers.
 */
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Response from "effect/ai/Response"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { GatewayLanguageModel, type GatewayModel } from "effect-ai-gateway/ai"
import type * as LocalGateway from "effect-ai-gateway/local"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { check, heading, run } from "./demo-support.ts"

const ask = Route.fallback(
  Provider.openai.chat("gpt-4.1-mini").pipe(Route.retry({ attempts: 2, delay: "100 millis" })),
  Provider.anthropic.messages("claude-haiku-4-5")
).pipe(Route.deadline("30 seconds"), Route.metadata({ app: "demo" }))

const Stock = Tool.make("stock", {
  description: "How many of an article are in stock.",
  parameters: Schema.Struct({ article: Schema.String }),
  success: Schema.Int
})
const Tools = Toolkit.make(Stock)
const ToolsLive = Tools.toLayer({
  stock: ({ article }) => Effect.as(Console.log(`  the tool was called for ${JSON.stringify(article)}\n`), 7)
})

const Article = Schema.Struct({ name: Schema.String, inStock: Schema.Boolean })

const factsOf = (parts: ReadonlyArray<Response.AnyPart>): GatewayModel.AnswerMetadata => {
  const gateway = parts.find((part) => part.type === "finish")?.metadata.gateway
  if (!gateway) throw new Error("NOT TRUE: the answer has metadata of the gateway")
  return gateway
}

const show = ({ attempts, logId, target }: GatewayModel.AnswerMetadata) =>
  Effect.gen(function* () {
    for (const one of attempts) {
      const end = one.reason === null ? one.outcome : `${one.reason}${one.status === null ? "" : ` ${one.status}`}`
      yield* Console.log(
        `  ${one.target.padEnd(28)} ${String(one.cause).padEnd(9)} ${end.padEnd(24)} ${one.milliseconds} ms`
      )
    }
    yield* Console.log("")
    yield* check(`${target} answered, under log id ${logId}`, logId !== null && attempts.at(-1)?.logId === logId)
  })

const reasons = ({ attempts }: GatewayModel.AnswerMetadata): string =>
  attempts.map(({ reason }) => reason ?? "success").join()

const words = { id: "c1", model: "m", choices: [{ message: { content: "Certainly!" }, finish_reason: "stop" }] }

const program = (local: LocalGateway.LocalGateway | undefined) =>
  Effect.gen(function* () {
    yield* heading("A tool, and a provider that fails twice")
    if (local !== undefined) yield* local.script("openai", [{ status: 503 }, { status: 429 }])
    const called = yield* LanguageModel.generateText({
      prompt: "Is article 4711 in stock?",
      toolkit: Tools,
      toolChoice: "required"
    })
    yield* show(factsOf(called.content))
    yield* check(`the tool's result is ${called.toolResults[0]?.result}`, called.toolResults[0]?.result === 7)
    if (local !== undefined) {
      yield* check(
        "two failures, then an answer",
        reasons(factsOf(called.content)) === "ProviderUnavailable,RateLimited,success"
      )
    }

    yield* heading("An object, which the first provider answers with words")
    if (local !== undefined) yield* local.script("openai", [{ status: 200, body: words }])
    const { content, value } = yield* LanguageModel.generateObject({
      prompt: "Describe article 4711.",
      schema: Article
    })
    yield* Console.log(`  ${JSON.stringify(value)}\n`)
    yield* show(factsOf(content))
    if (local !== undefined) {
      yield* check(
        "words are no object, so the next provider was called",
        reasons(factsOf(content)) === "InvalidResponse,success"
      )
    }

    yield* heading("A stream, which breaks before its first word")
    if (local !== undefined) yield* local.script("openai", [{ stream: { errorAfter: { deltas: 0 } } }])
    process.stdout.write("  ")
    const parts = yield* LanguageModel.streamText({ prompt: "Which planet has the most moons?" }).pipe(
      Stream.tap((part) => Effect.sync(() => part.type === "text-delta" && process.stdout.write(part.delta))),
      Stream.runCollect
    )
    process.stdout.write("\n\n")
    yield* show(factsOf(parts))
    yield* check("it ends with its finish", parts.at(-1)?.type === "finish")
  })

/** The demo. */
export const ai = run((local) =>
  program(local).pipe(
    Effect.provide(Layer.merge(GatewayLanguageModel.layer(ask), ToolsLive)),
    Effect.provideService(References.MinimumLogLevel, "Error")
  )
)
