/** Takes items in: checks their ids, consults the ledger, and sends, replays or skips each. */
import * as Effect from "effect/Effect"
import type { JournalError } from "../../BatchJournal.ts"
import { type GatewayError, invalid } from "../../GatewayError.ts"
import { maxIdLength } from "../data/idIndex.ts"
import type { Entrance } from "./entrance.ts"
import type { ItemRuns } from "./itemRuns.ts"
import { type EngineOptions, method, ownKey, type Shared, type WorkItem } from "./job.ts"
import type { Output } from "./output.ts"

/** Takes one item. Ends when the item has begun, or needs nothing more. */
export type Intake<Item> = (item: Item) => Effect.Effect<void, GatewayError | JournalError>

/** Makes the intake of a batch. */
export const make = <Item, Out>(
  options: EngineOptions<Item, Out, unknown, unknown>,
  { counters, millis }: Shared,
  entrance: Entrance,
  output: Pick<Output<Item, Out, unknown>, "nextOrder" | "replay" | "room">,
  runs: ItemRuns<Item>
): Intake<Item> => {
  const { ledger, places, rates } = options

  const launch = (
    item: Item,
    id: string,
    index: number,
    doubtful: string | undefined
  ): Effect.Effect<void, GatewayError> => {
    const tokens = rates === undefined ? 0 : options.tokensOf(item)
    const workOf = (): WorkItem<Item> => ({
      item,
      id,
      index,
      order: output.nextOrder(),
      tokens,
      startedAt: millis()
    })
    if (doubtful !== undefined) {
      return Effect.map(places.acquire(ownKey, { requests: 0 }), (place) =>
        runs.beginInDoubt(workOf(), place, doubtful)
      )
    }
    return Effect.matchCauseEffect(entrance.enter(tokens, false), {
      onFailure: (cause) => runs.reject(workOf(), undefined, cause),
      onSuccess: (admission) => {
        const work = workOf()
        return admission === undefined ? Effect.void : Effect.sync(() => runs.begin(work, admission, undefined))
      }
    })
  }

  return (item) => {
    const index = counters.items++
    const id = options.idOf(item, index)
    if (typeof id !== "string" || id === "" || id.length > maxIdLength) {
      return Effect.fail(invalid(method, `id of item ${index}`, `a text of 1 to ${maxIdLength} characters`))
    }
    const standing =
      options.duplicates === "unchecked"
        ? ledger.meetOnce(id, options.retryFailed)
        : ledger.meet(id, index, options.retryFailed)
    switch (standing._tag) {
      case "duplicate": {
        counters.duplicates++
        if (options.duplicates === "skip") return Effect.void
        const accepted = `one that no other item has; item ${standing.firstIndex} has the same`
        return Effect.fail(invalid(method, `id of item ${index}`, accepted))
      }
      case "done":
      case "dead":
        return output.replay(id, index, standing._tag, standing.location)
      default: {
        const doubtful = standing._tag === "inDoubt" ? standing.eventId : undefined
        return Effect.flatMap(output.room, () => Effect.uninterruptible(launch(item, id, index, doubtful)))
      }
    }
  }
}
