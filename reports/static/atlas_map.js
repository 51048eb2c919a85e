// The map of all neurons: a point each, drawn as pixels on a canvas; moved and zoomed by pointer, wheel and keys, filtered, and kept in the address.
"use strict";
(() => {
  const LEFT = 58, RIGHT = 14, TOP = 14, BOTTOM = 44; // pixels around the points
  const LISTED = 20, NEAR = 9; // neurons below the map; pixels within which a point is pointed at
  const SHADES = 24;
  const { of, table, neuronLink, number, count, percent } = Atlas;
  const canvas = document.querySelector("[data-map]"), choices = document.querySelector("[data-choices]");
  const reading = document.querySelector("[data-reading]"), shownPart = document.querySelector("[data-shown]"), keyPart = document.querySelector("[data-key]");
  const fields = Object.fromEntries([...choices.querySelectorAll("select, input")].map((field) => [field.name, field]));
  const paint = canvas.getContext("2d");
  if (!Atlas.contents || !paint) return;
  const BELOW_HALF = 0.49999; // numbers are kept to three digits: 0.4999 is the last below it
  const FILTERS = ["first", "last", "kurtosis", "contribution", "least", "most", "read"];
  const DEFAULTS = { x: Scales.PLACE, y: "kurtosis", colour: "separation" };
  let columns = null;
  let view = null; // { x: [low, high], y: [low, high] } as drawn
  let kept = []; // neurons that pass the filters, in no order, the same each time
  let drawn = null; // of these, in their order: places on both axes and shade. A drawing reads them one behind the other: 184,320 neurons in any order took thrice as long
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // Choices
  const chosen = (name) => columns.get(fields[name].value);
  const limit = (name) => (fields[name].value === "" ? null : Number(fields[name].value));
  function offer() {
    for (const name of ["x", "y", "colour"]) {
      const select = fields[name];
      select.replaceChildren(...[...columns].map(([key, column]) => of("option", { value: key }, column.label)));
    }
  }
  function readAddress() {
    for (const [name, otherwise] of Object.entries(DEFAULTS)) {
      const given = Address.get(name);
      fields[name].value = columns.has(given) ? given : columns.has(otherwise) ? otherwise : "mean";
    }
    for (const name of FILTERS) fields[name].value = Address.get(name) ?? "";
    const ends = (Address.get("view") ?? "").split(",").map(Number);
    const whole = everything();
    const isView = ends.length === 4 && ends.every(Number.isFinite) && ends[0] < ends[1] && ends[2] < ends[3];
    view = isView ? { x: ends.slice(0, 2), y: ends.slice(2) } : whole;
  }
  function writeAddress() {
    const changes = {};
    for (const [name, otherwise] of Object.entries(DEFAULTS)) changes[name] = fields[name].value === otherwise ? null : fields[name].value;
    for (const name of FILTERS) changes[name] = fields[name].value;
    const whole = everything();
    const isWhole = ["x", "y"].every((axis) => view[axis][0] === whole[axis][0] && view[axis][1] === whole[axis][1]);
    changes.view = isWhole ? null : [...view.x, ...view.y].map((end) => Number(end.toPrecision(5))).join(",");
    Address.set(changes);
  }
  const everything = () => ({ x: [chosen("x").low, chosen("x").high], y: [chosen("y").low, chosen("y").high] });

  function filter() {
    const { layers, neurons } = Atlas.contents;
    const first = limit("first") ?? 0, last = limit("last") ?? layers - 1, least = limit("least"), most = limit("most");
    const above = columns.get("share_above_zero"), auroc = columns.get("auroc"), read = fields.read.value, shade = chosen("colour").values;
    const sizes = ["kurtosis", "contribution"].map((name) => [columns.get(name), limit(name)]);
    const x = chosen("x").values, y = chosen("y").values;
    const fits = (column, low, high, place) => {
      if (low === null && high === null) return true;
      const value = column ? Scales.told(column, place) : NaN;
      return value >= (low ?? -Infinity) && value <= (high ?? Infinity); // never of what is not a number
    };
    kept = [];
    for (let place = Math.max(0, first) * neurons; place < Math.min(layers, last + 1) * neurons; place += 1) {
      if (Number.isNaN(x[place]) || Number.isNaN(y[place])) continue;
      const isRead = !read || fits(auroc, read === "up" ? 0.5 : null, read === "down" ? BELOW_HALF : null, place);
      if (isRead && sizes.every(([column, low]) => fits(column, low, null, place)) && fits(above, least === null ? null : least / 100, most === null ? null : most / 100, place)) kept.push(place);
    }
    const shades = shadesOf(shade);
    kept.sort((one, other) => mixed(one) - mixed(other)); // where points lie on each other, what is seen is no choice of ours
    drawn = { x: Float32Array.from(kept, (place) => x[place]), y: Float32Array.from(kept, (place) => y[place]), shades: Int8Array.from(kept, (place) => shades[place]) };
  }
  const mixed = (place) => Math.imul(place, 2654435761) >>> 0;
  // Shades by rank of twenty-four equal parts of what is kept, so that a few extremes do not leave all others alike; -1 is none
  function shadesOf(values) {
    const found = new Int8Array(values.length).fill(-1);
    const known = Float32Array.from(kept.map((place) => values[place]).filter((value) => !Number.isNaN(value))).sort();
    const ends = Array.from({ length: SHADES - 1 }, (_, part) => known[Math.floor((known.length * (part + 1)) / SHADES)]);
    for (const place of kept) {
      const value = values[place];
      if (Number.isNaN(value)) continue;
      let low = 0, high = ends.length;
      while (low < high) { const middle = (low + high) >> 1; if (ends[middle] <= value) low = middle + 1; else high = middle; }
      found[place] = low;
    }
    return found;
  }

  // Drawing
  let width = 0, height = 0, density = 1;
  const across = (value) => LEFT + ((value - view.x[0]) / (view.x[1] - view.x[0])) * (width - LEFT - RIGHT);
  const up = (value) => height - BOTTOM - ((value - view.y[0]) / (view.y[1] - view.y[0])) * (height - TOP - BOTTOM);
  const backAcross = (pixel) => view.x[0] + ((pixel - LEFT) / (width - LEFT - RIGHT)) * (view.x[1] - view.x[0]);
  const backUp = (pixel) => view.y[0] + ((height - BOTTOM - pixel) / (height - TOP - BOTTOM)) * (view.y[1] - view.y[0]);

  function colours() { // [red, green, blue] of each shade, and of none
    const style = getComputedStyle(document.documentElement);
    const rgb = (name) => { const hex = style.getPropertyValue(name).trim(); return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)); };
    const stops = [rgb("--plot-low"), rgb("--plot-dot"), rgb("--plot-high")];
    const mixed = (share) => { const at = share * 2, from = Math.min(1, Math.floor(at)); return stops[from].map((value, part) => Math.round(value + (stops[from + 1][part] - value) * (at - from))); };
    return { ramp: Array.from({ length: SHADES }, (_, shade) => mixed(shade / (SHADES - 1))), none: rgb("--plot-unreliable"), ink: style.getPropertyValue("--muted"), grid: style.getPropertyValue("--grid"), accent: style.getPropertyValue("--ink") };
  }
  const word = ([red, green, blue]) => (255 << 24) | (blue << 16) | (green << 8) | red; // a pixel of a little-endian machine, which every browser's is

  let waits = false;
  function draw() {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => { waits = false; drawNow(); });
  }
  function drawNow() {
    density = Math.min(2, devicePixelRatio || 1);
    width = canvas.clientWidth;
    height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
      canvas.width = Math.round(width * density);
      canvas.height = Math.round(height * density);
    }
    const used = colours();
    paint.setTransform(density, 0, 0, density, 0, 0);
    paint.clearRect(0, 0, width, height);
    const inView = drawPoints(used);
    drawAxes(used);
    drawPointed(used);
    tell(inView);
  }
  function drawPoints(used) {
    const wide = Math.max(1, Math.round((width - LEFT - RIGHT) * density)), high = Math.max(1, Math.round((height - TOP - BOTTOM) * density));
    const image = paint.createImageData(wide, high), pixels = new Uint32Array(image.data.buffer);
    const words = used.ramp.map(word), none = word(used.none);
    const { x, y, shades } = drawn;
    const [left, right] = view.x, [bottom, top] = view.y;
    const seen = new Uint32Array(x.length); // places in what is drawn
    let amount = 0;
    for (let one = 0; one < x.length; one += 1) if (x[one] >= left && x[one] <= right && y[one] >= bottom && y[one] <= top) { seen[amount] = one; amount += 1; }
    const size = Math.round(density * (amount > 60000 ? 1.5 : amount > 8000 ? 2.5 : amount > 800 ? 4 : 6)), half = size >> 1;
    for (let point = 0; point < amount; point += 1) {
      const one = seen[point];
      const centreX = Math.round(((x[one] - left) / (right - left)) * (wide - 1)), centreY = Math.round(((top - y[one]) / (top - bottom)) * (high - 1));
      const colour = shades[one] < 0 ? none : words[shades[one]];
      const startX = Math.max(0, centreX - half), endX = Math.min(wide, centreX - half + size), endY = Math.min(high, centreY - half + size);
      for (let row = Math.max(0, centreY - half); row < endY; row += 1) for (let column = startX; column < endX; column += 1) pixels[row * wide + column] = colour;
    }
    paint.putImageData(image, Math.round(LEFT * density), Math.round(TOP * density));
    const places = kept;
    return { amount, places: () => Array.from(seen.subarray(0, amount), (one) => places[one]) };
  }
  function drawAxes({ ink, grid }) {
    paint.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    paint.fillStyle = ink;
    paint.strokeStyle = grid;
    paint.globalCompositeOperation = "destination-over"; // behind the points
    const line = (x1, y1, x2, y2) => { paint.beginPath(); paint.moveTo(x1, y1); paint.lineTo(x2, y2); paint.stroke(); };
    const ticksX = Scales.ticks(chosen("x"), ...view.x, Math.max(3, Math.floor(width / 90))), ticksY = Scales.ticks(chosen("y"), ...view.y, Math.max(3, Math.floor(height / 60)));
    for (const [place] of ticksX) line(across(place), TOP, across(place), height - BOTTOM);
    for (const [place] of ticksY) line(LEFT, up(place), width - RIGHT, up(place));
    paint.globalCompositeOperation = "source-over";
    paint.textAlign = "center";
    for (const [place, text] of ticksX) paint.fillText(text, across(place), height - BOTTOM + 17);
    paint.fillText(chosen("x").label, LEFT + (width - LEFT - RIGHT) / 2, height - 8);
    paint.textAlign = "right";
    for (const [place, text] of ticksY) paint.fillText(text, LEFT - 7, up(place) + 4);
    paint.textAlign = "center";
    paint.save();
    paint.translate(13, TOP + (height - TOP - BOTTOM) / 2);
    paint.rotate(-Math.PI / 2);
    paint.fillText(chosen("y").label, 0, 0);
    paint.restore();
  }
  let pointed = null;
  function drawPointed({ accent }) {
    if (pointed === null) return;
    paint.strokeStyle = accent;
    paint.lineWidth = 2;
    paint.beginPath();
    paint.arc(across(chosen("x").values[pointed]), up(chosen("y").values[pointed]), 6, 0, 2 * Math.PI);
    paint.stroke();
    paint.lineWidth = 1;
  }

  // What is told below the map: how many, the key, and the first neurons in view by the statistic of the colour
  let telling = null;
  function tell(inView) {
    const all = Atlas.contents.layers * Atlas.contents.neurons, colour = chosen("colour");
    shownPart.textContent = `${count(inView.amount)} of ${Atlas.plural(all, "neuron")} in view`;
    keyPart.replaceChildren(`${colour.label}: low`, of("span", { className: "ramp" }), "high, in equal parts");
    clearTimeout(telling);
    telling = setTimeout(() => list(inView.places()), 120); // a hand that moves the map does not wait for it
  }
  function list(inView) {
    const colour = chosen("colour");
    const names = [...new Set([fields.colour.value, fields.y.value, fields.x.value])].filter((name) => name !== Scales.PLACE);
    const first = firstOf(inView, colour.values);
    document.querySelector("[data-listed-title]").textContent = first.length ? `The first in view by ${colour.label.toLowerCase()}` : "";
    document.querySelector("[data-listed]").replaceChildren(first.length ? table([["Neuron"], ...names.map((name) => [columns.get(name).label, true])],
      first.map((place) => [neuronLink(Atlas.neuronAt(place)), ...names.map((name) => told(name, place))])) : of("p", { className: "empty" }, "No neuron is in view."));
  }
  function firstOf(places, values) { // without sorting all of them
    const known = places.filter((place) => !Number.isNaN(values[place]));
    const least = Float32Array.from(known.map((place) => -values[place])).sort()[Math.min(LISTED, known.length) - 1];
    return known.filter((place) => -values[place] <= least).sort((one, other) => values[other] - values[one] || one - other).slice(0, LISTED);
  }
  function told(name, place) {
    const value = Scales.told(columns.get(name), place);
    return name === "share_above_zero" ? percent(value) : number(value);
  }

  // Pointing
  function nearest(left, top) {
    let found = null, least = NEAR * NEAR;
    for (let one = 0; one < kept.length; one += 1) {
      const distance = (across(drawn.x[one]) - left) ** 2 + (up(drawn.y[one]) - top) ** 2;
      if (distance <= least) { least = distance; found = kept[one]; }
    }
    return found;
  }
  function point(left, top) {
    const inside = left >= LEFT && left <= width - RIGHT && top >= TOP && top <= height - BOTTOM;
    const found = inside ? nearest(left, top) : null;
    canvas.style.cursor = found === null ? "crosshair" : "pointer";
    if (found === pointed) return;
    pointed = found;
    reading.hidden = found === null;
    if (found !== null) {
      const names = [...new Set(["x", "y", "colour"].map((name) => fields[name].value))].filter((name) => name !== Scales.PLACE);
      reading.replaceChildren(of("b", {}, Atlas.shownName(Atlas.neuronAt(found))), names.map((name) => of("div", {}, `${columns.get(name).label} ${told(name, found)}`)).reduce((all, one) => { all.append(one); return all; }, of("div", {})));
      reading.style.left = `${Math.max(4, Math.min(left + 14, width - reading.offsetWidth - 4))}px`;
      reading.style.top = `${top > reading.offsetHeight + 20 ? top - reading.offsetHeight - 12 : top + 16}px`;
    }
    draw();
  }
  const placeOf = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };

  // Moving
  function zoom(times, left = width / 2, top = height / 2) {
    const x = backAcross(left), y = backUp(top);
    view = { x: view.x.map((end) => x + (end - x) * times), y: view.y.map((end) => y + (end - y) * times) };
    moved();
  }
  function pan(right, down) { // in pixels
    const x = (right / (width - LEFT - RIGHT)) * (view.x[1] - view.x[0]), y = (down / (height - TOP - BOTTOM)) * (view.y[1] - view.y[0]);
    view = { x: view.x.map((end) => end - x), y: view.y.map((end) => end + y) };
    moved();
  }
  let writing = null;
  function moved() {
    draw();
    clearTimeout(writing);
    writing = setTimeout(writeAddress, 200); // browsers refuse addresses that change many times a second
  }
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, ...placeOf(event)); }, { passive: false });
  let held = null; // where the pointer went down, and whether it moved since
  canvas.addEventListener("pointerdown", (event) => { if (event.button === 0) { held = { at: placeOf(event), from: placeOf(event), isMoved: false }; canvas.setPointerCapture(event.pointerId); } });
  canvas.addEventListener("pointermove", (event) => {
    const [left, top] = placeOf(event);
    if (!held) return point(left, top);
    if (!held.isMoved && Math.hypot(left - held.from[0], top - held.from[1]) < 4) return undefined;
    held.isMoved = true;
    pan(left - held.at[0], top - held.at[1]);
    held.at = [left, top];
    return undefined;
  });
  canvas.addEventListener("pointerup", (event) => {
    const wasMoved = held?.isMoved;
    held = null;
    if (wasMoved !== false) return;
    point(...placeOf(event));
    if (pointed !== null) location.href = Atlas.addressOf(Atlas.neuronAt(pointed));
  });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("pointerleave", () => { if (!held) point(-1, -1); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (step) pan(...step);
    else if (event.key === "+" || event.key === "=") zoom(1 / 1.3);
    else if (event.key === "-") zoom(1.3);
    else if (event.key === "0") { view = everything(); moved(); } else return;
    event.preventDefault();
  });
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      if (button.dataset.zoom === "all") { view = everything(); moved(); } else zoom(button.dataset.zoom === "in" ? 1 / 1.5 : 1.5);
    });
  }
  choices.addEventListener("input", (event) => {
    if (["x", "y"].includes(event.target.name)) view = { ...view, [event.target.name]: everything()[event.target.name] };
    pointed = null;
    reading.hidden = true;
    filter();
    moved();
  });

  function show() {
    readAddress();
    filter();
    draw();
  }
  async function start() {
    try {
      columns = await Scales.load();
    } catch (error) {
      shownPart.textContent = error.message;
      return;
    }
    offer();
    show();
    Address.changed(show);
    new ResizeObserver(draw).observe(canvas);
    dark.addEventListener("change", draw);
    addEventListener("beforeprint", drawNow);
    addEventListener("afterprint", draw);
  }
  start();
})();
