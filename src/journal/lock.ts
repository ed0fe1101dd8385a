/**
 * A lock that one process holds at a time. Node has no `flock`, so each process that wants the journal creates a file
 * that names the process, and then looks for other such files: of two processes that start at the same time at least
 * one sees the other, and gives up. Files of dead processes are removed; their names are never reused, so no process
 * can remove a living one's by mistake.
 */
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import { join } from "node:path"

/** The holder of a lock. */
export interface Owner {
  readonly host: string
  readonly pid: number
  /**
   * Start of the process, in ticks since the machine started; distinguishes it from a later process with the same
   * number. Linux only.
   */
  readonly start?: string
  /** Changes whenever the machine starts. Linux only. */
  readonly boot?: string
  /** Purpose of the lock, if the folder does not imply it. */
  readonly purpose?: string
}

const quietly = (read: Promise<string>): Promise<string | undefined> => read.catch(() => undefined)

const startOf = async (pid: number): Promise<string | undefined> => {
  const stat = await quietly(Fs.readFile(`/proc/${pid}/stat`, "utf8"))
  // The second field is a name in parentheses and may contain anything.
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19]
}

const self = async (): Promise<Owner> => {
  const boot = (await quietly(Fs.readFile("/proc/sys/kernel/random/boot_id", "utf8")))?.trim()
  const start = await startOf(process.pid)
  return {
    host: Os.hostname(),
    pid: process.pid,
    ...(start !== undefined && { start }),
    ...(boot !== undefined && { boot })
  }
}

const isOwner = (u: unknown): u is Owner =>
  typeof u === "object" && u !== null && "host" in u && "pid" in u && typeof u.pid === "number"

const readOwner = async (path: string): Promise<Owner | undefined> => {
  const text = await quietly(Fs.readFile(path, "utf8"))
  if (text === undefined) return undefined
  try {
    const owner: unknown = JSON.parse(text)
    return isOwner(owner) ? owner : undefined
  } catch {
    return undefined
  }
}

const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // EPERM: the process of another user is alive too.
    return error instanceof Error && "code" in error && error.code === "EPERM"
  }
}

/** Whether an owner may be alive. Owners on another host always may. */
const mayLive = async (owner: Owner, me: Owner): Promise<boolean> => {
  if (owner.host !== me.host) return true
  if (owner.boot !== undefined && me.boot !== undefined && owner.boot !== me.boot) return false
  if (!isRunning(owner.pid)) return false
  if (owner.start === undefined) return true
  const start = await startOf(owner.pid)
  return start === undefined || start === owner.start
}

const isLock = (name: string, prefix: string): boolean =>
  name.startsWith(prefix) && /^[\w-]+\.json$/.test(name.slice(prefix.length))

/** Whether a file is a lock. */
export const isHeld = async (path: string): Promise<boolean> =>
  /(?:^|\.)lock-[\w-]+\.json$/.test(path) && (await readOwner(path)) !== undefined

/** Removes the lock. */
export type Release = () => Promise<void>

/** Names one of several locks in a folder, other than the lock of the folder itself. */
export interface Which {
  /** Prefix of the names of its files, which no other file may have. */
  readonly prefix: string
  readonly purpose: string
}

/**
 * Takes the lock of a folder, or returns its owner. `unique` is a text of letters, digits and hyphens that no other
 * process uses; `ignoreOthers` removes the locks of other processes.
 */
export const acquire = async (
  folder: string,
  unique: string,
  ignoreOthers: boolean,
  { prefix, purpose }: Partial<Which> = {}
): Promise<Release | Owner> => {
  const me: Owner = { ...(await self()), ...(purpose !== undefined && { purpose }) }
  const begins = prefix ?? "lock-"
  const name = `${begins}${unique}.json`
  const path = join(folder, name)
  // Renamed into place, so that no process reads half of it.
  try {
    await Fs.writeFile(`${path}.new`, JSON.stringify(me))
    await Fs.rename(`${path}.new`, path)
  } catch (error) {
    await Fs.rm(`${path}.new`, { force: true })
    throw error
  }
  const release = () => Fs.rm(path, { force: true })
  for (const other of await Fs.readdir(folder)) {
    if (!isLock(other, begins) || other === name) continue
    const owner = await readOwner(join(folder, other))
    if (owner === undefined) continue // gone meanwhile
    if (!ignoreOthers && (await mayLive(owner, me))) {
      await release()
      return owner
    }
    await Fs.rm(join(folder, other), { force: true })
  }
  return release
}
