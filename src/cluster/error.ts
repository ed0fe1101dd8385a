/**
 * How work over a shared database fails.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { MigrationError } from "effect/sql/Migrator"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { JournalError } from "../BatchJournal.ts"

/**
 * A job cannot be used, or no longer.
 *
 * `unreachable`: no connection, or refused; what was reported before is safe. `version`: not PostgreSQL, or an older
 * one than {@link minimumVersion}. `newer`: its tables were made by a later version of this package. `noJob`: nothing
 * was submitted under this name. `otherJob`: it was submitted for another route or input. `failed`: the database
 * refused a statement. `encoding`: a value is not what its schema says.
 */
export class ClusterError extends Data.TaggedError("ClusterError")<{
  readonly reason: "unreachable" | "version" | "newer" | "noJob" | "otherJob" | "failed" | "encoding"
  /**
   * What is wrong, and what would help. No value of an item, and nothing of the database's address but its host and
   * port.
   */
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return this.detail
  }
}

/** The oldest PostgreSQL that is supported, as its major version. */
export const minimumVersion = 13

const textIn = (value: unknown, key: string): string | undefined => {
  if (typeof value !== "object" || value === null) return undefined
  const found: unknown = Reflect.get(value, key)
  return typeof found === "string" || typeof found === "number" ? String(found) : undefined
}

/** What a socket said: its code and the address, never the URL. */
const socketDetail = (cause: unknown): string => {
  const [code, address, port] = ["code", "address", "port"].map((key) => textIn(cause, key))
  if (code === undefined) return ""
  return ` (${code}${address === undefined ? "" : ` ${address}${port === undefined ? "" : `:${port}`}`})`
}

/** Says of an SQL failure what somebody who runs a job can do about it. */
export const fromSql = (error: SqlError): ClusterError => {
  const { reason } = error
  switch (reason._tag) {
    case "ConnectionError":
      return new ClusterError({
        reason: "unreachable",
        detail: `the database cannot be reached${socketDetail(reason.cause)}`,
        cause: error
      })
    case "AuthenticationError":
      return new ClusterError({
        reason: "unreachable",
        detail: "the database refused the user or password",
        cause: error
      })
    case "AuthorizationError":
      return new ClusterError({
        reason: "failed",
        detail: "the database does not let this user do that; it needs to create tables when a job is first submitted",
        cause: error
      })
    default: {
      const code = textIn(reason.cause, "code")
      return new ClusterError({
        reason: "failed",
        detail: `the database refused a statement (${reason._tag}${code === undefined ? "" : `, ${code}`})`,
        cause: error
      })
    }
  }
}

/** Whether PostgreSQL rejected a value, and would do so again: a data exception, or more than it can hold. */
export const isRefusedValue = ({ reason }: SqlError): boolean => {
  const code = textIn(reason.cause, "code") ?? ""
  return /^(?:22|54)/.test(code) || (code === "XX000" && /memory alloc/.test(textIn(reason.cause, "message") ?? ""))
}

const isOther = <E>(error: E): error is Exclude<E, SqlError> => !isSqlError(error)

/** A connection that is lost in a transaction is a defect to Effect, for it cannot be rolled back any more. */
export const catchLost = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
  Effect.catchDefect(self, (defect) => {
    const lost = defect instanceof MigrationError ? defect.cause : defect
    return isSqlError(lost) ? Effect.fail(lost) : Effect.die(defect)
  })

/** SQL failures as {@link ClusterError}; others stay. */
export const mapSql = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, SqlError> | ClusterError, R> =>
  Effect.mapError(catchLost(self), (error): Exclude<E, SqlError> | ClusterError =>
    isOther(error)
      ? error
      : isSqlError(error)
        ? fromSql(error)
        : new ClusterError({ reason: "failed", detail: "the database failed", cause: error })
  )

/** What a journal's failure is for a job in a database. */
export const fromJournal = (error: JournalError): ClusterError =>
  error.cause instanceof ClusterError
    ? error.cause
    : new ClusterError({
        reason: error.reason === "otherJob" || error.reason === "encoding" ? error.reason : "failed",
        detail: error.detail,
        cause: error
      })

/** The way back, for the interface of a journal. */
export const toJournal = (error: ClusterError): JournalError =>
  new JournalError({
    reason: error.reason === "otherJob" || error.reason === "encoding" ? error.reason : "failed",
    detail: error.detail,
    cause: error
  })
