/** Claims of a soak, each with its figures. */

/** A claim and its result. */
export interface Claim {
  readonly what: string
  readonly holds: boolean | "skipped"
  readonly figures: string
}

/** A claim that was checked. */
export const claim = (what: string, holds: boolean, figures: string): Claim => ({ what, holds, figures })

/** Formats a claim as one line. */
export const lineOf = ({ figures, holds, what }: Claim): string =>
  `${holds === "skipped" ? "skipped" : holds ? "holds  " : "FAILS  "}  ${what}: ${figures}`

/** Settings of every part. */
export interface Settings {
  readonly seed: number
  /** The file of the command. Default: its source. */
  readonly bin?: string | undefined
  /** Prints progress. */
  readonly tell: (text: string) => void
}

/** Formats a number for people. */
export const whole = (number: number): string => Math.round(number).toLocaleString("en-US")
