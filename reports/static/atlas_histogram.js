// Histograms of neurons: counts over all levels on a scale of powers of ten, drawn as wide as their place, one or several on one axis.
"use strict";
const drawHistogram = (() => {
  const HEIGHT = 220, LEFT = 44, RIGHT = 12, TOP = 8, BOTTOM = 26;
  const svg = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const { number, count } = Atlas;

  function ticks(low, high, most) { // round numbers between two
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough);
    const found = [];
    for (let place = Math.ceil(low / step); place * step <= high + step * 1e-9; place += 1) found.push(place * step + 0); // never −0
    return found;
  }
  const plain = (value) => String(Number(value.toPrecision(6))).replace("-", "−");

  // What is drawn of one histogram: its bins from the first that holds a position to the last; null where none does
  function drawn({ counts, per_unit, first_bin }, place) {
    const first = counts.findIndex((amount) => amount > 0), last = counts.findLastIndex((amount) => amount > 0);
    const edge = (bin) => (first_bin + bin) / per_unit;
    return first < 0 || !per_unit ? null : { place, counts, first, last, edge, binAt: (value) => Math.floor(value * per_unit) - first_bin, low: edge(first), high: edge(last + 1) };
  }
  const outline = ({ counts, first, last, edge }, x, y, bottom) => {
    const bars = [], gap = x(edge(first + 1)) - x(edge(first)) > 4 ? 0.6 : 0;
    for (let bin = first; bin <= last; bin += 1) {
      if (counts[bin]) bars.push(`M${(x(edge(bin)) + gap).toFixed(1)},${bottom}V${y(counts[bin]).toFixed(1)}H${(x(edge(bin + 1)) - gap).toFixed(1)}V${bottom}Z`);
    }
    return bars.join("");
  };
  const told = ({ counts, edge }, bin) => `activation ${plain(edge(bin))} to ${plain(edge(bin + 1))}: ${Atlas.plural(counts[bin] ?? 0, "position")}`;

  // Several lie over each other on one axis, each in its colour; `names` tell them apart where one points
  return (place, histograms, names = []) => {
    place.replaceChildren();
    const shown = histograms.map(drawn).filter(Boolean);
    if (!shown.length) {
      place.append(Atlas.of("p", { className: "empty" }, "No position lies within the bins."));
      return;
    }
    const low = Math.min(...shown.map((one) => one.low)), high = Math.max(...shown.map((one) => one.high));
    const width = Math.max(280, place.clientWidth - 26), largest = Math.max(1, ...shown.map((one) => one.counts.reduce((most, amount) => Math.max(most, amount), 1)));
    const decades = Math.max(1, Math.ceil(Math.log10(largest) + 0.02));
    const x = (value) => LEFT + ((value - low) / (high - low)) * (width - LEFT - RIGHT);
    const y = (amount) => HEIGHT - BOTTOM - ((Math.log10(amount) + 0.3) / (decades + 0.3)) * (HEIGHT - TOP - BOTTOM); // one position is seen as well
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img",
      "aria-label": `Counted positions by activation${names.length ? ` of ${names.join(" and ")}` : ""}, from ${number(low)} to ${number(high)}; the largest bin holds ${count(largest)}.` });
    for (let power = 0; power <= decades; power += 1) {
      drawing.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(10 ** power), y2: y(10 ** power) }));
      if (power % Math.ceil(decades / 5) === 0) drawing.append(svg("text", { x: LEFT - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, power > 3 ? `10${String(power).replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit])}` : count(10 ** power)));
    }
    for (const tick of ticks(low, high, Math.max(3, Math.floor(width / 110)))) {
      drawing.append(svg("text", { x: x(tick), y: HEIGHT - 8, "text-anchor": "middle" }, plain(tick)));
    }
    for (const one of shown) drawing.append(svg("path", { class: one.place ? "bar second" : "bar", d: outline(one, x, y, HEIGHT - BOTTOM) }));
    if (low < 0 && high > 0) drawing.append(svg("line", { class: "zero", x1: x(0), x2: x(0), y1: TOP, y2: HEIGHT - BOTTOM }));
    const edges = [...new Set(shown.flatMap((one) => Array.from({ length: one.last - one.first + 2 }, (_, step) => one.edge(one.first + step))))].sort((one, other) => one - other);
    edges.slice(0, -1).forEach((from, step) => {
      const over = svg("rect", { class: "over", x: x(from), width: x(edges[step + 1]) - x(from), y: TOP, height: HEIGHT - TOP - BOTTOM });
      over.append(svg("title", {}, shown.map((one) => `${names.length ? `${names[one.place]}: ` : ""}${told(one, one.binAt((from + edges[step + 1]) / 2))}`).join("\n")));
      drawing.append(over);
    });
    place.append(drawing);
  };
})();
