/**
 * Tools that call a model behind the gateway, served over the Model Context Protocol, and called by a client and by a
 * model.
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as Chat from "effect/ai/Chat"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as McpClient from "effect/ai/McpClient"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpServer from "effect/ai/McpServer"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpRouter from "effect/http/HttpRouter"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { GatewayError } from "effect-ai-gateway/GatewayError"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import { reply, scripted } from "./support.ts"

const Translate = Tool.make("translate", {
  description: "Translates a text.",
  parameters: Schema.Struct({ text: Schema.String, to: Schema.Literals(["de", "fr"]) }),
  success: Schema.Struct({ text: Schema.String, target: Schema.String }),
  failure: Schema.Struct({ reason: Schema.String }),
  failureMode: "return"
})

const kit = Toolkit.make(Translate)

const handlers = kit.toLayer(
  Effect.map(LanguageModel.LanguageModel, (model) => ({
    translate: ({ text, to }: typeof Translate.parametersSchema.Type) =>
      model.generateText({ prompt: `${to}: ${text}` }).pipe(
        Effect.map(({ content, text }) => {
          const finish = content.at(-1)
          return { text, target: (finish?.type === "finish" && finish.metadata.gateway?.target) || "none" }
        }),
        Effect.mapError((error) => ({ reason: error.reason._tag }))
      )
  }))
)

const protocol = McpProtocol.v2025_11_25

/** A client of a server on a free port, whose tools call the model of a layer. */
const connect = (model: Layer.Layer<LanguageModel.LanguageModel, GatewayError>) =>
  Effect.gen(function* () {
    const server = createServer()
    const registrations = McpServer.toolkit(kit).pipe(Layer.provide(handlers), Layer.provide(model))
    const options = { name: "tools", version: "1.0.0", protocols: [protocol] } as const
    yield* Layer.build(
      HttpRouter.serve(McpServer.layerHttp({ ...options, path: "/mcp", registrations }), {
        disableLogger: true,
        disableListenLog: true
      }).pipe(Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" })))
    )
    const { port } = server.address() as AddressInfo
    const client = McpClient.layerHttp({ name: "t", version: "1.0.0", protocol, url: `http://127.0.0.1:${port}/mcp` })
    const context = yield* Layer.build(Layer.provide(client, FetchHttpClient.layer))
    return Context.get(context, McpClient.McpClient)
  })

const call = (client: McpClient.McpClient, input: { readonly [name: string]: unknown }) =>
  Effect.gen(function* () {
    const tool = (yield* client.listTools()).find(({ name }) => name === "translate")
    return yield* client.callTool({ tool: tool ?? assert.fail("no tool"), arguments: input })
  })

const route = Route.fallback(Provider.openai.chat("m"), Provider.groq.chat("m"))
const german = { text: "Hello", to: "de" }

describe("a toolkit behind McpServer", () => {
  it.live("answers a client with a model behind the gateway, after a fallback", () => {
    const { layer, seen } = scripted({ openai: [{ status: 503 }], groq: [reply({ content: "Hallo" }, "stop")] }, route)
    return Effect.gen(function* () {
      const client = yield* connect(layer)
      const [tool] = yield* client.listTools()
      assert.deepInclude(tool, { name: "translate", description: "Translates a text." })
      const result = yield* call(client, german)
      assert.isNotTrue(result.isError)
      assert.deepStrictEqual(result.structuredContent, { text: "Hallo", target: "groq/m" })
      assert.deepInclude(seen[1]?.body, { messages: [{ role: "user", content: "de: Hello" }] })
    }).pipe(Effect.scoped)
  })

  it.live("reports only the reason to a client when every target failed", () => {
    const { layer } = scripted({ openai: [{ status: 401 }], groq: [{ status: 429 }] }, route)
    return Effect.gen(function* () {
      const client = yield* connect(layer)
      const result = yield* call(client, german)
      assert.isTrue(result.isError)
      assert.deepStrictEqual(result.content, [{ type: "text", text: '{"reason":"RateLimitError"}' }])
      const wrong = yield* Effect.result(call(client, { text: "Hello", to: "es" }))
      assert.include(JSON.stringify(wrong), "to")
      const again = yield* call(client, german)
      assert.isNotTrue(again.isError)
    }).pipe(Effect.scoped)
  })

  it.live("gives each of many simultaneous clients its own answer", () => {
    const { layer } = scripted(({ body }) => {
      const [{ content }] = (body as { messages: [{ content: string }] }).messages
      return { ...reply({ content: content.slice(4) }, "stop"), delay: 5 }
    }, route)
    return Effect.gen(function* () {
      const client = yield* connect(layer)
      const numbers = Array.from({ length: 50 }, (_, n) => `text ${n}`)
      const results = yield* Effect.forEach(numbers, (text) => call(client, { text, to: "fr" }), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(
        results.map(({ structuredContent }) => structuredContent),
        numbers.map((text) => ({ text, target: "openai/m" }))
      )
    }).pipe(Effect.scoped)
  })

  it.live("stops the provider's request when the client disconnects", () => {
    const { interrupted, layer, seen } = scripted({ openai: [{ never: true }] }, route)
    return Effect.gen(function* () {
      const client = yield* connect(layer)
      const calling = yield* Effect.forkChild(call(client, german))
      while (seen.length === 0) yield* Effect.sleep("5 millis")
      yield* Fiber.interrupt(calling)
      while (interrupted.length === 0) yield* Effect.sleep("5 millis")
      assert.strictEqual(seen.length, 1)
    }).pipe(Effect.scoped)
  })

  it.live("serves another model, which gets the schema of the server and calls it in a Chat", () => {
    const inner = scripted({ openai: [reply({ content: "Hallo" }, "stop")] })
    const tool_calls = [
      { id: "c1", type: "function", function: { name: "mcp__translate", arguments: JSON.stringify(german) } }
    ]
    const outer = scripted({
      openai: [reply({ content: null, tool_calls }, "tool_calls"), reply({ content: "It is Hallo." }, "stop")]
    })
    return Effect.gen(function* () {
      const toolkit = yield* McpClient.toolkit(yield* connect(inner.layer), "mcp__")
      const answer = yield* Effect.gen(function* () {
        const chat = yield* Chat.empty
        yield* chat.generateText({ prompt: "Hello in German?", toolkit })
        return yield* chat.generateText({ prompt: [], toolkit })
      }).pipe(Effect.provide(outer.layer))
      assert.strictEqual(answer.text, "It is Hallo.")
      const [first, second] = outer.seen.map(({ body }) => JSON.stringify(body))
      assert.include(first, '"name":"mcp__translate"')
      assert.include(first, '"enum":["de","fr"]')
      assert.include(second, "Hallo")
    }).pipe(Effect.scoped)
  })
})
