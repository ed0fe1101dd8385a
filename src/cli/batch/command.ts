/** `effect-ai-gateway batch`: sends many requests from a file through a route. */
import { createHash } from "node:crypto"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Batch from "../../Batch.ts"
import * as Chat from "../../Chat.ts"
import * as Route from "../../Route.ts"
import { estimated } from "../input/entry.ts"
import * as Input from "../input/input.ts"
import * as OpenAi from "../input/openaiBatchFile.ts"
import { spooled } from "../input/source.ts"
import * as Formats from "../output/resultLine.ts"
import { CliFailure } from "../shared/failure.ts"
import * as Gateway from "../shared/gateway.ts"
import { modest } from "../shared/memory.ts"
import * as RouteFile from "../shared/route.ts"
import { type BatchPlan, type BatchSettings, run } from "./run.ts"

/** Default of `--concurrency`. */
export const defaultConcurrency = 16
const maxConcurrency = 10_000
const formats = ["auto", "jsonl", "csv", "openai"] as const

export const flags = {
  input: Argument.String("in").pipe(
    Argument.withDescription("File with the items: JSON lines, CSV or an OpenAI batch file; - is standard input")
  ),
  output: Argument.String("out").pipe(
    Argument.withDescription(
      "File for the results, a JSON line each; an earlier run's is continued; - is standard output"
    )
  ),
  route: Flag.String("route").pipe(
    Flag.withMetavar("route.json"),
    Flag.withDescription(
      "Stored route that the items go through; OpenAI batch files may do without, and then go to OpenAI"
    ),
    Flag.optional
  ),
  format: Flag.Literals("format", formats).pipe(
    Flag.withDescription("Format of the input (default: auto, by its name, or its first line that is a JSON object)"),
    Flag.withDefault("auto")
  ),
  journal: Flag.String("journal").pipe(
    Flag.withMetavar("dir"),
    Flag.withDescription("Folder that remembers finished items (default: <out>.journal; none for standard output)"),
    Flag.optional
  ),
  concurrency: Flag.String("concurrency").pipe(
    Flag.withMetavar("n|adaptive"),
    Flag.withDescription(`Concurrent items, or adaptive (default: ${defaultConcurrency})`),
    Flag.withDefault(String(defaultConcurrency))
  ),
  rpm: Flag.Int("rpm").pipe(
    Flag.withMetavar("n"),
    Flag.withDescription("Requests per minute, retries and fallbacks included (default: no limit)"),
    Flag.optional
  ),
  tpm: Flag.Int("tpm").pipe(
    Flag.withMetavar("n"),
    Flag.withDescription("Tokens per minute, in and out (default: no limit)"),
    Flag.optional
  ),
  itemDeadline: Flag.String("item-deadline").pipe(
    Flag.withMetavar("duration"),
    Flag.withDescription('Time for each item with all its attempts, such as "30 seconds" (default: none)'),
    Flag.optional
  ),
  outagePatience: Flag.String("outage-patience").pipe(
    Flag.withMetavar("duration"),
    Flag.withDescription(
      'How long to wait, and try one item at a time, while the gateway or all providers are down (default: "5 minutes")'
    ),
    Flag.optional
  ),
  ordered: Flag.Boolean("ordered").pipe(
    Flag.withDescription("Write results in the order of the input"),
    Flag.withDefault(false)
  ),
  retryFailed: Flag.Boolean("retry-failed").pipe(
    Flag.withDescription("Try the dead letters of earlier runs again"),
    Flag.withDefault(false)
  ),
  strict: Flag.Boolean("strict").pipe(
    Flag.withDescription("Reject an input with malformed lines, which otherwise become dead letters"),
    Flag.withDefault(false)
  ),
  report: Flag.String("report").pipe(
    Flag.withMetavar("file.html"),
    Flag.withDescription("Write a page about the run"),
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print the summary as one line of JSON, on standard output unless the results go there"),
    Flag.withDefault(false)
  ),
  force: Flag.Boolean("force").pipe(
    Flag.withDescription(
      "Overwrite an output without a journal, and use a journal of another route or input (a changed input needs ids)"
    ),
    Flag.withDefault(false)
  ),
  accountId: Flag.String("account-id").pipe(
    Flag.withMetavar("id"),
    Flag.withDescription("Cloudflare account (default: CLOUDFLARE_ACCOUNT_ID)"),
    Flag.optional
  ),
  gateway: Flag.String("gateway").pipe(
    Flag.withMetavar("id"),
    Flag.withDescription("Gateway of the account (default: AI_GATEWAY_ID)"),
    Flag.optional
  ),
  baseUrl: Flag.String("base-url").pipe(
    Flag.withMetavar("url"),
    Flag.withDescription("A server other than Cloudflare's, such as that of serve (default: AI_GATEWAY_URL)"),
    Flag.optional
  )
}

const refuse = (flag: string, accepted: string): CliFailure =>
  new CliFailure({ message: `${flag}: expected ${accepted}` })

export const concurrencyOf = (text: string): Effect.Effect<number | "adaptive", CliFailure> => {
  if (text === "adaptive") return Effect.succeed(text)
  const places = /^\d+$/.test(text) ? Number(text) : 0
  return places >= 1 && places <= maxConcurrency
    ? Effect.succeed(places)
    : Effect.fail(refuse("--concurrency", `1 to ${maxConcurrency}, or adaptive`))
}

export const limitOf = (flag: string, limit: Option.Option<number>): Effect.Effect<number | undefined, CliFailure> =>
  Option.isSome(limit) && limit.value < 1
    ? Effect.fail(refuse(flag, "a whole number from 1"))
    : Effect.succeed(Option.getOrUndefined(limit))

const isInput = (text: string): text is Extract<Duration.Input, string> => /^[\d.]+ [a-z]+$/.test(text)

const durationOf = (
  flag: string,
  text: Option.Option<string>,
  least: 0 | 1
): Effect.Effect<Duration.Duration | undefined, CliFailure> => {
  if (Option.isNone(text)) return Effect.undefined
  const given = text.value
  const duration = isInput(given) ? Duration.fromInput(given) : Option.none()
  return Option.isSome(duration) && Duration.toMillis(duration.value) >= least
    ? Effect.succeed(duration.value)
    : Effect.fail(
        refuse(flag, `a duration ${least === 0 ? "of 0 or more" : "of at least 1 millisecond"}, such as "30 seconds"`)
      )
}

/** Values of `--item-deadline` and `--outage-patience`. */
export const patienceOf = Effect.fnUntraced(function* (given: {
  readonly itemDeadline: Option.Option<string>
  readonly outagePatience: Option.Option<string>
}) {
  return {
    itemDeadline: yield* durationOf("--item-deadline", given.itemDeadline, 1),
    outagePatience: yield* durationOf("--outage-patience", given.outagePatience, 0)
  }
})

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex")

const chatPlan = (
  format: Input.InputFormat,
  route: Route.Route<Chat.Input, Chat.Reply>
): BatchPlan<Chat.Request, Chat.Reply> => ({
  reader: Input.readers[format],
  route,
  value: Batch.withoutRaw(Chat.ReplySchema),
  format: format === "openai" ? Formats.openaiChat : Formats.own,
  blank: { messages: [] },
  tokens: (request) => estimated(request, request.maxTokens),
  fingerprint: { route: sha256(RouteFile.textOf(route)), format }
})

const passPlan = (
  route: Route.Route<OpenAi.PassThrough, OpenAi.AnsweredLine>
): BatchPlan<OpenAi.PassThrough, OpenAi.AnsweredLine> => ({
  reader: OpenAi.passing,
  route,
  value: OpenAi.answered,
  format: Formats.openaiPassed,
  blank: { endpoint: "", body: {} },
  tokens: OpenAi.tokensOf,
  fingerprint: { route: sha256(Route.describe(route)), format: "openai" }
})

/**
 * The command. Exits with 0 when all items are done, 1 when there are dead letters or the job could not continue, 2
 * when something is rejected (nothing was sent or written), and 130 after Ctrl-C or SIGTERM: the first signal lets
 * items in flight end, the second interrupts them.
 */
export const batch = Command.make(
  "batch",
  flags,
  Effect.fnUntraced(function* (given) {
    const { input, json, force, ordered, output, retryFailed, strict } = given
    yield* modest
    const limits = {
      concurrency: yield* concurrencyOf(given.concurrency),
      rpm: yield* limitOf("--rpm", given.rpm),
      tpm: yield* limitOf("--tpm", given.tpm),
      ...(yield* patienceOf(given))
    }
    const route = Option.isSome(given.route) ? yield* RouteFile.read(given.route.value) : undefined
    if (route === undefined && given.format !== "auto" && given.format !== "openai") {
      return yield* refuse("--route", "the path of a route file")
    }
    const gateway = yield* Gateway.connect({
      accountId: Option.getOrUndefined(given.accountId),
      gateway: Option.getOrUndefined(given.gateway),
      baseUrl: Option.getOrUndefined(given.baseUrl)
    })
    const opened = yield* Input.open(input, given.format, (format) =>
      route === undefined && format === "openai" ? OpenAi.passing : Input.readers[format]
    )
    const { format } = opened
    if (route === undefined && format !== "openai") {
      return yield* refuse("--route", "the path of a route file; only OpenAI batch files name their models themselves")
    }
    const settings: BatchSettings = {
      // With `--strict`, all lines are checked before the first is sent.
      source: strict && !opened.source.isFile ? yield* spooled(opened.source) : opened.source,
      output,
      journal: Option.getOrUndefined(given.journal),
      report: Option.getOrUndefined(given.report),
      ...limits,
      ordered,
      retryFailed,
      strict,
      json,
      force
    }
    if (route !== undefined) return yield* run(chatPlan(format, route), settings, gateway)
    return yield* run(passPlan(OpenAi.passOn(yield* RouteFile.keyOf("openai"))), settings, gateway)
  }, Effect.scoped)
).pipe(
  Command.withDescription(
    "Sends the items of a file through a route and writes a line for each result. It can be killed at any moment: the " +
      "same command resumes it. Exits with 0 when all items are done, 1 when there are dead letters or the job could not " +
      "continue, 2 when something is rejected before anything is sent, and 130 on Ctrl-C or SIGTERM: the first lets " +
      "items in flight end, the second stops at once. Tokens come from the environment: CF_AIG_TOKEN, " +
      "CLOUDFLARE_API_TOKEN, and OPENAI_API_KEY and the like if the route uses them."
  ),
  Command.withShortDescription("Send many requests through a route"),
  Command.withExamples(({ commandPath }) => [
    {
      command: `${commandPath.join(" ")} in.jsonl out.jsonl --route route.json --concurrency adaptive`,
      description: "A file, as fast as the providers allow"
    },
    {
      command: `${commandPath.join(" ")} batch.jsonl results.jsonl --rpm 500 --report report.html`,
      description: "An unchanged OpenAI batch file"
    }
  ])
)
