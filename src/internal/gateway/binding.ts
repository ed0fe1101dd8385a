/**
 * A gateway over the Workers binding: `env.AI.gateway(id)`, which shares no state between calls.
 */
import * as Effect from "effect/Effect"
import { BindingMissing, GatewayError } from "../../GatewayError.ts"
import * as GatewayOptions from "../../GatewayOptions.ts"
import type { UniversalRequest } from "../../UniversalRequest.ts"
import { jsonText } from "../data/json.ts"
import { endpointSecrets, reveal } from "../data/secrets.ts"
import { type AiBinding, call as callBinding, type GatewayBinding } from "../transport/binding.ts"
import { type Backend, modelOf, noJson } from "./backend.ts"
import { type CallContext, respond, thrownFailure } from "./respond.ts"

/**
 * Makes fresh objects for one call: the binding rewrites the headers of its legs, and throws synchronously if they are
 * frozen.
 */
const toWire = (legs: UniversalRequest) => {
  const secrets: Array<string> = []
  const wire = legs.map(({ config, endpoint, headers, provider, query }) => {
    const revealed = reveal({ "content-type": "application/json", ...headers })
    secrets.push(...revealed.secrets, ...endpointSecrets(endpoint))
    return { provider, endpoint, headers: revealed.headers, query, ...(config && { config: { ...config } }) }
  })
  return { wire, secrets }
}

const isJson = (legs: UniversalRequest): boolean => jsonText(legs.map(({ query }) => query)) !== undefined

/** Makes a gateway over the binding. `gateway` has been validated, because the binding puts it into a URL unchanged. */
export const makeBackend = (ai: Pick<AiBinding, "gateway">, gateway: string, maxBytes: number | undefined): Backend => {
  // If gateways are remote stubs by default, an abort signal would not cross; this requests the plain class.
  const plain = { beta: false }
  const binding = (): GatewayBinding => ai.gateway(gateway, plain)
  const manage = <A>(
    method: string,
    logId: string | undefined,
    invoke: () => Promise<A>
  ): Effect.Effect<A, GatewayError> =>
    Effect.tryPromise({
      try: invoke,
      catch: (thrown) => thrownFailure({ method, surface: "logs", secrets: [], logId }, thrown)
    })
  return {
    run: (legs, options, method, _, further) =>
      Effect.suspend(() => {
        const { secrets, wire } = toWire(legs)
        const { extraHeaders, gateway } = GatewayOptions.toBinding(options)
        const call: CallContext = {
          method,
          surface: "gateway",
          secrets,
          eventId: options.eventId,
          maxBytes,
          ...(legs.length === 1 && { provider: legs[0].provider, model: modelOf(legs[0]) })
        }
        return Effect.flatMap(
          callBinding(
            (signal) =>
              binding().run(wire, {
                gateway,
                extraHeaders: further ? { ...further, ...extraHeaders } : extraHeaders,
                signal
              }),
            // A body without a JSON form is the caller's mistake; the binding throws a `TypeError` when it writes the
            // JSON.
            (thrown) => (isJson(legs) ? thrownFailure(call, thrown) : noJson(method, "legs"))
          ),
          (answer) => respond(call, answer)
        )
      }),
    getLog: (logId) => manage("GatewayService.getLog", logId, () => binding().getLog(logId)),
    patchLog: (logId, patch) =>
      Effect.asVoid(manage("GatewayService.patchLog", logId, () => binding().patchLog(logId, { ...patch }))),
    getUrl: (provider) => manage("GatewayService.getUrl", undefined, () => binding().getUrl(provider)),
    listLogs: () =>
      Effect.fail(
        new GatewayError({
          method: "GatewayService.listLogs",
          reason: new BindingMissing({
            member: "AI.gateway(id).listLogs: only GatewayService.layerHttp lists logs"
          })
        })
      )
  }
}
