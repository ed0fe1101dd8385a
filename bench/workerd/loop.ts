/** The loop alone, for the first request of an isolate. */
import { byHand } from "./hand.ts"

export default { fetch: byHand }
