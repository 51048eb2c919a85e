// Two neurons beside each other, as the address names them: what both have comes first, and is told on one axis and one scale of colour.
"use strict";
(() => {
  const { of, token, number, signed, fixed, plural, table, neuronLink, shownName } = Atlas;
  const part = (name) => document.querySelector(`[data-${name}]`);
  const SIDES = [["top", "Highest activations"], ["bottom", "Lowest activations"]];
  let drawn = null; // histograms and names of the neurons on the page

  function namesIn(address) {
    const neurons = address.replace(/^#/, "").split(/,|%2C/i).map(Atlas.nameIn);
    return neurons.length === 2 && neurons.every(Boolean) && Atlas.nameOf(neurons[0]) !== Atlas.nameOf(neurons[1]) ? neurons : null;
  }
  function fill(records, neurons) {
    const names = neurons.map(shownName);
    document.title = `${names.join(" beside ")} · Neuron Atlas`;
    part("title").textContent = names.join(" beside ");
    part("turned").href = Atlas.comparison(neurons[1], neurons[0]);
    part("heads").replaceChildren(...neurons.map((neuron, place) => of("div", {}, of("h2", { className: `series${place + 1}` }, neuronLink(neuron)), of("p", {}, summaryOf(records[place])))));
    drawn = [records.map((record) => record.histogram), names];
    drawHistogram(part("histogram"), ...drawn);
    part("legend").replaceChildren(...neurons.map((_, place) => of("span", { className: `series${place + 1}` }, names[place])));
    part("widths").textContent = records.map(({ histogram }, place) => (histogram.per_unit ? `A bin of ${names[place]} is ${number(1 / histogram.per_unit)} wide. ` : `${names[place]} has no bins. `)).join("");
    part("statistics").replaceChildren(statistics(records, names));
    tokens("writes", records, names, (record) => record.writes, "congruence", signed, "Not known for this model.");
    tokens("contributions", records, names, (record) => record.contributions, "contribution", signed, "Neither is among the first of a token.");
    tokens("current", records, names, (record) => record.current_tokens, "standardized_difference", signed, "No screened token.");
    tokens("reads", records, names, (record) => record.reads, "congruence", signed, "Not known for this model.");
    tokens("along", records, names, (record) => record.tokens, "standardized_difference", signed, "No screened token.");
    tokens("scores", records, names, (record) => record.scores.filter((row) => row.auroc !== null), "auroc", fixed, "No tracked token.");
    fillContexts(records, names);
  }

  function statistics(records, names) {
    const told = records.map((record) => new Map(record.statistics ? statisticsOf(record.statistics) : []));
    const rows = [...new Set(told.flatMap((one) => [...one.keys()]))];
    return table([["", false], ...names.map((name) => [name, true])], rows.map((row) => [row, ...told.map((one) => one.get(row) ?? "–")]));
  }

  // A table of the tokens that either has, and how many both have. What is not among those that the atlas lists of a neuron is no number, not 0.
  function tokens(place, records, names, rowsOf, column, told, otherwise) {
    const held = records.map((record) => new Map(rowsOf(record).map((row) => [row.token_id, row[column]])));
    const ids = ordered(held);
    if (!ids.length) return part(place).replaceChildren(of("p", { className: "empty" }, otherwise));
    const rows = ids.map((id) => [token(id), ...held.map((own) => (own.has(id) ? told(own.get(id)) : "–"))]);
    part(place).replaceChildren(...[of("p", {}, shared(held, column)), ...Atlas.folded([["Token"], ...names.map((name) => [name, true])], rows)].filter(Boolean));
    part(place).querySelectorAll("tbody tr").forEach((row, at) => row.classList.toggle("common", isCommon(held, ids[at])));
  }
  const isCommon = (held, id) => held.every((own) => own.has(id));
  function ordered(held) { // those of both by size, then each neuron's own
    const size = (id) => Math.max(...held.map((own) => Math.abs(own.get(id) ?? 0)));
    const group = (id) => (isCommon(held, id) ? 0 : held[0].has(id) ? 1 : 2);
    return [...new Set(held.flatMap((own) => [...own.keys()]))].sort((one, other) => group(one) - group(other) || size(other) - size(one) || one - other);
  }
  function shared(held, column) {
    const common = [...held[0].keys()].filter((id) => held[1].has(id));
    const amounts = `${common.length ? plural(common.length, "token") : "No token"} of ${held[0].size} and ${held[1].size} listed ${common.length > 1 ? "are" : "is"} in both lists`;
    if (!common.length || column === "auroc") return `${amounts}.`;
    const alike = common.filter((id) => Math.sign(held[0].get(id)) === Math.sign(held[1].get(id))).length;
    return `${amounts}: ${alike} with the same sign, ${common.length - alike} with opposite signs.`;
  }

  function fillContexts(records, names) {
    const largest = Contexts.largestOf(records);
    part("examples").replaceChildren(...SIDES.flatMap(([side, title]) => records.map((record, place) => of("div", {},
      of("h3", {}, `${title} of ${names[place]}`), of("ol", { className: "contexts" }, Contexts.listOf(record, side, largest))))));
    const places = records.map((record) => new Set(record.examples.filter((example) => example.side !== "random").map((example) => `${example.document} ${example.window_in_document} ${example.position}`)));
    const common = [...places[0]].filter((place) => places[1].has(place)).length;
    part("same-places").textContent = `${common ? plural(common, "example") : "No example"} of one ${common > 1 ? "stand" : "stands"} at a place of the other's.`;
  }
  new ResizeObserver(() => { if (drawn && part("histogram").clientWidth) drawHistogram(part("histogram"), ...drawn); }).observe(document.body);

  // Which two: the address fills the fields, the fields make an address
  const fields = part("comparison"), said = part("comparison-said"), inputs = [...fields.querySelectorAll("input")];
  function fillFields() {
    if (location.hash && !location.hash.startsWith("#L")) return; // a place on the page
    const given = location.hash.replace(/^#/, "").split(/,|%2C/i).map(Atlas.nameIn);
    inputs.forEach((input, place) => { input.value = given[place] ? shownName(given[place]) : ""; });
    said.textContent = "";
  }
  Atlas.whenGiven(fields, () => {
    const two = inputs.map((input) => Atlas.nameGiven(input.value)), unnamed = inputs.find((_, place) => !two[place]);
    if (unnamed) { said.textContent = unnamed.value.trim() ? `“${Atlas.shortened(Atlas.visible(unnamed.value))}” names no neuron; write it as L2 N117.` : "Name two neurons, such as L2 N117."; unnamed.focus(); }
    else if (Atlas.nameOf(two[0]) === Atlas.nameOf(two[1])) said.textContent = "Both are one neuron; name another.";
    else location.href = Atlas.comparison(...two);
  });
  addEventListener("hashchange", fillFields);
  fillFields();
  showNeurons(namesIn, "The address names no two neurons; it ends in #L2-N117,L0-N5, say. Write both above.", fill);
})();
