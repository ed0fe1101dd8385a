/**
 * Writes the pages of the API reference: one for each public module, and a list of them.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import {
  type Comment,
  type CommentDisplayPart,
  type DeclarationReflection,
  ReferenceReflection,
  type Reflection,
  ReflectionKind,
  ReflectionSymbolId
} from "typedoc"
import type ts from "typescript"
import { withoutInterpolation } from "./markdown.ts"
import { manifest, read, staged } from "./paths.ts"
import { convert, type Model } from "./referenceModel.ts"
import { isEdge, modules, type PublicModule } from "./referencePages.ts"
import { format, mentioned, type Scope, signatureOf, typesOnly } from "./referenceSignatures.ts"

/** A name that a module exports; a type and a value may share it. */
interface Export {
  readonly name: string
  readonly anchor: string
  /** Whether the module has the name as a type only. */
  readonly onlyType: boolean
  readonly reflections: ReadonlyArray<DeclarationReflection>
}

const isNamespace = (reflection: Reflection): boolean =>
  reflection.kindOf([ReflectionKind.Namespace, ReflectionKind.Module]) && !(reflection instanceof ReferenceReflection)

const values = [ReflectionKind.Function, ReflectionKind.Variable]

/** The exports of a module or a namespace by name, in the order of the source. */
const exportsOf = (
  { project }: Pick<Model, "project">,
  parent: DeclarationReflection,
  prefix: string
): ReadonlyArray<Export> => {
  const file = project.getSymbolIdFromReflection(parent)?.fileName
  if (file === undefined) throw new Error(`${parent.getFullName()} has no file`)
  const types = typesOnly(file)
  const byName = new Map<string, Array<DeclarationReflection>>()
  for (const child of parent.children ?? []) {
    if (isNamespace(child) || (types.has(child.name) && child.kindOf(values))) continue
    byName.set(child.name, [...(byName.get(child.name) ?? []), child])
  }
  return [...byName].map(([name, reflections]) => ({
    name,
    anchor: `${prefix}${name}`,
    onlyType: types.has(name),
    reflections
  }))
}

const namespacesOf = (module: DeclarationReflection): ReadonlyArray<DeclarationReflection> =>
  (module.children ?? []).filter(isNamespace)

const kinds: ReadonlyArray<readonly [kind: ReflectionKind, word: string, group: string]> = [
  [ReflectionKind.Class, "class", "Classes"],
  [ReflectionKind.Function, "function", "Functions"],
  [ReflectionKind.Variable, "constant", "Constants"],
  [ReflectionKind.Interface, "interface", "Types"],
  [ReflectionKind.TypeAlias, "type", "Types"],
  [ReflectionKind.Enum, "enum", "Types"],
  [ReflectionKind.Reference, "re-export", "Re-exports"]
]

/** The word for an export and the heading of its group. A constant that can be called is a function to its readers. */
const kindOf = ({ checker, symbols }: Model, reflection: Reflection): readonly [word: string, group: string] => {
  const symbol = symbols.get(reflection)
  const isCallable =
    reflection.kindOf(ReflectionKind.Variable) &&
    symbol !== undefined &&
    checker.getTypeOfSymbol(symbol).getCallSignatures().length > 0
  const found = isCallable ? kinds[1] : kinds.find(([kind]) => reflection.kindOf(kind))
  if (found === undefined) throw new Error(`${reflection.getFullName()} is of a kind that the reference does not know`)
  return [found[1], found[2]]
}

/** The category that TypeDoc gives to exports without one. */
const uncategorized = "Other"

/** Overloads repeat the first sentence of the docstring, for hovers. Below the signature it stands in full. */
const withoutHovers = (text: string): string =>
  text.replace(/^[ \t]*\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n(?=[ \t]*[(<])/gm, "")

const capitalized = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1)

/** Exports by category in the order in which the source names them; those without one by kind, after them. */
const grouped = (model: Model, parent: DeclarationReflection, all: ReadonlyArray<Export>) => {
  const categories = new Map(
    (parent.categories ?? [])
      .filter(({ title }) => title !== uncategorized)
      .flatMap(({ children, title }) => children.map((child) => [child as Reflection, capitalized(title)]))
  )
  const categoryOf = ({ reflections }: Export): string | undefined =>
    reflections.map((one) => categories.get(one)).find((title) => title !== undefined)
  const titleOf = (one: Export): string => categoryOf(one) ?? kindOf(model, one.reflections[0] as Reflection)[1]
  const titles = new Set([...all.flatMap((one) => categoryOf(one) ?? []), ...kinds.map(([, , group]) => group)])
  return [...titles].flatMap((title) => {
    const own = all.filter((one) => titleOf(one) === title)
    return own.length === 0 ? [] : [[title, own] as const]
  })
}

/** Links to the public names, by reflection and by symbol. */
const makeIndex = ({ moduleOf, project, symbols }: Model) => {
  const links = new Map<Reflection, string>()
  const bySymbol = new Map<ts.Symbol, readonly [text: string, link: string]>()
  const add = (parent: DeclarationReflection, path: string, prefix: string): void => {
    for (const { anchor, name, reflections } of exportsOf({ project }, parent, prefix)) {
      for (const reflection of reflections) {
        const link = `${path}#${anchor}`
        links.set(reflection, link)
        const symbol = symbols.get(reflection)
        if (symbol !== undefined && !bySymbol.has(symbol)) bySymbol.set(symbol, [name, link])
      }
    }
  }
  for (const module of modules) {
    const reflection = moduleOf(module)
    const path = `${module.path}.md`
    links.set(reflection, path)
    add(reflection, path, "")
    for (const space of namespacesOf(reflection)) {
      links.set(space, `${path}#${space.name}`)
      add(space, path, `${space.name}-`)
    }
  }
  const linkOf = (target: Reflection | undefined): string | undefined => {
    if (target instanceof ReferenceReflection) return linkOf(target.tryGetTargetReflectionDeep())
    for (let one = target; one !== undefined; one = one.parent) {
      const link = links.get(one)
      if (link !== undefined) return link
    }
    return undefined
  }
  /** Links of docstrings to names that no public module exports. */
  const unresolved = new Set<string>()
  return { bySymbol, linkOf, project, unresolved }
}

type Index = ReturnType<typeof makeIndex>

/** Turns docstrings into Markdown. `parent` is where a name that TypeDoc did not find is looked up. */
const makeWriter = ({ linkOf, project, unresolved }: Index, parent: DeclarationReflection) => {
  const targetOf = (part: CommentDisplayPart & { readonly kind: "inline-tag" }): string | undefined => {
    const { target } = part
    if (typeof target === "string") return target
    if (target instanceof ReflectionSymbolId) return linkOf(project.getReflectionsFromSymbolId(target)[0])
    if (target !== undefined) return linkOf(target)
    const [first = ""] = part.text.split(/[.#|\s]/)
    return linkOf(parent.children?.find(({ name }) => name === first))
  }
  const write = (parts: ReadonlyArray<CommentDisplayPart>): string =>
    parts
      .map((part) => {
        // Vue would take `<T>` in a sentence for an element.
        if (part.kind === "text") return part.text.replace(/<(?!https?:)/g, "&lt;")
        if (part.kind !== "inline-tag") return part.text
        const [path = "", own] = part.text.split("|").map((text) => text.trim())
        const link = targetOf(part)
        if (link === undefined) unresolved.add(`${parent.getFullName()}: ${part.text}`)
        const text = own ?? (link !== undefined && /^https?:/.test(path) ? path : `\`${path}\``)
        return link === undefined ? text : `[${text}](${link})`
      })
      .join("")
  const tags: Readonly<Record<string, string>> = { "@example": "Example", "@see": "See", "@throws": "Throws" }
  return (comment: Comment): string =>
    [
      write(comment.summary),
      ...comment.blockTags
        .filter(({ tag }) => tag !== "@category")
        .map(({ content, tag }) => {
          const word = tags[tag] ?? capitalized(tag.slice(1))
          return `**${word}**\n\n${write(content).trim()}`
        })
    ].join("\n\n")
}

/** The docstring of an export; overloads of a function have them one by one. */
const commentsOf = (reflection: DeclarationReflection): ReadonlyArray<Comment> =>
  [reflection, ...(reflection.signatures ?? [])].flatMap(({ comment }) => comment ?? [])

const page = (frontmatter: object, text: string): string =>
  `---\n${JSON.stringify({ editLink: false, ...frontmatter })}\n---\n\n${withoutInterpolation(text.trim())}\n`

const write = (path: string, text: string): void => {
  const file = join(staged, `${path}.md`)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
}

const firstSentence = (text: string): string =>
  (/^[\s\S]*?[.:](?=\s|$)/.exec(text.trim())?.[0] ?? text.trim()).replace(/\s+/g, " ").replace(/:$/, ".")

/** Writes the reference into the staged pages. */
export const writeReference = async (): Promise<void> => {
  const model = await convert()
  const index = makeIndex(model)
  const scope: Scope = { checker: model.checker, publicName: (symbol) => index.bySymbol.get(symbol)?.[0] }

  const wanted: Array<string> = []
  /** A place for a signature, until all of them are formatted. */
  const signature = (text: string): string => `@@${wanted.push(text) - 1}@@`

  const body = (parent: DeclarationReflection, { name, onlyType, reflections }: Export): string => {
    const docs = makeWriter(index, parent)
    const [first] = reflections
    if (first instanceof ReferenceReflection) {
      const target = first.tryGetTargetReflectionDeep()
      return `The same as [\`${target?.getFullName().replace(/^.*\//, "") ?? name}\`](${index.linkOf(target) ?? ""}).`
    }
    const symbols = new Set(reflections.flatMap((one) => model.symbols.get(one) ?? []))
    const texts = [...new Set([...symbols].map((symbol) => signatureOf(scope, name, symbol, onlyType)))]
    const related = new Map(
      [...symbols]
        .flatMap((symbol) => [...mentioned(scope, symbol)].filter((one) => !symbols.has(one)))
        .flatMap((symbol) => {
          const found = index.bySymbol.get(symbol)
          return found === undefined ? [] : [[found[1], found[0]] as const]
        })
    )
    const comments = new Set(reflections.flatMap((one) => commentsOf(one).map(docs)))
    return [
      signature(withoutHovers(texts.join("\n"))),
      ...comments,
      related.size === 0 ? "" : `Related: ${[...related].map(([link, text]) => `[\`${text}\`](${link})`).join(", ")}`
    ].join("\n\n")
  }

  const section = (parent: DeclarationReflection, one: Export): string => {
    const all = new Set(one.reflections.map((reflection) => kindOf(model, reflection)[0]))
    // No name is both: TypeDoc calls it a type when a module exports a constant and its interface as a type only.
    const words = [...all].filter((word) => !(word === "type" && all.has("interface")))
    const badges = words.map((word) => `<Badge type="info" text="${word}" />`).join(" ")
    return `### ${one.name.replaceAll("_", "\\_")} ${badges} {#${one.anchor}}\n\n${body(parent, one)}`
  }

  const moduleText = (module: PublicModule): readonly [intro: string, text: string] => {
    const reflection = model.moduleOf(module)
    const docs = makeWriter(index, reflection)
    const intro = reflection.comment === undefined ? "" : docs(reflection.comment)
    // A module without a docstring of its own is about the export that has its name.
    const main = reflection.children?.find(({ name }) => reflection.name.endsWith(name))
    const about = intro !== "" || main === undefined ? intro : commentsOf(main).map(docs).join("\n\n")
    const spaces = namespacesOf(reflection).map((space) => {
      const spaceIntro = space.comment === undefined ? "" : makeWriter(index, space)(space.comment)
      const all = grouped(model, space, exportsOf(model, space, `${space.name}-`)).flatMap(([, own]) => own)
      return `## ${space.name} {#${space.name}}\n\n${spaceIntro}\n\n${all.map((one) => section(space, one)).join("\n\n")}`
    })
    const groups = grouped(model, reflection, exportsOf(model, reflection, "")).map(
      // Not the heading's own anchor: an export may have the name of a category.
      ([title, own]) =>
        `## ${capitalized(title)} {#category-${title.toLowerCase().replaceAll(" ", "-")}}\n\n${own.map((one) => section(reflection, one)).join("\n\n")}`
    )
    const short = module.specifier.slice(manifest.name.length + 1)
    const names =
      spaces.length > 0
        ? `{ ${namespacesOf(reflection)
            .map(({ name }) => name)
            .join(", ")} }`
        : undefined
    const file = /(\w+)\.ts$/.exec(module.source)?.[1] ?? ""
    const as = isEdge(module) ? capitalized(file) : short
    const use = `import ${names ?? `* as ${as}`} from "${module.specifier}"`
    return [about, [`# ${short}`, `\`\`\`ts\n${use}\n\`\`\``, intro, ...spaces, ...groups].join("\n\n")]
  }

  const pages = modules.map((module) => [module, ...moduleText(module)] as const)
  const formatted = format(wanted)
  for (const [module, , text] of pages) {
    const complete = text.replace(/@@(\d+)@@/g, (_, at: string) => `\`\`\`ts\n${formatted[Number(at)]}\n\`\`\``)
    write(module.path, page({ title: module.specifier, outline: [2, 3] }, complete))
  }

  const row = ([module, intro]: (typeof pages)[number]): string =>
    `| [${module.specifier.slice(manifest.name.length + 1)}](${module.path}.md) | ${firstSentence(intro).replaceAll("|", "\\|")} |`
  const list = (edge: boolean): string =>
    ["| module | purpose |", "| --- | --- |", ...pages.filter(([module]) => isEdge(module) === edge).map(row)].join(
      "\n"
    )
  const about = /^\/\*\*\n([\s\S]*?)\n \*\//.exec(read("src/index.ts"))?.[1]?.replace(/^ \* ?/gm, "") ?? ""
  const text = ["# API reference", about, "## Modules", list(false), "## Sub-paths", list(true)].join("\n\n")
  write("/reference/index", page({ title: "API reference" }, text))
  if (index.unresolved.size > 0) {
    throw new Error(`docstrings link to names that no public module exports:\n${[...index.unresolved].join("\n")}`)
  }
}
