import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { build } from "esbuild"

describe("bundles of Provider", () => {
  const bytesOf = async (program: string) => {
    const { metafile } = await build({
      stdin: {
        contents: `import * as Provider from "effect-ai-gateway/Provider"\nconsole.log(${program})`,
        resolveDir: fileURLToPath(new URL("..", import.meta.url)),
        loader: "ts"
      },
      bundle: true,
      write: false,
      metafile: true,
      minify: true,
      format: "esm",
      conditions: ["effect-ai-gateway-source"]
    })
    const inputs = Object.values(metafile.outputs).flatMap((output) => Object.entries(output.inputs))
    return (module: string): number =>
      inputs.filter(([path]) => path.endsWith(module)).reduce((sum, [, { bytesInOutput }]) => sum + bytesInOutput, 0)
  }

  it("hold the codecs that are used", async () => {
    const openai = await bytesOf(`Provider.openai.chat("m")`)
    assert.isAbove(openai("src/internal/dialect/openai.ts"), 1000)
    assert.strictEqual(openai("src/internal/dialect/anthropic.ts"), 0)
    assert.strictEqual(openai("src/internal/dialect/google.ts"), 0)
    assert.strictEqual(openai("src/internal/route/jsonReader.ts"), 0)
    assert.strictEqual(openai("effect/dist/SchemaAST.js"), 0)
    const anthropic = await bytesOf(`Provider.anthropic.messages("m")`)
    assert.isAbove(anthropic("src/internal/dialect/anthropic.ts"), 1000)
    assert.strictEqual(anthropic("src/internal/dialect/openai.ts"), 0)
    assert.strictEqual(anthropic("src/internal/dialect/google.ts"), 0)
  })
})
