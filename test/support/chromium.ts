/**
 * Starts a Chromium for tests, with an empty profile, that stops with its scope.
 */
import { accessSync, constants } from "node:fs"
import { delimiter, join } from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Browser, chromium } from "playwright-core"

const names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]

const isExecutable = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

// `CHROMIUM_BIN` names another binary.
const binary =
  process.env["CHROMIUM_BIN"] ??
  names
    .flatMap((name) => (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, name)))
    .find(isExecutable)

/** The reason why there is no browser for tests, if there is none. */
export const missing =
  binary === undefined
    ? `skipped: there is no Chromium on the PATH (${names.join(", ")}) or in CHROMIUM_BIN`
    : undefined

/** Starts a Chromium in which `hosts` resolve to this machine, as with an attacker's name server. */
export const start = (hosts: ReadonlyArray<string>): Effect.Effect<Browser, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() =>
      chromium.launch({
        executablePath: binary ?? "",
        args: [
          // Tests may run as root, where Chromium has no sandbox.
          "--no-sandbox",
          "--disable-gpu",
          "--disable-quic",
          "--no-first-run",
          "--disable-background-networking",
          "--disable-component-update",
          "--disable-sync",
          `--host-resolver-rules=${hosts.map((host) => `MAP ${host} 127.0.0.1`).join(",")}`
        ]
      })
    ),
    (browser) => Effect.promise(() => browser.close())
  )
