/** Plain checks of values from JSON, or from a caller without types. */
import type * as Schema from "effect/Schema"

/** Whether a value has its own fields: an object that is neither an array nor null. */
export const isRecord = (u: unknown): u is Record<string, unknown> =>
  typeof u === "object" && u !== null && !Array.isArray(u)

/** {@link isRecord} without narrowing: the types already promise what a caller should have passed. */
export const isObject: (u: unknown) => boolean = isRecord

/** The first field that is set and not among `names`, which would have no effect. */
export const strayField = (value: object, names: ReadonlyArray<string>): string | undefined => {
  // Every request passes here several times, and has no such field.
  for (const name of Object.keys(value)) {
    if (!names.includes(name) && Reflect.get(value, name) !== undefined) return name
  }
  return undefined
}

/** The name of a field on the wire: `tokensIn` is `tokens_in`. */
export const wireName = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** The value of a JSON text, or `undefined` for other texts. */
export const parseJson = (text: string): Schema.Json | undefined => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** JSON text of a value; `undefined` when it has none (a bigint, a cycle, `undefined`). */
export const jsonText = (value: unknown): string | undefined => {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}

/** A value that is a non-empty text, or `undefined`. */
export const optionalText = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined
