import { defineConfig } from "vitepress"
import { slug, titleOf } from "../markdown.ts"
import { groups, sitePath } from "../pages.ts"
import { built, manifest, read, staged, vitepressCache } from "../paths.ts"
import { referenceSidebar } from "../referencePages.ts"

const { repository } = manifest
const repositoryUrl = (typeof repository === "string" ? repository : repository?.url)
  ?.replace(/^git\+/, "")
  .replace(/\.git$/, "")

const item = (file: string) => ({
  text: titleOf(read(file)) ?? file,
  link: (sitePath(file) ?? "").replace(/\.md$/, "")
})

const guide = groups.map(({ pages, title }) => ({ text: title, items: pages.map(item) }))

export default defineConfig({
  title: manifest.name,
  description: manifest.description,
  lang: "en",
  srcDir: staged,
  outDir: built,
  cacheDir: vitepressCache,
  head: [["link", { rel: "icon", type: "image/svg+xml", href: "/favicon.svg" }]],
  lastUpdated: false,
  themeConfig: {
    search: { provider: "local" },
    outline: { level: [2, 3] },
    nav: [
      { text: "Guide", link: "/getting-started" },
      { text: "API", link: "/reference/" },
      { text: "Changelog", link: "/changelog" }
    ],
    sidebar: {
      "/reference/": referenceSidebar,
      "/": [...guide, { text: "API", items: [{ text: "All modules", link: "/reference/" }] }]
    },
    ...(repositoryUrl === undefined
      ? {}
      : {
          socialLinks: [{ icon: "github" as const, link: repositoryUrl }],
          editLink: { pattern: `${repositoryUrl}/blob/HEAD/docs/:path`, text: "Source of this page" }
        })
  },
  markdown: {
    theme: { light: "github-light", dark: "github-dark" },
    anchor: { slugify: slug },
    config: (md) => {
      const { fence } = md.renderer.rules
      md.renderer.rules.fence = (tokens, index, options, env, self) => {
        const token = tokens[index]
        if (token?.info.trim() === "mermaid") return `<MermaidDiagram code="${encodeURIComponent(token.content)}" />\n`
        return fence?.(tokens, index, options, env, self) ?? ""
      }
      // Vue would evaluate what is between two braces, in the text and in its code.
      const { code_inline, text } = md.renderer.rules
      md.renderer.rules.text = (...rest) => (text?.(...rest) ?? "").replaceAll("{{", "<span v-pre>{{</span>")
      md.renderer.rules.code_inline = (...rest) =>
        (code_inline?.(...rest) ?? "").replace(/^<code(?! v-pre)/, "<code v-pre")
    }
  }
})
