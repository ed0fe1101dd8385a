/**
 * What a benchmark is: a question with an answer in rows, one per contender, and the targets that it is held against.
 */
import type { Spread } from "./measure.ts"

/** How thoroughly. */
export interface Settings {
  /** Under a minute for all questions together. */
  readonly quick: boolean
  /** `false`: leave out whoever has to be installed first. Default `true`. */
  readonly peers?: boolean
  /** Items of a batch, instead of what the question would take. */
  readonly items?: number
}

/** A figure that each row may have. */
export interface Column {
  readonly key: string
  readonly title: string
  /** `"µs"`, `"kB"`, `"× raw fetch"`. */
  readonly unit: string
  readonly digits: number
  readonly better: "higher" | "lower"
  /** Where a chart draws its floor line. Default: 1 where the unit is a ratio (`"×…"`), else none. */
  readonly floor?: number
}

/** What was measured of one contender. */
export interface Row {
  readonly contender: string
  readonly ours: boolean
  /** By column key; a contender may lack some. */
  readonly values: Readonly<Record<string, Spread>>
  /** Why it lacks some, or what it did wrong. */
  readonly remark?: string
}

/** A promise of the issue, and what came out. */
export interface Target {
  readonly what: string
  readonly bound: number
  readonly direction: "at least" | "at most"
  readonly unit: string
  readonly digits: number
  readonly measured: number
}

/** What a run of a question came to. */
export interface Answer {
  readonly columns: ReadonlyArray<Column>
  readonly rows: ReadonlyArray<Row>
  readonly targets: ReadonlyArray<Target>
  /** Sentences about how it was measured, and where the time goes. */
  readonly notes: ReadonlyArray<string>
  /** Keys of the columns that are drawn, one chart each. */
  readonly charts: ReadonlyArray<string>
}

/** One file of `bench/questions/`. */
export interface Question {
  /** Its file's name, and its heading's anchor. */
  readonly name: string
  readonly title: string
  readonly ask: (settings: Settings) => Promise<Answer>
}

/** Whether a target is met. */
export const isMet = ({ bound, direction, measured }: Target): boolean =>
  direction === "at least" ? measured >= bound : measured <= bound
