/**
 * Runs a job of the command line from its checks to its summary.
 */
import * as Fs from "node:fs/promises"
import { join, resolve, sep } from "node:path"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Batch from "../../Batch.ts"
import type { Fingerprint, Journal } from "../../BatchJournal.ts"
import { NumberColumn } from "../../internal/data/idIndex.ts"
import * as FileJournal from "../../journal/FileJournal.ts"
import type * as Limiter from "../../Limiter.ts"
import * as Route from "../../Route.ts"
import type * as Router from "../../Router.ts"
import type { EntryReader, InputEntry } from "../input/entry.ts"
import * as Input from "../input/input.ts"
import { identityAt, identityOf, type Source } from "../input/source.ts"
import * as Output from "../output/output.ts"
import { type OutputFormat, problemOf } from "../output/resultLine.ts"
import { hold, holdFile, redirected } from "../output/writerLock.ts"
import { Recorder } from "../report/data.ts"
import * as Progress from "../report/progress.ts"
import * as Report from "../report/report.ts"
import * as Summary from "../report/summary.ts"
import { CliFailure } from "../shared/failure.ts"
import { codeOf, detailOf, NotAllDone, RunFailure } from "../shared/runFailure.ts"
import { inStages } from "../shared/signals.ts"
import { type BatchFailure, endedEarly, notBegun } from "./failures.ts"
import * as LineIds from "./lineIds.ts"

/** Properties that follow from the format of the input. */
export interface BatchPlan<In, Out> {
  readonly reader: EntryReader<In>
  readonly route: Route.Route<In, Out>
  readonly value: Batch.ValueCodec<Out>
  readonly format: OutputFormat<Out>
  /** Placeholder for the request of a malformed line, which is never sent: compared by identity. */
  readonly blank: In
  /** Upper bound of a request's tokens. */
  readonly tokens: (input: In) => number
  /** Distinguishes this plan from others. */
  readonly fingerprint: Fingerprint
}

/** Settings of a batch. */
export interface BatchSettings {
  readonly source: Source
  readonly output: string
  /** Default: next to an output file. */
  readonly journal: string | undefined
  readonly report: string | undefined
  readonly concurrency: number | "adaptive" | Limiter.AdaptiveConcurrency | undefined
  readonly rpm: number | undefined
  readonly tpm: number | undefined
  readonly itemDeadline: Duration.Duration | undefined
  readonly outagePatience: Duration.Duration | undefined
  readonly ordered: boolean
  readonly retryFailed: boolean
  readonly strict: boolean
  readonly json: boolean
  readonly force: boolean
}

/**
 * Characters of lines that are written together: a V8 string has at most 536 million, and a few results may have more.
 */
const maxBlock = 1_000_000

/**
 * A journal that keeps nothing. Even without a journal, results that no journal could store become dead letters: an
 * output cannot have a line of them either.
 */
const nowhere: Journal = {
  open: () =>
    Effect.succeed({
      damage: [],
      append: () => Effect.succeed({ durable: Effect.void }),
      read: () => Effect.die(new Error("nothing was kept"))
    })
}

/** Passes the entries of earlier runs to `onEnded` when the journal is opened. */
const watched = (store: Journal, onEnded: (id: string, kind: "done" | "dead") => void): Journal => ({
  open: (options) =>
    store.open({
      ...options,
      onEntry: (entry) => {
        options.onEntry(entry)
        if (entry._tag !== "sent") onEnded(entry.id, entry._tag)
      }
    })
})

/** Whether a folder contains a journal. Fails with `CliFailure` when it contains something else. */
const hasJournal = (path: string): Effect.Effect<boolean, CliFailure> =>
  Effect.tryPromise({
    try: async () => {
      const names = await Fs.readdir(path).catch((error: unknown) => {
        if (codeOf(error) === "ENOENT") return []
        throw error
      })
      const isJournal = names.some((name) => /^\d{6}\.jsonl$/.test(name))
      if (!isJournal && names.some((name) => !/^lock-.*\.json(\.new)?$/.test(name))) throw new Error("foreign")
      return isJournal
    },
    catch: (error) => {
      const detail = codeOf(error) === undefined ? "it holds other files" : detailOf(error)
      return new CliFailure({ message: `--journal ${path}: expected the path of a folder for a journal: ${detail}` })
    }
  })

/** Facts about the files of a job before anything is written. */
interface Places {
  readonly output: Output.OutputPosition
  /** By default next to an output file. */
  readonly journal: string | undefined
  /** Whether the journal has been written to. */
  readonly begun: boolean
}

const samePlace = (flag: string, path: string, than: "input" | "output"): CliFailure =>
  new CliFailure({ message: `${flag} ${path}: expected a file other than the ${than}` })

const isWithin = (folder: string, real: string): boolean => real === folder || real.startsWith(`${folder}${sep}`)

/** Identities of the files in a folder; none if there is no such folder. */
const filesIn = async (folder: string): Promise<ReadonlyArray<string>> => {
  const names = await Fs.readdir(folder).catch(() => [])
  const stats = await Promise.all(names.map((name) => Fs.stat(join(folder, name)).catch(() => undefined)))
  return stats.flatMap((one) => (one === undefined ? [] : [identityOf(one)]))
}

/**
 * Locks the files that a run writes, and returns a lock for an output file that it creates later. The journal has its
 * own lock.
 */
const holdPlaces = Effect.fnUntraced(function* ({ journal, output, report, source }: BatchSettings) {
  const own = journal ?? (output === "-" ? undefined : `${output}.journal`)
  const purpose = `batch ${source.name}${own === undefined ? "" : `, journal ${resolve(own)}`}`
  const path = output === "-" ? yield* redirected : output
  const name = output === "-" ? "standard output" : output
  const holding = { name, purpose, ...(own !== undefined && { same: `--journal ${own}` }) }
  const identity = path === undefined ? undefined : yield* hold(holding, path)
  const made = output === "-" ? Effect.void : holdFile(holding, output, identity)
  if (report === undefined) return made
  const real = (path: string) => Effect.promise(() => Output.realPath(path))
  // `checkPlaces` rejects the same path for both, with its own message.
  if (path !== undefined && (yield* real(report)) === (yield* real(path))) return made
  yield* hold({ name: `--report ${report}`, purpose }, report)
  return made
})

/** Checks everything that does not require reading the input. */
const checkPlaces = Effect.fnUntraced(function* (settings: BatchSettings): Effect.fn.Return<Places, CliFailure> {
  const { force, output, report, source } = settings
  const place: Output.OutputPosition = output === "-" ? { _tag: "device" } : yield* Output.placeOf(output)
  const identity = place._tag === "file" ? place.identity : output === "-" ? identityAt(1) : undefined
  if (identity !== undefined && identity === source.identity) {
    return yield* samePlace("the output", output, "input")
  }
  const journal = settings.journal ?? (place._tag === "device" ? undefined : `${output}.journal`)
  const folder = journal === undefined ? undefined : yield* Effect.promise(() => Output.realPath(journal))
  if (report !== undefined) {
    const at = yield* Output.placeOf(report).pipe(
      Effect.mapError(({ message }) => new CliFailure({ message: `--report ${message}` }))
    )
    if (at._tag === "device") {
      return yield* new CliFailure({ message: `--report ${report}: expected the path of a file, not of a device` })
    }
    if (at._tag === "file" && at.identity === source.identity) return yield* samePlace("--report", report, "input")
    if (at._tag === "file" && at.identity === identity) {
      return yield* samePlace("--report", report, "output")
    }
    // A file that does not exist yet has only its path.
    const real = yield* Effect.promise(() => Output.realPath(report))
    if (output !== "-" && real === (yield* Effect.promise(() => Output.realPath(output)))) {
      return yield* samePlace("--report", report, "output")
    }
    if (folder !== undefined && isWithin(folder, real)) {
      return yield* new CliFailure({ message: `--report ${report}: expected a file outside the journal ${journal}` })
    }
  }
  const begun = journal === undefined ? false : yield* hasJournal(journal)
  if (folder !== undefined && output !== "-" && place._tag !== "device") {
    const real = yield* Effect.promise(() => Output.realPath(output))
    if (isWithin(folder, real)) {
      return yield* new CliFailure({ message: `${output}: expected a file outside the journal ${journal}` })
    }
  }
  if (folder !== undefined && source.identity !== undefined) {
    const segments = yield* Effect.promise(() => filesIn(folder))
    if (segments.includes(source.identity)) {
      return yield* new CliFailure({ message: `${source.name}: expected an input outside the journal ${journal}` })
    }
  }
  if (place._tag === "file" && place.size > 0 && !begun && !force) {
    return yield* new CliFailure({
      message: `${output}: exists, and there is no journal ${journal} to continue: expected a new path, or --force to overwrite it`
    })
  }
  return { output: place, journal, begun }
})

const writeReport = (path: string, html: string): Effect.Effect<void, RunFailure> =>
  Effect.tryPromise({
    try: () => Output.replaceFile(path, (handle) => handle.writeFile(html)),
    catch: (error) => new RunFailure({ message: `--report ${path}: ${detailOf(error)}` })
  })

/** A job that has begun, with the facts that later steps need. */
interface Begun {
  readonly summary: Effect.Effect<Batch.Summary>
  readonly recorder: Recorder | undefined
  /** Results in the output that the journal has lost; they count as results of earlier runs. */
  readonly kept: Output.Unknown
}

const noneKept: Output.Unknown = { lost: 0, lostFailed: 0, outdated: 0, foreign: 0 }

const withKept = (summary: Batch.Summary, { lost, lostFailed, outdated }: Output.Unknown): Batch.Summary =>
  lost === 0
    ? summary
    : {
        ...summary,
        items: summary.items + lost,
        replayed: {
          succeeded: summary.replayed.succeeded + lost - lostFailed,
          deadLetters: summary.replayed.deadLetters + lostFailed
        },
        // The job has not seen them.
        unmet: summary.unmet - outdated
      }

/**
 * Runs a job. Fails with `CliFailure` for problems before anything is written, and with `NotAllDone` when everything
 * has been reported.
 */
export const run = Effect.fnUntraced(function* <In, Out>(
  plan: BatchPlan<In, Out>,
  settings: BatchSettings,
  gateway: Context.Context<Router.Router>
) {
  const { output } = settings
  const holdOutput = yield* holdPlaces(settings)
  const places = yield* checkPlaces(settings)
  const { journal } = places
  const asked = Deferred.makeUnsafe<void>()
  let begun: Begun | undefined
  /** Lines where items begin, when the first pass has not checked their ids. */
  const lines = new NumberColumn("uint32")

  const before =
    places.output._tag === "file" && places.begun
      ? yield* Output.readBefore(output, plan.format, settings.retryFailed).pipe(
          Effect.catchIf(
            () => settings.force,
            () => Effect.undefined
          )
        )
      : undefined
  const canKeep = before !== undefined && !settings.ordered
  const scanned = settings.source.isFile
    ? yield* Input.scan(settings.source, plan.reader, settings.strict, (id) => before?.meet(id))
    : undefined
  const source = scanned?.source ?? settings.source

  if (journal !== undefined && places.begun && scanned !== undefined && scanned.byLine > 0) {
    yield* LineIds.check({
      source,
      reader: plan.reader,
      hash: scanned.hash,
      journal,
      output,
      before,
      force: settings.force
    })
  }

  const options = (anew: () => boolean): Batch.Options<InputEntry<In>, In, Out> => ({
    route: (entry) =>
      entry._tag === "Item"
        ? plan.route
        : Route.fromNode<In, Out>({ _tag: "Invalid", problem: problemOf(entry), route: undefined }),
    input: (entry) => (entry._tag === "Item" ? entry.input : plan.blank),
    id: (entry, index) => {
      if (scanned === undefined) lines.set(index, entry.line)
      return entry.id
    },
    concurrency: settings.concurrency,
    // The first pass over a file has found none.
    duplicates: scanned === undefined ? "fail" : "unchecked",
    ordered: settings.ordered,
    itemDeadline: settings.itemDeadline,
    outagePatience: settings.outagePatience,
    ...((settings.rpm ?? settings.tpm) !== undefined && {
      limits: {
        requestsPerMinute: settings.rpm,
        tokensPerMinute: settings.tpm,
        tokens: (input) => (input === plan.blank ? 0 : plan.tokens(input))
      }
    }),
    journal:
      journal === undefined
        ? { store: nowhere, value: plan.value }
        : {
            store: watched(FileJournal.make({ path: journal }), (id, kind) => before?.know(id, kind)),
            value: plan.value,
            retryFailed: settings.retryFailed,
            force: settings.force,
            fingerprint: { ...plan.fingerprint, ...(scanned !== undefined && { input: scanned.hash }) },
            replay: (id: string) => anew() || before?.has(id) !== true
          }
  })

  const body = Effect.gen(function* () {
    /** Whether the complete journal is written again: parts of it are missing in the output, or out of place. */
    let anew = !canKeep
    /** Results in the output that a damaged journal has lost. */
    let kept: Output.Unknown = noneKept
    const opened = Deferred.makeUnsafe<void>()
    // The output is open before anything is taken from the input.
    const entries = Stream.unwrap(
      Effect.map(Deferred.await(opened), () => {
        const read = Input.entries(source, plan.reader.entries)
        const all = scanned === undefined && journal !== undefined ? Stream.map(read, LineIds.byContent) : read
        return kept.lost === 0 ? all : Stream.filter(all, ({ id }) => before?.isUnknown(id) !== true)
      })
    )
    const job = yield* Effect.mapError(
      Batch.start(
        entries,
        options(() => anew)
      ),
      notBegun(journal)
    )
    const startedAt = (yield* job.summary).startedAt
    const recorder = settings.report === undefined ? undefined : new Recorder(startedAt)
    // From here on the journal belongs to this process.
    if (before !== undefined) {
      const unknown = before.unknown()
      const { foreign, lost } = unknown
      if (foreign > 0 && !settings.force) {
        return yield* new CliFailure({
          message: `${output}: holds ${foreign} results that neither the journal ${journal} nor the input knows: expected the journal of this output, or --force to rewrite it`
        })
      }
      if (lost > 0 && settings.ordered && !settings.force) {
        return yield* new CliFailure({
          message: `${output}: holds ${lost} results that the journal ${journal} has lost, and --ordered rewrites the file: expected no --ordered, which keeps them, or --force to send their requests again`
        })
      }
      if (foreign > 0) anew = true
      else if (!anew) kept = unknown
      if (kept.lost > 0) {
        yield* Effect.logWarning(
          `${output} holds ${kept.lost} results that the journal has lost; they stay as they are`
        )
      }
    }
    const out =
      output === "-"
        ? yield* Output.stdout
        : places.output._tag === "device"
          ? yield* Output.device(output)
          : yield* Output.file(
              output,
              before,
              anew
                ? "anew"
                : settings.retryFailed && before !== undefined && before.failed > 0
                  ? "withoutFailed"
                  : "keep",
              plan.format.read
            )
    yield* holdOutput
    const total = scanned === undefined ? undefined : scanned.total - kept.lost
    begun = { summary: job.summary, recorder, kept }
    const stdio = yield* Stdio.Stdio
    const interactive = (yield* stdio.stderrIsTerminal) && !(output === "-" && (yield* stdio.stdoutIsTerminal))
    const told = interactive ? Effect.void : Console.error("Finishing items in flight; a second Ctrl-C stops at once")
    yield* Effect.forkScoped(Deferred.await(asked).pipe(Effect.andThen(job.drain), Effect.andThen(told)))
    const shown = yield* Effect.forkScoped(Progress.show(job, { total, interactive }))
    if (recorder !== undefined) {
      const sampled = Stream.runForEach(job.progress(), (progress) => Effect.sync(() => recorder.sample(progress)))
      yield* Effect.forkScoped(sampled)
    }
    const clock = yield* Clock.Clock
    // A monotonic clock: setting the wall clock does not move the report's times.
    const millis = (): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const origin = startedAt + Duration.toMillis((yield* job.summary).duration) - millis()
    yield* Deferred.succeed(opened, undefined)
    yield* Stream.runForEachArray(job.results, (results) => {
      const blocks: Array<string> = []
      let text = ""
      for (const result of results) {
        text += `${plan.format.line(result)}\n`
        if (text.length < maxBlock) continue
        blocks.push(text)
        text = ""
      }
      blocks.push(text)
      if (recorder !== undefined) {
        const now = origin + millis()
        for (const result of results) recorder.add(result, now)
      }
      return Effect.forEach(blocks, out.write, { discard: true })
    }).pipe(
      // Results before a failure of the job are written in any case.
      Effect.ensuring(Effect.ignore(out.flush)),
      Effect.andThen(out.flush),
      Effect.mapError(
        endedEarly(source.name, journal !== undefined, (scanned?.byLine ?? 0) > 0, (index) => lines.get(index))
      )
    )
    yield* Fiber.await(shown)
  }).pipe(Effect.scoped, Effect.provideContext(gateway))

  const finish = Effect.fnUntraced(function* (exit: Exit.Exit<void, BatchFailure>, interrupted: boolean) {
    const failure = Option.getOrUndefined(Exit.findErrorOption(exit))
    const isDefect = Exit.isFailure(exit) && failure === undefined && !Cause.hasInterruptsOnly(exit.cause)
    if (begun === undefined || isDefect) return yield* exit
    const summary = withKept(yield* begun.summary, begun.kept)
    let problem = failure
    if (settings.report !== undefined && begun.recorder !== undefined) {
      const html = Report.render({ title: output === "-" ? source.name : output, summary, recorder: begun.recorder })
      const written = yield* Effect.exit(writeReport(settings.report, html))
      problem ??= Option.getOrUndefined(Exit.findErrorOption(written))
    }
    const dead = summary.deadLetters + summary.replayed.deadLetters
    const exitCodeOf = (problem: BatchFailure | undefined): number =>
      interrupted ? 130 : problem instanceof CliFailure ? 2 : problem !== undefined || dead > 0 ? 1 : 0
    const said: Summary.SummarizedRun = {
      summary,
      exitCode: exitCodeOf(problem),
      output: output === "-" ? "standard output" : output,
      journal,
      report: settings.report,
      total: scanned?.total,
      error: problem?.message
    }
    if (settings.json) {
      const [stream, name] =
        output === "-" ? ([process.stderr, "standard error"] as const) : ([process.stdout, "standard output"] as const)
      const written = yield* Effect.exit(Output.writeTo(stream, name, `${Summary.json(said)}\n`))
      problem ??= Option.getOrUndefined(Exit.findErrorOption(written))
    } else {
      yield* Console.error(Summary.text(said))
    }
    // The runner does not report a failure during an interruption.
    if (problem !== undefined && interrupted) yield* Console.error(problem.message)
    if (problem !== undefined) return yield* problem
    if (exitCodeOf(problem) === 1) return yield* new NotAllDone()
  })

  return yield* inStages(body, Effect.asVoid(Deferred.succeed(asked, undefined)), (exit, ending) =>
    finish(exit, ending !== "ended")
  )
})
