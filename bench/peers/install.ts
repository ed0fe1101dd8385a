/**
 * Installs the peers, each family in its own folder because their version ranges exclude each other. Installed peers
 * stay.
 *
 *     node bench/peers/install.ts
 *
 * npm runs on the Node that runs this: on an older one it would silently choose older versions.
 */
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { delimiter, dirname } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { folders } from "../contenders/index.ts"

const here = fileURLToPath(new URL(".", import.meta.url))

interface Manifest {
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
}

const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(`${folder}/package.json`, "utf8"))

const versionOf = (modules: string, name: string): string | undefined =>
  existsSync(`${modules}/${name}/package.json`) ? manifestOf(`${modules}/${name}`).version : undefined

/** Whether the peers of a folder are installed, in the versions that it names. */
export const isInstalled = (folder: string): boolean =>
  Object.entries(manifestOf(`${here}${folder}`).dependencies).every(
    ([name, version]) => versionOf(`${here}${folder}/node_modules`, name) === version
  )

/** Installs missing peers. Fails with npm's output. */
export const install = (wanted: ReadonlyArray<string> = folders): void => {
  for (const folder of wanted) {
    if (isInstalled(folder)) continue
    console.error(`installing the peers in bench/peers/${folder}`)
    const { error, status, stderr } = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts"], {
      cwd: `${here}${folder}`,
      env: { ...process.env, PATH: [dirname(process.execPath), process.env["PATH"]].join(delimiter) },
      encoding: "utf8",
      shell: process.platform === "win32"
    })
    if (error !== undefined || status !== 0) {
      const what = error?.message ?? `it ended with ${status}\n${stderr}`
      throw new Error(`npm ci in bench/peers/${folder}: ${what}\n(--no-peers does without)`)
    }
  }
}

/** The versions of the peers that are installed, by package. */
export const versions = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    folders
      .filter(isInstalled)
      .flatMap((folder) => Object.entries(manifestOf(`${here}${folder}`).dependencies))
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
  )

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) install()
