// The histogram of a neuron: counts over all levels on a scale of powers of ten, drawn as wide as its place.
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

  return (place, { counts, per_unit, first_bin }) => {
    place.replaceChildren();
    const first = counts.findIndex((amount) => amount > 0), last = counts.findLastIndex((amount) => amount > 0);
    if (first < 0 || !per_unit) {
      place.append(Atlas.of("p", { className: "empty" }, "No position lies within the bins."));
      return;
    }
    const edge = (bin) => (first_bin + bin) / per_unit;
    const low = edge(first), high = edge(last + 1);
    const width = Math.max(280, place.clientWidth - 26), largest = counts.reduce((most, amount) => Math.max(most, amount), 1);
    const decades = Math.max(1, Math.ceil(Math.log10(largest) + 0.02));
    const x = (value) => LEFT + ((value - low) / (high - low)) * (width - LEFT - RIGHT);
    const y = (amount) => HEIGHT - BOTTOM - ((Math.log10(amount) + 0.3) / (decades + 0.3)) * (HEIGHT - TOP - BOTTOM); // one position is seen as well
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img",
      "aria-label": `Counted positions by activation, from ${number(low)} to ${number(high)}; the largest bin holds ${count(largest)}.` });
    for (let power = 0; power <= decades; power += 1) {
      drawing.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(10 ** power), y2: y(10 ** power) }));
      if (power % Math.ceil(decades / 5) === 0) drawing.append(svg("text", { x: LEFT - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, power > 3 ? `10${String(power).replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit])}` : count(10 ** power)));
    }
    for (const tick of ticks(low, high, Math.max(3, Math.floor(width / 110)))) {
      drawing.append(svg("text", { x: x(tick), y: HEIGHT - 8, "text-anchor": "middle" }, plain(tick)));
    }
    const bars = [], gap = x(edge(first + 1)) - x(low) > 4 ? 0.6 : 0;
    for (let bin = first; bin <= last; bin += 1) {
      if (counts[bin]) bars.push(`M${(x(edge(bin)) + gap).toFixed(1)},${HEIGHT - BOTTOM}V${y(counts[bin]).toFixed(1)}H${(x(edge(bin + 1)) - gap).toFixed(1)}V${HEIGHT - BOTTOM}Z`);
    }
    drawing.append(svg("path", { class: "bar", d: bars.join("") }));
    if (low < 0 && high > 0) drawing.append(svg("line", { class: "zero", x1: x(0), x2: x(0), y1: TOP, y2: HEIGHT - BOTTOM }));
    for (let bin = first; bin <= last; bin += 1) {
      const over = svg("rect", { class: "over", x: x(edge(bin)), width: x(edge(bin + 1)) - x(edge(bin)), y: TOP, height: HEIGHT - TOP - BOTTOM });
      over.append(svg("title", {}, `activation ${plain(edge(bin))} to ${plain(edge(bin + 1))}: ${Atlas.plural(counts[bin], "position")}`));
      drawing.append(over);
    }
    place.append(drawing);
  };
})();
