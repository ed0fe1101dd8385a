/**
 * A second implementation of routes with faults in their streams, from the view of a consumer, as simple as possible.
 */
import * as Schema from "effect/Schema"
import { data } from "../fixtures/streams/drive.ts"
import * as S from "./streamScript.ts"

const before = [
  "refused",
  "503",
  "401",
  "silent",
  "nothing",
  "page",
  "error",
  "cut",
  "end",
  "stall",
  "broken json"
] as const
const after = ["error", "cut", "end", "stall", "broken json"] as const

/**
 * The outcome of one attempt: an answer, a failure before its first word or after some, or one that ends the run.
 */
export const Act = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("answers"), ending: Schema.Literals(["done", "no mark", "cut", "open"]) }),
  Schema.Struct({ kind: Schema.Literal("before"), how: Schema.Literals(before) }),
  Schema.Struct({ kind: Schema.Literal("after"), how: Schema.Literals(after), words: Schema.Literals([1, 2, 3]) }),
  Schema.Struct({ kind: Schema.Literal("blocked"), words: Schema.Literals([0, 1, 2]) })
])
export type Act = typeof Act.Type

const Acts = Schema.Array(Act).check(Schema.isMinLength(0), Schema.isMaxLength(3))
const Size = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 300 }))

/** The acts of two or three targets, and how their bytes are cut. */
export const Play = Schema.Struct({
  targets: Schema.Array(Acts).check(Schema.isMinLength(2), Schema.isMaxLength(3)),
  sizes: Schema.Array(Size).check(Schema.isMaxLength(4)),
  restarts: Schema.Literals([0, 0, 1, 2])
})
export type Play = typeof Play.Type

const answers: Act = { kind: "answers", ending: "done" }

/** The words of one attempt; no other attempt has them. */
const wordsOf = (target: number, attempt: number): ReadonlyArray<string> =>
  [0, 1, 2].map((word) => `t${target}a${attempt}w${word} `)

const blocked = data({ name: "AiGatewayError", internalCode: 2017, error: [{ code: 2017, message: "no" }] })

/** The event in place of the rest. */
const endings: Readonly<Record<(typeof after)[number], ReadonlyArray<S.Step>>> = {
  error: [S.error()],
  cut: [S.reset],
  end: [],
  stall: [S.stall],
  "broken json": ["data: {\n\n"]
}

const cutInto = (text: string, sizes: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const bytes = new TextEncoder().encode(text)
  const pieces: Array<Uint8Array> = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? bytes.length
    pieces.push(bytes.slice(at, at + size))
    at += size
  }
  return pieces
}

/** Texts that stand next to each other are one text, cut anew. */
const recut = (steps: ReadonlyArray<S.Step>, sizes: ReadonlyArray<number>): ReadonlyArray<S.Step> => {
  const text = steps.map((step) => (typeof step === "string" ? step : "")).join("")
  return [...cutInto(text, sizes), ...steps.filter((step) => typeof step !== "string")]
}

/** The reply of an attempt. */
export const replyOf = (act: Act, target: number, attempt: number, sizes: ReadonlyArray<number>): S.Reply => {
  const words = wordsOf(target, attempt)
  const some = (count: number) => words.slice(0, count).map(S.say)
  const streamed = (...steps: ReadonlyArray<S.Step>): S.Reply => ({ steps: recut([S.role, ...steps], sizes) })
  switch (act.kind) {
    case "answers": {
      const ends = { done: [S.doneMark], "no mark": [], cut: [S.reset], open: [S.doneMark, S.stall] }[act.ending]
      return streamed(...some(3), S.finish, S.usage, ...ends)
    }
    case "blocked":
      return streamed(...some(act.words), blocked)
    case "after":
      return streamed(...some(act.words), ...endings[act.how])
    case "before":
      switch (act.how) {
        case "refused":
          return { refused: true }
        case "silent":
          return { silent: true }
        case "503":
          return { status: 503 }
        case "401":
          return { status: 401 }
        case "nothing":
          return { steps: [] }
        case "page":
          return { headers: { "content-type": "text/html" }, steps: ["<html>data: {}</html>"] }
        default:
          return streamed(...endings[act.how])
      }
  }
}

/** The view of a consumer. */
export interface Modelled {
  readonly text: string
  readonly complete: boolean
  /** A part was delivered and not taken back. */
  readonly interrupted: boolean
  readonly restarts: number
  /** Requests at each target. */
  readonly asked: ReadonlyArray<number>
}

/** Plays it without gateways, fibers and bytes. */
export const model = ({ restarts, targets }: Play): Modelled => {
  const asked = targets.map(() => 0)
  let made = 0

  /** Asks targets in order until one says something. */
  const ask = (
    order: ReadonlyArray<number>
  ): { readonly target: number; readonly attempt: number; readonly act: Act } | undefined => {
    for (const target of order) {
      const attempt = asked[target] ?? 0
      asked[target] = attempt + 1
      const act = targets[target]?.[attempt] ?? answers
      if (act.kind === "before") continue
      if (act.kind === "blocked" && act.words === 0) return undefined
      return { target, attempt, act }
    }
    return undefined
  }

  let now = ask(targets.map((_, target) => target))
  if (now === undefined) return { text: "", complete: false, interrupted: false, restarts: 0, asked }
  while (true) {
    const { act, attempt, target } = now
    const count = act.kind === "after" || act.kind === "blocked" ? act.words : 3
    const text = wordsOf(target, attempt).slice(0, count).join("")
    if (act.kind === "answers") return { text, complete: true, interrupted: false, restarts: made, asked }
    const broken: Modelled = { text, complete: false, interrupted: true, restarts: made, asked }
    if (act.kind === "blocked" || made >= restarts) return broken
    const after = targets.map((_, index) => index).slice(target + 1)
    const next = ask(after.length === 0 ? [target] : after)
    if (next === undefined) return broken
    made++
    now = next
  }
}
