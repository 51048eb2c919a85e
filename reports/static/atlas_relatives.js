// Relatives of a token in the vocabulary: entries that read the same but for case and spaces, and those that begin like it. It knows texts alone.
"use strict";
const relativesOf = (() => {
  const MARKS = /^[\s▁]+|[\s▁]+$/gu; // spaces, and the mark that some vocabularies write for one
  const bare = (text) => text.replace(MARKS, "").toLowerCase();

  // { same, begun, beginnings } of ids, shortest first: the same word; entries that it begins; entries that begin it. None of spaces alone.
  return (id, texts) => {
    const text = texts[id], own = bare(text);
    const found = { same: [], begun: [], beginnings: [] };
    if (!own) return found;
    texts.forEach((other, place) => {
      if (place === id || !other) return;
      // Only a text about as long as the word can be it: most of a vocabulary is passed over without a look at its letters
      if (other.length >= own.length && other.toLowerCase().includes(own) && bare(other) === own) found.same.push(place);
      else if (other.length > text.length && other.startsWith(text)) found.begun.push(place);
      else if (other.length < text.length && text.startsWith(other) && bare(other)) found.beginnings.push(place);
    });
    for (const ids of Object.values(found)) ids.sort((one, next) => texts[one].length - texts[next].length || one - next);
    return found;
  };
})();
