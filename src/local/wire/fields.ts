/** Finds the invalid field of a plain object, and its accepted values. */

/** An invalid field. `field` is empty when the object itself is invalid. */
export interface Problem {
  readonly field: string
  readonly accepted: string
}

/** Accepted values of a field, as a check and in words. */
export interface Field {
  readonly accepts: (value: unknown) => boolean
  readonly accepted: string
}

/** The first field that is unknown or invalid; all of them are optional. */
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
