/**
 * Values of the headers of a request that hold JSON: metadata and custom costs.
 */
import { isRecord } from "../../internal/data/json.ts"

/** Metadata as it is stored. */
export type LogMetadata = Readonly<Record<string, string | number | boolean>>

/** US dollars. */
export interface CustomCost {
  readonly perTokenIn: number
  readonly perTokenOut: number
  readonly total: number | undefined
}

/** Longest metadata as JSON, in characters. */
export const maxMetadata = 16_384

/** At most five flat entries; one bad value drops them all, and reserved keys are not stored, as the service does. */
export const metadataOf = (value: unknown): LogMetadata | null => {
  if (!isRecord(value)) return null
  const out = new Map<string, string | number | boolean>()
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== "string" && typeof entry !== "number" && typeof entry !== "boolean") return null
    if (!key.startsWith("cf.") && out.size < 5) out.set(key, entry)
  }
  return out.size === 0 ? null : Object.fromEntries(out)
}

const amount = (u: unknown): u is number => typeof u === "number" && Number.isFinite(u) && u >= 0

/** Description of the values that {@link costOf} accepts. */
export const costAccepted =
  "JSON with per_token_in, per_token_out, per_cache_read_token, per_cache_write_token or total_cost"

export const costOf = (value: unknown): CustomCost | undefined => {
  if (!isRecord(value)) return undefined
  const known = ["per_token_in", "per_token_out", "per_cache_read_token", "per_cache_write_token", "total_cost"]
  const entries = Object.entries(value)
  if (entries.length === 0 || !entries.every(([name, cost]) => known.includes(name) && amount(cost))) return undefined
  const cost = (name: string): number | undefined => (amount(value[name]) ? value[name] : undefined)
  return { perTokenIn: cost("per_token_in") ?? 0, perTokenOut: cost("per_token_out") ?? 0, total: cost("total_cost") }
}
