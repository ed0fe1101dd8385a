/**
 * How commands of the binary fail: one line for the person at the terminal, and an exit code.
 */

import * as CliError from "effect/cli/CliError"
import * as Data from "effect/Data"
import * as Runtime from "effect/Runtime"

/** Exit code when flags, a file that they name, or the environment are not acceptable. */
export const usageExitCode = 2

/** A command refused what it was given. `message` names the flag and what is accepted, and holds no secret. */
export class CliFailure extends Data.TaggedError("CliFailure")<{ readonly message: string }> {
  override readonly [Runtime.errorExitCode] = usageExitCode
  /** Has the runner print the message, instead of an error with its stack. */
  override get [CliError.userMessage](): string {
    return this.message
  }
}

/** Flags that do not parse. The runner has shown them together with the help. */
export class UsageShown extends Data.TaggedError("UsageShown") {
  override readonly [Runtime.errorExitCode] = usageExitCode
  override readonly [Runtime.errorReported] = false
}
