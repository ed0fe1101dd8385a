/**
 * The failures of a job in the words of the command line.
 */
import { JournalError } from "../../BatchJournal.ts"
import type { GatewayError } from "../../GatewayError.ts"
import { CliFailure } from "../shared/failure.ts"
import { codeOf, RunFailure } from "../shared/runFailure.ts"

/** Why a job of the command line does not begin, or ends early. */
export type BatchFailure = CliFailure | RunFailure

const flagOf: Readonly<Record<string, string>> = {
  requestsPerMinute: "--rpm",
  tokensPerMinute: "--tpm",
  concurrency: "--concurrency",
  itemDeadline: "--item-deadline"
}

/** Advice after a job that ended early. */
export const again = "finished items are in the journal: run the same command again to continue"

/** A warning for users who have changed a prompt. */
const keeps = ", which sends new ids only: a finished id keeps its answer, even if its prompt has changed"

/** Advice of the journal, with flags in place of options. */
const inFlags = (detail: string): string =>
  detail
    .replace("or force it", `or --force to use it anyway${/\binput\b.* differ/.test(detail) ? keeps : ""}`)
    .replace("; force it to", "; --force to")
    .replace("use the option breakLock", "remove the file lock-….json in that folder")

/** Why a job does not begin. */
export const notBegun =
  (journal: string | undefined) =>
  (error: GatewayError | JournalError): BatchFailure => {
    if (error instanceof JournalError) {
      const message = `--journal ${journal}: ${inFlags(error.detail)}`
      return ["ENOSPC", "EDQUOT", "EFBIG", "EIO"].includes(codeOf(error) ?? "")
        ? new RunFailure({ message })
        : new CliFailure({ message })
    }
    const { message, reason } = error
    return new CliFailure({
      message:
        reason._tag === "InvalidRequest" && reason.field !== undefined && reason.accepted !== undefined
          ? `${flagOf[reason.field] ?? reason.field}: expected ${reason.accepted}`
          : message
    })
  }

/** The journal belongs to the input at the beginning of the run. `isByLine`: items are named after their lines. */
const changedInput = (name: string, how: "edited" | "grew", isByLine: boolean): RunFailure => {
  const over = isByLine
    ? "with a new output and journal, because its items are named after their lines"
    : `with --force${keeps}`
  return new RunFailure({
    message:
      how === "grew"
        ? `${name}: was changed while it was read: it grew, and its last part was not sent; finished items are in the journal: wait until the file is complete, and run over it ${over}`
        : `${name}: was changed while it was read, and nothing of the change was sent; finished items are in the journal: restore the file and run the same command again to continue, or run over the changed file ${over}`
  })
}

/** Why a job ended early. `isByLine`: items are named after their lines. `lineOf`: the line of the item at an index. */
export const endedEarly =
  (name: string, hasJournal: boolean, isByLine: boolean, lineOf: (index: number) => number) =>
  (error: GatewayError | JournalError | BatchFailure): BatchFailure => {
    if (error instanceof CliFailure) return error
    if (error instanceof RunFailure) {
      const how = error.inputChanged
      if (hasJournal && how !== undefined) return changedInput(name, how, isByLine)
      return hasJournal ? new RunFailure({ message: `${error.message}; ${again}` }) : error
    }
    if (error instanceof JournalError)
      return new RunFailure({ message: `${error.message}${hasJournal ? `; ${again}` : ""}` })
    const { reason } = error
    const field = reason._tag === "InvalidRequest" ? /^id of item (\d+)$/.exec(reason.field ?? "")?.[1] : undefined
    const other =
      reason._tag === "InvalidRequest" ? /item (\d+) has the same$/.exec(reason.accepted ?? "")?.[1] : undefined
    if (field !== undefined && other !== undefined) {
      const [line, first] = [lineOf(Number(field)), lineOf(Number(other))]
      return new CliFailure({
        message: `${name}: expected ids that occur once: line ${line} has the id of line ${first}`
      })
    }
    return new RunFailure({ message: `the job stopped: ${error.message}${hasJournal ? `; ${again}` : ""}` })
  }
