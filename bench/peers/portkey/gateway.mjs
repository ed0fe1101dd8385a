/**
 * Starts Portkey's gateway as a child process: on loopback only (by itself it listens on all interfaces), on a free port that it tells its parent, and
 * without writing to headers that a runtime has made immutable, which breaks all of its streams otherwise.
 */
import { Server } from "node:net"

const listen = Server.prototype.listen
Server.prototype.listen = function (_port, _host, ...rest) {
  Server.prototype.listen = listen
  this.once("listening", () => process.send({ port: this.address().port }))
  return listen.call(this, 0, "127.0.0.1", ...rest)
}

for (const method of ["append", "delete", "set"]) {
  const write = Headers.prototype[method]
  Headers.prototype[method] = function (...args) {
    try {
      return write.apply(this, args)
    } catch (error) {
      if (!(error instanceof TypeError && error.message === "immutable")) throw error
    }
  }
}

process.on("message", () => {
  const { system, user } = process.cpuUsage()
  process.send({ cpu: (system + user) / 1000 })
})
process.once("disconnect", () => process.exit())
process.argv.push("--headless", "--port=0")

await import("@portkey-ai/gateway/build/start-server.js")
