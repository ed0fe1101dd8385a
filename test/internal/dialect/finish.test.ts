import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Chat from "../../../src/Chat.ts"
import { streaming } from "../../../src/internal/dialect/streaming.ts"
import { vendors } from "../../fixtures/chat/finishReasons.ts"
import { data, doneMark, named, runText } from "../../fixtures/streams/drive.ts"

/** The same word in every dialect, complete and streamed, beside an answer that is not empty. */
const readers: ReadonlyArray<{
  readonly id: string
  readonly dialect: Chat.Dialect<Chat.Input, Chat.Reply>
  readonly body: (word: unknown) => unknown
  readonly stream: (word: unknown) => string
  /** The meaning of an end without a word. */
  readonly none?: Chat.FinishReason
}> = [
  {
    id: "openai",
    dialect: Chat.openai,
    body: (word) => ({ choices: [{ message: { content: "a" }, finish_reason: word }] }),
    stream: (word) => data({ choices: [{ index: 0, delta: { content: "a" }, finish_reason: word }] }) + doneMark
  },
  {
    id: "workers-ai",
    dialect: Chat.workersAi,
    body: (word) => ({ result: { response: "a", finish_reason: word }, success: true }),
    stream: (word) => data({ response: "a", finish_reason: word }) + doneMark,
    none: "stop"
  },
  {
    id: "anthropic",
    dialect: Chat.anthropic,
    body: (word) => ({ content: [{ type: "text", text: "a" }], stop_reason: word }),
    stream: (word) =>
      [
        { type: "message_start", message: {} },
        { type: "content_block_start", index: 0, content_block: { type: "text", text: "a" } },
        { type: "message_delta", delta: { stop_reason: word } },
        { type: "message_stop" }
      ]
        .map(named)
        .join("")
  },
  {
    id: "google",
    dialect: Chat.google,
    body: (word) => ({ candidates: [{ content: { parts: [{ text: "a" }] }, finishReason: word }] }),
    stream: (word) => data({ candidates: [{ content: { parts: [{ text: "a" }] }, finishReason: word }] })
  }
]

describe.each(readers)("finish reasons in the dialect $id", ({ body, dialect, id, none, stream }) => {
  const decoder = () => {
    const found = streaming[id]?.decoder()
    if (found === undefined) throw new Error(`no dialect ${id}`)
    return found
  }
  const words = vendors.flatMap((vendor) =>
    Object.entries(vendor.words).map(([word, meaning]) => ({ vendor: vendor.vendor, word, meaning }))
  )

  it.each(words)("$word of $vendor means the same in a reply and in a stream", ({ meaning, word }) => {
    const reply = dialect.decode(body(word))
    const { deltas, fault } = runText(decoder(), stream(word))
    if (meaning === undefined) {
      assert.isTrue(Result.isFailure(reply))
      assert.include(fault?.issue, `expected an end, not ${word}`)
      assert.isFalse(deltas.some(({ type }) => type === "finish"))
      return
    }
    // Missing calls cannot have ended an answer.
    const isNone = word === "" || word === "null"
    const expected = isNone ? (none ?? "other") : meaning
    const told = meaning !== "toolCalls" ? expected : id === "anthropic" ? "stop" : "other"
    assert.strictEqual(Result.getOrThrow(reply).finishReason, told)
    // A stream without a reason is incomplete, except with other markers of its end.
    if (isNone && (id === "openai" || id === "google")) return assert.isDefined(fault)
    assert.isUndefined(fault)
    assert.strictEqual(deltas.find((delta) => delta.type === "finish")?.reason, told)
  })

  it("reads the object that SGLang writes", () => {
    assert.isTrue(Result.isFailure(dialect.decode(body({ type: "abort", message: "shutdown" }))))
    assert.isDefined(runText(decoder(), stream({ type: "abort", message: "shutdown" })).fault)
  })
})
