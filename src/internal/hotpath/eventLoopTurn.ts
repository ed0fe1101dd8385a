/**
 * The turn of the event loop.
 *
 * What comes from outside is gone on with when the turn in which it came is over, together with whatever else came in
 * it. Many requests at once then pass each stage of their way together: a processor that is busy with one stage finds
 * its code and data at hand, while one that takes each request all the way finds nothing of it any more. What is alone
 * has nobody to wait for, and does not.
 */

// The runtime's own: fake timers that a test installs later must not stop what is on the wire.
const immediate = typeof setImmediate === "function" ? setImmediate : undefined

/** Whether a runtime tells when a turn is over. */
export const hasTurns = immediate !== undefined

/** Calls back at the end of this turn; at once where a runtime has no such thing. */
export const atTurnEnd: (act: () => void) => void =
  immediate === undefined ? (act) => act() : (act) => void immediate(act)

/**
 * How many wait for something from outside, or for the end of this turn. Numbers only: in a Worker nothing of one
 * request may be touched by another one.
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
 * Begins a wait. What it gives back is called once, with what is to be done when the wait is over. Nobody overtakes who
 * came before. Where no runtime tells when a turn is over, as in workerd, a wait ends at once: a microtask is a call
 * into the runtime there, and brings nobody together.
 */
export const arrival: () => (act: () => void) => void = hasTurns ? counted : () => atOnce
