// The numbers of all neurons by column, and how one of them becomes a place on an axis or a shade. It draws nothing.
"use strict";
const Scales = (() => {
  const PLACE = "layer"; // the one that is no column: the layer, and within it the neuron's place

  async function load() { // by column: { label, isLog, values: of every neuron, as drawn; low, high }
    const bytes = await Atlas.bytesOf("overview");
    const { layers, neurons, overview } = Atlas.contents, amount = layers * neurons;
    const columns = new Map();
    const layer = Float32Array.from({ length: amount }, (_, place) => Math.floor(place / neurons) + (0.84 * (place % neurons)) / neurons - 0.42);
    columns.set(PLACE, made("Layer", false, layer));
    overview.forEach(([name, label, isLog], place) => {
      const given = new Float32Array(bytes, 4 * amount * place, amount);
      const column = made(label, isLog, isLog ? given.map((value) => (value > 0 ? Math.log10(value) : NaN)) : given);
      if (column) columns.set(name, column);
    });
    return columns;
  }
  function made(label, isLog, values) {
    let low = Infinity, high = -Infinity;
    for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
    if (low > high) return null; // nothing is known
    const margin = (high - low) * 0.03 || 0.5;
    return { label, isLog, values, low: low - margin, high: high + margin };
  }
  const told = (column, place) => (Number.isNaN(column.values[place]) ? NaN : column.isLog ? 10 ** column.values[place] : column.values[place]);

  function ticks(column, low, high, most) { // [place, text]
    if (column.isLog && high - low > 0.7 * most) return steps(low, high, most, 1).map((place) => [place, Atlas.number(10 ** place, 1)]);
    if (column.isLog && high - low > 1.2) return powers(low, high);
    if (column.isLog) return steps(10 ** low, 10 ** high, most).filter((value) => value > 0).map((value) => [Math.log10(value), plain(value)]);
    return steps(low, high, most, column.label === "Layer" ? 1 : 0).map((value) => [value, plain(value)]);
  }
  function powers(low, high) {
    const found = [];
    for (let power = Math.floor(low); power <= high; power += 1) {
      for (const times of [1, 3]) {
        const place = power + Math.log10(times);
        if (place >= low && place <= high) found.push([place, plain(times * 10 ** power)]);
      }
    }
    return found;
  }
  function steps(low, high, most, least = 0) {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = Math.max(least, [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough));
    const found = [];
    for (let place = Math.ceil(low / step); place * step <= high; place += 1) found.push(place * step + 0); // never −0
    return found;
  }
  const plain = (value) => (Number.isInteger(value) && Math.abs(value) < 1e6 ? Atlas.count(value) : written(value));
  const written = (value) => (Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-4) ? Atlas.number(value, 1) : String(Number(value.toPrecision(5))).replace("-", "−"));

  return { load, told, ticks, PLACE };
})();
