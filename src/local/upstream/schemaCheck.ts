/**
 * Checks values against JSON Schemas (drafts 7 and 2020-12, and the OpenAPI words that Google accepts).
 *
 * Patterns are not checked: values are generated to match them, and an untrusted pattern could run forever. Only the
 * most common formats are checked, so that alternatives can be told apart.
 */
import { isRecord } from "../../internal/data/json.ts"

export type Fields = Readonly<Record<string, unknown>>

const own = (self: Fields, name: string): unknown => (Object.hasOwn(self, name) ? self[name] : undefined)

/** Schemas by their `$id`, or by `#` and their anchor. */
const named = new WeakMap<object, ReadonlyMap<string, unknown>>()

const namesIn = (root: object): ReadonlyMap<string, unknown> => {
  const known = named.get(root)
  if (known !== undefined) return known
  const names = new Map<string, unknown>()
  const open: Array<unknown> = [root]
  for (let schema = open.pop(); schema !== undefined; schema = open.pop()) {
    if (isRecord(schema)) {
      const { $anchor: anchor, $id: id } = schema
      if (typeof id === "string") names.set(id, schema)
      if (typeof anchor === "string") names.set(`#${anchor}`, schema)
    }
    // One by one, because the number of arguments of a call is limited.
    if (typeof schema === "object" && schema !== null) {
      for (const inner of Object.values(schema)) if (inner !== undefined) open.push(inner)
    }
  }
  named.set(root, names)
  return names
}

const unescaped = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The target of a reference inside the root: a path, an anchor or an `$id`. `undefined` for external references. */
export const resolve = (root: unknown, ref: string): unknown => {
  if (!isRecord(root)) return undefined
  const [id = "", fragment = ""] = ref.split("#", 2)
  let at = id === "" ? root : namesIn(root).get(id)
  if (fragment !== "" && !fragment.startsWith("/")) return namesIn(root).get(`#${fragment}`)
  for (const part of unescaped(fragment).split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~")
    if (Array.isArray(at)) at = at[Number(name)]
    else if (isRecord(at)) at = own(at, name)
    else return undefined
  }
  return at
}

/** The types that a schema allows, in lower case; `undefined` for any. */
export const typesOf = (schema: Fields): ReadonlyArray<string> | undefined => {
  const { nullable, type } = schema
  if (type === undefined) return undefined
  const types = (Array.isArray(type) ? type : [type]).map((one) => String(one).toLowerCase())
  return nullable === true ? [...types, "null"] : types
}

/** A number of a schema; Google writes some numbers as text. */
export const numberOf = (schema: Fields, name: string): number | undefined => {
  const value = schema[name]
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value
  return typeof number === "number" && Number.isFinite(number) ? number : undefined
}

export const schemasOf = (schema: Fields, name: string): ReadonlyArray<unknown> => {
  const value = schema[name]
  return Array.isArray(value) ? value : []
}

export const fieldsOf = (schema: Fields, name: string): Fields => {
  const value = schema[name]
  return isRecord(value) ? value : {}
}

const isType = (value: unknown, type: string): boolean => {
  switch (type) {
    case "null":
      return value === null
    case "array":
      return Array.isArray(value)
    case "object":
      return isRecord(value)
    case "integer":
      return Number.isInteger(value)
    default:
      return typeof value === type
  }
}

const same = (a: unknown, b: unknown): boolean => {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => same(item, b[i]))
  if (!isRecord(a) || !isRecord(b)) return a === b
  const names = Object.keys(a)
  return (
    names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && same(a[name], b[name]))
  )
}

const formats: Readonly<Record<string, RegExp>> = {
  "date-time": /^\d{4}-\d\d-\d\dT/i,
  date: /^\d{4}-\d\d-\d\d$/,
  time: /^\d\d:\d\d/,
  email: /^[^@]+@[^@]+$/,
  ipv4: /^\d+\.\d+\.\d+\.\d+$/,
  uri: /^[a-z][a-z0-9+.-]*:/i,
  uuid: /^[0-9a-f]{8}-[0-9a-f-]{27}$/i
}

const isFormatted = ({ format }: Fields, text: string): boolean =>
  typeof format !== "string" || !Object.hasOwn(formats, format) || formats[format]?.test(text) === true

type Check = (schema: unknown, value: unknown) => boolean

const within = (schema: Fields, size: number, min: string, max: string): boolean =>
  size >= (numberOf(schema, min) ?? 0) && size <= (numberOf(schema, max) ?? Number.POSITIVE_INFINITY)

const isNumberOf = (schema: Fields, value: number): boolean => {
  const { exclusiveMaximum, exclusiveMinimum } = schema
  const [min, max] = [numberOf(schema, "minimum"), numberOf(schema, "maximum")]
  const step = numberOf(schema, "multipleOf")
  if (min !== undefined && (value < min || (exclusiveMinimum === true && value === min))) return false
  if (max !== undefined && (value > max || (exclusiveMaximum === true && value === max))) return false
  if (typeof exclusiveMinimum === "number" && value <= exclusiveMinimum) return false
  if (typeof exclusiveMaximum === "number" && value >= exclusiveMaximum) return false
  return step === undefined || step <= 0 || Math.abs(value / step - Math.round(value / step)) < 1e-9
}

const isArrayOf = (schema: Fields, value: ReadonlyArray<unknown>, check: Check): boolean => {
  if (!within(schema, value.length, "minItems", "maxItems")) return false
  if (schema["uniqueItems"] === true && value.some((item, i) => value.slice(0, i).some((other) => same(item, other)))) {
    return false
  }
  // Draft 7 writes the first items as an array.
  const isTuple = Array.isArray(schema["items"])
  const first = schemasOf(schema, isTuple ? "items" : "prefixItems")
  const rest = schema[isTuple ? "additionalItems" : "items"]
  if (!value.every((item, i) => check(i < first.length ? first[i] : rest, item))) return false
  if (schema["contains"] === undefined) return true
  const found = value.filter((item) => check(schema["contains"], item)).length
  return found >= (numberOf(schema, "minContains") ?? 1) && found <= (numberOf(schema, "maxContains") ?? found)
}

const isObjectOf = (schema: Fields, value: Fields, check: Check): boolean => {
  const names = Object.keys(value)
  if (!within(schema, names.length, "minProperties", "maxProperties")) return false
  if (!schemasOf(schema, "required").every((name) => Object.hasOwn(value, String(name)))) return false
  const properties = fieldsOf(schema, "properties")
  const isPatterned = schema["patternProperties"] !== undefined
  const dependent = Object.entries({ ...fieldsOf(schema, "dependentRequired"), ...fieldsOf(schema, "dependencies") })
  return (
    names.every((name) => {
      if (schema["propertyNames"] !== undefined && !check(schema["propertyNames"], name)) return false
      if (Object.hasOwn(properties, name)) return check(properties[name], value[name])
      return isPatterned || check(schema["additionalProperties"], value[name])
    }) &&
    dependent.every(
      ([name, needed]) =>
        !Object.hasOwn(value, name) ||
        (Array.isArray(needed) ? needed.every((other) => Object.hasOwn(value, String(other))) : check(needed, value))
    ) &&
    Object.entries(fieldsOf(schema, "dependentSchemas")).every(
      ([name, needed]) => !Object.hasOwn(value, name) || check(needed, value)
    )
  )
}

const isOneOfAll = (schema: Fields, value: unknown, check: Check): boolean => {
  const { anyOf, const: only, enum: values, if: condition, not, oneOf } = schema
  if (Object.hasOwn(schema, "const") && !same(only, value)) return false
  if (
    Array.isArray(values) &&
    !values.some((one) => same(one, value)) &&
    !(value === null && schema["nullable"] === true)
  ) {
    return false
  }
  if (!schemasOf(schema, "allOf").every((one) => check(one, value))) return false
  if (Array.isArray(anyOf) && !anyOf.some((one) => check(one, value))) return false
  if (Array.isArray(oneOf) && oneOf.filter((one) => check(one, value)).length !== 1) return false
  if (not !== undefined && check(not, value)) return false
  return condition === undefined || check(schema[check(condition, value) ? "then" : "else"], value)
}

/** Largest number of schemas that one check visits. */
const maxChecks = 200_000

/** Whether a value satisfies a schema. Also `false` for a dangling reference, and for a check that takes too long. */
export const satisfies = (root: unknown, schema: unknown, value: unknown): boolean => {
  let checks = 0
  const check = (schema: unknown, value: unknown, refs: number): boolean => {
    if (schema === undefined || schema === true) return true
    if (!isRecord(schema) || refs > 100 || ++checks > maxChecks) return false
    const inner: Check = (other, part) => check(other, part, part === value ? refs + 1 : 0)
    const ref = schema["$ref"]
    if (typeof ref === "string") {
      const target = resolve(root, ref)
      if (target === undefined || !inner(target, value)) return false
    }
    const types = typesOf(schema)
    if (types !== undefined && !types.some((type) => isType(value, type))) return false
    if (typeof value === "number" && !isNumberOf(schema, value)) return false
    if (typeof value === "string") {
      if (!(within(schema, [...value].length, "minLength", "maxLength") && isFormatted(schema, value))) return false
    }
    if (Array.isArray(value) && !isArrayOf(schema, value, inner)) return false
    if (isRecord(value) && !isObjectOf(schema, value, inner)) return false
    return isOneOfAll(schema, value, inner)
  }
  return check(schema, value, 0)
}
