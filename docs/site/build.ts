/**
 * Builds the site into `docs/site/dist`: installs what it needs, writes the pages and the API reference, checks types
 * and links.
 *
 *     npm run docs
 */
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { delimiter, dirname, join } from "node:path"
import { site } from "./paths.ts"

const run = (command: string, ...args: ReadonlyArray<string>): void => {
  const { error, status } = spawnSync(command, args, {
    cwd: site,
    // npm and its scripts run on the Node that runs this.
    env: { ...process.env, PATH: [dirname(process.execPath), process.env["PATH"]].join(delimiter) },
    stdio: "inherit",
    shell: command === "npm" && process.platform === "win32"
  })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}`)
}

const tool = (file: string, ...args: ReadonlyArray<string>): void => {
  run(process.execPath, join(site, "node_modules", file), ...args)
}

/**
 * Whether the installed packages are those of the lock file. npm keeps a copy of it beside them, without the project
 * itself.
 */
const isInstalled = (): boolean => {
  const installed = join(site, "node_modules/.package-lock.json")
  if (!existsSync(installed)) return false
  const versions = (file: string): string => {
    const { packages } = JSON.parse(readFileSync(file, "utf8"))
    return Object.keys(packages)
      .filter((path) => path !== "" && !packages[path].optional)
      .map((path) => `${path}@${packages[path].version}`)
      .sort()
      .join()
  }
  return versions(installed) === versions(join(site, "package-lock.json"))
}

const timed = async (step: string, work: () => void | Promise<void>): Promise<void> => {
  const start = performance.now()
  await work()
  console.log(`${step}: ${((performance.now() - start) / 1000).toFixed(1)} s`)
}

if (!isInstalled()) await timed("packages", () => run("npm", "ci", "--no-audit", "--no-fund"))
await timed("types", () => tool("typescript/bin/tsc", "-p", "tsconfig.json"))
await timed("pages", async () => (await import("./stage.ts")).stage())
await timed("reference", async () => (await import("./reference.ts")).writeReference())
await timed("site", () => tool("vitepress/bin/vitepress.js", "build", "."))
await timed("links", async () => (await import("./check.ts")).check())
