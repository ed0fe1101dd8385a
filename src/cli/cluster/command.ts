/**
 * `effect-ai-gateway cluster`: one job on many machines, over PostgreSQL.
 */
import * as Command from "effect/cli/Command"
import { collect } from "./collect.ts"
import { status } from "./status.ts"
import { submit } from "./submit.ts"
import { worker } from "./worker.ts"

/** The command. */
export const cluster = Command.make("cluster").pipe(
  Command.withDescription(
    "One job on many machines, over PostgreSQL 13 or later: submit items, start workers anywhere, look at the status, collect the results. The " +
      "database is --database-url or DATABASE_URL."
  ),
  Command.withShortDescription("Send many requests from many machines"),
  Command.withSubcommands([submit, worker, status, collect]),
  Command.withExamples(({ commandPath }) => [
    { command: `${commandPath.join(" ")} submit in.jsonl --job reviews --route route.json`, description: "Once" },
    {
      command: `${commandPath.join(" ")} worker --job reviews --route route.json --concurrency 64 --rpm 5000`,
      description: "On each machine"
    },
    { command: `${commandPath.join(" ")} collect out.jsonl --job reviews`, description: "At the end" }
  ])
)
