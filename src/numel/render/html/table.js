// A table to search, filter, sort and unfold. Tabulator draws the rows that are in sight; which rows there are, `Rows` says.

const ROW_HEIGHT = 28;
const MOST_HEIGHT = 620;
const FITS = 60; // rows that are open at first
const MOST_WORDS = 24; // of a column that can be filtered by
const FEW = 8; // rows of a table that needs no search

class View {
  constructor(place, table, page) {
    this.place = place;
    this.page = page;
    this.rows = new Rows(table);
    this.selected = -1;
    this.search = "";
    this.filters = new Map();
    this.sorted = null;
    this.hidden = new Set();
    this.rows.openToFit(FITS);
    this.#draw();
  }

  get title() {
    return this.rows.table.title || "table";
  }

  // ── building ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #draw() {
    const { rows, place } = this;
    if (!rows.count) {
      place.append(element("p", { class: "empty" }, "(no rows)"));
      return;
    }
    if (rows.count > FEW) place.append(this.#tools());
    this.grid = element("div", { class: "grid" });
    place.append(this.grid);
    if (rows.table.total) place.append(this.#total());
    this.seen = rows.visible();
    this.table = new Tabulator(this.grid, {
      data: this.seen.map((row) => ({ id: row })),
      index: "id",
      columns: rows.columns.map((column, i) => this.#column(column, i)),
      layout: "fitDataFill",
      rowHeight: rows.table.sentences ? false : ROW_HEIGHT,
      height: this.#height(),
      renderVertical: "virtual",
      keybindings: false,
      rowFormatter: (row) => this.#mark(row),
    });
    this.ready = new Promise((done) => this.table.on("tableBuilt", done)).then(() => {
      this.grid.setAttribute("role", rows.isTree ? "treegrid" : "grid");
      this.grid.setAttribute("aria-label", this.title);
      this.grid.setAttribute("aria-rowcount", String(rows.count + 1));
      this.grid.tabIndex = 0;
      const holder = this.grid.querySelector(".tabulator-tableholder");
      holder.setAttribute("role", "rowgroup"); // it scrolls, and stays reachable by the keyboard for that
      holder.querySelector(".tabulator-table").setAttribute("role", "presentation");
      this.#count();
      this.table.setHeight(this.#height()); // now it is known whether it scrolls sideways
    });
    this.table.on("rowClick", (event, row) => {
      this.select(row.getData().id, { tell: true });
      this.grid.focus({ preventScroll: true });
    });
    this.table.on("rowDblClick", (event, row) => this.toggle(row.getData().id));
    this.grid.addEventListener("keydown", (event) => this.#key(event));
  }

  #height() {
    const holder = this.grid.querySelector(".tabulator-tableholder");
    const bar = holder ? holder.offsetHeight - holder.clientHeight : 0; // of a table that scrolls sideways
    const wanted = (this.rows.table.sentences ? 3 : 1) * (ROW_HEIGHT + 1) * Math.max(1, this.seen.length) + 36 + bar; // a line below each
    return Math.min(MOST_HEIGHT, wanted, Math.max(260, Math.round(window.innerHeight * 0.75)));
  }

  #column(column, i) {
    const right = NUMERIC.has(column.unit);
    const first = i === 0;
    const wide = window.innerWidth > 640;
    const width = first ? Math.min(wide ? 300 : 170, this.#names()) : Math.min(320, this.#longest(column) * 8 + 18);
    return {
      title: column.title,
      field: `c${i}`,
      frozen: first && wide,
      minWidth: 60,
      width: Math.max(72, width),
      hozAlign: right ? "right" : "left",
      headerHozAlign: right ? "right" : "left",
      headerSort: false,
      resizable: "header",
      titleFormatter: () => this.#title(column, i),
      formatter: (cell) => (first ? this.#name(cell.getData().id) : this.#figure(column, cell.getData().id)),
    };
  }

  #longest(column) {
    return this.#most(column.title.length + 2, (row) => this.rows.text(column, row).length);
  }

  // pixels of the longest name with what stands before it
  #names() {
    const { rows } = this;
    const before = (row) => Math.min(rows.level(row), 24) * 16 + (rows.isTree ? 20 : 0);
    return this.#most((rows.columns[0].title.length + 2) * 8, (row) => rows.label(row).length * 8 + before(row)) + 18;
  }

  // the largest of all rows, of many of some
  #most(least, size) {
    let most = least;
    const step = Math.max(1, Math.floor(this.rows.count / 400));
    for (let row = 0; row < this.rows.count; row += step) most = Math.max(most, size(row));
    return most;
  }

  #title(column, i) {
    const button = element("button", { type: "button", class: "sort", title: column.help || column.title }, column.title);
    button.addEventListener("click", () => this.sort(column));
    button.dataset.key = column.key;
    return button;
  }

  #name(row) {
    const { rows } = this;
    const label = rows.label(row);
    const right = NUMERIC.has(rows.columns[0].unit);
    const box = element("span", { class: right ? "name right" : "name", title: rows.path(row).slice(0, 2000) });
    box.style.paddingLeft = `${Math.min(rows.level(row), 24) * 16}px`;
    if (rows.isTree) {
      if (rows.hasChildren(row)) {
        const fold = element("button", { type: "button", class: "fold", tabindex: "-1", "aria-hidden": "true" });
        fold.textContent = rows.isOpen(row) ? "▾" : "▸";
        fold.addEventListener("click", (event) => {
          event.stopPropagation();
          this.toggle(row);
        });
        box.append(fold);
      } else box.append(element("span", { class: "fold" }));
    }
    box.append(element("span", { class: "label" }, shortened(label)));
    return box;
  }

  #figure(column, row) {
    const short = column.unit !== "integer";
    const text = this.rows.text(column, row, false);
    const value = this.rows.value(column, row);
    const box = element("span", {}, shortened(text));
    if (text === UNKNOWN || /^[≥≈≳]/.test(text)) box.className = "doubt";
    else if (value === 0 || value === false) box.className = "nothing";
    else if (column.key === "type") box.className = "type";
    if (column.unit === "share" && typeof value === "number" && value > 0) {
      const bar = element("span", { class: "share" });
      bar.style.width = `${Math.min(100, value * 100)}%`;
      return element("span", { class: "shared" }, bar, box);
    }
    if (short && (column.unit === "ops" || column.unit === "bytes") && typeof value === "number") {
      box.title = column.digits?.[row] || grouped(String(value));
    } else if (text.length > 40) box.title = text.slice(0, 2000);
    return box;
  }

  #mark(row) {
    const id = row.getData().id;
    const node = row.getElement();
    node.id = this.#idOf(id);
    node.classList.toggle("chosen", id === this.selected);
    node.setAttribute("aria-selected", String(id === this.selected));
    node.setAttribute("aria-rowindex", String(this.seen.indexOf(id) + 2));
    if (!this.rows.isTree) return;
    node.setAttribute("aria-level", String(this.rows.level(id) + 1));
    if (this.rows.hasChildren(id)) node.setAttribute("aria-expanded", String(this.rows.isOpen(id)));
    else node.removeAttribute("aria-expanded");
  }

  #idOf(row) {
    return `${this.place.closest("section").id}-row-${row}`;
  }

  #total() {
    const cells = this.rows.columns.map((column, i) => {
      const text = i === 0 ? element("b", {}, this.rows.table.total[i]) : this.rows.table.total[i];
      return element("span", { class: "sum" }, i === 0 ? "" : `${column.title} `, text);
    });
    return element("p", { class: "total" }, ...cells.filter((cell) => cell.textContent.trim()));
  }

  #tools() {
    const { rows } = this;
    const search = element("input", { type: "search", placeholder: "Search names", "aria-label": `Search ${this.title}` });
    let waiting = 0;
    search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        this.search = search.value.trim().toLowerCase();
        this.#keep();
      }, rows.count > 5000 ? 180 : 30);
    });
    const tools = element("div", { class: "tools" }, search);
    for (const column of rows.columns.slice(1)) {
      const choice = this.#filter(column);
      if (choice) tools.append(choice);
    }
    if (rows.isTree) {
      const level = element("select", { "aria-label": `Levels of ${this.title}` });
      level.append(element("option", { value: "" }, "levels"));
      for (let i = 0; i <= rows.deepest - rows.least && i < 20; i += 1) level.append(element("option", { value: String(i) }, `to level ${i}`));
      level.addEventListener("change", () => {
        if (level.value === "") return;
        rows.openTo(Number(level.value));
        level.value = "";
        this.refresh();
      });
      tools.append(
        button("Expand all", () => { rows.open.fill(1); this.refresh(); }),
        button("Collapse all", () => { rows.open.fill(0); this.refresh(); }),
        level,
      );
    }
    tools.append(this.#chooser());
    this.counter = element("span", { class: "counter", role: "status" });
    tools.append(this.counter);
    return tools;
  }

  #filter(column) {
    let words;
    if (column.words && column.unit === "text" && column.words.length > 1 && column.words.length <= MOST_WORDS) {
      words = column.words.map((word) => [word, word || "(none)"]);
    } else if (column.unit === "flag") {
      words = [...new Set(column.cells || column.words || [])].map((value) => [String(value), value === true ? "✓ yes" : value === false ? "– no" : String(value ?? UNKNOWN) || "(none)"]);
      if (words.length < 2) return null;
    } else return null;
    const select = element("select", { "aria-label": `Filter ${this.title} by ${column.title}` });
    select.append(element("option", { value: "" }, column.title));
    words.forEach(([, label], i) => select.append(element("option", { value: String(i) }, shortened(label, 40))));
    select.addEventListener("change", () => {
      if (select.value === "") this.filters.delete(column);
      else {
        const wanted = words[Number(select.value)][0];
        this.filters.set(column, (row) => String(this.rows.value(column, row)) === wanted);
      }
      select.classList.toggle("active", select.value !== "");
      this.#keep();
    });
    return select;
  }

  #chooser() {
    const list = element("div", { class: "choices" });
    this.rows.columns.forEach((column, i) => {
      if (i === 0) return;
      const box = element("input", { type: "checkbox" });
      box.checked = true;
      box.addEventListener("change", () => {
        if (box.checked) this.table.showColumn(`c${i}`);
        else this.table.hideColumn(`c${i}`);
      });
      list.append(element("label", { title: column.help }, box, ` ${column.title}`));
    });
    return element("details", { class: "chooser" }, element("summary", {}, "Columns"), list);
  }

  // ── what the reader does ──────────────────────────────────────────────────────────────────────────────────────────

  #keep() {
    const conditions = [...this.filters.values()];
    if (this.search) {
      const wanted = this.search;
      conditions.unshift((row) => this.rows.path(row).toLowerCase().includes(wanted));
    }
    this.foundCount = this.rows.keep(conditions);
    this.refresh();
  }

  sort(column) {
    const now = this.sorted;
    const descendingFirst = NUMERIC.has(column.unit);
    if (!now || now.column !== column) this.sorted = { column, descending: descendingFirst };
    else if (now.descending === descendingFirst) this.sorted = { column, descending: !descendingFirst };
    else this.sorted = null;
    this.rows.sort(this.sorted?.column, this.sorted?.descending);
    this.refresh().then(() => this.#titles()); // Tabulator takes its own order, none, for that of new data
    this.page.say(this.sorted ? `${this.title} sorted by ${column.title}, ${this.sorted.descending ? "largest" : "smallest"} first` : `${this.title} in its own order`);
  }

  #titles() {
    for (const title of this.grid.querySelectorAll("button.sort")) {
      const mine = this.sorted && title.dataset.key === this.sorted.column.key;
      const how = mine ? (this.sorted.descending ? "descending" : "ascending") : "none";
      title.dataset.sorted = how;
      title.closest("[role=columnheader]")?.setAttribute("aria-sort", how);
    }
  }

  toggle(row) {
    if (!this.rows.hasChildren(row) || this.rows.kept) return;
    this.rows.open[row] = this.rows.open[row] ? 0 : 1;
    this.refresh();
  }

  refresh() {
    this.seen = this.rows.visible();
    this.#count();
    return this.ready.then(() => {
      this.table.setHeight(this.#height());
      return this.table.replaceData(this.seen.map((row) => ({ id: row })));
    });
  }

  #count() {
    if (!this.counter) return;
    const all = this.rows.count.toLocaleString("en-US");
    this.counter.textContent = this.rows.kept ? `${this.foundCount.toLocaleString("en-US")} of ${all} rows` : `${all} rows`;
  }

  select(row, { tell = false, scroll = false } = {}) {
    const before = this.selected;
    this.selected = row;
    for (const id of [before, row]) {
      const drawn = id >= 0 ? document.getElementById(this.#idOf(id)) : null;
      drawn?.classList.toggle("chosen", id === row);
      drawn?.setAttribute("aria-selected", String(id === row));
    }
    if (row >= 0) this.grid.setAttribute("aria-activedescendant", this.#idOf(row));
    if (scroll) this.table.scrollToRow(row, "center", false).catch(() => {});
    if (tell) this.page.choose(this.rows.path(row), this);
  }

  // from elsewhere: the row of a path, opened, selected and scrolled to
  async reveal(path) {
    const row = this.rows.find(path);
    if (row < 0) return;
    await this.ready;
    if (!this.seen.includes(row)) {
      if (this.rows.kept && !this.rows.kept[row]) this.#forget();
      this.rows.reveal(row);
      await this.refresh();
    }
    this.select(row, { scroll: true });
  }

  #forget() {
    this.search = "";
    this.filters.clear();
    for (const control of this.place.querySelectorAll(".tools input[type=search], .tools select")) {
      control.value = "";
      control.classList.remove("active");
    }
    this.rows.keep([]);
  }

  #key(event) {
    if (event.target !== this.grid && !event.target.matches(".tabulator-tableholder")) return;
    const at = this.seen.indexOf(this.selected);
    const row = this.selected;
    const moves = { ArrowDown: at + 1, ArrowUp: Math.max(0, at - 1), Home: 0, End: this.seen.length - 1, PageDown: at + 15, PageUp: Math.max(0, at - 15) };
    if (event.key in moves) {
      const to = this.seen[Math.min(this.seen.length - 1, moves[event.key])];
      this.select(to, { scroll: true });
    } else if (event.key === "ArrowRight" && row >= 0 && this.rows.hasChildren(row)) {
      if (this.rows.isOpen(row)) this.select(this.seen[at + 1], { scroll: true });
      else this.toggle(row);
    } else if (event.key === "ArrowLeft" && row >= 0 && this.rows.isTree) {
      if (this.rows.isOpen(row) && !this.rows.kept) this.toggle(row);
      else if (this.rows.parents[row] >= 0) this.select(this.rows.parents[row], { scroll: true });
    } else if ((event.key === "Enter" || event.key === " ") && row >= 0) {
      this.page.choose(this.rows.path(row), this);
      this.toggle(row);
    } else return;
    event.preventDefault();
  }
}
