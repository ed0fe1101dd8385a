/**
 * Findings of the gate, in the form of the report: which contenders kept their promises before any speed was measured.
 */

/** One contender at one check. */
export interface Checked {
  readonly check: string
  readonly passed: boolean
  /** Observed behaviour, when it is wrong. */
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
