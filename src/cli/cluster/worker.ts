/**
 * `effect-ai-gateway cluster worker`: takes items of a job until it is finished.
 */
import { createHash } from "node:crypto"
import { hostname } from "node:os"
import * as Console from "effect/Console"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Batch from "../../Batch.ts"
import type { Fingerprint } from "../../BatchJournal.ts"
import * as Chat from "../../Chat.ts"
import * as Cluster from "../../cluster/Cluster.ts"
import type * as Route from "../../Route.ts"
import * as BatchCommand from "../batch/command.ts"
import * as Progress from "../report/progress.ts"
import * as Summary from "../report/summary.ts"
import { CliFailure } from "../shared/failure.ts"
import * as Figures from "../shared/format.ts"
import * as Gateway from "../shared/gateway.ts"
import { modest } from "../shared/memory.ts"
import * as RouteFile from "../shared/route.ts"
import { inStages } from "../shared/signals.ts"
import * as Database from "./database.ts"

const { accountId, baseUrl, concurrency, gateway, itemDeadline, outagePatience } = BatchCommand.flags

const flags = {
  ...Database.flags,
  route: Flag.String("route").pipe(
    Flag.withMetavar("route.json"),
    Flag.withDescription("Stored route that the items go through; the same for all workers of a job")
  ),
  concurrency,
  itemDeadline,
  outagePatience,
  rpm: Flag.Int("rpm").pipe(
    Flag.withMetavar("n"),
    Flag.withDescription("Requests per minute of all workers together; give every worker the same (default: no limit)"),
    Flag.optional
  ),
  tpm: Flag.Int("tpm").pipe(
    Flag.withMetavar("n"),
    Flag.withDescription("Tokens per minute of all workers together, in and out (default: no limit)"),
    Flag.optional
  ),
  limitKey: Flag.String("limit-key").pipe(
    Flag.withMetavar("key"),
    Flag.withDescription("Jobs with the same key share their limits (default: a job's own)"),
    Flag.optional
  ),
  lease: Flag.Int("lease").pipe(
    Flag.withMetavar("seconds"),
    Flag.withDescription("Seconds after its death until a worker's items go to others (default: 60)"),
    Flag.withDefault(60)
  ),
  maxAttempts: Flag.Int("max-attempts").pipe(
    Flag.withMetavar("n"),
    Flag.withDescription("How often an item may be sent without an end before it is a dead letter (default: 5)"),
    Flag.withDefault(5)
  ),
  name: Flag.String("name").pipe(
    Flag.withDescription("Name of this worker in the status (default: the machine and the process)"),
    Flag.optional
  ),
  follow: Flag.Boolean("follow").pipe(
    Flag.withDescription("Wait for more items when the job is finished"),
    Flag.withDefault(false)
  ),
  force: Flag.Boolean("force").pipe(Flag.withDescription("Work on a job of another route"), Flag.withDefault(false)),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print this worker's summary as one line of JSON"),
    Flag.withDefault(false)
  ),
  accountId,
  gateway,
  baseUrl
}

/** Identity of a job. */
export const fingerprintOf = (route: Route.Route<never, unknown>): Fingerprint => ({
  route: createHash("sha256").update(RouteFile.textOf(route)).digest("hex")
})

const hint = "finished items are kept: other workers continue, and so does this command when it runs again"

const text = (job: string, summary: Batch.Summary, interrupted: boolean): string => {
  const { costKnown, deadLetters, duration, firstProblem, inDoubt, requests, requeued, succeeded } = summary
  const { tokensIn, tokensOut } = summary
  const { plural } = Figures
  const figures = [
    `${interrupted ? "Interrupted" : "Done"}: ${plural(succeeded + deadLetters, "item")} of job ${job} by this worker`,
    plural(deadLetters, "dead letter"),
    plural(requests, "request"),
    inDoubt > 0 ? plural(inDoubt, "was in doubt", "were in doubt") : "",
    requeued > 0 ? `${Figures.whole(requeued)} put back because throttled` : "",
    `${plural(tokensIn, "token")} in, ${Figures.whole(tokensOut)} out`,
    costKnown > 0 ? Figures.dollars(summary.cost) : "",
    `in ${Figures.span(Duration.toMillis(duration))}`
  ]
    .filter((part) => part !== "")
    .join(", ")
  return firstProblem === undefined ? figures : `${figures}\n${Summary.problem(firstProblem)}`
}

const accepted: Readonly<Record<string, string>> = {
  maxAttempts: "--max-attempts: expected 1 to 100",
  lease: "--lease: expected 2 to 3600 seconds"
}

/** The subcommand. The first Ctrl-C lets items in flight end, the second returns them to the queue. */
export const worker = Command.make(
  "worker",
  flags,
  Effect.fnUntraced(function* (given) {
    const { follow, force, job, json, lease, maxAttempts } = given
    yield* modest
    const places = yield* BatchCommand.concurrencyOf(given.concurrency)
    const rpm = yield* BatchCommand.limitOf("--rpm", given.rpm)
    const tpm = yield* BatchCommand.limitOf("--tpm", given.tpm)
    const patience = yield* BatchCommand.patienceOf(given)
    if (lease < 2 || lease > 3600) return yield* new CliFailure({ message: accepted["lease"] ?? "" })
    if (maxAttempts < 1 || maxAttempts > 100) return yield* new CliFailure({ message: accepted["maxAttempts"] ?? "" })
    const route = yield* RouteFile.read(given.route)
    const database = yield* Database.connect(given.databaseUrl)
    const router = yield* Gateway.connect({
      accountId: Option.getOrUndefined(given.accountId),
      gateway: Option.getOrUndefined(given.gateway),
      baseUrl: Option.getOrUndefined(given.baseUrl)
    })
    const asked = Deferred.makeUnsafe<void>()
    let started: Cluster.Worker | undefined
    const body = Effect.gen(function* () {
      const running = yield* Cluster.startWorker<Chat.Request, Chat.Reply>({
        job,
        route,
        input: Chat.RequestSchema,
        value: Batch.withoutRaw(Chat.ReplySchema),
        fingerprint: fingerprintOf(route),
        concurrency: places,
        ...patience,
        ...((rpm ?? tpm) !== undefined && {
          limits: { requestsPerMinute: rpm, tokensPerMinute: tpm, key: Option.getOrUndefined(given.limitKey) }
        }),
        lease: Duration.seconds(lease),
        maxAttempts,
        name: Option.getOrElse(given.name, () => `${hostname()}:${process.pid}`),
        follow,
        force
      }).pipe(Effect.mapError(Database.refused))
      started = running
      yield* Effect.forkScoped(Effect.andThen(Deferred.await(asked), running.drain))
      const stdio = yield* Stdio.Stdio
      const interactive = yield* stdio.stderrIsTerminal
      const shown = yield* Effect.forkScoped(
        Progress.show({ ...running, results: Stream.empty }, { total: undefined, interactive })
      )
      yield* Effect.mapError(running.done, (error) => Database.stopped(error, hint))
      yield* Fiber.await(shown)
    }).pipe(Effect.scoped, Effect.provideContext(router), Effect.provideContext(database))

    return yield* inStages(
      body,
      Effect.asVoid(Deferred.succeed(asked, undefined)),
      Effect.fnUntraced(function* (exit, ending) {
        const interrupted = ending !== "ended"
        if (started !== undefined) {
          const summary = yield* started.summary
          const { costKnown, duration, firstProblem, startedAt, ...rest } = summary
          yield* json
            ? Console.log(
                JSON.stringify({
                  job,
                  ...rest,
                  firstProblem: firstProblem && Summary.problemJson(firstProblem),
                  costKnown,
                  durationMs: Duration.toMillis(duration)
                })
              )
            : Console.error(text(job, summary, interrupted))
        }
        if (!interrupted || (Exit.isFailure(exit) && Option.isSome(Exit.findErrorOption(exit)))) yield* exit
      })
    )
  }, Effect.scoped)
).pipe(
  Command.withDescription(
    "Takes items of a job until all have ended, here or elsewhere. Start as many as you like, on any machine, at any " +
      "time; they may also be killed at any time. Exits with 0 when the job is finished, also with dead letters, which " +
      "status and collect report; with 1 when it could not continue; with 2 when something is rejected before anything " +
      "is sent; and with 130 on Ctrl-C or SIGTERM: the first lets items in flight end, the second returns them."
  ),
  Command.withShortDescription("Work on a job")
)
