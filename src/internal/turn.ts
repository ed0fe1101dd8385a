/**
 * The turn of the event loop.
 *
 * What comes from outside is gone on with when the turn in which it came is over, together with whatever else came in it. Many requests at once then pass each stage
 * of their way together: a processor that is busy with one stage finds its code and data at hand, while one that takes each request all the way finds nothing of it any more. What
 * is alone has nobody to wait for, and does not.
 */

/** Calls back at the end of this turn; where a runtime has no such thing, when what runs now has returned. */
const atTurnEnd: (act: () => void) => void =
  typeof setImmediate === "function" ? (act) => void setImmediate(act) : (act) => queueMicrotask(act)

/** How many wait for something from outside. A number only: in a Worker nothing of one request may be touched by another one. */
let waiting = 0

/** Begins a wait. What it gives back is called once, with what is to be done when the wait is over. */
export const arrival = (): ((act: () => void) => void) => {
  waiting++
  return (act) => {
    waiting--
    if (waiting === 0) act()
    else atTurnEnd(act)
  }
}
