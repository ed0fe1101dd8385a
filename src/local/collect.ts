/**
 * Collects complete bodies, and counts them while they are read: each one, and all of them together.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { joinBytes } from "../internal/joinBytes.ts"

/** Largest body that is collected, of a request or an answer: 100 MiB. */
export const maxBody = 100 * 1024 * 1024

/** Most pieces that are kept unjoined. Many small pieces take more memory than their content. */
const maxPieces = 256

/** Pieces of one body. */
export interface Collector {
  readonly add: (piece: Uint8Array) => void
  readonly size: () => number
  readonly join: () => Uint8Array<ArrayBuffer>
}

/** Makes a collector. */
export const makeCollector = (): Collector => {
  const joined: Array<Uint8Array> = []
  let pieces: Array<Uint8Array> = []
  let size = 0
  return {
    add: (piece) => {
      size += piece.length
      pieces.push(piece)
      if (pieces.length < maxPieces) return
      joined.push(joinBytes(pieces))
      pieces = []
    },
    size: () => size,
    join: () => joinBytes([...joined, ...pieces])
  }
}

/** A request's share of the memory for bodies. */
export interface Share {
  /** Takes bytes until the request is answered; `false` when other requests have taken them. */
  readonly take: (bytes: number) => boolean
}

/** The share of the request that the current fiber answers. */
export const CurrentShare = Context.Reference<Share>("effect-ai-gateway/local/CurrentShare", {
  defaultValue: () => ({ take: () => true })
})

/** The memory that requests in flight share for bodies. */
export interface InFlight {
  /** Runs a request with a share, and gives the share back at its end. */
  readonly during: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** Makes the shared memory; `limit` is in bytes. */
export const makeInFlight = (limit: number): InFlight => {
  let total = 0
  return {
    during: (self) =>
      Effect.suspend(() => {
        let held = 0
        const take = (bytes: number): boolean => {
          if (total + bytes > limit) return false
          total += bytes
          held += bytes
          return true
        }
        return self.pipe(
          Effect.provideService(CurrentShare, { take }),
          Effect.ensuring(
            Effect.sync(() => {
              total -= held
            })
          )
        )
      })
  }
}
