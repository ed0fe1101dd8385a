/**
 * Workers under test: our published entry points, bundled as wrangler does it, from source.
 */
import { fileURLToPath } from "node:url"
import { build, type Plugin } from "esbuild"

/** A bundled Worker. */
export interface Bundle {
  readonly code: string
  /** Paths of the bundled files, relative to the repository. */
  readonly inputs: ReadonlyArray<string>
}

const root = fileURLToPath(new URL("../../..", import.meta.url))

/** Bundles a module for workerd. Node's modules are unavailable: an import of `node:…` fails the build. */
export const bundle = async (
  entry: URL,
  options: { readonly define?: Record<string, string>; readonly plugins?: Array<Plugin>; readonly banner?: string } = {}
): Promise<Bundle> => {
  const { metafile, outputFiles } = await build({
    entryPoints: [fileURLToPath(entry)],
    absWorkingDir: root,
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "browser",
    conditions: ["effect-ai-gateway-source", "workerd", "worker", "browser"],
    write: false,
    metafile: true,
    logLevel: "error",
    define: options.define ?? {},
    plugins: options.plugins ?? [],
    banner: options.banner === undefined ? {} : { js: options.banner }
  })
  const [file] = outputFiles
  if (file === undefined) throw new Error("nothing was bundled")
  return { code: file.text, inputs: Object.keys(metafile.inputs) }
}
