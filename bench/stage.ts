/**
 * Builds the library as it is published in a temporary folder: neither a stale `dist/` nor a concurrent build affects
 * the measurement.
 */
import { execFile } from "node:child_process"
import { cp, mkdtemp, realpath, rm, symlink } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { root as here } from "./results.ts"

/** Builds the sources of a checkout with the tools of this one, and removes the folder after its use. */
export const withStage = async <A>(use: (folder: string) => Promise<A>, root: string = here): Promise<A> => {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "effect-ai-gateway-bench-")))
  try {
    for (const part of ["package.json", "tsconfig.json", ".config", "src"]) {
      await cp(join(root, part), join(folder, part), { recursive: true })
    }
    await symlink(join(here, "node_modules"), join(folder, "node_modules"), "junction")
    const tsup = join(here, "node_modules/tsup/dist/cli-default.js")
    await promisify(execFile)(process.execPath, [tsup, "--config", ".config/tsup.config.ts"], { cwd: folder })
    return await use(`${folder}/`)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
