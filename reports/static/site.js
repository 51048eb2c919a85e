// What moves on the pages: figures, switches, sortable tables, the reading of contexts, the search for tokens.
// Texts of tokens and documents only ever go into the page as text (textContent), never as markup.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const parsed = new Map();

  function json(selector) {
    if (!parsed.has(selector)) parsed.set(selector, JSON.parse(document.querySelector(selector).textContent));
    return parsed.get(selector);
  }

  // Figures. Colours are names such as $ink; these keys hold texts, in which "$ink" may be a token.
  const TEXTS = new Set(["customdata", "text", "hovertext", "hovertemplate", "ticktext", "name", "legendgroup"]);
  const canDrawGl = (() => {
    try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; }
  })();

  function coloured(value, style, key) {
    if (typeof value === "string") {
      if (value === "scattergl" && !canDrawGl) return "scatter";
      return value.startsWith("$") ? style.getPropertyValue("--plot-" + value.slice(1)).trim() || value : value;
    }
    if (Array.isArray(value)) return typeof value[0] === "number" && value.length > 2 ? value : value.map((item) => coloured(item, style, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, TEXTS.has(name) ? item : coloured(item, style, name)]));
    }
    return value;
  }

  function draw(plot) {
    const name = plot.dataset.figure;
    const views = json(`[data-payload="${name}"]`);
    const chosen = document.querySelector(`input[name="${name}-view"]:checked`);
    const view = views[chosen ? Number(chosen.value) : 0];
    const style = getComputedStyle(root);
    const layout = coloured(view.layout, style);
    const isNarrow = plot.clientWidth < 560;
    layout.autosize = true;
    layout.modebar = coloured({ bgcolor: "rgba(0,0,0,0)", color: "$muted", activecolor: "$ink" }, style);
    layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    if (isNarrow) layout.margin = { ...layout.margin, l: 44, r: 10 };
    if (isNarrow) fitTicks(layout.xaxis, (plot.clientWidth - 120) / (layout.xaxis.ticktext?.length ?? 1));
    plot.closest("figure").querySelector("[data-note]").textContent = view.note;
    const config = {
      displaylogo: false, responsive: true, typesetMath: false, showTips: false,
      displayModeBar: isNarrow ? false : "hover", modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
      toImageButtonOptions: { filename: `${document.title.split(" · ")[0]} ${name}`.replace(/[^\w-]+/g, "-") },
    };
    const first = !plot.dataset.drawn;
    plot.dataset.drawn = "yes";
    const ready = Plotly.react(plot, coloured(view.data, style), layout, config);
    if (first) plot.on("plotly_click", openPage);
    return ready;
  }

  // Token labels side by side on a phone: smaller first, then every second or third of them.
  function fitTicks(axis, room) {
    if (!axis.ticktext || room >= 14) return;
    axis.tickfont = { ...axis.tickfont, size: 9 };
    const step = Math.ceil(10 / room);
    axis.tickvals = axis.tickvals.filter((_, place) => place % step === 0);
    axis.ticktext = axis.ticktext.filter((_, place) => place % step === 0);
  }

  const hasAtlas = "atlas" in root.dataset; // every neuron has a page there; its address, from a page above that folder
  const atlasPage = (layer, neuron) => `atlas/neuron.html#L${layer}-N${neuron}`;

  function openPage(event) {
    const [layer, neuron, page] = [event.points[0].customdata].flat();
    if (typeof page === "string" && /^neuron-\d+-\d+\.html$/.test(page)) location.href = page;
    else if (hasAtlas && page === undefined && Number.isInteger(layer) && Number.isInteger(neuron)) location.href = atlasPage(layer, neuron);
  }

  const plots = [...document.querySelectorAll("[data-figure]")];
  const redraw = () => Promise.all(plots.filter((plot) => plot.dataset.drawn).map(draw));
  if (plots.length) {
    // A figure is drawn when it is about to be seen: a page opens at once, however many figures it has.
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        seen.unobserve(entry.target);
        draw(entry.target);
      }
    }, { rootMargin: "600px" });
    plots.forEach((plot) => seen.observe(plot));
    dark.addEventListener("change", redraw);
  }
  addEventListener("beforeprint", () => { root.dataset.print = "yes"; plots.forEach(draw); });
  addEventListener("afterprint", () => { delete root.dataset.print; redraw(); });

  document.addEventListener("change", (event) => {
    const input = event.target;
    if (input.name?.endsWith("-view")) draw(document.querySelector(`[data-figure="${input.name.slice(0, -5)}"]`));
    if (input.name === "convention") showPart(input.value);
  });
  function showPart(name) {
    document.querySelectorAll("[data-part]").forEach((part) => { part.hidden = part.dataset.part !== name; });
  }
  const part = document.querySelector('input[name="convention"]:checked');
  if (part) showPart(part.value);

  // Tables
  function sortValue(row, column, isText) {
    const cell = row.cells[column];
    const shown = cell.dataset.value ?? cell.textContent.trim();
    if (isText) return shown;
    const value = Number.parseFloat(shown.replace(/\u202f/g, "").replace("−", "-").replace(/^[<>] /, ""));
    return Number.isNaN(value) ? null : value;
  }
  function sortBy(header) {
    const table = header.closest("table");
    const isText = header.dataset.type === "text";
    const down = header.getAttribute("aria-sort") ? header.getAttribute("aria-sort") === "ascending" : header.classList.contains("n");
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [sortValue(row, header.cellIndex, isText), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // missing values stay last
      const order = isText ? a.localeCompare(b) : a - b;
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }
  for (const header of document.querySelectorAll("table.sortable th")) {
    if (header.dataset.type === "none") continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(header));
  }

  // A table that is wider than its place is reached and scrolled by keyboard
  const scrollers = [...document.querySelectorAll(".scroll")];
  const measured = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const goesOn = target.scrollWidth > target.clientWidth + 1;
      if (goesOn) {
        target.tabIndex = 0;
        target.setAttribute("role", "region");
        const heading = target.closest("details, section, article")?.querySelector("summary, h1, h2, h3");
        target.setAttribute("aria-label", `Table: ${heading?.textContent.trim() || document.title}`);
      } else {
        for (const name of ["tabindex", "role", "aria-label"]) target.removeAttribute(name);
      }
    }
  });
  scrollers.forEach((scroller) => measured.observe(scroller));

  // Contexts: the token under the pointer, or stepped to by arrow keys, is read out
  const contexts = document.querySelector("#contexts");
  if (contexts) {
    const readout = document.createElement("div");
    readout.className = "readout";
    readout.setAttribute("role", "status");
    readout.hidden = true;
    document.body.append(readout);
    let reading = null;
    const hide = () => { readout.hidden = true; reading?.classList.remove("reading"); reading = null; };
    const read = (word) => {
      if (word.title) { word.dataset.reading = word.title; word.removeAttribute("title"); }
      if (!word.dataset.reading) return;
      hide();
      reading = word;
      word.classList.add("reading");
      const token = document.createElement("b");
      token.textContent = word.textContent.replace(/ /g, "␣");
      readout.replaceChildren(token, word.dataset.reading);
      readout.hidden = false;
      const box = word.getBoundingClientRect();
      readout.style.left = `${Math.max(8, Math.min(box.left, innerWidth - readout.offsetWidth - 8))}px`;
      readout.style.top = `${box.top > readout.offsetHeight + 12 ? box.top - readout.offsetHeight - 8 : box.bottom + 8}px`;
    };
    contexts.addEventListener("pointerover", (event) => { const word = event.target.closest(".w"); word ? read(word) : hide(); });
    contexts.addEventListener("click", (event) => { const word = event.target.closest(".w"); if (word) read(word); });
    contexts.addEventListener("pointerleave", hide);
    contexts.addEventListener("focusout", hide);
    addEventListener("scroll", hide, { passive: true });
    contexts.addEventListener("keydown", (event) => {
      const paragraph = event.target.closest("p[tabindex]");
      if (!paragraph) return;
      if (event.key === "Escape") hide();
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const words = [...paragraph.querySelectorAll(".w")];
      const place = reading && words.includes(reading) ? words.indexOf(reading) + step : words.findIndex((word) => word.classList.contains("peak"));
      if (words[place]) read(words[place]);
    });
  }

  // Search: rows are [id, text, visible text, ..]; a search for a neuron finds the rows that name it.
  const SHOWN = 50;
  for (const input of document.querySelectorAll("[data-search]")) {
    const name = input.dataset.search;
    const list = () => json(`[data-tokens="${name}"]`);
    const kind = input.dataset.rows === "screen" ? { row: screenRow, neurons: (row) => row.slice(4).flat() } : { row: congruenceRow, neurons: (row) => [row.slice(3)] };
    const show = () => find(list(), input.value, document.querySelector(`[data-results="${name}"]`), document.querySelector(`[data-found="${name}"]`), kind);
    input.addEventListener("input", show);
    show();
  }
  function find(rows, query, body, message, kind) {
    const asked = query.toLowerCase();
    const neuron = /^\s*l(\d+)\s*n(\d+)\s*$/.exec(asked);
    const matches = rows.filter((row) => {
      if (neuron) return kind.neurons(row).some(([layer, place]) => layer === Number(neuron[1]) && place === Number(neuron[2]));
      const [id, text, seen] = row;
      return text.toLowerCase().includes(asked) || seen.toLowerCase().includes(asked) || String(id) === asked.trim();
    });
    if (asked && !neuron) matches.sort((a, b) => a[1].length - b[1].length); // the closest text first
    body.replaceChildren(...matches.slice(0, SHOWN).map(kind.row));
    const amount = count(matches.length);
    message.textContent = matches.length > SHOWN ? `${amount} tokens, the first ${SHOWN} shown` : matches.length === 1 ? "1 token" : `${amount} tokens`;
  }
  function neuronName(layer, neuron, hasPage) {
    const name = document.createElement(hasPage || hasAtlas ? "a" : "span");
    name.className = "neuron";
    if (hasPage) name.href = `neuron-${layer}-${neuron}.html`;
    else if (hasAtlas) name.href = atlasPage(layer, neuron);
    name.textContent = `L${layer} N${neuron}`;
    return name;
  }
  function tokenName(id, seen) {
    const token = document.createElement("bdi");
    token.className = "token";
    token.textContent = seen;
    token.title = seen;
    if (!hasAtlas) return token;
    const link = document.createElement("a");
    link.className = "plain";
    link.href = `atlas/token.html#${id}`;
    link.append(token);
    return link;
  }
  function fixed(value) {
    return value === null ? "–" : value.toFixed(3).replace(/^-(?=0\.000$)/, "").replace("-", "−");
  }
  function count(value) {
    return value.toLocaleString("en").replace(/,/g, "\u202f");
  }
  function resultRow(cells) { // of [content or list of contents, is a number]
    const row = document.createElement("tr");
    for (const [content, isNumber] of cells) {
      const cell = document.createElement("td");
      if (isNumber) cell.className = "n";
      cell.append(...[content].flat());
      row.append(cell);
    }
    return row;
  }
  function congruenceRow([id, , seen, layer, neuron, congruence, gap, hasPage]) {
    return resultRow([[tokenName(id, seen), false], [String(id), true], [neuronName(layer, neuron, hasPage), false], [fixed(congruence), true], [fixed(gap), true]]);
  }
  // Rows of the screen: [id, text, visible text, predictions, writers, writers against, those that stand out]; a neuron of the lists is
  // [layer, neuron, has a page, contribution], or with difference and share in the last's place.
  function screenRow([id, , seen, predictions, writers, against, standing]) {
    const first = (list, place) => (list.length ? fixed(list[0][place]) : "–");
    const plus = (list) => (list.length && list[0][3] > 0 ? "+" : "") + first(list, 3);
    const named = (list) => (list.length ? list.flatMap((neuron, place) => (place ? [", ", neuronName(...neuron)] : [neuronName(...neuron)])) : "–");
    return resultRow([[tokenName(id, seen), false], [String(id), true], [count(predictions), true], [named(writers.slice(0, 1)), false], [plus(writers), true],
      [named(writers.slice(1)), false], [named(against), false], [plus(against), true], [named(standing), false], [first(standing, 3), true], [first(standing, 4), true]]);
  }
})();
