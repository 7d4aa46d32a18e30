
"use strict";
// Puts texts into the page as text alone (textContent), never as markup.

const PER_PAGE = 10;
const FOLD = 700; // a source of more characters is folded
const SIDES = {
  sources: "source", references: "reference", before: "summary before fine-tuning", generations: "generated",
};
// Words too common to be marked in a source if the reference has them, too.
const COMMON = new Set(("a about after all also an and are as at be been but by can for from had has have he her his if in into is it " +
  "its more not of on one or other out said she so than that the their there they this to up was were what when which who will with would you")
  .split(" "));

const $ = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// ---- Examples

async function unpacked(id) {
  const holder = $(id);
  const letters = atob(holder.textContent);
  holder.remove();
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

async function showExamples() {
  if (typeof DecompressionStream === "undefined") {
    $("loading").textContent = "This browser is too old to unpack the examples.";
    return;
  }
  await painted();
  const data = await unpacked("packed-summaries");
  const browser = new Browser(data);
  await painted();
  data.sources = await unpacked("packed-sources");
  $("loading").hidden = true;
  browser.update();
}

class Browser {
  constructor(data) {
    this.data = data;
    this.rows = []; // the rows found, in order
    this.start = 0;
    this.lowered = {}; // lower-case texts by side, made for the first search
    this.absent = data.absent.generations.map((places) => places.length / 2); // names and numbers not in the source
    this.sides = Object.keys(SIDES).filter((side) => data.words[side]);
    this.names = data.before ? { ...SIDES, generations: "summary after fine-tuning" } : SIDES;
    this.changes = {}; // of each score, if there are summaries before fine-tuning
    for (const [name, values] of Object.entries(data.scores_before || {})) {
      this.changes[`change of ${name}`] = values.map((value, row) => data.scores[name][row] - value);
    }
    this.fillControls();
    const controls = $("controls");
    let waiting = 0;
    controls.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.update(), 80);
    });
    controls.addEventListener("reset", () => setTimeout(() => this.update()));
    controls.addEventListener("submit", (event) => event.preventDefault());
    for (const button of document.querySelectorAll("[data-turn]")) {
      button.addEventListener("click", () => this.turn(Number(button.dataset.turn)));
    }
    this.update();
    for (const hidden of document.querySelectorAll("#controls, .pager")) hidden.hidden = false;
  }

  fillControls() {
    const scores = Object.keys(this.data.scores || {});
    const title = (name) => name.replace("rouge", "ROUGE-");
    $("where").append(...this.sides.map((side) => new Option(this.names[side], side)));
    $("score").append(...scores.map((name) => new Option(title(name), name)));
    $("score").parentElement.hidden = !scores.length;
    $("length").append(...this.sides.map((side) => new Option(this.names[side], side)));
    $("length").value = "generations";
    $("length").options[this.sides.length - 1].defaultSelected = true;
    $("sort").append(
      new Option("line", "line"),
      ...scores.map((name) => new Option(title(name), name)),
      ...Object.keys(this.changes).map((name) => new Option(title(name), name)),
      ...this.sides.map((side) => new Option(`words of the ${this.names[side]}`, side)),
      new Option("names and numbers not in the source", "absent"),
    );
    $("marks").parentElement.hidden = !this.data.references;
  }

  // Returns the numbers to sort or filter rows by, or null for the order of lines.
  numbers(name) {
    const { scores, words } = this.data;
    return (scores || {})[name] || this.changes[name] || words[name] || (name === "absent" ? this.absent : null);
  }

  update() {
    const count = this.data.generations.length;
    let rows = Array.from({ length: count }, (_, row) => row);
    for (const kind of ["score", "length"]) {
      const numbers = this.numbers($(kind).value);
      const [from, to] = ["from", "to"].map((end) => $(`${kind}-${end}`).valueAsNumber);
      if (numbers && !Number.isNaN(from)) rows = rows.filter((row) => numbers[row] >= from);
      if (numbers && !Number.isNaN(to)) rows = rows.filter((row) => numbers[row] <= to);
    }
    const query = $("search").value.trim().toLowerCase();
    if (query) {
      const sides = ($("where").value ? [$("where").value] : this.sides).filter((side) => this.data[side]);
      const texts = sides.map((side) => (this.lowered[side] ??= this.data[side].map((text) => text.toLowerCase())));
      rows = rows.filter((row) => texts.some((lines) => lines[row].includes(query)));
    }
    const numbers = this.numbers($("sort").value);
    const sign = $("order").value === "down" ? -1 : 1;
    if (numbers) rows.sort((one, other) => sign * (numbers[one] - numbers[other]) || one - other);
    else if (sign < 0) rows.reverse();
    this.rows = rows;
    this.start = 0;
    this.draw();
  }

  turn(pages) {
    this.start = Math.max(0, Math.min(this.start + pages * PER_PAGE, this.rows.length - 1));
    this.draw();
    $("examples").scrollIntoView();
  }

  draw() {
    const total = this.data.generations.length.toLocaleString("en");
    const shown = this.rows.slice(this.start, this.start + PER_PAGE);
    const found = this.rows.length.toLocaleString("en");
    $("count").textContent = shown.length
      ? `${(this.start + 1).toLocaleString("en")} to ${(this.start + shown.length).toLocaleString("en")} of ${found}` +
        (found === total ? " examples" : ` found among ${total} examples`)
      : `None of ${total} examples matches.`;
    for (const button of document.querySelectorAll("[data-turn]")) {
      const forward = button.dataset.turn === "1";
      button.disabled = forward ? this.start + PER_PAGE >= this.rows.length : this.start === 0;
    }
    $("list").replaceChildren(...shown.map((row) => this.card(row)));
  }

  card(row) {
    const { data } = this;
    const query = $("search").value.trim();
    const marked = $("marks").checked && data.references;
    const inReference = marked ? wordsOf(data.references[row]) : new Set();
    const inGenerated = marked ? wordsOf(data.generations[row]) : new Set();
    const inSource = new Set([...inReference].filter((word) => !COMMON.has(word)));
    const shared = { sources: inSource, references: inGenerated, before: inReference, generations: inReference };
    const absent = (side) => ($("absent").checked && data.absent[side] ? data.absent[side][row] : []);
    const columns = this.sides.map((side) => {
      const words = `${data.words[side][row].toLocaleString("en")} words`;
      const text = element("p", { className: "text", dir: "auto" });
      const column = element("div", {}, element("h4", {}, `${this.names[side]}, ${words}`), text);
      if (!data[side]) text.textContent = "...";
      else if (!data[side][row].trim()) text.append(element("i", {}, "(nothing)"));
      else paint(text, data[side][row], shared[side], query, absent(side));
      if (side === "sources" && data.sources && data.sources[row].length > FOLD) fold(column, text);
      return column;
    });
    const chips = Object.entries(data.scores || {}).map(([name, values]) => {
      const before = data.scores_before ? ` (before: ${data.scores_before[name][row].toFixed(1)})` : "";
      return element("span", {}, `${name.replace("rouge", "ROUGE-")} ${values[row].toFixed(1)}${before}`);
    });
    if (this.absent[row]) chips.push(element("span", {}, `not in the source: ${this.absent[row]}`));
    const name = data.rows ? `Row ${data.rows[row].toLocaleString("en")}` : `Line ${(row + 1).toLocaleString("en")}`;
    const title = element("h3", {}, name);
    const article = element("article", { className: "example" }, title, element("span", { className: "chips" }, ...chips),
      element("div", { className: data.before ? "columns compared" : "columns" }, ...columns));
    return article;
  }
}

const wordsOf = (text) => new Set(text.toLowerCase().match(/[\p{L}\p{N}_]+/gu));

// Puts a text into an element, with matches of the search and shared words in <mark>, and with what is absent from the
// source in <u>. Its places are the start and the end of each, one after the other.
function paint(target, text, shared, query, absent) {
  const hits = query ? new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu") : null;
  let last = 0;
  for (const hit of hits ? text.matchAll(hits) : []) {
    paintPart(target, text, last, hit.index, shared, absent);
    target.append(element("mark", { className: "hit" }, hit[0]));
    last = hit.index + hit[0].length;
  }
  paintPart(target, text, last, text.length, shared, absent);
}

function paintPart(target, text, start, end, shared, absent) {
  let last = start;
  for (let place = 0; place < absent.length; place += 2) {
    const [from, to] = [Math.max(absent[place], last), Math.min(absent[place + 1], end)];
    if (from >= to) continue;
    paintWords(target, text.slice(last, from), shared);
    const underlined = element("u", { className: "absent", title: "not in the source" });
    paintWords(underlined, text.slice(from, to), shared);
    target.append(underlined);
    last = to;
  }
  paintWords(target, text.slice(last, end), shared);
}

function paintWords(target, text, shared) {
  let last = 0;
  for (const word of shared.size ? text.matchAll(/[\p{L}\p{N}_]+/gu) : []) {
    if (!shared.has(word[0].toLowerCase())) continue;
    target.append(text.slice(last, word.index), element("mark", {}, word[0]));
    last = word.index + word[0].length;
  }
  target.append(text.slice(last));
}

function fold(column, text) {
  text.classList.add("folded");
  const button = element("button", { type: "button", className: "unfold", textContent: "Show all" });
  button.ariaExpanded = "false";
  button.addEventListener("click", () => {
    const folded = text.classList.toggle("folded");
    button.ariaExpanded = String(!folded);
    button.textContent = folded ? "Show all" : "Show less";
  });
  column.append(button);
}

// ---- Charts: shows the values at the pointer, or at the step that the arrow keys chose

function followValues(chart) {
  const lines = [...chart.querySelectorAll("[data-line]")].map((line) => JSON.parse(line.dataset.line));
  const places = [...new Set(lines.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
  const reading = chart.parentElement.querySelector(".reading");
  const cross = document.createElementNS("http://www.w3.org/2000/svg", "path");
  cross.setAttribute("class", "cross");
  let at = places.length - 1;

  const nearest = (values, x) => values.reduce((best, value) => (Math.abs(value - x) < Math.abs(best - x) ? value : best));
  function show(x) {
    at = places.indexOf(nearest(places, x));
    cross.setAttribute("d", `M${places[at]} 10V206`);
    chart.append(cross);
    const values = lines.map((line) => {
      const point = line.points.find((one) => one[0] === nearest(line.points.map((one) => one[0]), x));
      return lines.length > 1 ? `${line.name} ${point[3]} (step ${point[2]})` : `${point[3]} (step ${point[2]})`;
    });
    reading.textContent = values.join(", ");
  }
  function hide() {
    cross.remove();
    reading.textContent = "";
  }
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    show(((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width);
  });
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("blur", hide);
  chart.addEventListener("focus", () => chart.matches(":focus-visible") && show(places[at]));
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(places[Math.max(0, Math.min(at + step, places.length - 1))]);
  });
}

for (const chart of document.querySelectorAll(".chart")) followValues(chart);

for (const button of document.querySelectorAll(".copy")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
  });
}

if ($("list")) showExamples();
