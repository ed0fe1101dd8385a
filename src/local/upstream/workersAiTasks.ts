/**
 * Models of Workers AI that do not chat. The name determines a model's task; shapes are those of
 * `@cloudflare/workers-types`.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import { isRecord } from "../../internal/data/json.ts"
import type { Issue } from "../../internal/dialect/codec.ts"
import { json } from "../wire/errors.ts"
import type { Answer, UpstreamRequest } from "../wire/protocol.ts"
import { workersAiContexts, workersAiEmbeddings } from "./embeddings.ts"
import { items, words } from "./prompts.ts"
import type { Fields } from "./schemaCheck.ts"

/** Input of a task. */
interface Given {
  readonly body: Fields
  readonly model: string
  /** Bytes of a body that is not JSON, such as audio. */
  readonly bytes: number
  readonly dimensions: number
  /** The echo's text for a prompt. */
  readonly say: (prompt: string) => string
}

/** A result for the envelope, or bytes of a content type. */
type Output = { readonly result: unknown } | { readonly bytes: Uint8Array<ArrayBuffer>; readonly type: string }

type Task = (given: Given) => Result.Result<Output, Issue>

const result = (value: unknown): Result.Result<Output, Issue> => Result.succeed({ result: value })

/** A picture of one transparent point. */
const picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

/** One silent frame of MP3: 26 milliseconds. */
const silence = (): Uint8Array<ArrayBuffer> => {
  const frame = new Uint8Array(417)
  frame.set([0xff, 0xfb, 0x90, 0x64])
  return frame
}

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(Result.getOrElse(Base64.decode(base64), () => new Uint8Array(0)))

const textOf = (u: unknown): string => (typeof u === "string" ? u : "")

/** Bytes of media in JSON: an array of numbers, base64, or `{ body }` of one of them. */
const sizeOf = (media: unknown): number => {
  if (Array.isArray(media)) return media.length
  if (typeof media === "string") return Math.floor((media.replace(/=+$/, "").length * 3) / 4)
  return isRecord(media) ? sizeOf(media["body"]) : 0
}

const heard = ({ body, bytes, say }: Given): string => say(`${bytes + sizeOf(body["audio"])} bytes of audio`)

const seen = ({ body, bytes, say }: Given): string =>
  say(textOf(body["prompt"]) || `${bytes + sizeOf(body["image"])} bytes of image`)

/** Words of a transcript, one each second. */
const timed = (text: string) => text.split(/\s+/).map((word, i) => ({ word, start: i, end: i + 1 }))

const clock = (seconds: number): string =>
  `00:${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}.000`

const captions = (text: string): string => `WEBVTT\n\n${clock(0)} --> ${clock(timed(text).length)}\n${text}\n`

const whisper: Task = (given) => {
  const text = heard(given)
  return result({ text, word_count: words(text), words: timed(text), vtt: captions(text) })
}

const whisperTurbo: Task = (given) => {
  const text = heard(given)
  const duration = words(text)
  return result({
    transcription_info: {
      language: textOf(given.body["language"]) || "en",
      language_probability: 1,
      duration,
      duration_after_vad: duration
    },
    text,
    word_count: duration,
    segments: [
      {
        start: 0,
        end: duration,
        text,
        temperature: 0,
        avg_logprob: 0,
        compression_ratio: 1,
        no_speech_prob: 0,
        words: timed(text)
      }
    ],
    vtt: captions(text)
  })
}

const nova: Task = (given) => {
  const transcript = heard(given)
  const alternative = {
    confidence: 1,
    transcript,
    words: timed(transcript).map((word) => ({ ...word, confidence: 1 }))
  }
  return result({ results: { channels: [{ alternatives: [alternative] }] } })
}

const labels = (...names: ReadonlyArray<string>) =>
  names.map((label, i) => ({ label, score: i === 0 ? 0.75 : 0.25 / (names.length - 1) }))

/** Share of the query's words in a text, from 0 to 1: documents about the query come first. */
const overlap = (query: string, text: string): number => {
  const asked = new Set(
    query
      .toLowerCase()
      .split(/\W+/)
      .filter((word) => word !== "")
  )
  const has = new Set(text.toLowerCase().split(/\W+/))
  return asked.size === 0 ? 0 : [...asked].filter((word) => has.has(word)).length / asked.size
}

const rerank: Task = ({ body }) => {
  const query = textOf(body["query"])
  const scored = items(body["contexts"]).map((context, id) => ({
    id,
    score: overlap(query, isRecord(context) ? textOf(context["text"]) : "")
  }))
  const most = typeof body["top_k"] === "number" ? body["top_k"] : scored.length
  return result({ response: scored.sort((a, b) => b.score - a.score || a.id - b.id).slice(0, Math.max(0, most)) })
}

const embed: Task = (given) => {
  const { body, dimensions } = given
  if (body["contexts"] === undefined) {
    return Result.map(workersAiEmbeddings(body, dimensions), (value) => ({ result: value }))
  }
  if (body["query"] !== undefined) return rerank(given)
  return Result.map(workersAiContexts(body, dimensions), (value) => ({ result: value }))
}

/** Tasks in order; the first whose pattern matches the model's name applies. */
const tasks: ReadonlyArray<readonly [RegExp, Task]> = [
  [/reranker/, rerank],
  [/(^|[/-])(bge|embedding|embeddinggemma)/, embed],
  [/whisper-large-v3-turbo/, whisperTurbo],
  [/whisper/, whisper],
  [/\/nova-\d/, nova],
  [/nemotron-speech/, (given) => result({ text: heard(given), duration: words(heard(given)) })],
  [/melotts/, () => result({ audio: Base64.encode(silence()) })],
  [/\/aura-\d/, () => Result.succeed({ bytes: silence(), type: "audio/mpeg" })],
  [/black-forest-labs\/|lucid-origin/, () => result({ image: picture })],
  [/stable-diffusion|dreamshaper|phoenix-1/, () => Result.succeed({ bytes: bytesOf(picture), type: "image/png" })],
  [/llava|uform/, (given) => result({ description: seen(given) })],
  [/\/resnet/, () => result(labels("ECHO", "MIRROR", "VALLEY"))],
  [
    /\/detr-/,
    () => result(labels("echo", "mirror").map((found) => ({ ...found, box: { xmin: 0, ymin: 0, xmax: 1, ymax: 1 } })))
  ],
  [/distilbert/, () => result(labels("POSITIVE", "NEGATIVE"))],
  [/m2m100/, ({ body, say }) => result({ translated_text: say(textOf(body["text"])) })],
  [
    /indictrans/,
    ({ body, say }) => {
      const text = body["text"]
      return result({ translations: (Array.isArray(text) ? text : [text]).map((one) => say(textOf(one))) })
    }
  ],
  [/bart-large/, ({ body, say }) => result({ summary: say(textOf(body["input_text"])) })],
  [/smart-turn/, () => result({ is_complete: true, probability: 1 })]
]

const openAiShaped =
  /^@cf\/(openai\/gpt-oss|zai-org\/glm|moonshotai\/kimi|nvidia\/nemotron-3|google\/gemma-4|deepseek-ai\/deepseek-v4|qwen\/qwen3|aisingapore\/gemma-sea-lion)/

/**
 * Whether a chat model of Workers AI answers with OpenAI's completions (`choices`), as newer ones do, instead of
 * `response`.
 */
export const answersAsOpenAi = (model: string): boolean => openAiShaped.test(model)

/** A result in the envelope of Workers AI. */
export const enveloped = (result: unknown) => ({ result, success: true, errors: [], messages: [] })

/** The answer of a model that does not chat, or `undefined` for one that does. */
export const taskAnswer = (
  request: UpstreamRequest,
  given: Pick<Given, "dimensions" | "say">,
  refused: (issue: Issue) => Answer
): Answer | undefined => {
  const { body, json: read, model = "" } = request
  const [, task] = tasks.find(([pattern]) => pattern.test(model)) ?? []
  if (task === undefined) return undefined
  const bytes = read === undefined ? (body?.length ?? 0) : 0
  const made = task({ ...given, body: isRecord(read) ? read : {}, bytes, model })
  if (Result.isFailure(made)) return refused(made.failure)
  const output = made.success
  return "bytes" in output
    ? { status: 200, headers: { "content-type": output.type }, body: output.bytes }
    : json(200, enveloped(output.result))
}
