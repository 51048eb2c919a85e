// What the address of a page keeps after its #: names and values, so that a search and a view of the map can be sent to somebody.
"use strict";
const Address = (() => {
  let held = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const heard = [];
  addEventListener("hashchange", () => {
    if (!location.hash.includes("=")) return; // a place on the page, such as the skip link's
    held = new URLSearchParams(location.hash.slice(1));
    heard.forEach((take) => take());
  });
  return {
    get: (name) => held.get(name),
    set(changes) { // null takes a name out
      for (const [name, value] of Object.entries(changes)) {
        if (value === null || value === "") held.delete(name);
        else held.set(name, value);
      }
      const text = held.toString();
      history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    },
    changed: (take) => { heard.push(take); },
  };
})();
