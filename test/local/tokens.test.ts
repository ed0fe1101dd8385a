/** Token counts: a log has the counts that a client reads in the answer. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Chat from "../../src/Chat.ts"
import { streaming } from "../../src/internal/dialect/streaming.ts"
import * as LocalGateway from "../../src/local/LocalGateway.ts"
import * as Upstream from "../../src/local/Upstream.ts"
import { data, named, runText } from "../fixtures/streams/drive.ts"
import { call, dataPlane, logs } from "./support.ts"

interface Case {
  readonly name: string
  readonly dialect: Chat.Dialect<Chat.Input, Chat.Reply>
  readonly path: string
  readonly stream: boolean
  /** The upstream's answer; the echo's when absent. */
  readonly answer?: string
}

const openai = { dialect: Chat.openai, path: "openai/chat/completions" }
const anthropic = { dialect: Chat.anthropic, path: "anthropic/v1/messages" }
const gemini = "google-ai-studio/v1beta/models/gemini"
const google = { dialect: Chat.google, path: `${gemini}:generateContent` }
const googleStream = { dialect: Chat.google, path: `${gemini}:streamGenerateContent?alt=sse` }
const workersAi = { dialect: Chat.workersAi, path: "workers-ai/@cf/meta/llama" }

const cached = { input_tokens: 3, cache_creation_input_tokens: 20, cache_read_input_tokens: 100 }
const thoughts = { promptTokenCount: 5, candidatesTokenCount: 2, thoughtsTokenCount: 7, totalTokenCount: 14 }
const candidates = [{ content: { role: "model", parts: [{ text: "Hi" }] }, finishReason: "STOP", index: 0 }]
const block = { type: "text", text: "Hi" }
const start = (usage: object): string => named({ type: "message_start", message: { id: "m", model: "c", usage } })
const text = named({ type: "content_block_start", index: 0, content_block: block })
const end = (usage: object): string =>
  text +
  named({ type: "content_block_stop", index: 0 }) +
  named({ type: "message_delta", delta: { stop_reason: "end_turn" }, usage }) +
  named({ type: "message_stop" })

const cases: ReadonlyArray<Case> = [
  { name: "the echo, OpenAI", ...openai, stream: false },
  { name: "the echo, OpenAI as a stream", ...openai, stream: true },
  { name: "the echo, Anthropic", ...anthropic, stream: false },
  { name: "the echo, Anthropic as a stream", ...anthropic, stream: true },
  { name: "the echo, Google", ...google, stream: false },
  { name: "the echo, Google as a stream", ...googleStream, stream: true },
  { name: "the echo, Workers AI", ...workersAi, stream: false },
  { name: "the echo, Workers AI as a stream", ...workersAi, stream: true },
  {
    name: "a cache beside the input",
    ...anthropic,
    stream: false,
    answer: JSON.stringify({ content: [block], stop_reason: "end_turn", usage: { ...cached, output_tokens: 4 } })
  },
  {
    name: "a cache that only the first event counts",
    ...anthropic,
    stream: true,
    answer: start({ ...cached, output_tokens: 1 }) + end({ input_tokens: null, output_tokens: 4 })
  },
  {
    name: "thoughts beside the candidates",
    ...google,
    stream: false,
    answer: JSON.stringify({ candidates, usageMetadata: thoughts })
  },
  {
    name: "thoughts beside the candidates of a stream",
    ...googleStream,
    stream: true,
    answer: data({ candidates, usageMetadata: thoughts })
  }
]

const query = ({ dialect, stream }: Case): object => {
  const body = Result.getOrThrow(dialect.encode("Hello you there", "m"))
  return stream ? (streaming[dialect.id]?.query(body) ?? body) : body
}

const usageIn = ({ dialect, stream }: Case, body: string): Chat.Usage => {
  if (!stream) return Result.getOrThrow(dialect.decode(JSON.parse(body))).usage
  const decoder = streaming[dialect.id]?.decoder()
  if (decoder === undefined) throw new Error(`no stream of ${dialect.id}`)
  return Result.getOrThrow(Chat.collect(runText(decoder, body).deltas)).usage
}

describe("the tokens of a log", () => {
  for (const one of cases) {
    it.effect(`equal those that a client counts: ${one.name}`, () =>
      Effect.gen(function* () {
        const { answer } = one
        const type = one.stream ? "text/event-stream" : "application/json"
        const upstream = Upstream.make(() =>
          Effect.succeed({ status: 200, headers: { "content-type": type }, body: answer ?? null })
        )
        const gateway = yield* LocalGateway.make(
          answer === undefined
            ? {}
            : { upstreams: { openai: upstream, anthropic: upstream, "google-ai-studio": upstream } }
        )
        const { status, text } = yield* call(gateway, "POST", `${dataPlane}/${one.path}`, query(one))
        assert.strictEqual(status, 200)
        const { inputTokens, outputTokens } = usageIn(one, text)
        assert.isAbove(outputTokens ?? 0, 0)
        const [entry] = (yield* call(gateway, "GET", logs)).json.result
        assert.deepStrictEqual([entry.tokens_in, entry.tokens_out], [inputTokens, outputTokens])
      })
    )
  }

  it.effect("never fall: a last event that repeats the input as 0 is ignored", () =>
    Effect.gen(function* () {
      const answer = start({ input_tokens: 19, output_tokens: 1 }) + end({ input_tokens: 0, output_tokens: 4 })
      const upstream = Upstream.make(() =>
        Effect.succeed({ status: 200, headers: { "content-type": "text/event-stream" }, body: answer })
      )
      const gateway = yield* LocalGateway.make({ upstreams: { anthropic: upstream } })
      yield* call(gateway, "POST", `${dataPlane}/${anthropic.path}`, { model: "m", stream: true })
      const [entry] = (yield* call(gateway, "GET", logs)).json.result
      assert.deepStrictEqual([entry.tokens_in, entry.tokens_out], [19, 4])
    })
  )
})
