/**
 * The environment of programs that tests start: a user's shell, without the variables of npm and of the test runner,
 * which change how Node resolves and loads, and without an account, which would reach the real service.
 *
 * The cache of compiled code stays: with it a program that imports the library starts in a bit more than half of the
 * time.
 */
const dropped = /^(npm_|vitest|node_(?!compile_cache$)|force_color|cloudflare_|ai_gateway_|cf_aig_)/i

export const childEnv: Readonly<Record<string, string | undefined>> = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !dropped.test(name))
)
