/**
 * Measurement: contenders take turns in one process, so that they share its warm-up, its garbage and the state of the
 * machine, and the report shows ratios within a turn. CPU time accompanies wall time, because it is steadier on a busy
 * machine.
 */

/** Result of one contender in one turn. */
export interface Sample {
  /** Calls that were made. */
  readonly calls: number
  /** Milliseconds. */
  readonly wall: number
  /** Milliseconds of CPU time, of this process. */
  readonly cpu: number
}

/** A contender. `call` does one unit of work and throws when the result is wrong. */
export interface Contender {
  readonly name: string
  readonly call: () => Promise<void>
}

/** Length and number of turns. */
export interface Settings {
  readonly rounds: number
  /** Minimum milliseconds of one contender's turn. */
  readonly turn: number
  /** Concurrent calls. */
  readonly inFlight: number
}

export const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5)

/** With interpolation; `NaN` without values. */
export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const low = sorted[Math.floor(at)] ?? Number.NaN
  const high = sorted[Math.ceil(at)] ?? Number.NaN
  return low + (high - low) * (at - Math.floor(at))
}

/** One turn. */
export const turnOf = async ({ call }: Contender, { inFlight, turn }: Settings): Promise<Sample> => {
  let calls = 0
  const cpuBefore = process.cpuUsage()
  const before = performance.now()
  const until = before + turn
  const worker = async (): Promise<void> => {
    do {
      await call()
      calls++
    } while (performance.now() < until)
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  const wall = performance.now() - before
  const { system, user } = process.cpuUsage(cpuBefore)
  return { calls, wall, cpu: (user + system) / 1000 }
}

/** Makes a function that shuffles lists, with the same sequence in each run. */
export const shuffler = (): (<A>(values: ReadonlyArray<A>) => ReadonlyArray<A>) => {
  let state = 1
  const random = (): number => {
    // The minimal standard generator.
    state = (state * 48_271) % 2_147_483_647
    return state
  }
  return (values) =>
    values
      .map((value) => [random(), value] as const)
      .sort(([a], [b]) => a - b)
      .map(([, value]) => value)
}

/**
 * Lets contenders take turns: a discarded round for warm-up, and then `rounds`, each in another order. Returns the
 * samples of each, by round.
 */
export const alternate = async (
  contenders: ReadonlyArray<Contender>,
  settings: Settings
): Promise<ReadonlyMap<string, ReadonlyArray<Sample>>> => {
  const samples = new Map<string, Array<Sample>>(contenders.map(({ name }) => [name, []]))
  const shuffled = shuffler()
  for (const contender of contenders) await turnOf(contender, { ...settings, turn: settings.turn * 3 })
  for (let round = 0; round < settings.rounds; round++) {
    for (const contender of shuffled(contenders)) samples.get(contender.name)?.push(await turnOf(contender, settings))
  }
  return samples
}

/** A median with the quartiles around it. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

export const spread = (values: ReadonlyArray<number>): Spread => ({
  median: median(values),
  low: quantile(values, 0.25),
  high: quantile(values, 0.75)
})

/** Ratios of two contenders round by round. */
export const ratios = (a: ReadonlyArray<Sample>, b: ReadonlyArray<Sample>, value: (sample: Sample) => number): Spread =>
  spread(
    a.flatMap((sample, round) => {
      const other = b[round]
      return other === undefined ? [] : [value(sample) / value(other)]
    })
  )

/** Calls per second of wall time. */
export const perSecond = ({ calls, wall }: Sample): number => (calls * 1000) / wall

/** Microseconds of CPU time per call. */
export const cpuPerCall = ({ calls, cpu }: Sample): number => (cpu * 1000) / calls

/** Rows as columns of text: the first one to the left, numbers to the right. */
export const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

/** `1.52 (1.48 to 1.55)` */
export const written = ({ high, low, median }: Spread, digits = 2): string =>
  `${median.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`
