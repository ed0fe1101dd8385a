/**
 * A map with limits in entries and in bytes, which drops its oldest entries first.
 */

/** Bytes that an entry occupies in addition to its texts and bytes: objects, and keys of maps. */
export const overhead = 1024

/** Upper bound of the bytes that texts occupy in memory: two per UTF-16 code unit. */
export const textBytes = (...texts: ReadonlyArray<string | undefined>): number =>
  texts.reduce((sum, text) => sum + 2 * (text?.length ?? 0), 0)

/** Bytes that headers occupy in memory. */
export const headerBytes = (headers: Readonly<Record<string, string>>): number =>
  Object.entries(headers).reduce((sum, [name, value]) => sum + textBytes(name, value), 0)

/** A map with limits. */
export interface Bounded<K, V> {
  readonly get: (key: K) => V | undefined
  /** A replaced entry keeps its age. An entry larger than the limit is not kept, and evicts no other. */
  readonly set: (key: K, value: V) => void
  readonly delete: (key: K) => void
  /** Oldest first. */
  readonly values: () => ReadonlyArray<V>
  /** Oldest first, read lazily: entries that are evicted in the meantime are omitted. */
  readonly entries: () => Iterable<readonly [K, V]>
  readonly clear: () => void
}

/** Makes an empty map. */
export const make = <K, V>(limits: {
  readonly entries: number
  readonly bytes: number
  readonly sizeOf: (value: V) => number
}): Bounded<K, V> => {
  const entries = new Map<K, { readonly value: V; readonly size: number }>()
  let bytes = 0
  const remove = (key: K): void => {
    bytes -= entries.get(key)?.size ?? 0
    entries.delete(key)
  }
  return {
    get: (key) => entries.get(key)?.value,
    set: (key, value) => {
      const size = limits.sizeOf(value)
      if (size > limits.bytes) return remove(key)
      bytes += size - (entries.get(key)?.size ?? 0)
      entries.set(key, { value, size })
      for (const oldest of entries.keys()) {
        if (entries.size <= limits.entries && bytes <= limits.bytes) return
        remove(oldest)
      }
    },
    delete: remove,
    values: () => Array.from(entries.values(), ({ value }) => value),
    *entries() {
      for (const [key, { value }] of entries) yield [key, value]
    },
    clear: () => {
      entries.clear()
      bytes = 0
    }
  }
}
