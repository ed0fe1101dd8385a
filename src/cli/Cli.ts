/**
 * The command line `effect-ai-gateway`. Each command is a module of its own.
 */
import { createRequire } from "node:module"
import * as Cause from "effect/Cause"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Runtime from "effect/Runtime"
import { batch } from "./batch/command.ts"
import { cluster } from "./cluster/command.ts"
import { serve } from "./serve.ts"
import { type CliFailure, UsageShown } from "./shared/failure.ts"
import type { NotAllDone, RunFailure } from "./shared/runFailure.ts"

// Two folders up from here is the package, both in the sources and in the build.
const manifest: { readonly version: string } = createRequire(import.meta.url)("../../package.json")

/** Version of this package. */
export const version: string = manifest.version

/** The root command. */
export const command = Command.make("effect-ai-gateway").pipe(
  Command.withDescription("Cloudflare AI Gateway on your machine"),
  Command.withSubcommands([serve, batch, cluster])
)

type Failure = CliError.CliError | CliFailure | RunFailure | NotAllDone

const isUsage = (error: Failure): boolean =>
  CliError.isCliError(error) && error._tag === "ShowHelp" && error.errors.length > 0

/**
 * Runs the command line with the given arguments (without the program's own name). Fails after the problem was printed;
 * the error tells `NodeRuntime.runMain` the exit code: 2 for flags and files that are refused.
 */
export const run = (args: ReadonlyArray<string>): Effect.Effect<void, Failure | UsageShown, Command.Environment> =>
  Command.runWith(command, { version })(args).pipe(
    Effect.catchIf(isUsage, () => new UsageShown()),
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) || !Runtime.getErrorReported(Cause.squash(cause))
        ? Effect.void
        : Effect.logError(cause)
    ),
    // Standard output is for results.
    Effect.provideService(Logger.LogToStderr, true)
  )
