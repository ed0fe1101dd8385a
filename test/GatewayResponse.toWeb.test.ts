/**
 * Bodies that are handed on: however one is cut, its reader must not take what it has for the complete answer.
 */
import type { ServerResponse } from "node:http"
import { gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as GatewayResponse from "effect-ai-gateway/GatewayResponse"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as StreamResponse from "effect-ai-gateway/StreamResponse"
import { clients } from "./support/httpClients.ts"
import { makePeer } from "./support/httpPeer.ts"

const noise = Buffer.from(Array.from({ length: 5000 }, (_, i) => Math.sin(i)).join(","))

/** The first part of a body. */
const encodings: ReadonlyArray<readonly [name: string, begin: (response: ServerResponse) => void]> = [
  [
    "plain",
    (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" })
      response.write("data: 1\n\n")
    }
  ],
  [
    "gzip",
    (response) => {
      response.writeHead(200, { "content-type": "text/event-stream", "content-encoding": "gzip" })
      response.write(gzipSync(noise).subarray(0, -100))
    }
  ]
]

const run = GatewayService.GatewayService.use((gateway) =>
  gateway.run({ provider: "openai", endpoint: "chat/completions", query: {} })
)

const isCut = (text: Promise<string>) =>
  Effect.promise(() =>
    text.then(
      () => false,
      () => true
    )
  )

/** Reads to the end, or to the error. */
const drain = async (body: Response["body"]): Promise<string> => {
  const reader = body?.getReader()
  while ((await reader?.read())?.done === false);
  return ""
}

for (const [client, layer] of clients) {
  for (const [encoding, begin] of encodings) {
    describe(`${client}, ${encoding}`, () => {
      const opened = Effect.gen(function* () {
        let cut = (): void => {}
        const peer = yield* makePeer((_, response) => {
          cut = () => response.destroy()
          begin(response)
        })
        const gateway = GatewayService.layerHttp({ accountId: "a", gateway: "g", baseUrl: peer.url })
        const response = yield* Effect.provide(run, Layer.provide(gateway, layer))
        return { response, peer, cut: () => cut() }
      })

      for (const [form, handOn] of [
        ["toWeb", GatewayResponse.toWeb],
        ["fromBytes", (response: GatewayResponse.GatewayResponse) => StreamResponse.fromBytes(response)]
      ] as const) {
        it.live(`${form}: a connection that breaks breaks the body and its copy`, () =>
          Effect.gen(function* () {
            const { cut, response } = yield* opened
            const web = handOn(response)
            const texts = [web.clone().text(), web.text()].map((text) => isCut(text))
            const cuts = Effect.all(texts, { concurrency: "unbounded" })
            assert.deepStrictEqual(yield* Effect.raceFirst(cuts, later(cut)), [true, true])
          })
        )

        it.live(`${form}: a late cancel breaks the body, whether it is being read or not`, () =>
          Effect.gen(function* () {
            for (const isRead of [true, false]) {
              const { peer, response } = yield* opened
              const web = handOn(response)
              const early = isRead ? drain(web.body) : undefined
              early?.catch(() => undefined)
              if (isRead) yield* Effect.sleep(20)
              yield* response.cancel
              assert.isTrue(yield* isCut(early ?? drain(web.body)))
              yield* peer.until(() => peer.open() === 0)
            }
          })
        )
      }
    })
  }
}

/** Does something when the others have begun to wait. */
const later = (act: () => void): Effect.Effect<never> =>
  Effect.andThen(
    Effect.sleep(20),
    Effect.suspend(() => {
      act()
      return Effect.never
    })
  )
