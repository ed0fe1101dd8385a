/**
 * Classifies answers that are not a success: each becomes one {@link GatewayError.Reason}.
 *
 * The knowledge is a table of {@link rules}, plain data with a {@link version}: which status, code, word or message of
 * which body means what. The function over it is total: every input has exactly one reason. An input that no rule
 * matches is `Unknown`, which is never tried again on the same target. `GatewayError.decisions` decides what follows
 * from a reason, so that policy and knowledge change independently.
 */
import * as GatewayError from "./GatewayError.ts"
import { decode, type ErrorBody, isFailure } from "./internal/classifier/errorBody.ts"
import { waitHint } from "./internal/classifier/retryAfter.ts"
import { type Match, type Rule, type RuleOutcome, rules as table } from "./internal/classifier/rules.ts"
import { defined } from "./internal/data/defined.ts"
import { scrub } from "./internal/data/secrets.ts"

export type { Match, Rule, RuleOutcome, Statuses } from "./internal/classifier/rules.ts"

/**
 * Date of the rule data, `YYYY-MM-DD`.
 *
 * @category rules
 */
export const version = "2026-11-21"

/**
 * Known facts about a failure. Only `surface` is required.
 *
 * @category models
 */
export interface FailureInput {
  /** HTTP status of the answer. */
  readonly status?: number | undefined
  /** Headers of the answer, names in lower case. */
  readonly headers?: Readonly<Record<string, string | undefined>> | undefined
  /** Raw body, already truncated to its bound. */
  readonly body?: string | undefined
  /** Name and message of what the Workers binding threw; the status is unknown then. */
  readonly thrown?: { readonly name?: string | undefined; readonly message: string } | undefined
  /**
   * Interface that answered: the data plane including `env.AI`, `api.cloudflare.com/…/ai/*`, or management and logs.
   */
  readonly surface: "gateway" | "api" | "logs"
  /** Credentials that were sent; they are cut out of `code` and `detail`. */
  readonly secrets?: ReadonlyArray<string> | undefined
  /** Milliseconds since the epoch, for a `Retry-After` that is a date. */
  readonly now?: number | undefined
}

/**
 * A reason, with the id of the rule that matched.
 *
 * @category models
 */
export interface Failure {
  readonly reason: GatewayError.Reason
  readonly rule: string
}

/**
 * Every rule in order of precedence; the last one matches everything.
 *
 * @category rules
 */
export const rules: ReadonlyArray<Rule> = table

const maxDetail = 2_000
const maxCode = 100

interface Subject {
  readonly status: number
  readonly surface: FailureInput["surface"]
  readonly name: string | undefined
  readonly body: ErrorBody
}

const whole = (pattern: string): RegExp => new RegExp(`^(?:${pattern})$`, "i")

const compile = ({ message, name, shape, status, surface, word }: Match): ((subject: Subject) => boolean) => {
  const words = word === undefined ? undefined : whole(word)
  const names = name === undefined ? undefined : whole(name)
  const messages = message === undefined ? undefined : new RegExp(message, "i")
  return (subject) => {
    const { body } = subject
    return (
      (shape === undefined || shape.includes(body.shape)) &&
      (surface === undefined || surface.includes(subject.surface)) &&
      (status === undefined ||
        status.some((one) =>
          typeof one === "number" ? one === subject.status : subject.status >= one[0] && subject.status <= one[1]
        )) &&
      (words === undefined || words.test(body.code ?? "") || words.test(body.type ?? "")) &&
      (names === undefined || names.test(subject.name ?? "")) &&
      (messages === undefined || ((shape !== undefined || body.shape !== "E8") && messages.test(body.message ?? "")))
    )
  }
}

const compiled = table.map((rule) => ({ rule, matches: compile(rule.match) }))

// The binding reports only a text: `2005: …` where the body had a code, otherwise the complete body.
const fromThrown = (text: string): ErrorBody => {
  const [, number, message] = /^(?:\w+: )?(\d{3,5}): ?([\s\S]*)$/.exec(text) ?? []
  if (number === undefined) return decode(text)
  const code = number.length === 3 ? { httpCode: Number(number) } : { code: number }
  return { shape: "E3", ...code, ...(message === "" ? undefined : defined({ message })), fromGateway: false }
}

const messageOf = ({ body }: FailureInput, text: string): string | undefined =>
  (body === undefined ? fromThrown(text) : decode(text)).message

const subjectOf = ({ body: text, headers, status, surface, thrown }: FailureInput): Subject => {
  const decoded = text === undefined && thrown !== undefined ? fromThrown(thrown.message) : decode(text ?? "")
  // Bedrock names its errors in a header only. So does Cloudflare for its challenges, whose pages are translated.
  const header = headers?.["x-amzn-errortype"]?.split(":")[0] ?? headers?.["cf-mitigated"]
  const name = thrown?.name
  const body = {
    ...decoded,
    ...(header === undefined || header === "" ? undefined : { type: header }),
    fromGateway: decoded.fromGateway || name === "AiGatewayError"
  }
  const claimed = status === undefined || (status >= 200 && status < 300) ? body.httpCode : undefined
  return { status: claimed ?? status ?? 0, surface, name, body }
}

/** The origin of an answer whose rule does not state it. */
const originOf = ({ body, surface }: Subject): GatewayError.Origin => {
  if (surface === "logs") return "api"
  if (body.fromGateway) return "gateway"
  return surface === "api" && (body.shape === "E2" || body.shape === "E8") ? "api" : "provider"
}

const keys: ReadonlyArray<readonly [pattern: RegExp, replacement: string]> = [
  [/\bBearer\s+[^\s"',;]{6,}/gi, "Bearer <redacted>"],
  [/\bsk[-_][\w*-]{3,}/g, "<redacted>"],
  [/\b(?:AIza|gsk_|AKIA|eyJ)[\w*.-]{6,}/g, "<redacted>"],
  [/\b(?:xai|pplx|csk|hf|r8|fw|nvapi|cfut|cfat)[-_][\w*-]{16,}/g, "<redacted>"],
  // Some providers echo a key with its middle starred out.
  [/[\w-]{0,12}\*{3,}[\w-]*/g, "<redacted>"],
  [/((?:key|token)[^\n]{0,24}?)[a-z0-9][\w.~+/=-]{31,}/gi, "$1<redacted>"]
]

/** Matches wherever one of them does: most texts contain none, so they are scanned once. */
const anyKey = new RegExp(keys.map(([{ source }]) => source).join("|"), "i")

/** Cuts credentials, and everything that looks like one, out of a text. */
const clear = (text: string, secrets: ReadonlyArray<string>): string => {
  const scrubbed = scrub(text, secrets)
  return anyKey.test(scrubbed)
    ? keys.reduce((out, [pattern, replacement]) => out.replace(pattern, replacement), scrubbed)
    : scrubbed
}

const build = (outcome: RuleOutcome, input: FailureInput, subject: Subject): GatewayError.Reason => {
  const { body } = subject
  const clean = (text: string | undefined, max: number) =>
    text === undefined || text === "" ? undefined : clear(text, input.secrets ?? []).slice(0, max)
  const status = input.status ?? body.httpCode
  const word = body.code ?? (body.shape === "E6" ? body.type : undefined)
  const code = clean(word ?? (body.httpCode === status ? undefined : body.httpCode?.toString()), maxCode)
  // Decoding could split a credential, so the shown text is decoded after credentials are cut out. The rules see the
  // original.
  const text = input.body ?? input.thrown?.message ?? ""
  const raw = scrub(text, input.secrets ?? [])
  const message = raw === text ? body.message : messageOf(input, raw)
  const detail = clean(outcome.reason === "Unknown" ? raw : (message ?? raw), maxDetail)
  const facts = defined({ status, code, detail })
  const origin = ("origin" in outcome ? outcome.origin : undefined) ?? originOf(subject)
  const wait = defined({ retryAfter: waitHint(input.headers, input.now, body.json, body.message) })
  switch (outcome.reason) {
    case "TransportFailure":
      return new GatewayError.TransportFailure({ ...facts, kind: outcome.kind })
    case "Timeout":
      return new GatewayError.Timeout({ ...facts, phase: "upstream" })
    case "RateLimited":
      return new GatewayError.RateLimited({ ...facts, origin, ...wait })
    case "QuotaExhausted":
      return new GatewayError.QuotaExhausted({ ...facts, origin, kind: outcome.kind, ...wait })
    case "Unauthorized":
      return new GatewayError.Unauthorized({ ...facts, origin })
    case "InvalidRequest":
      return new GatewayError.InvalidRequest({
        ...facts,
        origin,
        ...defined({ field: outcome.field, accepted: outcome.accepted })
      })
    case "ContextLengthExceeded":
      return new GatewayError.ContextLengthExceeded(facts)
    case "ContentBlocked":
      return new GatewayError.ContentBlocked({ ...facts, by: outcome.by, subject: outcome.subject })
    case "NotFound":
      return new GatewayError.NotFound({ ...facts, what: outcome.what })
    case "ProviderUnavailable":
      return new GatewayError.ProviderUnavailable({ ...facts, origin, ...wait })
    case "InvalidResponse":
      return new GatewayError.InvalidResponse({ ...facts, issue: outcome.issue })
    case "BindingMissing":
      return new GatewayError.BindingMissing({ ...facts, member: outcome.member })
    case "Unknown":
      return new GatewayError.Unknown(facts)
  }
}

/**
 * Classifies a failure. Total and pure: every input has exactly one reason, the first matching rule decides, nothing
 * throws.
 *
 * `reason.detail` is the message of the answering party, at most 2,000 characters; for `Unknown` it is the raw body.
 * `reason.code` is Cloudflare's number or the provider's word, at most 100 characters. Credentials, and everything that
 * looks like one, are replaced by `<redacted>` in both. A caller's interruption is not a failure and does not belong
 * here.
 *
 * @example
 * ```ts
 * import * as Classifier from "effect-ai-gateway/Classifier"
 *
 * const { reason, rule } = Classifier.classify({
 *   status: 400,
 *   body: `{"success":false,"error":[{"code":2005,"message":"Failed to get response from provider"}]}`,
 *   surface: "gateway"
 * })
 * console.log(rule, reason._tag) // cf-2005 ProviderUnavailable
 * ```
 *
 * @category classifying
 */
export const classify = (input: FailureInput): Failure => {
  const subject = subjectOf(input)
  for (const { matches, rule } of compiled) {
    if (matches(subject)) return { reason: build(rule.outcome, input, subject), rule: rule.id }
  }
  return { reason: build({ reason: "Unknown" }, input, subject), rule: "unknown" }
}

/**
 * Whether an answer with this status and JSON body is a failure: any status outside 2xx, and within 2xx a body that
 * describes a failure, such as `{ state: "Failed" }`, `{ success: false }`, an `error` without `result` or `choices`,
 * an `error` inside the first choice, an error event of a stream, or a prompt that Google blocked.
 *
 * @category classifying
 */
export const isFailureBody = (status: number, body: unknown): boolean =>
  status < 200 || status >= 300 || isFailure(body)
