/**
 * Batches work by turns of the event loop.
 *
 * Work that arrives from outside resumes at the end of its turn, together with everything else that arrived in it. Many
 * concurrent requests then pass each stage together: a processor that stays in one stage has its code and data in the
 * cache, while one that takes each request through all stages misses both. A lone request resumes immediately.
 */

// The runtime's own function: fake timers that a test installs later must not stop what is on the wire.
const immediate = typeof setImmediate === "function" ? setImmediate : undefined

/** Whether a runtime reports the end of a turn. */
export const hasTurns = immediate !== undefined

/** Calls back at the end of this turn; at once in runtimes without turns. */
export const atTurnEnd: (act: () => void) => void =
  immediate === undefined ? (act) => act() : (act) => void immediate(act)

/**
 * Number of waits for something from outside, or for the end of this turn. Only a number: in a Worker, requests must
 * not touch each other's objects.
 */
let waiting = 0
let held = 0

const atOnce = (act: () => void): void => act()

const counted = (): ((act: () => void) => void) => {
  waiting++
  return (act) => {
    waiting--
    if (waiting === 0 && held === 0) return act()
    held++
    atTurnEnd(() => {
      held--
      act()
    })
  }
}

/**
 * Begins a wait. The returned function is called once, with the action for the end of the wait. Actions keep their
 * order. Where the runtime does not report the end of a turn, as in workerd, a wait ends at once: a microtask is a call
 * into the runtime there, and batches nothing.
 */
export const arrival: () => (act: () => void) => void = hasTurns ? counted : () => atOnce
