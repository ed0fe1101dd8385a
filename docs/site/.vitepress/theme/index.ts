import DefaultTheme from "vitepress/theme"
import { MermaidDiagram } from "./mermaid.ts"
import "./style.css"

export default {
  extends: DefaultTheme,
  enhanceApp: ({ app }: { readonly app: import("vue").App }): void => {
    app.component("MermaidDiagram", MermaidDiagram)
  }
}
