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
  // The ids that a query finds, the closest first and among these the shortest; of a letter that is in most texts as fast as of a rare word
  function matching(query) {
    const { lower, bare, shortestFirst } = readable();
    const asked = query.toLowerCase(), word = asked.trim(), id = String(Number(word)) === word ? Number(word) : -1;
    const isSeen = /[␣↵⇥␍⍽␡⟨⟩␀-␟]/u.test(asked), seen = asked.replace(/ /g, "␣"); // a sign of the pages is in no token, or in few
    const found = [[], [], [], []];
    for (const one of shortestFirst) {
      const text = lower[one];
      if (one === id || text === asked) found[0].push(one);
      else if (text.includes(word)) found[bare[one] === word ? 1 : bare[one].startsWith(word) ? 2 : 3].push(one);
      else if (isSeen && visible(text).toLowerCase().includes(seen)) found[3].push(one);
    }
    return found.flat();
  }
  let read = null; // of every token: its text in small letters, the same without spaces around it; and all ids by length
  function readable() {
    if (read) return read;
    const lower = Array.from({ length: Atlas.vocabularySize() }, (_, id) => Atlas.textOf(id).toLowerCase());
    const shortestFirst = Int32Array.from(lower.keys()).sort((one, other) => lower[one].length - lower[other].length || one - other);
    return read = { lower, bare: lower.map((text) => text.trim()), shortestFirst };
  }
  async function rowOf(id) {
    const row = await Atlas.tokenRow(id);
    const neurons = (list, column) => (list.length ? list.slice(0, OF_LIST).map((one) => of("div", { className: "line" }, neuronLink([one.layer, one.neuron]), of("small", {}, signed(one[column])))) : "–");
    return [token(id, 24), String(id), count(row.predictions), neurons(row.writes, "contribution"), neurons(row.writes_against, "contribution"), neurons(row.goes_along, "standardized_difference"), neurons(row.congruence, "congruence")];
  }

  if (!Atlas.contents) {
    const notice = document.querySelector("[data-notice]");
    notice.textContent = Atlas.WITHOUT_CONTENTS;
    notice.hidden = false;
    input.disabled = true;
    return;
  }
  const readAddress = () => { input.value = Address.get("q") ?? ""; search(); };
  Address.changed(readAddress);
  input.addEventListener("focus", () => Atlas.loadVocabulary().then(readable, () => {}), { once: true }); // before the first letter; what fails is told at the search
  input.addEventListener("input", search);
  input.addEventListener("keydown", (event) => { // Enter opens what was named
    const neuron = event.key === "Enter" && Atlas.nameGiven(input.value);
    if (neuron && Atlas.exists(neuron)) location.href = Atlas.addressOf(neuron);
  });
  readAddress();
})();
