/**
 * What a soak says: claims, each with the figures that it was held against.
 */

/** A claim and what came out. */
export interface Claim {
  readonly what: string
  readonly holds: boolean | "skipped"
  readonly figures: string
}

/** A claim that was checked. */
export const claim = (what: string, holds: boolean, figures: string): Claim => ({ what, holds, figures })

/** One line. */
export const lineOf = ({ figures, holds, what }: Claim): string =>
  `${holds === "skipped" ? "skipped" : holds ? "holds  " : "FAILS  "}  ${what}: ${figures}`

/** What every part is told. */
export interface Settings {
  readonly seed: number
  /** The file of the command. Default: its source. */
  readonly bin?: string | undefined
  /** Says what goes on. */
  readonly tell: (text: string) => void
}

/** A number for people. */
export const whole = (number: number): string => Math.round(number).toLocaleString("en-US")
