// The floor: what the same Worker would weigh if it used Effect and nothing of ours.
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"

const Question = Schema.Struct({ question: Schema.String })

export default {
  fetch: (request: Request): Promise<Response> =>
    Effect.tryPromise(() => request.json()).pipe(
      Effect.flatMap(Schema.decodeUnknownEffect(Question)),
      Effect.retry(Schedule.recurs(2)),
      Effect.timeout("5 seconds"),
      Effect.map(({ question }) => new Response(question)),
      Effect.provide(Layer.empty),
      Effect.runPromise
    )
}
