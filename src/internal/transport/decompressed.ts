/** Decompresses bodies for clients that do not. Only Node has such clients, so this works on Node only. */
import * as Effect from "effect/Effect"
import type { Body, RawResponse } from "./body.ts"
import { codingsOf, DecompressedBody, maxCodings, unreadable, withoutEncoding } from "./contentEncoding.ts"

const zlib = () => globalThis.process?.getBuiltinModule?.("node:zlib")

type Zlib = NonNullable<ReturnType<typeof zlib>>

/** Whether `deflate` data is raw: it should be in zlib's format, but some servers send raw data. */
const isBare = ([first = 0]: Uint8Array): boolean => (first & 0x0f) !== 8

const decoders = {
  gzip: ({ createGunzip }: Zlib) => createGunzip(),
  "x-gzip": ({ createGunzip }: Zlib) => createGunzip(),
  deflate: ({ createInflate, createInflateRaw }: Zlib, first: Uint8Array) =>
    isBare(first) ? createInflateRaw() : createInflate(),
  br: ({ createBrotliDecompress }: Zlib) => createBrotliDecompress()
} as const

type Coding = keyof typeof decoders

/** The codings that this module decodes, as an `accept-encoding` header. */
export const acceptEncoding = "gzip, deflate, br"

const isKnown = (coding: string): coding is Coding => Object.hasOwn(decoders, coding)

type Chunks = AsyncGenerator<Uint8Array, void, void>

const chunksOf = async function* (body: Body): Chunks {
  const { cancel, read } = body.reader()
  let isOver = false
  try {
    for (let chunk = await Effect.runPromise(read); chunk !== undefined; chunk = await Effect.runPromise(read)) {
      yield chunk
    }
    isOver = true
  } finally {
    if (!isOver) Effect.runFork(cancel)
  }
}

const decode = async function* (chunks: Chunks, coding: Coding): Chunks {
  const first = await chunks.next()
  // An empty body is empty in every encoding.
  if (first.done === true) return
  const stream = globalThis.process.getBuiltinModule("node:stream")
  const all = async function* (): Chunks {
    yield first.value
    yield* chunks
  }
  const decoder = decoders[coding](globalThis.process.getBuiltinModule("node:zlib"), first.value)
  // The reader of the last stream sees every failure; the callback is required but has nothing to do.
  yield* stream.pipeline(stream.Readable.from(all()), decoder, () => {})
}

const streamOf = (chunks: Chunks): ReadableStream<Uint8Array> =>
  new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { done, value } = await chunks.next()
        if (done === true) controller.close()
        else controller.enqueue(value)
      },
      cancel: async () => {
        await chunks.return()
      }
    },
    { highWaterMark: 0 }
  )

/**
 * The same answer with a body that is decompressed while it is read, and without the headers that describe the
 * compressed bytes.
 */
export const decoded = (answer: RawResponse): RawResponse => {
  const codings = codingsOf(answer.headers)
  if (codings.length === 0) return answer
  const { body } = answer
  const known = codings.filter(isKnown)
  if (known.length !== codings.length || known.length > maxCodings || zlib() === undefined) {
    return { ...answer, body: unreadable(body, codings) }
  }
  const response = new Response(streamOf(known.reduceRight(decode, chunksOf(body))))
  return { ...answer, headers: withoutEncoding(answer.headers), body: new DecompressedBody(response, body.cancel) }
}
