/**
 * Makes the same small value for a JSON Schema each time, as a model does that is held to one.
 */
import { isRecord } from "../../internal/data/json.ts"
import { textMatching } from "./patternText.ts"
import { type Fields, fieldsOf, numberOf, resolve, satisfies, schemasOf, typesOf } from "./schemaCheck.ts"

const formats: Readonly<Record<string, string>> = {
  "date-time": "2026-01-01T00:00:00Z",
  date: "2026-01-01",
  time: "00:00:00Z",
  duration: "P1D",
  email: "echo@example.com",
  "idn-email": "echo@example.com",
  hostname: "example.com",
  "idn-hostname": "example.com",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
  uri: "https://example.com/",
  "uri-reference": "https://example.com/",
  iri: "https://example.com/",
  "iri-reference": "https://example.com/",
  url: "https://example.com/",
  "uri-template": "https://example.com/{id}",
  uuid: "00000000-0000-4000-8000-000000000000",
  "json-pointer": "/a",
  "relative-json-pointer": "0",
  regex: "a",
  byte: "AAAA"
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
  if (typeof pattern === "string") return textMatching(pattern, fits)
  const known = typeof format === "string" ? formats[format] : undefined
  if (known !== undefined) return fits(known) ? known : undefined
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
  // Multiples near the nearest bound, or near 0; between two bounds that are close there may be fractions only.
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

/** Keywords of two schemas that both must hold. */
const both = (a: Fields, b: Fields): Fields => {
  const out: Record<string, unknown> = { ...a, ...b }
  for (const name of Object.keys(a).filter((key) => Object.hasOwn(b, key))) {
    const [x, y] = [a[name], b[name]]
    if (name === "properties" && isRecord(x) && isRecord(y)) {
      const shared = Object.keys(x).filter((key) => Object.hasOwn(y, key))
      out[name] = { ...x, ...y, ...Object.fromEntries(shared.map((key) => [key, { allOf: [x[key], y[key]] }])) }
    } else if (name === "required" && Array.isArray(x) && Array.isArray(y)) out[name] = [...new Set([...x, ...y])]
    else if (name === "enum" && Array.isArray(x) && Array.isArray(y)) out[name] = x.filter((one) => y.includes(one))
    else if (name === "items" && isRecord(x) && isRecord(y)) out[name] = { allOf: [x, y] }
    else if ((name === "allOf" || name === "anyOf") && Array.isArray(x) && Array.isArray(y)) {
      if (name === "allOf") out[name] = [...x, ...y]
      else {
        out[name] = x
        out["allOf"] = [...schemasOf(a, "allOf"), ...schemasOf(b, "allOf"), { anyOf: y }]
      }
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

/** Most schemas that are looked at for one value. */
const maxSteps = 20_000

/** A value for a schema, or `undefined` when none was found. */
export const valueFor = (root: unknown): unknown => {
  let steps = 0

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
    // Longer for each key: a pattern alone gives one text.
    const least = { type: "string", minLength: 1 + nth }
    return make({ allOf: [pattern === undefined ? {} : { pattern }, names, least] }, `key${nth + 1}`, 0, refs)
  }

  const array = (schema: Fields, name: string, refs: ReadonlyArray<string>): ReadonlyArray<unknown> | undefined => {
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
      const item = make(needed, name, schema["uniqueItems"] === true ? i : 0, refs)
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
        return array(schema, name, refs)
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
    // Null last: it says the least.
    const types = [...(typesOf(schema) ?? guess(schema))].sort((a, b) => Number(a === "null") - Number(b === "null"))
    for (const type of types) {
      for (const shift of [0, 1, 2]) {
        const value = typed(schema, type, name, nth + shift, refs)
        if (fits(value)) return value
      }
    }
    return undefined
  }

  const make = (schema: unknown, name: string, nth: number, refs: ReadonlyArray<string>): unknown => {
    if (++steps > maxSteps) return undefined
    if (schema === true || schema === undefined) return textFor({}, name, nth)
    if (!isRecord(schema)) return undefined
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
        merged = both(merged, flat.schema)
        inside = flat.refs
      }
      return make(merged, name, nth, inside)
    }
    const alternatives = Array.isArray(anyOf) ? anyOf : oneOf
    if (!Array.isArray(alternatives)) return plain(schema, name, nth, refs)
    const base: Fields = Array.isArray(anyOf) && oneOf !== undefined ? { ...rest, oneOf } : rest
    for (let i = 0; i < alternatives.length; i++) {
      const flat = flatten(alternatives[(i + nth) % alternatives.length], refs)
      const value = flat === undefined ? undefined : make(both(base, flat.schema), name, nth, flat.refs)
      if (value !== undefined && satisfies(root, schema, value)) return value
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
    // A value that contains itself would have no end.
    if (refs.includes(ref)) return undefined
    const target = flatten(resolve(root, ref), [...refs, ref])
    return target === undefined ? undefined : { schema: both(target.schema, rest), refs: target.refs }
  }

  const value = make(root, "text", 0, [])
  return value !== undefined && satisfies(root, root, value) ? value : undefined
}
