// A page of the neurons that its address names: loads their records, says what cannot be shown, and follows the address.
"use strict";
// `namesIn` gives the neurons that an address names, or null, of which `unnamed` tells; `fill` is given their records and names.
const showAddressed = (namesIn, unnamed, fill) => {
  const article = document.querySelector("[data-shown]"), notice = document.querySelector("[data-notice]"), title = document.querySelector("[data-title]");
  let shown = null; // the neurons on the page
  let asked = 0; // only what was asked for last is shown

  function say(text) {
    notice.replaceChildren(Atlas.of("span", { className: "badge warning" }, "not shown"), ` ${text} `, Atlas.of("a", { href: "index.html" }, "Search all neurons"));
    notice.className = "inner notice warning notice-place";
    notice.hidden = false;
    article.hidden = true;
    shown = null;
  }
  async function open() {
    const own = asked += 1;
    const neurons = namesIn(location.hash);
    if (!neurons && shown && !location.hash.startsWith("#L")) { history.replaceState(null, "", `#${shown.map(Atlas.nameOf).join(",")}`); return; } // the skip link's own address
    if (!Atlas.contents) return say(Atlas.WITHOUT_CONTENTS);
    if (!neurons) return say(unnamed);
    const absent = neurons.find((neuron) => !Atlas.exists(neuron));
    if (absent) return say(Atlas.noneOf(absent));
    const leftOut = neurons.find((neuron) => !Atlas.isHeld(neuron));
    if (leftOut) return say(Atlas.notHeld(leftOut));
    try {
      const [, ...records] = await Promise.all([Atlas.loadVocabulary(), ...neurons.map(Atlas.recordOf)]);
      if (own !== asked) return;
      const none = records.indexOf(null);
      if (none >= 0) return say(`The atlas holds no ${Atlas.shownName(neurons[none])}.`);
      show(records, neurons);
    } catch (error) {
      if (own === asked) say(error instanceof Atlas.MissingError ? error.message : `What atlas/data holds of ${neurons.map(Atlas.shownName).join(" or ")} is damaged (${error.message}). Make the report again.`);
    }
  }
  function show(records, neurons) {
    const isFirst = shown === null;
    shown = neurons;
    notice.hidden = true;
    article.hidden = false; // before it is filled: what is drawn is as wide as its place
    fill(records, neurons);
    if (!isFirst) { scrollTo(0, 0); title.focus({ preventScroll: true }); }
  }

  addEventListener("hashchange", open);
  open();
};
