/**
 * Checks the built site: every link leads to a page and a heading that exist, and nothing is loaded from elsewhere.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { join, posix } from "node:path"
import { built } from "./paths.ts"

const decode = (text: string): string => decodeURIComponent(text.replaceAll("&amp;", "&"))

/** The value of an attribute in each element that has it. */
const attributes = (html: string, elements: string, attribute: string): ReadonlyArray<string> =>
  [...html.matchAll(new RegExp(`<(?:${elements})\\b[^>]*?\\s${attribute}="([^"]*)"`, "g"))].map(
    ([, value = ""]) => value
  )

/**
 * The faults of a site: its files by path, each with its text. `exists` is called for files without text, such as
 * images.
 */
export const faults = (
  pages: ReadonlyMap<string, string>,
  styles: ReadonlyMap<string, string>,
  exists: (path: string) => boolean
): ReadonlyArray<string> => {
  const ids = new Map(
    [...pages].map(([path, html]) => [
      path,
      new Set([...html.matchAll(/\sid="([^"]+)"/g)].map(([, id = ""]) => decode(id)))
    ])
  )
  const out: Array<string> = []
  for (const [path, html] of pages) {
    for (const href of new Set(attributes(html, "a", "href"))) {
      if (/^[a-z]+:/.test(href)) continue
      const [target = "", anchor = ""] = decode(href).split("#")
      const file = target === "" ? path : posix.join(target.startsWith("/") ? "." : posix.dirname(path), target)
      const page = file === "." || file.endsWith("/") ? posix.join(file, "index.html") : file
      const own = ids.get(page) ?? ids.get(`${page}.html`)
      if (own === undefined ? !exists(page) : anchor !== "" && !own.has(anchor)) out.push(`${path} links to ${href}`)
    }
    const loaded = [
      ...attributes(html, "script|img|source|iframe|video|audio", "src"),
      ...attributes(html, "img|source", "srcset"),
      ...attributes(html, "link", "href")
    ]
    for (const href of loaded) if (/^(?:https?:)?\/\//.test(href)) out.push(`${path} loads ${href}`)
  }
  for (const [path, css] of styles) {
    for (const [, href] of css.matchAll(/(?:url\(\s*["']?|@import\s+["'])((?:https?:)?\/\/[^"')\s]+)/g))
      out.push(`${path} loads ${href}`)
  }
  return out
}

/** Fails with everything that is wrong with the built site. */
export const check = (): void => {
  const files = readdirSync(built, { recursive: true, encoding: "utf8" }).map((file) => file.replaceAll("\\", "/"))
  const texts = (extension: string) =>
    new Map(
      files.filter((file) => file.endsWith(extension)).map((file) => [file, readFileSync(join(built, file), "utf8")])
    )
  const pages = texts(".html")
  const found = faults(
    pages,
    texts(".css"),
    (path) => existsSync(join(built, path)) && statSync(join(built, path)).isFile()
  )
  if (found.length > 0) throw new Error(`the site has ${found.length} faults:\n${found.join("\n")}`)
  console.log(`${pages.size} pages, no dead link, nothing loaded from elsewhere`)
}
