/**
 * The documentation site, as far as it can be checked without building it.
 */
import { assert, describe, it } from "@effect/vitest"
import { faults } from "../../docs/site/check.ts"
import * as Markdown from "../../docs/site/markdown.ts"
import { groups, sitePath } from "../../docs/site/pages.ts"
import { isEdge, modules, referenceSidebar } from "../../docs/site/referencePages.ts"
import { homePage, pageFiles, siteHref } from "../../docs/site/stage.ts"
import * as Docs from "./support.ts"

describe("the sidebar", () => {
  const listed = groups.flatMap(({ pages }) => pages)

  it("lists every page exactly once", () => {
    const pages = pageFiles().filter((page) => page !== "README.md")
    assert.deepStrictEqual([...listed].sort(), [...pages].sort(), "docs/site/pages.ts lists other pages than docs/ has")
  })

  it("has a different title and path for every page", () => {
    const paths = listed.map((page) => sitePath(page))
    assert.strictEqual(new Set(paths).size, listed.length)
    for (const page of listed) {
      assert.isDefined(sitePath(page), page)
      assert.isDefined(Markdown.titleOf(Docs.read(page)), page)
    }
  })

  it("lists a reference page for every entry point except the root", () => {
    const { exports } = JSON.parse(Docs.read("package.json"))
    const expected = Object.keys(exports).filter(
      (path) => exports[path] !== null && path !== "." && !path.endsWith(".json")
    )
    const links = referenceSidebar.flatMap(({ items }) => items.map(({ link }) => link))
    for (const path of expected) assert.include(links, `/reference${path.slice(1)}`)
    assert.strictEqual(modules.length, expected.length)
    assert.deepStrictEqual(
      modules.filter(isEdge).filter(({ source }) => /^src\/\w+\.ts$/.test(source)),
      []
    )
  })
})

describe("links on the site", () => {
  it("lead to pages, and to pages that show source files", () => {
    assert.strictEqual(siteHref("README.md", "docs/chat.md#thinking"), "/chat.md#thinking")
    assert.strictEqual(siteHref("README.md", "CHANGELOG.md"), "/changelog.md")
    assert.strictEqual(siteHref("docs/chat.md", "../README.md#try-it"), "/index.md#try-it")
    assert.strictEqual(siteHref("docs/chat.md", "routes.md"), "/routes.md")
    assert.strictEqual(siteHref("docs/sdks.md", "examples/openai-sdk.ts"), "/source/docs/examples/openai-sdk-ts.md")
    assert.strictEqual(siteHref("docs/x.md", "dashboards/ai-gateway.svg"), "/docs/dashboards/ai-gateway.svg")
  })

  it("are unchanged when they leave the site or the page", () => {
    for (const href of ["https://effect.website", "mailto:a@b.c", "//a.b/c", "#here"]) {
      assert.strictEqual(siteHref("docs/chat.md", href), href)
    }
  })

  it("fail when no such file exists, or when it is a folder", () => {
    assert.throws(() => siteHref("docs/chat.md", "nothing.md"), "docs/chat.md links to nothing.md")
    assert.throws(() => siteHref("docs/chat.md", "examples/"), "docs/chat.md links to the folder examples/")
  })

  it("lead somewhere from every page", () => {
    const links = pageFiles().flatMap((page) => Markdown.links(Docs.read(page)).map(({ href }) => siteHref(page, href)))
    assert.isAbove(links.length, 100)
    for (const href of links) assert.match(href, /^(?:\/|#|https?:)/)
  })
})

describe("the packages of the site", () => {
  it("are locked without the host of a registry", () => {
    const { packages } = JSON.parse(Docs.read("docs/site/package-lock.json"))
    assert.deepStrictEqual(
      Object.keys(packages).filter((path) => packages[path].resolved !== undefined),
      []
    )
  })
})

describe("the home page", () => {
  it("takes its text from the readme", () => {
    const page = homePage("# name\n\nCalls [a](b) and\n`c`. Then more.\n\n```ts\n1\n```\n\nRest.\n")
    const [, frontmatter = "", rest] = page.split(/^---$/m)
    const { hero } = JSON.parse(frontmatter)
    assert.deepInclude(hero, { name: "name", text: "Calls a and c.", tagline: "Then more." })
    assert.strictEqual(rest, "\n\n```ts\n1\n```\n\nRest.\n")
  })

  it("leaves badges before the first paragraph where they are", () => {
    const page = homePage(`# name\n\n[![a](b.svg)](c) <img src="d.svg">\n\nWords.\n\nRest.\n`)
    assert.include(page, `"text":"Words."`)
    assert.include(page, `[![a](b.svg)](c) <img src="d.svg">\n\nRest.\n`)
  })

  it("includes every section of the readme", () => {
    const readme = Docs.read("README.md")
    const [title, ...sections] = Markdown.anchors(readme)
    assert.strictEqual(title, "effect-ai-gateway")
    assert.deepStrictEqual([...Markdown.anchors(homePage(readme))], sections)
  })

  it("needs a title and a paragraph", () => {
    assert.throws(() => homePage("no title\n\ntext\n\n"), "README.md")
    assert.throws(() => homePage("# title\n"), "README.md")
    assert.throws(() => homePage("# title\n\n## section\n\ntext\n"), "README.md")
  })
})

describe("reading Markdown", () => {
  const hrefs = (text: string) => Markdown.links(text).map(({ href }) => href)

  it("finds links, images, references and HTML in order", () => {
    const text = `[a](one.md "t") ![b](two.svg)\n\n[c]: three.md\n<a class="x" href="four.md">d</a> <img src="five.png">\n[![e](six.svg)](seven.md)`
    assert.deepStrictEqual(hrefs(text), ["one.md", "two.svg", "three.md", "four.md", "five.png", "six.svg", "seven.md"])
  })

  it("leaves no braces in sentences that Vue would run", () => {
    const text = "A {{ 1 + 1 }} and `{{ a }}`.\n\n```ts\nconst a = {{ b }}\n```\n\n| {{ c }} |"
    assert.strictEqual(
      Markdown.withoutInterpolation(text),
      "A &#123;&#123; 1 + 1 }} and `{{ a }}`.\n\n```ts\nconst a = {{ b }}\n```\n\n| &#123;&#123; c }} |"
    )
  })

  it("finds a link whose text is code, and none inside code or comments", () => {
    const text =
      "[`a`](b.md) `[c](d)` ``[`e`](f)``\n<!-- [g](h) -->\n~~~\n[i](j)\n~~~\n````md\n```\n[k](l)\n```\n````\n[m](n)"
    assert.deepStrictEqual(hrefs(text), ["b.md", "n"])
  })

  it("rewrites targets and nothing else", () => {
    const text = "a [b.md](b.md#c) `[b](b.md)` b.md\n"
    assert.strictEqual(
      Markdown.rewriteLinks(text, (href) => href.toUpperCase()),
      "a [b.md](B.MD#C) `[b](b.md)` b.md\n"
    )
  })

  it("makes the anchors of GitHub", () => {
    const text =
      '# `effect/ai`, and *more*\n## [A b](c.md)\n## A b\n## A_b – ç!\n## `Map<A, B>`\n```sh\n# no\n```\n<a id="own"></a>\n'
    assert.deepStrictEqual(
      [...Markdown.anchors(text)],
      ["effectai-and-more", "a-b", "a-b-1", "a_b--ç", "mapa-b", "own"]
    )
  })
})

describe("the check of a built site", () => {
  const check = (html: string, css = "") =>
    faults(
      new Map([
        ["index.html", html],
        ["a/b.html", `<h2 id="c&amp;d">x</h2><a href="../index.html">y</a><a href="./b.html#c%26d">z</a>`]
      ]),
      new Map([["style.css", css]]),
      (path) => path === "picture.svg"
    )

  it("accepts links that lead somewhere", () => {
    const html = `<i id="e"></i><a href="/a/b.html#c&amp;d">1</a><a href="/a/b">2</a><a href="#e">3</a><a href="/picture.svg">4</a><a href="https://e.com">5</a><a href="/">6</a>`
    assert.deepStrictEqual(check(html, `a { background: url("/picture.svg") }`), [])
  })

  it("reports links without a page and anchors without a heading", () => {
    assert.deepStrictEqual(
      check(`<a href="/none.html">1</a><a href="/a/b.html#none">2</a><a class="x" href="#none">3</a>`),
      ["index.html links to /none.html", "index.html links to /a/b.html#none", "index.html links to #none"]
    )
  })

  it("reports resources from other hosts", () => {
    const html = `<script src="https://e.com/a.js"></script><link rel="stylesheet" href="//e.com/b.css"><img src="http://e.com/c.png">`
    assert.deepStrictEqual(check(html, `@import "https://e.com/d.css"; a { background: url(//e.com/e.png) }`), [
      "index.html loads https://e.com/a.js",
      "index.html loads http://e.com/c.png",
      "index.html loads //e.com/b.css",
      "style.css loads https://e.com/d.css",
      "style.css loads //e.com/e.png"
    ])
  })
})
