/**
 * Detects broken connections that had served before and delivered no byte of the awaited answer. No client reports
 * that, but on Node the diagnostics channels of undici (which also powers `fetch`) and of `node:http` do.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { isRecord } from "../data/json.ts"

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

const get = (value: unknown, name: string): unknown => (isObject(value) ? Reflect.get(value, name) : undefined)

/** Connections to which a request was written. */
const used = new WeakSet<object>()
/**
 * For each request on a used connection: the bytes that the connection had delivered by then. Over TLS, `bytesRead`
 * counts only the answers.
 */
const written = new WeakMap<object, { readonly socket: object; readonly bytesRead: unknown }>()
const silent = new WeakSet<object>()

/** Whether an error came from a connection that had served before and had delivered no byte since. */
export const isSilent = (error: unknown): boolean => isObject(error) && silent.has(error)

const onReused = (request: object, socket: object): void => {
  written.set(request, { socket, bytesRead: get(socket, "bytesRead") })
}

// Every request passes here, so fields are read directly.
const onUndiciRequest = (message: unknown): void => {
  if (!isRecord(message)) return
  const { headers, request, socket } = message
  if (!isRecord(request) || !isRecord(socket) || typeof headers !== "string") return
  // A proxy's answer to CONNECT is not an answer. HTTP/2 has no such first line, and other requests share its bytes.
  if (headers.startsWith("CONNECT ") || !headers.startsWith(`${request["method"]} `)) return
  if (used.has(socket)) written.set(request, { socket, bytesRead: socket["bytesRead"] })
  else used.add(socket)
}

const onNodeRequest = (message: unknown): void => {
  const request = get(message, "request")
  if (!isObject(request)) return
  const onSocket = (socket: unknown): void => {
    if (get(request, "reusedSocket") === true && isObject(socket)) onReused(request, socket)
  }
  const socket = get(request, "socket")
  const once = get(request, "once")
  if (isObject(socket)) onSocket(socket)
  else if (typeof once === "function") Reflect.apply(once, request, ["socket", onSocket])
}

const onError = (message: unknown): void => {
  const request = get(message, "request")
  const error = get(message, "error")
  const before = isObject(request) ? written.get(request) : undefined
  if (before !== undefined && isObject(error) && get(before.socket, "bytesRead") === before.bytesRead) silent.add(error)
}

const listeners = [
  ["undici:client:sendHeaders", onUndiciRequest],
  ["undici:request:error", onError],
  ["http.client.request.start", onNodeRequest],
  ["http.client.request.error", onError]
] as const

let watchers = 0

const each = (act: "subscribe" | "unsubscribe"): void => {
  const channels = globalThis.process?.getBuiltinModule?.("node:diagnostics_channel")
  for (const [name, listener] of listeners) channels?.[act](name, listener)
}

/** Watches connections until the scope closes. Detects nothing in runtimes without these channels. */
export const watchConnections: Effect.Effect<void, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    if (watchers++ === 0) each("subscribe")
  }),
  () =>
    Effect.sync(() => {
      if (--watchers === 0) each("unsubscribe")
    })
)
