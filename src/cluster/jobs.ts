/** Names and fingerprints of jobs. */
import * as Effect from "effect/Effect"
import { differences, type Fingerprint } from "../BatchJournal.ts"
import { type GatewayError, invalid } from "../GatewayError.ts"
import { ClusterError } from "./error.ts"

/** Checks the name of a job. */
export const checkJob = (method: string, job: string): Effect.Effect<void, GatewayError> =>
  /^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$/.test(job)
    ? Effect.void
    : Effect.fail(
        invalid(
          method,
          "job",
          "1 to 100 letters, digits, dots, colons, hyphens and underscores, the first a letter or digit"
        )
      )

/** The stored form of a fingerprint. */
export const fingerprintOf = (fingerprint: Fingerprint): string => JSON.stringify(fingerprint)

/** Parses a stored fingerprint. */
export const parse = (text: string): Fingerprint => JSON.parse(text)

/** Merges both, or returns nothing when mine adds nothing. Fails when they differ, unless forced. */
export const merge = (
  job: string,
  its: Fingerprint,
  mine: Fingerprint,
  force: boolean
): Effect.Effect<Fingerprint | undefined, ClusterError> => {
  const different = differences(mine, its)
  if (different.length > 0 && !force) {
    return Effect.fail(
      new ClusterError({
        reason: "otherJob",
        detail: `job ${job} was submitted for something else (${different.join(", ")} differ); use another job, or force it`
      })
    )
  }
  const adds = Object.keys(mine).some((name) => its[name] === undefined)
  return Effect.succeed(adds ? { ...mine, ...its } : undefined)
}
