// The page of any token: reads from the address which one, by its id or by its text, and fills the parts of the page.
"use strict";
(() => {
  const RELATIVES = 24; // shown of each kind
  const LINES = { writes: "writes", writes_against: "writes against", goes_along: "goes along", congruence: "weights", own_first: "own tokens", scores: "tells" };
  const { of, token, neuronLink, number, fixed, signed, percent, count, plural, visible, shortened, table } = Atlas;
  const part = (name) => document.querySelector(`[data-${name}]`);

  // #262, or #token= and the text
  function namedIn(address) {
    const found = /^#(\d{1,9})$/.exec(address);
    if (found) return { id: Number(found[1]) };
    const text = address.startsWith("#token=") ? new URLSearchParams(address.slice(1)).get("token") : null;
    return text === null ? null : { text };
  }
  async function load(named) {
    const texts = await Atlas.loadVocabulary();
    const id = named.id ?? texts.indexOf(named.text);
    if (id < 0) throw new NotShown(`No entry of the vocabulary has exactly the text ${shortened(visible(named.text))}; a space at its beginning counts.`);
    if (id in Atlas.contents.groups) throw new NotShown("This is no entry of the vocabulary but a group of tokens:", token(id));
    if (id >= texts.length) throw new NotShown(texts.length ? `There is no token ${id}: the vocabulary has entries 0 to ${texts.length - 1}.` : "The vocabulary was not counted.");
    return { row: await Atlas.tokenRow(id), id, texts };
  }

  function fill({ row, id, texts }) {
    const seen = visible(texts[id]);
    document.title = `Token ${shortened(seen)} · Neuron Atlas`;
    const name = of("bdi", { className: "token" }, shortened(seen, 60));
    if (name.textContent !== seen) name.title = seen;
    part("title").replaceChildren(name);
    part("entry").textContent = `Vocabulary entry ${id} of ${plural(texts.length, "entry", "entries")}.`;
    part("elsewhere").replaceChildren(...(Atlas.contents.tracked.includes(id) ? [of("a", { href: `../token-${id}.html` }, "This token is tracked: curves, evidence, contrasts and ablation")] : []));
    fillCounts(row);
    fillNeurons(row);
    fillRelatives(id, texts);
    part("study").textContent = studyLines(row, id);
    fillPager(id, texts.length);
  }
  function fillCounts(row) {
    const { positions } = Atlas.contents;
    const rows = [["Occurrences", count(row.occurrences)], ["Top predictions", count(row.predictions)], ["Correct", count(row.correct_predictions)],
      ["Precision", percent(row.predictions ? row.correct_predictions / row.predictions : null)], ["Share of positions", percent(positions ? row.predictions / positions : null, 2)]];
    part("counts").replaceChildren(...rows.map(([what, value]) => of("div", {}, of("dt", {}, what), of("dd", {}, value))));
  }

  // Neurons: a table a line, in each of which every neuron says by which other lines it is known as well
  function fillNeurons(row) {
    const lines = new Map();
    for (const [list, name] of Object.entries(LINES)) {
      for (const one of row[list]) lines.set(keyOf(one), [...(lines.get(keyOf(one)) ?? []), name]);
    }
    const also = (one, own) => {
      const others = lines.get(keyOf(one)).filter((name) => name !== own);
      return others.length ? others.flatMap((name) => [of("span", { className: "tag" }, name), " "]) : "–";
    };
    const put = (place, rows, own, columns, otherwise) => {
      const heads = [["Neuron"], ...columns.map(([title]) => [title, true]), ["Also"]];
      document.querySelector(`[data-list="${place}"]`).replaceChildren(rows.length
        ? of("div", { className: "scroll" }, table(heads, rows.map((one) => [neuronLink([one.layer, one.neuron]), ...columns.map(([, told]) => told(one)), also(one, own)])))
        : of("p", { className: "empty" }, otherwise));
    };
    const unscreened = whyNot(row);
    const contribution = [["Contribution", (one) => signed(one.contribution)], ["By its weights", (one) => signed(one.congruence)]];
    for (const end of ["writes", "writes_against"]) put(end, row[end], LINES[end], contribution, unscreened);
    put("goes_along", row.goes_along, LINES.goes_along, [["Difference", (one) => signed(one.standardized_difference)], ["Mean there", (one) => number(one.mean_where_predicted)],
      ["Elsewhere", (one) => number(one.mean_elsewhere)], ["Explained", (one) => fixed(one.variance_explained)]], unscreened);
    put("congruence", row.congruence, LINES.congruence, [["Logits", (one) => signed(one.congruence)]], "Not known for this model.");
    for (const end of ["top", "bottom"]) {
      put(end, row.own_first.filter((one) => one.end === end), LINES.own_first, [["Logits", (one) => signed(one.congruence)], ["Its place", (one) => count(one.rank)]], "It is among the first tokens of no neuron.");
    }
    part("scores-part").hidden = !row.scores.length;
    put("scores", row.scores, LINES.scores, [["AUROC", (one) => fixed(one.auroc)], ["Read downwards", (one) => (one.direction === -1 ? fixed(one.separation) : "–")],
      ["Avg. precision", (one) => fixed(one.average_precision)]], "");
  }
  const keyOf = (one) => `${one.layer} ${one.neuron}`;
  function whyNot(row) {
    const { screened, minCount } = Atlas.contents;
    if (!screened) return "This study screens no tokens.";
    if (row.predictions < minCount) return `Not told: it is predicted at ${plural(row.predictions, "position")}, and ${count(minCount)} are needed.`;
    return `None. ${plural(screened, "token")} were screened, the most frequent ones.`;
  }

  function fillRelatives(id, texts) {
    const found = relativesOf(id, texts);
    part("relatives-part").hidden = !Object.values(found).some((ids) => ids.length);
    const kinds = [["same", "The same but for case and spaces"], ["begun", "It begins"], ["beginnings", "It begins with"]];
    part("relatives").replaceChildren(...kinds.filter(([kind]) => found[kind].length).map(([kind, title]) => of("div", {}, of("h3", {}, title),
      of("ul", { className: "relatives" }, found[kind].slice(0, RELATIVES).map((one) => of("li", {}, token(one, 24), of("small", {}, ` ${one}`)))),
      found[kind].length > RELATIVES ? of("p", { className: "small" }, `The shortest ${RELATIVES} of ${count(found[kind].length)}.`) : null)));
  }

  // What a study file needs: the token, and the first neuron of each line
  function studyLines(row, id) {
    const first = Object.keys(LINES).flatMap((list) => row[list].slice(0, 1)).map((one) => [one.layer, one.neuron]);
    const neurons = [...new Map(first.map((one) => [String(one), one])).values()].sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    return `tokens: [${id}]\n${neurons.length ? `neurons: [${neurons.map((one) => `[${one.join(", ")}]`).join(", ")}]\n` : ""}`;
  }
  function fillPager(id, amount) {
    const link = (to, rel, label) => of("a", { href: Atlas.addressOfToken(to), rel }, label(shortened(visible(Atlas.textOf(to)), 24)));
    part("pager").replaceChildren(id > 0 ? link(id - 1, "prev", (name) => `← ${name}`) : of("span", {}), ...(id + 1 < amount ? [link(id + 1, "next", (name) => `${name} →`)] : []));
  }

  showAddressed({
    namedIn, load, fill,
    unnamed: "The address names no token; it ends in #262, say, which is its id, or in #token=apple.",
    addressOf: ({ id }) => `#${id}`,
    described: () => "the token",
    search: "Search all tokens",
  });
})();
