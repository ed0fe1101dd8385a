/**
 * Errors without a stack, for failures that come from outside.
 *
 * Where an answer turns out to be a failure, the stack shows the insides of a fiber and nobody's code; taking it is
 * most of what the failure costs, and many of them are overcome by the next attempt. What a caller did wrong keeps its
 * stack.
 */

const isWritable = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit")?.writable === true

/** Makes errors that look at no stack. Where a runtime does not let itself be told, they do. */
export const withoutStack = <A>(make: () => A): A => {
  if (!isWritable) return make()
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return make()
  } finally {
    Error.stackTraceLimit = limit
  }
}
