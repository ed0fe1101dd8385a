/**
 * Loaded before a program (`--import`): resolves `effect-ai-gateway` in the checkout that `BENCH_CHECKOUT` names.
 * Effect stays this one's, so that both are measured on the same.
 */
import { registerHooks } from "node:module"
import { pathToFileURL } from "node:url"

const root = process.env["BENCH_CHECKOUT"]

if (root !== undefined) {
  const there = pathToFileURL(`${root}/package.json`).href
  const here = new URL("../package.json", import.meta.url).href
  registerHooks({
    resolve: (specifier, context, next) => {
      const [scope] = specifier.split("/")
      const foreign = context.parentURL?.startsWith(new URL(".", there).href) === true && !specifier.startsWith(".")
      const parentURL = scope === "effect-ai-gateway" ? there : foreign ? here : undefined
      return next(specifier, parentURL === undefined ? context : { ...context, parentURL })
    }
  })
}
