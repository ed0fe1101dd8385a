/** Answers and inputs that cannot be written to the database: each costs only its own item. */
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import * as Batch from "effect-ai-gateway/Batch"
import * as Chat from "effect-ai-gateway/Chat"
import * as Cluster from "effect-ai-gateway/cluster"
import * as Provider from "effect-ai-gateway/Provider"
import { names, world } from "../batch/support.ts"
import { missing } from "./postgres.ts"
import { brief, collected, items, Live, text, work } from "./support.ts"

describe.skipIf(missing !== undefined)(missing ?? "cluster", () => {
  layer(Live, { excludeTestServices: true, timeout: 120_000 })((it) => {
    it.effect("turns an answer or an input that cannot be stored into a dead letter, and does later items", () =>
      Effect.gen(function* () {
        const args: Readonly<Record<string, string>> = {
          infinite: '{"a":1e400}',
          deep: "[".repeat(8000) + "]".repeat(8000)
        }
        const w = yield* world((prompt) => {
          const call = args[prompt]
          if (call === undefined) return undefined
          const message = { content: null, tool_calls: [{ id: "c", function: { name: "f", arguments: call } }] }
          return { body: { choices: [{ finish_reason: "tool_calls", message }] } }
        })
        const nested = JSON.parse("[".repeat(8000) + "]".repeat(8000))
        const request = (prompt: string, more: Partial<Chat.Request> = {}): Chat.Request => ({
          messages: [Chat.user(prompt)],
          ...more
        })
        yield* Cluster.submit({
          job: "unkept",
          items: [
            { id: "a", input: request("infinite") },
            { id: "b", input: request("deep") },
            { id: "c", input: request("never sent", { extra: { x: nested } }) },
            { id: "d", input: request("never sent", { extra: { x: Number.POSITIVE_INFINITY } }) },
            { id: "e", input: request("good") }
          ],
          input: Chat.RequestSchema
        })
        const value = Batch.withoutRaw(Chat.ReplySchema)
        const options = { job: "unkept", route: Provider.openai.chat("m"), input: Chat.RequestSchema, value }
        const summary = yield* Effect.provide(Cluster.worker({ ...options, concurrency: 1 }), w.layer)
        assert.deepInclude(summary, { state: "complete", succeeded: 1, deadLetters: 2 })
        const results = yield* Stream.runCollect(Cluster.collect({ job: "unkept", value }))
        assert.deepStrictEqual(
          results.map((result) => (result._tag === "DeadLetter" ? result.error.reason._tag : result._tag)),
          ["InvalidResponse", "InvalidResponse", "InvalidRequest", "InvalidRequest", "Success"]
        )
        assert.isFalse(w.requests.some(({ prompt }) => prompt === "never sent"))
      })
    )

    it.effect("ends only the item whose value the database rejects, and writes the others", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const w = yield* world()
        yield* Cluster.submit({ job: "picky", items: items(6), ...text })
        yield* sql.unsafe(`CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.job = 'picky' AND NEW.id = 'i3' AND NEW.kind = 'done' THEN
            RAISE EXCEPTION 'no' USING ERRCODE = '22P05';
          END IF;
          RETURN NEW; END $$`)
        yield* sql.unsafe(
          "CREATE TRIGGER picky BEFORE INSERT ON gateway_batch_results FOR EACH ROW EXECUTE FUNCTION picky()"
        )
        yield* Effect.provide(Cluster.worker(work("picky")), w.layer)
        assert.deepStrictEqual(
          (yield* collected("picky")).map(brief),
          names(6).map((id) => (id === "i3" ? "i3 Unknown" : `${id} answer to ${id}`))
        )
      })
    )
  })
})
