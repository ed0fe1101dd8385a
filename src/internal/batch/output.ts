/** The results of a batch: an item ends once, as an answer or a dead letter, and is delivered when that is durable. */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { JournalError } from "../../BatchJournal.ts"
import type { Attempt, GatewayError } from "../../GatewayError.ts"
import { defined } from "../data/defined.ts"
import { type EngineOptions, type ItemAnswer, method, type Shared, type WorkItem } from "./job.ts"
import type { ItemEnd, JournalWriter } from "./journalWriter.ts"
import type { InDoubt } from "./record.ts"
import type { DeadLetter, Result, Success } from "./result.ts"
import type { ItemOutcome } from "./tally.ts"
import { isUnkept, unkeptAnswer, unkeptError } from "./unkept.ts"

/** Ends items, and delivers their results to the consumer. `F` is the failure of the batch. */
export interface Output<Item, Out, F> {
  /** Waits until the consumer has room for one more result. */
  readonly room: Effect.Effect<void>
  /** The position of the next result, where results keep the order of the items. */
  readonly nextOrder: () => number
  /** Returns the item's place with `release`, writes the answer down, and delivers it. */
  readonly succeed: (
    work: WorkItem<Item>,
    answer: ItemAnswer<Out>,
    attempts: ReadonlyArray<Attempt>,
    inDoubt: InDoubt | undefined,
    release: Effect.Effect<void>
  ) => Effect.Effect<void>
  /** The same for an item that is given up. */
  readonly deadLetter: (
    work: WorkItem<Item>,
    error: GatewayError,
    inDoubt: InDoubt | undefined,
    release: Effect.Effect<void>
  ) => Effect.Effect<void>
  /** Delivers a result of an earlier run again. */
  readonly replay: (
    id: string,
    index: number,
    kind: "done" | "dead",
    location: number
  ) => Effect.Effect<void, JournalError>
  /** Ends the results. */
  readonly end: (exit: Exit.Exit<unknown, F>) => Effect.Effect<void>
  readonly results: Stream.Stream<Result<Out>, F>
}

interface Ordered<Out> {
  readonly order: number
  readonly result: Result<Out>
}

/** At least one. */
type Batch<Out> = readonly [Result<Out>, ...Array<Result<Out>>]

const isNonEmpty = <A>(all: ReadonlyArray<A>): all is readonly [A, ...Array<A>] => all.length > 0

/** Puts results in the order of their items, which end in any order. */
const makeSorter = <Out>() => {
  const held = new Map<number, Result<Out>>()
  let due = 0
  return {
    next: (all: ReadonlyArray<Ordered<Out>>): ReadonlyArray<Result<Out>> => {
      for (const { order, result } of all) held.set(order, result)
      const out: Array<Result<Out>> = []
      for (let result = held.get(due); result !== undefined; result = held.get(due)) {
        out.push(result)
        held.delete(due++)
      }
      return out
    },
    rest: (): ReadonlyArray<Result<Out>> => {
      const rest = [...held].sort(([a], [b]) => a - b).map(([, result]) => result)
      held.clear()
      return rest
    }
  }
}

/** Makes the output of a batch. */
export const make = Effect.fnUntraced(function* <Item, Out, F>(
  options: EngineOptions<Item, Out, unknown, unknown>,
  { counters, millis, tally }: Shared,
  writer: JournalWriter | undefined
): Effect.fn.Return<Output<Item, Out, F>> {
  const { journal, records } = options
  // Bounded by the window.
  const ready = yield* Queue.unbounded<Ordered<Out>, F | Cause.Done>()
  const window = Semaphore.makeUnsafe(options.buffer)
  const room = Effect.asVoid(window.take(1))
  let orders = 0
  const nextOrder = (): number => orders++

  const settleAs = (id: string, end: ItemEnd, release: Effect.Effect<void>): Effect.Effect<void> =>
    Effect.map(release, writer === undefined ? end.hand : () => void writer.offer({ _tag: "ending", id, end }))

  const handOut = (order: number, result: Success<Out> | DeadLetter, outcome: () => ItemOutcome): void => {
    Queue.offerUnsafe(ready, { order, result })
    // Calls the application's cost function, which may throw: the answer is safe by now.
    tally.add(outcome())
  }

  /** The end of an item that is given up. */
  const deadEnd = (
    order: number,
    common: Omit<DeadLetter, "_tag" | "error" | "attempts">,
    latency: number,
    error: GatewayError
  ): ItemEnd => {
    const { attempts = [], reason } = error
    const { inDoubt } = common
    const none = { target: undefined, usage: undefined, cacheStatus: undefined, step: undefined, cost: undefined }
    return {
      as: "dead",
      record: () => records.dead({ error, latency, inDoubt }),
      hand: () => {
        counters.firstProblem ??= { id: common.id, error }
        handOut(order, { ...common, _tag: "DeadLetter", error, attempts }, () => ({
          ...none,
          reason: reason._tag,
          attempts,
          latency
        }))
      },
      // The replacement can always be stored.
      instead: isUnkept(error) ? undefined : () => deadEnd(order, common, latency, unkeptError(error))
    }
  }

  const succeed: Output<Item, Out, F>["succeed"] = (
    { id, index, order, startedAt },
    answer,
    attempts,
    inDoubt,
    release
  ) => {
    const latency = millis() - startedAt
    const common = { id, index, latency: Duration.millis(latency), replayed: false, ...defined({ inDoubt }) }
    const { skipped = [], ...plain } = answer
    const { cacheStatus, step, target, usage } = plain
    const facts = skipped.length === 0 ? plain : answer
    const end: ItemEnd = {
      as: "done",
      record: () => records.done({ value: answer, facts, attempts, latency, inDoubt }),
      hand: () =>
        handOut(order, { ...facts, ...common, _tag: "Success", attempts }, () => ({
          target,
          reason: undefined,
          attempts,
          usage,
          cacheStatus,
          step,
          cost: options.costOf(answer),
          latency
        })),
      instead: (cause) => deadEnd(order, common, latency, unkeptAnswer(method, answer, attempts, cause))
    }
    return settleAs(id, end, release)
  }

  const deadLetter: Output<Item, Out, F>["deadLetter"] = ({ id, index, order, startedAt }, error, inDoubt, release) => {
    const latency = millis() - startedAt
    const common = { id, index, latency: Duration.millis(latency), replayed: false, ...defined({ inDoubt }) }
    return settleAs(id, deadEnd(order, common, latency, error), release)
  }

  const replay = Effect.fnUntraced(function* (id: string, index: number, kind: "done" | "dead", location: number) {
    if (kind === "done") counters.replayedDone++
    else counters.replayedDead++
    if (journal === undefined || !options.replay(id)) return
    yield* room
    const common = { id, index, replayed: true } as const
    const stored = yield* journal.read(location)
    let result: Result<Out>
    if (kind === "dead") {
      const { error, inDoubt, latency } = yield* records.readDead(stored)
      const ran = { attempts: error.attempts ?? [], latency: Duration.millis(latency), ...defined({ inDoubt }) }
      result = { _tag: "DeadLetter", ...common, error, ...ran }
    } else {
      const { attempts, facts, inDoubt, latency, value } = yield* records.readDone(stored)
      const ran = { ...facts, attempts, latency: Duration.millis(latency), ...defined({ inDoubt }) }
      result =
        value === undefined
          ? { _tag: "DoneBefore", ...common, ...ran }
          : { _tag: "Success", ...common, value: value.value, ...ran }
    }
    Queue.offerUnsafe(ready, { order: nextOrder(), result })
  })

  const sorter = makeSorter<Out>()
  const pull: Effect.Effect<Batch<Out>, F | Cause.Done> = Effect.flatMap(Queue.takeAll(ready), (all) => {
    const out = options.ordered ? sorter.next(all) : all.map(({ result }) => result)
    return isNonEmpty(out) ? Effect.as(window.release(out.length), out) : pull
  })
  // At the end nothing fills the gaps of interrupted and postponed items.
  const pullOrRest = Effect.catchCause(pull, (cause): Effect.Effect<Batch<Out>, F | Cause.Done> => {
    const rest = sorter.rest()
    return isNonEmpty(rest) ? Effect.succeed(rest) : Effect.failCause(cause)
  })

  return {
    room,
    nextOrder,
    succeed,
    deadLetter,
    replay,
    end: (exit) => Effect.asVoid(Exit.isFailure(exit) ? Queue.failCause(ready, exit.cause) : Queue.end(ready)),
    results: Stream.fromPull(Effect.succeed(pullOrRest))
  }
})
