/** Pages that would mislead a reader, although every command of theirs works. */
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Path from "./path.ts"
import * as Docs from "./support.ts"

let folder = ""
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "effect-ai-gateway-path-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const packages = { tarball: "", modules: join(Docs.root, "node_modules") }
const failureOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "no failure",
    (error: Error) => error.message
  )

describe("a page that is followed", () => {
  it("fails when it installs a version that is not the tested one", async () => {
    const steps = (name: string) => Path.stepsOf(`\`\`\`sh\nnpm i ${name}\n\`\`\`\n`)
    const follow = (name: string) => failureOf(Path.follow(folder, steps(name), packages))
    assert.include(await follow("effect@3"), "the page installs effect@3")
    assert.include(await follow("-D miniflare@40"), "the page installs miniflare@40")
    assert.include(await follow("@effect/platform-node@3.1"), "the page installs @effect/platform-node@3.1")
    assert.include(await follow("no-such-package"), "no-such-package")
    assert.strictEqual(await follow("effect@4 @effect/platform-node esbuild"), "no failure")
  })

  it("has the variables of a server only where it tells to paste them", () => {
    const pastes = (words: string) =>
      Path.stepsOf(`\`\`\`sh\nnpx x serve\n\`\`\`\n\n${words}\n\n\`\`\`sh\nnpx x batch\n\`\`\`\n`).map(
        (step) => step.kind === "run" && step.pastes
      )
    assert.deepStrictEqual(pastes("It prints `export` lines. Open a terminal and paste them there."), [true, false])
    assert.deepStrictEqual(pastes("Open another terminal."), [false, false])
  })

  it("fails when the settings of the deployed Worker differ from those that ran", async () => {
    const wrangler = {
      main: "worker.ts",
      compatibility_date: "2026-07-01",
      compatibility_flags: ["enable_request_signal"],
      ai: { binding: "AI" },
      vars: { AI_GATEWAY_ID: "my-gateway" }
    }
    const dev = `compatibilityDate: "2026-07-01", compatibilityFlags: ["enable_request_signal"], vars: { AI_GATEWAY_ID: "my-gateway" }`
    await writeFile(join(folder, "worker.ts"), "")
    await writeFile(join(folder, "dev.ts"), dev)
    const check = async (change: object) => {
      await writeFile(join(folder, "wrangler.jsonc"), JSON.stringify({ ...wrangler, ...change }))
      return failureOf(Path.sameSettings(folder))
    }
    assert.strictEqual(await check({}), "no failure")
    assert.include(await check({ main: "wroker.ts" }), "wroker.ts")
    assert.include(await check({ compatibility_date: "2025-01-01" }), "compatibilityDate")
    assert.include(await check({ compatibility_flags: [] }), "compatibilityFlags")
    assert.include(await check({ ai: { binding: "GATEWAY" } }), "GATEWAY")
    assert.include(await check({ vars: { AI_GATEWAY_ID: "other" } }), "AI_GATEWAY_ID")
  })
})
