/** The part of the runtime's own module that the tests use. */
declare module "cloudflare:workers" {
  export abstract class WorkerEntrypoint<Env> {
    protected readonly env: Env
    protected readonly ctx: { waitUntil(promise: Promise<unknown>): void }
  }
}
