"""The look of the course's web pages: one readable column on a phone and on a desk; no font, script or style from elsewhere."""

from __future__ import annotations

SITE_TITLE = "Generative models for images"

PAGE_CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 50rem; padding: 1rem 1rem 4rem; background: #fff; color: #1f2328;
  font: 1.05rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: break-word; }
a { color: #0550ae; }
h1, h2, h3, h4 { line-height: 1.25; margin: 2rem 0 0.6rem; }
h1 { font-size: 1.8rem; margin-top: 1rem; } h2 { font-size: 1.4rem; } h3 { font-size: 1.15rem; }
a.anchor-link { margin-left: 0.4rem; text-decoration: none; opacity: 0; } :hover > a.anchor-link, a.anchor-link:focus { opacity: 1; }
img { max-width: 100%; height: auto; }
code { background: #f0f2f4; padding: 0.1em 0.3em; border-radius: 4px;
  font: 0.9em ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { font: 0.88rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 0; overflow-x: auto; }
.output_area pre { white-space: pre-wrap; overflow-wrap: anywhere; }
pre code { background: none; padding: 0; font: inherit; }
.cell { margin: 0.9rem 0; }
.input_area, .text_cell_render .highlight, .text_cell_render > pre { background: #f6f8fa; border: 1px solid #d0d7de; border-radius: 6px;
  padding: 0.7rem 0.9rem; }
.input_area .highlight, .text_cell_render .highlight { background: none; }
.output_area { margin: 0.5rem 0 0; padding-left: 0.9rem; border-left: 3px solid #d0d7de; overflow-x: auto; }
.output_stderr { background: #fff4e5; padding: 0.5rem; } .output_error { background: #ffebe9; padding: 0.5rem; border-radius: 6px; }
.prompt { display: none; }
table { border-collapse: collapse; margin: 0.8rem 0; display: block; max-width: 100%; overflow-x: auto; font-size: 0.95rem;
  font-variant-numeric: tabular-nums; }
table, th, td { border: 0; } th, td { border-bottom: 1px solid #d0d7de; padding: 0.3rem 0.7rem; text-align: right; } th { background: #f6f8fa; }
.text_cell_render td, .text_cell_render th { text-align: left; }
blockquote { margin: 1rem 0; padding: 0.1rem 1rem; border-left: 4px solid #0550ae; background: #f3f7fc; }
details { border: 1px solid #d0d7de; border-radius: 6px; padding: 0.5rem 0.9rem; margin: 0.8rem 0; } summary { cursor: pointer; font-weight: 600; }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "Noto Sans Math", "DejaVu Math TeX Gyre", math; font-size: 1.08em; }
math[display="block"] { display: block math; margin: 0.8rem 0; overflow-x: auto; overflow-y: hidden; padding: 0.2rem 0; }
mtable[displaystyle="true"] > mtr > mtd { padding: 0.3ex 0; }
mtd[columnalign="right"] { text-align: right; } mtd[columnalign="left"] { text-align: left; }
mi[mathvariant="bold-italic"] { font-weight: bold; font-style: italic; }
.ansi-red-fg, .ansi-red-intense-fg { color: #a40e26; } .ansi-green-fg, .ansi-green-intense-fg { color: #116329; } .ansi-bold { font-weight: bold; }
ol.index { padding-left: 1.4rem; } ol.index h2 { font-size: 1.15rem; margin: 1.4rem 0 0.2rem; } ol.index p { margin: 0.2rem 0; }
.state { color: #57606a; font-size: 0.9rem; }
@media (max-width: 30rem) { body { font-size: 1rem; padding: 0.7rem 0.7rem 3rem; } h1 { font-size: 1.5rem; } .input_area { padding: 0.5rem 0.6rem; } }
"""
