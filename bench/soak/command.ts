/**
 * What `upstream.ts` and its askers say to each other.
 */

/** What the upstream does. */
export interface Behaviour {
  readonly items: number
  readonly seed: number
  /**
   * Share of the requests that fail: with 503, 429, a reset, or a reset in the middle of the answer. Never more than
   * two of an item in a row.
   */
  readonly failures: number
  /** Milliseconds until an answer, from and to. */
  readonly delay: readonly [number, number]
  /** Bytes of an answer's text, about. */
  readonly textBytes: number
  /** Tokens that an answer says it took, from and to. */
  readonly tokens: readonly [number, number]
  /** Remembers when each request came, for {@link Counts.windows}. */
  readonly clocked: boolean
  /** Remembers by which event id each item was answered, for {@link Counts.blind}. */
  readonly events: boolean
}

/** What does not matter to most. */
export const usual: Omit<Behaviour, "items" | "seed"> = {
  failures: 0,
  delay: [0, 0],
  textBytes: 400,
  tokens: [100, 100],
  clocked: false,
  events: false
}

/** The most that any 60 seconds had. */
export interface Windows {
  readonly requests: number
  /** Counted when a request arrived, and when it was answered. */
  readonly tokensByArrival: number
  readonly tokensByAnswer: number
  /** Seconds from the first request to the last. */
  readonly span: number
}

/** What the upstream has seen. */
export interface Counts {
  readonly requests: number
  readonly failures: number
  /** Items that were answered. */
  readonly answered: number
  /** Repeats that each run has to answer for, by its number. */
  readonly repeats: ReadonlyArray<number>
  /** Repeats of what the same run had been answered; no kill excuses these. */
  readonly repeatsWithin: number
  /** Repeats without a look into the logs for the event id of the answer before. */
  readonly blind: number
  /** Requests to the logs. */
  readonly lookUps: number
  readonly tokens: number
  readonly windows?: Windows
}

/** What the asker says. */
export type Command =
  | { readonly tell: "port" }
  | { readonly tell: "behave"; readonly as: Behaviour }
  | { readonly tell: "answered" }
  | { readonly tell: "counts" }

const filler = "An answer of some words. "

/** The text of an answer, which names its item. */
export const textOf = (item: number, bytes: number): string =>
  `answer to question ${item}. ${filler.repeat(Math.ceil(bytes / filler.length))}`
