// One line that sums a neuron up: sentences whose every word rests on a number of its record, which stands in them.
// Which end of a gated neuron is the high one is a convention: what is said must not depend on it, but for the words high and low.
"use strict";
const summaryOf = (() => {
  const NOTABLE = 0.5; // pooled standard deviations
  const { token, signed, fixed, plural } = Atlas;

  function mostOf(ids) { // [id, times] of the most frequent; ties to the first one
    const times = new Map();
    for (const id of ids) times.set(id, (times.get(id) ?? 0) + 1);
    return [...times].reduce((best, one) => (one[1] > best[1] ? one : best), [null, 0]);
  }
  // What the examples of one end have in common: the token most of them stand at, and what is most predicted there
  function inCommon(record, end) {
    const examples = record.examples.filter((example) => example.side === end);
    const at = (example) => example.position - example.first_position;
    const [own, times] = mostOf(examples.map((example) => example.token_ids[at(example)]));
    const [predicted, predictions] = mostOf(examples.map((example) => example.prediction_ids[at(example)]));
    return { end, examples, size: Math.abs(examples[0]?.activation ?? 0), own, times, predicted, predictions };
  }
  // The end that has more in common; one that hardly leaves 0 beside the other says nothing. Of equals the one farther from 0.
  function tellingEnd(record) {
    const [top, bottom] = ["top", "bottom"].map((end) => inCommon(record, end));
    const far = [top, bottom].filter((one) => one.size * 2 >= Math.max(top.size, bottom.size));
    const share = (one) => Math.max(one.times, one.predictions) / Math.max(1, one.examples.length);
    return far.reduce((best, one) => (share(one) > share(best) || (share(one) === share(best) && one.size > best.size) ? one : best));
  }
  function byExamples(record) {
    const { end, examples, own, times, predicted, predictions } = tellingEnd(record);
    const places = `its ${examples.length} ${end === "top" ? "highest" : "lowest"} activations`;
    const isOften = (amount) => amount >= 2 && amount * 2 >= examples.length;
    const said = [];
    if (isOften(times)) said.push(["at ", `${times} of ${places} the token is `, token(own)]);
    if (isOften(predictions)) said.push([`after ${predictions} of ${said.length ? "these" : places} the model predicts `, token(predicted)]);
    return said.length ? sentence(said) : [];
  }
  const farthest = (rows) => [...rows].sort((one, other) => Math.abs(other.standardized_difference) - Math.abs(one.standardized_difference) || one.token_id - other.token_id)[0];
  function byTokens(record) {
    const best = farthest(record.tokens);
    if (!best || best.standardized_difference === null) return [];
    const size = Math.abs(best.standardized_difference);
    if (size < NOTABLE) return sentence([["no screened token goes along with it by half a standard deviation; first is ", token(best.token_id), ` with ${fixed(size, 2)}`]]);
    return sentence([["where the model predicts ", token(best.token_id), ` (${plural(best.positions, "position")}) it is ${fixed(size, 2)} standard deviations ${best.standardized_difference > 0 ? "higher" : "lower"} than elsewhere`]]);
  }
  // What it reads: the token at which it differs most, and how many of its outermost examples stand at a token at which it differs notably
  function byCurrent(record) {
    const best = farthest(record.current_tokens);
    const isNotable = (row) => row.standardized_difference !== null && Math.abs(row.standardized_difference) >= NOTABLE;
    if (!best || !isNotable(best)) return [];
    const isHigher = best.standardized_difference > 0;
    const { examples } = inCommon(record, isHigher ? "top" : "bottom");
    const listed = new Set(record.current_tokens.filter((row) => row.end === best.end && isNotable(row)).map((row) => row.token_id));
    const held = examples.filter((example) => listed.has(example.token_ids[example.position - example.first_position])).length;
    const at = listed.size > 1 ? `one of the ${listed.size} tokens listed with half a deviation or more` : "that token";
    return sentence([["at ", token(best.token_id), ` (${plural(best.positions, "position")}) it is ${fixed(Math.abs(best.standardized_difference), 2)} standard deviations ${isHigher ? "higher" : "lower"} than elsewhere`],
      ...(examples.length ? [[`${held || "none"} of its ${examples.length} ${isHigher ? "highest" : "lowest"} activations stand at ${at}`]] : [])]);
  }
  function byContribution(record) {
    const [best] = [...record.contributions].sort((one, other) => one.rank - other.rank || Math.abs(other.contribution) - Math.abs(one.contribution));
    if (!best) return [];
    const how = best.end === "writes" ? "writes" : "writes against";
    const place = best.rank === 1 ? "more than any other neuron" : `${best.rank === 2 ? "second" : best.rank === 3 ? "third" : `${best.rank}th`} of all neurons`;
    return sentence([[`it ${how} `, token(best.token_id), ` ${place}: ${signed(best.contribution)} logits where that is predicted`]]);
  }
  function sentence(clauses) { // lists of texts and elements, joined; the first letter is made large
    const parts = clauses.flatMap((clause, place) => (place ? [", and ", ...clause] : clause));
    parts[0] = parts[0][0].toUpperCase() + parts[0].slice(1);
    return [...parts, ". "];
  }
  return (record) => [
    ...(record.statistics?.is_dead ? ["It never rises above 0 on this corpus. "] : []), ...byExamples(record), ...byCurrent(record), ...byTokens(record), ...byContribution(record),
  ];
})();
