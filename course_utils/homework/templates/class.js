"use strict";
// Tables that sort, and the rubric as a form. What students wrote is only read and set as text.
(() => {
  const page = document;
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  function make(name, properties, ...children) {
    const element = Object.assign(page.createElement(name), properties);
    element.append(...children);
    return element;
  }

  // Cells that begin with a number sort by it, before all others; the rest by their text.
  function compare(first, second) {
    const [one, two] = [first, second].map((text) => parseFloat(text));
    if (Number.isNaN(one) !== Number.isNaN(two)) return Number.isNaN(one) ? 1 : -1;
    return one - two || collator.compare(first, second);
  }

  function sortBy(table, place, head) {
    const falls = head.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const key = (row) => row.cells[place].textContent.trim();
    const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)) * (falls ? -1 : 1));
    body.append(...rows);
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
  }

  for (const table of page.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      const button = make("button", { type: "button", textContent: head.textContent });
      button.addEventListener("click", () => sortBy(table, place, head));
      head.replaceChildren(button);
    });
  }

  const forms = [...page.querySelectorAll("table.grading")];
  const bar = page.getElementById("grades");
  if (!bar || !forms.length) return;
  let isSaved = true;

  function fieldsOf(form) {
    return [...form.tBodies[0].rows].map((row) => ({
      criterion: row.cells[0].textContent.trim(),
      most: Number(row.cells[1].textContent),
      points: row.querySelector("input"),
      remark: row.querySelector("textarea"),
    }));
  }

  function total(form) {
    return fieldsOf(form).reduce((sum, field) => sum + (Number(field.points.value) || 0), 0);
  }

  for (const form of forms) {
    const student = form.dataset.student;
    for (const row of form.tBodies[0].rows) {
      const label = `${student}, ${row.cells[0].textContent.trim()}`;
      const most = row.cells[1].textContent.trim();
      const points = make("input", { type: "number", min: "0", max: most, step: "0.5" });
      const remark = make("textarea", { rows: 1 });
      points.setAttribute("aria-label", `${label}: points of ${most}`);
      remark.setAttribute("aria-label", `${label}: remark`);
      row.cells[2].replaceChildren(points);
      row.cells[3].replaceChildren(remark);
    }
    const sum = form.tFoot.rows[0].cells[2];
    form.addEventListener("input", () => {
      isSaved = false;
      sum.textContent = String(total(form));
    });
  }

  const gradesOf = (form) => ({
    source: form.dataset.source,
    platform_id: form.dataset.platformId,
    student: form.dataset.student,
    rule: form.dataset.rule,
    total: total(form),
    criteria: fieldsOf(form).map(({ criterion, most, points, remark }) => ({
      criterion,
      most,
      points: points.value === "" ? null : Number(points.value),
      remark: remark.value,
    })),
  });

  // As the course's own tables: no cell starts a formula, at a comma or at a semicolon.
  function defused(value) {
    const flat = String(value ?? "").split(/\s+/).join(" ").replaceAll(";", ",");
    const inside = flat.replace(/([,;]\s*)(?=[-=+@|%＝＋－＠])/g, "$1'");
    return /^\s*[-=+@|%＝＋－＠]/.test(inside) ? `'${inside}` : inside;
  }
  const cell = (value) => `"${defused(value).replaceAll('"', '""')}"`;

  function asCsv() {
    const all = forms.map(gradesOf);
    const names = all[0].criteria.map((entry) => entry.criterion);
    const head = ["source", "platform id", "student", "rule", "total", ...names];
    const remarks = names.map((name) => `remark: ${name}`);
    const lines = all.map((grades) => [
      grades.source, grades.platform_id, grades.student, grades.rule, grades.total,
      ...grades.criteria.map((entry) => entry.points),
      ...grades.criteria.map((entry) => entry.remark),
    ]);
    return [[...head, ...remarks], ...lines].map((line) => line.map(cell).join(",")).join("\r\n");
  }

  function keep(name, type, text) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    const link = make("a", { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    isSaved = true;
    said.textContent = `${name} was handed to the browser's downloads.`;
  }

  function fill(text) {
    const read = new Map(JSON.parse(text).students.map((one) => [one.source, one]));
    let count = 0;
    for (const form of forms) {
      const grades = read.get(form.dataset.source);
      if (!grades) continue;
      count += 1;
      for (const field of fieldsOf(form)) {
        const entry = grades.criteria.find((one) => one.criterion === field.criterion);
        if (!entry) continue;
        field.points.value = entry.points ?? "";
        field.remark.value = entry.remark;
      }
      form.tFoot.rows[0].cells[2].textContent = String(total(form));
    }
    return count;
  }

  const said = make("p", { className: "quiet" });
  said.setAttribute("role", "status");
  const asJson = () => `${JSON.stringify({ version: 1, students: forms.map(gradesOf) }, null, 1)}\n`;
  const json = make("button", { type: "button", textContent: "Save grades as JSON" });
  json.addEventListener("click", () => keep("grades.json", "application/json", asJson()));
  const csv = make("button", { type: "button", textContent: "Save grades as CSV" });
  csv.addEventListener("click", () => keep("grades.csv", "text/csv", `\ufeff${asCsv()}\r\n`));
  const file = make("input", { type: "file", accept: ".json" });
  file.addEventListener("change", async () => {
    try {
      said.textContent = `Grades of ${fill(await file.files[0].text())} students were read.`;
    } catch (error) {
      said.textContent = `This is no grades.json of a class page (${error.message}).`;
    }
  });
  bar.append(make("p", {}, json, " ", csv), make("label", {}, "Go on with a saved grades.json: ", file), said);
  addEventListener("beforeunload", (event) => {
    if (!isSaved) event.preventDefault();
  });
})();
