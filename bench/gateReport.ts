/**
 * What the gate found, in the form that the report shows: who did what it promised before anybody's speed was measured.
 */

/** One contender at one check. */
export interface Checked {
  readonly check: string
  readonly passed: boolean
  /** What it did instead. */
  readonly did?: string
}

/** One contender. */
export interface GateRow {
  readonly contender: string
  readonly ours: boolean
  readonly checks: ReadonlyArray<Checked>
}

export interface GateReport {
  readonly rows: ReadonlyArray<GateRow>
  readonly notes: ReadonlyArray<string>
}
