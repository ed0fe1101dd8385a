/** Drops fields that are `undefined`, because `exactOptionalPropertyTypes` requires them to be absent. */
export const defined = <A extends object>(value: A): { [K in keyof A]?: Exclude<A[K], undefined> } => {
  const out: { [K in keyof A]?: Exclude<A[K], undefined> } = {}
  for (const key in value) {
    const field = value[key]
    if (field !== undefined) out[key] = field as Exclude<A[typeof key], undefined>
  }
  return out
}

/** Fields that may be set while an object is built. On the path of every call, this costs a fraction of spreads. */
export type Mutable<A> = { -readonly [K in keyof A]: A[K] }
