/** The gateway of a job: flags take precedence over the environment, and tokens come from the environment only. */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { isGatewayError } from "../../GatewayError.ts"
import * as GatewayService from "../../GatewayService.ts"
import { defined } from "../../internal/data/defined.ts"
import * as Router from "../../Router.ts"
import * as Transport from "../../Transport.ts"
import { CliFailure } from "./failure.ts"

/** Flags; the environment has the rest. */
export interface Flags {
  readonly accountId: string | undefined
  readonly gateway: string | undefined
  readonly baseUrl: string | undefined
}

/** Origin of each option of the gateway. */
const origins: Readonly<Record<string, string>> = {
  accountId: "--account-id or CLOUDFLARE_ACCOUNT_ID",
  gateway: "--gateway or AI_GATEWAY_ID",
  baseUrl: "--base-url or AI_GATEWAY_URL",
  apiBaseUrl: "CLOUDFLARE_API_URL",
  token: "CF_AIG_TOKEN",
  apiToken: "CLOUDFLARE_API_TOKEN",
  maxAnswerBytes: "AI_GATEWAY_MAX_ANSWER_BYTES"
}

const required = [
  ["CLOUDFLARE_ACCOUNT_ID", "accountId", "the id of the account"],
  ["AI_GATEWAY_ID", "gateway", "the id of the gateway"]
] as const

const refused = (error: unknown): CliFailure => {
  if (!isGatewayError(error)) {
    return new CliFailure({
      message: `the environment: expected texts, and a whole number in ${origins["maxAnswerBytes"]}`
    })
  }
  const { message, reason } = error
  const field = reason._tag === "InvalidRequest" ? (reason.field ?? "") : ""
  const accepted = reason._tag === "InvalidRequest" ? reason.accepted : undefined
  return new CliFailure({
    message: accepted === undefined ? message : `${origins[field] ?? field}: expected ${accepted}`
  })
}

/** A module with its own transport. */
interface TransportModule {
  readonly layer: Layer.Layer<HttpClient.HttpClient, unknown>
}

/**
 * The transport of a module, or `fetch`: undici is an optional peer, and the layer over Bun's own `undici` fails when
 * it is built, because that module dispatches nothing.
 */
export const transportOr = (load: () => Promise<TransportModule>): Layer.Layer<HttpClient.HttpClient> =>
  Layer.unwrap(
    Effect.match(Effect.tryPromise(load), {
      onFailure: () => Transport.layerFetch,
      onSuccess: ({ layer }) => Layer.catchCause(layer, () => Transport.layerFetch)
    })
  )

/**
 * Connects over undici, or `fetch`, while the scope is open. Sends nothing. Fails with `CliFailure` naming the flag and
 * the variable.
 */
export const connect = Effect.fnUntraced(function* ({
  accountId,
  baseUrl,
  gateway
}: Flags): Effect.fn.Return<Context.Context<Router.Router | GatewayService.GatewayService>, CliFailure, Scope.Scope> {
  const flags = defined({ CLOUDFLARE_ACCOUNT_ID: accountId, AI_GATEWAY_ID: gateway, AI_GATEWAY_URL: baseUrl })
  const provider = ConfigProvider.orElse(ConfigProvider.fromUnknown(flags), yield* ConfigProvider.ConfigProvider)
  const config = ConfigProvider.layer(provider)
  for (const [name, field, what] of required) {
    const value = yield* Effect.mapError(Effect.provide(Config.option(Config.String(name)), config), refused)
    if (Option.isNone(value)) {
      return yield* new CliFailure({ message: `${origins[field] ?? field}: expected ${what}` })
    }
  }
  const transport = transportOr(() => import("../../undici/Undici.ts"))
  return yield* Router.layer.pipe(
    Layer.provideMerge(GatewayService.layerConfig),
    Layer.provide(Layer.merge(transport, config)),
    Layer.build,
    Effect.mapError(refused)
  )
})
