// The search over all neurons: by name, by a token's text, by a word of the text around the examples. It answers while one types.
"use strict";
(() => {
  const TOKENS = 12, WORDS = 4, NEURONS = 24, OF_LIST = 3; // shown
  const { of, token, neuronLink, signed, number, count, plural, table, visible } = Atlas;
  const input = document.querySelector("[data-query]"), results = document.querySelector("[data-results]"), said = document.querySelector("[data-said]");
  let asked = 0;

  async function search() {
    const own = asked += 1;
    const query = input.value;
    Address.set({ q: query.trim() ? query : null });
    if (!query.trim()) { results.replaceChildren(); said.textContent = ""; return; }
    try {
      await Atlas.loadVocabulary();
      const parts = await Promise.all([byName(query), byWord(query), byToken(query)]);
      if (own !== asked) return;
      const found = parts.filter(Boolean);
      results.replaceChildren(...found);
      said.textContent = found.length ? "" : "No neuron, token or word of the examples goes by that.";
    } catch (error) {
      if (own === asked) { results.replaceChildren(); said.textContent = error.message; }
    }
  }

  function byName(query) {
    const neuron = Atlas.nameGiven(query), two = neuron ? null : twoIn(query);
    if (two) return section("Two neurons", of("p", {}, of("a", { href: Atlas.comparison(...two) }, `${Atlas.shownName(two[0])} beside ${Atlas.shownName(two[1])}`)));
    if (!neuron) return null;
    if (!Atlas.exists(neuron)) return section("Neuron", of("p", { className: "empty" }, Atlas.noneOf(neuron)));
    return section("Neuron", of("p", {}, neuronLink(neuron), of("small", {}, " · ", of("a", { href: Atlas.comparison(neuron) }, "compare it with another"))));
  }
  function twoIn(query) { // L25 N1527, L3 N700
    const two = query.split(/\s*(?:[,;&]|\band\b|\bvs\b)\s*/i).map(Atlas.nameGiven);
    return two.length === 2 && two.every((one) => one && Atlas.exists(one)) ? two : null;
  }
  const section = (title, ...content) => of("section", { className: "found" }, of("h2", {}, title), ...content);

  // Words: files are in the order of the words; one file holds a word, and what begins like it may go on in the next
  function filesOf(word) {
    const firsts = Atlas.contents.firstWords;
    let low = 0, high = firsts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (firsts[middle] <= word) low = middle + 1; else high = middle;
    }
    const held = low ? [low - 1] : [];
    if (low < firsts.length && firsts[low].startsWith(word)) held.push(low);
    return held;
  }
  async function byWord(query) {
    const word = query.trim().toLowerCase();
    const held = await Promise.all(filesOf(word).map((place) => Atlas.valueOf(Atlas.numbered("words", place))));
    const found = held.flat().filter(([one]) => one.startsWith(word)).sort((one, other) => (other[0] === word) - (one[0] === word) || other[1] - one[1] || one[0].length - other[0].length);
    if (!found.length) return null;
    return section("Words in their text", of("p", { className: "small" }, "In how many of a neuron's highest or lowest examples the word stands where it is active, and how many standard deviations from its mean."), ...found.slice(0, WORDS).map(wordPart));
  }
  function wordPart([word, neurons, first]) {
    const rows = first.slice(0, NEURONS).map(([place, isLowest, examples, distance]) => of("li", {}, neuronLink(Atlas.neuronAt(place)),
      of("small", {}, ` ${examples}× ${isLowest ? "lowest" : "highest"}, ${number(distance, 2)} sd`)));
    const more = neurons > rows.length ? `; the first ${rows.length} here` : "";
    return of("div", {}, of("p", {}, of("bdi", { className: "token" }, visible(word)), ` moves ${plural(neurons, "neuron")}${more} `), of("ul", { className: "fires" }, rows));
  }

  // Tokens
  async function byToken(query) {
    const ids = matching(query);
    if (!ids.length) return null;
    const rows = await Promise.all(ids.slice(0, TOKENS).map(rowOf));
    const more = ids.length > TOKENS ? ` of ${count(ids.length)}` : "";
    const heads = [["Token"], ["Id", true], ["Predicted", true], ["Writes it, logits"], ["Writes against it"], ["Goes along, deviations"], ["By its weights"]];
    const known = heads.map((_, place) => place < 3 || rows.some((row) => row[place] !== "–")); // a list that no token has is left out
    const left = (cells) => cells.filter((_, place) => known[place]);
    return section("Tokens", of("p", { className: "small" }, more ? `The first ${TOKENS}${more}, shortest first.` : ""), of("div", { className: "scroll" }, table(left(heads), rows.map(left))));
  }
  function matching(query) {
    const texts = lowered(), asked = query.toLowerCase(), bare = asked.trim();
    const isSeen = /[␣↵⇥␍⍽␡⟨⟩␀-␟]/u.test(asked), seen = asked.replace(/ /g, "␣"); // a sign of the pages is in no token, or in few
    const found = [];
    texts.forEach((text, id) => { if (text.includes(bare) || (isSeen && visible(text).toLowerCase().includes(seen)) || String(id) === bare) found.push(id); });
    const closeness = (id) => (texts[id] === asked ? 0 : texts[id].trim() === bare ? 1 : texts[id].trim().startsWith(bare) ? 2 : 3);
    return found.sort((one, other) => closeness(one) - closeness(other) || texts[one].length - texts[other].length || one - other);
  }
  let lower = null;
  function lowered() { return lower ??= Array.from({ length: Atlas.vocabularySize() }, (_, id) => Atlas.textOf(id).toLowerCase()); }
  async function rowOf(id) {
    const file = await Atlas.valueOf(Atlas.numbered("tokens", Math.floor(id / Atlas.contents.tokensPerFile)));
    const row = Object.fromEntries(Atlas.contents.tokenColumns.map((name, place) => [name, file[id]?.[place]]));
    const neurons = (list) => ((list ?? []).length ? list.slice(0, OF_LIST).map(([layer, neuron, value]) => of("div", { className: "line" }, neuronLink([layer, neuron]), of("small", {}, signed(value)))) : "–");
    return [token(id, 24), String(id), count(row.predictions), neurons(row.writes), neurons(row.writes_against), neurons(row.goes_along), neurons(row.congruence)];
  }

  if (!Atlas.contents) {
    const notice = document.querySelector("[data-notice]");
    notice.textContent = Atlas.WITHOUT_CONTENTS;
    notice.hidden = false;
    input.disabled = true;
    return;
  }
  const read = () => { input.value = Address.get("q") ?? ""; search(); };
  Address.changed(read);
  input.addEventListener("input", search);
  input.addEventListener("keydown", (event) => { // Enter opens what was named
    const neuron = event.key === "Enter" && Atlas.nameGiven(input.value);
    if (neuron && Atlas.exists(neuron)) location.href = Atlas.addressOf(neuron);
  });
  read();
})();
