/**
 * Costs of attempts according to the gateway's logs.
 */
import * as Effect from "effect/Effect"
import type { Attempt, GatewayError } from "../../GatewayError.ts"
import { defined } from "../data/defined.ts"

/** The cost of one attempt according to its log. */
export interface LoggedAttempt {
  /** Key of the target. */
  readonly target: string
  readonly logId?: string
  /** US dollars. Absent without a log id, without a log, or if the log has no cost. */
  readonly usd?: number
}

/** Costs of attempts according to their logs. */
export interface LoggedCost {
  /** Sum of the logged costs, in US dollars. */
  readonly usd: number
  /** In the order of the attempts. */
  readonly attempts: ReadonlyArray<LoggedAttempt>
  /** Number of attempts without a cost. */
  readonly missing: number
}

type CostOf = (logId: string) => Effect.Effect<number | undefined, GatewayError>

const costAt = (costOf: CostOf, logId: string | undefined): Effect.Effect<number | undefined, GatewayError> =>
  logId === undefined
    ? Effect.succeed(undefined)
    : Effect.catchIf(
        costOf(logId),
        ({ reason }) => reason._tag === "NotFound",
        () => Effect.succeed(undefined)
      )

/** Looks up the costs of attempts. */
export const loggedCostOf = (
  attempts: ReadonlyArray<Attempt>,
  costOf: CostOf
): Effect.Effect<LoggedCost, GatewayError> =>
  Effect.map(
    Effect.forEach(
      attempts,
      ({ logId, target }) => Effect.map(costAt(costOf, logId), (usd) => ({ target, ...defined({ logId, usd }) })),
      { concurrency: 4 }
    ),
    (logged: ReadonlyArray<LoggedAttempt>) => ({
      usd: logged.reduce((sum, { usd = 0 }) => sum + usd, 0),
      attempts: logged,
      missing: logged.filter(({ usd }) => usd === undefined).length
    })
  )
