/** Drops fields that are `undefined`, as `exactOptionalPropertyTypes` wants them: absent. */
export const defined = <A extends object>(value: A): { [K in keyof A]?: Exclude<A[K], undefined> } => {
  const out: { [K in keyof A]?: Exclude<A[K], undefined> } = {}
  for (const key in value) {
    const field = value[key]
    if (field !== undefined) out[key] = field as Exclude<A[typeof key], undefined>
  }
  return out
}

/**
 * Fields that may be set while an object is made. On the way of every call that takes a fraction of what spreads take.
 */
export type Mutable<A> = { -readonly [K in keyof A]: A[K] }
