// A page of what its address names: loads it, says what cannot be shown and why, and follows the address.
"use strict";
// Thrown by what loads, of what there is nothing to show; `link` leads on from there.
class NotShown extends Error {
  constructor(text, link) { super(text); this.link = link; }
}
// `namedIn` gives what an address names, or null, of which `unnamed` tells; `load` a promise of it, or NotShown; `fill` is given both. `addressOf` is the
// address of what was loaded, which comes back after the skip link's own, unless that was `attempted` as another. `described`: what may be damaged.
const showAddressed = ({ namedIn, unnamed, load, fill, addressOf, described, attempted = () => false, search = "Search all neurons" }) => {
  const article = document.querySelector("[data-shown]"), notice = document.querySelector("[data-notice]"), title = document.querySelector("[data-title]");
  let shown = null; // what was loaded for the page
  let asked = 0; // only what was asked for last is shown

  function say(text, link = Atlas.of("a", { href: "index.html" }, search)) {
    notice.replaceChildren(Atlas.of("span", { className: "badge warning" }, "not shown"), ` ${text} `, link);
    notice.className = "inner notice warning notice-place";
    notice.hidden = false;
    article.hidden = true;
    shown = null;
  }
  async function open() {
    const own = asked += 1;
    const named = namedIn(location.hash);
    if (named === null && shown !== null && !attempted(location.hash)) { history.replaceState(null, "", addressOf(shown)); return; }
    if (!Atlas.contents) return say(Atlas.WITHOUT_CONTENTS);
    if (named === null) return say(unnamed);
    try {
      const loaded = await load(named);
      if (own === asked) show(named, loaded);
    } catch (error) {
      if (own !== asked) return;
      if (error instanceof NotShown) say(error.message, error.link);
      else say(error instanceof Atlas.MissingError ? error.message : `What atlas/data holds of ${described(named)} is damaged (${error.message}). Make the report again.`);
    }
  }
  function show(named, loaded) {
    const isFirst = shown === null;
    shown = loaded;
    notice.hidden = true;
    article.hidden = false; // before it is filled: what is drawn is as wide as its place
    fill(loaded, named);
    if (!isFirst) { scrollTo(0, 0); title.focus({ preventScroll: true }); }
  }

  addEventListener("hashchange", open);
  open();
};
// The same of neurons: `namesIn` gives those that an address names; `fill` is given their records and names.
const showNeurons = (namesIn, unnamed, fill) => showAddressed({
  namedIn: namesIn, unnamed, fill,
  addressOf: (records) => `#${records.map((record) => Atlas.nameOf([record.layer, record.neuron])).join(",")}`,
  attempted: (address) => address.startsWith("#L"),
  described: (neurons) => neurons.map(Atlas.shownName).join(" or "),
  async load(neurons) {
    const absent = neurons.find((neuron) => !Atlas.exists(neuron));
    if (absent) throw new NotShown(Atlas.noneOf(absent));
    const leftOut = neurons.find((neuron) => !Atlas.isHeld(neuron));
    if (leftOut) throw new NotShown(Atlas.notHeld(leftOut));
    const [, ...records] = await Promise.all([Atlas.loadVocabulary(), ...neurons.map(Atlas.recordOf)]);
    const none = records.indexOf(null);
    if (none >= 0) throw new NotShown(`The atlas holds no ${Atlas.shownName(neurons[none])}.`);
    return records;
  },
});
