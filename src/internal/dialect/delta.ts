/**
 * The pieces of a streamed answer, and their readers.
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
   * A fragment of a tool call. The first one of a call has its `id`, generated as in a reply if the provider sends
   * none. The `arguments` of one call, joined, are JSON text; an empty string stands for `{}`.
   */
  | {
      readonly type: "toolCall"
      /** Number of the call, from 0. */
      readonly index: number
      readonly id?: string
      /** Joined like the arguments. It nearly always arrives in one piece, with the id. */
      readonly name?: string
      readonly arguments: string
      /** See `ToolCall.signature`. */
      readonly signature?: string
    }
  /** Text of a refusal, see `Reply.refusal`. */
  | { readonly type: "refusal"; readonly text: string }
  /**
   * A signature. It closes the thinking before it (`of: "text"`: the text) or, if there is none or it is `redacted`,
   * stands for thinking that is not shown.
   */
  | { readonly type: "opaque"; readonly opaque: Opaque; readonly redacted?: boolean; readonly of?: "text" }
  /** A source of the text before it. */
  | { readonly type: "citation"; readonly citation: Citation }
  /** Log probabilities of the tokens since the last ones. */
  | { readonly type: "logprobs"; readonly logprobs: ReadonlyArray<TokenLogprob> }
  /** See `Reply.parts`. Long ones, such as audio, arrive in pieces. `as`: the neutral form, for `Reply.content`. */
  | { readonly type: "part"; readonly part: Json; readonly as?: ImagePart | FilePart }
  /** Tokens so far: the last one is final, and no count decreases. It may follow `finish`. */
  | { readonly type: "usage"; readonly usage: Usage }
  /** The model that answers: at most one, usually first. */
  | { readonly type: "meta"; readonly model?: string; readonly id?: string; readonly tier?: string }
  /** The answer is complete. Exactly one. */
  | { readonly type: "finish"; readonly reason: FinishReason; readonly stopSequence?: string }
  /** Everything before belongs to a target that failed: discard it. Only a router makes it, never a decoder. */
  | { readonly type: "restart" }

/** The reason why a stream is not an answer. */
export interface Fault {
  /** Where and why, without any text of the prompt or the answer. */
  readonly issue: string
  /** The error that the stream itself reported, unchanged. */
  readonly body?: string
}

/** The meaning of an event, or of the end of the stream. */
export interface Decoded {
  readonly deltas: ReadonlyArray<Delta>
  /** Whether the answer is complete, whatever follows on the wire. */
  readonly done?: boolean
  /** Present if the stream failed after these deltas. */
  readonly fault?: Fault
}

/**
 * Reads the events of one stream, in order. Never throws. After a fault or the end, it repeats that result for any
 * further event.
 */
export interface DeltaDecoder {
  readonly event: (event: ServerEvent) => Decoded
  /** Called at the end of the bytes: returns the rest of the answer, or a fault if the dialect has not completed it. */
  readonly end: () => Decoded
}

/** How a dialect streams: the changes to the request, and the reader of the answer. */
export interface Streaming {
  /** Turns the body of a request into one for a stream. */
  readonly query: (query: Record<string, unknown>) => Record<string, unknown>
  /** Returns the path for a stream. */
  readonly endpoint: (endpoint: string) => string
  /**
   * Makes a decoder for one stream. With the body of the request it holds back less: see `anthropicJsonTool`, the only
   * dialect that uses it.
   */
  readonly decoder: (query?: Record<string, unknown>, options?: DecodeOptions) => DeltaDecoder
}
