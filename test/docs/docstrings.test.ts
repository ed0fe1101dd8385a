/**
 * The form of docstrings and comments. Their words are for readers to judge.
 */
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { filesIn, read } from "./support.ts"

const sourcesIn = (folder: string): ReadonlyArray<string> => filesIn(folder, ".ts")

const manifest: {
  readonly exports: Readonly<Record<string, { readonly "effect-ai-gateway-source"?: string } | null>>
} = JSON.parse(read("package.json"))

/** Sources of the public modules, and of those that an entry point exports as namespaces. */
const publicFiles = Object.values(manifest.exports)
  .flatMap((target) => target?.["effect-ai-gateway-source"]?.slice(2) ?? [])
  .flatMap((file) => {
    const inner = [...read(file).matchAll(/^export \* as \w+ from "\.\/(.+)"$/gm)].map(([, path]) => path ?? "")
    return inner.length === 0 ? [file] : inner.map((path) => join(file, "..", path))
  })

/** A declaration of a text, with the docstring that stands before it. */
interface Documented {
  readonly at: string
  readonly docs: string | undefined
}

const declared = /^export (?:declare |abstract )*(?:const|interface|class|type|function) (\w+)/

/** The docstring that ends before a line, if there is one. */
const docsBefore = (lines: ReadonlyArray<string>, at: number): string | undefined => {
  let end = at - 1
  while (/^\s*\/\/ /.test(lines[end] ?? "")) end--
  if (!/\*\/$/.test(lines[end] ?? "")) return undefined
  let start = end
  while (start >= 0 && !/^\s*\/\*/.test(lines[start] ?? "")) start--
  // A plain comment is no docstring, and the one before it belongs to another declaration.
  return /^\s*\/\*\*/.test(lines[start] ?? "") ? lines.slice(start, end + 1).join("\n") : undefined
}

/** The words of a docstring before its first tag. */
const wordsOf = (docs: string): string =>
  (docs.replace(/^\s*\/\*\*|\*\/$|^\s*\* ?/gm, "").split(/^\s*@/m)[0] ?? "").trim()

/** Exports by name: overloads and pairs of a type and a value are documented when one of them is. */
const exportsOf = (file: string, text: string): ReadonlyArray<Documented> => {
  const lines = text.split("\n")
  const found = new Map<string, Documented>()
  for (const [index, line] of lines.entries()) {
    const name = declared.exec(line)?.[1]
    if (name === undefined) continue
    const docs = docsBefore(lines, index) ?? found.get(name)?.docs
    found.set(name, { at: `${file}: ${name}`, docs })
  }
  return [...found.values()]
}

/** Names in braces, with the file that they are from. */
const namesFrom = (
  text: string,
  keyword: "export" | "import"
): ReadonlyArray<readonly [name: string, path: string | undefined]> =>
  [...text.matchAll(new RegExp(`^${keyword} (?:type )?\\{([^}]*)\\}(?: from "([^"]+)")?$`, "gm"))].flatMap(
    ([, list = "", path]) =>
      list
        .split(",")
        .map((item) => /^(?:type )?(\w+)/.exec(item.trim())?.[1] ?? "")
        .filter((item) => item !== "")
        .map((item) => [item, path] as const)
  )

/** Exports that a text takes from other files, with the docstrings there. */
const reExportsOf = (file: string, text: string, open = read): ReadonlyArray<Documented> =>
  namesFrom(text, "export").map(([name, from]): Documented => {
    const path = from ?? namesFrom(text, "import").find(([imported]) => imported === name)?.[1]
    const source = path === undefined ? file : join(file, "..", path)
    const there = path === undefined ? text : open(source)
    const own = exportsOf(source, there.replace(/^(?=const|interface|class|type|function)/gm, "export "))
    const all = path === undefined ? own : [...own, ...reExportsOf(source, there, open)]
    return { at: `${file}: ${name}`, docs: all.find(({ at }) => at.endsWith(`: ${name}`))?.docs }
  })

const isDescribed = ({ docs }: Documented): boolean => docs !== undefined && wordsOf(docs) !== ""

const isGrouped = ({ docs = "" }: Documented): boolean => /^ \* @category [a-z][a-z ]+$/m.test(docs)

const overloadsOf = (file: string, text: string): ReadonlyArray<Documented> => {
  const lines = text.split("\n")
  let inside: string | undefined
  return lines.flatMap((line, index) => {
    const opened = /^export const (\w+): \{$/.exec(line)?.[1]
    if (opened !== undefined) inside = opened
    else if (line.startsWith("}")) inside = undefined
    return inside !== undefined && /^ {2}[(<]/.test(line)
      ? [{ at: `${file}:${index + 1}: ${inside}`, docs: docsBefore(lines, index) }]
      : []
  })
}

/** Comments that are longer than a screen is wide. Tables and examples keep their lines. */
const wideLines = (file: string, text: string): ReadonlyArray<string> => {
  let isExample = false
  return text.split("\n").flatMap((line, index) => {
    const comment = /^\s*(?:\/\*\*|\*|\/\/) ?(.*)$/.exec(line)?.[1]
    if (comment === undefined) return []
    if (comment.trim().startsWith("```")) isExample = !isExample
    return line.length <= 120 || isExample || comment.trim().startsWith("|") ? [] : [`${file}:${index + 1}`]
  })
}

describe("docstrings", () => {
  it("describe every export of a public module, with a category for the reference", () => {
    const all = publicFiles.flatMap((file) => exportsOf(file, read(file)))
    assert.isAbove(all.length, 300)
    assert.deepStrictEqual(
      all.filter((one) => !isDescribed(one) || !isGrouped(one)).map(({ at }) => at),
      []
    )
  })

  it("describe what a public module takes from other files", () => {
    const all = publicFiles.flatMap((file) => reExportsOf(file, read(file)))
    assert.isAbove(all.length, 200)
    assert.deepStrictEqual(
      all.filter((one) => !isDescribed(one)).map(({ at }) => at),
      []
    )
  })

  it("stand before every overload of a combinator, for hovers", () => {
    const all = publicFiles.flatMap((file) => overloadsOf(file, read(file)))
    assert.isAbove(all.length, 30)
    assert.deepStrictEqual(
      all.filter(({ docs }) => docs === undefined).map(({ at }) => at),
      []
    )
  })

  it("begin with what a thing is or does", () => {
    const opener = /^\s*(?:\/\*\*|\*) (?:What|Who|Whom|Those that|That of|Of two) /
    const found = ["src", "test", "bench", "docs"].flatMap(sourcesIn).flatMap((file) => {
      const lines = read(file).split("\n")
      return lines.flatMap((line, index) => {
        const isFirst = /^\s*\/\*\*/.test(line) || /^\s*\/\*\*$/.test(lines[index - 1] ?? "")
        return isFirst && opener.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : []
      })
    })
    assert.deepStrictEqual(found, [])
  })
})

describe("comments", () => {
  it("are at most 120 columns wide", () => {
    const found = ["src", "test", "bench", "docs"].flatMap(sourcesIn).flatMap((file) => wideLines(file, read(file)))
    assert.deepStrictEqual(found, [])
  })
})

describe("these rules", () => {
  it("find what they are for", () => {
    const bare = "/** Adds. */\nexport const add: {\n  (n: number): number\n  /** Adds. */\n  <A>(n: A): A\n} = x"
    assert.deepStrictEqual(exportsOf("a", bare), [{ at: "a: add", docs: "/** Adds. */" }])
    assert.deepStrictEqual(exportsOf("a", "export type A = 1"), [{ at: "a: A", docs: undefined }])
    const plain = "/** B. */\ntype B = 1\n/* A. */\nexport type A = 1"
    assert.deepStrictEqual(exportsOf("a", plain), [{ at: "a: A", docs: undefined }])
    assert.deepStrictEqual(exportsOf("a", "A. */\nexport type A = 1"), [{ at: "a: A", docs: undefined }])
    const empty = { at: "a: A", docs: "/**\n * @category models\n */" }
    assert.deepStrictEqual([isDescribed(empty), isGrouped(empty)], [false, true])
    const other = "/** B. */\nexport const b = 1\nexport const c = 1"
    assert.deepStrictEqual(
      reExportsOf("a", 'import { c } from "./b.ts"\nexport { b } from "./b.ts"\nexport { c }', () => other),
      [
        { at: "a: b", docs: "/** B. */" },
        { at: "a: c", docs: undefined }
      ]
    )
    assert.deepStrictEqual(
      overloadsOf("a", bare).map(({ docs }) => docs),
      [undefined, "  /** Adds. */"]
    )
    const wide = `// ${"x".repeat(120)}`
    assert.deepStrictEqual(wideLines("a", `${wide}\n/** | ${wide} */\n * \`\`\`ts\n * ${wide}\n * \`\`\``), ["a:1"])
  })
})
