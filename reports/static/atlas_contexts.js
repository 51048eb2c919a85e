// Text around examples, each token coloured by the neuron's activation on it; one scale for all that stands together on a page.
"use strict";
const Contexts = (() => {
  const { of, token, number, percent, count, visible, running, shortened } = Atlas;

  // The largest size of a counted activation in the text of these records
  function largestOf(records) {
    const counted = (example) => example.activations.filter((_, place) => example.first_position + place >= Atlas.contents.firstCounted);
    const sizes = records.flatMap((record) => record.examples.flatMap((example) => [example.activation, ...counted(example)])).filter((value) => value !== null).map(Math.abs);
    return Math.max(...sizes, Number.MIN_VALUE);
  }
  const SIDES = { top: "Highest context", bottom: "Lowest context", between_top: "Context between 0 and the highest", between_bottom: "Context between 0 and the lowest", random: "Random place" };
  const NONE = { between_top: "None: no window whose highest activation lies between.", between_bottom: "None: no window whose lowest activation lies between.", random: "No places were kept." };
  // The examples of a record at one side, as items of a list
  function listOf(record, side, largest) {
    const along = new Set(record.tokens.map((row) => row.token_id));
    const examples = record.examples.filter((example) => example.side === side);
    const first = (end) => record.examples.find((example) => example.side === end)?.activation;
    const ends = { top: first("top"), bottom: first("bottom") };
    return examples.length ? examples.map((example) => context(example, largest, along, shareOf(example, ends))) : [of("li", { className: "empty" }, NONE[side] ?? "No examples were kept.")];
  }
  // How much of the neuron's highest, or lowest, an example of another level has; nothing of these themselves
  function shareOf({ side, activation }, { top, bottom }) {
    if (side === "top" || side === "bottom" || activation === null) return "";
    if (activation > 0 && top > 0) return `${percent(activation / top)} of the highest; `;
    return activation < 0 && bottom < 0 ? `${percent(activation / bottom)} of the lowest; ` : "";
  }
  function context(example, largest, along, share) {
    const peak = example.position - example.first_position;
    const words = example.token_ids.map((id, place) => word(example, id, place, peak, largest, along));
    const line = of("p", { tabIndex: 0 }, example.first_position ? of("span", { className: "cut" }, "…") : null, words);
    line.setAttribute("aria-label", `${SIDES[example.side]} ${example.rank}, activation ${number(example.activation, 4)}. Arrow keys step through its tokens.`);
    const predicted = example.prediction_ids[peak];
    const cameTrue = peak + 1 < example.token_ids.length && predicted === example.token_ids[peak + 1];
    const head = of("div", { className: "context-head" }, of("span", { className: "n" }, number(example.activation, 4)),
      of("small", {}, ` ${share}document ${count(example.document)}, position ${count(example.position)}; predicts `, token(predicted, 20), cameTrue ? ", which comes next" : ""));
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
  return { largestOf, listOf, sides: Object.keys(SIDES) };
})();
