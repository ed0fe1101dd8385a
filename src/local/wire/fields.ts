/**
 * Which field of a plain object is wrong, and what it accepts.
 */

/** What is wrong. `field` is empty when it is the object itself. */
export interface Problem {
  readonly field: string
  readonly accepted: string
}

/** What a field accepts, as a check and in words. */
export interface Field {
  readonly accepts: (value: unknown) => boolean
  readonly accepted: string
}

/** The first field that is unknown or wrong; all of them are optional. */
export const problem = (fields: Readonly<Record<string, Field>>, input: unknown): Problem | undefined => {
  const whole: Problem = { field: "", accepted: `an object with fields of ${Object.keys(fields).join(", ")}` }
  if (typeof input !== "object" || input === null || Array.isArray(input)) return whole
  for (const [name, value] of Object.entries(input)) {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (field === undefined) return whole
    if (value !== undefined && !field.accepts(value)) return { field: name, accepted: field.accepted }
  }
  return undefined
}
