/** A process with one worker of a job, to be killed at any moment. Its argument is the task as JSON. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Cluster from "effect-ai-gateway/cluster"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import { client } from "./postgres.ts"

export interface Task {
  readonly url: string
  readonly database: string
  readonly job: string
  readonly concurrency: number
  readonly maxAttempts?: number
  /** The item that kills the process, after it is written down as sent. */
  readonly poison?: string
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
  Layer.provide(NodeHttpClient.layerUndici),
  Layer.merge(client(task.database))
)

const program = Cluster.worker({
  job: task.job,
  route: Provider.openai.chat("m").pipe(
    Route.map(({ text }) => text),
    Route.retry({ attempts: 3, delay: 5 })
  ),
  input: Schema.String,
  value: Schema.String,
  concurrency: task.concurrency,
  lease: "4 seconds",
  maxAttempts: task.maxAttempts,
  options: ({ id }) => {
    if (id === task.poison) process.kill(process.pid, "SIGKILL")
    return {}
  }
})

await Effect.runPromise(Effect.provide(program, Live)).then(
  (summary) => process.stdout.write(`${JSON.stringify({ ...summary, targets: {} })}\n`),
  (error) => {
    process.stdout.write(`failed ${error.message}\n`)
    process.exitCode = 3
  }
)
