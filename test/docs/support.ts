/**
 * Finds the examples of the documentation: the `ts` fences of pages and of docstrings.
 *
 * A fence marked `ts` is a complete module. One whose first line is `// run` is also a program that exits with 0. When
 * the line `<!-- prints -->` and a fence follow such a program, that fence is what it prints; `…` in it stands for any
 * text within a line. A comment after a `console.log(…)` is what that call prints.
 */
import { execFile } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as Markdown from "../../docs/site/markdown.ts"
import { childEnv } from "../support/childEnv.ts"

/** Folder of the project, with a slash at the end. */
export const root = fileURLToPath(new URL("../..", import.meta.url))

/** A fenced block. */
export interface Fence {
  /** The text after the opening backticks. */
  readonly info: string
  readonly text: string
  /** Line of its first line of text, from 1. */
  readonly line: number
  /** The last line before it that is not empty. */
  readonly before: string
}

/** All fences of a text, in order. An open fence is an error. */
export const fences = (text: string): ReadonlyArray<Fence> => {
  const out: Array<Fence> = []
  let open: { readonly info: string; readonly line: number; readonly before: string } | undefined
  let body: Array<string> = []
  let before = ""
  for (const [index, line] of text.split("\n").entries()) {
    const info = /^```(.*)$/.exec(line)?.[1]
    if (open === undefined) {
      if (info !== undefined) {
        open = { info: info.trim(), line: index + 2, before }
        body = []
      } else if (line.trim() !== "") {
        before = line.trim()
      }
    } else if (info === "") {
      out.push({ ...open, text: `${body.join("\n")}\n` })
      before = line
      open = undefined
    } else {
      body.push(line)
    }
  }
  if (open !== undefined) throw new Error(`the fence before line ${open.line} is not closed`)
  return out
}

/** The text of the docstrings of a source file, on the lines on which they stand. */
export const docstrings = (source: string): string => {
  let inside = false
  return source
    .split("\n")
    .map((line) => {
      if (!inside) {
        inside = /^\s*\/\*\*(?!.*\*\/)/.test(line)
        return ""
      }
      if (/\*\//.test(line)) {
        inside = false
        return ""
      }
      return line.replace(/^\s*\* ?/, "")
    })
    .join("\n")
}

/** One example. */
export interface Example {
  /** For example `docs/routes.md:12`. */
  readonly at: string
  readonly page: string
  readonly line: number
  readonly code: string
  /** Whether it is a program that must exit with 0. */
  readonly run: boolean
  /** Its complete output, if the page states it. */
  readonly prints: string | undefined
  /** The output of each `console.log`; `undefined` without a comment. */
  readonly logs: ReadonlyArray<string | undefined>
  /** Name of its module. */
  readonly file: string
}

const logsOf = (code: string): ReadonlyArray<string | undefined> =>
  [...code.matchAll(/console\.log\(.*\)(?: \/\/ (.*))?$/gm)].map(([, text]) => text)

/** The examples of one page, or of one source file's docstrings. */
export const examplesOf = (page: string, text: string): ReadonlyArray<Example> => {
  const all = fences(text)
  return all.flatMap((fence, index) => {
    if (fence.info !== "ts") return []
    const next = all[index + 1]
    return [
      {
        at: `${page}:${fence.line}`,
        page,
        line: fence.line,
        code: fence.text,
        run: fence.text.startsWith("// run\n"),
        prints: next?.before === "<!-- prints -->" ? next.text : undefined,
        logs: logsOf(fence.text),
        file: `${page.replace(/[^A-Za-z0-9]+/g, "-")}-${fence.line}.ts`
      }
    ]
  })
}

/** The files of a folder and its folders, except installed packages and build output. */
/** The files of a folder with an extension, in order. */
export const filesIn = (folder: string, extension: string): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = `${folder}/${entry.name}`
      if (entry.isDirectory()) {
        return entry.name === "node_modules" || entry.name === ".cache" ? [] : filesIn(path, extension)
      }
      return path.endsWith(extension) ? [path] : []
    })
    .sort()

/** Text of a file of the project. */
export const read = (file: string): string => readFileSync(join(root, file), "utf8")

/** The pages: `README.md`, `CHANGELOG.md` and `docs`. */
export const pages = (): ReadonlyArray<string> => ["README.md", "CHANGELOG.md", ...filesIn("docs", ".md")]

/** The sources whose docstrings have examples. */
export const sources = (): ReadonlyArray<string> => filesIn("src", ".ts")

/** How a command ended. */
export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a file with Node, as `npm run demo` does. */
export const node = async (cwd: string, ...args: ReadonlyArray<string>): Promise<Ran> => {
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, args, { cwd, env: childEnv, timeout: 180_000 })) }
  } catch (error) {
    const { code, stderr = "", stdout = "" } = error as Partial<Ran>
    return { code: typeof code === "number" ? code : 1, stdout, stderr }
  }
}

/** Flags with which Node finds the library's sources under its public name. */
export const fromSource = "--conditions=effect-ai-gateway-source"

/** Whether `text` matches `expected`, where `…` is any text within a line. */
export const matches = (text: string, expected: string): boolean => {
  const pattern = expected
    .split("…")
    .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    .join(".*")
  return new RegExp(`^${pattern}$`).test(text)
}

/** Whether the comment after a `console.log` matches its output: people write quotes, and no spaces inside brackets. */
export const says = (comment: string, printed: string): boolean => {
  const plain = (text: string): string =>
    text
      .replace(/([[{]) /g, "$1")
      .replace(/ ([\]}])/g, "$1")
      .replaceAll("'", '"')
  return comment === JSON.stringify(printed) || plain(comment) === plain(printed)
}

/** The links of a page to files of the project, as `[path from the page, anchor]`. */
export const links = (text: string): ReadonlyArray<readonly [path: string, anchor: string | undefined]> =>
  Markdown.links(text).flatMap(({ href }) => {
    if (/^[a-z]+:/.test(href)) return []
    const [path = "", anchor] = href.split("#")
    return [[path, anchor] as const]
  })
