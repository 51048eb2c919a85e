// The page of any neuron: reads from the address which one, loads its record, and fills the parts of the page.
"use strict";
(() => {
  const { of, token, number, fixed, signed, percent, count, plural, visible, running, shortened, table } = Atlas;
  const part = (name) => document.querySelector(`[data-${name}]`);
  const article = part("neuron"), notice = part("notice");
  let shown = null; // the neuron on the page
  let asked = 0; // only the last one asked for is shown

  function say(text) {
    notice.replaceChildren(of("span", { className: "badge warning" }, "not shown"), ` ${text} `, of("a", { href: "index.html" }, "Search all neurons"));
    notice.className = "inner notice warning notice-place";
    notice.hidden = false;
    article.hidden = true;
    shown = null;
  }
  async function open() {
    const own = asked += 1;
    const neuron = Atlas.nameIn(location.hash);
    if (!neuron && shown) { history.replaceState(null, "", `#L${shown[0]}-N${shown[1]}`); return; } // the skip link's own address
    if (!Atlas.contents) return say("The file atlas/data/contents.js cannot be read. It belongs to this report: copy the folder atlas whole, or make the report again.");
    if (!neuron) return say("The address names no neuron; it ends in #L2-N117, say.");
    if (!Atlas.exists(neuron)) return say(Atlas.noneOf(neuron));
    try {
      const [record] = await Promise.all([Atlas.recordOf(neuron), Atlas.loadVocabulary()]);
      if (own !== asked) return undefined;
      if (!record) return say(`The atlas holds no ${Atlas.shownName(neuron)}.`);
      fill(record, neuron);
    } catch (error) {
      if (own === asked) say(error instanceof Atlas.MissingError ? error.message : `What atlas/data holds of ${Atlas.shownName(neuron)} is damaged (${error.message}). Make the report again.`);
    }
    return undefined;
  }

  function fill(record, neuron) {
    const isFirst = shown === null;
    shown = neuron;
    notice.hidden = true;
    article.hidden = false;
    document.title = `Layer ${neuron[0]} neuron ${neuron[1]} · Neuron Atlas`;
    part("title").textContent = `Layer ${neuron[0]} · neuron ${neuron[1]}`;
    part("summary").replaceChildren(...summaryOf(record));
    fillStatistics(record.statistics);
    part("elsewhere").replaceChildren(...(Atlas.isStudied(neuron) ? [of("a", { href: `../neuron-${neuron[0]}-${neuron[1]}.html` }, "This neuron was studied: curves, evidence, patching and ablation")] : []));
    drawHistogram(part("histogram"), record.histogram);
    fillContexts(record);
    fillTables(record);
    part("study").textContent = studyLines(record);
    fillPager(neuron);
    if (!isFirst) { scrollTo(0, 0); part("title").focus({ preventScroll: true }); }
    histogram = record.histogram;
  }
  let histogram = null;
  new ResizeObserver(() => { if (histogram && !article.hidden) drawHistogram(part("histogram"), histogram); }).observe(document.body);

  function fillStatistics(statistics) {
    const place = part("statistics"), outside = part("outside");
    place.replaceChildren();
    outside.textContent = "";
    if (!statistics) return;
    const deviation = statistics.variance === null ? null : Math.sqrt(statistics.variance);
    const rows = [["Mean", number(statistics.mean)], ["Standard deviation", number(deviation)], ["Skewness", number(statistics.skewness)], ["Kurtosis", number(statistics.kurtosis)],
      ["Minimum", number(statistics.minimum)], ["Maximum", number(statistics.maximum)], ["Above zero", percent(statistics.share_above_zero)], ["Counted positions", count(statistics.count)]];
    place.append(...rows.map(([name, value]) => of("div", {}, of("dt", {}, name), of("dd", {}, value))));
    const beyond = statistics.underflow + statistics.overflow;
    outside.textContent = `${beyond ? `${plural(beyond, "position")} outside the bins: ${count(statistics.underflow)} below, ${count(statistics.overflow)} above.` : "No position lies outside the bins."}${statistics.nan ? ` At ${plural(statistics.nan, "position")} the activation is not a number.` : ""}`;
  }

  // Text
  function fillContexts(record) {
    const counted = (example) => example.activations.filter((_, place) => example.first_position + place >= Atlas.contents.firstCounted);
    const sizes = record.examples.flatMap((example) => [example.activation, ...counted(example)]).filter((value) => value !== null).map(Math.abs);
    const largest = Math.max(...sizes, Number.MIN_VALUE);
    const along = new Set(record.tokens.map((row) => row.token_id));
    for (const side of ["top", "bottom"]) {
      const examples = record.examples.filter((example) => example.side === side);
      document.querySelector(`[data-examples="${side}"]`).replaceChildren(...(examples.length ? examples.map((example) => context(example, largest, along)) : [of("li", { className: "empty" }, "No examples were kept.")]));
    }
  }
  function context(example, largest, along) {
    const peak = example.position - example.first_position;
    const words = example.token_ids.map((id, place) => word(example, id, place, peak, largest, along));
    const line = of("p", { tabIndex: 0 }, example.first_position ? of("span", { className: "cut" }, "…") : null, words);
    line.setAttribute("aria-label", `${example.side === "top" ? "Highest" : "Lowest"} context ${example.rank}, peak activation ${number(example.activation, 4)}. Arrow keys step through its tokens.`);
    const predicted = example.prediction_ids[peak];
    const cameTrue = peak + 1 < example.token_ids.length && predicted === example.token_ids[peak + 1];
    const head = of("div", { className: "context-head" }, of("span", { className: "n" }, number(example.activation, 4)),
      of("small", {}, ` document ${count(example.document)}, position ${count(example.position)}; predicts `, token(predicted, 20), cameTrue ? ", which comes next" : ""));
    return of("li", { className: "context" }, head, line);
  }
  function word(example, id, place, peak, largest, along) {
    const activation = example.activations[place], predicted = example.prediction_ids[place];
    const isCounted = example.first_position + place >= Atlas.contents.firstCounted;
    const strength = isCounted && activation !== null ? Math.round((100 * activation) / largest) : 0;
    const element = of("bdi", { className: `w${strength < 0 ? " cold" : ""}${place === peak ? " peak" : ""}${along.has(predicted) ? " watched" : ""}` }, running(Atlas.textOf(id)));
    element.style.setProperty("--p", `${Math.abs(strength)}%`);
    const next = example.token_ids[place + 1];
    const differs = next !== undefined && next !== predicted;
    element.title = `activation ${number(place === peak ? example.activation : activation)}, predicts ${shortened(visible(Atlas.textOf(predicted)))}${differs ? `; ${shortened(visible(Atlas.textOf(next)))} comes next` : ""}`;
    return element;
  }

  // Tables
  const nothing = (text) => of("p", { className: "empty" }, text);
  function put(selector, rows, made, otherwise) {
    document.querySelector(selector).replaceChildren(...(rows.length ? made(rows) : otherwise ? [nothing(otherwise)] : []));
  }
  function fillTables(record) {
    const contribution = new Map(record.contributions.map((row) => [row.token_id, row.contribution]));
    for (const end of ["top", "bottom"]) {
      put(`[data-writes="${end}"]`, record.writes.filter((row) => row.end === end), (rows) => [table([["Token"], ["Logits", true], ["Contribution", true]],
        rows.map((row) => [token(row.token_id), signed(row.congruence), contribution.has(row.token_id) ? signed(contribution.get(row.token_id)) : "–"]))], "Not known for this model.");
    }
    for (const end of ["top", "bottom"]) {
      put(`[data-reads="${end}"]`, record.reads.filter((row) => row.end === end), (rows) => [table([["Token"], ["Congruence", true]],
        rows.map((row) => [token(row.token_id), signed(row.congruence)]))], "Not known for this model.");
    }
    const listed = [...record.contributions].sort((one, other) => one.rank - other.rank || Math.abs(other.contribution) - Math.abs(one.contribution));
    put("[data-contributions]", listed, (rows) => [of("h3", {}, "Where it is among the first of a token"), scrolling(table([["Token"], ["Does", false], ["Contribution", true], ["Place", true], ["Predicted", true]],
      rows.map((row) => [token(row.token_id), row.end === "writes" ? "writes it" : "writes against it", signed(row.contribution), count(row.rank), count(row.predictions)])))]);
    for (const end of ["high", "low"]) {
      put(`[data-tokens="${end}"]`, record.tokens.filter((row) => row.end === end), (rows) => [table([["Token"], ["Difference", true], ["Mean there", true], ["Elsewhere", true], ["Predicted", true]],
        rows.map((row) => [token(row.token_id), signed(row.standardized_difference), number(row.mean_there), number(row.mean_elsewhere), count(row.positions)]))], "No screened token.");
      put(`[data-current="${end}"]`, record.current_tokens.filter((row) => row.end === end), (rows) => [table([["Token"], ["Difference", true], ["Mean there", true], ["Elsewhere", true], ["Positions", true]],
        rows.map((row) => [token(row.token_id), signed(row.standardized_difference), number(row.mean_there), number(row.mean_elsewhere), count(row.positions)]))], "No screened token.");
    }
    put("[data-screened]", [...record.screened].sort((one, other) => one.rank - other.rank || other.variance_explained - one.variance_explained), (rows) => [of("h3", {}, "Where it stands out among all neurons"),
      scrolling(table([["Token"], ["Place", true], ["Difference", true], ["Explained", true]], rows.map((row) => [token(row.token_id), count(row.rank), signed(row.standardized_difference), fixed(row.variance_explained)])))]);
    const scores = record.scores.filter((row) => row.auroc !== null).sort((one, other) => other.separation - one.separation);
    part("scores-part").hidden = !scores.length;
    put("[data-scores]", scores, (rows) => [table([["Token"], ["AUROC", true], ["Read downwards", true], ["Avg. precision", true], ["Highest proportion", true]],
      rows.map((row) => [token(row.token_id), fixed(row.auroc), row.direction === -1 ? fixed(row.separation) : "–", fixed(row.average_precision), fixed(row.highest_proportion)]))]);
  }
  const scrolling = (made) => of("div", { className: "scroll" }, made);

  // What a study file needs: the neuron, and the first token of each list. Tokens by id, which names them whatever their text is.
  function studyLines(record) {
    const first = (rows) => rows.filter((row) => row.rank === 1).map((row) => row.token_id);
    const tokens = [...new Set([...first(record.contributions), ...first(record.tokens), ...first(record.writes)])].sort((one, other) => one - other);
    return `neurons: [[${record.layer}, ${record.neuron}]]\n${tokens.length ? `tokens: [${tokens.join(", ")}]\n` : ""}`;
  }
  function fillPager(neuron) {
    const place = Atlas.numberOf(neuron), last = Atlas.contents.layers * Atlas.contents.neurons - 1;
    const link = (number, rel, label) => {
      const to = Atlas.neuronAt(number);
      return of("a", { href: Atlas.addressOf(to), rel }, label(Atlas.shownName(to)));
    };
    part("pager").replaceChildren(place > 0 ? link(place - 1, "prev", (name) => `← ${name}`) : of("span", {}), ...(place < last ? [link(place + 1, "next", (name) => `${name} →`)] : []));
  }

  addEventListener("hashchange", open);
  open();
})();
