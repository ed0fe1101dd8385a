/**
 * All ids and their state: in memory, about 30 bytes for each, and 8 more for each item that an earlier run has ended.
 */
import type { Known } from "../../BatchJournal.ts"
import { IdIndex, NumberColumn } from "../data/idIndex.ts"

const isDone = 1
const isDead = 2
const isSeen = 4

/** State of an item before this run works on it. */
export type Standing =
  | { readonly _tag: "new" }
  /** An earlier run sent it without learning the outcome. */
  | { readonly _tag: "inDoubt"; readonly eventId: string }
  | { readonly _tag: "done" | "dead"; readonly location: number }
  | { readonly _tag: "duplicate"; readonly firstIndex: number }

const isNew: Standing = { _tag: "new" }

export class Ledger {
  private readonly ids = new IdIndex()
  private readonly flags = new NumberColumn("uint8")
  private readonly locations = new NumberColumn("float64")
  private readonly indexes = new NumberColumn("uint32")
  private readonly sent = new Map<number, string>()
  /** Items that earlier runs have ended and that have not occurred in this one. */
  unmet = 0

  /** Reads an entry of an earlier run. */
  learn({ _tag, eventId = "", id, location }: Known): void {
    const number = this.ids.add(id)
    if (_tag === "sent") {
      this.sent.set(number, eventId)
      return
    }
    this.sent.delete(number)
    if (this.flags.get(number) === 0) this.unmet++
    this.flags.set(number, _tag === "done" ? isDone : isDead)
    this.locations.set(number, location)
  }

  /** Looks up an item of the input and remembers it. `again`: dead letters of earlier runs are tried again. */
  meet(id: string, index: number, again: boolean): Standing {
    const number = this.ids.add(id)
    const flags = this.flags.get(number)
    if ((flags & isSeen) !== 0) return { _tag: "duplicate", firstIndex: this.indexes.get(number) }
    this.flags.set(number, flags | isSeen)
    this.indexes.set(number, index)
    return this.standing(number, flags, again)
  }

  /** Looks up an item of an input with unique ids, without remembering it. */
  meetOnce(id: string, again: boolean): Standing {
    const number = this.ids.size === 0 ? undefined : this.ids.find(id)
    return number === undefined ? isNew : this.standing(number, this.flags.get(number), again)
  }

  private standing(number: number, flags: number, again: boolean): Standing {
    if (flags !== 0) this.unmet--
    if ((flags & isDone) !== 0) return { _tag: "done", location: this.locations.get(number) }
    if ((flags & isDead) !== 0 && !again) return { _tag: "dead", location: this.locations.get(number) }
    const eventId = this.sent.get(number)
    if (eventId === undefined) return isNew
    this.sent.delete(number)
    return { _tag: "inDoubt", eventId }
  }
}
