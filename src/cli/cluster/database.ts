/**
 * The database of a job. `@effect/sql-pg` is an optional peer, so it is imported late, where its absence can be
 * explained.
 */
import * as Config from "effect/Config"
import type * as Context from "effect/Context"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import { ClusterError } from "../../cluster/error.ts"
import { type GatewayError, isGatewayError } from "../../GatewayError.ts"
import { CliFailure } from "../shared/failure.ts"
import { RunFailure } from "../shared/runFailure.ts"

const name = "--database-url or DATABASE_URL"

/** Flags that all subcommands have. */
export const flags = {
  job: Flag.String("job").pipe(
    Flag.withMetavar("name"),
    Flag.withDescription("Name of the job: letters, digits, dots, colons, hyphens and underscores")
  ),
  databaseUrl: Flag.Redacted("database-url").pipe(
    Flag.withMetavar("url"),
    Flag.withDescription(
      "PostgreSQL, as postgres://user:password@host/database (default: DATABASE_URL, which other processes cannot see)"
    ),
    Flag.withFallbackConfig(Config.Redacted("DATABASE_URL")),
    Flag.optional
  )
}

const isPostgres = (url: Redacted.Redacted): boolean => {
  const text = Redacted.value(url)
  return URL.canParse(text) && ["postgres:", "postgresql:"].includes(new URL(text).protocol)
}

const isAbsent = (error: unknown): boolean =>
  error instanceof Error &&
  "code" in error &&
  error.code === "ERR_MODULE_NOT_FOUND" &&
  error.message.includes("@effect/sql-pg")

/** Connections of one process. */
const connections = 16
/** Longest message of the database in bytes: an item of 16 MB, plus its escapes. */
const maxMessageSize = 64 * 1024 * 1024

/** Connects while the scope is open, at the first statement. Fails with `CliFailure`, which never contains the URL. */
export const connect = Effect.fnUntraced(function* (
  given: Option.Option<Redacted.Redacted>
): Effect.fn.Return<Context.Context<SqlClient>, CliFailure, Scope.Scope> {
  if (Option.isNone(given) || !isPostgres(given.value)) {
    return yield* new CliFailure({ message: `${name}: expected postgres://user:password@host/database` })
  }
  const url = given.value
  const { layer } = yield* Effect.catchDefect(
    Effect.promise(() => import("@effect/sql-pg/PgClient")),
    (error) =>
      isAbsent(error)
        ? Effect.fail(new CliFailure({ message: "cluster needs a package of Effect: npm install @effect/sql-pg" }))
        : Effect.die(error)
  )
  return yield* Effect.mapError(
    Layer.build(
      layer({
        url,
        maxConnections: connections,
        connectTimeout: "10 seconds",
        maxMessageSize,
        // Effect's queue stores times without their zone: machines agree only within the same zone.
        startupParameters: { TimeZone: "UTC" }
      })
    ),
    () => new CliFailure({ message: `${name}: cannot be used` })
  )
})

/** Flags by option. */
const flagOf: Readonly<Record<string, string>> = {
  job: "--job",
  lease: "--lease",
  requestsPerMinute: "--rpm",
  tokensPerMinute: "--tpm",
  concurrency: "--concurrency"
}

const inFlags = (detail: string): string => detail.replace("or force it", "or --force to continue anyway")

const messageOf = (error: ClusterError | GatewayError): string => {
  if (!isGatewayError(error)) return inFlags(error.message)
  const { message, reason } = error
  return reason._tag === "InvalidRequest" && reason.field !== undefined && reason.accepted !== undefined
    ? `${flagOf[reason.field] ?? reason.field}: expected ${reason.accepted}`
    : message
}

/** A failure before anything was written or sent. */
export const refused = (error: ClusterError | GatewayError): CliFailure => new CliFailure({ message: messageOf(error) })

/** A failure afterwards. Finished work is kept. */
export const stopped = (error: ClusterError | GatewayError, hint: string): RunFailure =>
  new RunFailure({ message: `${messageOf(error)}; ${hint}` })

/** Distinguishes both kinds from other failures. */
export const isOurs = (error: unknown): error is ClusterError | GatewayError =>
  error instanceof ClusterError || isGatewayError(error)
