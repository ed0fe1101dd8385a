/**
 * A map that forgets: bounded in entries and in bytes, the oldest entries go first.
 */

/** What an entry costs beside its texts and bytes: objects, and keys of maps. Bytes. */
export const overhead = 1024

/** Bytes of texts in memory, at most: two for each unit of UTF-16. */
export const textBytes = (...texts: ReadonlyArray<string | undefined>): number =>
  texts.reduce((sum, text) => sum + 2 * (text?.length ?? 0), 0)

/** Bytes of headers in memory. */
export const headerBytes = (headers: Readonly<Record<string, string>>): number =>
  Object.entries(headers).reduce((sum, [name, value]) => sum + textBytes(name, value), 0)

/** See the module. */
export interface Bounded<K, V> {
  readonly get: (key: K) => V | undefined
  /** An entry that is there keeps its age. One that alone is larger than the bound is not kept, and nothing else goes for it. */
  readonly set: (key: K, value: V) => void
  readonly delete: (key: K) => void
  /** Oldest first. */
  readonly values: () => ReadonlyArray<V>
  /** Oldest first, as they are when it comes to each: what goes meanwhile is left out. */
  readonly entries: () => Iterable<readonly [K, V]>
  readonly clear: () => void
}

/** Makes an empty one. */
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
