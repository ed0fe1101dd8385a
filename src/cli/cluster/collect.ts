/** `effect-ai-gateway cluster collect`: writes the results of a job to a file. */
import * as Fs from "node:fs/promises"
import * as Console from "effect/Console"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as Batch from "../../Batch.ts"
import * as Chat from "../../Chat.ts"
import * as Cluster from "../../cluster/Cluster.ts"
import * as Output from "../output/output.ts"
import * as Formats from "../output/resultLine.ts"
import { hold } from "../output/writerLock.ts"
import { CliFailure } from "../shared/failure.ts"
import * as Figures from "../shared/format.ts"
import { detailOf, NotAllDone, RunFailure } from "../shared/runFailure.ts"
import * as Database from "./database.ts"

const flags = {
  output: Argument.String("out").pipe(
    Argument.withDescription("File for the results, a JSON line each; - is standard output")
  ),
  ...Database.flags,
  format: Flag.Literals("format", ["jsonl", "openai"]).pipe(
    Flag.withDescription("Format of the lines: ours, or that of OpenAI's output files (default: jsonl)"),
    Flag.withDefault("jsonl")
  ),
  order: Flag.Literals("order", ["submission", "id"]).pipe(
    Flag.withDescription("Order of the lines (default: submission)"),
    Flag.withDefault("submission")
  ),
  force: Flag.Boolean("force").pipe(Flag.withDescription("Replace an existing file"), Flag.withDefault(false))
}

const isOther = (path: string) =>
  new CliFailure({ message: `${path}: exists: expected a new path, or --force to replace it` })

/** Writes a temporary file and moves it into place at the end: a reader sees all of it or the previous file. */
const replacing = Effect.fnUntraced(function* (path: string) {
  const temporary = `${path}.${process.pid}.tmp`
  const attempt = <A>(run: () => Promise<A>) =>
    Effect.tryPromise({ try: run, catch: (error) => new RunFailure({ message: `${path}: ${detailOf(error)}` }) })
  const handle = yield* Effect.acquireRelease(
    attempt(() => Fs.open(temporary, "wx")),
    (handle, exit) =>
      Effect.promise(async () => {
        await handle.close().catch(() => undefined)
        if (Exit.isFailure(exit)) await Fs.rm(temporary, { force: true })
      })
  )
  const output = yield* Output.collected((block) => attempt(() => handle.appendFile(block)))
  const finish = Effect.andThen(
    output.flush,
    attempt(async () => {
      await handle.sync()
      await Fs.rename(temporary, path)
    })
  )
  return { write: output.write, finish }
})

/** The subcommand. */
export const collect = Command.make(
  "collect",
  flags,
  Effect.fnUntraced(function* ({ databaseUrl, force, format, job, order, output: path }) {
    if (path !== "-") yield* hold({ name: path, purpose: `cluster collect --job ${job}` }, path)
    const place = path === "-" ? undefined : yield* Output.placeOf(path)
    if (place?._tag === "file" && !force) return yield* isOther(path)
    const database = yield* Database.connect(databaseUrl)
    const before = yield* Effect.provideContext(Effect.mapError(Cluster.status(job), Database.refused), database)
    const toFile = place === undefined || place._tag === "device" ? undefined : yield* replacing(path)
    const plain = toFile === undefined ? (path === "-" ? yield* Output.stdout : yield* Output.device(path)) : undefined
    const write = toFile?.write ?? plain?.write ?? (() => Effect.void)
    const { line } = format === "openai" ? Formats.openaiChat : Formats.own
    let [count, dead] = [0, 0]
    yield* Cluster.collect({ job, value: Batch.withoutRaw(Chat.ReplySchema), order }).pipe(
      Stream.mapError((error) => Database.stopped(error, "run the same command again")),
      Stream.runForEachArray((results) => {
        count += results.length
        dead += results.filter(({ _tag }) => _tag === "DeadLetter").length
        return write(results.map((result) => `${line(result)}\n`).join(""))
      }),
      Effect.provideContext(database)
    )
    yield* toFile?.finish ?? plain?.flush ?? Effect.void
    const open = before.items - count
    yield* Console.error(
      `${Figures.whole(count)} results of job ${job}, ${Figures.whole(dead)} of them dead letters${open > 0 ? `; ${Figures.whole(open)} items have not ended` : ""}`
    )
    if (open > 0 || dead > 0 || before.state === "submitting") return yield* new NotAllDone()
  }, Effect.scoped)
).pipe(
  Command.withDescription(
    "Writes the results of a job. Exits with 0 when all items were answered, 1 when some are dead letters or have not ended, " +
      "and 2 when something is rejected; a file is written completely or not at all."
  ),
  Command.withShortDescription("Write the results of a job")
)
