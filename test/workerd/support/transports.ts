/**
 * Stands in for `../../suites/transports.ts` inside the runtime: the genuine binding, and behind it a local gateway of
 * each test's own, which the binding's requests reach through {@link answer}.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as AiService from "../../../src/AiService.ts"
import type { GatewayError } from "../../../src/GatewayError.ts"
import * as GatewayService from "../../../src/GatewayService.ts"
import * as LocalGateway from "../../../src/local/LocalGateway.ts"

export class Local extends Context.Service<Local, LocalGateway.LocalGateway>()("test/Local") {}

export type Services = Local | GatewayService.GatewayService | AiService.AiService

let binding: AiService.AiBinding | undefined
/** The gateway of the test that is running, in that test's time. */
let current: { readonly local: LocalGateway.LocalGateway; readonly clock: Clock.Clock } | undefined

/** Sets `env.AI`. */
export const bind = (ai: AiService.AiBinding): void => {
  binding = ai
}

/** Answers a request of the binding. */
export const answer = (request: Request): Effect.Effect<Response, LocalGateway.Disconnect> =>
  current === undefined
    ? Effect.die(new Error("no test is running"))
    : Effect.provideService(current.local.handle(request), Clock.Clock, current.clock)

const layer = (options: LocalGateway.Options = {}): Layer.Layer<Services, GatewayError> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const token = Redacted.make("local-gateway-token")
      const local = yield* LocalGateway.make({ account: "acc", gateway: "gw", token, ...options })
      current = { local, clock: yield* Clock.Clock }
      if (binding === undefined) return yield* Effect.die(new Error("no binding"))
      return Layer.mergeAll(
        Layer.succeed(Local, local),
        GatewayService.layerBinding(binding, { gateway: "gw" }),
        AiService.layerBinding(binding)
      )
    })
  )

/** The only transport in here. */
export const genuine = { name: "the genuine binding", layer, canListLogs: false, canTag: true, hasSockets: false }
