/**
 * Takes pictures of the built site in Chromium, and one of the readme as GitHub shows it, into `.cache/site/pictures`.
 *
 *     npm run docs && npm run docs:pictures
 */
import { createReadStream, existsSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { extname, join, normalize } from "node:path"
import * as Effect from "effect/Effect"
import type { Browser, Page } from "playwright-core"
import * as Chromium from "../../test/support/chromium.ts"
import { slug } from "./markdown.ts"
import { built, pictures, read, root, site } from "./paths.ts"

const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".woff2": "font/woff2"
}

/** Serves the built site on this machine. */
const served = Effect.acquireRelease(
  Effect.promise(async () => {
    const server = createServer((request, response) => {
      const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname))
      const file = join(built, path.endsWith("/") ? `${path}index.html` : path)
      if (!file.startsWith(built) || !existsSync(file) || !statSync(file).isFile()) {
        response.writeHead(404).end()
        return
      }
      response.writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream" })
      createReadStream(file).pipe(response)
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    return server
  }),
  (server) => Effect.sync(() => server.close())
)

const sizes = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } } as const

/** Name of a picture to the page that it shows. Those of long pages begin at a heading. */
const shown = {
  home: "/",
  errors: "/errors.html#rules",
  semantics: "/semantics.html#fall-back",
  "api-route": "/reference/Route.html#retry",
  "api-service": "/reference/GatewayService.html"
}

/** The faults of a page: errors, requests that fail or go elsewhere, content wider than the window. */
const watch = (page: Page, origin: string): Array<string> => {
  const complaints: Array<string> = []
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`))
  page.on("console", (message) => message.type() === "error" && complaints.push(`console: ${message.text()}`))
  page.on(
    "response",
    (response) => response.status() >= 400 && complaints.push(`${response.status()} ${response.url()}`)
  )
  page.on("request", (request) => {
    if (!request.url().startsWith(origin) && !/^(?:data|blob|file):/.test(request.url()))
      complaints.push(`requests ${request.url()}`)
  })
  return complaints
}

const settle = async (page: Page): Promise<void> => {
  await page.waitForLoadState("networkidle")
  await page.evaluate(() => document.fonts.ready)
  await page.waitForFunction(() => document.querySelector("pre.diagram") === null)
}

const photograph = async (browser: Browser, origin: string): Promise<ReadonlyArray<string>> => {
  const complaints: Array<string> = []
  for (const [device, viewport] of Object.entries(sizes)) {
    for (const colorScheme of ["light", "dark"] as const) {
      const context = await browser.newContext({ viewport, colorScheme, reducedMotion: "reduce" })
      for (const [name, path] of Object.entries(shown)) {
        const page = await context.newPage()
        const own = watch(page, origin)
        await page.goto(origin + path)
        await settle(page)
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
        if (overflow > 0) own.push(`is ${overflow} px wider than the window`)
        const file = `${name}-${device}-${colorScheme}.png`
        await page.screenshot({ path: join(pictures, file), fullPage: name === "home" })
        complaints.push(...own.map((complaint) => `${file}: ${complaint}`))
        await page.close()
      }
      await context.close()
    }
  }
  return complaints
}

/** Searches, as a reader does, and takes a picture of what is found. */
const photographSearch = async (browser: Browser, origin: string): Promise<ReadonlyArray<string>> => {
  const page = await browser.newPage({ viewport: sizes.desktop })
  const complaints = watch(page, origin)
  await page.goto(`${origin}/getting-started.html`)
  await settle(page)
  await page.keyboard.press("Control+k")
  await page.fill(".VPLocalSearchBox input", "hedge")
  await page.waitForSelector(".VPLocalSearchBox .result")
  await page.screenshot({ path: join(pictures, "search.png") })
  await page.close()
  return complaints
}

/**
 * The readme with a style like GitHub's. GitHub's own service is not needed for that: Markdown and Mermaid come from
 * the site's packages.
 */
const readme = async (): Promise<string> => {
  const { createMarkdownRenderer } = await import("vitepress")
  const md = await createMarkdownRenderer(root, { theme: "github-light", anchor: { slugify: slug } })
  const html = md.render(read("README.md"), {
    path: join(root, "README.md"),
    relativePath: "README.md",
    cleanUrls: false
  })
  const style = readFileSync(join(site, "github.css"), "utf8")
  const text = html.replace(
    /<div class="language-mermaid[\s\S]*?<code[^>]*>([\s\S]*?)<\/code>[\s\S]*?<\/div>/g,
    (_, code: string) => `<pre class="mermaid">${code.replace(/<[^>]+>/g, "")}</pre>`
  )
  return `<!doctype html><meta charset="utf-8"><style>${style}</style><article>${text}</article>`
}

const photographReadme = async (browser: Browser): Promise<void> => {
  const page = await browser.newPage({ viewport: { width: 1012, height: 900 } })
  await page.setContent(await readme())
  await page.addScriptTag({ path: join(site, "node_modules/mermaid/dist/mermaid.min.js") })
  await page.evaluate(`mermaid.run({ querySelector: ".mermaid" })`)
  await page.screenshot({ path: join(pictures, "readme.png"), fullPage: true })
  await page.close()
}

const program = Effect.gen(function* () {
  if (Chromium.missing !== undefined) throw new Error(Chromium.missing)
  if (!existsSync(built)) throw new Error("there is no site yet: npm run docs")
  rmSync(pictures, { recursive: true, force: true })
  mkdirSync(pictures, { recursive: true })
  const server = yield* served
  const browser = yield* Chromium.start([])
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const complaints = [
    ...(yield* Effect.promise(() => photograph(browser, origin))),
    ...(yield* Effect.promise(() => photographSearch(browser, origin)))
  ]
  yield* Effect.promise(() => photographReadme(browser))
  console.log(`pictures are in ${pictures}`)
  if (complaints.length > 0) throw new Error(complaints.join("\n"))
})

await Effect.runPromise(Effect.scoped(program))
