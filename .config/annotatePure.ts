import { parseSync } from "vite"

interface Node {
  readonly type: string
  readonly start: number
  readonly [key: string]: unknown
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"

/** Code in these runs later, if at all. */
const isDeferred = (node: Node): boolean =>
  node.type === "ArrowFunctionExpression" ||
  node.type === "FunctionExpression" ||
  node.type === "FunctionDeclaration" ||
  (node.type === "PropertyDefinition" && node.static !== true)

/**
 * Marks every call that makes a value of a module (`const layer = Layer.effect(…)`, `class A extends Schema.Class(…)`) as
 * pure, so that a bundler drops it together with all it needs when nobody uses the value. Modules of this library do nothing
 * else when they load. A call that is a statement of its own is left as it is.
 */
export const annotatePure = (path: string, source: string): string => {
  const starts = new Set<number>()
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) {
      value.forEach(visit)
    } else if (isNode(value) && value.type.startsWith("TS")) {
      visit(value.expression) // `a as T`, `a satisfies T`, `a!`; types have none
    } else if (isNode(value) && !isDeferred(value)) {
      if (value.type === "CallExpression" || value.type === "NewExpression") starts.add(value.start)
      if (value.type !== "ExpressionStatement") Object.values(value).forEach(visit)
    }
  }
  const { errors, program } = parseSync(path, source)
  if (errors.length > 0) throw new Error(`${path}: ${errors.map((error) => error.message).join("; ")}`)
  visit(program)
  return [...starts]
    .sort((a, b) => b - a)
    .reduce((text, start) => `${text.slice(0, start)}/* @__PURE__ */ ${text.slice(start)}`, source)
}
