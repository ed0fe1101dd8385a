/** `effect-ai-gateway cluster submit`: puts items of a file into a job. */
import * as Console from "effect/Console"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Chat from "../../Chat.ts"
import * as Cluster from "../../cluster/Cluster.ts"
import { isId } from "../../cluster/submit.ts"
import { invalid } from "../../GatewayError.ts"
import * as Batch from "../batch/command.ts"
import { byContent } from "../batch/lineIds.ts"
import { malformedLine } from "../input/entry.ts"
import * as Input from "../input/input.ts"
import { spooled } from "../input/source.ts"
import { problemOf } from "../output/resultLine.ts"
import * as Figures from "../shared/format.ts"
import * as RouteFile from "../shared/route.ts"
import * as Database from "./database.ts"
import { fingerprintOf } from "./worker.ts"

const flags = {
  input: Argument.String("in").pipe(
    Argument.withDescription("File with the items: JSON lines, CSV or an OpenAI batch file; - is standard input")
  ),
  ...Database.flags,
  route: Flag.String("route").pipe(
    Flag.withMetavar("route.json"),
    Flag.withDescription(
      "Route that the workers will use; others are then rejected (default: that of the first worker)"
    ),
    Flag.optional
  ),
  format: Batch.flags.format,
  strict: Batch.flags.strict,
  retryFailed: Flag.Boolean("retry-failed").pipe(
    Flag.withDescription("Put dead letters that are submitted again back into the queue"),
    Flag.withDefault(false)
  ),
  open: Flag.Boolean("open").pipe(
    Flag.withDescription("More items will be submitted: workers wait for them"),
    Flag.withDefault(false)
  ),
  force: Flag.Boolean("force").pipe(Flag.withDescription("Submit to a job of another route"), Flag.withDefault(false)),
  json: Flag.Boolean("json").pipe(Flag.withDescription("Print the result as one line of JSON"), Flag.withDefault(false))
}

const hint = "what was submitted is kept: run the same command again for the rest"

/** The database stores ids as text, which excludes some that a file may contain. */
const stored = (entry: Input.InputEntry<Chat.Request>): Input.InputEntry<Chat.Request> => {
  if (isId(entry.id)) return entry
  const problem =
    entry._tag === "Malformed" ? entry.problem : "id: expected a text without U+0000 and halves of surrogate pairs"
  return malformedLine(entry.line, problem)
}

const submissionOf = (given: Input.InputEntry<Chat.Request>): Cluster.Submission<Chat.Request> => {
  // A job accepts any number of files, and line numbers repeat between them.
  const entry = stored(given._tag === "Item" ? byContent(given) : given)
  if (entry._tag === "Item") return { id: entry.id, input: entry.input }
  const { accepted, field } = problemOf(entry)
  return { id: entry.id, error: invalid("cluster submit", field, accepted) }
}

const text = (job: string, { added, changed, known, retried }: Cluster.Submitted): string =>
  [
    `job ${job}: ${Figures.whole(added)} new items`,
    known > 0 ? `${Figures.whole(known)} were there already` : "",
    retried > 0 ? `${Figures.whole(retried)} dead letters put back` : "",
    changed.count > 0
      ? `${Figures.whole(changed.count)} of those there have another input now, and keep the first one (${changed.ids.map(Figures.plain).join(", ")}${changed.count > changed.ids.length ? ", …" : ""})`
      : ""
  ]
    .filter((part) => part !== "")
    .join("; ")

/** The subcommand. */
export const submit = Command.make(
  "submit",
  flags,
  Effect.fnUntraced(function* (flags) {
    const { force, job, json, retryFailed, strict } = flags
    const route = Option.isSome(flags.route) ? yield* RouteFile.read(flags.route.value) : undefined
    const database = yield* Database.connect(flags.databaseUrl)
    const { format, source: opened } = yield* Input.open(flags.input, flags.format)
    const reader = Input.readers[format]
    const given = strict && !opened.isFile ? yield* spooled(opened) : opened
    const source = given.isFile ? (yield* Input.scan(given, reader, strict)).source : given
    let begun = false
    const submitted = yield* Cluster.submit({
      job,
      items: Stream.map(Input.entries(source, reader.entries), submissionOf),
      input: Chat.RequestSchema,
      fingerprint: route === undefined ? {} : fingerprintOf(route),
      force,
      retryFailed,
      seal: !flags.open,
      onProgress: () =>
        Effect.sync(() => {
          begun = true
        })
    }).pipe(
      Effect.mapError((error) =>
        !Database.isOurs(error) ? error : begun ? Database.stopped(error, hint) : Database.refused(error)
      ),
      Effect.provideContext(database)
    )
    yield* json ? Console.log(JSON.stringify({ job, ...submitted })) : Console.error(text(job, submitted))
  }, Effect.scoped)
).pipe(
  Command.withDescription(
    "Puts the items of a file into a job in PostgreSQL. Items with a known id stay as they are, so a submission " +
      "that broke off can simply be repeated. The first submission creates the tables. Exits with 0, with 1 when it could " +
      "not continue, and with 2 when something is rejected before anything is written."
  ),
  Command.withShortDescription("Put items into a job")
)
