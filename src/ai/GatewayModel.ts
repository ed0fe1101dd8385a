/**
 * Options of single calls, and the gateway's metadata in answers and errors of `effect/ai`.
 */
import type { AiError } from "effect/ai/AiError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Chat from "../Chat.ts"
import type { Attempt, Cost, GatewayError } from "../GatewayError.ts"
import type * as GatewayOptions from "../GatewayOptions.ts"
import type * as Router from "../Router.ts"
import { originOf } from "./failure.ts"

/**
 * Fields of a chat request that `effect/ai` has no options for, such as `maxTokens` and `reasoning`.
 *
 * @category options
 */
export type RequestFields = Omit<Chat.Request, "messages" | "tools" | "toolChoice" | "output">

/**
 * Options of one call. Absent fields keep the defaults of the route, the router and the provider.
 *
 * @category options
 */
export interface Options
  extends Pick<GatewayOptions.Input, "cache" | "metadata" | "log" | "eventId">,
    Pick<Router.RunOptions, "session" | "priority" | "maxCost" | "headers" | "execution"> {
  /** Limit of the complete call, including all attempts. The shorter of this one and the route's own applies. */
  readonly deadline?: Duration.Input | undefined
  /** Fields of the chat request, for example `maxTokens`. An embedding ignores them. */
  readonly request?: RequestFields | undefined
}

/**
 * Options of a program's calls. The route's own `cache`, `metadata` and `log` win; an invalid value fails the call
 * before anything is sent.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "effect/ai/LanguageModel"
 * import * as Effect from "effect/Effect"
 * import { GatewayModel } from "effect-ai-gateway/ai"
 *
 * export const answer = LanguageModel.generateText({ prompt: "What is a fiber?" }).pipe(
 *   Effect.provideService(GatewayModel.Config, {
 *     cache: { ttl: "1 hour" },
 *     metadata: { tenant: "acme" },
 *     session: "conversation-42",
 *     deadline: "20 seconds",
 *     request: { maxTokens: 200 }
 *   })
 * )
 * ```
 *
 * @category options
 */
export const Config: Context.Reference<Options> = Context.Reference<Options>(
  "effect-ai-gateway/ai/GatewayModel/Config",
  {
    defaultValue: () => ({})
  }
)

/**
 * One attempt of a call, in JSON.
 *
 * @category models
 */
export type AttemptMetadata = {
  readonly target: string
  readonly cause: NonNullable<Attempt["cause"]> | null
  readonly outcome: Attempt["outcome"]
  /** The reason of the failure: the tag of a reason of `GatewayError`. */
  readonly reason: string | null
  readonly status: number | null
  readonly logId: string | null
  readonly milliseconds: number
  /** Hints of the request that the target did not get: see `Losses` of `Chat`. */
  readonly dropped: Array<string>
}

/**
 * US dollars: see `Cost` of `GatewayError`.
 *
 * @category models
 */
export type CostMetadata = { readonly [K in keyof Cost]: number }

/**
 * `metadata.gateway` of the finish part: the target that answered, the log id, the attempts and the cost.
 *
 * @category models
 */
export type AnswerMetadata = {
  readonly target: string
  readonly provider: string
  readonly model: string | null
  /** `null` if the transport cannot know it. */
  readonly logId: string | null
  readonly eventId: string
  readonly execution: "client" | "gateway"
  readonly cacheStatus: string | null
  /** Every attempt, in order of start. */
  readonly attempts: Array<AttemptMetadata>
  /** Targets that were skipped, with the tag of the reason. */
  readonly skipped: Array<{ readonly target: string; readonly reason: string }>
  /** Cost of all attempts together; `null` if the router has no prices. */
  readonly cost: CostMetadata | null
  /** Output that `effect/ai` has no part for, as the provider wrote it: audio, images by URL. */
  readonly otherParts: Array<Json>
  /** The stop sequence that ended the answer. */
  readonly stopSequence: string | null
  /** Service tier that the request got, in the provider's words. */
  readonly tier: string | null
  /** Tokens with their log probabilities: `Chat.TokenLogprob`. */
  readonly logprobs: Array<Json>
}

/**
 * JSON as `effect/ai` types it.
 *
 * @category models
 */
export type Json = null | string | number | boolean | Array<Json> | { [key: string]: Json }

/**
 * `metadata.gateway` of the reason of an `AiError`.
 *
 * @category models
 */
export type FailureMetadata = {
  /** The tag of the reason of the `GatewayError`. */
  readonly reason: string
  readonly status: number | null
  readonly code: string | null
  readonly logId: string | null
  readonly eventId: string | null
  readonly ended: string | null
  readonly attempts: Array<AttemptMetadata>
  readonly cost: CostMetadata | null
}

/**
 * An opaque value that only its provider understands, and expects back in the next turn: `Opaque` of `Chat`.
 *
 * @category models
 */
export type OpaqueMetadata = { readonly origin: string; readonly value: string; readonly id?: string }

/**
 * `metadata.gateway` of the parts of an answer; `Chat` keeps it as `options.gateway` of the prompt.
 *
 * @category models
 */
export type PartMetadata = {
  readonly opaque?: OpaqueMetadata
  /** For tool calls: see `signature` of `Chat.ToolCall`. */
  readonly signature?: string
  /** For reasoning: the provider encrypted it. */
  readonly redacted?: boolean
  /** For text: it is a refusal. */
  readonly refusal?: boolean
}

/**
 * `metadata.gateway` of a source: the quoted text and its position.
 *
 * @category models
 */
export type SourceMetadata = { readonly quote?: string; readonly start?: number; readonly end?: number }

/**
 * `options.gateway` of the parts of a prompt: hints for the provider.
 *
 * @category models
 */
export type PromptOptions = PartMetadata & {
  /** The provider may cache the prompt up to here: `CachePoint` of `Chat`. */
  readonly cache?: { readonly ttl?: "5m" | "30m" | "1h" }
  /** For images: how closely to look. */
  readonly detail?: "auto" | "low" | "high" | "original"
}

/**
 * Returns the `GatewayError` behind an `AiError`, with every attempt; absent for errors without a gateway and for
 * serialized ones.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "effect/ai/LanguageModel"
 * import * as Effect from "effect/Effect"
 * import { GatewayModel } from "effect-ai-gateway/ai"
 *
 * export const program = LanguageModel.generateText({ prompt: "What is a fiber?" }).pipe(
 *   Effect.tapError((error) => Effect.logError(GatewayModel.failureOf(error)?.attempts ?? []))
 * )
 * ```
 *
 * @category getters
 */
export const failureOf = (error: AiError): GatewayError | undefined => originOf(error.reason)

declare module "effect/ai/Response" {
  interface FinishPartMetadata {
    readonly gateway?: AnswerMetadata | null
  }
  interface ToolCallPartMetadata {
    readonly gateway?: PartMetadata | null
  }
  interface TextPartMetadata {
    readonly gateway?: PartMetadata | null
  }
  interface TextEndPartMetadata {
    readonly gateway?: PartMetadata | null
  }
  interface ReasoningPartMetadata {
    readonly gateway?: PartMetadata | null
  }
  interface ReasoningEndPartMetadata {
    readonly gateway?: PartMetadata | null
  }
  interface UrlSourcePartMetadata {
    readonly gateway?: SourceMetadata | null
  }
  interface DocumentSourcePartMetadata {
    readonly gateway?: SourceMetadata | null
  }
}
declare module "effect/ai/Prompt" {
  interface SystemMessageOptions {
    readonly gateway?: PromptOptions | null
  }
  interface TextPartOptions {
    readonly gateway?: PromptOptions | null
  }
  interface FilePartOptions {
    readonly gateway?: PromptOptions | null
  }
  interface ReasoningPartOptions {
    readonly gateway?: PromptOptions | null
  }
  interface ToolCallPartOptions {
    readonly gateway?: PromptOptions | null
  }
}
declare module "effect/ai/AiError" {
  interface RateLimitErrorMetadata {
    readonly gateway?: FailureMetadata | null
  }
  interface QuotaExhaustedErrorMetadata {
    readonly gateway?: FailureMetadata | null
  }
  interface AuthenticationErrorMetadata {
    readonly gateway?: FailureMetadata | null
  }
  interface ContentPolicyErrorMetadata {
    readonly gateway?: FailureMetadata | null
  }
  interface InvalidRequestErrorMetadata {
    readonly gateway?: FailureMetadata | null
  }
  interface InternalProviderErrorMetadata {
    readonly gateway?: FailureMetadata | null
  }
  interface InvalidOutputErrorMetadata {
    readonly gateway?: FailureMetadata | null
  }
  interface UnknownErrorMetadata {
    readonly gateway?: FailureMetadata | null
  }
}
