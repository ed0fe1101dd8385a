/** Failures of the commands: one line for the person at the terminal, and an exit code. */

import * as CliError from "effect/cli/CliError"
import * as Data from "effect/Data"
import * as Runtime from "effect/Runtime"

/** Exit code when flags, a file that they name, or the environment are invalid. */
export const usageExitCode = 2

/** A command rejected its input. `message` names the flag and its accepted values, and contains no secret. */
export class CliFailure extends Data.TaggedError("CliFailure")<{ readonly message: string }> {
  override readonly [Runtime.errorExitCode] = usageExitCode
  /** Makes the runner print the message, instead of an error with its stack. */
  override get [CliError.userMessage](): string {
    return this.message
  }
}

/** Flags that do not parse. The runner has already shown them together with the help. */
export class UsageShown extends Data.TaggedError("UsageShown") {
  override readonly [Runtime.errorExitCode] = usageExitCode
  override readonly [Runtime.errorReported] = false
}
