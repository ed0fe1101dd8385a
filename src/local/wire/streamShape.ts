/** Shape of the echo upstream's streams: number, size and pace of deltas. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Delay from "./delay.ts"
import { type Field, type Problem, problem } from "./fields.ts"

/** Bounds of a stream's shape. The text of an answer is in memory, so its length is bounded too. */
const maxEvents = 1_000_000
const maxWords = 1_000

const Events = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: maxEvents }))
const Words = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: maxWords }))

const Shape = Schema.Struct({
  events: Schema.optional(Events),
  words: Schema.optional(Words),
  delayFirst: Schema.optional(Delay.Delay),
  delay: Schema.optional(Delay.Delay)
})

/** See `Upstream.StreamShape`. */
export type StreamShape = typeof Shape.Type

const fields: Readonly<Record<string, Field>> = {
  events: { accepts: Schema.is(Events), accepted: `a whole number from 1 to ${maxEvents}` },
  words: { accepts: Schema.is(Words), accepted: `a whole number from 1 to ${maxWords}` },
  delayFirst: { accepts: Schema.is(Delay.Delay), accepted: Delay.accepted },
  delay: { accepts: Schema.is(Delay.Delay), accepted: Delay.accepted }
}

const decodeShape = Schema.decodeUnknownResult(Shape)

/** Decodes a shape, or names the first invalid field. */
export const decode = (input: unknown): Result.Result<StreamShape, Problem> => {
  const found = problem(fields, input)
  if (found !== undefined) return Result.fail(found)
  return Result.flatMap(
    Result.mapError(decodeShape(input), ({ message }): Problem => ({ field: "", accepted: message })),
    (shape) => {
      const { events = 1, words = 1 } = shape
      return events * words > maxEvents
        ? Result.fail({ field: "words", accepted: `at most ${maxEvents} words in all events together` })
        : Result.succeed(shape)
    }
  )
}

/** Longest text whose words are repeated for a number of events, in characters. */
export const maxText = 16_777_216

/** A text, and the pieces of its stream. Both are made on demand. */
export interface Shaped {
  readonly text: () => string
  /** Characters of the text. */
  readonly length: number
  /** At least one piece. Joined, they are the text. */
  readonly pieces: Iterable<string>
  /** Characters that are kept until the last piece. */
  readonly kept: number
}

/** Yields words with the space before them, and the final space, one at a time: a text may have millions. */
function* spacedWords(text: string): Generator<string> {
  const pattern = /\s*\S+|\s+$/g
  for (let found = pattern.exec(text); found !== null; found = pattern.exec(text)) yield found[0]
}

/** Joins parts in groups of `size`. */
const grouped = (parts: () => Iterable<string>, size: number): Iterable<string> => ({
  *[Symbol.iterator]() {
    let group: Array<string> = []
    for (const part of parts()) {
      group.push(part)
      if (group.length < size) continue
      yield group.join("")
      group = []
    }
    if (group.length > 0) yield group.join("")
  }
})

/** The first words of a text, separated by single spaces, as one string: many small ones cost more. */
const firstWords = (text: string, limit: number): string => {
  const out: Array<string> = []
  for (const word of spacedWords(text)) {
    if (out.length === limit) break
    if (word.trim() !== "") out.push(word.trim())
  }
  return out.length === 0 ? "echo" : out.join(" ")
}

/** The words of a text with single spaces, repeatedly, each but the first with a space before it. */
function* repeated(source: string, count: number): Generator<string> {
  let at = 0
  for (let i = 0; i < count; i++) {
    const space = source.indexOf(" ", at)
    const word = source.slice(at, space < 0 ? source.length : space)
    yield i === 0 ? word : ` ${word}`
    at = space < 0 ? 0 : space + 1
  }
}

/** Length of that text, computed without making it. */
const repeatedLength = (source: string, count: number): number => {
  const ends: Array<number> = []
  for (let space = source.indexOf(" "); space >= 0; space = source.indexOf(" ", space + 1)) ends.push(space)
  ends.push(source.length)
  const rest = count % ends.length
  const cycles = (count - rest) / ends.length
  return cycles * (source.length + 1) + (rest === 0 ? 0 : (ends[rest - 1] ?? 0) + 1) - 1
}

/**
 * Cuts a text into pieces of a number of words each, with the space before a word in front of it. With a number of
 * events, the text's words are repeated or cut off to fill exactly that number of pieces.
 */
export const shape = (text: string, { events, words = 1 }: StreamShape): Shaped => {
  if (events === undefined) {
    const pieces = text === "" ? [""] : grouped(() => spacedWords(text), words)
    return { text: () => text, length: text.length, pieces, kept: text.length }
  }
  const count = events * words
  const source = firstWords(text, count)
  const pieces = grouped(() => repeated(source, count), words)
  return {
    text: () => Array.from(pieces).join(""),
    length: repeatedLength(source, count),
    pieces,
    kept: text.length + source.length
  }
}

/** Header with the shape of the stream that an echo answers this request with. */
export const streamHeader = "cf-aig-local-stream"
