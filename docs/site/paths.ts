/**
 * Where the site's parts are.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** Folder of the site's sources. */
export const site = fileURLToPath(new URL(".", import.meta.url))

/** Folder of the project. */
export const root = fileURLToPath(new URL("../..", import.meta.url))

const cache = join(root, ".cache/site")

/** The pages that VitePress reads, written by each build. Below the site's folder, because they import its packages. */
export const staged = join(site, ".cache/pages")

/** The cache of VitePress between builds. */
export const vitepressCache = join(site, ".cache/vitepress")

/** The declarations of the library, of which the reference is made. */
export const declarations = join(cache, "declarations")

/** Signatures on their way through the formatter. */
export const signatures = join(cache, "signatures")

/** The screenshots. */
export const pictures = join(cache, "pictures")

/** The finished site. */
export const built = join(site, "dist")

/** Text of a file of the project. */
export const read = (file: string): string => readFileSync(join(root, file), "utf8")

/** The fields of the project's `package.json` that the site uses. */
export const manifest: {
  readonly name: string
  readonly version: string
  readonly description: string
  readonly repository?: string | { readonly url: string }
  readonly exports: Readonly<Record<string, string | null | Readonly<Record<string, string>>>>
} = JSON.parse(read("package.json"))
