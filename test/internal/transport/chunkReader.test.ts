import { assert, describe, it, vi } from "@effect/vitest"
import { coalescedReads, type Reads } from "../../../src/internal/transport/chunkReader.ts"

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

/** A stream that the test writes to, and the number of its reads. */
const written = () => {
  let asked = 0
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  const stream = new ReadableStream<Uint8Array>({
    start: (given) => {
      controller = given
    }
  })
  const reader = stream.getReader()
  return {
    read: coalescedReads({
      read: () => {
        asked++
        return reader.read()
      }
    }),
    write: (...pieces: ReadonlyArray<string>): void => {
      for (const piece of pieces) controller?.enqueue(encode(piece))
    },
    close: (): void => controller?.close(),
    error: (cause: Error): void => controller?.error(cause),
    cancel: (): Promise<void> => reader.cancel(),
    asked: (): number => asked
  }
}

const textOf = async (read: Reads): Promise<string | undefined> => {
  const chunk = await read()
  return chunk && new TextDecoder().decode(chunk)
}

describe("data that arrives within a turn of the event loop", () => {
  it("is one chunk, and later data is another one", async () => {
    const { asked, close, read, write } = written()
    write("a", "b", "c")
    assert.strictEqual(await textOf(read), "abc")
    // One is read ahead, and taken by the next read.
    assert.strictEqual(asked(), 4)
    write("d")
    assert.strictEqual(await textOf(read), "d")
    write("e", "f")
    close()
    assert.strictEqual(await textOf(read), "ef")
    assert.strictEqual(await textOf(read), undefined)
  })

  it("is not copied when it is one piece", async () => {
    const piece = encode("a")
    let given = false
    const read = coalescedReads({
      read: () => {
        if (given) return new Promise(() => {})
        given = true
        return Promise.resolve({ done: false, value: piece })
      }
    })
    assert.strictEqual(await read(), piece)
  })

  it("is awaited without a limit", async () => {
    const { read, write } = written()
    const first = textOf(read)
    await new Promise((resolve) => setTimeout(resolve, 5))
    write("a", "b")
    assert.strictEqual(await first, "ab")
  })

  it("is delivered before the failure behind it", async () => {
    const { error, read, write } = written()
    write("a")
    const first = textOf(read)
    // The piece behind the first has been read ahead.
    await new Promise((resolve) => queueMicrotask(() => queueMicrotask(() => resolve(undefined))))
    error(new Error("broken"))
    assert.strictEqual(await first, "a")
    // Nothing has been read yet: the failure must not become an unhandled one.
    await new Promise((resolve) => setTimeout(resolve, 5))
    const failure = await read().catch((cause) => cause)
    assert.strictEqual(failure.message, "broken")
  })

  it("is not read beyond a full chunk, or when one piece fills it", async () => {
    const { asked, read, write } = written()
    const half = "x".repeat(40_000)
    write(half, half, half)
    assert.strictEqual((await read())?.length, 80_000)
    assert.strictEqual(asked(), 2)
    write("y".repeat(70_000))
    assert.strictEqual((await read())?.length, 110_000)
    assert.strictEqual(asked(), 4)
    const large = written()
    large.write("z".repeat(70_000), "z")
    assert.strictEqual((await large.read())?.length, 70_000)
    assert.strictEqual(large.asked(), 1)
  })

  it("arrives under the fake timers of a test, too", async () => {
    const { read, write } = written()
    vi.useFakeTimers({ toFake: ["setImmediate"] })
    try {
      write("a", "b")
      assert.strictEqual(await textOf(read), "ab")
    } finally {
      vi.useRealTimers()
    }
  })

  it("can be released while a piece is read ahead", async () => {
    const { cancel, read, write } = written()
    write("a")
    assert.strictEqual(await textOf(read), "a")
    await cancel()
    assert.strictEqual(await textOf(read), undefined)
  })
})
