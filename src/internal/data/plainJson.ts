/**
 * Schemas most of whose values are already JSON. Such a value is stored without encoding it through its schema, which
 * takes longer than its JSON text does; stored values are decoded through the schema. Only the schema itself is
 * registered, not schemas derived from it.
 */
import type * as Schema from "effect/Schema"

const known = new WeakMap<object, (value: never) => unknown>()

/**
 * Registers how the values of a schema are JSON (`undefined`: this value must be encoded through the schema), and
 * returns the schema.
 */
export const keptAs = <A>(
  schema: Schema.Codec<A, unknown>,
  toJson: (value: A) => unknown
): Schema.Codec<A, unknown> => {
  known.set(schema, toJson)
  return schema
}

/** How the values of a schema are JSON, if that was registered. */
export const plainJsonOf = <A>(schema: Schema.Codec<A, unknown>): ((value: A) => Schema.Json | undefined) | undefined =>
  // Only `keptAs` adds entries, of the schema's own type. Its caller guarantees that they are JSON.
  known.get(schema) as ((value: A) => Schema.Json | undefined) | undefined
