"use strict";
// The search: every word has to begin a word of the section. search_index.js, which holds all
// sections, is loaded as a script on first use, because a page from a disk may not fetch files.
{
  const form = document.querySelector(".search");
  const [field, panel] = [form.querySelector("input"), form.querySelector(".found")];
  const [state, list] = [panel.querySelector("[role=status]"), panel.querySelector("ul")];
  const SHOWN = 12;
  let sections = null;

  const fold = text => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

  function load() {
    if (sections || form.querySelector("script")) return;
    const script = Object.assign(document.createElement("script"), { src: "search_index.js" });
    script.addEventListener("load", () => {
      sections = window.courseSections.map(([page, title, anchor, heading, text]) => (
        { href: anchor ? `${page}#${anchor}` : page, title, heading, text, folded: fold(`${heading} ${text}`) }));
      search();
    });
    form.append(script);
  }

  function score(section, patterns) {
    const counts = patterns.map(pattern => (section.folded.match(pattern) || []).length);
    if (Math.min(...counts) === 0) return 0;
    const inHeading = patterns.filter(pattern => fold(section.heading).match(pattern)).length;
    return 20 * inHeading + counts.reduce((sum, count) => sum + Math.min(count, 5), 0)
      + (section.href.includes("#term-") && inHeading ? 20 : 0);
  }

  function entry({ href, title, heading, text }, first) {
    const link = Object.assign(document.createElement("a"), { href });
    link.textContent = heading === title ? title : `${heading} (${title})`;
    const at = text.lastIndexOf(" ", Math.max(0, fold(text).search(first) - 40)) + 1;
    const extract = document.createElement("small");
    extract.textContent = (at ? "… " : "") + text.slice(at, at + 160) + (text.length > at + 160 ? " …" : "");
    const item = document.createElement("li");
    item.append(link, extract);
    return item;
  }

  function search() {
    const words = fold(field.value).split(/\s+/).filter(Boolean);
    panel.hidden = !words.length || !sections;
    if (panel.hidden) return;
    const patterns = words.map(word => new RegExp(`(?<![\\p{L}\\p{N}])${word.replace(/[\\^$.*+?()[\]{}|\/]/g, "\\$&")}`, "gu"));
    const scored = sections.map(section => [score(section, patterns), section]).filter(([points]) => points);
    scored.sort(([a], [b]) => b - a);
    const more = scored.length > SHOWN ? `, the first ${SHOWN} are shown` : "";
    state.textContent = `${scored.length} ${scored.length === 1 ? "section" : "sections"} found${more}`;
    list.replaceChildren(...scored.slice(0, SHOWN).map(([, section]) => entry(section, patterns[0])));
  }

  function close() { panel.hidden = true; }

  field.addEventListener("focus", load);
  field.addEventListener("input", search);
  form.addEventListener("submit", event => { event.preventDefault(); list.querySelector("a")?.click(); });
  list.addEventListener("click", close);
  form.addEventListener("keydown", event => {
    const links = [...list.querySelectorAll("a")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") { close(); field.focus(); }
    if (!step || panel.hidden) return;
    event.preventDefault();
    const next = links.indexOf(document.activeElement) + step;
    (next < 0 ? field : links[Math.min(next, links.length - 1)])?.focus();
  });
  addEventListener("keydown", event => {
    if (event.key !== "/" || event.target.matches("input, textarea")) return;
    event.preventDefault();
    field.focus();
  });
  form.hidden = false;
}
