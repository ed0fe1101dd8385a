/**
 * A diagram. Mermaid is loaded by the first page that has one; until then, and without JavaScript, the page shows the
 * diagram's text.
 */
import { useData } from "vitepress"
import { defineComponent, h, onMounted, ref, watch } from "vue"

/** Colours of the default theme, light and dark. */
const colours = (dark: boolean) => {
  const [surface, border, text, line, note, noteBorder] = dark
    ? ["#202127", "#515c67", "#dfdfd6", "#98989f", "#2f2b1f", "#7c6a34"]
    : ["#f6f6f7", "#c2c2c4", "#3c3c43", "#67676c", "#fdf8e4", "#d9c88a"]
  return {
    darkMode: dark,
    background: dark ? "#1b1b1f" : "#ffffff",
    primaryColor: surface,
    primaryBorderColor: border,
    primaryTextColor: text,
    textColor: text,
    lineColor: line,
    clusterBkg: dark ? "#161618" : "#ffffff",
    clusterBorder: border,
    edgeLabelBackground: dark ? "#1b1b1f" : "#ffffff",
    actorLineColor: border,
    noteBkgColor: note,
    noteBorderColor: noteBorder,
    noteTextColor: text
  }
}

/** At least this wide in pixels, or as wide as it is: on a phone a reader scrolls rather than guesses. */
const readable = 560

let count = 0

export const MermaidDiagram = defineComponent({
  name: "MermaidDiagram",
  props: { code: { type: String, required: true } },
  setup(props) {
    const { isDark } = useData()
    const drawn = ref({ svg: "", width: 0 })
    const draw = async (): Promise<void> => {
      const { default: mermaid } = await import("mermaid")
      // Boxes are measured in the font that they are shown in.
      await document.fonts.ready
      mermaid.initialize({
        startOnLoad: false,
        securityLevel: "strict",
        theme: "base",
        themeVariables: colours(isDark.value),
        fontFamily: getComputedStyle(document.body).fontFamily,
        flowchart: { wrappingWidth: 400 }
      })
      count++
      const { svg } = await mermaid.render(`mermaid-${count}`, decodeURIComponent(props.code))
      drawn.value = { svg, width: Number(/max-width: ([\d.]+)px/.exec(svg)?.[1] ?? 0) }
    }
    onMounted(() => {
      void draw()
      watch(isDark, draw)
    })
    return () =>
      drawn.value.svg === ""
        ? h("pre", { class: "diagram" }, decodeURIComponent(props.code))
        : h("div", { class: "diagram" }, [
            h("div", { style: { minWidth: `${Math.min(drawn.value.width, readable)}px` }, innerHTML: drawn.value.svg })
          ])
  }
})
