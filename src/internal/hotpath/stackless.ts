/**
 * Errors without a stack, for failures that come from outside.
 *
 * For a failed answer, the stack would show the internals of a fiber and no user code. Capturing it is most of the
 * failure's cost, and the next attempt overcomes many failures. Errors of the caller keep their stack.
 */

const isWritable = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit")?.writable === true

/** Makes errors without capturing stacks. In runtimes that do not allow this, stacks are captured. */
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
