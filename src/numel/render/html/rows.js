// A table's columns as the page has them, and which of its rows are seen: what is open, found, kept and in which order.

class Rows {
  constructor(table) {
    this.table = table;
    this.count = table.rows;
    this.depths = table.depths;
    this.columns = table.columns;
    this.byKey = new Map(table.columns.map((column) => [column.key, column]));
    this.parents = null;
    this.ends = null;
    if (this.depths) this.#link();
    this.open = new Uint8Array(this.count);
    this.order = null; // children of each row (-1: of none), where they are sorted
    this.kept = null; // rows that a search or a filter leaves, and those that they are in
  }

  #link() {
    const [depths, n] = [this.depths, this.count];
    this.parents = new Int32Array(n).fill(-1);
    this.ends = new Int32Array(n); // the row after all that is in this one
    const above = [];
    for (let row = 0; row < n; row += 1) {
      while (above.length && depths[above.at(-1)] >= depths[row]) this.ends[above.pop()] = row;
      if (above.length) this.parents[row] = above.at(-1);
      above.push(row);
    }
    while (above.length) this.ends[above.pop()] = n;
    this.least = n ? depths.reduce((a, b) => Math.min(a, b)) : 0;
    this.deepest = n ? depths.reduce((a, b) => Math.max(a, b)) : 0;
  }

  get isTree() {
    return this.depths !== null;
  }

  level(row) {
    return this.isTree ? this.depths[row] - this.least : 0;
  }

  hasChildren(row) {
    return this.isTree && this.ends[row] > row + 1;
  }

  // the value to sort by: a number, a text or null
  value(column, row) {
    if (column.words) return column.unit === "path" && this.isTree ? this.path(row) : column.words[column.at[row]];
    return (column.numbers || column.cells)[row];
  }

  text(column, row, short = false) {
    if (column.words) return column.words[column.at[row]];
    const unit = column.units?.[row] || column.unit;
    return cellText((column.numbers || column.cells)[row], unit, {
      short, sign: column.signs?.[row] || "", digits: column.digits?.[row],
    });
  }

  // the name of a row within the one that it is in
  label(row) {
    const column = this.columns[0];
    const text = this.text(column, row);
    return this.isTree && column.unit === "path" && text.startsWith(".") ? text.slice(1) : text;
  }

  path(row) {
    if (!this.paths) {
      const column = this.columns[0];
      this.paths = new Array(this.count);
      for (let i = 0; i < this.count; i += 1) {
        const text = this.text(column, i);
        const goesOn = this.isTree && column.unit === "path" && text.startsWith(".") && this.parents[i] >= 0;
        this.paths[i] = goesOn ? this.paths[this.parents[i]] + text : text;
      }
      this.at = null;
    }
    return this.paths[row];
  }

  find(path) {
    this.path(0);
    if (!this.at) {
      this.at = new Map();
      for (let row = this.count - 1; row >= 0; row -= 1) this.at.set(this.paths[row], row);
    }
    return this.at.get(path) ?? -1;
  }

  openTo(level) {
    for (let row = 0; row < this.count; row += 1) this.open[row] = this.level(row) < level ? 1 : 0;
  }

  // levels are opened as long as what is seen stays a page
  openToFit(most) {
    if (!this.isTree) return;
    const counts = [];
    for (const depth of this.depths) counts[depth - this.least] = (counts[depth - this.least] || 0) + 1;
    let [level, total] = [0, counts[0] || 0];
    while (level + 1 < counts.length && (total + counts[level + 1] <= most || level === 0)) {
      level += 1;
      total += counts[level];
      if (total > most) break;
    }
    this.openTo(total > 4 * most ? 0 : level);
  }

  reveal(row) {
    for (let above = this.parents ? this.parents[row] : -1; above >= 0; above = this.parents[above]) this.open[above] = 1;
  }

  // `conditions`: functions of a row, all of which must hold
  keep(conditions) {
    if (!conditions.length) {
      this.kept = null;
      return this.count;
    }
    this.kept = new Uint8Array(this.count);
    let found = 0;
    for (let row = 0; row < this.count; row += 1) {
      if (!conditions.every((holds) => holds(row))) continue;
      found += 1;
      for (let above = row; above >= 0 && !this.kept[above]; above = this.isTree ? this.parents[above] : -1) {
        this.kept[above] = 1;
      }
    }
    return found;
  }

  sort(column, descending) {
    if (!column) {
      this.order = null;
      return;
    }
    const rank = (value) => (value === null || value === "" ? 3 : typeof value === "number" ? 0 : typeof value === "string" ? 2 : 1);
    const values = Array.from({ length: this.count }, (_, row) => this.value(column, row));
    const compare = (a, b) => {
      const [x, y] = [values[a], values[b]];
      const [i, j] = [rank(x), rank(y)];
      if (i === 3 || j === 3) return i - j || a - b; // what is unknown comes last either way
      const by = i !== j ? i - j : i === 2 ? x.localeCompare(y, "en", { numeric: true }) : Number(x) - Number(y);
      return (descending ? -by : by) || a - b;
    };
    this.order = new Map();
    for (let row = 0; row < this.count; row += 1) {
      const above = this.isTree ? this.parents[row] : -1;
      if (!this.order.has(above)) this.order.set(above, []);
      this.order.get(above).push(row);
    }
    for (const rows of this.order.values()) rows.sort(compare);
  }

  // the rows to draw, top to bottom
  visible() {
    const seen = [];
    const unfolds = (row) => this.hasChildren(row) && (this.kept ? this.kept[row] && this.#holdsKept(row) : this.open[row]);
    if (!this.order) {
      for (let row = 0; row < this.count; ) {
        if (this.kept && !this.kept[row]) {
          row = this.isTree ? this.ends[row] : row + 1;
          continue;
        }
        seen.push(row);
        row = !this.isTree || unfolds(row) ? row + 1 : this.ends[row];
      }
      return seen;
    }
    const pending = [...(this.order.get(-1) || [])].reverse();
    while (pending.length) {
      const row = pending.pop();
      if (this.kept && !this.kept[row]) continue;
      seen.push(row);
      if (unfolds(row)) {
        const children = this.order.get(row);
        for (let i = children.length - 1; i >= 0; i -= 1) pending.push(children[i]);
      }
    }
    return seen;
  }

  #holdsKept(row) {
    for (let below = row + 1; below < this.ends[row]; below = this.ends[below]) if (this.kept[below]) return true;
    return false;
  }

  isOpen(row) {
    return this.hasChildren(row) && Boolean(this.kept ? this.#holdsKept(row) : this.open[row]);
  }
}
