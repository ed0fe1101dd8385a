const slash = 0x2f

/** Removes the slashes at the end of a text. A pattern would restart at each slash of a long run. */
export const trimSlashes = (text: string): string => {
  let end = text.length
  while (text.charCodeAt(end - 1) === slash) end--
  return text.slice(0, end)
}
