/**
 * What the echo answers, before a dialect writes it.
 */
/** Everything that a dialect needs to write one answer. */
export interface EchoReply {
  readonly id: string
  readonly model: string
  /** Made when it is asked for: the deltas of a stream need it not. */
  readonly text: string
  /** The text as the deltas of a stream. */
  readonly pieces: Iterable<string>
  /** Seconds since the epoch. */
  readonly created: number
  readonly promptTokens: number
  readonly completionTokens: number
  readonly includeUsage: boolean
}
