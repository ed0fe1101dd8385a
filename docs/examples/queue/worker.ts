/**
 * A batch without a machine: questions wait in a Cloudflare Queue, and each ends once in a table, as an answer or as a
 * dead letter.
 *
 *     POST /questions [{ "id": "q1", "prompt": "…" }, …] → 202 when all are in the queue; at most 100 at once GET
 *     /results?after=q0 → up to 1,000 rows after that id, in the order of their ids
 *
 * A message may be delivered more than once, so the table decides: the first end of an id stays, and what has ended is
 * not asked again.
 */
import type { Ai, D1Database, ExecutionContext, Message, MessageBatch, Queue } from "@cloudflare/workers-types"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { decide, type GatewayError } from "effect-ai-gateway/GatewayError"
import * as GatewayService from "effect-ai-gateway/GatewayService"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import * as Router from "effect-ai-gateway/Router"
import * as Worker from "effect-ai-gateway/worker"

interface Env {
  readonly AI: Ai
  readonly AI_GATEWAY_ID: string
  /**
   * `max_retries` of the consumer: so the Worker writes down why the last try failed, before the queue gives the
   * message up.
   */
  readonly MAX_RETRIES: number
  readonly QUESTIONS: Queue
  readonly RESULTS: D1Database
}

/** A message waits in the queue, so it need not be retried here for long. */
const ask = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.anthropic.messages("claude-haiku-4-5")).pipe(
  Route.timeout("30 seconds"),
  Route.deadline("60 seconds")
)

/** Messages of one delivery that are asked at once. */
const concurrency = 6
/** Seconds. A queue keeps no message back for longer. */
const longestDelay = 12 * 3600

const Question = Schema.Struct({
  /** The same whenever the same question is sent; the id of a message is a new one each time. */
  id: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(200)),
  prompt: Schema.String.check(Schema.isMinLength(1))
})
const Questions = Schema.Array(Question).check(Schema.isMinLength(1), Schema.isMaxLength(100))
const decodeQuestion = Schema.decodeUnknownEffect(Question)

interface Row {
  readonly id: string
  readonly outcome: "answer" | "dead letter"
  /** The answer, or why there is none. */
  readonly text: string
  readonly logId: string | undefined
}

/** The table, in which an id ends once. */
class Results extends Context.Service<
  Results,
  {
    readonly has: (id: string) => Effect.Effect<boolean>
    readonly write: (row: Row) => Effect.Effect<void>
    readonly list: (after: string) => Effect.Effect<ReadonlyArray<Record<string, unknown>>>
  }
>()("example/Results") {}

const table =
  "CREATE TABLE IF NOT EXISTS results (id TEXT PRIMARY KEY, outcome TEXT NOT NULL, text TEXT NOT NULL, log_id TEXT)"

const results = (db: D1Database) =>
  Layer.effect(
    Results,
    Effect.gen(function* () {
      yield* Effect.promise(() => db.prepare(table).run())
      return Results.of({
        has: (id) =>
          Effect.map(
            Effect.promise(() => db.prepare("SELECT 1 FROM results WHERE id = ?").bind(id).first()),
            (row) => row !== null
          ),
        write: ({ id, logId, outcome, text }) =>
          Effect.asVoid(
            Effect.promise(() =>
              db
                .prepare("INSERT INTO results VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING")
                .bind(id, outcome, text, logId ?? null)
                .run()
            )
          ),
        list: (after) =>
          Effect.map(
            Effect.promise(() =>
              db.prepare("SELECT * FROM results WHERE id > ? ORDER BY id LIMIT 1000").bind(after).all()
            ),
            ({ results }) => results
          )
      })
    })
  )

/** Seconds before another try: 1, 2, 4, … up to 5 minutes. */
const backoff = (attempts: number): number => Math.min(300, 2 ** (attempts - 1))
/** Seconds until credits may have been bought, or a key put right. */
const repair = 900

/** Seconds until another try, or `undefined` when it would change nothing. A wait that the answer asked for is kept. */
const delayOf = ({ reason, retryAfter }: GatewayError, attempts: number): number | undefined => {
  const hint = retryAfter === undefined ? undefined : Math.ceil(Duration.toSeconds(retryAfter))
  const again = Math.max(hint ?? 0, backoff(attempts))
  switch (reason._tag) {
    // These four may be no fault of the question.
    case "QuotaExhausted":
      return hint ?? repair
    case "Unauthorized":
    case "BindingMissing":
      return repair
    case "NotFound":
      return reason.what === "gateway" ? repair : undefined
    // All targets together were too slow.
    case "Timeout":
      return again
    default:
      return decide(reason).again || hint !== undefined ? again : undefined
  }
}

const consume = Effect.fnUntraced(function* (message: Message) {
  const results = yield* Results
  const question = yield* Effect.option(decodeQuestion(message.body))
  if (question._tag === "None") {
    // A poison message has no id of its own.
    yield* results.write({ id: message.id, outcome: "dead letter", text: "not a question", logId: undefined })
    return message.ack()
  }
  const { id, prompt } = question.value
  if (yield* results.has(id)) return message.ack()
  const maxRetries = yield* Effect.orDie(Config.Int("MAX_RETRIES"))
  yield* Effect.matchEffect(Router.run(ask, prompt), {
    onSuccess: ({ logId, value }) => results.write({ id, outcome: "answer", text: value.text, logId }),
    onFailure: (error) => {
      const delay = delayOf(error, message.attempts)
      if (delay !== undefined && message.attempts <= maxRetries) {
        return Effect.sync(() => message.retry({ delaySeconds: Math.min(delay, longestDelay) }))
      }
      return results.write({ id, outcome: "dead letter", text: error.message, logId: error.logId })
    }
  })
  // Says nothing where `retry` was said: the first word counts.
  message.ack()
})

/** The queue has given a message up, for example because the Worker died each time. */
const bury = Effect.fnUntraced(function* (message: Message) {
  const results = yield* Results
  const question = yield* Effect.option(decodeQuestion(message.body))
  const id = question._tag === "None" ? message.id : question.value.id
  yield* results.write({ id, outcome: "dead letter", text: "given up by the queue", logId: undefined })
  message.ack()
})

/**
 * One message that cannot be handled, because the table is out of reach for example, must not bring back the others.
 */
const consumeAll = ({ messages, queue }: MessageBatch) =>
  Effect.forEach(
    messages,
    (message) =>
      (queue.endsWith("-dead") ? bury(message) : consume(message)).pipe(
        Effect.catchCause((cause) =>
          Effect.andThen(
            Effect.logError("a message could not be handled", Cause.squash(cause)),
            Effect.sync(() => message.retry({ delaySeconds: backoff(message.attempts) }))
          )
        )
      ),
    { concurrency, discard: true }
  )

const send = Effect.fnUntraced(function* (request: Request, queue: Queue) {
  const questions = yield* Effect.tryPromise(() => request.json()).pipe(
    Effect.flatMap(Schema.decodeUnknownEffect(Questions)),
    Effect.mapError(() => new Response("expected 1 to 100 questions, see the source\n", { status: 400 }))
  )
  yield* Effect.tryPromise({
    try: () => queue.sendBatch(questions.map((body) => ({ body }))),
    // Sending all of them again is safe: the ids are the same.
    catch: () => new Response("the queue did not take the questions, send them again\n", { status: 503 })
  })
  return new Response(null, { status: 202 })
})

class Questionnaire extends Context.Service<Questionnaire, Queue>()("example/Questions") {}

const handle = Effect.fnUntraced(function* (request: Request) {
  const { pathname, searchParams } = new URL(request.url)
  switch (`${request.method} ${pathname}`) {
    case "POST /questions":
      return yield* send(request, yield* Questionnaire)
    case "GET /results": {
      const results = yield* Results
      return Response.json(yield* results.list(searchParams.get("after") ?? ""))
    }
    default:
      return new Response("POST /questions or GET /results\n", { status: 404 })
  }
})

const worker = Worker.make({
  layer: (env: Env) =>
    Layer.mergeAll(
      Layer.provideMerge(
        Router.layer,
        Layer.unwrap(
          Effect.map(Config.String("AI_GATEWAY_ID"), (gateway) => GatewayService.layerBinding(env.AI, { gateway }))
        )
      ),
      results(env.RESULTS),
      Layer.succeed(Questionnaire, env.QUESTIONS)
    ),
  fetch: (request) => Effect.catchIf(handle(request), (error) => error instanceof Response, Effect.succeed)
})

export default {
  fetch: worker.fetch,
  queue: (batch: MessageBatch, env: Env, ctx: ExecutionContext) => worker.run(consumeAll(batch), env, ctx)
}
