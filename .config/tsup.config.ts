import { readFile } from "node:fs/promises"
import { defineConfig } from "tsup"
import { annotatePure } from "./annotatePure.ts"

/**
 * One JavaScript file per source module, in the same tree, so that stack traces name real files and a bundler keeps only
 * the modules that a program imports. Relative imports therefore stay imports: only their extension changes.
 * The declarations come from `tsc` afterwards, because TypeScript 7 has no compiler API for tsup to call.
 */
export default defineConfig({
  entry: ["src/**/*.ts"],
  outDir: "dist",
  format: "esm",
  target: "es2022",
  platform: "neutral",
  bundle: true,
  splitting: false,
  treeshake: false,
  sourcemap: true,
  clean: true,
  dts: false,
  silent: true,
  // The sources are in the package, so the maps need not repeat them.
  esbuildOptions(options) {
    options.sourcesContent = false
  },
  esbuildPlugins: [
    {
      name: "keep-modules",
      setup(build) {
        build.onResolve({ filter: /^\.\.?\// }, (args) =>
          args.kind === "entry-point" ? undefined : { path: args.path.replace(/\.ts$/, ".js"), external: true }
        )
        build.onLoad({ filter: /\.ts$/ }, async (args) => ({
          contents: annotatePure(args.path, await readFile(args.path, "utf8")),
          loader: "ts"
        }))
      }
    }
  ]
})
