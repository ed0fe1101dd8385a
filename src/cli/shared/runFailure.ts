/**
 * How a job on the command line fails, beside the refusals of `CliFailure`.
 */
import * as CliError from "effect/cli/CliError"
import * as Data from "effect/Data"
import * as Runtime from "effect/Runtime"

/** Exit code when there are dead letters, or the job could not go on. */
export const failedExitCode = 1

/** Something outside of the command line stops the job, such as a full disk. What is done is kept. */
export class RunFailure extends Data.TaggedError("RunFailure")<{
  readonly message: string
  /** The input is no longer what the run began with. */
  readonly inputChanged?: "edited" | "grew"
}> {
  override readonly [Runtime.errorExitCode] = failedExitCode
  /** Has the runner print the message, instead of an error with its stack. */
  override get [CliError.userMessage](): string {
    return this.message
  }
}

/** The job has ended and not everything is well; all that there is to say has been printed. */
export class NotAllDone extends Data.TaggedError("NotAllDone") {
  override readonly [Runtime.errorExitCode] = failedExitCode
  override readonly [Runtime.errorReported] = false
}

const details: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full; free some space",
  EDQUOT: "the disk quota is used up; free some space",
  EIO: "the disk reports an error",
  EFBIG: "the file may not grow further (a limit of the file system, or ulimit)",
  EACCES: "no permission",
  EPERM: "no permission",
  EROFS: "the file system is read-only",
  ENOENT: "there is no such file or folder",
  ENOTDIR: "a part of the path is no folder",
  EISDIR: "is a folder",
  EPIPE: "the reader has gone"
}

/** The code of an error of Node, also inside of another error. */
export const codeOf = (error: unknown): string | undefined => {
  if (!(error instanceof Error)) return undefined
  return "code" in error && typeof error.code === "string" ? error.code : codeOf(error.cause)
}

/** What went wrong with a file, for people. */
export const detailOf = (error: unknown): string => {
  const code = codeOf(error)
  return (code === undefined ? undefined : details[code]) ?? (code === undefined ? "failed" : `failed (${code})`)
}
