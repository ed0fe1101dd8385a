/** Generates the same small value for a JSON Schema each time, like a model in strict mode. */
import { isRecord } from "../../internal/data/json.ts"
import { textMatching } from "./patternText.ts"
import { type Fields, fieldsOf, numberOf, resolve, satisfies, schemasOf, typesOf } from "./schemaCheck.ts"

/** Day `nth` of 2026. */
const day = (nth: number): string => new Date(Date.UTC(2026, 0, 1 + nth)).toISOString().slice(0, 10)

/** A text of a format: a different one for each `nth`, and containing `pad` where it may be longer. */
type Formatted = (nth: number, pad: string) => string

const numbered = (nth: number): string => (nth === 0 ? "" : String(nth + 1))
const email: Formatted = (nth, pad) => `echo${pad}${numbered(nth)}@example.com`
const host: Formatted = (nth, pad) => `${nth === 0 && pad === "" ? "" : `${pad || "x"}${numbered(nth)}.`}example.com`
const url: Formatted = (nth, pad) => `https://example.com/${pad}${numbered(nth)}`

const formats: Readonly<Record<string, Formatted>> = {
  "date-time": (nth) => `${day(nth)}T00:00:00Z`,
  date: day,
  time: (nth) => `00:${String(Math.floor(nth / 60) % 60).padStart(2, "0")}:${String(nth % 60).padStart(2, "0")}Z`,
  duration: (nth) => `P${nth + 1}D`,
  email,
  "idn-email": email,
  hostname: host,
  "idn-hostname": host,
  ipv4: (nth) => `192.0.${2 + Math.floor(nth / 250)}.${1 + (nth % 250)}`,
  ipv6: (nth) => `2001:db8::${(1 + nth).toString(16)}`,
  uri: url,
  "uri-reference": url,
  iri: url,
  "iri-reference": url,
  url,
  "uri-template": (nth, pad) => `${url(nth, pad)}{id}`,
  uuid: (nth) => `00000000-0000-4000-8000-${nth.toString(16).padStart(12, "0")}`,
  "json-pointer": (nth, pad) => `/a${pad}${numbered(nth)}`,
  "relative-json-pointer": String,
  regex: (nth, pad) => `a${pad}${numbered(nth)}`,
  byte: (nth) => `AAAA${"AAAA".repeat(nth)}`
}

/** Longest text, in characters, and longest array. */
const maxText = 10_000
const maxItems = 1000

const lengthOf = (text: string): number => [...text].length

const textFor = (schema: Fields, name: string, nth: number): string | undefined => {
  const min = numberOf(schema, "minLength") ?? 0
  const max = numberOf(schema, "maxLength") ?? maxText
  const fits = (text: string): boolean => lengthOf(text) >= min && lengthOf(text) <= max
  const { format, pattern } = schema
  if (typeof pattern === "string") return textMatching(pattern, fits, nth)
  const known = typeof format === "string" && Object.hasOwn(formats, format) ? formats[format] : undefined
  if (known !== undefined) {
    const short = known(nth, "")
    const missing = min - lengthOf(short)
    return [short, known(nth, "x".repeat(Math.max(0, Math.min(missing, maxText))))].find(fits)
  }
  if (min > maxText || max < min) return undefined
  const suffix = nth === 0 ? "" : String(nth + 1)
  const text = `${[...name].slice(0, Math.max(0, max - suffix.length)).join("")}${suffix}`
  return `${"x".repeat(Math.max(0, min - lengthOf(text)))}${text}`
}

const numberFor = (schema: Fields, isInteger: boolean, nth: number): number | undefined => {
  const { exclusiveMaximum, exclusiveMinimum } = schema
  const asked = numberOf(schema, "multipleOf") ?? 1
  const above = typeof exclusiveMinimum === "number" ? exclusiveMinimum : undefined
  const below = typeof exclusiveMaximum === "number" ? exclusiveMaximum : undefined
  const min = numberOf(schema, "minimum") ?? above
  const max = numberOf(schema, "maximum") ?? below
  const fits = (value: number): boolean =>
    (!isInteger || Number.isInteger(value)) && satisfies(schema, { ...schema, $ref: undefined }, value)
  // Multiples near the nearest bound, or near 0; between two close bounds there may be only fractions.
  const near = Math.min(Math.max(0, min ?? 0), max ?? Number.POSITIVE_INFINITY)
  if (fits(near)) return nth === 0 ? near : near + nth * asked
  const first = Math.floor(near / asked)
  for (let i = 0; i <= 12; i++) {
    const value = (first + nth + i) * asked
    if (fits(value)) return value
  }
  for (let i = 0; i <= 12; i++) if (fits((first - i) * asked)) return (first - i) * asked
  const middle = ((min ?? 0) + (max ?? 0)) / 2
  return fits(middle) ? middle : undefined
}

/** Largest number of alternatives that two lists produce together. */
const maxAlternatives = 1000

/** Merges the keywords of two schemas that must both hold. */
const both = (a: Fields, b: Fields): Fields => {
  const out: Record<string, unknown> = { ...a, ...b }
  for (const name of Object.keys(a).filter((key) => Object.hasOwn(b, key))) {
    const [x, y] = [a[name], b[name]]
    if (name === "properties" && isRecord(x) && isRecord(y)) {
      const shared = Object.keys(x).filter((key) => Object.hasOwn(y, key))
      out[name] = { ...x, ...y, ...Object.fromEntries(shared.map((key) => [key, { allOf: [x[key], y[key]] }])) }
    } else if (name === "required" && Array.isArray(x) && Array.isArray(y)) out[name] = [...new Set([...x, ...y])]
    else if (name === "enum" && Array.isArray(x) && Array.isArray(y)) out[name] = x.filter((one) => y.includes(one))
    else if (name === "not") out[name] = { anyOf: [x, y] }
    else if (name === "items" && isRecord(x) && isRecord(y)) out[name] = { allOf: [x, y] }
    else if (name === "allOf" && Array.isArray(x) && Array.isArray(y)) out[name] = [...x, ...y]
    // Each alternative of one list with each of the other.
    else if ((name === "anyOf" || name === "oneOf") && Array.isArray(x) && Array.isArray(y)) {
      out[name] = x.flatMap((one) => y.slice(0, maxAlternatives / x.length).map((other) => ({ allOf: [one, other] })))
    } else if (/^(minimum|min[A-Z]\w*)$/.test(name)) out[name] = Math.max(Number(x), Number(y))
    else if (/^(maximum|max[A-Z]\w*)$/.test(name)) out[name] = Math.min(Number(x), Number(y))
    else if (name === "type") {
      const [left, right] = [typesOf({ type: x }) ?? [], typesOf({ type: y }) ?? []]
      const shared = left.filter((type) => right.includes(type) || (type === "integer" && right.includes("number")))
      out[name] = shared.length > 0 ? shared : right.includes("integer") ? ["integer"] : []
    }
  }
  return out
}

/** The schema without its optional properties. */
const lean = (schema: Fields): Fields => {
  const required = new Set(schemasOf(schema, "required"))
  const properties = Object.entries(fieldsOf(schema, "properties")).filter(([name]) => required.has(name))
  return { ...schema, properties: Object.fromEntries(properties) }
}

/** Turns a condition into alternatives: met and unmet. */
const branches = (condition: unknown, met: unknown, unmet: unknown) => ({
  anyOf: [{ allOf: [condition, met ?? true] }, { allOf: [{ not: condition }, unmet ?? true] }]
})

/** Turns conditions and dependencies of properties into alternatives, or drops them when they are not heeded. */
const unconditional = (schema: Fields, isHeeded: boolean): Fields => {
  const { dependencies, dependentRequired, dependentSchemas, else: unmet, if: condition, then: met, ...rest } = schema
  if (!isHeeded) return rest
  const needs = [dependencies, dependentRequired, dependentSchemas].flatMap((one) =>
    Object.entries(isRecord(one) ? one : {})
  )
  const parts = needs.map(([name, needed]) =>
    branches({ required: [name] }, Array.isArray(needed) ? { required: needed } : needed, true)
  )
  const all = condition === undefined ? parts : [...parts, branches(condition, met, unmet)]
  return all.length === 0 ? rest : { ...rest, allOf: [...schemasOf(rest, "allOf"), ...all] }
}

/** Largest number of schemas that are visited for one value. */
const maxSteps = 20_000

/** A value for a schema, or `undefined` when none was found. */
export const valueFor = (root: unknown): unknown => {
  let steps = 0
  let heedsConditions = true

  const object = (schema: Fields, nth: number, refs: ReadonlyArray<string>): Fields | undefined => {
    const properties = fieldsOf(schema, "properties")
    const required = new Set(schemasOf(schema, "required").map(String))
    const value: Array<readonly [string, unknown]> = []
    for (const name of new Set([...Object.keys(properties), ...required])) {
      const inner = Object.hasOwn(properties, name) ? properties[name] : (schema["additionalProperties"] ?? true)
      const made = make(inner, name, nth, refs)
      if (made !== undefined) value.push([name, made])
      else if (required.has(name)) return undefined
    }
    for (let i = 0; value.length < (numberOf(schema, "minProperties") ?? 0); i++) {
      if (i > 100) return undefined
      const [pattern] = Object.keys(fieldsOf(schema, "patternProperties"))
      const name = keyFor(schema, pattern, i, refs)
      const own =
        pattern === undefined ? schema["additionalProperties"] : fieldsOf(schema, "patternProperties")[pattern]
      const made = make(own ?? true, "value", 0, refs)
      if (made === undefined || typeof name !== "string") return undefined
      if (!value.some(([known]) => known === name)) value.push([name, made])
    }
    const most = numberOf(schema, "maxProperties") ?? value.length
    const kept = value.filter(([name]) => required.has(name))
    const others = value.filter(([name]) => !required.has(name)).slice(0, Math.max(0, most - kept.length))
    return Object.fromEntries(value.filter((entry) => kept.includes(entry) || others.includes(entry)))
  }

  const keyFor = (schema: Fields, pattern: string | undefined, nth: number, refs: ReadonlyArray<string>): unknown => {
    const names = isRecord(schema["propertyNames"]) ? schema["propertyNames"] : {}
    return make({ allOf: [pattern === undefined ? {} : { pattern }, names, { type: "string" }] }, "key", nth, refs)
  }

  const array = (
    schema: Fields,
    name: string,
    nth: number,
    refs: ReadonlyArray<string>
  ): ReadonlyArray<unknown> | undefined => {
    const isTuple = Array.isArray(schema["items"])
    const first = schemasOf(schema, isTuple ? "items" : "prefixItems")
    const rest = schema[isTuple ? "additionalItems" : "items"] ?? true
    const min = numberOf(schema, "minItems") ?? 0
    const found = numberOf(schema, "minContains") ?? (schema["contains"] === undefined ? 0 : 1)
    const size = Math.min(Math.max(min, first.length, found, 1), numberOf(schema, "maxItems") ?? Infinity)
    if (size > maxItems) return undefined
    const items: Array<unknown> = []
    for (let i = 0; i < size; i++) {
      const own = i < first.length ? first[i] : rest
      const needed = i >= first.length && i < first.length + found ? { allOf: [own, schema["contains"]] } : own
      const item = make(needed, name, schema["uniqueItems"] === true ? nth + i : nth, refs)
      if (item === undefined) return i >= min && i >= found ? items : undefined
      items.push(item)
    }
    return items
  }

  const typed = (schema: Fields, type: string, name: string, nth: number, refs: ReadonlyArray<string>): unknown => {
    switch (type) {
      case "object":
        return object(schema, nth, refs)
      case "array":
        return array(schema, name, nth, refs)
      case "string":
        return textFor(schema, name, nth)
      case "number":
      case "integer":
        return numberFor(schema, type === "integer", nth)
      case "boolean":
        return nth % 2 === 0
      case "null":
        return null
      default:
        return undefined
    }
  }

  const guess = (schema: Fields): ReadonlyArray<string> => {
    const has = (...names: ReadonlyArray<string>): boolean => names.some((name) => schema[name] !== undefined)
    if (has("properties", "required", "additionalProperties", "minProperties", "propertyNames")) return ["object"]
    if (has("items", "prefixItems", "minItems", "contains")) return ["array"]
    if (has("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")) return ["number"]
    return ["string", "number", "object", "array", "boolean", "null"]
  }

  const plain = (schema: Fields, name: string, nth: number, refs: ReadonlyArray<string>): unknown => {
    const fits = (value: unknown): boolean => value !== undefined && satisfies(root, schema, value)
    if (Object.hasOwn(schema, "const")) return fits(schema["const"]) ? schema["const"] : undefined
    const values = schemasOf(schema, "enum")
    if (schema["enum"] !== undefined) return [...values.slice(nth), ...values.slice(0, nth)].find(fits)
    // Null last, as the least informative.
    const types = [...(typesOf(schema) ?? guess(schema))].sort((a, b) => Number(a === "null") - Number(b === "null"))
    for (const type of types) {
      for (const shift of [0, 1, 2]) {
        // Optional parts can be what does not fit.
        for (const own of type === "object" ? [schema, lean(schema)] : [schema]) {
          const value = typed(own, type, name, nth + shift, refs)
          if (fits(value)) return value
        }
      }
    }
    return undefined
  }

  const make = (schema: unknown, name: string, nth: number, refs: ReadonlyArray<string>): unknown => {
    if (++steps > maxSteps) return undefined
    if (schema === true || schema === undefined) return textFor({}, name, nth)
    if (!isRecord(schema)) return undefined
    const plainer = unconditional(schema, heedsConditions)
    if (Object.keys(plainer).join() !== Object.keys(schema).join()) return make(plainer, name, nth, refs)
    const { $ref: ref, allOf, anyOf, oneOf, ...rest } = schema
    if (typeof ref === "string") {
      const flat = flatten(schema, refs)
      return flat === undefined ? undefined : make(flat.schema, name, nth, flat.refs)
    }
    if (Array.isArray(allOf)) {
      let merged: Fields = {
        ...rest,
        ...(anyOf === undefined ? {} : { anyOf }),
        ...(oneOf === undefined ? {} : { oneOf })
      }
      let inside = refs
      for (const part of allOf) {
        const flat = flatten(part, inside)
        if (flat === undefined) return undefined
        merged = both(merged, unconditional(flat.schema, heedsConditions))
        inside = flat.refs
      }
      return make(merged, name, nth, inside)
    }
    const alternatives = Array.isArray(anyOf) ? anyOf : oneOf
    if (!Array.isArray(alternatives)) return plain(schema, name, nth, refs)
    const base: Fields = Array.isArray(anyOf) && oneOf !== undefined ? { ...rest, oneOf } : rest
    for (let i = 0; i < alternatives.length; i++) {
      const flat = flatten(alternatives[(i + nth) % alternatives.length], refs)
      if (flat === undefined) continue
      const own = both(base, flat.schema)
      for (const one of own["properties"] === undefined ? [own] : [own, lean(own)]) {
        const value = make(one, name, nth, flat.refs)
        if (value !== undefined && satisfies(root, schema, value)) return value
      }
    }
    return undefined
  }

  /** A schema without a reference at its top. */
  const flatten = (
    schema: unknown,
    refs: ReadonlyArray<string>
  ): { readonly schema: Fields; readonly refs: ReadonlyArray<string> } | undefined => {
    if (schema === true) return { schema: {}, refs }
    if (!isRecord(schema) || ++steps > maxSteps) return undefined
    const { $ref: ref, ...rest } = schema
    if (typeof ref !== "string") return { schema, refs }
    // A value that contains itself would be infinite.
    if (refs.includes(ref)) return undefined
    const target = flatten(resolve(root, ref), [...refs, ref])
    return target === undefined ? undefined : { schema: both(target.schema, rest), refs: target.refs }
  }

  const made = (): unknown => {
    steps = 0
    const value = make(root, "text", 0, [])
    return value !== undefined && satisfies(root, root, value) ? value : undefined
  }
  const value = made()
  if (value !== undefined) return value
  // Many conditions together are too many to try, but often hold for a value that is made without them.
  heedsConditions = false
  return made()
}
