/**
 * The public modules, each with its page of the API reference: the entry points that `package.json` exports.
 */
import { manifest } from "./paths.ts"

/** A public module. */
export interface PublicModule {
  /** The specifier that a program imports, such as `effect-ai-gateway/Route`. */
  readonly specifier: string
  /** Its source file, such as `src/Route.ts`. */
  readonly source: string
  /** Path of its page, such as `/reference/Route`. */
  readonly path: string
}

/** The public modules except the root of the package, which only collects them. */
export const modules: ReadonlyArray<PublicModule> = Object.entries(manifest.exports).flatMap(([path, target]) => {
  const source = typeof target === "object" ? target?.["effect-ai-gateway-source"] : undefined
  if (source === undefined || path === ".") return []
  return [{ specifier: manifest.name + path.slice(1), source: source.slice(2), path: `/reference${path.slice(1)}` }]
})

/** Whether a module is a sub-path for one platform or purpose, such as `effect-ai-gateway/worker`. */
export const isEdge = ({ source }: PublicModule): boolean => source.split("/").length > 2

const items = (edge: boolean) =>
  modules
    .filter((module) => isEdge(module) === edge)
    .map(({ path, specifier }) => ({ text: specifier.slice(manifest.name.length + 1), link: path }))

/** The sidebar of the reference. */
export const referenceSidebar = [
  { text: "API reference", items: [{ text: "All modules", link: "/reference/" }] },
  { text: "Modules", items: items(false) },
  { text: "Sub-paths", items: items(true) },
  { text: "Guide", items: [{ text: "Getting started", link: "/getting-started" }] }
]
