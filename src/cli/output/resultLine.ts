/** Results as lines, and the parts of a result that can be read back from its line. */
import * as Duration from "effect/Duration"
import type * as Batch from "../../Batch.ts"
import type * as Chat from "../../Chat.ts"
import type { Attempt } from "../../GatewayError.ts"
import type { Problem } from "../../GatewayOptions.ts"
import { isRecord, parseJson } from "../../internal/data/json.ts"
import { completionOf } from "../../internal/dialect/server/openaiReplyWriter.ts"
import type { Malformed } from "../input/entry.ts"
import * as OpenAi from "../input/openaiBatchFile.ts"
import { portable } from "./portable.ts"

/** Facts about an item in its output line. */
export interface WrittenLine {
  readonly id: string
  readonly failed: boolean
}

/** Format of results. */
export interface OutputFormat<Out> {
  /** Without the line end. */
  readonly line: (result: Batch.Result<Out>) => string
  /** `undefined` when a line is not a result in this format. */
  readonly read: (line: string) => WrittenLine | undefined
}

/** The problem of a malformed line, as in the error of its dead letter. */
export const problemOf = ({ line, problem }: Malformed): Problem => {
  const [before = "", ...rest] = problem.split(/(?:: |^)expected /)
  return { field: before === "" ? `line ${line}` : `line ${line}, ${before}`, accepted: rest.join(": expected ") }
}

/** The line that an error concerns, if any. */
export const lineOf = ({ error }: Batch.DeadLetter): number | undefined => {
  const { reason } = error
  const field = reason._tag === "InvalidRequest" && reason.origin === "client" ? reason.field : undefined
  const line = field === undefined ? undefined : /^line (\d+)(?:, |$)/.exec(field)?.[1]
  return line === undefined ? undefined : Number(line)
}

const millis = (duration: Duration.Duration): number => Math.round(Duration.toMillis(duration) * 10) / 10

const attemptOf = ({ cacheStatus, duration, error, logId, outcome, status, target }: Attempt): unknown => ({
  target,
  outcome,
  status,
  reason: error?._tag,
  logId,
  cacheStatus,
  latencyMs: millis(duration)
})

// `JSON.stringify` omits undefined fields.
const written = (line: unknown): string => portable(JSON.stringify(line))

const deadLetter = (result: Batch.DeadLetter): string => {
  const { attempts, error, id, inDoubt, latency } = result
  const { code, detail, status } = error.reason
  return written({
    id,
    status: "error",
    line: lineOf(result),
    error: {
      reason: error.reason._tag,
      message: error.message,
      status,
      code,
      detail,
      logId: error.logId,
      attempts: attempts.map(attemptOf)
    },
    attempts: attempts.length,
    latencyMs: millis(latency),
    inDoubt: inDoubt?.found
  })
}

/** Own lines, from `{ "id", "status": "ok", "text", … }` or `{ "id", "status": "error", "error", … }`. */
export const own: OutputFormat<Chat.Reply> = {
  line: (result) => {
    if (result._tag === "DeadLetter") return deadLetter(result)
    const { attempts, cacheStatus, id, inDoubt, latency, logId, model, target, usage } = result
    const value = result._tag === "Success" ? result.value : undefined
    return written({
      id,
      status: "ok",
      text: value?.text ?? null,
      reasoning: value?.reasoning,
      toolCalls: value === undefined || value.toolCalls.length === 0 ? undefined : value.toolCalls,
      finishReason: value?.finishReason,
      usage,
      target,
      model,
      logId,
      cacheStatus,
      attempts: attempts.length,
      latencyMs: millis(latency),
      inDoubt: inDoubt?.found
    })
  },
  read: (line) => {
    const object = parseJson(line)
    if (!isRecord(object) || typeof object["id"] !== "string") return undefined
    const { id, status } = object
    return status === "ok" || status === "error" ? { id, failed: status === "error" } : undefined
  }
}

const readOpenAi = (line: string): WrittenLine | undefined => {
  const object = parseJson(line)
  if (!isRecord(object) || typeof object["custom_id"] !== "string") return undefined
  const { custom_id: id, error, response } = object
  if (isRecord(error) && response === null) return { id, failed: true }
  if (!isRecord(response) || typeof response["status_code"] !== "number") return undefined
  return { id, failed: response["status_code"] >= 400 }
}

/** Lines of OpenAI's output files, whose answers are made from replies. */
export const openaiChat: OutputFormat<Chat.Reply> = {
  line: (result) =>
    portable(
      OpenAi.outputLine(result, (reply) => {
        const startedAt = result.attempts.at(-1)?.startedAt ?? 0
        const model = result._tag === "Success" ? result.model : undefined
        return completionOf(reply, {
          id: `chatcmpl-${result._tag === "DeadLetter" ? result.id : result.eventId}`,
          model: model ?? "unknown",
          created: Math.floor(startedAt / 1000)
        })
      })
    ),
  read: readOpenAi
}

/** Lines of OpenAI's output files with unchanged answers. */
export const openaiPassed: OutputFormat<OpenAi.AnsweredLine> = {
  line: (result) => portable(OpenAi.outputLine(result, ({ body }) => body)),
  read: readOpenAi
}
