/**
 * One call of a model: its options, checked, and the route that it runs.
 */

import type { Problem } from "../GatewayOptions.ts"
import { defined } from "../internal/data/defined.ts"
import { durationOf } from "../internal/data/duration.ts"
import { isObject, strayField } from "../internal/data/json.ts"
import * as Route from "../Route.ts"
import type { RunOptions } from "../Router.ts"
import type { Options } from "./GatewayModel.ts"

const names: ReadonlyArray<string> = [
  "cache",
  "metadata",
  "log",
  "eventId",
  "session",
  "priority",
  "maxCost",
  "headers",
  "execution",
  "deadline",
  "request"
] satisfies ReadonlyArray<keyof Options>

// A record, so that the compiler reports a new field of `Chat.Request` that is missing here.
const requestFields: Readonly<Record<keyof NonNullable<Options["request"]>, true>> = {
  maxTokens: true,
  temperature: true,
  topP: true,
  topK: true,
  frequencyPenalty: true,
  presencePenalty: true,
  stop: true,
  seed: true,
  serverTools: true,
  parallelToolCalls: true,
  reasoning: true,
  logprobs: true,
  verbosity: true,
  tier: true,
  cacheKey: true,
  metadata: true,
  losses: true,
  user: true,
  extra: true
}
const requestNames = Object.keys(requestFields)

/** The first problem of the options that the router does not see. The router checks the rest. */
export const optionsProblem = (options: Options): Problem | undefined => {
  if (!isObject(options)) return { field: "GatewayModel.Config", accepted: `an object with ${names.join(", ")}` }
  const stray = strayField(options, names)
  if (stray !== undefined) return { field: stray, accepted: `one of ${names.join(", ")}` }
  const { deadline, request } = options
  if (deadline !== undefined && durationOf(deadline) === undefined) return { field: "deadline", accepted: "a duration" }
  if (request === undefined) return undefined
  if (!isObject(request)) return { field: "request", accepted: `an object with ${requestNames.join(", ")}` }
  const strayRequest = strayField(request, requestNames)
  return strayRequest === undefined
    ? undefined
    : { field: `request.${strayRequest}`, accepted: `one of ${requestNames.join(", ")}` }
}

/** Returns the run options of a call. */
export const runOptionsOf = (given: Options): RunOptions => {
  const { cache, eventId, execution, headers, log, maxCost, metadata, priority, session } = given
  const options = defined({ cache, metadata, log, eventId })
  return defined({
    execution,
    headers,
    maxCost,
    priority,
    session,
    options: Object.keys(options).length === 0 ? undefined : options
  })
}

/** Puts a route under the deadline of a call. */
export const limited = <In, Out>(route: Route.Route<In, Out>, { deadline }: Options): Route.Route<In, Out> =>
  deadline === undefined ? route : Route.deadline(route, deadline)

/** Rejects routes that restart streams: `effect/ai` cannot take back a delivered part. */
export const restartProblem = (route: Route.Route<never, unknown>): ReadonlyArray<Problem> =>
  route.planned.targets.some(({ restarts }) => restarts > 0)
    ? [{ field: "route.restart", accepted: "absent: effect/ai cannot withdraw what a stream has delivered" }]
    : []
