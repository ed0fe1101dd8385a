/**
 * The turn of the event loop.
 *
 * What comes from outside is gone on with when the turn in which it came is over, together with whatever else came in it. Many requests at once then pass each stage
 * of their way together: a processor that is busy with one stage finds its code and data at hand, while one that takes each request all the way finds nothing of it any more. A
 * request that is alone waits for a turn more.
 */

/** Calls back at the end of this turn; where a runtime has no such thing, when what runs now has returned. */
export const atTurnEnd: (act: () => void) => void =
  typeof setImmediate === "function" ? (act) => void setImmediate(act) : (act) => queueMicrotask(act)
