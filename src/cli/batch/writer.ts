/**
 * One writer at a time for each file that a run writes, under all names of the file: two writers would tear each other's lines.
 *
 * The lock is a file beside the output, as in a journal. The next run removes the lock of a killed process.
 */
import { createHash } from "node:crypto"
import * as Fs from "node:fs/promises"
import { hostname, tmpdir } from "node:os"
import { basename, dirname, join, sep } from "node:path"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Lock from "../../journal/lock.ts"
import { CliFailure } from "../failure.ts"
import { codeOf, detailOf, RunFailure } from "./failure.ts"
import { realPath } from "./output.ts"
import { identityOf } from "./source.ts"

/** Attempts. Two runs that start at the same moment both step back, and each tries again after a random wait. */
const tries = 4
const waitMillis = 40
/** Longer names, in bytes, are replaced by a digest, because file systems accept at most 255 bytes. */
const maxName = 150

const isRelease = (lock: Lock.Release | Lock.Owner): lock is Lock.Release => typeof lock === "function"

const digest = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 32)

/** The folder and file name prefix of a lock. */
interface Place {
  readonly folder: string
  readonly prefix: string
}

/** For files that cannot have a lock beside them: a folder that processes of all users of this machine share. */
const shared = async (name: string): Promise<Place> => {
  const folder = join(tmpdir(), "effect-ai-gateway-locks")
  await Fs.mkdir(folder, { recursive: true })
  await Fs.chmod(folder, 0o1777).catch(() => undefined)
  return { folder, prefix: `lock-${digest(name)}-` }
}

const beside = (path: string): Place => {
  const name = basename(path)
  return {
    folder: dirname(path),
    prefix: Buffer.byteLength(name) <= maxName ? `${name}.lock-` : `lock-${digest(name)}-`
  }
}

const isNoFile = (path: string): boolean => ["/dev", "/proc"].some((folder) => path.startsWith(folder + sep))

/** The locks of a path; none for a device, which may have many writers. */
const placesOf = async (path: string): Promise<ReadonlyArray<Place>> => {
  const real = await realPath(path)
  if (isNoFile(real)) return []
  const stats = await Fs.stat(real).catch(() => undefined)
  if (stats !== undefined && !stats.isFile() && !stats.isFIFO()) return []
  const isWritable = await Fs.access(dirname(real), Fs.constants.W_OK).then(
    () => true,
    () => false
  )
  const own = isWritable ? beside(real) : await shared(real)
  // Hard links of the same file may be in other folders.
  return stats !== undefined && stats.nlink > 1 ? [own, await shared(identityOf(stats))] : [own]
}

/** Texts of a lock. */
export interface Holding {
  /** Name of the file in messages. */
  readonly name: string
  /** Written into the lock, and shown to other runs. */
  readonly purpose: string
  /** Subject of the message when the other run has the same purpose. */
  readonly same?: string
}

const acquire = Effect.fnUntraced(function* (
  { name, purpose, same }: Holding,
  { folder, prefix }: Place
): Effect.fn.Return<Lock.Release, CliFailure | RunFailure> {
  const attempt = <A>(run: () => Promise<A>) =>
    Effect.tryPromise({
      try: run,
      catch: (error) => {
        const message = `${name}: cannot be locked: ${detailOf(error)}`
        return ["ENOSPC", "EDQUOT", "EFBIG", "EIO"].includes(codeOf(error) ?? "")
          ? new RunFailure({ message })
          : new CliFailure({ message })
      }
    })
  for (let left = tries; ; left--) {
    const part = (yield* Random.nextInt) >>> 0
    const unique = `${process.pid}-${process.hrtime.bigint()}-${part.toString(36)}`
    const taken = yield* attempt(() => Lock.acquire(folder, unique, false, { prefix, purpose }))
    if (isRelease(taken)) return taken
    if (left > 1) {
      yield* Effect.sleep(waitMillis * (1 + (yield* Random.next)))
      continue
    }
    const { host, pid } = taken
    if (taken.purpose === purpose && same !== undefined) {
      return yield* new CliFailure({ message: `${same}: is in use by process ${pid} on ${host}, which writes ${name}` })
    }
    const isHere = host === hostname()
    const owner = `process ${pid}${isHere ? "" : ` on ${host}`} (${taken.purpose ?? "another run"})`
    const away = isHere ? "" : `; if that machine is gone, remove ${join(folder, prefix)}….json`
    return yield* new CliFailure({
      message: `${name}: is being written by ${owner}: expected another path, or that run to end first${away}`
    })
  }
})

/** Locks a path for writing while the scope is open. Fails with `CliFailure` naming the process that writes the file, under any of its names. */
export const hold = (holding: Holding, path: string): Effect.Effect<void, CliFailure | RunFailure, Scope.Scope> =>
  Effect.flatMap(
    Effect.tryPromise({
      try: () => placesOf(path),
      catch: (error) => new CliFailure({ message: `${holding.name}: cannot be locked: ${detailOf(error)}` })
    }),
    (places) =>
      Effect.forEach(
        places,
        (place) =>
          Effect.acquireRelease(acquire(holding, place), (release) =>
            Effect.promise(() => release().catch(() => undefined))
          ),
        { discard: true }
      )
  )

/** The file that standard output is redirected to, if the system reports it. */
export const redirected: Effect.Effect<string | undefined> = Effect.promise(() =>
  Fs.realpath("/proc/self/fd/1").catch(() => undefined)
)
