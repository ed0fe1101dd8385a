/**
 * Writes the pages that VitePress reads: those of `docs/`, the changelog, and the readme as the home page. Only links
 * change on the way.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { dirname, extname, join, posix } from "node:path"
import { links, rewriteLinks, titleOf, withoutInterpolation } from "./markdown.ts"
import { sitePath } from "./pages.ts"
import { read, root, site, staged } from "./paths.ts"

const write = (path: string, text: string): void => {
  const file = join(staged, path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
}

const isImage = (file: string): boolean => [".svg", ".png", ".jpg", ".gif", ".webp"].includes(extname(file))

/** Page that shows a source file. */
const sourcePath = (file: string): string => `/source/${file.replaceAll(".", "-")}.md`

/** The file of the project that a link leads to, with its anchor. */
const targetOf = (page: string, href: string): readonly [file: string, anchor: string] | undefined => {
  if (/^([a-z][a-z+.-]*:|\/\/|#)/i.test(href)) return undefined
  const [path = "", ...anchor] = href.split("#")
  const file = posix.normalize(posix.join(posix.dirname(page), decodeURI(path)))
  if (!existsSync(join(root, file))) throw new Error(`${page} links to ${href}, which does not exist`)
  if (statSync(join(root, file)).isDirectory())
    throw new Error(`${page} links to the folder ${href}: name a file in it`)
  return [file, anchor.length === 0 ? "" : `#${anchor.join("#")}`]
}

/** Where a link of a page leads on the site. Fails when there is no such file. */
export const siteHref = (page: string, href: string): string => {
  const target = targetOf(page, href)
  if (target === undefined) return href
  const [file, anchor] = target
  if (isImage(file)) return `/${file}`
  return `${sitePath(file) ?? sourcePath(file)}${anchor}`
}

const sourcePage = (file: string): string => {
  const text = read(file)
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length))
  const fence = "`".repeat(longest + 1)
  const language = extname(file).slice(1) || "txt"
  const frontmatter = JSON.stringify({
    title: file,
    search: false,
    editLink: false,
    outline: false,
    prev: false,
    next: false
  })
  return `---\n${frontmatter}\n---\n\n# \`${file}\`\n\n${fence}${language}\n${text.trimEnd()}\n${fence}\n`
}

/** Words of a paragraph, without images, HTML and marks. */
const wordsOf = (paragraph: string): string =>
  paragraph
    .replace(/!\[[^\]]*\]\([^)]*\)|<[^>]+>/g, "")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/[`*]/g, "")
    .replace(/\s+/g, " ")
    .trim()

/** The readme as a home page: its title and its first paragraph with words on top, everything else below. */
export const homePage = (readme: string): string => {
  const [, name = "", rest = ""] = /^# +(.*)\n+([\s\S]*)$/m.exec(readme) ?? []
  const paragraphs = rest.split(/\n{2,}/)
  const first = paragraphs.findIndex((paragraph) => wordsOf(paragraph) !== "")
  const words = wordsOf(paragraphs[first] ?? "")
  if (name === "" || words === "" || /^(?:#|```|\|)/.test(paragraphs[first] ?? "")) {
    throw new Error("README.md has to begin with a title and a paragraph")
  }
  const [, text = words, tagline = ""] = /^(.*?[.!?])(?: (.*))?$/.exec(words) ?? []
  const below = paragraphs.filter((_, index) => index !== first).join("\n\n")
  const actions = [
    { theme: "brand", text: "Get started", link: "/getting-started" },
    { theme: "alt", text: "Routes", link: "/routes" },
    { theme: "alt", text: "API reference", link: "/reference/" }
  ]
  const frontmatter = JSON.stringify({
    layout: "home",
    editLink: false,
    title: name,
    hero: { name, text, tagline, actions }
  })
  return `---\n${frontmatter}\n---\n\n${below}`
}

/** The pages of the project: the readme, the changelog and `docs/`. */
export const pageFiles = (): ReadonlyArray<string> => [
  "README.md",
  "CHANGELOG.md",
  ...readdirSync(join(root, "docs"))
    .filter((file) => file.endsWith(".md"))
    .map((file) => `docs/${file}`)
]

/** Writes all pages except the reference, and what they link to: images, and source files as pages of their own. */
export const stage = (): void => {
  rmSync(staged, { recursive: true, force: true })
  cpSync(join(site, "public"), join(staged, "public"), { recursive: true })
  const sources = new Set<string>()
  for (const page of pageFiles()) {
    const source = read(page)
    if (titleOf(source) === undefined) throw new Error(`${page} has no title`)
    for (const { href } of links(source)) {
      const [file] = targetOf(page, href) ?? []
      if (file === undefined || sitePath(file) !== undefined) continue
      if (isImage(file)) cpSync(join(root, file), join(staged, file))
      else sources.add(file)
    }
    const text = withoutInterpolation(rewriteLinks(source, (href) => siteHref(page, href)))
    // The link to the source of a page is that of a file in docs/.
    const own = page.startsWith("docs/") ? text : `---\n{"editLink":false}\n---\n\n${text}`
    write(sitePath(page) ?? page, page === "README.md" ? homePage(text) : own)
  }
  for (const file of sources) write(sourcePath(file), sourcePage(file))
}
