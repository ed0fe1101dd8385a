/**
 * Signatures as text: the emitted declarations, formatted for the width of a page.
 */
import { execFileSync } from "node:child_process"
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import ts from "typescript"
import { declarations, read, root, signatures } from "./paths.ts"

/** Where a signature is looked up. */
export interface Scope {
  readonly checker: ts.TypeChecker
  /** The name by which a public module exports a symbol. */
  readonly publicName: (symbol: ts.Symbol) => string | undefined
}

const resolved = (checker: ts.TypeChecker, symbol: ts.Symbol): ts.Symbol =>
  symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol

/** The declarations of a symbol in the library, without those of packages. */
export const ownDeclarations = (checker: ts.TypeChecker, symbol: ts.Symbol): ReadonlyArray<ts.Declaration> =>
  (resolved(checker, symbol).declarations ?? []).filter((one) => one.getSourceFile().fileName.startsWith(declarations))

const parsed = new Map<string, ts.SourceFile>()

/** The `extends` of a class as it is written in the source: the declarations only name a base without a meaning. */
const writtenHeritage = (declaration: ts.ClassDeclaration): string => {
  const file = relative(declarations, declaration.getSourceFile().fileName).replace(/\.d\.ts$/, ".ts")
  const source = parsed.get(file) ?? ts.createSourceFile(file, read(`src/${file}`), ts.ScriptTarget.Latest, true)
  parsed.set(file, source)
  const own = source.statements.find(
    (one): one is ts.ClassDeclaration => ts.isClassDeclaration(one) && one.name?.text === declaration.name?.text
  )
  return (own?.heritageClauses ?? []).map((clause) => clause.getText()).join(" ")
}

const classText = (declaration: ts.ClassDeclaration): string => {
  const parameters = declaration.typeParameters?.map((one) => one.getText()).join(", ")
  const members = declaration.members
    .map((member) => member.getFullText().trim())
    .filter((text) => !text.startsWith("private "))
  const name = `${declaration.name?.text ?? ""}${parameters === undefined ? "" : `<${parameters}>`}`
  return `declare class ${name} ${writtenHeritage(declaration)} {\n${members.join("\n")}\n}`
}

const isInternal = (checker: ts.TypeChecker, node: ts.EntityName): boolean => {
  const symbol = checker.getSymbolAtLocation(node)
  const [file] = symbol === undefined ? [] : (resolved(checker, symbol).declarations ?? [])
  return file !== undefined && ts.isSourceFile(file) && file.fileName.startsWith(`${declarations}/internal/`)
}

const bare = (node: ts.TypeNode): ts.TypeNode => (ts.isParenthesizedTypeNode(node) ? bare(node.type) : node)

/**
 * Whether a type is that of a value, such as `typeof Name.Type` and `(typeof names)[number]`: readers want to see what
 * it is.
 */
const isOfValue = (node: ts.Node): node is ts.TypeNode => {
  if (ts.isIndexedAccessTypeNode(node)) return ts.isTypeQueryNode(bare(node.objectType))
  return ts.isTypeQueryNode(node) && ts.isTypeAliasDeclaration(node.parent)
}

const inFull =
  ts.TypeFormatFlags.NoTruncation |
  ts.TypeFormatFlags.InTypeAlias |
  ts.TypeFormatFlags.UseAliasDefinedOutsideCurrentScope

/** Text of a node in which `Internal.Name` is the public name of the same type, and types of values are written out. */
const publicText = ({ checker, publicName }: Scope, node: ts.Node): string => {
  const start = node.getStart()
  let text = ""
  let end = start
  const visit = (one: ts.Node): void => {
    if (isOfValue(one)) {
      text += node.getSourceFile().text.slice(end, one.getStart())
      text += checker.typeToString(checker.getTypeFromTypeNode(one), one, inFull)
      end = one.end
      return
    }
    if (ts.isQualifiedName(one) && isInternal(checker, one.left)) {
      const symbol = checker.getSymbolAtLocation(one.right)
      const name = symbol && publicName(resolved(checker, symbol))
      if (name !== undefined) {
        text += node.getSourceFile().text.slice(end, one.getStart()) + name
        end = one.end
        return
      }
    }
    ts.forEachChild(one, visit)
  }
  visit(node)
  return text + node.getSourceFile().text.slice(end, node.end)
}

const declarationText = (scope: Scope, declaration: ts.Declaration): string => {
  if (ts.isClassDeclaration(declaration)) return classText(declaration)
  return publicText(scope, ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration)
}

/** The type that an alias names, if it is the library's own and no public module has it. */
const hiddenTarget = ({ checker, publicName }: Scope, declaration: ts.Declaration): ts.Symbol | undefined => {
  if (!ts.isTypeAliasDeclaration(declaration) || !ts.isTypeReferenceNode(declaration.type)) return undefined
  const symbol = checker.getSymbolAtLocation(declaration.type.typeName)
  const target = symbol && resolved(checker, symbol)
  return target !== undefined && publicName(target) === undefined && ownDeclarations(checker, target).length > 0
    ? target
    : undefined
}

const isValue = (declaration: ts.Declaration): boolean =>
  ts.isVariableDeclaration(declaration) || ts.isFunctionDeclaration(declaration)

/** The names that a module exports as types only, although some are values where they are declared. */
export const typesOnly = (file: string): ReadonlySet<string> =>
  new Set(
    ts
      .createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest)
      .statements.filter(ts.isExportDeclaration)
      .flatMap(({ exportClause, isTypeOnly }) =>
        exportClause === undefined || !ts.isNamedExports(exportClause)
          ? []
          : exportClause.elements.filter((one) => isTypeOnly || one.isTypeOnly).map(({ name }) => name.text)
      )
  )

/** `import("effect/Schema").Int` as a program would write it. */
const importsByName = (text: string): string =>
  text.replace(/import\("(?:\.[^"]*|(?:[^"]*\/)?(\w+))"\)\./g, (_, module?: string) =>
    module === undefined ? "" : `${module}.`
  )

/** Text of a signature under the name by which it is exported, not yet formatted. */
export const signatureOf = (scope: Scope, name: string, symbol: ts.Symbol, onlyType: boolean): string =>
  ownDeclarations(scope.checker, symbol)
    .filter((declaration) => !(onlyType && isValue(declaration)))
    .flatMap((declaration) => {
      const target = hiddenTarget(scope, declaration)
      return target === undefined ? [declaration] : ownDeclarations(scope.checker, target)
    })
    .map((declaration) => {
      const own = ((declaration as ts.NamedDeclaration).name?.getText() ?? "").replaceAll("$", "\\$")
      return importsByName(declarationText(scope, declaration))
        .replace(/^export /, "")
        .replace(new RegExp(`^((?:declare )?(?:const|function|class|interface|type) )${own}\\b`), `$1${name}`)
        .replace(
          /\{@link\s+([^}|]+?)\s*(?:\|\s*([^}]+?)\s*)?\}/g,
          (_, target: string, text?: string) => text ?? `\`${target}\``
        )
    })
    .join("\n")

/** The symbols of the library that a signature names. */
export const mentioned = ({ checker }: Scope, symbol: ts.Symbol): ReadonlySet<ts.Symbol> => {
  const found = new Set<ts.Symbol>()
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) {
      const own = checker.getSymbolAtLocation(node)
      if (own !== undefined) found.add(resolved(checker, own))
    }
    ts.forEachChild(node, visit)
  }
  for (const declaration of ownDeclarations(checker, symbol)) visit(declaration)
  return found
}

/** Columns of a block of code on a page. */
const width = 82

const wrapped = (text: string, columns: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(/\s+/)) {
    if (line !== "" && line.length + word.length >= columns) {
      lines.push(line)
      line = ""
    }
    line += line === "" ? word : ` ${word}`
  }
  return [...lines, line]
}

/** Wraps the comments of members to the width of a page. Lists, tables and code stay as they are. */
const wrapComments = (text: string): string =>
  text.replace(/^( *)\/\*\*([\s\S]*?)\*\//gm, (comment, indent: string, body: string) => {
    const lines = body.split("\n").map((line) => line.replace(/^\s*\* ?/, "").trimEnd())
    if (lines.some((line) => /^\s*(?:```|[-*|@] ?)/.test(line))) return comment
    const paragraphs = lines
      .join("\n")
      .trim()
      .split(/\n{2,}/)
    const out = paragraphs.flatMap((one, index) => [
      ...(index === 0 ? [] : [""]),
      ...wrapped(one, width - indent.length - 3)
    ])
    if (out.length === 1 && indent.length + 7 + (out[0] ?? "").length <= width) return `${indent}/** ${out[0]} */`
    return [`${indent}/**`, ...out.map((line) => `${indent} * ${line}`.trimEnd()), `${indent} */`].join("\n")
  })

/** Formats signatures, all in one run of the formatter. */
export const format = (texts: ReadonlyArray<string>): ReadonlyArray<string> => {
  rmSync(signatures, { recursive: true, force: true })
  mkdirSync(signatures, { recursive: true })
  const file = (index: number): string => join(signatures, `${index}.ts`)
  texts.forEach((text, index) => {
    writeFileSync(file(index), text)
  })
  const style = {
    formatter: { indentStyle: "space", lineWidth: width },
    javascript: { formatter: { semicolons: "asNeeded", trailingCommas: "none" } }
  }
  writeFileSync(join(signatures, "biome.json"), JSON.stringify({ root: true, ...style, linter: { enabled: false } }))
  const biome = join(root, "node_modules/@biomejs/biome/bin/biome")
  execFileSync(process.execPath, [biome, "format", "--write", "--log-level=error", "."], {
    cwd: signatures,
    stdio: ["ignore", "ignore", "inherit"]
  })
  return texts
    .map((_, index) =>
      readFileSync(file(index), "utf8")
        .replace(/^declare /gm, "")
        .trimEnd()
    )
    .map(wrapComments)
}
