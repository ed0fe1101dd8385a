/** URLs that `getUrl` returns. */
import * as Result from "effect/Result"
import { trimSlashes } from "../../internal/data/trimSlashes.ts"
import { isGatewaySlug } from "../gateway/providers.ts"
import type { GatewayState } from "../gateway/state.ts"
import { code, type Refusal, refuse } from "../wire/errors.ts"

/** The data plane URL of a gateway; with a provider, the base URL for that provider's SDK. */
export const gatewayUrl = (baseUrl: string, account: string, gateway: string, provider?: string): string =>
  `${trimSlashes(baseUrl)}/v1/${account}/${gateway}/${provider ?? ""}`

/** The URL for a provider; `universal` stands for none. Fails with code 2008 for an unknown slug. */
export const urlOf = (
  core: GatewayState,
  account: string,
  gateway: string,
  provider: string
): Result.Result<string, Refusal> => {
  if (provider === "universal") return Result.succeed(gatewayUrl(core.baseUrl(), account, gateway))
  return provider === "compat" || (core.isProvider(provider) && isGatewaySlug(provider))
    ? Result.succeed(gatewayUrl(core.baseUrl(), account, gateway, provider))
    : Result.fail(refuse(400, code.unknownProvider, "Invalid provider"))
}
