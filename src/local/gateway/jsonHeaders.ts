/** Headers that hold JSON. Each text is bounded before it is parsed, and read once, however many legs share it. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { measureJson } from "../../internal/data/jsonDepth.ts"
import * as Faults from "../upstream/faults.ts"
import { CurrentShare, jsonBytes, type Share } from "../wire/collect.ts"
import { badRequest, type Refusal } from "../wire/errors.ts"
import { parseBoundedJson } from "../wire/message.ts"
import { decode as decodeShape, type StreamShape, streamHeader } from "../wire/streamShape.ts"
import { type CustomCost, costAccepted, costOf, type LogMetadata, maxMetadata, metadataOf } from "./headerValues.ts"

/** Header with a JSON array of faults for this request only. */
export const faultsHeader = "cf-aig-local-faults"
/** Largest number of values in the JSON of all headers of a request. Each distinct text counts once. */
const maxValues = 100_000

type Read<A> = (source: string) => Result.Result<A, Refusal>

/** Readers of the headers of one request. */
export interface JsonHeaders {
  readonly metadata: Read<LogMetadata | null>
  readonly customCost: Read<CustomCost>
  readonly stream: Read<StreamShape>
  readonly faults: Read<ReadonlyArray<Faults.Fault>>
  /** The request's share of the memory. */
  readonly share: Share
}

const once = <A>(read: Read<A>): Read<A> => {
  const known = new Map<string, Result.Result<A, Refusal>>()
  return (source) => {
    const found = known.get(source) ?? read(source)
    known.set(source, found)
    return found
  }
}

const make = (share: Share): JsonHeaders => {
  let values = 0
  const parse = (name: string, source: string): Result.Result<unknown, Refusal> => {
    const measured = measureJson(source).values
    values += measured
    if (values > maxValues) {
      return Result.fail(badRequest(`${name}: expected JSON of at most ${maxValues} values in all headers together`))
    }
    const refusal = share.take(jsonBytes(2 * source.length, measured))
    return refusal === undefined ? Result.succeed(parseBoundedJson(source)) : Result.fail(refusal)
  }
  return {
    share,
    metadata: once((source) =>
      source.length > maxMetadata
        ? Result.fail(badRequest(`cf-aig-metadata: expected at most ${maxMetadata} characters`))
        : Result.map(parse("cf-aig-metadata", source), metadataOf)
    ),
    customCost: once((source) =>
      Result.flatMap(parse("cf-aig-custom-cost", source), (json) => {
        const cost = costOf(json)
        return cost === undefined
          ? Result.fail(badRequest(`cf-aig-custom-cost: expected ${costAccepted}`))
          : Result.succeed(cost)
      })
    ),
    stream: once((source) =>
      Result.flatMap(parse(streamHeader, source), (json) =>
        Result.mapError(decodeShape(json), ({ accepted, field }) =>
          badRequest(`${[streamHeader, field].filter((part) => part !== "").join(" ")}: expected ${accepted}`)
        )
      )
    ),
    faults: once((source) =>
      Result.flatMap(parse(faultsHeader, source), (json) =>
        Result.mapError(Faults.decode(json), ({ accepted, field }) =>
          badRequest(`${faultsHeader} ${field}: expected ${accepted}`)
        )
      )
    )
  }
}

/** Readers for the request of the current fiber; what they read counts towards its share. */
export const current: Effect.Effect<JsonHeaders> = Effect.map(CurrentShare, make)
