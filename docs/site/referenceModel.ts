/**
 * The model of the API reference: the exports of each public module, their docstrings by TypeDoc, and their signatures.
 *
 * Signatures are the text of the declarations that the compiler emits, because TypeDoc prints `Duration.Input` as
 * `Input`.
 */
import { execFileSync } from "node:child_process"
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import {
  Application,
  type Context,
  Converter,
  type DeclarationReflection,
  type ProjectReflection,
  type Reflection
} from "typedoc"
import type ts from "typescript"
import { declarations, read, root } from "./paths.ts"
import { modules, type PublicModule } from "./referencePages.ts"

const tool = (file: string, ...args: ReadonlyArray<string>): void => {
  execFileSync(process.execPath, [join(root, "node_modules", file), ...args], { cwd: root, stdio: "inherit" })
}

/** A comment at the beginning of a file that is about the file: a declaration does not follow it. */
const moduleComment = /^(\/\*\*[\s\S]*?)\*\/(?=\s*(?:import\b|export (?:\*|\{|type \{)|\/\*\*))/

/**
 * Emits the declarations. The comment about a file gets the tag that TypeDoc wants, and is taken from the source: the
 * compiler drops it together with an import that no declaration needs.
 */
const emitDeclarations = (): void => {
  rmSync(declarations, { recursive: true, force: true })
  tool("typescript/bin/tsc", "-p", ".config/tsconfig.build.json", "--outDir", declarations, "--declarationMap", "false")
  for (const entry of readdirSync(declarations, { recursive: true, encoding: "utf8" })) {
    if (!entry.endsWith(".d.ts")) continue
    const [, comment] = moduleComment.exec(read(`src/${entry.replace(/\.d\.ts$/, ".ts")}`)) ?? []
    if (comment === undefined) continue
    const file = join(declarations, entry)
    const text = readFileSync(file, "utf8")
    writeFileSync(
      file,
      `${comment}* @module\n */\n${text.startsWith(comment) ? text.replace(moduleComment, "") : text}`
    )
  }
  writeFileSync(
    join(declarations, "tsconfig.json"),
    JSON.stringify({ extends: join(root, "tsconfig.json"), include: ["**/*.ts"], exclude: [] })
  )
}

/** The emitted declarations of a public module. */
export const declarationFile = ({ source }: PublicModule): string =>
  join(declarations, source.replace(/^src\//, "").replace(/\.ts$/, ".d.ts"))

/** The library as TypeDoc and the compiler see it. */
export interface Model {
  readonly project: ProjectReflection
  readonly checker: ts.TypeChecker
  /** The compiler's symbol of each export. */
  readonly symbols: ReadonlyMap<Reflection, ts.Symbol>
  /** The reflection of a public module. */
  readonly moduleOf: (module: PublicModule) => DeclarationReflection
}

/** Emits declarations and reads them. */
export const convert = async (): Promise<Model> => {
  emitDeclarations()
  const app = await Application.bootstrap({
    entryPoints: modules.map(declarationFile),
    tsconfig: join(declarations, "tsconfig.json"),
    basePath: declarations,
    categorizeByGroup: false,
    defaultCategory: "Other",
    excludeExternals: true,
    excludeInternal: true,
    excludePrivate: true,
    logLevel: "Error",
    readme: "none",
    sort: ["source-order"]
  })
  const symbols = new Map<Reflection, ts.Symbol>()
  let checker: ts.TypeChecker | undefined
  app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context: Context, reflection: DeclarationReflection) => {
    const symbol = context.getSymbolFromReflection(reflection)
    if (symbol !== undefined) symbols.set(reflection, symbol)
    checker = context.checker
  })
  const project = await app.convert()
  if (project === undefined || checker === undefined || app.logger.hasErrors()) {
    throw new Error("TypeDoc could not read the library's declarations")
  }
  const children = project.children ?? []
  const moduleOf = (module: PublicModule): DeclarationReflection => {
    const file = declarationFile(module)
    const found = children.find((child) => project.getSymbolIdFromReflection(child)?.fileName === file)
    if (found === undefined) throw new Error(`TypeDoc has no module for ${module.source}`)
    return found
  }
  return { project, checker, symbols, moduleOf }
}
