/**
 * Links and headings of Markdown, read as GitHub reads them. The site, its checks and the tests of the pages share
 * these functions.
 */

/** A link or an image. */
export interface Link {
  readonly href: string
  /** Where `href` begins in the text. */
  readonly start: number
}

const blank = (text: string): string => text.replace(/[^\n]/g, " ")

/** The text with fences, comments and, if wanted, inline code turned into spaces. Positions stay. */
const withoutCode = (text: string, inline: boolean): string => {
  const prose = text.replace(/^( *)(`{3,}|~{3,})[^\n]*\n[\s\S]*?(?:^ *\2[`~]* *$|(?![\s\S]))/gm, blank)
  return inline ? prose.replace(/(?<!`)(`+)(?!`)[\s\S]*?[^`]\1(?!`)|<!--[\s\S]*?-->/g, blank) : prose
}

const patterns = [
  /\]\(\s*<?([^)\s>]+)>?(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/dg,
  /^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)/dgm,
  /<(?:a|img|source|video)\b[^>]*?\s(?:href|src|srcset)=["']([^"']+)["']/dg
]

/** The links of a text, in order, except those in code and comments. */
export const links = (text: string): ReadonlyArray<Link> => {
  const prose = withoutCode(text, true)
  return patterns
    .flatMap((pattern) =>
      [...prose.matchAll(pattern)].map((match) => ({ href: match[1] ?? "", start: match.indices?.[1]?.[0] ?? 0 }))
    )
    .sort((a, b) => a.start - b.start)
}

/** Replaces the target of each link. */
export const rewriteLinks = (text: string, to: (href: string) => string): string => {
  let out = ""
  let end = 0
  for (const { href, start } of links(text)) {
    out += text.slice(end, start) + to(href)
    end = start + href.length
  }
  return out + text.slice(end)
}

/** The text with `{{` in sentences as characters: Vue would run it as code, and show the value or nothing. */
export const withoutInterpolation = (text: string): string => {
  const prose = withoutCode(text, true)
  let out = ""
  let end = 0
  for (const { index } of prose.matchAll(/\{\{/g)) {
    out += `${text.slice(end, index)}&#123;&#123;`
    end = index + 2
  }
  return out + text.slice(end)
}

/** The anchor that GitHub makes of the text of a heading. */
export const slug = (title: string): string =>
  title
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, "")
    .replaceAll(" ", "-")

/** The text of a heading without its marks. HTML goes too, except in code. */
const plain = (title: string): string =>
  title
    .replace(/ +#+ *$/, "")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .split(/(`[^`]+`)/)
    .map((part, index) => (index % 2 === 1 ? part : part.replace(/<[^>]+>/g, "")))
    .join("")

/** The anchors of a page: its headings, numbered where a text occurs again, and the ids of its HTML. */
export const anchors = (text: string): ReadonlySet<string> => {
  const found = new Set<string>()
  for (const [, title = ""] of withoutCode(text, false).matchAll(/^#{1,6} +(.*)$/gm)) {
    const own = slug(plain(title))
    let unique = own
    for (let n = 1; found.has(unique); n++) unique = `${own}-${n}`
    found.add(unique)
  }
  for (const [, id = ""] of withoutCode(text, true).matchAll(/\s(?:id|name)="([^"]+)"/g)) found.add(id)
  return found
}

/** The text of the first heading. */
export const titleOf = (text: string): string | undefined =>
  /^# +(.*)$/m.exec(withoutCode(text, false))?.[1]?.replaceAll("`", "")
