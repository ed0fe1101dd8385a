/** Messages between `upstream.ts` and its askers. */

/** Behaviour of the upstream. */
export interface Behaviour {
  readonly items: number
  readonly seed: number
  /**
   * Share of the requests that fail: with 503, 429, a reset, or a reset in the middle of the answer. An item fails at
   * most twice in a row.
   */
  readonly failures: number
  /** Milliseconds until an answer, from and to. */
  readonly delay: readonly [number, number]
  /** Approximate bytes of an answer's text. */
  readonly textBytes: number
  /** Range of the tokens that an answer reports. */
  readonly tokens: readonly [number, number]
  /** Whether to record arrival times, for {@link Counts.windows}. */
  readonly clocked: boolean
  /** Whether to record the event id of each item's answer, for {@link Counts.blind}. */
  readonly events: boolean
}

/** Defaults of most runs. */
export const usual: Omit<Behaviour, "items" | "seed"> = {
  failures: 0,
  delay: [0, 0],
  textBytes: 400,
  tokens: [100, 100],
  clocked: false,
  events: false
}

/** Maxima over all windows of 60 seconds. */
export interface Windows {
  readonly requests: number
  /** Counted when a request arrived, and when it was answered. */
  readonly tokensByArrival: number
  readonly tokensByAnswer: number
  /** Seconds from the first request to the last. */
  readonly span: number
}

/** Counts of the upstream. */
export interface Counts {
  readonly requests: number
  readonly failures: number
  /** Items that were answered. */
  readonly answered: number
  /** Repeats attributed to each run, by its number. */
  readonly repeats: ReadonlyArray<number>
  /** Repeats of an item that the same run already had an answer for; no kill excuses these. */
  readonly repeatsWithin: number
  /** Repeats without a look into the logs for the event id of the previous answer. */
  readonly blind: number
  /** Requests to the logs. */
  readonly lookUps: number
  readonly tokens: number
  readonly windows?: Windows
}

/** Request of the asker. */
export type Command =
  | { readonly tell: "port" }
  | { readonly tell: "behave"; readonly as: Behaviour }
  | { readonly tell: "answered" }
  | { readonly tell: "counts" }

const filler = "An answer of some words. "

/** The text of an answer, which names its item. */
export const textOf = (item: number, bytes: number): string =>
  `answer to question ${item}. ${filler.repeat(Math.ceil(bytes / filler.length))}`
