import type { GatewaySettings } from "./options.ts"

export interface RateLimit {
  /** Counts a request, or rejects it. Rejected requests do not count. */
  readonly take: (gateway: string, limit: NonNullable<GatewaySettings["rateLimit"]>, now: number) => boolean
  readonly clear: () => void
}

export const make = (): RateLimit => {
  const accepted = new Map<string, Array<number>>()
  return {
    take: (gateway, { limit, intervalSeconds, technique = "fixed" }, now) => {
      const interval = intervalSeconds * 1000
      const start = technique === "fixed" ? Math.floor(now / interval) * interval : now - interval + 1
      const recent = (accepted.get(gateway) ?? []).filter((at) => at >= start)
      const allowed = recent.length < limit
      if (allowed) recent.push(now)
      accepted.set(gateway, recent)
      return allowed
    },
    clear: () => accepted.clear()
  }
}
