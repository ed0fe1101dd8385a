/** `effect-ai-gateway cluster status`: prints the progress of a job. */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Cluster from "../../cluster/Cluster.ts"
import * as Figures from "../shared/format.ts"
import * as Database from "./database.ts"

const flags = {
  ...Database.flags,
  json: Flag.Boolean("json").pipe(Flag.withDescription("Print one line of JSON"), Flag.withDefault(false))
}

const { plain, span, whole } = Figures

/** Formats the progress for people. */
export const text = (status: Cluster.Status, now: number): string => {
  const { costKnown, deadLetters, items, job, latency, open, perSecond, reasons, state, succeeded, targets } = status
  const alive = status.workers.filter(({ alive }) => alive)
  const ended = succeeded + deadLetters
  const why = Object.entries(reasons).map(([reason, count]) => `${plain(reason)} ${whole(count)}`)
  const left = state === "running" && perSecond > 0 ? `, ${span((open / perSecond) * 1000)} left` : ""
  const states = {
    submitting: "not all items have been submitted (or a submission was broken off: run it again)",
    running: alive.length === 0 ? "waiting: no worker is alive" : "running",
    finished: "finished"
  }
  return [
    `job ${job}: ${states[state]}`,
    `${whole(ended)} of ${whole(items)} items ended (${Figures.percent(ended, items)}), ${whole(status.inFlight)} in flight, ${Figures.rate(perSecond)}/s in the last minute${left}`,
    deadLetters === 0 ? "no dead letters" : `${whole(deadLetters)} dead letters: ${why.join(", ")}`,
    `${whole(status.requests)} requests, ${whole(status.cacheHits)} cache hits, ${whole(status.tokensIn)} tokens in, ${whole(status.tokensOut)} out${costKnown > 0 ? `, ${Figures.dollars(status.cost)}` : ""}`,
    latency === undefined ? "" : `latency ${span(latency.p50)} (median), ${span(latency.p99)} (p99)`,
    ...Object.entries(targets).map(([target, one]) => `  ${plain(target)}: ${whole(one.answered)} answered`),
    `${whole(alive.length)} workers alive${alive.length > 0 ? ":" : ""}`,
    ...alive.map(
      ({ concurrency, ended, inFlight, name, startedAt }) =>
        `  ${plain(name)}: ${whole(inFlight)} of ${whole(concurrency)} in flight, ${whole(ended)} ended, for ${span(now - startedAt)}`
    )
  ]
    .filter((line) => line !== "")
    .join("\n")
}

/** The subcommand. */
export const status = Command.make(
  "status",
  flags,
  Effect.fnUntraced(function* ({ databaseUrl, job, json }) {
    const database = yield* Database.connect(databaseUrl)
    const found = yield* Effect.provideContext(Effect.mapError(Cluster.status(job), Database.refused), database)
    yield* Console.log(json ? JSON.stringify(found) : text(found, yield* Clock.currentTimeMillis))
  }, Effect.scoped)
).pipe(
  Command.withDescription(
    "Prints the progress of a job: counts, reasons, targets, rate and workers. Exits with 0, or with 2."
  ),
  Command.withShortDescription("Show how a job stands")
)
