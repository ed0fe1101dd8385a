/** Types that `base.ts` and its processes share. */
import type { Job } from "../contender.ts"

/** Addresses of the upstreams. */
export interface Places {
  /** The usual job, whose first target answers. */
  readonly job: Job
  /** The upstream of three targets, of which the third answers. */
  readonly third: string
  /** The upstream of the streams. */
  readonly streams: string
}

/** The workloads; the part before the colon is their question. */
export const workloads = [
  "overhead: over a stub, in one fiber",
  "failover: the third answers, over undici",
  "throughput: over undici, 64 in flight",
  "throughput: over fetch, 64 in flight",
  "chain: 1 target",
  "chain: 50 targets",
  "chain: 50 combinators",
  "stream: events over fetch, 500 in a stream",
  "stream: events passed through over fetch"
] as const

export type Workload = (typeof workloads)[number]
