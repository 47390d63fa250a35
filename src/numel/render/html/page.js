// The page: each table and picture is made when it comes near, what is chosen in one is shown in the others.

function element(name, attributes, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

function button(text, act) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", act);
  return made;
}

// cut in the middle: the last part of a name is what tells siblings apart
function shortened(text, most = 120) {
  if (text.length <= most) return text;
  const head = Math.floor((most - 1) / 3);
  return `${text.slice(0, head)}…${text.slice(text.length - (most - 1 - head))}`;
}

// a page in a frame that is shut off has no storage, and asking for it raises
function kept(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(name);
    localStorage.setItem(name, value);
  } catch {
    return null;
  }
  return value;
}

// plotly.js lies in the page as text, since it takes longer to start than all else
function plotlyRuns() {
  const text = document.getElementById("plotly");
  if (!text) return;
  const script = element("script");
  script.textContent = text.textContent;
  text.replaceWith(script);
}

class Page {
  constructor(data) {
    this.data = data;
    this.views = new Map(); // place → view
    this.pictures = new Map();
    this.near = new IntersectionObserver((entries) => {
      const places = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target);
      for (const place of places.filter((each) => each.matches(".table"))) this.#make(place);
      const charts = places.filter((each) => each.matches(".chart"));
      if (charts.length) setTimeout(() => charts.forEach((place) => this.#make(place))); // what is there is seen first
    }, { rootMargin: "300px" });
    for (const place of document.querySelectorAll(".table, .chart")) this.near.observe(place);
    this.#theme();
    for (const copy of document.querySelectorAll("button.copy")) copy.addEventListener("click", () => this.#copy(copy));
    addEventListener("beforeprint", () => this.#print());
  }

  #make(place) {
    this.near.unobserve(place);
    if (place.dataset.table !== undefined && !this.views.has(place)) {
      this.views.set(place, new View(place, this.data.tables[Number(place.dataset.table)], this));
    } else if (place.dataset.chart !== undefined && !this.pictures.has(place)) {
      plotlyRuns();
      const chart = this.data.charts[Number(place.dataset.chart)];
      this.pictures.set(place, new Picture(place, chart, this.data.tables[chart.table], this));
    }
  }

  // a path was chosen in one place: the others show it, too
  choose(path, from) {
    for (const place of document.querySelectorAll(".table")) {
      const table = this.data.tables[Number(place.dataset.table)];
      if (!table.rows || table.columns[0].unit !== "path") continue;
      if (this.views.get(place) === from) continue;
      this.#make(place);
      this.views.get(place).reveal(path);
    }
    for (const picture of this.pictures.values()) if (picture !== from) picture.reveal(path);
    this.say(`${path} chosen`);
  }

  say(text) {
    document.getElementById("status").textContent = text;
  }

  #theme() {
    const choice = document.getElementById("theme");
    const use = (theme) => {
      document.documentElement.dataset.theme = theme;
      for (const picture of this.pictures.values()) picture.draw();
    };
    choice.value = ["light", "dark"].includes(kept("numel-theme")) ? kept("numel-theme") : "system";
    use(choice.value);
    choice.addEventListener("change", () => {
      kept("numel-theme", choice.value);
      use(choice.value);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => use(choice.value));
  }

  async #copy(copy) {
    const lines = [...document.querySelectorAll(`#${copy.dataset.copies} dl > div`)].map(
      (row) => `${row.querySelector("dt").textContent}: ${row.querySelector("dd").textContent}`,
    );
    const text = `${lines.join("\n")}\n`;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = element("textarea", { class: "unseen", "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    copy.textContent = done ? "Copied" : "Could not copy";
    this.say(copy.textContent);
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  }

  // paper has no scrolling: the first rows are written out, with a word on the rest
  #print() {
    for (const place of document.querySelectorAll(".table")) {
      this.#make(place);
      place.querySelector(".printed")?.remove();
      const view = this.views.get(place);
      if (!view?.seen) continue;
      const [rows, most] = [view.rows, 80];
      const head = element("tr", {}, ...rows.columns.slice(0, 8).map((column) => element("th", {}, column.title)));
      const body = view.seen.slice(0, most).map((row) => element("tr", {}, ...rows.columns.slice(0, 8).map((column, i) => {
        const cell = element("td", NUMERIC.has(column.unit) ? { class: "right" } : {}, shortened(i ? rows.text(column, row, true) : rows.label(row), 60));
        if (!i) cell.style.paddingLeft = `${Math.min(rows.level(row), 24) * 10}px`;
        return cell;
      })));
      const left = rows.count - body.length;
      const printed = element("div", { class: "printed" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
      if (left > 0) printed.append(element("p", { class: "caption" }, `${left.toLocaleString("en-US")} more rows are in the file`));
      place.append(printed);
    }
    for (const place of document.querySelectorAll(".chart")) this.#make(place);
  }
}

document.getElementById("unscripted")?.remove();
const read = JSON.parse(document.getElementById("data").textContent);
window.numelText = (value, unit, short) => cellText(value, unit, { short });
window.numelPage = new Page(read);
