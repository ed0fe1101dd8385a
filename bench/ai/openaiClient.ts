/**
 * Loads `@effect/ai-openai` from npm, which was made for a beta of Effect 4, and redirects its imports to today's
 * module paths.
 */
import { registerHooks } from "node:module"

const moved = (specifier: string): string =>
  specifier === "effect/Encoding"
    ? new URL("../../test/support/effectEncoding.ts", import.meta.url).href
    : specifier.replace(/^effect\/unstable\//, "effect/")

/** Its modules. */
export const load = async () => {
  registerHooks({ resolve: (specifier, context, next) => next(moved(specifier), context) })
  return {
    OpenAiClient: await import("@effect/ai-openai/OpenAiClient"),
    OpenAiLanguageModel: await import("@effect/ai-openai/OpenAiLanguageModel")
  }
}
