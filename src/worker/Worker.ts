/**
 * Effect programs as Workers: one runtime per isolate and `env`, one fiber per request.
 *
 * The request's signal interrupts its fiber, `Config` reads `env`, `LogTrail` sees only the attempts of its own
 * request, and {@link waitUntil} runs work that outlives the answer. A fiber always runs in the context of its own
 * request, even after it waited for something that another request holds; a hand-made runtime hangs there.
 * `docs/workers.md` has the set-up.
 *
 * **Gotchas**
 *
 * Set the compatibility flag `enable_request_signal`. Without it Workers do not report that a client has left: the work
 * stops where it is, and no finalizer runs.
 */
import * as Cause from "effect/Cause"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Option from "effect/Option"
import * as Scheduler from "effect/Scheduler"
import { logWithLevel } from "../internal/hotpath/logWithLevel.ts"
import { describe, failureResponse, leftResponse, setupResponse } from "../internal/server/failureResponse.ts"
import * as LogTrail from "../LogTrail.ts"
import * as RequestScheduler from "./requestScheduler.ts"

export { failureResponse, failureStatus } from "../internal/server/failureResponse.ts"

/**
 * The part of a Worker's `ctx` that this module uses.
 *
 * @category models
 */
export interface ExecutionContext {
  waitUntil(promise: Promise<unknown>): void
}

/**
 * Options of {@link make}.
 *
 * @category models
 */
export interface Options<Env, R, LE, E> {
  /**
   * The services of the Worker, built once per isolate and `env`. They must not keep fibers running between requests.
   */
  readonly layer: (env: Env) => Layer.Layer<R, LE>
  /** Answers one request. */
  readonly fetch: (request: Request) => Effect.Effect<Response, E, NoInfer<R>>
  /** The response to a failure, including the layer's. Default: {@link failureResponse}, and 500 for the layer's. */
  readonly onFailure?: ((error: E | LE) => Response) | undefined
}

/**
 * A Worker: a `fetch` handler, and {@link Worker.run} for the other handlers.
 *
 * @category models
 */
export interface Worker<Env, R> {
  /** The `fetch` handler to export. */
  readonly fetch: (request: Request, env: Env, ctx: ExecutionContext) => Promise<Response>
  /**
   * Runs an effect with the services of the Worker, for `scheduled`, `queue` and other handlers. Rejects when the
   * effect fails, so that the event counts as failed.
   */
  readonly run: <A, E>(effect: Effect.Effect<A, E, R>, env: Env, ctx: ExecutionContext) => Promise<A>
}

/** The `ctx` of the current fiber's request. */
const CurrentContext = Context.Reference<ExecutionContext | undefined>("effect-ai-gateway/worker/ExecutionContext", {
  defaultValue: () => undefined
})

/** Longest wait of a timer, in milliseconds. */
const forever = 2 ** 31 - 1

/** Starts the root fiber of a request. */
const start = <A, E>(
  ctx: ExecutionContext,
  effect: Effect.Effect<A, E>,
  onExit: (exit: Exit.Exit<A, E>) => void,
  onBusy?: (ended: Promise<void>) => void
): { readonly fiber: Fiber.Fiber<A, E>; readonly scheduler: RequestScheduler.RequestScheduler } => {
  const scheduler = RequestScheduler.make(onBusy)
  const own = Effect.provideService(effect, CurrentContext, ctx)
  const fiber = scheduler.enter(() => Effect.runFork(own, { scheduler }))
  fiber.addObserver((exit) => {
    // Fibers that this one woke must run before the request is over.
    const idle = scheduler.idle()
    if (idle !== undefined) ctx.waitUntil(idle)
    onExit(exit)
  })
  const ended = scheduler.ended()
  if (ended !== undefined) {
    // Workers kill a request that waits for nothing of its own, but a fiber may wait for another request.
    const keepAlive = setTimeout(() => {}, forever)
    void ended.then(() => clearTimeout(keepAlive))
  }
  return { fiber, scheduler }
}

const configOf = (env: object): ConfigProvider.ConfigProvider => {
  const variables: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      variables[name] = String(value)
    }
  }
  return ConfigProvider.fromEnv({ env: variables })
}

/** Whether two objects have the same names and variables. Bindings are not compared, because wrappers replace them. */
const isCopy = (a: object, b: object): boolean => {
  const entries = Object.entries(b)
  return (
    entries.length === Object.keys(a).length &&
    entries.every(([name, value]) => typeof value === "object" || Reflect.get(a, name) === value)
  )
}

const copied =
  "Worker: services are built again, for a copy of an `env` that has some. They are kept per object: pass the platform's own"

/** The services of a Worker, per `env`. */
const makeServices = <Env extends object, R, LE>(layer: (env: Env) => Layer.Layer<R, LE>) => {
  const runtimes = new WeakMap<Env, ManagedRuntime.ManagedRuntime<R, LE>>()
  let first: Env | undefined
  let isTold = false
  return (env: Env, ctx: ExecutionContext): Effect.Effect<Context.Context<R>, LE> =>
    Effect.suspend(() => {
      const known = runtimes.get(env)
      if (known?.cachedContext !== undefined) return Effect.succeed(known.cachedContext)
      const runtime = known ?? ManagedRuntime.make(Layer.provideMerge(layer(env), ConfigProvider.layer(configOf(env))))
      // A promise, because other requests may wait for this one's work.
      const built = Effect.runPromiseExit(runtime.contextEffect, { scheduler: RequestScheduler.isolate })
      if (known === undefined) {
        runtimes.set(env, runtime)
        // The first client may leave; the others still need the services.
        ctx.waitUntil(built)
        first ??= env
      }
      const isNews = !isTold && first !== undefined && first !== env && isCopy(first, env)
      isTold ||= isNews
      return Effect.flatMap(
        Effect.promise(() => built),
        (exit) => {
          if (Exit.isFailure(exit) && runtimes.get(env) === runtime) {
            // The next request tries again.
            runtimes.delete(env)
            ctx.waitUntil(runtime.dispose())
          }
          return isNews && Exit.isSuccess(exit)
            ? Effect.as(Effect.provideContext(logWithLevel("Warn", copied), exit.value), exit.value)
            : exit
        }
      )
    })
}

/**
 * Makes a Worker. `env` is the object from the platform; `Config` reads its strings, numbers and booleans, and secrets
 * as `Config.Redacted`.
 *
 * A typed failure of `fetch` becomes a response through `onFailure`, and a defect a 500; both are logged without prompt
 * or credential. When the client leaves, the fiber is interrupted and its finalizers run.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as Provider from "effect-ai-gateway/Provider"
 * import * as Route from "effect-ai-gateway/Route"
 * import * as Router from "effect-ai-gateway/Router"
 * import * as Worker from "effect-ai-gateway/worker"
 *
 * interface Env {
 *   readonly AI: GatewayService.AiBinding
 * }
 *
 * const ask = Route.fallback(Provider.openai.chat("gpt-4.1-mini"), Provider.anthropic.messages("claude-haiku-4-5"))
 *
 * export default Worker.make({
 *   layer: (env: Env) =>
 *     Layer.provideMerge(Router.layer, GatewayService.layerBinding(env.AI, { gateway: "my-gateway" })),
 *   fetch: Effect.fnUntraced(function* (request) {
 *     const prompt = yield* Effect.promise(() => request.text())
 *     const { logId, value } = yield* Router.run(ask, prompt)
 *     return Response.json({ text: value.text, logId })
 *   })
 * })
 * ```
 *
 * @category constructors
 */
export const make = <Env extends object, R, LE = never, E = never>(options: Options<Env, R, LE, E>): Worker<Env, R> => {
  const services = makeServices(options.layer)

  const failed = (cause: Cause.Cause<E | LE>, byDefault: (error: E | LE) => Response): Effect.Effect<Response> => {
    const error = Cause.findErrorOption(cause)
    const said = `Worker: ${describe(cause)}`
    return Option.isNone(error)
      ? Effect.as(logWithLevel("Error", said), setupResponse())
      : Effect.andThen(
          logWithLevel("Warn", said),
          Effect.sync(() => (options.onFailure ?? byDefault)(error.value))
        )
  }

  const handle = (request: Request, env: Env, ctx: ExecutionContext): Effect.Effect<Response> =>
    Effect.flatMap(Effect.exit(services(env, ctx)), (built) =>
      Exit.isFailure(built)
        ? failed(built.cause, setupResponse)
        : options.fetch(request).pipe(
            LogTrail.collect,
            Effect.map(({ value }) => value),
            Effect.provideContext(built.value),
            Effect.catchCause((cause) => failed(cause, failureResponse))
          )
    )

  return {
    fetch: (request, env, ctx) => {
      const { signal } = request
      let hasLeft = false
      let answer: (response: Response) => void = () => {}
      const response = new Promise<Response>((resolve) => {
        answer = resolve
      })
      const { fiber, scheduler } = start(ctx, handle(request, env, ctx), (exit) => {
        // Stops the fibers that feed the body, which no client will read.
        if (hasLeft) scheduler.interrupt()
        answer(
          Exit.isSuccess(exit) ? exit.value : Cause.hasInterruptsOnly(exit.cause) ? leftResponse() : setupResponse()
        )
      })
      const leave = (): void => {
        hasLeft = true
        const ended = scheduler.ended()
        if (ended === undefined) return
        // Only the finalizers remain.
        ctx.waitUntil(ended)
        if (fiber.pollUnsafe() === undefined) scheduler.enter(() => fiber.interruptUnsafe())
        else scheduler.interrupt()
      }
      if (signal.aborted) leave()
      else if (scheduler.ended() !== undefined) signal.addEventListener("abort", leave, { once: true })
      return response
    },
    run: (effect, env, ctx) =>
      new Promise((resolve, reject) => {
        const served = Effect.flatMap(services(env, ctx), (context) =>
          Effect.provideContext(LogTrail.collect(effect), context)
        )
        start(
          ctx,
          served,
          (exit) => (Exit.isSuccess(exit) ? resolve(exit.value.value) : reject(Cause.squash(exit.cause))),
          // An RPC caller may cancel a returned body; the finalizers of the fibers that feed it must run.
          (ended) => ctx.waitUntil(ended)
        )
      })
  }
}

/**
 * Continues an effect after the answer, with the same services, for at most the 30 seconds that Workers allow. Use it
 * for feedback, reading a log, or writing a record. A client that leaves does not interrupt it. A failure is logged and
 * reaches no caller.
 *
 * Outside a Worker's request, the effect runs in a detached fiber.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as GatewayService from "effect-ai-gateway/GatewayService"
 * import * as Worker from "effect-ai-gateway/worker"
 *
 * export const rate = Effect.fnUntraced(function* (logId: string, feedback: -1 | 1) {
 *   const gateway = yield* GatewayService.GatewayService
 *   yield* Worker.waitUntil(gateway.patchLog(logId, { feedback }))
 *   return new Response(null, { status: 202 })
 * })
 * ```
 *
 * @category running
 */
export const waitUntil = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<void, never, R> =>
  Effect.flatMap(Effect.context<R>(), (context) => {
    const work = effect.pipe(
      Effect.catchCause((cause) => logWithLevel("Warn", `Worker.waitUntil: ${describe(cause)}`)),
      // Fibers of the current request are interrupted when the client leaves, so this effect gets a scheduler of its
      // own.
      Effect.provideContext(Context.omit(Scheduler.Scheduler)(context))
    )
    return Effect.withFiber((fiber) => {
      const ctx = fiber.getRef(CurrentContext)
      if (ctx === undefined) return Effect.asVoid(Effect.forkDetach(work))
      ctx.waitUntil(new Promise<void>((resolve) => void start(ctx, work, () => resolve())))
      return Effect.void
    })
  })
