/**
 * `npm run example:worker`: the Worker beside this file in the runtime that Cloudflare runs, with the genuine `env.AI`,
 * and behind it a local gateway that can be told to fail. No network, no account.
 *
 *     npm run example:worker -- --port 8787 --gateway-port 8790
 */
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as LocalWorker from "effect-ai-gateway/local/miniflare"
import { build } from "esbuild"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The bundle that wrangler would deploy. */
const bundle = async (): Promise<string> => {
  const { outputFiles } = await build({
    entryPoints: [here("worker.ts")],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    platform: "browser",
    conditions: ["effect-ai-gateway-source", "workerd", "worker", "browser"]
  })
  return outputFiles[0]?.text ?? ""
}

interface Settings {
  readonly compatibility_date: string
  readonly compatibility_flags: ReadonlyArray<string>
  readonly vars: { readonly AI_GATEWAY_ID: string }
}

/** The settings of the deployment are those of the laptop. */
const settings = async (): Promise<Settings> =>
  JSON.parse((await readFile(here("wrangler.jsonc"), "utf8")).replace(/^\s*\/\/.*$/gm, ""))

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "8787" },
    "gateway-port": { type: "string", default: "8790" }
  }
})

NodeRuntime.runMain(
  Effect.gen(function* () {
    const { compatibility_date, compatibility_flags, vars } = yield* Effect.promise(settings)
    const worker = yield* LocalWorker.start({
      script: yield* Effect.promise(bundle),
      compatibilityDate: compatibility_date,
      compatibilityFlags: compatibility_flags,
      vars,
      port: Number(values.port),
      gatewayPort: Number(values["gateway-port"]),
      gateway: { gateway: vars.AI_GATEWAY_ID }
    })
    yield* Console.log(`Worker on ${worker.url}, its gateway on ${worker.gatewayUrl}; Ctrl-C stops both

  curl ${worker.url}/chat -d '{"message":"Which planet has the most moons?"}'

OpenAI fails once, so the next question is answered by Anthropic:

  curl ${worker.gatewayUrl}/__admin/script -d '{"provider":"openai","faults":[{"status":503}]}'

Feedback on an answer, and the log that has it (put in the answer's logId):

  curl ${worker.url}/feedback -d '{"logId":"…","feedback":1}'
  curl ${worker.gatewayUrl}/client/v4/accounts/local/ai-gateway/gateways/${vars.AI_GATEWAY_ID}/logs/…
`)
    return yield* Effect.never
  }).pipe(Effect.scoped)
)
