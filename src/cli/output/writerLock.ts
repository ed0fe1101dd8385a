/**
 * One writer at a time for each file that a run writes, under all names of the file: two writers would tear each
 * other's lines.
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
import { identityOf } from "../input/source.ts"
import { CliFailure } from "../shared/failure.ts"
import { codeOf, detailOf, RunFailure } from "../shared/runFailure.ts"
import { realPath } from "./output.ts"

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

/** A fixed folder instead of the environment's: two runs may have different ones. */
const temporary = process.platform === "win32" ? tmpdir() : "/tmp"

/** For files that cannot have a lock beside them: a folder that processes of all users of this machine share. */
const shared = async (name: string): Promise<Place> => {
  const folder = join(temporary, "effect-ai-gateway-locks")
  const isNew = await Fs.mkdir(folder).then(
    () => true,
    (error: unknown) => {
      if (codeOf(error) === "EEXIST") return false
      throw error
    }
  )
  if (isNew) await Fs.chmod(folder, 0o1777)
  // A link that another user has made would lead to a folder of that user's choice.
  else if (!(await Fs.lstat(folder)).isDirectory()) throw Object.assign(new Error("link"), { code: "ENOTDIR" })
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

/** The locks of a path. */
interface Places {
  /** Lock of its name; none for a device, which may have many writers. */
  readonly own?: Place
  /** Lock of the file itself, if it exists: a hard link to it may be in another folder, or be made later. */
  readonly file?: Place
  readonly identity?: string
  /** Whether the file has one name only, so that a run that cannot lock it under others may continue. */
  readonly isSingle?: boolean
}

const placesOf = async (path: string): Promise<Places> => {
  const real = await realPath(path)
  if (isNoFile(real)) return {}
  const stats = await Fs.stat(real).catch(() => undefined)
  if (stats !== undefined && !stats.isFile() && !stats.isFIFO()) return {}
  const isWritable = await Fs.access(dirname(real), Fs.constants.W_OK).then(
    () => true,
    () => false
  )
  const own = isWritable ? beside(real) : await shared(real)
  if (stats === undefined) return { own }
  const [isSingle, identity] = [stats.nlink <= 1, identityOf(stats)]
  const file = await shared(identity).catch((error: unknown) => {
    if (isSingle) return undefined
    throw error
  })
  return { own, identity, isSingle, ...(file !== undefined && { file }) }
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
  { folder, prefix }: Place,
  isOptional: boolean
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
    const locked = attempt(() => Lock.acquire(folder, unique, false, { prefix, purpose }))
    const taken = yield* isOptional ? Effect.catch(locked, () => Effect.succeed(async () => {})) : locked
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

const held = (holding: Holding, place: Place, isOptional = false) =>
  Effect.acquireRelease(acquire(holding, place, isOptional), (release) =>
    Effect.promise(() => release().catch(() => undefined))
  )

const locksOf = ({ name }: Holding, path: string) =>
  Effect.tryPromise({
    try: () => placesOf(path),
    catch: (error) => new CliFailure({ message: `${name}: cannot be locked: ${detailOf(error)}` })
  })

/**
 * Locks a path for writing while the scope is open, and returns the identity of the file if there is one. Fails with
 * `CliFailure` naming the process that writes the file, under any of its names.
 */
export const hold = Effect.fnUntraced(function* (
  holding: Holding,
  path: string
): Effect.fn.Return<string | undefined, CliFailure | RunFailure, Scope.Scope> {
  const { file, identity, isSingle, own } = yield* locksOf(holding, path)
  if (own !== undefined) yield* held(holding, own)
  if (file !== undefined) yield* held(holding, file, isSingle)
  return identity
})

/**
 * Locks the file that a run has created at a path that it holds: hard links that are made later lead to it. `identity`:
 * that of the file that it already holds.
 */
export const holdFile = Effect.fnUntraced(function* (
  holding: Holding,
  path: string,
  identity: string | undefined
): Effect.fn.Return<void, CliFailure | RunFailure, Scope.Scope> {
  const found = yield* locksOf(holding, path)
  if (found.file !== undefined && found.identity !== identity) yield* held(holding, found.file, found.isSingle)
})

/** The file that standard output is redirected to, if the system reports it. */
export const redirected: Effect.Effect<string | undefined> = Effect.promise(() =>
  Fs.realpath("/proc/self/fd/1").catch(() => undefined)
)
