/**
 * The command line without its process: runs like `src/cli/bin.ts`, in its own folder, environment and streams.
 *
 * Folder and streams belong to the process, so runs wait for each other, and files run in the runner's forks, not in
 * its threads. Signals, kills, broken pipes, terminals and limits of memory need the real process.
 */
import { Console as NodeConsole } from "node:console"
import { Readable, Writable } from "node:stream"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Semaphore from "effect/Semaphore"
import { run } from "../../src/cli/Cli.ts"

export interface Ended {
  /** `null` when a signal killed the process. */
  readonly code: number | null
  readonly out: string
  readonly err: string
}

export interface Surroundings {
  readonly cwd: string
  /** All variables: those of this process are hidden. */
  readonly env: Readonly<Record<string, string>>
  readonly stdin: string
}

/** A stream that keeps its text. */
const collector = () => {
  const chunks: Array<Buffer> = []
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, callback) => {
      chunks.push(chunk)
      callback()
    }
  })
  return { stream, text: () => Buffer.concat(chunks).toString("utf8") }
}

type Streams = Readonly<Record<"stdin" | "stdout" | "stderr", Readable | Writable>>

/** Replaces the streams of this process, and moves into the folder. Returns a function that undoes both. */
const enter = (cwd: string, streams: Streams): (() => void) => {
  const before = process.cwd()
  const { stderr, stdin, stdout } = Object.getOwnPropertyDescriptors(process)
  process.chdir(cwd)
  for (const [name, value] of Object.entries(streams))
    Object.defineProperty(process, name, { value, configurable: true })
  return () => {
    process.chdir(before)
    Object.defineProperties(process, { stderr, stdin, stdout })
  }
}

const exclusive = Semaphore.makeUnsafe(1)

/** Runs a command to its end, with the exit code that its process would have. */
export const inProcess = (args: ReadonlyArray<string>, { cwd, env, stdin }: Surroundings): Effect.Effect<Ended> =>
  Effect.suspend(() => {
    const out = collector()
    const err = collector()
    const streams = {
      stdin: Readable.from(stdin === "" ? [] : [Buffer.from(stdin)]),
      stdout: out.stream,
      stderr: err.stream
    }
    const environment = Layer.mergeAll(
      NodeServices.layer,
      ConfigProvider.layer(ConfigProvider.fromEnv({ env })),
      Layer.succeed(Console.Console, new NodeConsole(out.stream, err.stream))
    )
    // A separate runtime, so that the test's clock and loggers do not reach the command.
    const command = Effect.promise((signal) =>
      Effect.runPromiseExit(Effect.provide(run(args), environment), { signal })
    )
    return Effect.acquireUseRelease(
      Effect.sync(() => enter(cwd, streams)),
      () =>
        Effect.map(command, (exit): Ended => {
          let code = 0
          Runtime.defaultTeardown(exit, (given) => {
            code = given
          })
          return { code, out: out.text(), err: err.text() }
        }),
      (leave) => Effect.sync(leave)
    )
  }).pipe(exclusive.withPermits(1))
