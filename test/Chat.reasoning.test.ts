/**
 * Thinking before tool calls goes back to the models that reject the next turn without it, and to no other.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chat from "effect-ai-gateway/Chat"
import { openaiCompatible } from "../src/internal/dialect/openaiStream.ts"
import { readChat } from "../src/internal/dialect/server/openaiRequestReader.ts"

type Dialect = Chat.Dialect<Chat.Input, Chat.Reply>

const calls = [{ id: "call_0", type: "function", function: { name: "weather", arguments: '{"city":"Lyon"}' } }]

const completion = (message: object) => ({
  id: "c",
  model: "deepseek-v4-pro",
  choices: [{ index: 0, message: { role: "assistant", ...message }, finish_reason: "tool_calls" }]
})

const decoded = (message: object): Chat.Reply => Result.getOrThrow(Chat.openaiCompatible.decode(completion(message)))

/** The same answer as a stream, the thinking in two pieces. */
const streamed = (thought: string, content: string): Chat.Reply => {
  const decoder = openaiCompatible.decoder()
  const deltas = [
    { reasoning_content: thought.slice(0, 4) },
    { reasoning_content: thought.slice(4) },
    { content },
    { tool_calls: [{ index: 0, ...calls[0] }] }
  ].flatMap(
    (delta) => decoder.event({ data: JSON.stringify({ choices: [{ index: 0, delta }] }), event: "message" }).deltas
  )
  const end = { choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] }
  return Result.getOrThrow(
    Chat.collect([...deltas, ...decoder.event({ data: JSON.stringify(end), event: "message" }).deltas])
  )
}

const next = (reply: Chat.Reply): Chat.Request => ({
  messages: [Chat.user("Weather?"), Chat.fromReply(reply), ...reply.toolCalls.map((call) => Chat.tool(call, "sunny"))]
})

const sent = (dialect: Dialect, model: string, request: Chat.Request): Record<string, unknown> =>
  Result.getOrThrow(dialect.encode(request, model))

const assistantOf = (body: Record<string, unknown>): unknown => (body.messages as ReadonlyArray<unknown>)[1]

const thought = "Lyon, so I ask."

describe("a turn in which a model thought and called a tool", () => {
  for (const [way, replyOf] of [
    ["in one piece", (content: string) => decoded({ content, reasoning_content: thought, tool_calls: calls })],
    ["as a stream", (content: string) => streamed(thought, content)]
  ] as const) {
    for (const content of ["", "One moment."]) {
      it(`${way}, ${content === "" ? "without" : "with"} text: goes back to DeepSeek with its thinking`, () => {
        for (const model of ["deepseek-v4-pro", "deepseek-reasoner", "deepseek/deepseek-chat", "kimi-k2-thinking"]) {
          assert.deepStrictEqual(assistantOf(sent(Chat.openaiCompatible, model, next(replyOf(content)))), {
            role: "assistant",
            content,
            reasoning_content: thought,
            tool_calls: calls
          })
        }
        assert.deepInclude(assistantOf(sent(Chat.workersAi, "@cf/moonshotai/kimi-k2.5", next(replyOf(content)))), {
          content,
          reasoning_content: thought
        })
      })

      it(`${way}, ${content === "" ? "without" : "with"} text: goes to any other model as if nothing had been thought`, () => {
        const reply = replyOf(content)
        const { reasoning, ...without } = reply
        assert.strictEqual(reasoning, thought)
        for (const [dialect, model] of [
          [Chat.openai, "gpt-4.1"],
          [Chat.openaiCompatible, "mistral-large-latest"],
          [Chat.openaiCompatible, "llama-3.3-70b-versatile"],
          [Chat.openaiCompatible, "deepseek-r1-distill-llama-70b"],
          [Chat.anthropic, "claude-sonnet-5"],
          [Chat.anthropicJsonTool, "claude-3-haiku"],
          [Chat.google, "gemini-3-pro"],
          [Chat.googleVertex, "gemini-2.5-flash"],
          [Chat.workersAi, "@cf/meta/llama-3.3-70b"]
        ] as const) {
          assert.deepStrictEqual(sent(dialect, model, next(reply)), sent(dialect, model, next(without)))
        }
      })
    }
  }

  it("goes back to DeepSeek with the field even without thinking", () => {
    const silent = next(decoded({ content: null, tool_calls: calls }))
    assert.deepInclude(assistantOf(sent(Chat.openaiCompatible, "deepseek-v4-pro", silent)), { reasoning_content: "" })
    // Kimi rejects an empty one.
    assert.notProperty(assistantOf(sent(Chat.openaiCompatible, "kimi-k2.5", silent)), "reasoning_content")
  })

  it("is a request that can be stored", () => {
    const request = next(decoded({ content: "One moment.", reasoning_content: thought, tool_calls: calls }))
    const json = JSON.parse(JSON.stringify(Schema.encodeSync(Chat.RequestSchema)(request)))
    assert.deepStrictEqual(Schema.decodeUnknownSync(Chat.RequestSchema)(json), request)
  })

  it("is read from a request of OpenAI's shape, as batch files have it", () => {
    const request = next(decoded({ content: "One moment.", reasoning_content: thought, tool_calls: calls }))
    const body = sent(Chat.openaiCompatible, "deepseek-v4-pro", request)
    const read = Result.getOrThrow(readChat(body, "refuse")).request
    assert.deepStrictEqual(sent(Chat.openaiCompatible, "deepseek-v4-pro", read), body)
  })
})

describe("a turn without tool calls", () => {
  it("drops its thinking", () => {
    const reply = decoded({ content: "Sunny.", reasoning_content: thought })
    assert.deepStrictEqual(Chat.fromReply(reply), Chat.assistant("Sunny."))
  })
})

it("rejects a part of reasoning in messages of other roles", () => {
  const part = { type: "reasoning", text: thought }
  for (const [role, accepted] of [
    ["user", "text or image or file"],
    ["system", "text"]
  ] as const) {
    const messages = [{ role, content: [part] }] as unknown as ReadonlyArray<Chat.Message>
    const issue = Result.getOrThrow(Result.flip(Chat.openai.encode({ messages }, "gpt-4.1")))
    assert.deepStrictEqual(issue, { field: "messages[0].content[0].type", accepted })
  }
  const messages = [{ role: "assistant", content: [{ type: "reasoning" }] }] as unknown as ReadonlyArray<Chat.Message>
  const issue = Result.getOrThrow(Result.flip(Chat.openai.encode({ messages }, "gpt-4.1")))
  assert.deepStrictEqual(issue, { field: "messages[0].content[0].text", accepted: "a string" })
})
