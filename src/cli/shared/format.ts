/** Formats numbers, times and foreign text for people, the same on every machine. */

/** With commas: `1,234,567`. */
export const whole = (value: number): string =>
  Math.round(value)
    .toFixed(0)
    .replace(/\B(?=(\d{3})+$)/g, ",")

/** A count and its noun: `1 request`, `2,000 requests`. */
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${whole(count)} ${count === 1 ? one : many}`

const scales = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"]
] as const

/** Three digits: `950`, `12.3k`, `4.56M`. */
export const short = (value: number): string => {
  for (const [scale, unit] of scales) {
    // A value that would round up to the next unit is written in that unit.
    if (value >= scale * 0.9995) {
      const scaled = value / scale
      return `${scaled.toFixed(scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0)}${unit}`
    }
  }
  return value > 0 && value < 10 && !Number.isInteger(value) ? value.toFixed(2) : whole(value)
}

/** Per second: `0.25`, `12.3`, `1,234`. */
export const rate = (perSecond: number): string =>
  perSecond === 0
    ? "0"
    : perSecond < 1
      ? perSecond.toFixed(2)
      : perSecond < 100
        ? perSecond.toFixed(1)
        : whole(perSecond)

/** A duration in milliseconds, in at most two units: `812 ms`, `3.2 s`, `2 m 10 s`, `1 h 5 m`, `3 d 4 h`. */
export const span = (millis: number): string => {
  if (millis < 0.9995) return millis <= 0 ? "0 ms" : `${millis.toFixed(2)} ms`
  if (millis < 999.5) return `${Math.round(millis)} ms`
  if (millis < 59_950) return `${(millis / 1000).toFixed(1)} s`
  const units = [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1]
  ] as const
  const seconds = Math.round(millis / 1000)
  const at = seconds >= 86_400 ? 0 : seconds >= 3600 ? 1 : 2
  const [unit, size] = units[at] ?? units[2]
  const [smaller, step] = units[at + 1] ?? units[3]
  const rest = Math.floor((seconds % size) / step)
  return `${Math.floor(seconds / size)} ${unit}${rest === 0 ? "" : ` ${rest} ${smaller}`}`
}

/** US dollars, small amounts with their own digits: `$12.34`, `$0.0012`. */
export const dollars = (value: number): string => {
  if (value === 0 || value >= 1) {
    const [units = "0", cents = "00"] = value.toFixed(2).split(".")
    return `$${whole(Number(units))}.${cents}`
  }
  return `$${value.toFixed(Math.min(8, 1 - Math.floor(Math.log10(value))))}`
}

/** `42.0%`; never 100 % for less than all. */
export const percent = (part: number, all: number): string => {
  if (all <= 0 || part >= all) return "100%"
  return `${Math.min(99.9, (part * 100) / all).toFixed(1)}%`
}

/** A moment in milliseconds since the epoch: `2026-01-31 14:05:09 UTC`. */
export const moment = (millis: number): string => {
  const iso = new Date(millis).toISOString()
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`
}

/**
 * Text from a file or a provider, without characters that move a cursor, begin a line, or change the direction of
 * writing.
 */
export const plain = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, "\ufffd")
