/**
 * The rules of the failure classifier, as data. The first rule that matches wins, so the order matters: Cloudflare's
 * own codes, then errors that the binding throws, then the providers' precise words and messages, then statuses, then
 * coarse words for errors without a status (inside a stream, or thrown).
 */
import type { Origin } from "../../GatewayError.ts"
import { overPlatformLimit, platformLimit } from "../data/platform.ts"
import type { Shape } from "./errorBody.ts"

/** Statuses, or inclusive ranges of them. `0` stands for "unknown". */
export type Statuses = ReadonlyArray<number | readonly [from: number, to: number]>

/** Conditions of a rule. All fields that are present must hold. Patterns ignore case. */
export interface Match {
  /** The HTTP status; the one in the body when the answer itself was 2xx or thrown. */
  readonly status?: Statuses
  /** Pattern that the complete code or the complete type of the body must match. */
  readonly word?: string
  /** Pattern to find in the message of a JSON body; in prose and pages only when `shape` includes `E8`. */
  readonly message?: string
  /** Pattern that the complete name of a thrown error must match. */
  readonly name?: string
  readonly shape?: ReadonlyArray<Shape>
  readonly surface?: ReadonlyArray<"gateway" | "api" | "logs">
}

/** The reason of a rule, with the fields that the rule itself determines. */
export type RuleOutcome =
  | { readonly reason: "TransportFailure"; readonly kind: "connect" | "reset" | "unknown" }
  | { readonly reason: "Timeout" | "ContextLengthExceeded" | "Unknown" }
  | {
      readonly reason: "RateLimited" | "Unauthorized" | "InvalidRequest" | "ProviderUnavailable"
      readonly origin?: Origin
      /** Field of an `InvalidRequest`. */
      readonly field?: string
      readonly accepted?: string
    }
  | { readonly reason: "QuotaExhausted"; readonly kind: "spend" | "credits" | "allocation"; readonly origin?: Origin }
  | {
      readonly reason: "ContentBlocked"
      readonly by: "guardrail" | "dlp" | "provider"
      readonly subject: "prompt" | "response" | "unknown"
    }
  | { readonly reason: "NotFound"; readonly what: "gateway" | "model" | "log" | "run" | "endpoint" }
  | { readonly reason: "InvalidResponse"; readonly issue: string }
  | { readonly reason: "BindingMissing"; readonly member: string }

/** One rule. Without `origin`, the origin follows from the answering party. */
export interface Rule {
  readonly id: string
  readonly match: Match
  readonly outcome: RuleOutcome
}

const rule = (id: string, match: Match, outcome: RuleOutcome): Rule => ({ id, match, outcome })

// Numbers are Cloudflare's only in Cloudflare's bodies: other vendors use numbers too.
const cf = (word: string, outcome: RuleOutcome, more: Match = {}, suffix = ""): Rule =>
  rule(`cf-${word.split("|", 1)[0]}${suffix}`, { word, shape: ["E1", "E2", "E3", "E4", "E8"], ...more }, outcome)

const any: ReadonlyArray<Shape> = ["E1", "E2", "E3", "E5", "E6", "E8"]
const silent: Statuses = [[0, 299]]
// Rejections of the request; other statuses are clear by themselves, and their texts are less reliable.
const refusal: Statuses = [[0, 299], 400, 413, 422]
const client: Statuses = [
  [0, 299],
  [400, 499]
]

const gateway = "gateway"
const provider = "provider"
const rateLimited = { reason: "RateLimited" } as const
const unavailable = { reason: "ProviderUnavailable" } as const
const timeout = { reason: "Timeout" } as const
const context = { reason: "ContextLengthExceeded" } as const
const invalid = { reason: "InvalidRequest" } as const
const badKey: RuleOutcome = { reason: "Unauthorized", origin: provider }
const noModel: RuleOutcome = { reason: "NotFound", what: "model" }
const noEndpoint: RuleOutcome = { reason: "NotFound", what: "endpoint" }
const noLog: RuleOutcome = { reason: "NotFound", what: "log" }
const noGateway: RuleOutcome = { reason: "NotFound", what: "gateway" }
const noRun: RuleOutcome = { reason: "NotFound", what: "run" }
const quota = (kind: "spend" | "credits" | "allocation", origin?: Origin): RuleOutcome =>
  origin === undefined ? { reason: "QuotaExhausted", kind } : { reason: "QuotaExhausted", kind, origin }
const blocked = (by: "guardrail" | "dlp" | "provider", subject: "prompt" | "response" | "unknown"): RuleOutcome => ({
  reason: "ContentBlocked",
  by,
  subject
})

/** Words for a model's bound: `maximum context length`, `max_model_len`. */
const bound =
  "(context|sequence|token|prompt|input)s?( input)?( |_|-)(length|len|size|window|limit)|model (max )?(input )?length|max_(model_len|seq_len|num_tokens)"

/**
 * Messages about a prompt that is too long. First in any words: something of the prompt, a comparison, a bound; then
 * the messages that these words do not cover, by server. A field that is too long is not a long prompt, and neither is
 * an exceeded rate of tokens.
 */
const overlong = [
  `^(?![^]*\\b(per (second|minute|hour|day|month)|rate|quota)\\b)[^]*\\b(prompt|input|request|messages|tokens?)\\b.{0,80}\\b(exceed\\w*|(longer|greater|larger) than|too (long|large) (for|to fit)|not fit)\\b.{0,40}\\b(${bound})`,
  "\\b(prompt|input)( sequence)?( length| tokens)?( \\([^)]{0,40}\\)|:? \\d+)? (is |are )?(exceeds?|longer than|greater than) (the |model |max\\w* |allowed )*(length|\\d)",
  // OpenAI and xAI; Mistral; Google; Moonshot and MiniMax; Copilot; Bedrock; watsonx; Alibaba; SiliconFlow
  "maximum (context|prompt|input) length (is|of) \\d|^input tokens exceed the configured limit",
  "too large for model with \\d+ maximum context|^prompt contains \\d+ tokens",
  "input token count .{0,40}(exceeds the maximum|but the model)",
  "exceeded model token limit|context window exceeds limit",
  "prompt token count of \\d+ exceeds|input is too long for requested model|^too many input tokens",
  "cannot exceed the total tokens limit|range of input length should be|length of prompt_tokens .{0,20}must be less than",
  // Anthropic; Groq, Cerebras and vLLM; Cohere; Workers AI; text-generation-inference; SGLang
  "^prompt (is )?too long|prompt is too long: \\d|exceed context limit",
  "reduce the length of the (input )?(messages|prompt)|context length is only \\d",
  "^too many tokens: |context window limit|tokens \\+ .max_new_tokens. must be|must have less than \\d+ tokens",
  "too long to fit in(to)? the model",
  // llama.cpp and LM Studio
  "exceeds? the available context size|(maximum |max )?context (size|length|window) (has been )?exceeded",
  "context the overflows|reached context length of|n_keep \\(\\d+\\) >= n_ctx|configured context size is \\d",
  "too large to process\\. increase the physical batch size"
].join("|")

/** The rules in order. */
export const rules: ReadonlyArray<Rule> = [
  // AI Gateway
  cf("2001", noGateway),
  cf("2002", noRun, { message: "run.?id" }, "-run"),
  cf("2002", { reason: "InvalidResponse", issue: "the model's output did not parse" }),
  cf("2003", { ...rateLimited, origin: gateway }),
  cf("2005", { ...unavailable, origin: provider }),
  cf("2008", noEndpoint),
  cf("2009", { ...unavailable, origin: gateway }, { status: [[500, 599]] }, "-5xx"),
  cf("2009", badKey, { message: "provider" }, "-provider"),
  cf("2009", { reason: "Unauthorized", origin: gateway }),
  cf("2016", blocked("guardrail", "prompt")),
  cf("2017", blocked("guardrail", "response"), { status: [424] }, "-424"),
  // The run paths use 2017 for both sides; only the text distinguishes them.
  cf("2017", blocked("guardrail", "prompt"), { message: "^prompt\\b" }, "-prompt"),
  cf("2017", blocked("guardrail", "response"), { message: "^response\\b" }, "-response"),
  cf("2017", blocked("guardrail", "unknown")),
  cf("2019", { ...invalid, origin: gateway }),
  cf("2021", quota("credits", gateway)),
  cf("2029", blocked("dlp", "prompt")),
  cf("2030", blocked("dlp", "response")),
  cf("2040", badKey),
  cf("2041|2045", quota("spend", gateway)),
  cf("2047", badKey),
  cf("2049", quota("credits", gateway)),
  cf("7001", invalid),
  cf("7002", noLog, { surface: ["logs"] }),
  cf("7000|7003", noEndpoint, { message: "^(could not route|no route)" }, "-route"),
  cf("7003", invalid, { status: [400] }, "-schema"),
  cf("7003", noModel),
  cf("7013", { ...unavailable, origin: gateway }),
  cf("10000|9109|9106|9103|6003|6111", { reason: "Unauthorized" }),

  // Workers AI
  cf("3036|4006", quota("allocation", provider)),
  cf("3040", { ...rateLimited, origin: provider }),
  cf("5007|3042", noModel),
  cf("5021", context),
  cf("3023|3041|5016|5018", badKey),
  cf("3007|3008|3046", timeout),
  cf("3043|1031", { ...unavailable, origin: provider }),

  // The binding, Miniflare's stand-in for it without a remote proxy, and the logs API
  rule("binding-client", { name: "AiInternalError" }, { ...invalid, origin: "client" }),
  rule(
    "binding-remote",
    { shape: ["E8"], message: "^binding \\S+ needs to be run remotely" },
    { reason: "BindingMissing", member: "AI" }
  ),
  rule(
    "binding-network",
    {
      status: [0],
      shape: ["E8"],
      name: "(Error|TypeError)?",
      message: "^(network connection lost|fetch failed|internal error; reference =)"
    },
    { reason: "TransportFailure", kind: "unknown" }
  ),
  rule(
    "binding-platform",
    { status: [0], shape: ["E8"], message: platformLimit },
    { ...invalid, ...overPlatformLimit }
  ),
  rule("binding-json", { status: [0], name: "SyntaxError" }, { reason: "InvalidResponse", issue: "not JSON" }),
  rule(
    "binding-shape",
    { status: [0], shape: ["E8"], name: "TypeError", message: "^cannot (read propert|convert undefined)" },
    { reason: "InvalidResponse", issue: "not the expected shape" }
  ),
  rule("binding-type", { status: [0], name: "TypeError" }, { ...invalid, origin: "client" }),
  rule("log-missing", { name: "AiGatewayLogNotFound" }, noLog),
  rule("log-missing-text", { surface: ["logs"], shape: any, message: "^log not found" }, noLog),
  rule(
    "gateway-missing-text",
    { surface: ["logs"], shape: any, message: "^gateway .*(not found|not exist)" },
    noGateway
  ),
  rule("log-missing-status", { surface: ["logs"], status: [404] }, noLog),
  rule(
    "log-auth-text",
    { name: "AiGatewayInternalError", shape: ["E8"], message: "^(authentication|unauthorized)" },
    { reason: "Unauthorized" }
  ),
  rule("log-internal", { name: "AiGatewayInternalError", shape: ["E8"], message: "^internal error$" }, unavailable),
  rule("run-expired", { shape: ["E7"] }, noRun),

  // Gateway policies
  rule("policy-spend", { shape: ["E5"], word: "spend" }, quota("spend", gateway)),
  rule("policy-denied", { shape: ["E5"], status: [403] }, { reason: "Unauthorized", origin: gateway }),

  // A long name or id is not a long prompt: OpenAI uses the same word for both.
  rule(
    "field-too-long",
    { word: "string_above_max_length|string_too_long", message: "'[^']*\\b(id|name|user|key|metadata|title)\\b[^']*'" },
    invalid
  ),
  // Context length, which llama.cpp and Ollama report as 500 too
  rule(
    "context-word",
    {
      word: "context_length_exceeded|string_above_max_length|string_too_long|exceed_context_size_error|tokens_limit_reached|model_max_prompt_tokens_exceeded"
    },
    context
  ),
  rule("context-message", { status: [...refusal, 500], message: overlong }, context),
  rule("context-tokens-per-minute", { status: [413], word: "rate_limit_exceeded" }, context),
  // More tokens than a full minute allows: no wait helps.
  rule("context-request-too-large", { status: [429], message: "^request too large for" }, context),

  // Content: Anthropic; Google; Azure, OpenAI, Alibaba and Google; Azure, DeepSeek, OpenAI, OpenRouter and xAI.
  rule(
    "content-output",
    { status: client, message: "^output blocked by content filter" },
    blocked(provider, "response")
  ),
  rule("content-finish", { word: "finishReason" }, blocked(provider, "response")),
  rule(
    "content-word",
    {
      word: "content_filter|content_policy_violation|moderation_blocked|ResponsibleAIPolicyViolation|data_inspection_failed|promptFeedback"
    },
    blocked(provider, "prompt")
  ),
  rule(
    "content-message",
    {
      status: client,
      message:
        "content management policy|^content exists risk|flagged as potentially violating|rejected as a result of our safety system|your input was flagged|^content violates usage guidelines"
    },
    blocked(provider, "prompt")
  ),

  // Money and allocations, which some report as 400, 403 or 429: OpenRouter; OpenAI and OpenRouter; OpenAI, Anthropic;
  // Google twice; Anthropic; Anthropic, DeepSeek, xAI, Hugging Face; Workers AI, OpenRouter, Cohere.
  rule("busy-budget", { word: "openrouter_in_flight_budget" }, { ...rateLimited, origin: provider }),
  rule(
    "quota-spend",
    { word: "billing_hard_limit_reached|openrouter_(guardrail|workspace)_budget|openrouter_key_limit" },
    quota("spend")
  ),
  rule(
    "quota-word",
    {
      word: "insufficient_(quota|credits|balance)|billing_(error|not_active)|openrouter_credits"
    },
    quota("credits")
  ),
  rule("quota-daily", { word: "Generate\\w*PerDay[\\w-]*" }, quota("allocation")),
  rule("quota-zero", { word: "RESOURCE_EXHAUSTED", message: "\\blimit: 0\\b" }, quota("allocation")),
  rule(
    "quota-spend-message",
    { status: client, message: "^you have reached your specified (workspace )?API usage limits" },
    quota("spend")
  ),
  rule(
    "quota-message",
    {
      status: client,
      message:
        "^your credit balance is too low|^insufficient balance|used all available credits|doesn't have any credits|^you have exceeded your monthly included credits"
    },
    quota("credits")
  ),
  rule(
    "quota-free-message",
    {
      status: client,
      message: "daily free allocation|free-models-per-day|limited to \\d+ API calls / month"
    },
    quota("allocation")
  ),

  // Credentials, which Google and xAI report as 400
  rule(
    "auth-word",
    {
      word: "(invalid|wrong)_api_key|API_KEY_INVALID|(authentication|permission)_error"
    },
    badKey
  ),
  rule(
    "auth-message",
    {
      status: client,
      message:
        "^(incorrect api key|api key (not valid|expired|not found)|invalid api (key|token)|user location is not supported)"
    },
    badKey
  ),

  // Models, often with 400: OpenRouter, Mistral and Perplexity, Bedrock twice, DeepSeek, Hugging Face, Workers AI
  rule(
    "model-word",
    {
      word: "model_not_(found|supported)|model_decommissioned|DeploymentNotFound|invalid_model"
    },
    noModel
  ),
  rule(
    "model-message",
    {
      status: [[0, 299], 400, 422],
      message:
        "is not a valid model ID$|^invalid model\\b|model identifier is invalid|with on-demand throughput isn|^model not exist|^the requested model \\S+ is not supported|no such model"
    },
    noModel
  ),
  rule(
    "output-word",
    { word: "json_validate_failed|tool_use_failed|output_parse_failed" },
    { reason: "InvalidResponse", issue: "the model's output failed validation" }
  ),

  // Edges and pages
  rule(
    "page-access",
    { status: [403], shape: ["E8"], message: "cloudflare access" },
    { reason: "Unauthorized", origin: gateway }
  ),
  // A page that asks whether the visitor is human says nothing about a key, and neither does a firewall.
  rule("page-challenge-word", { word: "challenge" }, { reason: "InvalidResponse", issue: "a challenge page" }),
  rule(
    "page-challenge",
    {
      status: [403, 429, 503],
      shape: ["E8"],
      message:
        "just a moment|attention required! \\| cloudflare|checking your browser|verify you are human|security checkpoint"
    },
    { reason: "InvalidResponse", issue: "a challenge page" }
  ),
  rule(
    "page-firewall",
    {
      status: [403],
      shape: ["E8"],
      message: "^error code: 10\\d\\d$|used cloudflare to restrict access|sorry, you have been blocked"
    },
    { reason: "InvalidResponse", issue: "a page of a firewall" }
  ),
  rule("page-edge", { status: [[520, 527], 530], shape: ["E8"] }, { ...unavailable, origin: gateway }),
  rule("page-instead", { status: [[200, 299]], shape: ["E8"] }, { reason: "InvalidResponse", issue: "not JSON" }),
  rule("page-thrown", { status: [0], shape: ["E8"], word: "html" }, { reason: "InvalidResponse", issue: "not JSON" }),

  // Statuses
  rule("status-401", { status: [401, 403] }, { reason: "Unauthorized" }),
  rule("status-402", { status: [402] }, quota("credits")),
  rule("status-404-model", { status: [404], message: "\\bmodels?\\b" }, noModel),
  rule("status-404", { status: [404] }, noEndpoint),
  rule("status-timeout", { status: [408, 504] }, timeout),
  rule("status-429", { status: [429] }, rateLimited),
  rule(
    "rate-word",
    {
      word: "rate_limit_(exceeded|error)|rate_limited|too_many_requests(_error)?|(token|request)_quota_exceeded|queue_exceeded|capacity_exceeded|(Throttling|TooManyRequests|ServiceQuotaExceeded)Exception"
    },
    rateLimited
  ),
  rule("busy-word", { word: "(engine_)?overloaded(_error)?|slow_down" }, unavailable),
  rule("status-transient", { status: [409, 424, 425, 499] }, unavailable),
  rule("status-410", { status: [410] }, noModel),
  rule("status-content", { status: [451, 498] }, blocked(provider, "unknown")),
  cf("3003|3006|3010|3039|5004|5005|5006|5019", { ...invalid, origin: provider }),
  rule("status-4xx", { status: [[400, 499]] }, invalid),
  rule("status-5xx", { status: [[500, 599]] }, unavailable),

  // Without a status: inside a stream, a failed run, or thrown
  rule("word-timeout", { word: "timeout(_error)?|ModelTimeoutException" }, timeout),
  rule(
    "word-unavailable",
    {
      word: "(api|server|internal|internal_server)_error|service_unavailable(_error)?|(ServiceUnavailable|InternalServer|ModelStreamError)Exception"
    },
    unavailable
  ),
  rule("word-invalid", { word: "invalid_request_error|ValidationException" }, invalid),
  rule(
    "message-busy",
    {
      status: silent,
      message: "\\boverloaded\\b|\\bat capacity\\b|capacity (temporarily )?exceeded|is currently loading"
    },
    unavailable
  ),
  rule(
    "message-rate",
    { status: silent, message: "\\brate.?limit|too many requests|^too many tokens, please wait" },
    rateLimited
  ),
  rule("unknown", {}, { reason: "Unknown" })
]
