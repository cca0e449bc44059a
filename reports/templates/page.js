"use strict";
// The page works without this. With it: headings sort, tables are filtered and copied, a heat map takes another reference
// row, methods are hidden everywhere, lists are searched, and a reader's own limits answered.

const hidden = new Set(); // the keys of the methods that are not shown
const chosen = new URLSearchParams(location.search);
for (const table of document.querySelectorAll("table[data-sortable]")) {
  sortable(table);
  tools(table);
}
for (const list of document.querySelectorAll("[data-searchable]")) search(list);
const packed = document.querySelector("[data-packed]");
if (packed) packed.closest("details").addEventListener("toggle", list);
for (const place of document.querySelectorAll("[data-limits]")) limits(place);
const chooser = document.getElementById("methods");
if (chooser) choose(chooser);
handOn(location.search);
for (const event of ["load", "hashchange"]) addEventListener(event, unfold);

// A link into what is folded opens it.
function unfold() {
  const name = decodeURIComponent(location.hash.slice(1));
  if (packed && /^run\d+$/.test(name)) list();
  const target = document.getElementById(name);
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.matches("details")) at.open = true;
  target.scrollIntoView();
}

// Many runs come packed: they are listed once their fold opens, and each is unpacked once it does.
function list() {
  const plain = packed.querySelector("noscript");
  if (!plain) return;
  const groups = packed.dataset.packed.split(" ").map((words) => ({ words }));
  const runs = new DOMParser().parseFromString(plain.textContent, "text/html").querySelectorAll("tbody tr");
  const made = [...runs].map((row, i) => {
    const details = element("details", "", { id: row.id });
    const summary = element("summary");
    const quiet = element("span", row.cells[1].textContent, { className: "quiet" });
    summary.append(element("bdi", row.cells[0].textContent), " ", quiet);
    details.append(summary);
    details.addEventListener("toggle", async () => {
      const group = groups[Math.floor(i / packed.dataset.atOnce)];
      group.texts ||= unpack(group.words);
      const text = (await group.texts)[i % packed.dataset.atOnce];
      if (details.childElementCount === 1) summary.insertAdjacentHTML("afterend", text);
    });
    return details;
  });
  packed.dataset.searchable = "runs";
  packed.replaceChildren(...made);
  search(packed);
}

async function unpack(words) {
  const bytes = Uint8Array.from(atob(words), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).json();
}

function element(name, text, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  if (text) made.append(text);
  return made;
}

// A heading sorts from the better end, then from the other, then as it was.
function sortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  const printed = [...table.tBodies[0].rows];
  headings.forEach((heading, column) => {
    const button = element("button", "", { type: "button" });
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const highest = heading.classList.contains("number") && !("lowestFirst" in heading.dataset);
      const orders = highest ? ["descending", "ascending"] : ["ascending", "descending"];
      const order = orders[orders.indexOf(heading.getAttribute("aria-sort")) + 1];
      headings.forEach((h) => h.removeAttribute("aria-sort"));
      if (order) {
        heading.setAttribute("aria-sort", order);
        sort(table.tBodies[0], column, order === "ascending" ? 1 : -1);
      } else {
        table.tBodies[0].append(...printed);
      }
    });
  });
}

function sort(body, column, direction) {
  const rows = [...body.rows].map((row) => [place(row, column), key(row.cells[column]), row]);
  rows.sort(([p, a], [q, b]) => p - q || (p ? 0 : direction * compare(a, b)));
  body.append(...rows.map(([, , row]) => row));
}

// What is not comparable stays last in every order, and what is absent comes just before it.
function place(row, column) {
  return "apart" in row.dataset ? 2 : key(row.cells[column]) === null ? 1 : 0;
}

function key(cell) {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  return cell.querySelector(".absent") ? null : cell.textContent.trim();
}

function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
}

function tools(table) {
  const features = (table.dataset.features || "").split(" ");
  const bar = element("div", "", { className: "tools" });
  if (features.includes("reference")) bar.append(reference(table));
  if (features.includes("filter")) bar.append(filter("Filter", [...table.tBodies[0].rows]));
  const headings = [...table.tHead.rows[0].cells];
  if (headings.length > 5 && !headings.some((heading) => heading.dataset.row)) bar.append(columns(table, headings));
  bar.append(copies(table));
  table.parentElement.before(bar);
  tellWidth(table, bar);
}

function columns(table, headings) {
  const details = element("details");
  const choices = element("fieldset");
  choices.append(element("legend", "Columns shown", { className: "hidden" }));
  headings.slice(1).forEach((heading, i) => {
    const label = element("label");
    const box = element("input", "", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      for (const row of table.rows) row.cells[i + 1].classList.toggle("unwanted", !box.checked);
    });
    const beneath = heading.querySelector(".unit");
    label.append(box, " ", text(heading), beneath ? `, ${beneath.textContent}` : "");
    choices.append(label);
  });
  details.append(element("summary", "Columns"), choices);
  return details;
}

// A table that fits its window has headings that stay in sight; one that doesn't says how much of it is out of sight.
function tellWidth(table, bar) {
  const scroll = table.parentElement;
  const said = element("span", "", { className: "goes-on" });
  bar.append(said);
  const look = () => {
    const fits = table.offsetWidth <= scroll.clientWidth + 1;
    scroll.classList.toggle("fits", fits);
    const edge = scroll.getBoundingClientRect();
    const beyond = (cells, side) => (fits ? 0 : [...cells].filter((cell) => cell.getBoundingClientRect()[side] > edge[side] + 1).length);
    const told = [[beyond(table.tHead.rows[0].cells, "right"), "column", "to the right →"], [beyond(table.tBodies[0].rows, "bottom"), "row", "below ↓"]];
    said.textContent = told.filter(([n]) => n).map(([n, noun, where]) => `${n} more ${noun}${n === 1 ? "" : "s"} ${where}`).join(", ");
  };
  new ResizeObserver(look).observe(scroll);
  new ResizeObserver(look).observe(table);
  scroll.addEventListener("scroll", look, { passive: true });
}

function filter(words, items) {
  const texts = items.map((item) => (item.querySelector(":scope > summary") || item).textContent.toLowerCase());
  const label = element("label", words);
  const input = element("input", "", { type: "search" });
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase().split(/\s+/);
    items.forEach((item, i) => { item.hidden = !wanted.every((word) => texts[i].includes(word)); });
  });
  label.append(input);
  return label;
}

function search(list) {
  const bar = element("div", "", { className: "tools" });
  bar.append(filter(`Search ${list.dataset.searchable}`, [...list.children]));
  list.before(bar);
}

function reference(table) {
  const rows = [...table.tBodies[0].rows];
  const label = element("label", "Difference to");
  const select = element("select", "", { ariaLabel: "Difference to" });
  select.append(element("option", "as printed", { value: "" }), ...rows.map((row, i) => element("option", text(row.cells[0]), { value: i })));
  const printed = rows.map((row) => [...row.cells].slice(1).map((cell) => [text(cell), cell.className, cell.dataset.more || ""]));
  const legend = [...table.parentElement.nextElementSibling.children];
  const explained = legend.map((part) => part.textContent);
  const explain = (words) => words.forEach((word, i) => { legend[i].textContent = word; });
  select.addEventListener("change", () => {
    const chosen = rows[select.value];
    if (chosen) {
      compareWith(rows, [...chosen.cells].slice(1).map(value));
      explain([text(chosen.cells[0])]);
    } else {
      printed.forEach((cells, r) => cells.forEach(([said, tint, more], c) => {
        put(rows[r].cells[c + 1], said, tint);
        rows[r].cells[c + 1].dataset.more = more;
      }));
      explain(explained);
    }
  });
  label.append(select);
  return label;
}

function compareWith(rows, level) {
  const differences = rows.map((row) => [...row.cells].slice(1).map((cell, i) => value(cell) - level[i]));
  rows.forEach((row, r) => differences[r].forEach((difference, c) => {
    row.cells[c + 1].dataset.more = Number.isFinite(difference) ? difference : "";
    if (!Number.isFinite(difference)) return put(row.cells[c + 1], "–", "number");
    const shade = Math.sign(difference) * [0.5, 1, 2, 5, 10].filter((step) => Math.abs(difference) >= step).length;
    const size = Math.abs(difference).toFixed(2);
    const words = size === "0.00" ? "±0" : (difference > 0 ? "+" : "−") + size;
    put(row.cells[c + 1], words, `number tint${shade > 0 ? "p" : shade < 0 ? "n" : ""}${Math.abs(shade)}`);
  }));
}

function value(cell) {
  return cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
}

function text(cell) {
  return (cell.querySelector("bdi, summary") || cell).textContent.trim();
}

function put(cell, words, className) {
  cell.querySelector("bdi").textContent = words;
  cell.className = className;
}

function copies(table) {
  const group = element("span", "Copy as", { className: "group" });
  for (const [name, write] of [["CSV", csv], ["Markdown", markdown], ["LaTeX", latex]]) {
    const button = element("button", name, { type: "button" });
    button.addEventListener("click", async () => {
      await copy(write(cells(table), table));
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = name; }, 1200);
    });
    group.append(button);
  }
  return group;
}

// The cells that are shown, row by row.
function cells(table) {
  const shown = (cell) => !cell.matches(".off, .unwanted");
  const rows = [...table.rows].filter((row) => shown(row) && !row.hidden);
  return rows.map((row) => [...row.cells].filter(shown));
}

function beside(cell, what) {
  return [...cell.querySelectorAll(what)].map((part) => part.textContent.trim());
}

function words(cell) {
  const more = beside(cell, ".unit, .tag, .details > span").join("; ").replaceAll("; / ", " / ");
  return more ? `${text(cell)} (${more})` : text(cell);
}

// Numbers as they are, in base units, each in a column of its own; what stands beside a row's heading is a remark.
function csv([heads, ...rows]) {
  const names = heads.map(dataNames);
  const remarked = rows.some((row) => beside(row[0], ".tag, .details > span").length);
  const lines = rows.map((row) => [
    ...row.flatMap((cell, i) => numbers(cell, names[i].length)),
    ...(remarked ? [beside(row[0], ".tag, .details > span").join("; ")] : []),
  ]);
  const formula = (cell) => /^ *[=+\-@\t\r\n＝＋－＠]/.test(cell) && Number.isNaN(Number(cell));
  const inert = (cell) => (formula(cell) ? `'${cell}` : cell); // a spreadsheet would calculate it
  const quoted = (cell) => (/[",\n\r]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const head = [...names.flat(), ...(remarked ? ["remarks"] : [])];
  return [head, ...lines].map((line) => line.map(inert).map(quoted).join(",")).join("\r\n") + "\r\n";
}

function dataNames(head) {
  if (head.dataset.names) return head.dataset.names.split("\t");
  const said = [text(head), ...beside(head, ".unit")].join(" ").replaceAll("%", "percent");
  return [said.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "_").replace(/^_|_$/g, "")];
}

function numbers(cell, count) {
  const absent = cell.querySelector(".absent");
  const first = absent ? "" : cell.dataset.value === undefined ? text(cell) : cell.dataset.value;
  const more = (cell.dataset.more || "").split(",");
  return [first, ...Array.from({ length: count - 1 }, (_, i) => more[i] || "")];
}

function markdown(rows) {
  const lines = rows.map((row) => `| ${row.map((cell) => words(cell).replace(/[\\|*_`<]/g, "\\$&").replace(/\s+/g, " ")).join(" | ")} |`);
  lines.splice(1, 0, `|${rows[0].map((_, i) => (i ? "---:" : "---")).join("|")}|`);
  return lines.join("\n") + "\n";
}

// For booktabs: the best bold, ties underlined, what stands below a figure smaller beside it, notes below.
function latex(rows, table) {
  const special = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "−": "$-$", "±": "$\\pm$", "–": "--", "×": "$\\times$",
    "·": "$\\cdot$", "…": "\\dots{}", "→": "$\\to$", "<": "$<$", ">": "$>$", "|": "$|$",
  };
  const escape = (words) => words.replace(/[\\~^−±–×·…→<>|]|[&%$#_{}]/g, (c) => special[c] || `\\${c}`);
  const cell = (one) => {
    const tags = beside(one, ".unit, .tag").join("; ");
    const figure = escape(text(one) + (tags ? ` (${tags})` : ""));
    const marked = one.matches(".best") ? `\\textbf{${figure}}` : one.matches(".tied") ? `\\underline{${figure}}` : figure;
    const details = [...one.querySelectorAll(".details > span")].map((part) =>
      part.matches(".bold") ? `\\textbf{${escape(part.textContent.trim())}}` : escape(part.textContent.trim()));
    const note = beside(one, "sup").map((number) => `\\textsuperscript{${number}}`).join("");
    return marked + (details.length ? ` {\\scriptsize ${details.join(" ")}}` : "") + note;
  };
  const lines = rows.map((row) => `${row.map(cell).join(" & ")} \\\\`);
  const columns = `l${"r".repeat(rows[0].length - 1)}`;
  const used = new Set(rows.flat().flatMap((one) => beside(one, "sup")));
  const notes = [...document.querySelectorAll(`[id^="${table.id}-n"]`)].map((note, i) => [`${i + 1}`, note.textContent]);
  const below = notes.filter(([number]) => used.has(number)).map(([number, note]) => `\\textsuperscript{${number}} ${escape(note)}\\par`);
  return [
    "% \\usepackage{booktabs}", `\\begin{tabular}{${columns}}`, "\\toprule", lines[0], "\\midrule", ...lines.slice(1), "\\bottomrule",
    "\\end{tabular}", ...(below.length ? ["\\par\\medskip\\footnotesize", ...below] : []), "",
  ].join("\n");
}

async function copy(words) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    const area = element("textarea", "", { value: words });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// What a reader chose is kept in the address, and handed on by links to the report's other pages.
function keep(change) {
  change(chosen);
  const search = [...chosen].length ? `?${chosen}` : "";
  history.replaceState(null, "", `${location.pathname}${search}${location.hash}`);
  handOn(search);
}

function handOn(search) {
  for (const link of document.links) {
    const own = link.protocol === location.protocol && link.host === location.host;
    if (own && !link.getAttribute("href").startsWith("#")) link.search = search;
  }
}

function choose(place) {
  const names = [...place.querySelectorAll("[data-key]")];
  const details = element("details");
  const summary = element("summary");
  const choices = element("fieldset", "", { className: "choices" });
  choices.append(element("legend", "Methods shown in tables and figures", { className: "hidden" }));
  const boxes = names.map((name) => element("input", "", { type: "checkbox", checked: !chosen.getAll("hide").includes(name.textContent) }));
  const apply = () => {
    names.forEach((name, i) => show(name.dataset.key, boxes[i].checked));
    drawFronts();
    const shown = boxes.filter((box) => box.checked).length;
    summary.textContent = shown < names.length ? `Choose methods (${shown} of ${names.length} shown)` : "Choose methods";
    document.dispatchEvent(new Event("methods"));
  };
  const set = (wanted) => {
    boxes.forEach((box, i) => { box.checked = wanted(i); });
    apply();
    keep((choice) => {
      const elsewhere = choice.getAll("hide").filter((other) => !names.some((name) => name.textContent === other));
      choice.delete("hide");
      for (const name of [...elsewhere, ...names.filter((_, i) => !boxes[i].checked).map((name) => name.textContent)]) choice.append("hide", name);
    });
  };
  for (const [words, wanted] of [["All", true], ["None", false]]) {
    const button = element("button", words, { type: "button" });
    button.addEventListener("click", () => set(() => wanted));
    choices.append(button);
  }
  names.forEach((name, i) => {
    const label = element("label");
    boxes[i].addEventListener("change", () => set((other) => boxes[other].checked));
    label.append(boxes[i], " ", name.textContent);
    const only = element("button", "only", { type: "button", ariaLabel: `only ${name.textContent}` });
    only.addEventListener("click", () => set((other) => other === i));
    const choice = element("span");
    choice.append(label, only);
    choices.append(choice);
  });
  details.append(summary, choices);
  place.replaceChildren(details);
  apply();
}

// Who fits a reader's device and time, at so many classes; the rows' figures come with their words.
function limits(place) {
  const data = JSON.parse(place.dataset.limits);
  const form = element("form");
  const said = element("div", "", { role: "status" });
  const number = (name, words, unit) => {
    const input = element("input", "", { type: "number", min: "0", step: "any", name, value: chosen.get(name) || "" });
    const label = element("label", words);
    label.append(input, unit);
    form.append(label);
    return input;
  };
  const memory = number("gib", "Device memory", "GiB");
  const time = number("minutes", "Training time", "minutes");
  const classes = data.datasets.length ? number("classes", "Classes trained on", "") : null;
  const both = element("input", "", { type: "checkbox", name: "new", checked: chosen.get("new") !== "no" });
  if ("base" in data.scores) {
    const label = element("label");
    label.append(both, "New classes matter");
    form.append(label);
  }
  const answer = () => {
    const limit = (input, unit) => (input && input.value !== "" ? unit * Number(input.value) : Infinity);
    const most = [60 * limit(time, 1), 2 ** 30 * limit(memory, 1)];
    const wanted = limit(classes, 1);
    const like = wanted === Infinity ? null : data.datasets.find(([, count]) => count >= wanted) || data.datasets.at(-1);
    said.replaceChildren(...within(data, most, like, both.checked ? data.main : "base"));
    place.querySelector("ul").hidden = most[0] < Infinity || most[1] < Infinity || Boolean(like) || !both.checked;
    said.hidden = !place.querySelector("ul").hidden;
  };
  form.addEventListener("input", ({ target }) => {
    const value = target === both ? (both.checked ? "" : "no") : target.value;
    keep((choice) => (value ? choice.set(target.name, value) : choice.delete(target.name)));
    answer();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("methods", answer);
  place.prepend(form);
  place.append(said);
  answer();
}

function within(data, most, like, metric) {
  const shown = data.rows.filter((row) => !hidden.has(row.key));
  const rows = shown.map((row) => ({ row, cost: like ? row.on[like[0]] || (row.all[0] ? null : row.all) : row.all }));
  const times = ({ cost }) => Math.max(...most.map((limit, i) => (cost[i] ? cost[i] / limit : 0)));
  const known = rows.filter(({ cost }) => cost).sort((a, b) => b.row.scores[metric][0] - a.row.scores[metric][0]);
  const fit = known.filter((one) => times(one) <= 1);
  const near = known.filter((one) => times(one) > 1 && times(one) <= data.near);
  const words = ({ row, cost }) => `${row.label} (${[`${data.scores[metric]} ${row.scores[metric][1]}`, cost[2], cost[3]].filter(Boolean).join(", ")})`;
  const line = (title, ones) => {
    const made = element("p");
    made.append(element("b", title), " ", ones.map(words).join("; ") || "none");
    return made;
  };
  const lines = [line("Best:", fit.slice(0, 1)), line("Also fit:", fit.slice(1)), line("Only just outside:", near)];
  if (like) lines.push(element("p", `Time and memory as on ${like[0]}, trained on ${like[1]} classes.`));
  return lines;
}

// Points of charts tell their figures: one stop of the tab key a chart, arrows from point to point.
for (const group of document.querySelectorAll("svg .points")) {
  const points = [...group.querySelectorAll("circle")];
  const svg = group.ownerSVGElement;
  svg.setAttribute("aria-label", svg.closest("figure").querySelector("strong").textContent);
  points.forEach((point, i) => {
    const words = point.querySelector("title").textContent;
    point.setAttribute("role", "img");
    point.setAttribute("aria-label", words);
    point.setAttribute("tabindex", i ? "-1" : "0");
    for (const event of ["focus", "pointerenter", "click"]) point.addEventListener(event, () => tell(svg, words));
    for (const event of ["blur", "pointerleave"]) point.addEventListener(event, () => tell(svg, ""));
    point.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const shown = points.filter((other) => !other.classList.contains("off"));
      const next = shown[(shown.indexOf(point) + step + shown.length) % shown.length];
      points.forEach((other) => other.setAttribute("tabindex", other === next ? "0" : "-1"));
      next.focus();
    });
  });
}

function tell(svg, words) {
  const plot = svg.closest(".plot");
  const told = plot.querySelector(".told") || plot.appendChild(element("p", "", { className: "told" }));
  told.textContent = words;
}

// What is on the front is ringed, of the methods that are shown.
function drawFronts() {
  for (const step of document.querySelectorAll("svg .step")) {
    const shown = (part) => !part.classList.contains("off");
    const levels = [...step.parentElement.querySelectorAll(".free")].filter(shown).map((free) => Number(free.dataset.level));
    const points = [...step.parentElement.querySelectorAll("circle")];
    points.forEach((point) => point.classList.remove("front"));
    const at = (point) => [point.cx.baseVal.value, point.cy.baseVal.value];
    let highest = Math.min(...levels);
    const front = points.filter(shown).sort((a, b) => at(a)[0] - at(b)[0] || at(a)[1] - at(b)[1]).filter((point) => {
      const better = at(point)[1] < highest;
      if (better) highest = at(point)[1];
      return better;
    });
    front.forEach((point) => point.classList.add("front"));
    step.setAttribute("d", front.map((point, i) => (i ? `H${at(point)[0]}V${at(point)[1]}` : `M${at(point)}`)).join(""));
    const names = front.map((point) => point.dataset.name);
    const last = names.length > 1 ? ` and ${names.pop()}` : "";
    step.closest("figure").querySelector("figcaption .front").textContent = names.join(", ") + last || "none";
  }
}

function show(row, wanted) {
  if (wanted) hidden.delete(row);
  else hidden.add(row);
  for (const part of document.querySelectorAll(`[data-row="${row}"]`)) {
    part.classList.toggle("off", !wanted);
    if (part.matches("thead th")) {
      for (const line of part.closest("table").rows) line.cells[part.cellIndex].classList.toggle("off", !wanted);
    }
  }
}
