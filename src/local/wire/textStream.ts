/**
 * A body of texts, written one at a time on demand.
 */

const encoder = new TextEncoder()

/** The texts in UTF-8. An iterator that throws breaks the body. Needs no fiber. */
export const textStream = (texts: Iterable<string>): ReadableStream<Uint8Array> => {
  const iterator = texts[Symbol.iterator]()
  return new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        const next = iterator.next()
        if (next.done === true) controller.close()
        else controller.enqueue(encoder.encode(next.value))
      }
    },
    { highWaterMark: 0 }
  )
}
