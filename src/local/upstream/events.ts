/**
 * Server-sent events as the echo writes them.
 */

/** Events without their terminating blank line. */
export type Events = Iterable<string>

export const dataLine = (text: string): string => `data: ${text}`

export const data = (value: unknown): string => dataLine(JSON.stringify(value))

/** An event whose name is its `type`. */
export type Named = Readonly<Record<string, unknown>> & { readonly type: string }

export const named = (value: Named): string => `event: ${value.type}\n${data(value)}`

export const events = (write: () => Generator<string>): Events => ({ [Symbol.iterator]: write })
