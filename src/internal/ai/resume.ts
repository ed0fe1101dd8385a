/**
 * Resumes a streamed run when its connection breaks. Experimental, as at Cloudflare.
 *
 * A run is replayed from one of its events on, byte for byte. The part of the interrupted event that was read is
 * compared and omitted, so that the bytes continue seamlessly: no event is repeated or lost, and a different answer is
 * detected.
 */
import * as Effect from "effect/Effect"
import { decide, type GatewayError } from "../../GatewayError.ts"
import type { GatewayResponse, ResponseReader } from "../../GatewayResponse.ts"
import { joinBytes } from "../data/bytes.ts"

/** Maximum number of resumes of a run, including failed requests. */
export const maxResumes = 3

/** Milliseconds before the next try if a request for a run fails; doubles each time. */
const delay = 200

/**
 * Maximum number of bytes of one event that are kept for the comparison; a run that breaks later inside an event is not
 * resumed.
 */
const maxTail = 1024 * 1024

const LF = 10

/**
 * Counts events as the service does, by the two line feeds that end one, and keeps the bytes of the unfinished event.
 */
const makePosition = () => {
  let events = 0
  let tail: Array<Uint8Array> | undefined = []
  let size = 0
  let afterFeed = false
  return {
    events: () => events,
    /** `undefined` if it is too large. */
    tail: () => tail,
    add: (chunk: Uint8Array): void => {
      let from = 0
      let feed = afterFeed ? -1 : -2
      for (let i = chunk.indexOf(LF); i >= 0; i = chunk.indexOf(LF, i + 1)) {
        if (i === feed + 1) {
          events++
          from = i + 1
          feed = -2
          tail = []
          size = 0
        } else {
          feed = i
        }
      }
      afterFeed = feed === chunk.length - 1
      size += chunk.length - from
      if (size > maxTail) tail = undefined
      else if (from < chunk.length) tail?.push(chunk.subarray(from))
    }
  }
}

const isJson = ({ headers }: GatewayResponse): boolean =>
  /^application\/.*\bjson\b/i.test(headers["content-type"] ?? "")

type Read = ResponseReader["read"]

/**
 * Continues where a reader breaks off or ends, if `isLost` reports that a part of the answer is missing. An end after a
 * resume without new bytes is final. `resume` requests the run from an event on.
 */
export const resumable = (
  first: ResponseReader,
  resume: (from: number) => Effect.Effect<GatewayResponse, GatewayError>,
  isLost: (how: "broken" | "ended") => boolean
): ResponseReader => {
  const position = makePosition()
  let reader = first
  let resumes = 0
  let isFresh = false

  const take = (chunk: Uint8Array): Uint8Array => {
    isFresh = false
    position.add(chunk)
    return chunk
  }

  /** Omits bytes that have been read before. */
  const replay = (known: Uint8Array, broken: Read): Read =>
    known.length === 0
      ? read
      : Effect.matchEffect(reader.read, {
          onFailure: () => takeUp(broken),
          onSuccess: (chunk) => {
            if (chunk === undefined) return broken
            const common = Math.min(chunk.length, known.length)
            for (let i = 0; i < common; i++) {
              if (chunk[i] !== known[i]) return Effect.andThen(reader.cancel, broken)
            }
            return common < chunk.length
              ? Effect.sync(() => take(chunk.subarray(common)))
              : replay(known.subarray(common), broken)
          }
        })

  /** Resumes the run; ends with `broken` if that is not possible. */
  const takeUp = (broken: Read): Read =>
    Effect.suspend(() => {
      const known = position.tail()
      if (known === undefined || resumes === maxResumes) return broken
      const wait = delay * 2 ** resumes++
      const asked = Effect.uninterruptibleMask((restore) =>
        Effect.map(restore(resume(position.events())), (response) => {
          reader = response.reader()
          return response
        })
      )
      return Effect.matchEffect(asked, {
        onFailure: ({ reason }) => (decide(reason).again ? Effect.andThen(Effect.sleep(wait), takeUp(broken)) : broken),
        onSuccess: (response) => {
          if (isJson(response)) return Effect.andThen(reader.cancel, broken)
          isFresh = true
          return replay(joinBytes(known), broken)
        }
      })
    })

  const read: Read = Effect.suspend(() =>
    Effect.matchEffect(reader.read, {
      onFailure: (error) => (isLost("broken") ? takeUp(Effect.fail(error)) : Effect.fail(error)),
      onSuccess: (chunk) => {
        if (chunk !== undefined) return Effect.sync(() => take(chunk))
        const end = Effect.succeed(undefined)
        return isLost("ended") && !isFresh ? takeUp(end) : end
      }
    })
  )

  return { read, cancel: Effect.suspend(() => reader.cancel) }
}
