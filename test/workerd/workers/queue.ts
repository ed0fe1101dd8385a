/**
 * The example's Worker with additions for tests: a way to send any message, a Worker that dies, and a table that is
 * unreachable once.
 */
import type { D1Database, ExecutionContext, MessageBatch } from "@cloudflare/workers-types"
import example from "../../../docs/examples/queue/worker.ts"

type Env = Parameters<typeof example.queue>[1]

/** Every delivery, as queue, item and attempt. */
const deliveries: Array<readonly [queue: string, id: unknown, attempts: number]> = []
const failed = new Set<unknown>()

const fieldOf = (body: unknown, field: "id" | "prompt"): unknown =>
  typeof body === "object" && body !== null ? Reflect.get(body, field) : undefined

/** Fails once for each id that begins with `unlucky`. */
const unlucky = (db: D1Database): Pick<D1Database, "prepare"> => ({
  prepare: (sql) => {
    const statement = db.prepare(sql)
    const bind = statement.bind.bind(statement)
    statement.bind = (...values) => {
      const [id] = values
      if (sql.startsWith("INSERT") && String(id).startsWith("unlucky") && !failed.has(id)) {
        failed.add(id)
        throw new Error("the table is out of reach")
      }
      return bind(...values)
    }
    return statement
  }
})

const environments = new WeakMap<Env, Env>()
const environmentOf = (env: Env): Env => {
  const made = environments.get(env) ?? {
    ...env,
    RESULTS: Object.assign(Object.create(env.RESULTS), unlucky(env.RESULTS))
  }
  environments.set(env, made)
  return made
}

export default {
  fetch: async (request: Request, env: Env, ctx: ExecutionContext): Promise<Response> => {
    const { pathname } = new URL(request.url)
    if (pathname === "/deliveries") return Response.json(deliveries)
    if (pathname === "/raw") {
      await env.QUESTIONS.send(await request.json())
      return new Response(null, { status: 202 })
    }
    return example.fetch(request, environmentOf(env), ctx)
  },
  queue: async (batch: MessageBatch, env: Env, ctx: ExecutionContext): Promise<void> => {
    for (const { attempts, body } of batch.messages) {
      deliveries.push([batch.queue, fieldOf(body, "id") ?? body, attempts])
    }
    const isDeadly = ({ body }: MessageBatch["messages"][number]) => fieldOf(body, "prompt") === "die"
    if (batch.queue.endsWith("-dead") || !batch.messages.some(isDeadly)) {
      return example.queue(batch, environmentOf(env), ctx)
    }
    // The other messages have ended by then, and are delivered again nevertheless.
    const others = { ...batch, queue: batch.queue, messages: batch.messages.filter((message) => !isDeadly(message)) }
    await example.queue(others, environmentOf(env), ctx)
    throw new Error("the Worker dies")
  }
}
