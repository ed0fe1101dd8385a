/** Formats the summary of a job, for people and as JSON. */
import * as Duration from "effect/Duration"
import type * as Batch from "../../Batch.ts"
import { defined } from "../../internal/data/defined.ts"
import * as Figures from "../shared/format.ts"

/** Facts about a run in addition to its summary. */
export interface SummarizedRun {
  readonly summary: Batch.Summary
  readonly exitCode: number
  readonly output: string
  readonly journal: string | undefined
  readonly report: string | undefined
  /** Number of items of the input, where that is known before its end. */
  readonly total: number | undefined
  /** Why the job could not continue. */
  readonly error: string | undefined
}

const { plain, plural, span, whole } = Figures

const counted = (counts: Readonly<Record<string, number | undefined>>): string =>
  Object.entries(counts)
    .flatMap(([name, count = 0]) => (count > 0 ? [`${name} ${whole(count)}`] : []))
    .join(", ")

const line = (...parts: ReadonlyArray<string | false | undefined>): string =>
  parts.filter((part) => typeof part === "string" && part !== "").join(", ")

const dead = ({ deadLetters, reasons, replayed }: Batch.Summary): string => {
  const why = counted({ ...reasons, ...(replayed.deadLetters > 0 && { "from earlier runs": replayed.deadLetters }) })
  const all = deadLetters + replayed.deadLetters
  return all === 0 ? "no dead letters" : `${plural(all, "dead letter")} (${why})`
}

/** How many items have ended, in this run and before. */
export const endedOf = ({ deadLetters, replayed, succeeded }: Batch.Summary): number =>
  succeeded + deadLetters + replayed.succeeded + replayed.deadLetters

/** Items that have not ended: of the input, or of the items taken from it when its size is unknown. */
const undoneOf = ({ summary, total }: SummarizedRun): number =>
  Math.max(
    0,
    (total ?? summary.items) - endedOf(summary) - summary.duplicates - (total === undefined ? 0 : summary.unmet)
  )

/** Formats the first problem for people, with the provider's own words, truncated. */
export const problem = ({ error, id }: Batch.FirstProblem): string => {
  const { detail } = error.reason
  const words = detail === undefined ? "" : ` (${plain(detail.slice(0, 300))})`
  return `first problem: ${plain(id)}: ${plain(error.message)}${words}`
}

/** The first problem as JSON. */
export const problemJson = ({ error, id }: Batch.FirstProblem) => {
  const { _tag, code, detail, status } = error.reason
  return { id, reason: _tag, message: error.message, ...defined({ status, code, detail }) }
}

const heading = (run: SummarizedRun): string => {
  const { error, exitCode, summary, total } = run
  const state = error !== undefined ? "Failed" : exitCode === 130 ? "Interrupted" : "Done"
  const ended = endedOf(summary)
  const all = total === undefined ? plural(ended, "item") : `${whole(ended)} of ${plural(total, "item")}`
  const undone = undoneOf(run)
  const left = undone > 0 && `${whole(undone)} undone`
  return `${state}: ${line(all, dead(summary), left)}, in ${span(Duration.toMillis(summary.duration))}`
}

/** A few lines for people. */
export const text = (run: SummarizedRun): string => {
  const { journal, output, report, summary } = run
  const { cacheHits, cost, costKnown, fallbacks, inDoubt, latency, pauses, replayed, requests, requeued, resent } =
    summary
  const more = (count: number, what: string): string | false => count > 0 && `${whole(count)} ${what}`
  const some = (count: number, one: string, many?: string): string | false => count > 0 && plural(count, one, many)
  return [
    heading(run),
    line(
      plural(requests, "request"),
      some(summary.retries, "retry", "retries"),
      some(fallbacks, "fallback"),
      some(cacheHits, "cache hit"),
      more(requeued, "put back because throttled"),
      some(pauses, "pause")
    ),
    line(
      `${plural(summary.tokensIn, "token")} in, ${whole(summary.tokensOut)} out`,
      costKnown > 0 && Figures.dollars(cost),
      latency !== undefined && `latency ${span(latency.p50)} (median), ${span(latency.p99)} (p99)`
    ),
    line(
      some(replayed.succeeded + replayed.deadLetters, "item done by earlier runs", "items done by earlier runs"),
      some(inDoubt, "was in doubt", "were in doubt"),
      more(resent, "of those sent again although answered")
    ),
    summary.firstProblem === undefined ? "" : problem(summary.firstProblem),
    summary.deadLetters + replayed.deadLetters > 0 &&
      "dead letters stay as they are; the same command with --retry-failed tries them again",
    ...summary.damage.map(
      ({ bytes, kind, where }) => `journal: ${whole(bytes)} bytes unreadable (${kind}) in ${where}`
    ),
    line(
      `output ${plain(output)}`,
      journal !== undefined && `journal ${plain(journal)}`,
      report !== undefined && `report ${plain(report)}`
    )
  ]
    .filter((part) => part !== "" && part !== false)
    .join("\n")
}

/** One line of JSON. */
export const json = (run: SummarizedRun): string => {
  const { error, exitCode, journal, output, report, summary, total } = run
  const { cost, costKnown, duration, firstProblem, startedAt, ...rest } = summary
  return JSON.stringify({
    exitCode,
    ...defined({ error, total }),
    ...rest,
    undone: undoneOf(run),
    ...(firstProblem !== undefined && { firstProblem: problemJson(firstProblem) }),
    ...(costKnown > 0 && { cost, costKnown }),
    startedAt: new Date(startedAt).toISOString(),
    durationMs: Duration.toMillis(duration),
    output,
    ...defined({ journal, report })
  })
}
