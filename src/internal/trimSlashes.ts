const slash = 0x2f

/** A text without the slashes at its end. A pattern would begin anew at each slash of a long row. */
export const trimSlashes = (text: string): string => {
  let end = text.length
  while (text.charCodeAt(end - 1) === slash) end--
  return text.slice(0, end)
}
