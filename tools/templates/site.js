"use strict";
// What a page of the course does beyond being read. Without this script it is complete to read.

const page = document.body.dataset.page;
const byAll = (selector, root = document) => [...root.querySelectorAll(selector)];

// ---- code can be copied

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // an old browser, or a page from a server without https
    const field = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}
for (const block of byAll(".input_area, .text_cell_render .highlight")) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: "Copy" });
  button.setAttribute("aria-label", "Copy this code");
  button.addEventListener("click", async () => {
    await copy(block.querySelector("pre").textContent.replace(/\n$/, ""));
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; button.focus(); }, 1500);
  });
  block.append(button);
}

// ---- the keyboard reaches what scrolls sideways, and only that

function reachScrollers() {
  for (const element of byAll("pre, .output_area, .table-frame, math[display=block]")) {
    if (element.scrollWidth > element.clientWidth + 1) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  }
}
reachScrollers();
addEventListener("load", reachScrollers);
addEventListener("resize", reachScrollers);

// ---- the meaning of a term, while the pointer or the focus is on it

const meaning = Object.assign(document.createElement("div"), { id: "meaning", hidden: true });
meaning.setAttribute("role", "tooltip");
document.body.append(meaning);
let leaving = 0;
function hideMeaning() { meaning.hidden = true; }
function hideSoon() { leaving = setTimeout(hideMeaning, 250); }
function showMeaning(term) {
  clearTimeout(leaving);
  meaning.textContent = term.dataset.meaning;
  meaning.hidden = false;
  const at = term.getBoundingClientRect();
  const left = Math.min(at.left, document.documentElement.clientWidth - meaning.offsetWidth - 8);
  meaning.style.left = `${Math.max(8, left) + scrollX}px`;
  meaning.style.top = `${at.bottom + 4 + scrollY}px`;
}
for (const term of byAll("a.term")) {
  term.setAttribute("aria-describedby", "meaning");
  for (const name of ["mouseenter", "focus"]) term.addEventListener(name, () => showMeaning(term));
  for (const name of ["mouseleave", "blur"]) term.addEventListener(name, hideSoon);
}
meaning.addEventListener("mouseenter", () => clearTimeout(leaving));
meaning.addEventListener("mouseleave", hideSoon);
addEventListener("keydown", event => { if (event.key === "Escape") hideMeaning(); });

// ---- which sections were read: a section is, once its end has been on the screen

const readOf = stem => new Set(JSON.parse(kept.get(`course-read:${stem}`) || "[]"));
const words = (read, all) => `${read} of ${all} sections read`;
const headings = byAll("main h2");
const read = readOf(page);
function showProgress() {
  for (const link of byAll(".sections a")) {
    if (!read.has(link.hash.slice(1)) || link.classList.contains("read")) continue;
    link.classList.add("read");
    link.title = "read";
  }
  const line = document.querySelector(".place .progress");
  if (!line || headings.length < 2) return;
  line.textContent = words(headings.filter(one => read.has(one.id)).length, headings.length);
  line.hidden = false;
}
const ends = new IntersectionObserver(entries => {
  for (const entry of entries.filter(one => one.isIntersecting)) read.add(entry.target.endOf);
  kept.set(`course-read:${page}`, JSON.stringify([...read]));
  showProgress();
});
if (page) {
  headings.forEach((heading, index) => {
    const end = headings[index + 1] || document.querySelector(".onward");
    end.endOf = heading.id;
    ends.observe(end);
  });
  showProgress();
}
for (const card of byAll(".cards li")) {
  const [line, count] = [card.querySelector(".progress"), readOf(card.dataset.stem).size];
  if (!line || !count) continue;
  line.textContent = words(count, card.dataset.sections);
  line.hidden = false;
}

// ---- the tree is open where it stands beside the text

const tree = document.querySelector("details.tree");
if (tree && matchMedia("(min-width: 68rem)").matches) tree.open = true;
