/**
 * Schemas most of whose values are JSON as they stand. Such a value is kept without a pass of its schema, which takes
 * longer than its JSON text does; what is read back goes through the schema. It is the very schema that is known, and
 * nothing that is derived from it.
 */
import type * as Schema from "effect/Schema"

const known = new WeakMap<object, (value: never) => unknown>()

/**
 * Says how the values of a schema are JSON (`undefined`: this one has to pass the schema), and gives the schema back.
 */
export const keptAs = <A>(
  schema: Schema.Codec<A, unknown>,
  toJson: (value: A) => unknown
): Schema.Codec<A, unknown> => {
  known.set(schema, toJson)
  return schema
}

/** How the values of a schema are JSON, if that was said. */
export const plainJsonOf = <A>(schema: Schema.Codec<A, unknown>): ((value: A) => Schema.Json | undefined) | undefined =>
  // Only `keptAs` puts anything there, of the schema's own type. That it is JSON is what its caller says.
  known.get(schema) as ((value: A) => Schema.Json | undefined) | undefined
