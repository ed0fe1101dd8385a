/**
 * Stores of breaker phases, for several routers or machines that share them.
 *
 * A router counts outcomes itself and decides when a breaker opens. The store records when and why it opened, and which
 * router has the probe. Without a store, each router records this in its own memory.
 */
export {
  type BreakerAdmission,
  type BreakerReport,
  type BreakerState,
  type BreakerStore,
  memory,
  type OpenCause
} from "./internal/admission/breakerStore.ts"
