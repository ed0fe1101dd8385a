/** Failures of a job on the command line, in addition to `CliFailure`. */
import * as CliError from "effect/cli/CliError"
import * as Data from "effect/Data"
import * as Runtime from "effect/Runtime"

/** Exit code when there are dead letters, or the job could not continue. */
export const failedExitCode = 1

/** Something outside the command line stops the job, such as a full disk. Finished work is kept. */
export class RunFailure extends Data.TaggedError("RunFailure")<{
  readonly message: string
  /** Present when the input has changed since the run began. */
  readonly inputChanged?: "edited" | "grew"
}> {
  override readonly [Runtime.errorExitCode] = failedExitCode
  /** Makes the runner print the message, instead of an error with its stack. */
  override get [CliError.userMessage](): string {
    return this.message
  }
}

/** The job has ended with problems, all of which have been printed. */
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
  ENOTDIR: "a part of the path is not a folder",
  EISDIR: "is a folder",
  EPIPE: "the reader has gone"
}

/** The code of a Node error, also inside another error. */
export const codeOf = (error: unknown): string | undefined => {
  if (!(error instanceof Error)) return undefined
  return "code" in error && typeof error.code === "string" ? error.code : codeOf(error.cause)
}

/** Describes the problem of a file, for people. */
export const detailOf = (error: unknown): string => {
  const code = codeOf(error)
  return (code === undefined ? undefined : details[code]) ?? (code === undefined ? "failed" : `failed (${code})`)
}
