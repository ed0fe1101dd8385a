/** Shared parts of the demos: where they run, and how they print and check. */
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import type * as LogTrail from "effect-ai-gateway/LogTrail"
import type * as LocalGateway from "effect-ai-gateway/local"
import { serve } from "effect-ai-gateway/local/node"
import type * as Upstream from "effect-ai-gateway/local/Upstream"
import * as Router from "effect-ai-gateway/Router"

/** Ends the program when a claim does not hold. */
export const check = (claim: string, holds: boolean): Effect.Effect<void> =>
  holds ? Console.log(`  ok  ${claim}`) : Effect.die(new Error(`NOT TRUE: ${claim}`))

export const heading = (text: string): Effect.Effect<void> => Console.log(`\n== ${text}\n`)

/** Attempts as a table. */
export const table = (attempts: ReadonlyArray<LogTrail.Attempt>): string => {
  const rows = attempts.map(({ duration, error, logId, outcome, status, target }) => [
    target,
    status === undefined ? "-" : String(status),
    error === undefined ? outcome : error.message,
    Duration.format(duration),
    logId ?? "-"
  ])
  const all = [["target", "status", "reason", "duration", "log id"], ...rows]
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  return all.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`).join("\n")
}

/** A program of a demo. `local` is there when the gateway is ours and can be told to fail. */
type Program<E> = (
  local: LocalGateway.LocalGateway | undefined
) => Effect.Effect<void, E, GatewayService.GatewayService | Router.Router>

const onLocal = <E>(program: Program<E>, upstreams: Readonly<Record<string, Upstream.Upstream>>) =>
  Effect.gen(function* () {
    const token = Redacted.make("demo-token")
    const server = yield* serve({ port: 0, account: "demo", gateway: "demo", token, upstreams })
    yield* Console.log(`local gateway on ${server.url}`)
    const live = Layer.provideMerge(
      Router.layer,
      GatewayService.layerHttp({
        accountId: "demo",
        gateway: "demo",
        token,
        apiToken: token,
        baseUrl: server.url,
        apiBaseUrl: `${server.url}/client/v4`
      })
    )
    yield* program(server.gateway).pipe(Effect.provide(live))
  })

const onReal = <E>(program: Program<E>) =>
  Effect.gen(function* () {
    yield* Console.log("the real service, as the environment says")
    yield* program(undefined).pipe(Effect.provide(Layer.provideMerge(Router.layer, GatewayService.layerConfig)))
  })

const isReal = process.env["CLOUDFLARE_ACCOUNT_ID"] !== undefined && process.env["AI_GATEWAY_ID"] !== undefined

/** Runs a program against the real service when the environment names it, else against a local gateway as a server. */
export const run = <E>(program: Program<E>, upstreams: Readonly<Record<string, Upstream.Upstream>> = {}) =>
  Effect.gen(function* () {
    yield* isReal ? onReal(program) : onLocal(program, upstreams)
    yield* Console.log("\nEverything above was checked.")
  })
