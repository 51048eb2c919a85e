// The page of any neuron: fills its parts with the record of the neuron that the address names.
"use strict";
(() => {
  const MOST_NEIGHBOURS = 6; // that are offered for a comparison
  const MOST_WRITTEN = 6; // tokens that a study file is offered: a neuron can be the first writer of a hundred
  const { of, token, number, fixed, signed, percent, count, visible, shortened, table } = Atlas;
  const part = (name) => document.querySelector(`[data-${name}]`);

  function fill([record], [neuron]) {
    document.title = `Layer ${neuron[0]} neuron ${neuron[1]} · Neuron Atlas`;
    part("title").textContent = `Layer ${neuron[0]} · neuron ${neuron[1]}`;
    part("summary").replaceChildren(...summaryOf(record));
    fillStatistics(record.statistics);
    part("elsewhere").replaceChildren(...(Atlas.isStudied(neuron) ? [of("a", { href: `../neuron-${neuron[0]}-${neuron[1]}.html` }, "This neuron was studied: curves, evidence, patching and ablation")] : []));
    drawHistogram(part("histogram"), [record.histogram]);
    fillContexts(record);
    fillTables(record);
    fillNeighbours(record);
    fillCause(record);
    part("study").textContent = studyLines(record);
    fillPager(neuron);
    fillComparisons(record, neuron);
    histogram = record.histogram;
  }
  let histogram = null;
  new ResizeObserver(() => { if (histogram && part("histogram").clientWidth) drawHistogram(part("histogram"), [histogram]); }).observe(document.body);

  function fillStatistics(statistics) {
    part("statistics").replaceChildren(...(statistics ? statisticsOf(statistics).map(([name, value]) => of("div", {}, of("dt", {}, name), of("dd", {}, value))) : []));
    part("outside").textContent = statistics ? outsideBins(statistics) : "";
  }

  // Text
  function fillContexts(record) {
    const largest = Contexts.largestOf([record]);
    for (const side of Contexts.sides) document.querySelector(`[data-examples="${side}"]`).replaceChildren(...Contexts.listOf(record, side, largest));
  }

  // Tables
  const nothing = (text) => of("p", { className: "empty" }, text);
  function put(selector, rows, made, otherwise) {
    document.querySelector(selector).replaceChildren(...(rows.length ? made(rows).filter(Boolean) : otherwise ? [nothing(otherwise)] : []));
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
    put("[data-contributions]", listed, (rows) => [of("h3", {}, "Where it is among the first of a token"), ...Atlas.folded([["Token"], ["Does", false], ["Contribution", true], ["Place", true], ["Predicted", true]],
      rows.map((row) => [token(row.token_id), row.end === "writes" ? "writes it" : "writes against it", signed(row.contribution), count(row.rank), count(row.predictions)]))]);
    for (const end of ["high", "low"]) {
      put(`[data-tokens="${end}"]`, record.tokens.filter((row) => row.end === end), (rows) => [table([["Token"], ["Difference", true], ["Mean there", true], ["Elsewhere", true], ["Predicted", true]],
        rows.map((row) => [token(row.token_id), signed(row.standardized_difference), number(row.mean_there), number(row.mean_elsewhere), count(row.positions)]))], "No screened token.");
      put(`[data-current="${end}"]`, record.current_tokens.filter((row) => row.end === end), (rows) => [table([["Token"], ["Difference", true], ["Mean there", true], ["Elsewhere", true], ["Positions", true]],
        rows.map((row) => [token(row.token_id), signed(row.standardized_difference), number(row.mean_there), number(row.mean_elsewhere), count(row.positions)]))], "No screened token.");
    }
    put("[data-screened]", [...record.screened].sort((one, other) => one.rank - other.rank || other.variance_explained - one.variance_explained), (rows) => [of("h3", {}, "Where it stands out among all neurons"),
      ...Atlas.folded([["Token"], ["Place", true], ["Difference", true], ["Explained", true]], rows.map((row) => [token(row.token_id), count(row.rank), signed(row.standardized_difference), fixed(row.variance_explained)]))]);
    const scores = record.scores.filter((row) => row.auroc !== null).sort((one, other) => other.separation - one.separation);
    part("scores-part").hidden = !scores.length;
    put("[data-scores]", scores, (rows) => [table([["Token"], ["AUROC", true], ["Read downwards", true], ["Avg. precision", true], ["Highest proportion", true]],
      rows.map((row) => [token(row.token_id), fixed(row.auroc), row.direction === -1 ? fixed(row.separation) : "–", fixed(row.average_precision), fixed(row.highest_proportion)]))]);
  }
  function fillNeighbours(record) {
    for (const place of document.querySelectorAll("[data-neighbours]")) {
      const [kind, end] = place.dataset.neighbours.split(" ");
      const rows = record.neighbours.filter((row) => row.kind === kind && row.end === end);
      place.replaceChildren(rows.length ? table([["Neuron"], [kind === "together" ? "Correlation" : "Cosine", true]],
        rows.map((row) => [Atlas.neuronLink([row.other_layer, row.other_neuron]), fixed(row.likeness)])) : nothing("None known."));
    }
  }
  function fillCause(record) {
    const untold = [record.ablated.length + record.prompt_ablated.length ? "" : "Not studied: no ablation.", record.patched.length ? "" : "Among the first 100 of no patched prompt."];
    part("cause").textContent = untold.filter(Boolean).join(" ");
    const told = (selector, title, rows, heads, cells) => put(selector, rows, () => [of("h3", {}, title), ...Atlas.folded(heads, rows.map(cells))]);
    told("[data-ablated]", "Ablated over the corpus: what its mean instead of its activation changes, in nat", record.ablated, [["Token"], ["Where"], ["Change", true], ["95 % interval", true], ["q", true]],
      (row) => [token(row.token_id), row.positions, signed(row.effect), row.ci_low === null ? "–" : `${signed(row.ci_low)} to ${signed(row.ci_high)}`, number(row.q_value)]);
    told("[data-prompt-ablated]", "Ablated on the prompts: probability of a token", record.prompt_ablated, [["Prompt"], ["Ablated at"], ["Token"], ["Before", true], ["After", true]],
      (row) => [row.prompt, row.positions, token(row.token_id), percent(row.before), percent(row.after)]);
    told("[data-patched]", "Patched: how much of an answer it restores alone", [...record.patched].sort((one, other) => one.rank - other.rank), [["Prompt"], ["Positions"], ["Restores", true], ["Place", true]],
      (row) => [row.prompt, row.positions, percent(row.improvement), count(row.rank)]);
    told("[data-evidence]", "Lines of evidence", record.evidence, [["Token"], ["Line"], ["Verdict"], ["Number", true]], (row) => [token(row.token_id), row.line, row.verdict, number(row.value)]);
  }

  // What a study file needs: the neuron, the first token of each list, and those that it writes most of all neurons. Tokens by id, which names them whatever their text is.
  function studyLines(record) {
    const first = (rows) => rows.filter((row) => row.rank === 1).map((row) => row.token_id);
    const written = [...record.contributions].sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution)).slice(0, MOST_WRITTEN);
    const tokens = [...new Set([...first(written), ...first(record.tokens), ...first(record.writes)])].sort((one, other) => one - other);
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

  // Beside which other neuron it can be put: any that one names, and those that the record knows as its neighbours
  let named = null;
  function fillComparisons(record, neuron) {
    named = neuron;
    part("comparison").querySelector("input").value = "";
    part("comparison-said").textContent = "";
    const others = new Map((record.neighbours ?? []).map((row) => [row.other_layer * Atlas.contents.neurons + row.other_neuron, [row.other_layer, row.other_neuron]]));
    part("comparison-neighbours").replaceChildren(...[...others.values()].slice(0, MOST_NEIGHBOURS).map((other) => of("a", { className: "neuron", href: Atlas.comparison(neuron, other) }, Atlas.shownName(other))));
  }
  Atlas.whenGiven(part("comparison"), () => {
    const given = part("comparison").querySelector("input").value, other = Atlas.nameGiven(given), said = part("comparison-said");
    if (!other) said.textContent = given.trim() ? `“${shortened(visible(given))}” names no neuron; write it as L2 N117.` : "Name a neuron, such as L2 N117.";
    else if (!Atlas.exists(other)) said.textContent = Atlas.noneOf(other);
    else if (Atlas.nameOf(other) === Atlas.nameOf(named)) said.textContent = "That is this neuron.";
    else location.href = Atlas.comparison(named, other);
  });

  showNeurons((address) => { const neuron = Atlas.nameIn(address); return neuron && [neuron]; }, "The address names no neuron; it ends in #L2-N117, say.", fill);
})();
