/**
 * A conversation of four turns with thinking and tools that changes its provider after each turn. Each request has the
 * provider's documented form, each provider gets back its own signatures and no others, and no content is lost.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "effect-ai-gateway/Chat"
import { deltasOf } from "../src/internal/dialect/deltaDecoder.ts"
import * as strict from "./fixtures/chat/strictReaders.ts"

interface Maker {
  readonly model: string
  readonly dialect: Chat.Dialect<Chat.Input, Chat.Reply>
  /** An answer of the model: thinking, a text, two calls. Its signatures go into `issued`. */
  readonly answer: (turn: number, issued: Map<string, string>) => object
  readonly read: (body: Record<string, unknown>, issued: ReadonlyMap<string, string>) => strict.Read
  /** The values that must come back of one answer. */
  readonly signed: (turn: number) => ReadonlyArray<string>
  /** Whether the thinking of any model comes back, for models that need its text. */
  readonly words?: true
}

const said = (turn: number): string => `Turn ${turn}: one moment.`
const thought = (turn: number): string => `I think ${turn}.`
const args = (turn: number): object => ({ city: `Lyon ${turn}` })

const claude = (model: string): Maker => ({
  model,
  dialect: Chat.anthropic,
  answer: (turn, issued) => {
    issued.set(`sig-${turn}`, thought(turn)).set(`red-${turn}`, "")
    return {
      content: [
        { type: "thinking", thinking: thought(turn), signature: `sig-${turn}` },
        { type: "redacted_thinking", data: `red-${turn}` },
        { type: "text", text: said(turn) },
        { type: "tool_use", id: `toolu_${turn}a`, name: "weather", input: args(turn) },
        { type: "tool_use", id: `toolu_${turn}b`, name: "clock", input: {} }
      ],
      stop_reason: "tool_use"
    }
  },
  read: strict.anthropic,
  signed: (turn) => [`sig-${turn}`, `red-${turn}`]
})

const completion =
  (model: string, id: (turn: number, call: string) => string, more: (turn: number) => object) =>
  (turn: number): object => ({
    model,
    choices: [
      {
        message: {
          content: said(turn),
          ...more(turn),
          tool_calls: [
            {
              id: id(turn, "a"),
              type: "function",
              function: { name: "weather", arguments: JSON.stringify(args(turn)) }
            },
            { id: id(turn, "b"), type: "function", function: { name: "clock", arguments: "{}" } }
          ]
        },
        finish_reason: "tool_calls"
      }
    ]
  })

const makers: ReadonlyArray<Maker> = [
  claude("claude-opus-5"),
  claude("claude-sonnet-4-5"),
  {
    model: "gemini-3-flash",
    dialect: Chat.google,
    answer: (turn, issued) => {
      issued.set(`text-${turn}`, "").set(`call-${turn}`, "")
      return {
        responseId: `r${turn}`,
        candidates: [
          {
            content: {
              parts: [
                { text: thought(turn), thought: true },
                { text: said(turn), thoughtSignature: `text-${turn}` },
                { functionCall: { name: "weather", args: args(turn) }, thoughtSignature: `call-${turn}` },
                { functionCall: { name: "clock", args: {} } }
              ]
            },
            finishReason: "STOP"
          }
        ]
      }
    },
    read: strict.google,
    signed: (turn) => [`text-${turn}`, `call-${turn}`]
  },
  {
    model: "gpt-5.2",
    dialect: Chat.openai,
    answer: completion(
      "gpt-5.2",
      (turn, call) => `call_${turn}${call}`,
      () => ({})
    ),
    read: strict.openai,
    signed: () => []
  },
  {
    model: "gpt-5.1",
    dialect: Chat.openaiResponses,
    answer: (turn, issued) => {
      issued.set(`enc-${turn}`, "")
      return {
        status: "completed",
        output: [
          {
            type: "reasoning",
            id: `rs_${turn}`,
            summary: [{ type: "summary_text", text: thought(turn) }],
            encrypted_content: `enc-${turn}`
          },
          { type: "message", content: [{ type: "output_text", text: said(turn), annotations: [] }] },
          { type: "function_call", call_id: `call_r${turn}a`, name: "weather", arguments: JSON.stringify(args(turn)) },
          { type: "function_call", call_id: `call_r${turn}b`, name: "clock", arguments: "{}" }
        ]
      }
    },
    read: strict.responses,
    signed: (turn) => [`enc-${turn}`]
  },
  {
    model: "deepseek-reasoner",
    dialect: Chat.openaiCompatible,
    answer: completion(
      "deepseek-reasoner",
      (turn, call) => `call.${turn}:${call}${"x".repeat(80)}`,
      (turn) => ({
        reasoning_content: thought(turn)
      })
    ),
    read: strict.deepseek,
    signed: (turn) => [thought(turn)],
    words: true
  },
  {
    model: "mistral-large-latest",
    dialect: Chat.openaiCompatible,
    answer: completion(
      "mistral-large-latest",
      (turn, call) => `abcdefg${turn}${call}`,
      (turn) => ({
        content: [
          { type: "thinking", thinking: [{ type: "text", text: thought(turn) }] },
          { type: "text", text: said(turn) }
        ]
      })
    ),
    read: strict.mistral,
    signed: () => []
  }
]

const tools: ReadonlyArray<Chat.Tool> = ["weather", "clock"].map((name) => ({ name, parameters: { type: "object" } }))

/** Models that read each other's signatures. */
const familyOf = ({ model }: Maker): string => (model.startsWith("claude") ? "claude" : model)

const converse = (first: Maker, second: Maker): void => {
  const issued = new Map(makers.map((maker) => [familyOf(maker), new Map<string, string>()]))
  const issuedBy = (maker: Maker): Map<string, string> => issued.get(familyOf(maker)) ?? new Map()
  const messages: Array<Chat.Message> = []
  const expected: Array<strict.Said> = []
  const answered: Array<Maker> = []
  const check = (maker: Maker): void => {
    const request: Chat.Request = { messages, tools, maxTokens: 2000, reasoning: { effort: "high" } }
    const { dialect, model } = maker
    const body = JSON.parse(JSON.stringify(Result.getOrThrow(dialect.encode(request, model))))
    const read = maker.read(body, issuedBy(maker))
    assert.deepStrictEqual(read.said, expected, model)
    const wanted = answered.flatMap((by, turn) => {
      if (familyOf(by) === familyOf(maker)) return maker.signed(turn)
      // OpenAI's thinking is never shown in words.
      return maker.words ? [by.model === "gpt-5.2" ? "" : thought(turn)] : []
    })
    assert.deepStrictEqual(read.signatures, wanted, `${model} gets what it signed`)
    for (const other of makers) {
      if (familyOf(other) === familyOf(maker)) continue
      for (const value of issuedBy(other).keys()) assert.notInclude(JSON.stringify(body), value, model)
    }
  }
  for (let turn = 0; turn < 4; turn++) {
    const question = `Question ${turn}?`
    messages.push(Chat.user(question))
    expected.push({ type: "text", role: "user", text: question })
    const maker = turn % 2 === 0 ? first : second
    const other = turn % 2 === 0 ? second : first
    check(maker)
    const decoded = Result.getOrThrow(maker.dialect.decode(maker.answer(turn, issuedBy(maker))))
    // Every other answer was streamed, and the conversation was stored in between.
    const reply = turn % 2 === 0 ? decoded : Result.getOrThrow(Chat.collect(deltasOf(decoded)))
    answered.push(maker)
    messages.push(
      JSON.parse(JSON.stringify(Chat.fromReply(reply))),
      ...reply.toolCalls.map((call, i) => Chat.tool(call, `result ${turn}.${i}`))
    )
    expected.push(
      { type: "text", role: "assistant", text: said(turn) },
      { type: "call", name: "weather", args: args(turn) },
      { type: "call", name: "clock", args: {} },
      { type: "result", name: "weather", text: `result ${turn}.0` },
      { type: "result", name: "clock", text: `result ${turn}.1` }
    )
    // The results of the tools may go to either: the model that called them, or the next one.
    check(maker)
    check(other)
  }
}

describe("a conversation that changes its provider after each turn", () => {
  for (const first of makers) {
    for (const second of makers) {
      it(`goes from ${first.model} to ${second.model} and back`, () => converse(first, second))
    }
  }
})
