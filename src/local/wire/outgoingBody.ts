/** Bodies on their last step to the client. Nothing is read ahead: each piece is pulled when the client pulls. */
import type { Share } from "./collect.ts"
import { Disconnect } from "./protocol.ts"

type Body = ReadableStream<Uint8Array>

const ignore = (): void => undefined

/** A body up to the place where the client's connection breaks; the provider then sees that the client has left. */
export const dropping = (body: Body, drop: { readonly at: number | undefined }): Body => {
  const reader = body.getReader()
  let sent = 0
  let broken = false
  const reached = (): boolean => drop.at !== undefined && sent >= drop.at
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        if (broken) return controller.error(new Disconnect())
        const { done, value } = await reader.read()
        if (done) return reached() ? controller.error(new Disconnect()) : controller.close()
        const kept = drop.at === undefined ? value : value.subarray(0, Math.max(0, drop.at - sent))
        sent += kept.length
        if (reached()) {
          broken = true
          void reader.cancel().catch(ignore)
        }
        // An error now would discard what the client has not read yet, so it waits for the next pull.
        if (kept.length > 0) controller.enqueue(kept)
        else controller.error(new Disconnect())
      },
      cancel: (reason) => reader.cancel(reason)
    },
    { highWaterMark: 0 }
  )
}

/** A body that ends when a signal is aborted, like that of `fetch`. */
export const abortable = (body: Body, signal: AbortSignal): Body => {
  const reader = body.getReader()
  let abort = ignore
  const settle = (): void => signal.removeEventListener("abort", abort)
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) => {
        abort = () => {
          void reader.cancel(signal.reason).catch(ignore)
          controller.error(signal.reason)
        }
        if (signal.aborted) abort()
        else signal.addEventListener("abort", abort, { once: true })
      },
      pull: async (controller) => {
        const result = await reader.read().catch((error: unknown) => {
          settle()
          throw error
        })
        // The signal has ended this body already.
        if (signal.aborted) return
        if (!result.done) return controller.enqueue(result.value)
        settle()
        controller.close()
      },
      cancel: (reason) => {
        settle()
        return reader.cancel(reason)
      }
    },
    { highWaterMark: 0 }
  )
}

/** Handles responses in this process that are never read: a collected response counts as cancelled. */
const forgotten = new FinalizationRegistry<() => void>((cancel) => cancel())

const watched = (source: UnderlyingDefaultSource<Uint8Array>, cancel: () => void): Body => {
  const body = new ReadableStream(source, { highWaterMark: 0 })
  forgotten.register(body, cancel)
  return body
}

/** A buffered body. Its share is held until the client pulls again. */
export const holdingBytes = (bytes: Uint8Array, share: Share): Body => {
  let sent = bytes.length === 0
  const source: UnderlyingDefaultSource<Uint8Array> = {
    pull: (controller) => {
      if (!sent) {
        sent = true
        return controller.enqueue(bytes)
      }
      share.release()
      controller.close()
    },
    cancel: share.release
  }
  return watched(source, share.release)
}

/** A stream whose pieces count towards a share, which is released at the end. */
export const holding = (body: Body, share: Share): Body => {
  const reader = body.getReader()
  const source: UnderlyingDefaultSource<Uint8Array> = {
    pull: async (controller) => {
      const { done, value } = await reader.read().catch((error: unknown) => {
        share.release()
        throw error
      })
      if (!done) {
        share.carry(value.length)
        return controller.enqueue(value)
      }
      share.release()
      controller.close()
    },
    cancel: (reason) => {
      share.release()
      return reader.cancel(reason)
    }
  }
  return watched(source, () => {
    share.release()
    void reader.cancel().catch(ignore)
  })
}
