/**
 * Follows a page as a reader would: saves the files that it tells to save, runs its commands, and compares what they
 * print with what it shows.
 *
 * Two things differ from a reader's hands: `npm i` takes this library from a tarball and other packages from this
 * project, because the test must work without a network; and `serve` takes a free port.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { promisify } from "node:util"
import { childEnv } from "../support/childEnv.ts"
import * as Docs from "./support.ts"

/** One thing that a page tells to do. */
export type Step =
  | { readonly kind: "save"; readonly file: string; readonly text: string; readonly line: number }
  | {
      readonly kind: "run"
      readonly commands: ReadonlyArray<string>
      readonly line: number
      /** Whether the page tells to paste the `export` lines that a server prints. */
      readonly pastes: boolean
    }
  | { readonly kind: "expect"; readonly output: string; readonly line: number }

/** The text between two fences that leads to the second one. */
const leadOf = (lines: ReadonlyArray<string>, fence: Docs.Fence): string => {
  const above = lines.slice(0, fence.line - 2)
  const start = above.findLastIndex((line) => line.startsWith("```") || line.startsWith("#"))
  return above.slice(start + 1).join(" ")
}

/** The text after a fence, up to the next one. */
const wordsAfter = (lines: ReadonlyArray<string>, { line, text }: Docs.Fence): string => {
  const below = lines.slice(line + text.split("\n").length - 1)
  const end = below.findIndex((one) => one.startsWith("```") || one.startsWith("#"))
  return below.slice(0, end === -1 ? undefined : end).join(" ")
}

/** The steps of a text. Blocks that it does not tell to save, to run or to expect are for reading. */
export const stepsOf = (text: string): ReadonlyArray<Step> => {
  const lines = text.split("\n")
  let ran = false
  return Docs.fences(text).flatMap((fence): ReadonlyArray<Step> => {
    const { info, line } = fence
    const lead = leadOf(lines, fence)
    const file = /\b[Ss]ave\b[^.`]*`([^`]+)`/.exec(lead)?.[1]
    const pastes = /`export`.*\bpaste\b/.test(wordsAfter(lines, fence))
    const command = /\brun `([^`]+)`:?\s*$/.exec(lead)?.[1]
    if (file !== undefined) {
      ran = command !== undefined
      const save: Step = { kind: "save", file, text: fence.text, line }
      return command === undefined ? [save] : [save, { kind: "run", commands: [command], line, pastes }]
    }
    if (info === "sh") {
      ran = true
      return [{ kind: "run", commands: fence.text.trim().split("\n"), line, pastes }]
    }
    if (info === "text" && ran) return [{ kind: "expect", output: fence.text.trimEnd(), line }]
    return []
  })
}

/** Where the packages come from. */
export interface Packages {
  readonly tarball: string
  /** A `node_modules` with everything else. */
  readonly modules: string
}

const binaries: Readonly<Record<string, string>> = { esbuild: "esbuild/bin/esbuild" }

const link = async (target: string, path: string, type: "dir" | "file"): Promise<void> => {
  await mkdir(dirname(path), { recursive: true })
  await rm(path, { recursive: true, force: true })
  await symlink(target, path, type)
}

const exportsOf = (printed: string): Readonly<Record<string, string>> =>
  Object.fromEntries([...printed.matchAll(/^export (\w+)=(\S+)$/gm)].map(([, name = "", value = ""]) => [name, value]))

/**
 * Whether lines that follow each other are what a page shows. Logs may be around them: workerd passes on those of a
 * Worker when it likes.
 */
const shows = (printed: string, output: string): boolean => {
  const lines = printed.split("\n")
  const count = output.split("\n").length
  return lines.some((_, from) => Docs.matches(lines.slice(from, from + count).join("\n"), output))
}

/** Follows steps in a folder. Returns what the last command printed. Stops what it started in the background. */
export const follow = async (
  folder: string,
  steps: ReadonlyArray<Step>,
  { modules, tarball }: Packages
): Promise<{ readonly folder: string; readonly printed: string }> => {
  const library = "effect-ai-gateway"
  let at = folder
  let printed = ""
  const env: Record<string, string | undefined> = {
    ...childEnv,
    PATH: `${dirname(process.execPath)}:${childEnv["PATH"] ?? ""}`
  }
  const background: Array<ChildProcess> = []

  const shell = async (command: string): Promise<string> => {
    const { stdout } = await promisify(execFile)("bash", ["-ec", command], { cwd: at, env, timeout: 180_000 })
    return stdout
  }

  const install = async (names: ReadonlyArray<string>): Promise<void> => {
    const quiet = "--offline --legacy-peer-deps --ignore-scripts --no-audit --no-fund --no-package-lock"
    if (names.includes(library)) await shell(`npm install ${quiet} ${tarball}`)
    for (const name of names) {
      if (name === library) continue
      const [, bare = name, wanted] = /^(.[^@]*)(?:@(.+))?$/.exec(name) ?? []
      const { version } = JSON.parse(await readFile(join(modules, bare, "package.json"), "utf8"))
      if (wanted !== undefined && !`${version}.`.startsWith(`${wanted.replace(/^[\^~]/, "")}.`)) {
        throw new Error(`the page installs ${name}, and this project has ${version}`)
      }
      await link(join(modules, bare), join(at, "node_modules", bare), "dir")
      const binary = binaries[bare]
      if (binary !== undefined) await link(join(modules, binary), join(at, "node_modules/.bin", bare), "file")
    }
  }

  const serve = async (command: string, pastes: boolean): Promise<void> => {
    const child = spawn("bash", ["-ec", `${command} --port 0`], { cwd: at, env, detached: true })
    background.push(child)
    let seen = ""
    await new Promise<void>((ready, failed) => {
      child.stdout.on("data", (chunk: Buffer) => {
        seen += chunk.toString()
        if (/^export AI_GATEWAY_URL=\S+$/m.test(seen)) ready()
      })
      child.on("exit", (code) => failed(new Error(`${command} ended with ${code}: ${seen}`)))
    })
    if (pastes) Object.assign(env, exportsOf(seen))
  }

  const run = async (command: string, pastes: boolean): Promise<void> => {
    const [, names] = /^npm i(?:nstall)?((?: \S+)+)$/.exec(command) ?? []
    const [, entered] = /&& cd (\S+)$/.exec(command) ?? []
    if (names !== undefined) await install(names.split(" ").filter((name) => name !== "" && !name.startsWith("-")))
    else if (/ serve$/.test(command)) await serve(command, pastes)
    else printed = await shell(command)
    if (entered !== undefined) at = resolve(at, entered)
  }

  try {
    for (const step of steps) {
      if (step.kind === "save") await writeFile(join(at, step.file), step.text)
      else if (step.kind === "run") for (const command of step.commands) await run(command, step.pastes)
      else if (!shows(printed, step.output)) {
        throw new Error(`line ${step.line} shows\n${step.output}\nand the command printed\n${printed}`)
      }
    }
  } finally {
    for (const { pid } of background) if (pid !== undefined) process.kill(-pid)
  }
  return { folder: at, printed }
}

/** Fails when the settings for the deployed Worker are not those with which `dev.ts` of the path runs it. */
export const sameSettings = async (folder: string): Promise<void> => {
  const wrangler = JSON.parse(await made(folder, "wrangler.jsonc"))
  const dev = await made(folder, "dev.ts")
  const { ai, compatibility_date: date, compatibility_flags: flags, main, vars } = wrangler
  await made(folder, main)
  // `env.AI` is the default of `LocalWorker.start`.
  if (ai?.binding !== "AI") throw new Error(`wrangler.jsonc names the AI binding ${ai?.binding}`)
  const fields = { compatibilityDate: date, compatibilityFlags: flags, ...vars }
  for (const [field, value] of Object.entries(fields)) {
    if (!dev.includes(`${field}: ${JSON.stringify(value)}`)) {
      throw new Error(`wrangler.jsonc has ${field}: ${JSON.stringify(value)}, and dev.ts has not`)
    }
  }
}

/** A file that a path has made. */
export const made = (folder: string, file: string): Promise<string> => readFile(join(folder, file), "utf8")
