/** `effect/Encoding` of the betas of Effect 4, as far as `@effect/ai-…` uses it. */
export { encode as encodeBase64 } from "effect/encoding/Base64"
