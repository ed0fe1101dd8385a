/** Failures of work over a shared database. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { MigrationError } from "effect/sql/Migrator"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { JournalError } from "../BatchJournal.ts"

/**
 * A job is unusable, or has become so.
 *
 * `unreachable`: no connection, or rejected; everything reported before is safe. `version`: not PostgreSQL, or older
 * than {@link minimumVersion}. `newer`: a later version of this package made its tables. `noJob`: nothing was submitted
 * under this name. `otherJob`: it was submitted for another route or input. `failed`: the database rejected a
 * statement. `encoding`: a value does not match its schema.
 */
export class ClusterError extends Data.TaggedError("ClusterError")<{
  readonly reason: "unreachable" | "version" | "newer" | "noJob" | "otherJob" | "failed" | "encoding"
  /** The problem, and a remedy. Contains no value of an item, and only host and port of the database's address. */
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

/** The socket's error: its code and the address, never the URL. */
const socketDetail = (cause: unknown): string => {
  const [code, address, port] = ["code", "address", "port"].map((key) => textIn(cause, key))
  if (code === undefined) return ""
  return ` (${code}${address === undefined ? "" : ` ${address}${port === undefined ? "" : `:${port}`}`})`
}

/** Converts an SQL failure to one that tells the operator of a job what to do. */
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
        detail: "the database rejected the user or password",
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
        detail: `the database rejected a statement (${reason._tag}${code === undefined ? "" : `, ${code}`})`,
        cause: error
      })
    }
  }
}

/** Whether PostgreSQL rejected a value and would do so again: a data exception, or more than it can hold. */
export const isRefusedValue = ({ reason }: SqlError): boolean => {
  const code = textIn(reason.cause, "code") ?? ""
  return /^(?:22|54)/.test(code) || (code === "XX000" && /memory alloc/.test(textIn(reason.cause, "message") ?? ""))
}

const isOther = <E>(error: E): error is Exclude<E, SqlError> => !isSqlError(error)

/**
 * Recovers the failure of a connection that is lost in a transaction. Effect treats it as a defect, because it cannot
 * roll back.
 */
export const catchLost = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
  Effect.catchDefect(self, (defect) => {
    const lost = defect instanceof MigrationError ? defect.cause : defect
    return isSqlError(lost) ? Effect.fail(lost) : Effect.die(defect)
  })

/** Converts SQL failures to {@link ClusterError}; others pass. */
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

/** Converts a journal's failure for a job in a database. */
export const fromJournal = (error: JournalError): ClusterError =>
  error.cause instanceof ClusterError
    ? error.cause
    : new ClusterError({
        reason: error.reason === "otherJob" || error.reason === "encoding" ? error.reason : "failed",
        detail: error.detail,
        cause: error
      })

/** The reverse conversion, for the interface of a journal. */
export const toJournal = (error: ClusterError): JournalError =>
  new JournalError({
    reason: error.reason === "otherJob" || error.reason === "encoding" ? error.reason : "failed",
    detail: error.detail,
    cause: error
  })
