// Text around examples, each token coloured by the neuron's activation on it; one scale for all that stands together on a page.
"use strict";
const Contexts = (() => {
  const { of, token, number, count, visible, running, shortened } = Atlas;

  // The largest size of a counted activation in the text of these records
  function largestOf(records) {
    const counted = (example) => example.activations.filter((_, place) => example.first_position + place >= Atlas.contents.firstCounted);
    const sizes = records.flatMap((record) => record.examples.flatMap((example) => [example.activation, ...counted(example)])).filter((value) => value !== null).map(Math.abs);
    return Math.max(...sizes, Number.MIN_VALUE);
  }
  // The examples of a record at one side, as items of a list
  function listOf(record, side, largest) {
    const along = new Set(record.tokens.map((row) => row.token_id));
    const examples = record.examples.filter((example) => example.side === side);
    return examples.length ? examples.map((example) => context(example, largest, along)) : [of("li", { className: "empty" }, "No examples were kept.")];
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
  return { largestOf, listOf };
})();
