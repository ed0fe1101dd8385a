/**
 * Where breakers keep their phase, for several routers or machines that share it.
 *
 * A router counts outcomes itself and decides when a breaker opens; the store keeps since when it is open, why, and who
 * has the probe. Without a store each router keeps that in its own memory.
 */
export {
  type BreakerAdmission,
  type BreakerReport,
  type BreakerState,
  type BreakerStore,
  memory,
  type OpenCause
} from "./internal/admission/breakerStore.ts"
