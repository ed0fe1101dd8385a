/**
 * Streamed runs that a client can resume. Sent bytes are kept for a while; when the client leaves, the gateway reads
 * the provider's answer to its end.
 */

import type { Answer } from "../wire/protocol.ts"
import { headerBytes, overhead } from "./bounded.ts"

type Bytes = Uint8Array<ArrayBufferLike>

/** How long a run can be resumed, in milliseconds from its start: five and a half minutes. */
export const lifetime = 330_000

/** Bytes that a chunk occupies in addition to its content. A stream may arrive in chunks of one byte. */
const chunkOverhead = 128

/** A position in a run. */
interface Cursor {
  index: number
}

/** One run: its chunks so far, and how to get more. */
interface ResumableRun {
  readonly gateway: string
  readonly headers: Answer["headers"]
  readonly expiresAt: number
  readonly chunks: Array<Bytes>
  bytes: number
  /** Number of chunks at the start that are no longer kept. */
  dropped: number
  state: "open" | "ended" | "failed"
  /** Position of the first client until it left. */
  client: Cursor | undefined
  /** Waits for the next chunk, the end or the failure; never rejects. */
  readonly advance: () => Promise<void>
  readonly stop: () => void
}

const costOf = (chunk: Bytes): number => chunk.length + chunkOverhead

/** Bytes of a run without its chunks. */
const ownBytes = ({ headers }: Pick<ResumableRun, "headers">): number => overhead + headerBytes(headers)

const makeRun = (
  facts: Pick<ResumableRun, "gateway" | "headers" | "expiresAt">,
  body: ReadableStream<Bytes>,
  kept: (bytes: number) => void
): ResumableRun => {
  const reader = body.getReader()
  let pending: Promise<void> | undefined
  const read = async (): Promise<void> => {
    const result = await reader.read().catch(() => undefined)
    pending = undefined
    if (run.state !== "open") return
    if (result === undefined) run.state = "failed"
    else if (result.done) run.state = "ended"
    else {
      run.chunks.push(result.value)
      kept(costOf(result.value))
    }
  }
  const run: ResumableRun = {
    ...facts,
    chunks: [],
    bytes: 0,
    dropped: 0,
    state: "open",
    client: { index: 0 },
    // Several readers may wait for the same chunk.
    advance: () => {
      pending ??= read()
      return pending
    },
    stop: () => {
      if (run.state !== "open") return
      run.state = "failed"
      void reader.cancel().catch(() => undefined)
    }
  }
  return run
}

/** The next bytes; `undefined` at the end. Rejects when the run failed or the bytes are no longer kept. */
const next = async (run: ResumableRun, cursor: Cursor): Promise<Bytes | undefined> => {
  while (cursor.index - run.dropped >= run.chunks.length && run.state === "open") await run.advance()
  const chunk = run.chunks[cursor.index - run.dropped]
  if (chunk !== undefined) {
    cursor.index++
    return chunk
  }
  if (run.state === "failed" || cursor.index < run.dropped) throw new Error("the run broke off")
  return undefined
}

const LF = 10

/** Skips a number of events; an event ends with two line feeds. */
const skipping = (events: number): ((bytes: Bytes) => Bytes) => {
  let left = events
  let feeds = 0
  return (bytes) => {
    for (let i = 0; i < bytes.length; i++) {
      if (left === 0) return bytes.subarray(i)
      feeds = bytes[i] === LF ? feeds + 1 : 0
      if (feeds < 2) continue
      feeds = 0
      left--
    }
    return bytes.subarray(bytes.length)
  }
}

const streamOf = (pull: () => Promise<Bytes | undefined>, cancel: () => void): ReadableStream<Bytes> =>
  new ReadableStream<Bytes>(
    {
      pull: async (controller) => {
        const chunk = await pull()
        if (chunk === undefined) controller.close()
        else controller.enqueue(chunk)
      },
      cancel
    },
    { highWaterMark: 0 }
  )

export interface ResumableRuns {
  /** Keeps a streamed answer under an id and returns a replacement for it. Any other answer is returned unchanged. */
  readonly start: (id: string, gateway: string, answer: Answer, now: number) => Answer
  /** The run from an event on, or `undefined` when it does not exist, or no longer. */
  readonly resume: (id: string, gateway: string, from: number, now: number) => Answer | undefined
  readonly clear: () => void
}

/**
 * Makes an empty store. `maxTotal` limits the bytes of all runs together, half of it the bytes of one run; the oldest
 * go first.
 */
export const make = (maxTotal: number): ResumableRuns => {
  const maxBytes = maxTotal / 2
  const runs = new Map<string, ResumableRun>()
  let total = 0
  const keeps = (id: string, run: ResumableRun): boolean => runs.get(id) === run
  const add = (run: ResumableRun, bytes: number): void => {
    run.bytes += bytes
    total += bytes
  }
  /**
   * Drops the chunks that its client has read, for a run that can no longer be resumed; without a client it ends.
   * Chunks that the client has not read stay, and count.
   */
  const trim = (run: ResumableRun): void => {
    if (run.client === undefined) run.stop()
    const read = run.client === undefined ? run.chunks.length : run.client.index - run.dropped
    for (const chunk of run.chunks.splice(0, read)) add(run, -costOf(chunk))
    run.dropped += read
  }
  const forget = (id: string, run: ResumableRun): void => {
    runs.delete(id)
    add(run, -ownBytes(run))
    trim(run)
  }
  const sweep = (now: number): void => {
    for (const [id, run] of runs) {
      if (run.expiresAt > now && total <= maxTotal) return
      forget(id, run)
    }
  }
  /** Reads to the end after the client left, so that the run is complete when it is resumed. */
  const drain = async (id: string, run: ResumableRun): Promise<void> => {
    while (run.state === "open" && keeps(id, run)) await run.advance()
  }
  return {
    start: (id, gateway, answer, now) => {
      sweep(now)
      if (!(answer.body instanceof ReadableStream)) return answer
      const headers = { ...answer.headers, "cf-aig-run-id": id }
      const run = makeRun({ gateway, headers, expiresAt: now + lifetime }, answer.body, (bytes) => {
        add(run, bytes)
        if (!keeps(id, run)) return
        if (run.bytes > maxBytes) forget(id, run)
        for (const [oldest, other] of runs) {
          if (total <= maxTotal) return
          forget(oldest, other)
        }
      })
      const cursor: Cursor = { index: 0 }
      run.client = cursor
      runs.set(id, run)
      add(run, ownBytes(run))
      const pull = async (): Promise<Bytes | undefined> => {
        const chunk = await next(run, cursor)
        if (!keeps(id, run)) trim(run)
        return chunk
      }
      const leave = (): void => {
        run.client = undefined
        if (keeps(id, run)) void drain(id, run)
        else trim(run)
      }
      return { ...answer, headers, body: streamOf(pull, leave) }
    },
    resume: (id, gateway, from, now) => {
      sweep(now)
      const run = runs.get(id)
      if (run === undefined || run.gateway !== gateway) return undefined
      const cursor: Cursor = { index: 0 }
      const skip = skipping(from)
      const pull = async (): Promise<Bytes | undefined> => {
        while (true) {
          // A second reader would fill memory that no limit covers any more.
          if (!keeps(id, run)) throw new Error("the run is no longer kept")
          const chunk = await next(run, cursor)
          const rest = chunk === undefined ? undefined : skip(chunk)
          if (rest === undefined || rest.length > 0) return rest
        }
      }
      return { status: 200, headers: run.headers, body: streamOf(pull, () => undefined) }
    },
    clear: () => {
      for (const [id, run] of runs) forget(id, run)
    }
  }
}
