/** Definition of a benchmark: a question with an answer in rows, one per contender, and the targets for its results. */
import type { Spread } from "./measure.ts"

/** Thoroughness of a run. */
export interface Settings {
  /** Under a minute for all questions together. */
  readonly quick: boolean
  /** Whether contenders that need an installation take part. Default `true`. */
  readonly peers?: boolean
  /** Items of a batch, in place of the question's default. */
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
  /** Position of a chart's floor line. Default: 1 where the unit is a ratio (`"×…"`), otherwise none. */
  readonly floor?: number
}

/** Measurements of one contender. */
export interface Row {
  readonly contender: string
  readonly ours: boolean
  /** By column key; a contender may lack some. */
  readonly values: Readonly<Record<string, Spread>>
  /** Why it lacks some, or what it did wrong. */
  readonly remark?: string
}

/** A promise, and the measurement. */
export interface Target {
  readonly what: string
  readonly bound: number
  readonly direction: "at least" | "at most"
  readonly unit: string
  readonly digits: number
  readonly measured: number
}

/** Result of a question. */
export interface Answer {
  readonly columns: ReadonlyArray<Column>
  readonly rows: ReadonlyArray<Row>
  readonly targets: ReadonlyArray<Target>
  /** Sentences about the method, and where the time goes. */
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
