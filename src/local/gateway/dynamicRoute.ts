/**
 * Dynamic routes: converts the elements of a route, as Cloudflare's API accepts them, to the models that one request
 * tries in order.
 */
import { maxAttempts } from "../../GatewayOptions.ts"
import { isRecord } from "../../internal/data/json.ts"
import { isWhole } from "../../internal/data/numbers.ts"
import type { RouteElement } from "./options.ts"

/** One model of a route. */
export interface RouteModel {
  /** `provider-slug/model`. */
  readonly name: string
  /** Milliseconds until the first part of an answer; absent: the request's own. */
  readonly timeout?: number
  /** Attempts, without a wait between them; absent: as the request has them. */
  readonly attempts?: number
}

/**
 * The models that a request tries in order. `draw` returns random numbers from 0 to less than 1, one for each
 * percentage on the path.
 */
export type DynamicRoute = (draw: () => number) => ReadonlyArray<RouteModel>

/** An invalid field, from the route on, and its accepted values. */
export type Fault = readonly [field: string, accepted: string]

const types = ["start", "model", "percentage", "end"]

/** Largest number of branches of a percentage besides `else`. */
const maxBranches = 5

type Outputs = RouteElement["outputs"]

const percentOf = (output: string): number | undefined => {
  const [, digits] = /^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(output) ?? []
  return digits === undefined ? undefined : Number(digits)
}

const percentageFault = (outputs: Outputs): string | undefined => {
  const names = Object.keys(outputs).filter((name) => name !== "else")
  const percents = names.map(percentOf)
  const sum = percents.reduce<number>((all, percent) => all + (percent ?? Number.NaN), 0)
  const isFull = Math.abs(sum - 100) < 1e-6
  return names.length >= 1 && names.length <= maxBranches && (isFull || (outputs["else"] !== undefined && sum < 100))
    ? undefined
    : `1 to ${maxBranches} shares such as "10%" that sum to 100%, or to less beside "else"`
}

const modelFault = ({ properties, outputs }: RouteElement, ends: ReadonlySet<string>): Fault | undefined => {
  if (!isRecord(properties)) return [".properties", "an object with provider, model, timeout and retries"]
  if (properties.timeout === undefined || !isWhole(properties.timeout, 1, Number.MAX_SAFE_INTEGER))
    return [".properties.timeout", "whole milliseconds from 1"]
  if (properties.retries === undefined || !isWhole(properties.retries, 0, maxAttempts - 1)) {
    return [".properties.retries", `a whole number from 0 to ${maxAttempts - 1}`]
  }
  const success = outputs["success"]?.elementId
  return success === undefined || ends.has(success) ? undefined : [".outputs.success", "the end of the route"]
}

const outputsOf: Readonly<Record<string, ReadonlyArray<string>>> = {
  start: ["next"],
  model: ["success", "fallback"],
  end: []
}

const elementFault = (
  element: RouteElement,
  ids: ReadonlySet<string>,
  ends: ReadonlySet<string>,
  isModel: (name: string) => string | undefined
): Fault | undefined => {
  const { id, outputs, properties, type } = element
  if (typeof id !== "string" || id === "") return [".id", "a text that is not empty"]
  if (!types.includes(type)) return [".type", `one of ${types.join(", ")}; conditions and limits are not offered here`]
  if (!isRecord(outputs)) return [".outputs", "an object"]
  const known = outputsOf[type]
  for (const [name, output] of Object.entries(outputs)) {
    if (known?.includes(name) === false) return [`.outputs.${name}`, `one of ${known.join(", ") || "none"}`]
    if (!isRecord(output) || !ids.has(output.elementId)) return [`.outputs.${name}.elementId`, "the id of an element"]
  }
  if (type === "start" && outputs["next"] === undefined) return [".outputs.next", "the id of an element"]
  if (type === "percentage") {
    const accepted = percentageFault(outputs)
    return accepted === undefined ? undefined : [".outputs", accepted]
  }
  if (type !== "model") return undefined
  const fault = modelFault(element, ends)
  if (fault !== undefined || properties === undefined) return fault
  const accepted = isModel(`${properties.provider}/${properties.model}`)
  return accepted === undefined ? undefined : [".properties", accepted]
}

/** Elements that may follow this one. */
const nextOf = ({ outputs, type }: RouteElement): ReadonlyArray<string> =>
  Object.entries(outputs).flatMap(([name, { elementId }]) =>
    type === "model" && name === "success" ? [] : [elementId]
  )

const graphFault = (elements: ReadonlyArray<RouteElement>): Fault | undefined => {
  const byId = new Map(elements.map((element) => [element.id, element]))
  if (byId.size < elements.length) return ["", "elements with different ids"]
  const starts = elements.filter(({ type }) => type === "start")
  const [start] = starts
  if (start === undefined || starts.length > 1) return ["", "one element of the type start"]
  const open = new Set<string>()
  const done = new Set<string>()
  const visit = (id: string, hasModel: boolean): Fault | undefined => {
    const element = byId.get(id)
    const state = `${id}\0${hasModel}`
    if (element === undefined || done.has(state)) return undefined
    if (open.has(id)) return [` (${id})`, "elements without a circle"]
    if (element.type === "end" && !hasModel) return [` (${id})`, "a model before each end"]
    open.add(id)
    for (const next of nextOf(element)) {
      const fault = visit(next, hasModel || element.type === "model")
      if (fault !== undefined) return fault
    }
    open.delete(id)
    done.add(state)
    return undefined
  }
  return visit(start.id, false)
}

/** Problems of elements. `isModel` returns the accepted form of a model's name, if it has another. */
export const faultOf = (
  elements: ReadonlyArray<RouteElement>,
  isModel: (name: string) => string | undefined
): Fault | undefined => {
  const ids = new Set(elements.map(({ id }) => id))
  const ends = new Set(elements.filter(({ type }) => type === "end").map(({ id }) => id))
  for (const [index, element] of elements.entries()) {
    const fault = elementFault(element, ids, ends, isModel)
    if (fault !== undefined) return [`[${index}]${fault[0]}`, fault[1]]
  }
  return graphFault(elements)
}

/** The branch of a percentage for a number from 0 to less than 1. */
const branch = (outputs: Outputs, draw: number): string | undefined => {
  let left = draw * 100
  let last: string | undefined
  for (const [name, { elementId }] of Object.entries(outputs)) {
    const percent = percentOf(name)
    if (percent === undefined) continue
    if (left < percent) return elementId
    left -= percent
    last = elementId
  }
  return outputs["else"]?.elementId ?? last
}

/** Makes a route from its elements, which {@link faultOf} has checked. */
export const fromElements = (elements: ReadonlyArray<RouteElement>): DynamicRoute => {
  const byId = new Map(elements.map((element) => [element.id, element]))
  return (draw) => {
    const models: Array<RouteModel> = []
    let element = elements.find(({ type }) => type === "start")
    while (element !== undefined) {
      const { outputs, properties, type }: RouteElement = element
      if (type === "model" && properties !== undefined) {
        const { model, provider, retries, timeout } = properties
        models.push({ name: `${provider}/${model}`, timeout, attempts: retries + 1 })
      }
      const next: string | undefined =
        type === "percentage" ? branch(outputs, draw()) : outputs[type === "model" ? "fallback" : "next"]?.elementId
      element = next === undefined ? undefined : byId.get(next)
    }
    return models
  }
}

/** Makes a route that tries models in order. */
export const fromModels = (names: ReadonlyArray<string>): DynamicRoute => {
  const models = names.map((name) => ({ name }))
  return () => models
}
