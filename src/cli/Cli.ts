/** The command line `effect-ai-gateway`. Each command is its own module. */
import { createRequire } from "node:module"
import * as Cause from "effect/Cause"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Runtime from "effect/Runtime"
import { type CliFailure, UsageShown } from "./shared/failure.ts"
import type { NotAllDone, RunFailure } from "./shared/runFailure.ts"

// The package is two folders up, both in the sources and in the build.
const manifest: { readonly version: string } = createRequire(import.meta.url)("../../package.json")

/** Version of this package. */
export const version: string = manifest.version

const root = Command.make("effect-ai-gateway").pipe(Command.withDescription("Cloudflare AI Gateway on your machine"))

/** Loading the modules of commands takes most of the start-up time, so each is imported when its command is called. */
const commands = {
  serve: async () => (await import("./serve.ts")).serve,
  batch: async () => (await import("./batch/command.ts")).batch,
  cluster: async () => (await import("./cluster/command.ts")).cluster
} as const

const isName = (text: string): text is keyof typeof commands => Object.hasOwn(commands, text)

/** The root command with the subcommand that the arguments name, or with all of them when they name none. */
const commandFor = async ([first = ""]: ReadonlyArray<string>) => {
  if (first === "--version") return root
  const names = isName(first) ? [first] : (["serve", "batch", "cluster"] as const)
  const [command, ...others] = await Promise.all(names.map((name) => commands[name]()))
  return command === undefined ? root : root.pipe(Command.withSubcommands([command, ...others]))
}

type Failure = CliError.CliError | CliFailure | RunFailure | NotAllDone

const isUsage = (error: Failure): boolean =>
  CliError.isCliError(error) && error._tag === "ShowHelp" && error.errors.length > 0

/**
 * Runs the command line with the given arguments (without the program's own name). Fails after the problem was printed;
 * the error gives `NodeRuntime.runMain` the exit code: 2 for flags and files that are rejected.
 */
export const run = (args: ReadonlyArray<string>): Effect.Effect<void, Failure | UsageShown, Command.Environment> =>
  Effect.promise(() => commandFor(args)).pipe(
    Effect.flatMap((command) => Command.runWith(command, { version })(args)),
    Effect.catchIf(isUsage, () => new UsageShown()),
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) || !Runtime.getErrorReported(Cause.squash(cause))
        ? Effect.void
        : Effect.logError(cause)
    ),
    // Standard output is for results.
    Effect.provideService(Logger.LogToStderr, true)
  )
