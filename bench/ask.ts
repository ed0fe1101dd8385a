/** Runs one question in this process, for `run.ts`, which starts one such process for each. */
import { serve } from "./child.ts"
import type { Answer, Question, Settings } from "./question.ts"

/** Request of `run.ts`. */
export interface Asking {
  readonly name: string
  readonly settings: Settings
}

/** Answer to `run.ts`. */
export interface Said {
  readonly title: string
  readonly answer: Answer
}

serve<Asking>(async ({ name, settings }): Promise<Said> => {
  const { question }: { readonly question: Question } = await import(`./questions/${name}.ts`)
  if (question.name !== name) throw new Error(`bench/questions/${name}.ts calls itself ${question.name}`)
  return { title: question.title, answer: await question.ask(settings) }
})
