/**
 * Collects complete bodies and counts the memory that requests in flight share: incoming bodies, parsed JSON, and
 * answers.
 */
import * as Context from "effect/Context"
import { joinBytes } from "../../internal/data/bytes.ts"
import { code, type Refusal, refuse } from "./errors.ts"

/** Largest body that is collected, of a request or an answer: 100 MiB. */
export const maxBody = 100 * 1024 * 1024

/** Largest number of pieces that are kept unjoined. Many small pieces take more memory than their content. */
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

/** Bytes of a value of parsed JSON in addition to its text: an object of one key, the worst case. */
const valueBytes = 100

/** Bytes of parsed JSON, from the bytes of its text in memory and the number of its values. */
export const jsonBytes = (text: number, values: number): number => text + valueBytes * values

const busy = (): Refusal =>
  refuse(503, code.busy, "the requests in flight are as large as `inFlightBytes` allows", { "retry-after": "1" })

const never = (limit: number): Refusal =>
  refuse(413, code.badParameter, `the request alone takes more memory than \`inFlightBytes\`, which is ${limit} bytes`)

/** The part of the shared memory that a request and its answer hold, until the answer is sent or cancelled. */
export interface Share {
  /** Takes more bytes for the request, or returns the refusal. */
  readonly take: (bytes: number) => Refusal | undefined
  /** Returns bytes that the request no longer holds. */
  readonly give: (bytes: number) => void
  /** Takes bytes for the answer, in place of what an earlier answer held; `false` when there is no room. */
  readonly answer: (bytes: number) => boolean
  /** The same for a piece of a stream, which is already made: others wait for it. */
  readonly carry: (bytes: number) => void
  /** Returns everything, once; afterwards nothing is taken any more. */
  readonly release: () => void
}

const unlimited: Share = {
  take: () => undefined,
  give: () => undefined,
  answer: () => true,
  carry: () => undefined,
  release: () => undefined
}

/** The share of the current fiber's request. */
export const CurrentShare = Context.Reference<Share>("effect-ai-gateway/local/CurrentShare", {
  defaultValue: () => unlimited
})

/** Makes the memory that requests in flight share, with a limit in bytes. The result makes the share of one request. */
export const makeInFlight = (limit: number): (() => Share) => {
  let total = 0
  return () => {
    let request = 0
    let answer = 0
    let released = false
    const carry = (bytes: number): void => {
      if (released) return
      total += bytes - answer
      answer = bytes
    }
    return {
      take: (bytes) => {
        if (released) return busy()
        if (request + bytes > limit) return never(limit)
        if (total + bytes > limit) return busy()
        total += bytes
        request += bytes
        return undefined
      },
      give: (bytes) => {
        if (released) return
        total -= bytes
        request -= bytes
      },
      answer: (bytes) => {
        if (total - answer + bytes > limit) return false
        carry(bytes)
        return true
      },
      carry,
      release: () => {
        if (!released) total -= request + answer
        released = true
      }
    }
  }
}
