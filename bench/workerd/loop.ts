/**
 * The loop alone, as the first request of an isolate meets it.
 */
import { byHand } from "./hand.ts"

export default { fetch: byHand }
