import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Batch from "effect-ai-gateway/Batch"
import type * as BatchJournal from "effect-ai-gateway/BatchJournal"
import * as GatewayError from "effect-ai-gateway/GatewayError"
import * as Provider from "effect-ai-gateway/Provider"
import * as Route from "effect-ai-gateway/Route"
import type * as Router from "effect-ai-gateway/Router"
import { defined } from "../../src/internal/data/defined.ts"
import { completion, type Line, make, type Seen } from "../support/scripted.ts"

/** A route whose answers are texts. */
export const leaf = (provider: "openai" | "groq" = "openai", model = "m") =>
  (provider === "openai" ? Provider.openai : Provider.groq).chat(model).pipe(Route.map(({ text }) => text))

export interface Request {
  readonly provider: string
  readonly prompt: string
  readonly at: number
  readonly eventId: string | undefined
  readonly headers: Readonly<Record<string, string>>
}

const isMessages = (body: unknown): body is { readonly messages: ReadonlyArray<{ readonly content: string }> } =>
  typeof body === "object" && body !== null && "messages" in body

/** `answer` determines the reaction to the `nth` request for a prompt (from 0); default: a good answer. */
export const world = (
  answer: (prompt: string, nth: number, request: Request) => Line | undefined = () => undefined,
  execution: "client" | "auto" = "client",
  router?: Router.Options
) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const requests: Array<Request> = []
    const times = new Map<string, number>()
    const script = ({ body, headers, provider }: Seen): Line => {
      const prompt = isMessages(body) ? (body.messages[0]?.content ?? "") : ""
      const nth = times.get(prompt) ?? 0
      times.set(prompt, nth + 1)
      const request = {
        provider,
        prompt,
        at: clock.currentTimeMillisUnsafe(),
        eventId: headers["cf-aig-event-id"],
        headers
      }
      requests.push(request)
      const line = answer(prompt, nth, request)
      const hasOther = line?.never === true || line?.reset === true || line?.text !== undefined
      return hasOther ? line : { body: completion(`answer to ${prompt}`), ...line }
    }
    const { interrupted, layer } = make(script, execution, defined({ router }))
    return { requests, interrupted, layer, of: (prompt: string) => requests.filter((one) => one.prompt === prompt) }
  })

/** Options for items that are their own prompts and ids. */
export const plain = { route: leaf(), id: (item: string) => item, input: (item: string) => item }

export const names = (count: number, prefix = "i"): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`)

/** Lets all runnable fibers run, before and after time passes. */
export const tick = (millis: number) => {
  const settle = Effect.repeat(Effect.yieldNow, { times: 30 })
  return Effect.andThen(Effect.andThen(settle, TestClock.adjust(millis)), settle)
}

/** Runs on the test clock until it is done, in steps. */
export const drive = <A, E, R>(self: Effect.Effect<A, E, R>, step = 50, limit = 7_200_000) =>
  Effect.gen(function* () {
    const startedAt = yield* Clock.currentTimeMillis
    const fiber = yield* Effect.forkChild(Effect.all([Effect.exit(self), Clock.currentTimeMillis]))
    yield* tick(0)
    for (let millis = 0; fiber.pollUnsafe() === undefined && millis < limit; millis += step) yield* tick(step)
    if (fiber.pollUnsafe() === undefined) yield* Fiber.interrupt(fiber)
    const [exit, endedAt] = yield* Fiber.join(fiber)
    const out: { readonly exit: Exit.Exit<A, E>; readonly millis: number } = { exit, millis: endedAt - startedAt }
    return out
  })

/** All results until the end, and the exit. */
export const collect = <Out, E, R>(stream: Stream.Stream<Batch.Result<Out>, E, R>) =>
  Effect.gen(function* () {
    const results: Array<Batch.Result<Out>> = []
    const exit = yield* Effect.exit(Stream.runForEach(stream, (result) => Effect.sync(() => results.push(result))))
    return { results, exit }
  })

/** A result as short text. */
export const brief = (result: Batch.Result<unknown>): string =>
  `${result.replayed ? "again " : ""}${result.id} ${result._tag === "DeadLetter" ? result.error.reason._tag : result._tag}`

/** The failure of an exit, if it has one. */
export const failureOf = <A, E>(exit: Exit.Exit<A, E>): E | undefined =>
  Option.getOrUndefined(Exit.findErrorOption(exit))

/** The reason of an exit's failure. */
export const reasonIn = (exit: Exit.Exit<unknown, unknown>): GatewayError.Reason | undefined => {
  const error = failureOf(exit)
  return GatewayError.isGatewayError(error) ? error.reason : undefined
}

/** Runs a batch to its end on the test clock. */
export const runAll = <Item, Out>(
  items: Iterable<Item>,
  options: Batch.Options<Item, string, Out>,
  w: Effect.Success<ReturnType<typeof world>>,
  step?: number
) =>
  Effect.gen(function* () {
    const { exit, millis } = yield* drive(
      Effect.scoped(
        Effect.gen(function* () {
          const job = yield* Batch.start(items, options)
          const { exit, results } = yield* collect(job.results)
          return { exit, results, summary: yield* job.summary }
        })
      ).pipe(Effect.provide(w.layer)),
      step
    )
    return { ...(yield* exit), millis }
  })

export type World = Effect.Success<ReturnType<typeof world>>
type Given = Partial<Batch.JournalOptions<string>>

/** The same with a journal that keeps the answers. */
export const over = (store: BatchJournal.Journal, given: Given = {}) => ({
  ...plain,
  journal: { store, value: Schema.String, ...given }
})

/** One run of a batch, to its end. */
export const runOnce = <Item>(items: Iterable<Item>, options: Batch.Options<Item, string, string>, w: World) =>
  Effect.gen(function* () {
    const { exit } = yield* drive(
      Effect.scoped(
        Effect.gen(function* () {
          const job = yield* Batch.start(items, options)
          const { exit, results } = yield* collect(job.results)
          return { exit, results, summary: yield* job.summary }
        })
      ).pipe(Effect.provide(w.layer))
    )
    return yield* exit
  })

/** A run that is interrupted after that many results. */
export const runSome = (
  items: Iterable<string>,
  options: Batch.Options<string, string, string>,
  w: World,
  count: number
) =>
  Effect.flatMap(
    drive(Effect.provide(Stream.runCollect(Stream.take(Batch.run(items, options), count)), w.layer)),
    ({ exit }) => exit
  )

/** The journal's entries for an item, in order. */
export const tagsOf = (journal: BatchJournal.MemoryJournal, id: string) =>
  journal.entries.filter((entry) => entry.id === id).map(({ _tag }) => _tag)
