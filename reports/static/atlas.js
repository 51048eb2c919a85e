// What all pages of the atlas share: loading and unpacking data, numbers and texts as a reader sees them, pieces of a page.
// A page that is opened from disk may not fetch a file, but it may load a script; data are scripts that register base64 of gzip.
// Texts of tokens and documents only ever go into the page as text (textContent), never as markup.
"use strict";
const Atlas = (() => {
  const MOST_FILES = 120; // kept unpacked: a neuron takes one, and its examples some tens
  const waiting = new Map(); // name -> what takes its base64
  const files = new Map(); // name -> promise of its bytes
  let contents = null;

  window.atlasContents = (given) => { contents = given; };
  window.atlasData = (name, text) => { waiting.get(name)?.(text); };

  class MissingError extends Error {}
  const WITHOUT_CONTENTS = "The file atlas/data/contents.js cannot be read. It belongs to this report: copy the folder atlas whole, or make the report again.";

  function registered(name) {
    return new Promise((take, refuse) => {
      const script = document.createElement("script");
      const end = (how, value) => { waiting.delete(name); script.remove(); how(value); };
      const missing = () => end(refuse, new MissingError(`The file atlas/data/${name}.js cannot be read. It belongs to this report: copy the folder atlas whole, or make the report again.`));
      waiting.set(name, (text) => end(take, text));
      script.addEventListener("error", missing);
      script.addEventListener("load", () => { if (waiting.has(name)) missing(); });
      script.src = `data/${name}.js`;
      document.head.append(script);
    });
  }
  async function unpacked(name) {
    if (typeof DecompressionStream === "undefined") throw new MissingError("This browser cannot unpack the atlas. It needs Firefox 113, Chrome 80, Safari 16.4 or newer.");
    const letters = atob(await registered(name)), bytes = new Uint8Array(letters.length);
    for (let place = 0; place < bytes.length; place += 1) bytes[place] = letters.charCodeAt(place); // Uint8Array.from takes many times as long
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }
  function bytesOf(name) {
    if (!files.has(name)) {
      const bytes = unpacked(name);
      bytes.catch(() => files.delete(name)); // asked again, it is looked for again
      files.set(name, bytes);
      if (files.size > MOST_FILES) files.delete(files.keys().next().value);
    }
    return files.get(name);
  }
  const values = new WeakMap(); // bytes -> what they say
  async function valueOf(name) {
    const bytes = await bytesOf(name);
    if (!values.has(bytes)) values.set(bytes, JSON.parse(new TextDecoder().decode(bytes)));
    return values.get(bytes);
  }
  const numbered = (kind, place) => `${kind}-${String(place).padStart(4, "0")}`;

  let texts = null;
  async function loadVocabulary() { texts ??= await valueOf("vocabulary"); return texts; }
  function textOf(id) { return contents.groups[id] ?? texts?.[id] ?? `token ${id}`; }

  const vocabularySize = () => texts?.length ?? 0;

  // A neuron, by the name that addresses give it
  function nameIn(address) {
    const found = /^#?L(\d{1,6})-N(\d{1,9})$/i.exec(address);
    return found && [Number(found[1]), Number(found[2])];
  }
  // What a person writes: L25 N1527, l25n1527, 25.1527, 25 1527
  function nameGiven(text) {
    const found = /^\s*l?\s*(\d{1,6})\s*[\s.,:/-]*n?\s*(\d{1,9})\s*$/i.exec(text);
    return found && /\D/.test(text.trim()) ? [Number(found[1]), Number(found[2])] : null;
  }
  const nameOf = ([layer, neuron]) => `L${layer}-N${neuron}`;
  const addressOf = (neuron) => `neuron.html#${nameOf(neuron)}`;
  const comparison = (...neurons) => `compare.html#${neurons.map(nameOf).join(",")}`;
  const shownName = ([layer, neuron]) => `L${layer} N${neuron}`;
  const numberOf = ([layer, neuron]) => layer * contents.neurons + neuron;
  const neuronAt = (number) => [Math.floor(number / contents.neurons), number % contents.neurons];
  const exists = ([layer, neuron]) => layer < contents.layers && neuron < contents.neurons;
  // Whether the atlas has its record: a study may ask for those that it studies alone
  const isHeld = ([layer, neuron]) => contents.held?.some(([one, other]) => one === layer && other === neuron) ?? true;
  const notHeld = (neuron) => `The atlas holds no ${shownName(neuron)}: this study asks for the ${plural(contents.held.length, "neuron")} that it studies (atlas: {neurons: studied}).`;
  const noneOf = (neuron) => `There is no neuron ${shownName(neuron)}: this model has layers 0 to ${contents.layers - 1}, and in each neurons 0 to ${contents.neurons - 1}.`;

  // The record of a neuron, with the names of its parts and columns again; null where its file has none
  async function recordOf(neuron) {
    const file = await valueOf(numbered("neurons", Math.floor(numberOf(neuron) / contents.neuronsPerFile)));
    const place = file.neurons.findIndex(([layer, number]) => layer === neuron[0] && number === neuron[1]);
    if (place < 0) return null;
    const rowsOf = (part) => {
      const before = file.rows[part].slice(0, place).reduce((sum, amount) => sum + amount, 0);
      return Array.from({ length: file.rows[part][place] }, (_, row) => Object.fromEntries(Object.entries(file.columns[part]).map(([column, cells]) => [column, cells[before + row]])));
    };
    const record = { layer: neuron[0], neuron: neuron[1] };
    for (const name of contents.single) record[name] = rowsOf(name)[0] ?? null;
    for (const name of contents.lists) record[name] = rowsOf(name);
    await Promise.all(record.examples.map(completed));
    return record;
  }
  // Puts into an example its activations as numbers, and the text around it out of the pieces that it reaches into
  async function completed(example) {
    const size = contents.tokensPerPiece;
    example.activations = example.activations.map((value) => (value === null ? null : value / 10 ** example.places));
    example.first_position = Math.max(0, example.position - contents.tokensBefore);
    const from = example.first_position % size, to = from + example.activations.length;
    const pieces = await Promise.all(Array.from({ length: Math.ceil(to / size) }, (_, place) => pieceOf(example.piece + place)));
    ({ document: example.document, window_in_document: example.window_in_document } = pieces[0]);
    for (const column of ["token_ids", "prediction_ids"]) example[column] = pieces.flatMap((piece) => piece[column]).slice(from, to);
  }
  async function pieceOf(number) {
    const file = await valueOf(numbered("texts", Math.floor(number / contents.piecesPerFile)));
    const piece = Object.fromEntries(Object.entries(file).map(([column, cells]) => [column, cells[number % contents.piecesPerFile]]));
    return { ...piece, prediction_ids: piece.prediction_ids.map((id, at) => (id === contents.follows ? piece.token_ids[at + 1] : id)) };
  }

  // What a file of tokens holds of one, with the names of its columns again; empty lists of one that was not counted
  async function tokenRow(id) {
    const { tokenColumns, tokenLists, tokensPerFile } = contents;
    const cells = (await valueOf(numbered("tokens", Math.floor(id / tokensPerFile))))[id] ?? [];
    const named = ([layer, neuron, ...values], columns) => ({ layer, neuron, ...Object.fromEntries(columns.map((column, place) => [column, values[place]])) });
    return Object.fromEntries(tokenColumns.map((name, place) => [name, name in tokenLists ? (cells[place] ?? []).map((one) => named(one, tokenLists[name])) : cells[place] ?? 0]));
  }
  const addressOfToken = (id) => `token.html#${id}`;

  // Numbers as the other pages print them
  const MISSING = "–", GROUP = "\u202f";
  const minus = (text) => text.replace(/-/g, "−");
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  const count = (value) => (isNumber(value) ? minus(Math.trunc(value).toLocaleString("en").replace(/,/g, GROUP)) : MISSING);
  const superscript = (exponent) => String(exponent).replace(/./g, (digit) => (digit === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]));
  function number(value, digits = 3) {
    if (!isNumber(value)) return MISSING;
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e6) {
      const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
      return minus(`${mantissa} · 10`) + superscript(Number(exponent));
    }
    return minus(value.toFixed(Math.min(20, Math.max(0, digits - 1 - Math.floor(Math.log10(size))))));
  }
  const fixed = (value, decimals = 3) => (isNumber(value) ? minus(value.toFixed(decimals).replace(/^-(?=0\.?0*$)/, "")) : MISSING);
  const signed = (value, digits = 3) => (value > 0 ? `+${number(value, digits)}` : number(value, digits));
  function percent(value, decimals = 1) {
    if (!isNumber(value)) return MISSING;
    const step = 10 ** -decimals;
    if (value > 0 && value * 100 < step / 2) return `< ${step.toFixed(decimals)}${GROUP}%`;
    if (value < 1 && value * 100 >= 100 - step / 2) return `> ${(100 - step).toFixed(decimals)}${GROUP}%`;
    return `${minus((value * 100).toFixed(decimals))}${GROUP}%`;
  }
  const plural = (amount, one, many = `${one}s`) => `${count(amount)} ${amount === 1 ? one : many}`;

  // Texts as the other pages show them (reports/text.py)
  const SIGNS = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽", "\x7f": "␡" };
  const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Zs}]/u;
  function sign(character) {
    if (character in SIGNS) return SIGNS[character];
    if (character < " ") return String.fromCharCode(0x2400 + character.charCodeAt(0));
    return UNSEEN.test(character) ? `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩` : character;
  }
  const visible = (text) => (text ? [...text].map(sign).join("") : "⟨empty⟩");
  const running = (text) => (text.replace(/ /g, "") === "" ? (text ? visible(text) : "") : [...text].map((character) => (character === " " ? " " : sign(character))).join(""));
  const shortened = (text, longest = 32) => ([...text].length <= longest ? text : `${[...text].slice(0, longest - 1).join("")}…`);

  // Pieces of a page. `of` puts children into an element; a string is text.
  function of(name, properties, ...children) {
    const element = document.createElement(name);
    Object.assign(element, properties);
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  }
  function token(id, longest = 32) {
    const seen = visible(textOf(id));
    const shown = of("bdi", { className: "token" }, shortened(seen, longest));
    if (shown.textContent !== seen) shown.title = seen;
    if (id in contents.groups) return of("a", { className: "plain", href: `../token-${id}.html` }, shown); // no entry of the vocabulary
    return id < vocabularySize() ? of("a", { className: "plain", href: addressOfToken(id) }, shown) : shown;
  }
  const neuronLink = (neuron) => of("a", { className: "neuron", href: addressOf(neuron) }, shownName(neuron));
  const isStudied = ([layer, neuron]) => contents.studied.some(([one, other]) => one === layer && other === neuron);
  function table(heads, rows, className = "compact") { // heads: [text, is a number]; rows of lists of contents
    const cell = (name, content, place) => of(name, { className: heads[place][1] ? "n" : "" }, content);
    return of("table", { className },
      of("thead", {}, of("tr", {}, heads.map(([text], place) => cell("th", text, place)))),
      of("tbody", {}, rows.map((row) => of("tr", {}, row.map((content, place) => cell("td", content, place))))));
  }
  function whenGiven(place, take) { // Enter in a field of the place, or its button
    place.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.matches("input")) take(); });
    place.querySelector("button").addEventListener("click", take);
  }
  function folded(heads, rows, most = 12) { // a table of which the first rows are shown, and the others when asked for
    const made = table(heads, rows), rest = [...made.tBodies[0].rows].slice(most);
    rest.forEach((row) => { row.hidden = true; });
    const all = of("button", { type: "button", className: "all-rows" }, `Show all ${count(rows.length)}`);
    all.addEventListener("click", () => { rest.forEach((row) => { row.hidden = false; }); all.remove(); rest[0].scrollIntoView({ block: "nearest" }); });
    return [of("div", { className: "scroll" }, made), rest.length ? all : null];
  }

  return {
    get contents() { return contents; },
    MissingError, WITHOUT_CONTENTS, loadVocabulary, vocabularySize, valueOf, bytesOf, numbered, textOf, recordOf, tokenRow, addressOfToken, nameIn, nameGiven, nameOf, addressOf, comparison, shownName, numberOf, neuronAt, exists, isHeld, notHeld, noneOf,
    count, number, fixed, signed, percent, plural, visible, running, shortened, of, token, neuronLink, isStudied, table, folded, whenGiven,
  };
})();
