/**
 * The pieces of a streamed answer, and who reads them.
 */
import type { ServerEvent } from "../transport/sse.ts"
import type {
  Citation,
  DecodeOptions,
  FilePart,
  FinishReason,
  ImagePart,
  Json,
  Opaque,
  TokenLogprob,
  Usage
} from "./chat.ts"

/** A piece of a streamed answer. Text and reasoning are never empty when a decoder of this library made them. */
export type Delta =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "reasoning"; readonly text: string }
  /**
   * A fragment of a tool call. The first one of a call has its `id`, made up as in a reply where the provider sends
   * none. The `arguments` of one call, joined, are JSON text; nothing at all stands for `{}`.
   */
  | {
      readonly type: "toolCall"
      /** Which call, counted from 0. */
      readonly index: number
      readonly id?: string
      /** Joined like the arguments. Nearly always it comes at once, with the id. */
      readonly name?: string
      readonly arguments: string
      /** See `ToolCall.signature`. */
      readonly signature?: string
    }
  /** Words of a refusal, see `Reply.refusal`. */
  | { readonly type: "refusal"; readonly text: string }
  /**
   * A signature. It closes the thinking before it (`of: "text"`: the text) or, where there is none or it is `redacted`,
   * stands for thinking that is not shown.
   */
  | { readonly type: "opaque"; readonly opaque: Opaque; readonly redacted?: boolean; readonly of?: "text" }
  /** A source of the text before it. */
  | { readonly type: "citation"; readonly citation: Citation }
  /** Of the tokens since the last ones. */
  | { readonly type: "logprobs"; readonly logprobs: ReadonlyArray<TokenLogprob> }
  /**
   * See `Reply.parts`. Long ones, such as audio, come in pieces. `as`: its neutral form, which goes into
   * `Reply.content`.
   */
  | { readonly type: "part"; readonly part: Json; readonly as?: ImagePart | FilePart }
  /** Tokens so far; the last one counts, and no count is lower than before. It may follow `finish`. */
  | { readonly type: "usage"; readonly usage: Usage }
  /** Who answers: at most one, usually first. */
  | { readonly type: "meta"; readonly model?: string; readonly id?: string; readonly tier?: string }
  /** The answer is complete. Exactly one. */
  | { readonly type: "finish"; readonly reason: FinishReason; readonly stopSequence?: string }
  /** Everything before was the answer of a target that failed: discard it. Made by a router, never by a decoder. */
  | { readonly type: "restart" }

/** Why a stream is not an answer. */
export interface Fault {
  /** Where and why, without any text of the prompt or the answer. */
  readonly issue: string
  /** The error that the stream itself told of, as it came. */
  readonly body?: string
}

/** What an event, or the end of the stream, means. */
export interface Decoded {
  readonly deltas: ReadonlyArray<Delta>
  /** Nothing may follow: the answer is complete, whatever else is on the wire. */
  readonly done?: boolean
  /** The stream failed after these deltas. */
  readonly fault?: Fault
}

/**
 * Reads the events of one stream, in order. Never throws. Once it has told of a fault or of the end, it says so again
 * whatever it is asked.
 */
export interface DeltaDecoder {
  readonly event: (event: ServerEvent) => Decoded
  /** The bytes have ended: the rest of the answer, or a fault when the dialect has not said that it is complete. */
  readonly end: () => Decoded
}

/** How a dialect streams: what changes in the request, and who reads the answer. */
export interface Streaming {
  /** The body of a request with what makes its answer a stream. */
  readonly query: (query: Record<string, unknown>) => Record<string, unknown>
  /** The path for a stream. */
  readonly endpoint: (endpoint: string) => string
  /**
   * A decoder for one stream. Told the body of the request, it holds back less: see `anthropicJsonTool`, the only
   * dialect that looks at it.
   */
  readonly decoder: (query?: Record<string, unknown>, options?: DecodeOptions) => DeltaDecoder
}
