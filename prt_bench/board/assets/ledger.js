"use strict";

/* The guide of the front page and the ledger, live: both answer again for what the reader asks. Everything that is
   here at the start stands on the page without scripts too, in the same words. */
(() => {
  // ---- numbers, written as on every other page -------------------------------------------------------------------

  /** To so many significant digits; exact ties go to the even one. */
  function rounded(value, count) {
    if (!value || !Number.isFinite(value)) return value;
    const [mantissa, exponent] = Math.abs(value).toExponential(60).split("e");
    const all = mantissa.replace(".", "");
    const kept = Number(all.slice(0, count));
    const rest = all.slice(count);
    const tie = /^50*$/.test(rest);
    const near = kept + (tie ? kept % 2 : rest[0] >= "5" ? 1 : 0);
    return Math.sign(value) * Number(`${near}e${Number(exponent) - count + 1}`);
  }

  /** Three significant digits, without zeros at the end. */
  function general(value) {
    const near = rounded(value, 3);
    const [mantissa, exponent] = near.toExponential().split("e");
    if (near && (exponent < -4 || exponent >= 3)) {
      return `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
    }
    return String(near);
  }

  function number(value) {
    if (value < 999.5) return general(value);
    const floor = Math.floor(value);
    const over = value - floor;
    return (floor + (over > 0.5 || (over === 0.5 && floor % 2) ? 1 : 0)).toLocaleString("en-US");
  }

  const COUNTS = [[1, "", ""], [1e3, "k", "thousand"], [1e6, "M", "million"], [1e9, "bn", "billion"], [1e12, "tn", "trillion"]];

  /** How many: 3.53 M, or in words 3.53 million. */
  function counted(value, words) {
    const near = rounded(value, 3);
    if (near && !(near >= 1e-3 && near < 1e15)) return general(value);
    const [size, short, long] = COUNTS.findLast(([least]) => near >= least) ?? COUNTS[0];
    return `${rounded(value / size, 3)} ${words ? long : short}`.trim();
  }

  const PREFIXES = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];

  function inFlops(value, unit = "") {
    const near = rounded(value, 3);
    let place = 0;
    while (place < PREFIXES.length - 1 && near >= 1000 ** (place + 1)) place += 1;
    return `${number(value / 1000 ** place)} ${PREFIXES[place]}${unit}`.trim();
  }

  const TIMES = [[1e-6, "µs"], [1e-3, "ms"], [1, "s"], [120, "min", 60], [7200, "h", 3600], [172800, "days", 86400], [63072000, "years", 31536000]];

  function inSeconds(value) {
    if (!value) return "0";
    const [least, unit, size] = TIMES.findLast(([from]) => value >= from) ?? TIMES[0];
    return `${number(value / (size ?? least))} ${unit}`;
  }

  const many = (count, one, several = `${one}s`) => `${counted(count, true)} ${count === 1 ? one : several}`;
  const LISTED = 3;

  /** The first few, and how many others there are. */
  function listed(names, word = "and") {
    const more = names.length - LISTED;
    const shown = more > 0 ? [...names.slice(0, LISTED), `${more} other${more === 1 ? "" : "s"}`] : names;
    return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} ${word} ${shown.at(-1)}`;
  }

  // ---- small tools ----------------------------------------------------------------------------------------------

  const TIE = 1e-9;

  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function draw(tag, attributes = {}, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  /** What the address asks of the part of this name. */
  function asked(name) {
    const [id, query] = location.hash.slice(1).split("?");
    return id === name ? new URLSearchParams(query ?? "") : null;
  }

  function keep(name, values) {
    history.replaceState(null, "", `#${name}?${new URLSearchParams(values)}`);
  }

  /** A labelled input; `read` gives its value, or null where there is none that can be used. */
  function field(label, attributes, read, changed) {
    const input = make("input", { type: "text", autocomplete: "off", ...attributes });
    input.addEventListener("input", () => {
      const value = read(input.value);
      input.toggleAttribute("aria-invalid", value === null);
      if (value === null) input.setAttribute("aria-invalid", "true");
      else changed(value);
    });
    return [make("label", {}, make("span", {}, label), input), input];
  }

  function choice(label, options, changed) {
    const select = make("select");
    for (const [value, text] of options) select.append(make("option", { value }, text));
    select.addEventListener("change", () => changed(select.value));
    return [make("label", {}, make("span", {}, label), select), select];
  }

  const MOST = 1e30;

  /** 3, 1e6, 1,000,000 or 1 M. */
  function amount(text) {
    const found = /^([\d.]+(?:e\+?\d+)?)(k|m|bn|tn)?$/i.exec(text.replace(/[\s,_]/g, ""));
    const size = { k: 1e3, m: 1e6, bn: 1e9, tn: 1e12 }[found?.[2]?.toLowerCase()] ?? 1;
    const value = found ? Number(found[1]) * size : NaN;
    return value > 0 && value <= MOST ? value : null;
  }

  const points = (text) => (/^\d+(\.\d*)?$/.test(text.trim()) && Number(text) <= 100 ? Number(text) : null);
  const plain = (value) => (value >= 1e5 && Number.isInteger(Math.log10(value)) ? `1e${Math.log10(value)}` : String(value));

  // ---- the guide ------------------------------------------------------------------------------------------------

  /** What costs the fewest FLOPs of what is good enough: [lead, sentence, counts]. */
  function answer(data, ways, upgrades, queries, within) {
    const counts = ways.map(() => 0);
    let tables = 0;
    let unpriced = 0;
    for (let at = 0; at < data.entries[0].length; at += 1) {
      const entries = ways.map((way) => data.entries[way][at]);
      const best = Math.max(0, ...entries.filter(Boolean).map(([score]) => score));
      const good = [...entries.keys()].filter((place) => entries[place] && entries[place][0] >= best - within / 100 - TIE);
      const priced = good.filter((place) => entries[place].length > 1);
      const total = (place) => entries[place][1] + upgrades * entries[place][2] + queries * entries[place][3];
      if (priced.length < good.length) unpriced += 1;
      if (!priced.length) continue;
      tables += 1;
      const lowest = Math.min(...priced.map(total));
      for (const place of priced) if (total(place) === lowest) counts[place] += 1;
    }
    return [...told(ways.map((way) => data.names[way]), counts, tables, unpriced, upgrades, queries, within), counts];
  }

  function told(names, counts, tables, unpriced, upgrades, queries, within) {
    if (!tables) return ["Not known", "no cost is known of anything that is good enough."];
    const of = (count) => `${count} of ${tables} table${tables === 1 ? "" : "s"}`;
    const most = Math.max(...counts);
    const at = `at ${many(upgrades, "upgrade")} and ${many(queries, "query", "queries")} in all`;
    const bound = within === 0 ? "has the best score" : `comes within ${many(within, "point")} of the best score`;
    let lead = "It depends on the table";
    let text;
    if (2 * most > tables) {
      lead = listed(names.filter((_, place) => counts[place] === most), "or");
      text = `the fewest FLOPs on ${of(most)}`;
    } else {
      const order = [...counts.keys()].filter((place) => counts[place]).sort((one, other) => counts[other] - counts[one]);
      text = `the fewest FLOPs: ${listed(order.map((place) => `${names[place]} on ${counts[place]}`))} of ${of(0).slice(5)}`;
    }
    const gap = unpriced ? ` On ${of(unpriced)} something as good has no known cost.` : "";
    return [lead, `${text}, counting all that ${bound}, ${at}.${gap}`];
  }

  function guides() {
    const found = [...document.querySelectorAll(".guide")].map((element) => ({
      element,
      data: JSON.parse(element.querySelector(".guide-data").textContent),
      situations: [...element.querySelectorAll(".situation")],
    }));
    if (!found.length) return;
    const [upgrades, queries, within] = found[0].data.asked;
    const state = { labels: "any", weights: "any", upgrades, queries, points: within };
    const forms = found.map((one) => form(one));

    function form({ element }) {
      const set = (name) => (value) => {
        state[name] = value;
        keep("guide", state);
        show(element);
      };
      const parts = {
        labels: choice("Labelled data for the target", [["any", "either"], ["yes", "yes"], ["no", "no"]], set("labels")),
        weights: choice("Of the target I have", [["any", "either"], ["weights", "its weights"], ["outputs", "only its outputs"]], set("weights")),
        upgrades: field("Upgrades", { inputmode: "numeric" }, amount, set("upgrades")),
        queries: field("Queries in all", { inputmode: "text" }, amount, set("queries")),
        points: field("Points to give up", { inputmode: "decimal" }, points, set("points")),
      };
      const made = make("form", { class: "controls", "aria-label": "What I have" }, ...Object.values(parts).map(([label]) => label));
      made.addEventListener("submit", (event) => event.preventDefault());
      element.prepend(made);
      return Object.fromEntries(Object.entries(parts).map(([name, [, input]]) => [name, input]));
    }

    function fits(having) {
      const labels = having.startsWith("labels");
      const weights = having.endsWith("weights");
      return (state.labels === "any" || (state.labels === "yes") === labels) &&
        (state.weights === "any" || (state.weights === "weights") === weights);
    }

    /** `from` holds the form that the reader is writing in: it is left as it is. */
    function show(from) {
      found.forEach(({ element, data, situations }, place) => {
        for (const [name, input] of Object.entries(forms[place])) {
          if (element !== from || input !== document.activeElement) input.value = typeof state[name] === "number" ? plain(state[name]) : state[name];
        }
        situations.forEach((situation, at) => {
          situation.hidden = !situation.dataset.having.split(" ").some(fits);
          const [lead, why, counts] = answer(data, data.situations[at], state.upgrades, state.queries, state.points);
          situation.querySelector(".lead-answer").textContent = lead;
          situation.querySelector(".why").textContent = why;
          situation.querySelectorAll("td.cheapest").forEach((cell, row) => {
            cell.textContent = counts[row];
          });
        });
      });
    }

    function read() {
      const given = asked("guide");
      if (!given) return;
      for (const name of ["labels", "weights"]) {
        const known = [...forms[0][name].options].map((option) => option.value);
        if (known.includes(given.get(name))) state[name] = given.get(name);
      }
      for (const name of ["upgrades", "queries"]) state[name] = amount(given.get(name) ?? "") ?? state[name];
      state.points = points(given.get("points") ?? "") ?? state.points;
    }

    read();
    show();
    addEventListener("hashchange", () => {
      read();
      show();
    });
    for (const { situations } of found) for (const one of situations) one.querySelector(".answer").setAttribute("aria-live", "polite");
  }

  // ---- the ledger: arithmetic -----------------------------------------------------------------------------------

  const ROLES = ["floor", "method", "reference"];

  function unpacked(data, table) {
    const lines = table.lines.map(([name, role, score, ...costs], place) => ({
      place, name: data.names[name], role: ROLES[role], score,
      costs: { flops: costs.slice(0, 3), seconds: costs.length > 3 ? costs.slice(3) : [null, null, null] },
      gap: table.gaps?.[place] ?? "",
    }));
    let tone = 0;
    for (const line of lines) line.tone = line.role === "floor" ? "aside" : `tone-${tone++ % 8}`;
    return { ...table, lines, best: lines[table.reference], untimed: data.names[table.untimed] ?? "" };
  }

  const known = (line, unit) => line.costs[unit].every((term) => term !== null);
  const total = (line, unit, upgrades, queries) =>
    known(line, unit) ? line.costs[unit][0] + upgrades * line.costs[unit][1] + queries * line.costs[unit][2] : null;

  /** Methods that may be called cheapest, best score first. Never floors. */
  function eligible(table, within) {
    const bound = within === null ? -Infinity : table.best.score - within / 100 - TIE;
    return table.lines.filter((line) => line.role !== "floor" && line.score >= bound).sort((one, other) => other.score - one.score);
  }

  function cheapest(lines, unit, upgrades, queries) {
    const totals = lines.map((line) => total(line, unit, upgrades, queries));
    const lowest = Math.min(...totals.filter((value) => value !== null));
    return lines.filter((_, place) => totals[place] === lowest);
  }

  /** The lower envelope of lines start + slope · x, from x = 0 on: [{from, to, line}]. */
  function envelope(lines) {
    if (!lines.length) return [];
    const found = [];
    let here = 0;
    let now = lines.reduce((least, one) => (one.start < least.start || (one.start === least.start && one.slope < least.slope) ? one : least));
    for (;;) {
      const lower = lines.filter((one) => one.slope < now.slope);
      if (!lower.length) return [...found, { from: here, to: Infinity, line: now.line }];
      const start = now;
      const at = (one) => (one.start - start.start) / (start.slope - one.slope);
      const after = lower.reduce((least, one) => (at(one) < at(least) || (at(one) === at(least) && one.slope < least.slope) ? one : least));
      if (at(after) > here) found.push({ from: here, to: at(after), line: now.line });
      here = Math.max(here, at(after));
      now = after;
    }
  }

  const overQueries = (lines, unit, upgrades) => envelope(lines.filter((line) => known(line, unit)).map((line) =>
    ({ line, start: total(line, unit, upgrades, 0), slope: line.costs[unit][2] })));
  const overUpgrades = (lines, unit, queries) => envelope(lines.filter((line) => known(line, unit)).map((line) =>
    ({ line, start: total(line, unit, 0, queries), slope: line.costs[unit][1] })));

  /** Where a line costs less than another one, whose difference is start + slope · x. */
  function less(start, slope) {
    if (start === 0 && slope === 0) return "the same";
    if (start <= 0 && slope <= 0) return "always";
    if (start >= 0 && slope >= 0) return "never";
    // Who counts from 1 never meets it.
    if (-start / slope < 1) return slope > 0 ? "never" : "always";
    return slope > 0 ? `up to ${counted(-start / slope)}` : `from ${counted(-start / slope)} on`;
  }

  function lessThan(line, other, unit, upgrades, queries) {
    if (line === other) return ["reference", "reference"];
    if (!known(line, unit) || !known(other, unit)) return ["not known", "not known"];
    const [once, upgrade, query] = line.costs[unit].map((term, place) => term - other.costs[unit][place]);
    return [less(once + upgrades * upgrade, query), less(once + queries * query, upgrade)];
  }

  // ---- the ledger: pictures -------------------------------------------------------------------------------------

  const HEIGHT = 300;
  const APART = 16;
  const STEPS = 120;
  const QUERIES = [1, 1e12];
  const DASHES = ["", "8 3", "2 2", "9 3 2 3", "14 4", "4 4", "1 4", "12 3 2 3 2 3"];
  const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

  /** Round values between two: powers of ten, or 1, 2 and 5 where there are few. */
  function powers(low, high) {
    const first = Math.floor(Math.log10(low));
    const last = Math.ceil(Math.log10(high));
    const digits = last - first <= 3 && Math.log10(high / low) < 2.5 ? [1, 2, 5] : [1];
    const all = [];
    for (let power = first; power <= last; power += 1) all.push(...digits.map((digit) => Number(`${digit}e${power}`)));
    const within = all.filter((value) => low * 0.999 <= value && value <= high * 1.001);
    return within.filter((_, place) => place % (within.length > 9 ? 3 : 1) === 0);
  }

  const CLOCK = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 18000, 43200, 86400, 172800, 432000, 864000, 2592000, 8640000, 31536000];

  /** Times that people tell. */
  function times(low, high) {
    const within = CLOCK.filter((value) => low <= value && value <= high);
    return within.length > 1 ? within : powers(low, high);
  }

  /** Places of labels, in order, APART from each other, between 0 and HEIGHT, else as near to their own as can be. */
  function spread(pixels) {
    const order = [...pixels.keys()].sort((one, other) => pixels[one] - pixels[other]);
    const pools = [];
    order.forEach((which, place) => {
      let pool = [pixels[which] - place * APART, 1];
      while (pools.length && pools.at(-1)[0] > pool[0]) {
        const [mean, size] = pools.pop();
        pool = [(mean * size + pool[0] * pool[1]) / (size + pool[1]), size + pool[1]];
      }
      pools.push(pool);
    });
    const last = HEIGHT - (order.length - 1) * APART;
    const means = pools.flatMap(([mean, size]) => Array(size).fill(Math.max(0, Math.min(mean, last))));
    const places = [];
    order.forEach((which, place) => { places[which] = means[place] + place * APART; });
    return places;
  }

  function scale(low, high, from, to) {
    const factor = (to - from) / Math.log(high / low);
    const place = (value) => from + factor * Math.log(value / low);
    place.back = (pixel) => low * Math.exp((pixel - from) / factor);
    return place;
  }

  /** An empty panel with both axes. */
  function panel(width, room, x, y, xs, ys, xTitle, yText, xText) {
    const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT + 62}`, width, height: HEIGHT + 62, "aria-hidden": "true" });
    const inside = draw("g", { transform: `translate(${room.left} 14)` });
    for (const value of xs) {
      inside.append(draw("line", { class: "grid", x1: x(value), x2: x(value), y1: 0, y2: HEIGHT }),
        draw("text", { class: "tick", x: x(value), y: HEIGHT + 18, "text-anchor": "middle" }, xText(value)));
    }
    for (const value of ys) {
      inside.append(draw("line", { class: "grid", x1: 0, x2: width - room.left - room.right, y1: y(value), y2: y(value) }),
        draw("text", { class: "tick", x: -8, y: y(value) + 4, "text-anchor": "end" }, yText(value)));
    }
    inside.append(draw("text", { class: "tick", x: (width - room.left - room.right) / 2, y: HEIGHT + 38, "text-anchor": "middle" }, xTitle));
    svg.append(inside);
    return [svg, inside];
  }

  /** Totals against upgrades, every line labelled at its end. */
  function totals(table, good, state, width, text) {
    const narrow = width < 460;
    const room = { left: 62, right: narrow ? 126 : 190 };
    const across = width - room.left - room.right;
    const most = Math.max(100, 10 ** Math.ceil(Math.log10(state.upgrades)));
    const lines = table.lines.filter((line) => total(line, state.unit, most, state.queries) > 0 && total(line, state.unit, 1, state.queries) > 0);
    if (!lines.length) return null;
    const ends = lines.flatMap((line) => [1, most].map((at) => total(line, state.unit, at, state.queries)));
    const [low, high] = [Math.min(...ends) / 1.3, Math.max(...ends) * 1.3];
    const x = scale(1, most, 0, across);
    const y = scale(low, high, HEIGHT, 0);
    const [svg, inside] = panel(width, room, x, y, powers(1, most), (state.unit === "flops" ? powers : times)(low, high), "upgrades", text, counted);
    inside.append(draw("line", { class: "here", x1: x(state.upgrades), x2: x(state.upgrades), y1: 0, y2: HEIGHT }));
    const places = spread(lines.map((line) => y(total(line, state.unit, most, state.queries))));
    const ordered = [...lines.keys()].sort((one, other) => good.includes(lines[one]) - good.includes(lines[other]));
    for (const place of ordered) {
      const line = lines[place];
      const tone = good.includes(line) ? line.tone : "aside";
      let path = "";
      for (let step = 0; step <= STEPS; step += 1) {
        const at = most ** (step / STEPS);
        path += `${step ? "L" : "M"}${x(at).toFixed(1)} ${y(total(line, state.unit, at, state.queries)).toFixed(1)}`;
      }
      const end = y(total(line, state.unit, most, state.queries));
      const name = cut(line.name, narrow ? 15 : 19) + (narrow ? "" : `, ${(100 * line.score).toFixed(1)}`);
      inside.append(draw("g", { class: tone },
        draw("title", {}, line.name),
        draw("path", { class: "line", d: path, "stroke-dasharray": DASHES[line.place % DASHES.length] }),
        draw("circle", { class: "dot", r: 3.5, cx: x(state.upgrades), cy: y(total(line, state.unit, state.upgrades, state.queries)) }),
        draw("path", { class: "leader", d: `M${across + 2} ${end}L${across + 14} ${places[place]}h4` }),
        draw("text", { class: "name", x: across + 22, y: places[place] + 4 }, name)));
    }
    return svg;
  }

  /** Who is cheapest, over upgrades and queries; calls `chosen` with the place that is pointed at. */
  function map(good, state, width, chosen) {
    const room = { left: 62, right: 14 };
    const across = width - room.left - room.right;
    const most = Math.max(100, 10 ** Math.ceil(Math.log10(state.upgrades)));
    const [few, lots] = [QUERIES[0], Math.max(QUERIES[1], 10 ** Math.ceil(Math.log10(state.queries)))];
    const x = scale(1, most, 0, across);
    const y = scale(few, lots, HEIGHT, 0);
    const columns = Array.from({ length: STEPS + 1 }, (_, step) => most ** (step / STEPS));
    // Where regions begin or end at the edges, a step of the grid would show as a gap.
    for (const edge of [few, lots]) {
      for (const part of overUpgrades(good, state.unit, edge)) {
        for (const side of [1 - 1e-6, 1 + 1e-6]) if (part.from * side > 1 && part.from * side < most) columns.push(part.from * side);
      }
    }
    columns.sort((one, other) => one - other);
    const runs = [];
    const open = new Map();
    columns.forEach((at, column) => {
      for (const { from, to, line } of overQueries(good, state.unit, at)) {
        if (from >= lots || to <= few) continue;
        let run = open.get(line);
        if (!run || run.last !== column - 1) {
          run = { line, spots: [] };
          runs.push(run);
          open.set(line, run);
        }
        run.last = column;
        run.spots.push({ x: x(at), bottom: y(Math.max(from, few)), top: y(Math.min(to, lots)) });
      }
    });
    if (!runs.length) return null;
    const [svg, inside] = panel(width, room, x, y, powers(1, most), powers(few, lots), "upgrades", counted, counted);
    const names = draw("g");
    const here = [x(state.upgrades), y(state.queries)];
    // A name that the cross would strike through stands above it.
    const aside = ([middle, down], name) =>
      Math.abs(middle - here[0]) < 3.8 * name.length + 12 && Math.abs(down - here[1]) < 14 && here[1] > 30 ? here[1] - 14 : down + 4;
    for (const { line, spots } of runs) {
      const path = [...spots.map((spot) => `${spot.x.toFixed(1)} ${spot.top.toFixed(1)}`),
        ...spots.toReversed().map((spot) => `${spot.x.toFixed(1)} ${spot.bottom.toFixed(1)}`)].join("L");
      inside.append(draw("path", { class: `region ${line.tone}`, d: `M${path}Z` }, draw("title", {}, line.name)));
      const spot = roomiest(spots, line.name);
      if (spot) names.append(draw("text", { class: `name ${line.tone}`, "text-anchor": "middle", x: spot[0], y: aside(spot, line.name) }, line.name));
    }
    inside.append(names, draw("path", { class: "cross", d: `M${here[0] - 7} ${here[1]}h14M${here[0]} ${here[1] - 7}v14` }));
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      const upgrades = x.back(Math.max(0, Math.min(across, (event.clientX - box.left) * width / box.width - room.left)));
      const queries = y.back(Math.max(0, Math.min(HEIGHT, (event.clientY - box.top) * width / box.width - 14)));
      chosen(Math.max(1, Math.round(rounded(upgrades, 2))), Math.max(1, rounded(queries, 2)));
    };
    svg.addEventListener("pointerdown", point);
    svg.classList.add("choose");
    return svg;
  }

  /** Where the name of a region has the most room on all sides; null where it has none. */
  function roomiest(spots, name) {
    let best = null;
    for (const spot of spots) {
      const middle = (spot.top + spot.bottom) / 2;
      const inside = spots.filter((other) => other.top <= middle && middle <= other.bottom).map((other) => other.x);
      const aside = Math.min(spot.x - Math.min(...inside), Math.max(...inside) - spot.x) - 3.8 * name.length;
      const room = Math.min(aside, (spot.bottom - spot.top) / 2 - 8);
      if (room > 0 && (!best || room > best[2])) best = [spot.x, middle, room];
    }
    return best;
  }

  // ---- the ledger: the page -------------------------------------------------------------------------------------

  const FACTS = ["pair", "task", "track", "recipe", "version"];
  const UNITS = { flops: ["FLOPs", (value) => inFlops(value), (value) => inFlops(value, "FLOPs")], seconds: ["time", inSeconds, inSeconds] };

  function ledger() {
    const place = document.getElementById("ledger");
    if (!place) return;
    const data = JSON.parse(document.getElementById("ledger-data").textContent);
    const [upgrades, queries, within] = data.asked;
    const state = { table: 0, unit: "flops", upgrades, queries, within };
    const pairs = [...new Set(data.tables.map((table) => table.pair))];
    const arrow = (pair) => pair.replace(":", " → ");

    const set = (change) => {
      Object.assign(state, change);
      const table = data.tables[state.table];
      keep("ledger", { ...Object.fromEntries(FACTS.map((fact) => [fact, table[fact]]).filter(([, value]) => value)),
        ...(state.unit === "flops" ? {} : { unit: state.unit }),
        upgrades: plain(state.upgrades), queries: plain(state.queries), within: state.within ?? "any" });
      show();
    };
    const first = (test) => data.tables.findIndex(test);
    const [pairLabel, pairSelect] = choice("Pair", pairs.map((pair) => [pair, arrow(pair)]), (pair) => {
      const task = data.tables[state.table].task;
      const same = first((table) => table.pair === pair && table.task === task);
      set({ table: same < 0 ? first((table) => table.pair === pair) : same });
    });
    const [taskLabel, taskSelect] = choice("Task", [], (value) => set({ table: Number(value) }));
    const [unitLabel, unitSelect] = choice("Unit", [["flops", "FLOPs"], ["seconds", "time"]], (unit) => set({ unit }));
    const [upgradesLabel, upgradesInput] = field("Upgrades", { inputmode: "numeric" }, amount, (value) => set({ upgrades: value }));
    const [queriesLabel, queriesInput] = field("Queries in all", {}, amount, (value) => set({ queries: value }));
    const [withinLabel, withinInput] = field("Points to give up", { inputmode: "decimal", placeholder: "any" },
      (text) => (text.trim() ? points(text) : Infinity), (value) => set({ within: value === Infinity ? null : value }));
    const form = make("form", { class: "controls", "aria-label": "What to show" }, pairLabel, taskLabel, unitLabel, upgradesLabel, queriesLabel, withinLabel);
    form.addEventListener("submit", (event) => event.preventDefault());
    const sentence = make("p", { class: "answer", role: "status" });
    const along = make("p", { class: "along" });
    const notes = make("p", { class: "small muted" });
    const left = make("figure");
    const right = make("figure");
    const twin = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The picture as a table" });
    pairLabel.className = "wide";
    place.classList.add("live");
    place.append(form, sentence, make("div", { class: "panels" }, left, right), along,
      make("details", {}, make("summary", {}, "The same as a table"), twin), notes);

    function show() {
      const table = unpacked(data, data.tables[state.table]);
      const timed = !table.untimed;
      unitSelect.options[1].disabled = !timed;
      const unit = timed ? state.unit : "flops";
      const asking = { ...state, unit };
      const good = eligible(table, state.within);
      const best = cheapest(good, unit, state.upgrades, state.queries);
      controls(table, unit);
      sentence.textContent = says(table, good, best, asking);
      along.textContent = sections(good, asking);
      notes.textContent = !timed ? `No time is added up: ${table.untimed}.` : unit === "flops" ? ""
        : `On ${data.hardware[table.hardware]}: the time of one tuning, and of the median query at batch 1.`;
      pictures(table, good, asking);
      twin.replaceChildren(tabular(table, good, best, asking));
    }

    function controls(table, unit) {
      pairSelect.value = table.pair;
      const same = data.tables.map((one, at) => [one, at]).filter(([one]) => one.pair === table.pair);
      const varied = ["track", "recipe", "version"].filter((fact) => new Set(same.map(([one]) => one[fact])).size > 1);
      taskSelect.replaceChildren(...same.map(([one, at]) =>
        make("option", { value: at }, [one.task, ...varied.map((fact) => one[fact])].filter(Boolean).join(", "))));
      taskSelect.value = state.table;
      unitSelect.value = unit;
      for (const [input, value] of [[upgradesInput, plain(state.upgrades)], [queriesInput, plain(state.queries)], [withinInput, state.within ?? ""]]) {
        if (input !== document.activeElement) {
          input.value = value;
          input.removeAttribute("aria-invalid");
        }
      }
    }

    function pictures(table, good, asking) {
      const wide = place.clientWidth >= 900;
      const width = Math.floor(wide ? (place.clientWidth - 32) / 2 : place.clientWidth);
      const [name, text] = UNITS[asking.unit];
      const nothing = () => make("p", { class: "muted" }, "No method has a total.");
      left.replaceChildren(make("figcaption", {}, `Total ${name} at ${many(asking.queries, "query", "queries")}`),
        totals(table, good, asking, width, (value) => text(value)) ?? nothing());
      right.replaceChildren(make("figcaption", {}, `Cheapest in ${name}: queries over upgrades`),
        map(good, asking, width, (upgrades, queries) => set({ upgrades, queries })) ?? nothing());
    }

    const near = () => (state.within === null ? "" : `within ${many(state.within, "point")} of `);

    function says(table, good, best, { unit, upgrades: many1, queries: many2 }) {
      const tell = (line) => {
        const value = total(line, unit, many1, many2);
        return value === null ? "–" : UNITS[unit][2](value);
      };
      const at = `${many(many1, "upgrade")} and ${many(many2, "query", "queries")}`;
      const reference = table.best;
      if (good.length === 1) return `Nothing else comes ${near()}${reference.name}: ${tell(reference)} at ${at}.`;
      const those = state.within === null ? `all ${good.length}` : `the ${good.length} that come ${near()}${reference.name}`;
      if (!best.length) return `At ${at} no total is known of ${those}.`;
      const names = best.map((line) => line.name).join(" and ");
      const says = `At ${at} ${names} ${best.length === 1 ? "is" : "are"} the cheapest of ${those}: ${tell(best[0])}`;
      return best.includes(reference) ? `${says}.` : `${says}, against ${tell(reference)}.`;
    }

    /** The map in words, along both lines through the place that is asked for. */
    function sections(good, { unit, upgrades: many1, queries: many2 }) {
      const tell = (parts) => parts.filter(({ to }) => to >= 1).map(({ to, line }, at) =>
        (to === Infinity ? `${at ? "then " : ""}${line.name}` : `${line.name} up to ${counted(to)}`)).join(", ");
      const one = overQueries(good, unit, many1);
      const other = overUpgrades(good, unit, many2);
      if (!one.length) return "";
      return `Cheapest at ${many(many1, "upgrade")}, by queries: ${tell(one)}. At ${many(many2, "query", "queries")}, by upgrades: ${tell(other)}.`;
    }

    function tabular(table, good, best, { unit, upgrades: many1, queries: many2 }) {
      const [name, text] = UNITS[unit];
      const tell = (value) => (value === null ? "–" : text(value));
      const head = make("tr");
      for (const title of ["Method", "Score, %", "Once", "Per upgrade", "Per query", "In all"]) head.append(make("th", { scope: "col" }, title));
      head.append(make("th", { scope: "col", colspan: "2" }, `Costs less than ${table.best.name}`,
        make("small", {}, `queries at ${many(many1, "upgrade")} · upgrades at ${many(many2, "query", "queries")}`)));
      const body = make("tbody");
      for (const line of table.lines) {
        const heading = make("th", { scope: "row" }, line.name);
        if (best.includes(line)) heading.append(make("small", {}, "cheapest"));
        else if (line.role !== "floor" && !good.includes(line)) heading.append(make("small", {}, `not within ${state.within}`));
        if (line.gap && unit === "flops") heading.append(make("small", {}, line.gap));
        const cells = [number1(line.score), ...line.costs[unit].map(tell), tell(total(line, unit, many1, many2)),
          ...lessThan(line, table.best, unit, many1, many2)];
        body.append(make("tr", { class: best.includes(line) ? "cheap" : line.role }, heading, ...cells.map((cell) => make("td", {}, cell))));
      }
      return make("table", {}, make("caption", {}, make("div", {}, `${name}; a query is one ${table.unit}`)), make("thead", {}, head), body);
    }

    function read() {
      const given = asked("ledger");
      if (!given) return;
      const wanted = FACTS.filter((fact) => given.get(fact) !== null);
      const found = first((table) => wanted.every((fact) => table[fact] === given.get(fact)));
      if (found >= 0) state.table = found;
      if (given.get("unit") in UNITS) state.unit = given.get("unit");
      for (const name of ["upgrades", "queries"]) state[name] = amount(given.get(name) ?? "") ?? state[name];
      state.within = given.get("within") === "any" ? null : points(given.get("within") ?? "") ?? state.within;
    }

    read();
    show();
    addEventListener("hashchange", () => {
      read();
      show();
    });
    let before = place.clientWidth;
    new ResizeObserver(() => {
      if (place.clientWidth !== before) {
        before = place.clientWidth;
        show();
      }
    }).observe(place);
  }

  /** A score in percent with one digit; exact ties go to the even one. */
  function number1(score) {
    const value = 100 * score;
    const digits = Math.max(1, Math.floor(Math.log10(value || 1)) + 2);
    return value < 0.05 ? value.toFixed(1) : rounded(value, value < 1 ? 1 : digits).toFixed(1);
  }

  guides();
  ledger();
})();
