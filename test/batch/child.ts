/**
 * A process that runs a batch over a journal in files and writes down each reported result, to be killed at any moment.
 * Its argument is the task as JSON.
 */
import { appendFileSync } from "node:fs"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Batch from "effect-ai-gateway/Batch"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as FileJournal from "effect-ai-gateway/journal"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"

export interface Task {
  readonly url: string
  readonly journal: string
  /** File of the results, a line each: `new` or `again`, the id, the value. */
  readonly out: string
  readonly items: number
  readonly concurrency: number
}

const task: Task = JSON.parse(process.argv[2] ?? "{}")

const Live = Router.layer.pipe(
  Layer.provideMerge(
    GatewayService.layerHttp({
      accountId: "local",
      gateway: "default",
      apiToken: Redacted.make("local"),
      baseUrl: task.url,
      apiBaseUrl: `${task.url}/client/v4`
    })
  ),
  Layer.provide(NodeHttpClient.layerUndici)
)

const route = Provider.openai.chat("m").pipe(
  Route.map(({ text }) => text),
  Route.retry({ attempts: 3, delay: 5 })
)

const program = Effect.gen(function* () {
  process.stdout.write("started\n")
  const summary = yield* Batch.runWithSummary(
    Stream.range(0, task.items - 1),
    {
      route,
      id: (item) => `item-${item}`,
      input: (item) => `item-${item}`,
      concurrency: task.concurrency,
      journal: {
        store: FileJournal.make({ path: task.journal, segmentBytes: 50_000 }),
        value: Schema.String,
        fingerprint: { items: String(task.items) }
      }
    },
    (result) =>
      Effect.sync(() => {
        const value = result._tag === "Success" ? result.value : result._tag
        appendFileSync(task.out, `${result.replayed ? "again" : "new"} ${result.id} ${value}\n`)
      })
  )
  process.stdout.write(`${JSON.stringify({ ...summary, targets: {} })}\n`)
})

await Effect.runPromise(Effect.provide(program, Live)).catch((error) => {
  process.stdout.write(`failed ${error.message}\n`)
  process.exitCode = 3
})
