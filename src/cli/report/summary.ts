/**
 * What a job came to, for people and as JSON.
 */
import * as Duration from "effect/Duration"
import type * as Batch from "../../Batch.ts"
import { defined } from "../../internal/data/defined.ts"
import * as Figures from "../shared/format.ts"

/** What there is to say about a run beside its summary. */
export interface SummarizedRun {
  readonly summary: Batch.Summary
  readonly exitCode: number
  readonly output: string
  readonly journal: string | undefined
  readonly report: string | undefined
  /** Items of the input, where that is known before its end. */
  readonly total: number | undefined
  /** Why the job could not go on. */
  readonly error: string | undefined
}

const { plain, span, whole } = Figures

const counted = (counts: Readonly<Record<string, number | undefined>>): string =>
  Object.entries(counts)
    .flatMap(([name, count = 0]) => (count > 0 ? [`${name} ${whole(count)}`] : []))
    .join(", ")

const line = (...parts: ReadonlyArray<string | false | undefined>): string =>
  parts.filter((part) => typeof part === "string" && part !== "").join(", ")

const dead = ({ deadLetters, reasons, replayed }: Batch.Summary): string => {
  const why = counted({ ...reasons, ...(replayed.deadLetters > 0 && { "from earlier runs": replayed.deadLetters }) })
  const all = deadLetters + replayed.deadLetters
  return all === 0 ? "no dead letters" : `${whole(all)} dead letter${all === 1 ? "" : "s"} (${why})`
}

/** How many items have ended, in this run and before. */
export const endedOf = ({ deadLetters, replayed, succeeded }: Batch.Summary): number =>
  succeeded + deadLetters + replayed.succeeded + replayed.deadLetters

const heading = ({ error, exitCode, summary, total }: SummarizedRun): string => {
  const state = error !== undefined ? "Failed" : exitCode === 130 ? "Interrupted" : "Done"
  const of = total === undefined ? "" : ` of ${whole(total)}`
  return `${state}: ${line(`${whole(endedOf(summary))}${of} items`, dead(summary))}, in ${span(Duration.toMillis(summary.duration))}`
}

/** A few lines for people. */
export const text = (run: SummarizedRun): string => {
  const { journal, output, report, summary } = run
  const { cacheHits, cost, costKnown, fallbacks, inDoubt, latency, pauses, replayed, requests, requeued, resent } =
    summary
  const more = (count: number, what: string): string | false => count > 0 && `${whole(count)} ${what}`
  return [
    heading(run),
    line(
      `${whole(requests)} requests`,
      more(summary.retries, "retries"),
      more(fallbacks, "fallbacks"),
      more(cacheHits, "cache hits"),
      more(requeued, "put back because throttled"),
      more(pauses, "pauses for a quota")
    ),
    line(
      `${whole(summary.tokensIn)} tokens in, ${whole(summary.tokensOut)} out`,
      costKnown > 0 && Figures.dollars(cost),
      latency !== undefined && `latency ${span(latency.p50)} (median), ${span(latency.p99)} (p99)`
    ),
    line(
      more(replayed.succeeded + replayed.deadLetters, "items done by earlier runs"),
      more(inDoubt, "were in doubt"),
      more(resent, "of those sent again although answered")
    ),
    ...summary.damage.map(
      ({ bytes, kind, where }) => `journal: ${whole(bytes)} bytes unreadable (${kind}) in ${where}`
    ),
    line(
      `output ${plain(output)}`,
      journal !== undefined && `journal ${plain(journal)}`,
      report !== undefined && `report ${plain(report)}`
    )
  ]
    .filter((part) => part !== "")
    .join("\n")
}

/** One line of JSON. */
export const json = ({ error, exitCode, journal, output, report, summary, total }: SummarizedRun): string => {
  const { cost, costKnown, duration, startedAt, ...rest } = summary
  return JSON.stringify({
    exitCode,
    ...defined({ error, total }),
    ...rest,
    ...(costKnown > 0 && { cost, costKnown }),
    startedAt: new Date(startedAt).toISOString(),
    durationMs: Duration.toMillis(duration),
    output,
    ...defined({ journal, report })
  })
}
