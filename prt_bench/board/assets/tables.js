// Comfort for every table.sortable: sorting, filters, choice of columns, copies, links to a view.
// A table is complete without it: whatever only works with a script is made by this script.
// A view of a table lives in the location's hash: #results?q=two%20words&sort=score.desc&hide=ms,flops&task=digits
// Views of several tables are joined by ";". Names of columns hold no comma, and no facet is called like an OWN_KEY.
"use strict";

(() => {
  const OWN_KEYS = ["q", "sort", "hide"];
  // Beyond this, laying out the table takes a browser seconds at each change.
  const ROWS_AT_ONCE = 300;
  const DIRECTIONS = { asc: "ascending", desc: "descending" };
  // One language for all readers: a link must show everybody the same order.
  const collator = new Intl.Collator("en", { numeric: true });

  /* ---- text of cells ---- */

  // Text runs on through these; what stands in any other element is a word of its own.
  const INLINE = new Set(["A", "ABBR", "B", "BUTTON", "CODE", "EM", "I", "MARK", "STRONG", "SUB", "SUP", "TIME"]);

  // Format characters turn reading directions and hide in names; nobody misses them.
  const clean = (text) =>
    text.replace(/\s+/g, " ").replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, "").replace(/ {2,}/g, " ").trim();

  const fold = (text) => clean(text).toLowerCase().replaceAll("\u2212", "-");

  const counted = (rows) => `${rows} row${rows === 1 ? "" : "s"}`;

  const brief = (text) => (text.length > 60 ? `${text.slice(0, 60)}…` : text);

  // A drawing is told beside it in words, and the number of a footnote would read as one more digit.
  const isSilent = (node) =>
    node.nodeType !== Node.ELEMENT_NODE ||
    node.tagName === "svg" ||
    (node.tagName === "SUP" && node.querySelector("a"));

  /** The text of a node, and into `small` each piece of small print by itself. */
  function textOf(node, small) {
    let told = "";
    for (const child of node.childNodes) {
      if (child.nodeType === Node.TEXT_NODE) told += child.data;
      else if (isSilent(child)) continue;
      else if (child.tagName === "SMALL") {
        small.push(clean(textOf(child, small)));
        told += " ";
      } else {
        const gap = INLINE.has(child.tagName) ? "" : " ";
        told += gap + textOf(child, small) + gap;
      }
    }
    return told;
  }

  function read(cell) {
    const small = [];
    const main = cell ? clean(textOf(cell, small)) : "";
    return { main, small: small.filter(Boolean).join("; ") };
  }

  /** What stands first in a cell, as a rule its number, apart from its small print and from what follows a colon. */
  function readApart(cell) {
    let first = "";
    const rest = [];
    for (const child of cell?.childNodes ?? []) {
      if (child.nodeType === Node.TEXT_NODE) first += child.data;
      else if (isSilent(child)) continue;
      else {
        const small = [];
        const text = textOf(child, small);
        if (INLINE.has(child.tagName)) first += text;
        else rest.push(...[text, ...small].map(clean).filter(Boolean));
      }
    }
    first = clean(first) || rest.shift() || "";
    const { number = first, words } = first.match(NUMBER_WITH_WORDS)?.groups ?? {};
    return { first: number, rest: [words, ...rest].filter(Boolean).join("; ") };
  }

  /* ---- copies ---- */

  const NUMBER = "[-+]?\\d[\\d,]*(\\.\\d+)?(e[-+]?\\d+)?( ?%)?";
  const NUMBER_WITH_INTERVAL = new RegExp(`^${NUMBER}( \\[${NUMBER}, ${NUMBER}\\])?$`, "i");
  const NUMBER_WITH_WORDS = new RegExp(`^(?<number>\u2212?${NUMBER}): (?<words>.+)$`, "i");
  const plainMinus = (text) => text.replaceAll("\u2212", "-");

  /** Of a rest no program makes a number: there a first minus may stay what no spreadsheet takes for a formula. */
  function csvCell(text, isRest) {
    const plain = isRest ? text.replace(/(?!^)\u2212/g, "-") : plainMinus(text);
    // What begins like this a spreadsheet may run as a formula.
    const guarded = /^[=+\-@\t\r＝＋－＠]/.test(plain) && !NUMBER_WITH_INTERVAL.test(plain) ? `'${plain}` : plain;
    return /[",;\r\n]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
  }

  const csv = ({ head, rows, rests }) =>
    [head, ...rows].map((row) => `${row.map((text, index) => csvCell(text, rests[index])).join(",")}\r\n`).join("");

  const LATEX = new Map(Object.entries({
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "\u2212": "$-$", "×": "$\\times$", "·": "$\\cdot$", "±": "$\\pm$", "→": "$\\rightarrow$", "∞": "$\\infty$",
    "≈": "$\\approx$", "≤": "$\\leq$", "≥": "$\\geq$", "Δ": "$\\Delta$", "λ": "$\\lambda$", "α": "$\\alpha$",
    "β": "$\\beta$",
    "µ": "$\\mu$", "μ": "$\\mu$", "▲": "$\\bigtriangleup$", "▼": "$\\bigtriangledown$", "◇": "$\\diamond$",
    "⚠": "(!)", "\uFFFD": "?",
  }));

  const latexCell = (text) => Array.from(text, (character) => LATEX.get(character) ?? character).join("");

  function latex({ head, rows, numeric }) {
    // After \\ and \hline a bracket or a star would be read as an argument.
    const line = (row) => `${row.map(latexCell).join(" & ").replace(/^(?=[[*])/, "{}")} \\\\`;
    const columns = numeric.map((right) => (right ? "r" : "l")).join("");
    const lines = [`\\begin{tabular}{${columns}}`, "\\hline", line(head), "\\hline", ...rows.map(line), "\\hline"];
    return `${lines.join("\n")}\n\\end{tabular}\n`;
  }

  const markdownCell = (text) => plainMinus(text).replace(/[\\|*_`<>[\]~$]|&(?=[#\w])/g, "\\$&");

  function markdown({ head, rows, numeric }) {
    const line = (cells) => `| ${cells.join(" | ")} |\n`;
    const rule = line(numeric.map((right) => (right ? "---:" : "---")));
    return line(head.map(markdownCell)) + rule + rows.map((row) => line(row.map(markdownCell))).join("");
  }

  const FORMATS = { CSV: csv, LaTeX: latex, Markdown: markdown };

  /** Whether the text is on the clipboard now; where no way leads there, it is shown to be copied by hand. */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyBySelection(text) || showToCopy(text);
    }
  }

  function copyBySelection(text) {
    const focused = document.activeElement;
    const area = make("textarea", { class: "table-copy-source", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return copied;
  }

  function showToCopy(text) {
    const area = make("textarea", { readonly: "", rows: "12", "aria-label": "Text to copy" });
    area.value = text;
    const close = make("button", { type: "button" }, "Close");
    const dialog = make("dialog", { class: "table-copy", "aria-label": "Copy by hand" },
      make("p", {}, "This browser lets no page write to the clipboard: copy the text by hand."), area, close);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    area.select();
    return false;
  }

  /* ---- one table ---- */

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function button(text, onClick) {
    const made = make("button", { type: "button" }, text);
    made.addEventListener("click", onClick);
    return made;
  }

  class View {
    constructor(table) {
      this.table = table;
      this.placements = new Map();
      this.bodies = Array.from(table.tBodies, (element) => {
        const heading = element.querySelector(":scope > tr.group");
        const rows = Array.from(element.rows).filter((row) => row !== heading);
        return { element, heading, page: rows.map((row) => ({ element: row, read: new Map() })), order: [] };
      });
      for (const body of this.bodies) body.order = body.page;
      this.rows = this.bodies.flatMap((body) => body.page);
      const names = table.tHead.rows[table.tHead.rows.length - 1];
      this.columns = this.placed(names).map((place, index) => this.column(place, index));
      this.sort = { column: null, direction: "" };
      this.ordered = this.laidOut = "";
      this.limit = ROWS_AT_ONCE;
      this.fixed = this.columns.filter((column) => this.cell(this.rows[0], column)?.tagName === "TH");
      if (this.fixed.length === 0) this.fixed = this.columns.slice(0, 1);
      for (const column of this.columns) this.addSortButton(column);
      this.addNotice();
      this.addTools();
    }

    column({ cell, start, span }, index) {
      const { main, small } = read(cell);
      return { head: cell, start, span, name: cell.dataset.column ?? `column-${index + 1}`, main, small };
    }

    /** Cells of a row with the places that they take in the page's own grid, which hidden columns don't change. */
    placed(row) {
      let places = this.placements.get(row);
      if (!places) {
        let start = 0;
        places = Array.from(row.cells, (cell) => {
          const place = { cell, start, span: cell.colSpan };
          start += place.span;
          return place;
        });
        this.placements.set(row, places);
      }
      return places;
    }

    cell(row, column) {
      return this.placed(row.element).find((place) => place.start === column.start)?.cell;
    }

    /** What a cell says; kept, for most cells are never asked and some are asked at each key. */
    said(row, column) {
      let told = row.read.get(column);
      if (!told) row.read.set(column, (told = read(this.cell(row, column))));
      return told;
    }

    folded(row) {
      row.folded ??= fold(Array.from(row.element.cells, (cell) => cell.textContent).join(" "));
      return row.folded;
    }

    found(row, words) {
      return words.length === 0 || words.every((word) => this.folded(row).includes(word));
    }

    isNumeric(column) {
      column.numeric ??= this.rows.some((row) => this.cell(row, column)?.hasAttribute("data-v"));
      return column.numeric;
    }

    /* -- order -- */

    /** What a row is sorted by; null where it says nothing. */
    sortValue(row, column) {
      if (!this.isNumeric(column)) return this.said(row, column).main || null;
      const written = this.cell(row, column)?.getAttribute("data-v")?.trim();
      return !written || Number.isNaN(Number(written)) ? null : Number(written);
    }

    sorted(rows) {
      const { column, direction } = this.sort;
      if (!column) return rows;
      const sign = direction === "desc" ? -1 : 1;
      const compare = this.isNumeric(column) ? (a, b) => (a > b) - (a < b) : collator.compare;
      const valued = rows.map((row) => ({ row, value: this.sortValue(row, column) }));
      const isEmpty = ({ value }) => value === null;
      valued.sort((a, b) => isEmpty(a) - isEmpty(b) || (isEmpty(a) ? 0 : sign * compare(a.value, b.value)));
      return valued.map(({ row }) => row);
    }

    putInOrder() {
      const wanted = this.sort.column ? `${this.sort.column.name}.${this.sort.direction}` : "";
      if (wanted === this.ordered) return;
      this.ordered = wanted;
      for (const column of this.columns) column.head.removeAttribute("aria-sort");
      this.sort.column?.head.setAttribute("aria-sort", DIRECTIONS[this.sort.direction]);
      for (const body of this.bodies) {
        body.order = this.sorted(body.page);
        const moved = document.createDocumentFragment();
        for (const row of body.order) moved.append(row.element);
        body.element.append(moved);
      }
    }

    turn(column) {
      const turns = this.isNumeric(column) ? ["desc", "asc", ""] : ["asc", "desc", ""];
      const now = column === this.sort.column ? this.sort.direction : "";
      const direction = turns[(turns.indexOf(now) + 1) % turns.length];
      this.sort = { column: direction ? column : null, direction };
      this.changed();
    }

    /* -- rows and columns -- */

    chooseRows() {
      const words = fold(this.words.value).split(" ").filter(Boolean);
      const chosen = this.facets.filter(({ select }) => select.value !== "");
      this.matching = 0;
      for (const body of this.bodies) {
        const before = this.matching;
        for (const row of body.order) {
          const isChosen = chosen.every(({ column, select }) => this.said(row, column).main === select.value);
          row.matches = isChosen && this.found(row, words);
          this.matching += row.matches;
          const isSeen = row.matches && this.matching <= this.limit;
          if (row.element.hidden === isSeen) row.element.hidden = !isSeen;
        }
        body.element.hidden = this.matching === before || before >= this.limit;
      }
      this.more.hidden = this.matching <= this.limit;
      this.notice.hidden = this.matching > 0 && this.more.hidden;
      const beyond = `The first ${this.limit} of ${this.matching} rows are shown. `;
      this.noticeText.data = this.matching ? beyond : "No row matches.";
    }

    showAll() {
      this.limit = Infinity;
      this.show();
    }

    isShown(column) {
      return this.boxes.get(column)?.checked ?? true;
    }

    layOutColumns() {
      const hidden = this.columns.filter((column) => !this.isShown(column));
      const wanted = hidden.map((column) => column.start).join();
      if (wanted === this.laidOut) return;
      this.laidOut = wanted;
      const places = ({ start, span }) => Array.from({ length: span }, (_, more) => start + more);
      const away = new Set(hidden.flatMap(places));
      for (const row of this.table.rows) {
        for (const { cell, start, span } of this.placed(row)) {
          let left = 0;
          for (let place = start; place < start + span; place += 1) left += !away.has(place);
          cell.hidden = left === 0;
          if (span > 1 && left > 0) cell.colSpan = left;
        }
      }
      this.columnsTitle.textContent = hidden.length ? `Columns (${hidden.length} hidden)` : "Columns";
    }

    show(note = "") {
      this.putInOrder();
      this.chooseRows();
      this.layOutColumns();
      const { column, direction } = this.sort;
      const all = this.rows.length;
      const count = this.matching === all ? counted(all) : `${this.matching} of ${counted(all)}`;
      this.count = column ? `${count}, by ${column.main}, ${DIRECTIONS[direction]}` : count;
      this.say(note);
    }

    say(note) {
      this.status.textContent = note ? `${this.count}. ${note}` : this.count;
    }

    changed() {
      this.show();
      writeLater(this);
    }

    /* -- links -- */

    /** The view as the part of a link after "?"; empty for the page's own view. */
    query() {
      const hidden = this.columns.filter((column) => !this.isShown(column)).map(({ name }) => encodeURIComponent(name));
      const { column, direction } = this.sort;
      return [
        ["q", encodeURIComponent(clean(this.words.value))],
        ["sort", column ? `${encodeURIComponent(column.name)}.${direction}` : ""],
        ["hide", hidden.join(",")],
        ...this.facets.map(({ column, select }) => [column.name, select.value].map(encodeURIComponent)),
      ].filter(([, value]) => value).map((pair) => pair.join("=")).join("&");
    }

    /** Show what a link asks for, and say what it asks for in vain. */
    open(query) {
      const asked = new URLSearchParams(query);
      const unknown = [];
      const named = (name) => this.columns.find((column) => column.name === name);
      this.words.value = asked.get("q") ?? "";
      const [, name, direction] = (asked.get("sort") ?? "").match(/^(.*)\.(asc|desc)$/) ?? [];
      const column = named(name);
      this.sort = column?.button ? { column, direction } : { column: null, direction: "" };
      if (asked.get("sort") && !this.sort.column) unknown.push(`sort=${asked.get("sort")}`);
      const hide = (asked.get("hide") ?? "").split(",").filter(Boolean);
      for (const [choice, box] of this.boxes) box.checked = !hide.includes(choice.name);
      unknown.push(...hide.filter((hidden) => !this.boxes.has(named(hidden))).map((hidden) => `hide=${hidden}`));
      for (const { select } of this.facets) select.value = "";
      for (const [key, value] of asked) {
        if (OWN_KEYS.includes(key) || !value) continue;
        const select = this.facets.find((facet) => facet.column.name === key)?.select;
        if (select && Array.from(select.options).some((option) => option.value === value)) select.value = value;
        else unknown.push(`${key}=${value}`);
      }
      this.show(unknown.length ? `The link asks for what is not here: ${brief(clean(unknown.join(", ")))}` : "");
    }

    reset() {
      this.open("");
      writeLater(this);
    }

    /* -- what the page had not -- */

    addSortButton(column) {
      // A button may hold no link and no drawing; small print is no part of the name.
      const isName = (node) =>
        node.nodeType === Node.TEXT_NODE || (INLINE.has(node.tagName) && !isSilent(node) && node.tagName !== "A");
      const nodes = Array.from(column.head.childNodes);
      const first = nodes.findIndex((node) => clean(node.textContent) && isName(node));
      if (first < 0) return;
      const end = nodes.findIndex((node, index) => index > first && !isName(node));
      column.button = button("", () => this.turn(column));
      column.button.className = "sort";
      nodes[first].before(column.button);
      column.button.append(...nodes.slice(first, end < 0 ? nodes.length : end));
    }

    addNotice() {
      const width = this.columns.reduce((sum, { span }) => sum + span, 0);
      this.noticeText = document.createTextNode("");
      this.more = button("Show all", () => {
        this.showAll();
        this.tools.nextElementSibling.focus({ preventScroll: true });
      });
      this.notice = make("tbody", { class: "notice-row" },
        make("tr", {}, make("td", { colspan: width }, this.noticeText, this.more)));
      this.table.append(this.notice);
    }

    addTools() {
      const region = this.table.closest(".scroll") ?? this.table;
      const naming = document.getElementById(region.getAttribute("aria-labelledby") ?? "") ?? this.table.caption;
      const name = region.getAttribute("aria-label") || brief(clean(naming?.textContent ?? "")) || this.table.id;
      this.words = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
      this.words.addEventListener("input", () => this.changed());
      // All texts are read before the first key, not at it.
      this.words.addEventListener("focus", () => this.rows.forEach((row) => this.folded(row)), { once: true });
      this.facets = this.facetColumns().map((column) => ({ column, select: this.facet(column) }));
      this.columnsTitle = make("summary", {}, "Columns");
      const removable = this.columns.filter((column) => column.main && !this.fixed.includes(column));
      this.boxes = new Map(removable.map((column) => [column, this.box()]));
      this.status = make("p", { role: "status" });
      this.tools = make("div", { class: "table-tools", role: "group", "aria-label": `Tools of the table: ${name}` },
        make("label", {}, "Filter", this.words),
        ...this.facets.map(({ column, select }) => make("label", {}, column.main, select)),
        make("div", { class: "buttons" },
          ...Object.keys(FORMATS).map((format) => button(`Copy ${format}`, () => this.copyTable(format))),
          button("Copy link", () => this.copyLink()),
          button("Reset", () => this.reset())),
        make("details", {}, this.columnsTitle, make("fieldset", {}, make("legend", {}, "Columns to show"),
          ...Array.from(this.boxes, ([column, box]) => make("label", {}, box, this.label(column))))),
        this.status);
      region.before(this.tools);
    }

    facetColumns() {
      const names = (this.table.dataset.filters ?? "").split(/\s+/).filter((name) => !OWN_KEYS.includes(name));
      return names.map((name) => this.columns.find((column) => column.name === name)).filter(Boolean);
    }

    facet(column) {
      const texts = new Set(this.rows.map((row) => this.said(row, column).main).filter(Boolean));
      const options = Array.from(texts).sort(collator.compare).map((text) => new Option(brief(text), text));
      const select = make("select", { autocomplete: "off" }, new Option("All", ""), ...options);
      select.addEventListener("change", () => this.changed());
      return select;
    }

    box() {
      const box = make("input", { type: "checkbox", autocomplete: "off", checked: "" });
      box.addEventListener("change", () => this.changed());
      return box;
    }

    /* -- copies of the rows that match and the columns shown, in their order -- */

    label({ main, small }) {
      return small ? `${main} (${small})` : main;
    }

    whole(row, column) {
      return Object.values(this.said(row, column)).filter(Boolean).join(" ");
    }

    seen() {
      return this.copied((column) => [
        { name: this.label(column), text: (row) => this.whole(row, column), isNumeric: this.isNumeric(column) },
      ]);
    }

    /** The same with each column of numbers free of words, which have a column of their own after it. */
    seenApart() {
      return this.copied((column) => {
        const name = this.label(column);
        if (!this.isNumeric(column)) return [{ name, text: (row) => this.whole(row, column) }];
        const told = new Map(this.rows.filter((row) => row.matches).map((row) => [row, readApart(this.cell(row, column))]));
        const rest = { name: `${name}, more`, text: (row) => told.get(row).rest, isRest: true };
        const hasRest = Array.from(told.values()).some((cell) => cell.rest);
        return [{ name, text: (row) => told.get(row).first, isNumeric: true }, ...(hasRest ? [rest] : [])];
      });
    }

    /** Head and rows of a copy; `parts` makes of a shown column those of the copy. */
    copied(parts) {
      const columns = this.columns.filter((column) => this.isShown(column)).flatMap(parts);
      const groups = new Map(this.bodies.flatMap(({ order, heading }) =>
        order.filter((row) => row.matches).map((row) => [row, heading ? read(heading).main : ""])));
      // A heading over several rows becomes a word in each: every line stands for itself.
      if (this.isGrouped()) columns.unshift({ name: "Group", text: (row) => groups.get(row) });
      return {
        head: columns.map(({ name }) => name),
        numeric: columns.map(({ isNumeric }) => Boolean(isNumeric)),
        rests: columns.map(({ isRest }) => Boolean(isRest)),
        rows: Array.from(groups.keys(), (row) => columns.map(({ text }) => text(row))),
      };
    }

    isGrouped() {
      return this.bodies.some(({ heading }) => heading);
    }

    async copy(text, told) {
      this.say((await copy(text)) ? told : "Not copied: the text is shown to be copied by hand.");
    }

    copyTable(format) {
      const seen = format === "CSV" ? this.seenApart() : this.seen();
      return this.copy(FORMATS[format](seen), `Copied ${counted(seen.rows.length)} as ${format}.`);
    }

    copyLink() {
      return this.copy(`${location.href.replace(/#.*/s, "")}#${hashOf(this, true)}`, "Copied a link to this view.");
    }
  }

  /* ---- the location's hash ---- */

  const views = [];
  let written = null;
  let waiting = 0;

  /** The hash of all views; opening it scrolls to the first. */
  function hashOf(first, always = false) {
    const parts = [first, ...views.filter((view) => view !== first)]
      .map((view) => ({ view, id: encodeURIComponent(view.table.id), query: view.query() }))
      .filter(({ view, query }) => query || (always && view === first))
      .map(({ id, query }) => `${id}?${query}`);
    // Nothing but the place of a table: an anchor as any other.
    return parts.length === 1 ? parts[0].replace(/\?$/, "") : parts.join(";");
  }

  // Browsers refuse a page that writes its location at every key.
  function writeLater(view) {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      written = hashOf(view);
      try {
        history.replaceState(history.state, "", written ? `#${written}` : location.href.replace(/#.*/s, ""));
      } catch {
        location.hash = written;
      }
    }, 250);
  }

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  function follow() {
    const hash = location.hash.slice(1);
    const isAnchor = hash !== "" && (!hash.includes("?") || document.getElementById(decoded(hash)));
    if (isAnchor || hash === written) return;
    clearTimeout(waiting);
    written = hash;
    const asked = new Map(hash.split(";").filter(Boolean).map((part) => {
      const [id, ...query] = part.split("?");
      return [decoded(id), query.join("?")];
    }));
    for (const view of views) view.open(asked.get(view.table.id) ?? "");
    const known = views.filter((view) => asked.has(view.table.id));
    const strange = Array.from(asked.keys()).filter((id) => !known.some((view) => view.table.id === id));
    if (strange.length) views[0].say(`The link names a table that is not here: ${brief(clean(strange.join(", ")))}`);
    known.find((view) => view.table.id === asked.keys().next().value)?.tools.scrollIntoView();
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tHead?.rows.length && table.querySelector("tbody tr:not(.group)")) views.push(new View(table));
  }
  if (views.length === 0) return;
  for (const view of views) view.show();
  if (location.hash) follow();
  window.addEventListener("hashchange", follow);
  // Paper has no button to press.
  window.addEventListener("beforeprint", () => views.forEach((view) => view.showAll()));
})();
