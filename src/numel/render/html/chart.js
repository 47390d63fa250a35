// A picture by plotly.js. Of a large tree only what can be told apart from where one stands is drawn; zooming draws anew.

const NESTED = new Set(["treemap", "icicle", "sunburst"]);
// Okabe and Ito's palette, which people with any colour vision tell apart (jfly.uni-koeln.de/color), without its black
const PALETTE = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];
const DEEP = new Set(["#0072b2", "#d55e00", "#009e73"]); // white letters stand out better
const OTHER = "#999999";
const RAMP = [[0, "#fdebc8"], [0.35, "#f3a75f"], [0.7, "#c4543d"], [1, "#6b1d3a"]];
const MOST_PARTS = 700;
const LEVELS = { treemap: 3, icicle: 4, sunburst: 4 };
const MOST_POINTS = 1500;

// what plotly takes for markup is text here
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "&#36;");

class Picture {
  constructor(place, chart, table, page) {
    this.place = place;
    this.chart = chart;
    this.page = page;
    this.rows = table ? new Rows(table) : null;
    this.root = 0;
    this.chosen = -1;
    this.size = chart.y[0];
    this.color = chart.color[0] || "";
    if (NESTED.has(chart.kind)) {
      this.root = this.rows.count ? 0 : -1;
      this.place.append(this.#choices());
      this.trail = element("nav", { class: "trail", "aria-label": `Where ${chart.title} is` });
      this.place.append(this.trail);
    }
    this.canvas = element("div", { class: "canvas", role: "img", "aria-label": this.#described() });
    this.legend = element("ul", { class: "legend" });
    this.place.append(this.canvas, this.legend);
    this.draw();
    new ResizeObserver(() => {
      if (this.drawn && Math.abs(this.canvas.clientWidth - this.width) > 8) this.draw();
    }).observe(this.canvas);
  }

  #described() {
    const marks = this.chart.marks.map(([, text]) => text).join("; ");
    return `${this.chart.kind} of ${this.chart.title}${marks ? `; ${marks}` : ""}`;
  }

  draw() {
    const kinds = {
      bar: () => this.#bars(), treemap: () => this.#nested(), icicle: () => this.#nested(), sunburst: () => this.#nested(),
      line: () => this.#lines(), area: () => this.#lines(), timeline: () => this.#lines(), scatter: () => this.#points(),
      heatmap: () => this.#cells(), histogram: () => this.#bins(),
    };
    const style = getComputedStyle(document.documentElement);
    this.ink = style.getPropertyValue("--ink").trim();
    this.faint = style.getPropertyValue("--line").trim();
    this.paper = style.getPropertyValue("--card").trim();
    this.width = this.canvas.clientWidth;
    const empty = this.chart.bars ? !this.chart.bars.names.length : !this.rows.count;
    const made = empty ? null : kinds[this.chart.kind]();
    if (!made) {
      this.canvas.textContent = "(nothing to draw)";
      return;
    }
    const { traces, layout } = made;
    const axis = { gridcolor: this.faint, linecolor: this.faint, zerolinecolor: this.faint, automargin: true, tickfont: { size: 12 } };
    const whole = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "inherit", size: 13, color: this.ink },
      margin: { l: 10, r: 16, t: 8, b: 10 }, height: 420, showlegend: false, hoverlabel: { align: "left", bgcolor: this.paper, bordercolor: this.faint, font: { color: this.ink } }, ...layout,
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
    };
    const config = { displaylogo: false, responsive: false, displayModeBar: false, doubleClick: "reset", showTips: false };
    this.drawn = Plotly.react(this.canvas, traces, whole, config).then(() => this.#listen());
  }

  #listen() {
    if (this.listens) return;
    this.listens = true;
    if (!NESTED.has(this.chart.kind)) {
      this.canvas.on("plotly_click", (event) => {
        const path = event.points[0]?.customdata?.path;
        if (path) this.page.choose(path, this);
      });
      return;
    }
    this.canvas.on(`plotly_${this.chart.kind}click`, (event) => {
      setTimeout(() => this.#enter(Number(event.points[0].id)));
      return false; // zooming is ours, since what is drawn depends on it
    });
  }

  // a part was clicked: it fills the picture, and the one that does already gives way to what it is in
  #enter(row) {
    if (!(row >= 0)) return;
    this.chosen = row;
    if (row === this.root) this.zoom(Math.max(0, this.rows.parents[row]));
    else if (this.rows.hasChildren(row)) this.zoom(row);
    else this.draw();
    this.page.choose(this.rows.path(row), this);
  }

  zoom(row) {
    this.root = row;
    this.draw();
    this.page.say(`${this.rows.path(row)} fills the picture`);
  }

  // a path was chosen elsewhere
  reveal(path) {
    if (!NESTED.has(this.chart.kind)) return;
    const row = this.rows.find(path);
    if (row < 0 || row === this.chosen) return;
    this.chosen = row;
    this.root = this.rows.hasChildren(row) ? row : Math.max(0, this.rows.parents[row]);
    this.draw();
  }

  // ── axes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  #column(key) {
    return this.rows.byKey.get(key);
  }

  #isLog(key) {
    return this.chart.log.includes(key);
  }

  #axis(values, unit, title, log) {
    const known = values.filter((value) => typeof value === "number");
    const named = { title: { text: plain(log ? `${title} (log scale)` : title), standoff: 8, font: { size: 12 } } };
    if (!NUMERIC.has(unit)) return named;
    const room = Math.max(3, Math.floor(this.width / 110));
    const every = log ? logTicks(known, unit) : linearTicks(known, unit);
    const ticks = every.filter((_, i) => i % Math.ceil(every.length / room) === 0);
    return { ...named, type: log ? "log" : "linear", tickvals: ticks, ticktext: ticks.map((tick) => tickText(tick, unit)), tickmode: "array", tickangle: 0 };
  }

  // ── kinds ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #bars() {
    const { names, groups, series, log } = this.chart.bars;
    const several = series.length > 1;
    const kinds = [...new Set(groups)].filter(Boolean);
    const color = (i) => (several ? undefined : kinds.length ? paint(kinds.indexOf(groups[i])) : PALETTE[0]);
    const short = names.map((name, i) => `${plain(shortened(name, this.width < 520 ? 18 : 44))}${"\u200b".repeat(i)}`); // none is one
    const every = series.flatMap((each) => each.values);
    const least = Math.min(...every.filter((value) => value > 0));
    const traces = series.map((each, s) => ({
      type: "bar", orientation: "h", y: short, x: each.values, name: plain(each.title), text: each.texts.map(plain),
      textposition: "outside", cliponaxis: false, textfont: { size: 12 },
      customdata: names.map((name) => ({ path: name })),
      hovertext: names.map((name, i) => `${plain(shortened(name, 200))}<br>${plain(each.title)}: ${plain(each.texts[i])}`), hoverinfo: "text",
      marker: { color: several ? PALETTE[s % PALETTE.length] : names.map((_, i) => color(i)) },
    }));
    this.#legend(several ? series.map((each, s) => [each.title, PALETTE[s % PALETTE.length]]) : kinds.map((kind, i) => [kind, paint(i)]));
    const axis = this.#axis(every, series[0].unit, several ? "" : series[0].title, log);
    const range = log ? { range: [Math.log10(least) - 0.3, Math.log10(Math.max(...every)) + 0.45] } : { range: [0, Math.max(0, ...every) * 1.16 || 1] };
    const height = 70 + names.length * (series.length > 1 ? 14 * series.length + 8 : 21);
    return { traces, layout: { height, barmode: "group", bargap: 0.25, xaxis: { ...axis, ...range }, yaxis: { autorange: "reversed", showgrid: false, ticks: "" }, margin: { l: 10, r: 60, t: 4, b: 10 } } };
  }

  #nested() {
    const { rows } = this;
    const column = this.#column(this.size);
    const size = (row) => {
      const value = rows.value(column, row);
      return typeof value === "number" && value > 0 ? value : 0;
    };
    const root = this.root;
    const drawn = [root];
    const most = this.#deepest(root, size);
    const candidates = [];
    for (let row = root + 1; row < rows.ends[root]; ) {
      if (size(row) > 0 && rows.level(row) <= most) candidates.push(row);
      row = rows.level(row) >= most || size(row) === 0 ? rows.ends[row] : row + 1;
    }
    // the largest, each with what it is in; of equal ones the first
    const taken = new Set([root]);
    for (const row of [...candidates].sort((a, b) => size(b) - size(a) || a - b)) {
      if (taken.size > MOST_PARTS) break;
      for (let above = row; above >= 0 && !taken.has(above); above = rows.parents[above]) taken.add(above);
    }
    for (const row of candidates) if (taken.has(row)) drawn.push(row);
    const left = candidates.length + 1 - drawn.length;
    const below = new Map();
    for (const row of drawn.slice(1)) below.set(rows.parents[row], (below.get(rows.parents[row]) || 0) + size(row));
    const text = (row) => rows.text(column, row, true);
    const { colors, scale, words } = this.#colors(drawn, below);
    const trace = {
      type: this.chart.kind, ids: drawn.map(String), labels: drawn.map((row) => plain(shortened(rows.label(row), 60))),
      parents: drawn.map((row) => (row === root ? "" : String(rows.parents[row]))),
      values: drawn.map((row) => Math.max(size(row), below.get(row) || 0)), branchvalues: "total", sort: false,
      text: drawn.map((row) => plain(text(row))), texttemplate: this.chart.kind === "sunburst" ? "%{label}" : "%{label}<br>%{text}",
      hovertext: drawn.map((row) => this.#hover(row)), hoverinfo: "text",
      marker: {
        colors, ...scale,
        line: { color: drawn.map((row) => (row === this.chosen ? this.ink : this.paper)), width: drawn.map((row) => (row === this.chosen ? 3 : 1)) },
        ...(this.chart.kind === "treemap" ? { pad: { t: 22, l: 3, r: 3, b: 3 }, cornerradius: 2 } : {}),
      },
      pathbar: { visible: false }, tiling: this.chart.kind === "treemap" ? { packing: "squarify", pad: 2 } : { orientation: "v" },
      textfont: { size: 12 }, insidetextfont: { color: colors.map((color) => this.#inkOn(color)) },
    };
    this.#legend(words || []);
    this.#trail(left);
    return { traces: [trace], layout: { height: Math.max(320, Math.min(560, Math.round(this.width * 0.55))), margin: { l: 0, r: scale.showscale ? 10 : 0, t: 0, b: 0 } } };
  }

  // at least a few levels, and more where these have but few parts
  #deepest(root, size) {
    const { rows } = this;
    const counts = [];
    for (let row = root + 1; row < rows.ends[root]; row += 1) {
      if (size(row) > 0) counts[rows.level(row) - rows.level(root)] = (counts[rows.level(row) - rows.level(root)] || 0) + 1;
    }
    let [levels, total] = [0, 0];
    while (levels + 1 < counts.length && (levels < LEVELS[this.chart.kind] || total + (counts[levels + 1] || 0) <= MOST_PARTS)) {
      levels += 1;
      total += counts[levels] || 0;
    }
    return rows.level(root) + levels;
  }

  #inkOn(color) {
    return color === this.faint ? this.ink : typeof color === "string" ? (DEEP.has(color) ? "#fff" : "#111") : undefined;
  }

  #hover(row) {
    const { rows, chart } = this;
    const shares = rows.columns.filter((column) => column.unit === "share").map((column) => column.key);
    const keys = [...new Set([this.size, ...shares, ...chart.y, ...chart.color])];
    const lines = keys.map((key) => {
      const column = this.#column(key);
      return `${plain(column.title)}: ${plain(shortened(rows.text(column, row), 80))}`;
    });
    return [`<b>${plain(shortened(rows.path(row), 160))}</b>`, ...lines].join("<br>");
  }

  // one colour for each row: by words, or along a scale of numbers
  #colors(drawn, below) {
    const { rows } = this;
    const column = this.color ? this.#column(this.color) : null;
    if (!column) return { colors: drawn.map((row) => (rows.level(row) % 2 ? PALETTE[0] : "#a9d8f5")), scale: {}, words: null };
    if (NUMERIC.has(column.unit)) {
      const log = this.#isLog(this.color);
      const values = drawn.map((row) => rows.value(column, row));
      const least = Math.min(...values.filter((value) => value > 0));
      const shown = values.map((value) => (typeof value !== "number" ? null : log ? Math.log10(Math.max(value, least)) : value));
      const known = shown.filter((value) => value !== null && Number.isFinite(value));
      if (!known.length) return { colors: drawn.map(() => OTHER), scale: {}, words: null };
      const real = values.filter((value) => typeof value === "number" && (!log || value > 0));
      const ticks = log ? logTicks(real, column.unit) : linearTicks(real, column.unit);
      const title = { text: plain(log ? `${column.title}<br>(log scale)` : column.title).replace("&lt;br&gt;", "<br>"), font: { size: 12 } };
      const colorbar = { title, thickness: 12, outlinewidth: 0, tickvals: log ? ticks.map(Math.log10) : ticks, ticktext: ticks.map((tick) => tickText(tick, column.unit)) };
      return { colors: shown, scale: { colorscale: RAMP, showscale: this.width > 480, colorbar, cmin: Math.min(...known), cmax: Math.max(...known) }, words: null };
    }
    const word = (row) => rows.text(column, row) || "(none)";
    const counts = new Map();
    const sizes = this.#column(this.size);
    const containers = this.color === "type"; // what holds others is of a kind that says nothing of its size
    for (const row of drawn) {
      if (containers && below.has(row)) continue;
      counts.set(word(row), (counts.get(word(row)) || 0) + (Number(rows.value(sizes, row)) || 0));
    }
    const order = [...counts].sort((a, b) => b[1] - a[1]).map(([name]) => name);
    const known = order.slice(0, order.length > PALETTE.length ? PALETTE.length - 1 : PALETTE.length);
    const color = (name) => (known.includes(name) ? PALETTE[known.indexOf(name)] : OTHER);
    const painted = (row) => (containers && below.has(row) ? this.faint : color(word(row)));
    const words = known.map((name) => [name === "✓" ? `${column.title}: yes` : name === "–" ? `${column.title}: no` : name, color(name)]);
    const rest = order.length > known.length ? [["others", OTHER]] : [];
    return { colors: drawn.map(painted), scale: {}, words: [...words, ...rest, ...(containers ? [["what holds others", this.faint]] : [])] };
  }

  #choices() {
    const place = element("div", { class: "tools" });
    const choose = (title, keys, act) => {
      const select = element("select", {});
      for (const key of keys) select.append(element("option", { value: key }, this.#column(key).title));
      select.addEventListener("change", () => {
        act(select.value);
        this.draw();
      });
      place.append(element("label", {}, `${title} `, select));
    };
    if (this.chart.y.length > 1) choose("Size", this.chart.y, (key) => { this.size = key; });
    if (this.chart.color.length > 1) choose("Colour", this.chart.color, (key) => { this.color = key; });
    return place;
  }

  #trail(left) {
    const { rows } = this;
    const steps = [];
    for (let row = this.root; row >= 0; row = rows.parents[row]) steps.unshift(row);
    const items = steps.map((row, i) => {
      const name = shortened(rows.label(row) || "(root)", 40);
      return i === steps.length - 1 ? element("b", {}, name) : button(name, () => this.zoom(row));
    });
    this.trail.replaceChildren(...items.flatMap((item, i) => (i ? [" / ", item] : [item])));
    if (left > 0) this.trail.append(element("span", { class: "caption" }, ` · ${left.toLocaleString("en-US")} smaller ones are not drawn; zoom in`));
  }

  #lines() {
    const { chart, rows } = this;
    const stacked = chart.kind !== "line";
    const columns = chart.y.map((key) => this.#column(key));
    const x = this.#column(chart.x);
    const numeric = NUMERIC.has(x.unit);
    const at = this.#thinned(columns, stacked);
    const xs = at.map((row) => (numeric ? rows.value(x, row) : row));
    const every = columns.flatMap((column) => at.map((row) => rows.value(column, row)));
    const log = !stacked && chart.y.some((key) => this.#isLog(key));
    const sums = at.map((row) => columns.reduce((sum, column) => sum + (Number(rows.value(column, row)) || 0), 0));
    const traces = columns.map((column, s) => ({
      type: "scatter", ...this.#drawn(at.map((row) => rows.value(column, row)), numeric), x: xs, name: plain(column.title),
      ...(stacked ? { stackgroup: "all", fillcolor: `${paint(s)}cc` } : {}),
      line: { width: stacked ? 0.5 : 2, color: paint(s), shape: chart.kind === "timeline" ? "hv" : "linear", dash: stacked ? "solid" : ["solid", "dash", "dot", "dashdot"][Math.floor(s / PALETTE.length) % 4] },
      customdata: at.map((row) => ({ path: this.#pathOf(row) })),
      hovertext: at.map((row) => (s === 0 || !stacked ? this.#stackHover(row, columns) : "")),
      hoverinfo: s === 0 || !stacked ? "text" : "skip",
    }));
    this.#legend(columns.length > 1 ? columns.map((column, s) => [column.title, paint(s)]) : []);
    const annotations = chart.marks.map(([row, text]) => {
      const y = stacked ? columns.reduce((sum, column) => sum + (Number(rows.value(column, row)) || 0), 0) : rows.value(columns[0], row);
      const left = at.indexOf(row) > at.length / 2;
      return { x: numeric ? rows.value(x, row) : row, y: log ? Math.log10(y) : y, text: plain(shortened(text, 60)), showarrow: true, arrowhead: 0, ax: left ? -40 : 40, ay: -26, xanchor: left ? "right" : "left", font: { size: 12 }, bgcolor: this.paper, arrowcolor: this.ink };
    });
    const xaxis = numeric ? this.#axis(xs, x.unit, x.title, false) : this.#named(xs, x);
    const top = Math.max(...(stacked ? sums : every.filter((value) => typeof value === "number")));
    const yaxis = { ...this.#axis(stacked ? [0, ...sums] : every, columns[0].unit, columns.length > 1 ? "" : columns[0].title, log), ...(log ? {} : { range: [Math.min(0, ...every.filter((value) => typeof value === "number")), top * 1.15 || 1] }) };
    return { traces, layout: { xaxis, yaxis, annotations, hovermode: "x" } };
  }

  // a line, and a point for each number that has none beside it; at a step that only another line has nothing is missing
  #drawn(y, connectgaps) {
    const known = (i) => typeof y[i] === "number";
    const count = y.filter((_, i) => known(i)).length;
    const alone = y.map((_, i) => known(i) && (connectgaps ? count === 1 : !known(i - 1) && !known(i + 1)));
    return { y, connectgaps, mode: alone.includes(true) ? "lines+markers" : "lines", marker: { size: alone.map((each) => (each ? 7 : 0)) } };
  }

  // rows that are names: a few of them are written below
  #named(xs, column) {
    const count = Math.min(xs.length, Math.max(2, Math.floor(this.width / 140)));
    const ticks = [...new Set(Array.from({ length: count }, (_, i) => xs[Math.round((i * (xs.length - 1)) / Math.max(1, count - 1))]))];
    return { title: { text: plain(column.title), font: { size: 12 } }, tickvals: ticks, ticktext: ticks.map((row) => plain(shortened(this.rows.text(column, row), 20))), tickmode: "array", tickangle: 0 };
  }

  #pathOf(row) {
    const column = this.rows.columns.find((each) => each.unit === "path");
    return column ? this.rows.text(column, row) : "";
  }

  #stackHover(row, columns) {
    const { rows } = this;
    const said = (column) => `${plain(column.title)}: ${plain(shortened(rows.text(column, row, true), 80))}`;
    const others = rows.columns.filter((column) => !columns.includes(column));
    const about = others.filter((column) => !NUMERIC.has(column.unit)).map((column) => plain(shortened(rows.text(column, row), 80)));
    return [about.filter(Boolean).join(" · "), ...others.filter((column) => NUMERIC.has(column.unit)).map(said), ...columns.map(said)].join("<br>");
  }

  // of rows that share a place on the screen the highest, and all that are pointed out
  #thinned(columns, stacked) {
    const { rows } = this;
    if (rows.count <= MOST_POINTS) return Array.from({ length: rows.count }, (_, row) => row);
    const height = (row) => columns.reduce((sum, column) => {
      const value = Number(rows.value(column, row)) || 0;
      return stacked ? sum + value : Math.max(sum, value);
    }, 0);
    const kept = new Set([0, rows.count - 1, ...this.chart.marks.map(([row]) => row)]);
    for (let i = 0; i < MOST_POINTS; i += 1) {
      const [from, to] = [Math.floor((i * rows.count) / MOST_POINTS), Math.floor(((i + 1) * rows.count) / MOST_POINTS)];
      let best = from;
      for (let row = from; row < to; row += 1) if (height(row) > height(best)) best = row;
      kept.add(best);
    }
    return [...kept].sort((a, b) => a - b);
  }

  #points() {
    const { chart, rows } = this;
    const [x, y] = [this.#column(chart.x), this.#column(chart.y[0])];
    const color = chart.color.length ? this.#column(chart.color[0]) : null;
    const label = chart.label ? this.#column(chart.label) : null;
    const spots = new Map(); // layers that are alike lie on one spot
    for (let row = 0; row < rows.count; row += 1) {
      const [a, b] = [rows.value(x, row), rows.value(y, row)];
      if (typeof a !== "number" || typeof b !== "number") continue;
      const kind = color ? rows.text(color, row) : "";
      const key = `${a} ${b} ${kind}`;
      if (!spots.has(key)) spots.set(key, { a, b, kind, rows: [] });
      spots.get(key).rows.push(row);
    }
    const sizes = new Map();
    for (const spot of spots.values()) sizes.set(spot.kind, (sizes.get(spot.kind) || 0) + spot.rows.length);
    const kinds = [...sizes].sort((p, q) => q[1] - p[1]).map(([kind]) => kind);
    const symbols = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star"];
    const logs = [this.#isLog(chart.x), this.#isLog(chart.y[0])];
    const traces = kinds.map((kind, s) => {
      const mine = [...spots.values()].filter((spot) => spot.kind === kind);
      return {
        type: "scatter", mode: "markers", x: mine.map((spot) => spot.a), y: mine.map((spot) => spot.b), name: plain(kind),
        customdata: mine.map((spot) => ({ path: label ? rows.text(label, spot.rows[0]) : "" })),
        marker: { color: paint(s), symbol: symbols[s % symbols.length], size: mine.map((spot) => Math.min(22, 8 + 3 * Math.log2(spot.rows.length))), opacity: 0.85, line: { width: 1, color: this.paper } },
        hovertext: mine.map((spot) => this.#spotHover(spot, x, y, label, kind)), hoverinfo: "text",
      };
    });
    this.#legend(kinds.length > 1 ? kinds.map((kind, s) => [kind, paint(s)]) : []);
    const all = [...spots.values()];
    return { traces, layout: { xaxis: this.#axis(all.map((spot) => spot.a), x.unit, x.title, logs[0]), yaxis: this.#axis(all.map((spot) => spot.b), y.unit, y.title, logs[1]) } };
  }

  #spotHover(spot, x, y, label, kind) {
    const names = label ? spot.rows.slice(0, 3).map((row) => plain(shortened(this.rows.text(label, row), 80))) : [];
    const more = spot.rows.length > 3 ? [`and ${(spot.rows.length - 3).toLocaleString("en-US")} more`] : [];
    const row = spot.rows[0];
    return [...names, ...more, plain(kind), `${plain(x.title)}: ${plain(this.rows.text(x, row))}`, `${plain(y.title)}: ${plain(this.rows.text(y, row))}`].join("<br>");
  }

  #cells() {
    const { chart, rows } = this;
    const [x, y, color] = [this.#column(chart.x), this.#column(chart.y[0]), this.#column(chart.color[0])];
    const all = Array.from({ length: rows.count }, (_, row) => row);
    const across = [...new Set(NUMERIC.has(x.unit) ? all.map((row) => rows.value(x, row)).sort((a, b) => a - b).map((v) => cellText(v, x.unit)) : all.map((row) => rows.text(x, row)))];
    const down = [...new Set(all.map((row) => rows.text(y, row)))];
    const grid = down.map(() => across.map(() => null));
    const text = down.map(() => across.map(() => ""));
    for (const row of all) {
      const [i, j] = [down.indexOf(rows.text(y, row)), across.indexOf(rows.text(x, row))];
      grid[i][j] = rows.value(color, row);
      text[i][j] = plain(rows.text(color, row, true));
    }
    const log = this.#isLog(chart.color[0]);
    const shown = grid.map((line) => line.map((value) => (typeof value !== "number" ? null : !log ? value : value > 0 ? Math.log10(value) : null)));
    const real = grid.flat().filter((value) => typeof value === "number" && (!log || value > 0));
    const ticks = log ? logTicks(real, color.unit) : linearTicks(real, color.unit);
    const trace = {
      type: "heatmap", z: shown, x: across.map((name) => plain(shortened(name, 24))), y: down.map((name) => plain(shortened(name, 40))), colorscale: RAMP, text,
      texttemplate: across.length * 64 < this.width ? "%{text}" : "", hovertext: text.map((line, i) => line.map((each, j) => `${plain(down[i])} · ${plain(across[j])}<br>${plain(color.title)}: ${each}`)), hoverinfo: "text", xgap: 2, ygap: 2,
      colorbar: { title: { text: plain(log ? `${color.title} (log)` : color.title), font: { size: 12 } }, thickness: 12, outlinewidth: 0, tickvals: log ? ticks.map(Math.log10) : ticks, ticktext: ticks.map((tick) => tickText(tick, color.unit)) },
    };
    const axis = { type: "category", showgrid: false };
    return { traces: [trace], layout: { height: Math.max(220, 90 + down.length * 34), xaxis: { ...axis, title: { text: plain(x.title), font: { size: 12 } } }, yaxis: { ...axis, autorange: "reversed" } } };
  }

  #bins() {
    const { chart, rows } = this;
    const [low, high, count] = [chart.x, chart.xEnd, chart.y[0]].map((key) => this.#column(key));
    const all = Array.from({ length: rows.count }, (_, row) => row);
    const log = this.#isLog(chart.y[0]);
    const counts = all.map((row) => rows.value(count, row));
    const trace = {
      type: "bar", x: all.map((row) => (rows.value(low, row) + rows.value(high, row)) / 2), width: all.map((row) => rows.value(high, row) - rows.value(low, row)), y: counts,
      marker: { color: PALETTE[0], line: { width: 0.5, color: this.paper } }, hoverinfo: "text",
      hovertext: all.map((row) => `${rows.text(low, row)} to ${rows.text(high, row)}<br>${plain(count.title)}: ${rows.text(count, row)}`),
    };
    const xs = all.flatMap((row) => [rows.value(low, row), rows.value(high, row)]);
    return { traces: [trace], layout: { bargap: 0, xaxis: this.#axis(xs, low.unit, low.title, false), yaxis: this.#axis(counts, count.unit, count.title, log) } };
  }

  #legend(entries) {
    this.legend.replaceChildren(...entries.map(([name, color]) => {
      const swatch = element("span", { class: "swatch" });
      swatch.style.background = color;
      return element("li", {}, swatch, shortened(name, 60));
    }));
  }
}

function paint(i) {
  return i < 0 ? OTHER : PALETTE[i % PALETTE.length];
}

// four to eight round numbers; of bytes round in powers of two
function linearTicks(values, unit) {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const span = high - low || 1;
  let step;
  if (unit === "bytes") {
    const power = 1024 ** Math.max(0, Math.floor(Math.log(span / 5) / Math.log(1024)));
    step = power;
    for (const factor of [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]) if (span / step > 7) step = power * factor;
  } else {
    const power = 10 ** Math.floor(Math.log10(span / 5));
    step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => span / each <= 7) || 10 * power;
    if (unit === "count" || unit === "integer") step = Math.max(1, step);
  }
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high + step / 2; i += 1) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

// without the zeros behind it
function tickText(tick, unit) {
  const [number, ...rest] = numberText(tick, unit, true).split(" ");
  const short = number.includes(".") && !number.includes("e") ? number.replace(/\.?0+$/, "") : number;
  return [short, ...rest].join(" ");
}

function logTicks(values, unit) {
  const known = values.filter((value) => value > 0);
  if (!known.length) return [1];
  const base = unit === "bytes" ? 1024 : 10;
  const [low, high] = [Math.min(...known), Math.max(...known)].map((value) => Math.log(value) / Math.log(base));
  let ticks = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) ticks.push(base ** power);
  if (ticks.length < 4) ticks = ticks.flatMap((tick) => (base === 10 ? [tick, 3 * tick] : [tick, 8 * tick, 64 * tick]));
  while (ticks.length > 8) ticks = ticks.filter((_, i) => i % 2 === 0);
  return ticks.filter((tick) => tick >= base ** Math.floor(low) && tick <= base ** Math.ceil(high));
}
