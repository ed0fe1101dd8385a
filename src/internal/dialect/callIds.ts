/**
 * Rewrites ids of tool calls to a form that a model accepts.
 *
 * After a fallback the conversation contains ids of another provider. An id that is not accepted is replaced by its
 * hash, which is the same for call and result and in every later turn, so that prompt caches still match. Any other id
 * stays unchanged.
 */

/** 128 bits of a string (FNV-1a over its characters). */
const hash = (text: string): bigint => {
  let h = 1n
  for (const char of text) h = BigInt.asUintN(128, (h ^ BigInt(char.codePointAt(0) ?? 0)) * 0x100000000000000000013bn)
  return h
}

/** Mistral rejects unknown fields, and so do its models at other providers. */
export const isMistral = (model: unknown): boolean => typeof model === "string" && /\w[sx]tral/i.test(model)

/**
 * Returns the id for a model in OpenAI's dialect. Mistral's models require nine letters or digits at every provider,
 * and Claude letters, digits, `_` and `-`. OpenAI (`bounded`) requires at most 64 characters; other servers may encode
 * data in long ids.
 */
export const callIdFor = (id: string, model: string, bounded?: boolean): string => {
  if (isMistral(model)) return /^[A-Za-z0-9]{9}$/.test(id) ? id : hash(id).toString(36).slice(-9)
  const refused = (bounded && [...id].length > 64) || (/claude/i.test(model) && /[^A-Za-z0-9_-]/.test(id))
  return refused ? `call_${hash(id).toString(16).slice(-24)}` : id
}
