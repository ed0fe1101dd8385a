/**
 * Reads the error bodies of Cloudflare and of the providers behind it into one flat record. Total: any text yields a
 * record, nothing throws. It uses plain checks instead of schemas, because it runs for every failure and is part of a
 * Worker's bundle.
 */
import { defined } from "../data/defined.ts"
import { isRecord, parseJson, optionalText as text } from "../data/json.ts"

/**
 * Origin of a body: `E1` AI Gateway, `E2` Cloudflare's API envelope, `E3` a coded error behind the binding, `E4` the
 * run API, `E5` gateway policies, `E6` a provider, `E7` an expired resume, `E8` not JSON.
 */
export type Shape = "E1" | "E2" | "E3" | "E4" | "E5" | "E6" | "E7" | "E8"

/** An error body, flattened. */
export interface ErrorBody {
  readonly shape: Shape
  /** Cloudflare's number or the provider's most specific word. */
  readonly code?: string
  /** The provider's class of error; `spend` for a budget of a policy; `html`, `text` or `empty` when not JSON. */
  readonly type?: string
  readonly message?: string
  readonly name?: string
  /** An HTTP status that the body itself claims. */
  readonly httpCode?: number
  /** Whether the gateway itself answered, and not a provider behind it. */
  readonly fromGateway: boolean
  /** The document that the facts were read from, when the text was JSON. */
  readonly json?: unknown
}

interface Draft {
  shape: Shape
  code?: string | undefined
  type?: string | undefined
  message?: string | undefined
  name?: string | undefined
  httpCode?: number | undefined
}

type Fields = { readonly [key: string]: unknown }

/** `value` as an object with unknown fields, or `undefined`. Arrays do not count as objects here. */
export const fields = (value: unknown): Fields | undefined => (isRecord(value) ? value : undefined)

const head = (value: unknown): unknown => (Array.isArray(value) ? value[0] : undefined)

const status = (value: unknown): number | undefined => {
  const number = typeof value === "string" && /^\d{3}$/.test(value) ? Number(value) : value
  return typeof number === "number" && number >= 100 && number <= 599 && Number.isInteger(number) ? number : undefined
}

/** A code, unless it only repeats an HTTP status. */
const word = (value: unknown): string | undefined =>
  status(value) !== undefined ? undefined : typeof value === "number" ? String(value) : text(value)

/** The run API's failure in `o`, with or without Cloudflare's envelope. */
const failedRun = (o: Fields): Fields | undefined =>
  o.state === "Failed" ? o : fields(o.result)?.state === "Failed" ? fields(o.result) : undefined

const cloudflare = (o: Fields): Draft | undefined => {
  const run = failedRun(o)
  if (run !== undefined) {
    const error = fields(run.error)
    return {
      shape: "E4",
      code: word(error?.code),
      httpCode: status(error?.code),
      message: text(error?.message) ?? text(run.error)
    }
  }
  const internal = typeof o.internalCode === "number" && o.internalCode !== 0 ? String(o.internalCode) : undefined
  const one = fields(head(o.error))
  const many = fields(head(o.errors))
  const common = {
    code: internal ?? word(one?.code) ?? word(many?.code),
    // `description` is the vaguest of the three, the entry of the list the most precise.
    message: text(o.message) ?? text(one?.message) ?? text(many?.message) ?? text(o.description),
    name: text(o.name),
    httpCode: status(o.httpCode) ?? status(one?.code) ?? status(many?.code)
  }
  const coded = (entry: Fields | undefined): boolean =>
    entry !== undefined && (o.success === false || typeof entry.code === "number")
  if (o.name === "AiGatewayError" || coded(one)) return { ...common, shape: "E1" }
  if (internal !== undefined) return { ...common, shape: "E3" }
  if (coded(many)) return { ...common, shape: "E2", message: text(many?.message) ?? common.message }
  const policy = fields(o.error)
  if (o.success === false && policy !== undefined) {
    const budget = policy.bucket !== undefined || policy.limit !== undefined || policy.spent !== undefined
    return {
      shape: "E5",
      code: word(policy.code),
      message: text(policy.message),
      type: budget ? "spend" : undefined
    }
  }
  if (o.success === false && Array.isArray(o.errors)) return { ...common, shape: "E2" }
  if (o.error === "Request not found") return { shape: "E7", message: o.error }
  return undefined
}

const blocked = /^(?:SAFETY|PROHIBITED_CONTENT|BLOCKLIST|SPII|RECITATION|IMAGE_SAFETY)$/

/** Google's blocked answer, which has status 200. */
const refused = (o: Fields): Draft | undefined => {
  const prompt = fields(o.promptFeedback)
  const reason = text(prompt?.blockReason)
  if (reason !== undefined) {
    return { shape: "E6", type: "promptFeedback", code: reason, message: text(prompt?.blockReasonMessage) }
  }
  const candidate = fields(head(o.candidates))
  const finish = text(candidate?.finishReason)
  if (finish === undefined || !blocked.test(finish)) return undefined
  return { shape: "E6", type: "finishReason", code: finish, message: text(candidate?.finishMessage) }
}

/** Google puts the precise reason, and the name of the quota, into `details`. */
const google = (details: unknown): string | undefined => {
  if (!Array.isArray(details)) return undefined
  let quota: string | undefined
  for (const detail of details) {
    const reason = text(fields(detail)?.reason)
    if (reason !== undefined) return reason
    const violations = fields(detail)?.violations
    if (!Array.isArray(violations)) continue
    for (const violation of violations) {
      const id = text(fields(violation)?.quotaId)
      // A daily quota outweighs the per-minute ones in the same list: waiting for those does not help.
      if (id !== undefined && (quota === undefined || id.includes("PerDay"))) quota = id
    }
  }
  return quota
}

/** MiniMax reports its own status in every answer. */
const minimax = (o: Fields): Fields | undefined => {
  const base = fields(o.base_resp)
  return base?.status_code ? base : undefined
}

/** The error of an answer that broke off: OpenRouter and others put it into the choice. */
const choiceError = (o: Fields): unknown => fields(head((fields(o.result) ?? o).choices))?.error

const provider = (o: Fields): Draft => {
  // Bedrock's event streams name the error by the key: `{ throttlingException: { message } }`.
  const exception = Object.keys(o).find((key) => key.endsWith("Exception") && fields(o[key]) !== undefined)
  const e =
    fields(o.error) ??
    fields(fields(o.response)?.error) ??
    fields(choiceError(o)) ??
    fields(o.detail) ??
    (exception === undefined ? undefined : fields(o[exception])) ??
    fields(head(o.error)) ??
    fields(head(o.errors)) ??
    minimax(o) ??
    o
  const metadata = fields(e.metadata)
  const detail = text(o.detail) ?? text(fields(head(o.detail) ?? head(fields(o.message)?.detail))?.msg)
  return {
    shape: "E6",
    code: word(e.code) ?? text(metadata?.limit_source) ?? text(metadata?.error_type) ?? google(e.details),
    type:
      exception ??
      (e.type === "error" ? undefined : text(e.type)) ??
      (status(e.status) === undefined ? text(e.status) : undefined) ??
      text(o.error_type) ??
      text(fields(e.innererror)?.code) ??
      text(o.__type)?.replace(/^.*#/, ""),
    message:
      text(e.message) ??
      text(e.Message) ??
      text(e.error) ??
      text(o.error) ??
      text(choiceError(o)) ??
      text(head(o.error)) ??
      text(o.message) ??
      text(e.msg) ??
      text(e.status_msg) ??
      text(e.detail) ??
      detail ??
      text(e.title),
    httpCode:
      status(e.code) ??
      status(e.status) ??
      status(e.http_status_code) ??
      status(o.statusCode) ??
      status(o.raw_status_code) ??
      status(o.httpCode)
  }
}

const finish = (draft: Draft, json?: unknown): ErrorBody => ({
  shape: draft.shape,
  ...defined(draft),
  ...(json === undefined ? undefined : { json }),
  // Workers AI counts as a provider although Cloudflare codes its errors; its numbers start with 3 to 5.
  fromGateway:
    draft.shape === "E1" || draft.shape === "E5" || (draft.shape === "E3" && !/^[345]\d{3}$/.test(draft.code ?? ""))
})

/** Proxies wrap a provider's body as a string inside their own; the inner one has the cause. */
const inner = (o: Fields, message: string | undefined, depth: number): ErrorBody | undefined => {
  const raw = text(fields(fields(o.error)?.metadata)?.raw)
  for (const source of [raw, message]) {
    if (depth >= 3 || source === undefined || !/^\s*[[{]/.test(source)) continue
    const body = decodeAt(source, depth + 1)
    if (body.shape !== "E8" && (body.message ?? body.code ?? body.type) !== undefined) return body
  }
  return undefined
}

/** The words of a page, without markup, scripts and styles. */
const plain = (html: string): string =>
  html
    .replace(/<(script|style)[^<>]*>[^<]*<\/\1>|<[^<>]*>/gi, " ")
    .replace(/\s+/g, " ")
    .trim()

const prose = (source: string): ErrorBody => {
  const trimmed = source.trim()
  if (trimmed === "") return finish({ shape: "E8", type: "empty" })
  if (trimmed.startsWith("<")) return finish({ shape: "E8", type: "html", message: text(plain(trimmed)) })
  const edge = /^error code: (\d{3,5})$/i.exec(trimmed)?.[1]
  return finish({ shape: "E8", type: "text", message: trimmed, code: word(edge), httpCode: status(edge) })
}

const decodeAt = (source: string, depth: number): ErrorBody => {
  const json = parseJson(source)
  const root = Array.isArray(json) ? json[0] : json
  const o = fields(root)
  if (o === undefined) return prose(typeof root === "string" ? root : source)
  const draft = cloudflare(o) ?? refused(o) ?? provider(o)
  const wrapped = inner(o, draft.message, depth)
  if (wrapped === undefined) return finish(draft, json)
  // An outer envelope keeps its own facts; the inner body supplies only missing ones.
  const merged: Draft =
    draft.shape === "E6"
      ? { ...wrapped, code: wrapped.code ?? draft.code, httpCode: wrapped.httpCode ?? draft.httpCode }
      : { ...draft, type: draft.type ?? wrapped.type, message: wrapped.message ?? draft.message }
  return finish(merged, wrapped.json)
}

/**
 * Decodes an error body. `source` is the raw text, already truncated by the caller. An array counts as its first
 * element, because Google streams errors that way.
 */
export const decode = (source: string): ErrorBody => decodeAt(source, 0)

/**
 * Whether a JSON document is a failure despite a 2xx status: the run API's `{ state: "Failed" }`, `{ success: false }`,
 * an `error` inside a choice or without an answer next to it, an error event of a stream, or Google's blocked prompt.
 */
export const isFailure = (body: unknown): boolean => {
  // Answers may be arrays too, so an array counts only in Google's form.
  if (Array.isArray(body)) return fields(fields(body[0])?.error) !== undefined
  const o = fields(body)
  if (o === undefined) return false
  if (o.success === false || failedRun(o) !== undefined) return true
  if (o.type === "error" && (o.error ?? o.message ?? o.code) !== undefined) return true
  if (o.object === "error" || o.type === "response.failed") return true
  if (tells(choiceError(o)) || minimax(o) !== undefined || isProblem(o)) return true
  if (o.error) return (o.result === undefined || o.result === null) && head(o.choices) === undefined
  return text(fields(o.promptFeedback)?.blockReason) !== undefined && head(o.candidates) === undefined
}

/** Whether an error has content: some servers write an empty one next to every answer. */
const tells = (error: unknown): boolean =>
  Boolean(error) && !(isRecord(error) && Object.values(error).every((value) => !value))

/** Whether a body reports an error status of its own, or one of Bedrock's exceptions. */
const isProblem = (o: Fields): boolean =>
  ((status(o.status) ?? status(o.statusCode) ?? 0) >= 400 && text(o.message ?? o.title ?? o.detail) !== undefined) ||
  Object.keys(o).some((key) => key.endsWith("Exception") && text(fields(o[key])?.message) !== undefined)

/**
 * Wider than {@link isFailure}: an error next to an answer states why the answer is unusable, or why its stream ends.
 */
export const hasError = (body: unknown): boolean => {
  const o = fields(body)
  return isFailure(body) || tells(o?.error) || Boolean(o?.internalCode || head(o?.errors))
}
