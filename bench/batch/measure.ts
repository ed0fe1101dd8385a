/**
 * Measures contenders side by side.
 */
import { start } from "../child.ts"
import { inTurns } from "../turns.ts"
import type { Command, Report } from "./command.ts"

/** Result of a contender. */
export interface Taken extends Report {
  /** Milliseconds that it had for its items. */
  readonly wall: number
}

/** All contenders do their items in turns. `root`: the checkout whose library one uses, instead of this one. */
export const measure = async (
  contenders: ReadonlyArray<{ readonly command: Command; readonly root?: string | undefined }>
): Promise<ReadonlyArray<Taken>> => {
  const file = new URL("contenders.ts", import.meta.url)
  const all = await Promise.all(
    contenders.map(async ({ command, root }) => ({
      child: await start(file, { root, pausable: true }),
      question: command
    }))
  )
  try {
    return (await inTurns<Report>(all)).map(({ answer, within }) => ({
      ...answer,
      wall: within(answer.span) - (answer.start === undefined ? 0 : within(answer.start))
    }))
  } finally {
    for (const { child } of all) child.close()
  }
}
