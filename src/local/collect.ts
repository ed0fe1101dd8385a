/**
 * Bodies that are collected whole: counted while they are read, each by itself and all of them together.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { joinBytes } from "../internal/joinBytes.ts"

/** Largest body that is collected, of a request as of an answer: 100 MB. */
export const maxBody = 100 * 1024 * 1024

/** How many pieces are kept as they came. Many small ones cost more than what is in them. */
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

/** What a request may take of the memory that all requests share. */
export interface Share {
  /** Takes so many bytes until the request is answered; `false` when others have them. */
  readonly take: (bytes: number) => boolean
}

/** The share of the request whose fiber this is. */
export const CurrentShare = Context.Reference<Share>("effect-ai-gateway/local/CurrentShare", {
  defaultValue: () => ({ take: () => true })
})

/** The memory that requests in flight share for bodies. */
export interface InFlight {
  /** Runs one request with its share, and gives that back. */
  readonly during: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** Makes the memory: so many bytes for all. */
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
