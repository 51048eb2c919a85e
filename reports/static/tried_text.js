// The page on which a text is tried: asks the server that it came from, and shows the answer.
// Texts of tokens, models and people only ever go into the page as text (textContent), never as markup.
"use strict";
(() => {
  const form = document.getElementById("try");
  if (!form) return;
  const { study, text, neurons } = form.elements;
  const go = form.querySelector(".go");
  const place = (id) => document.getElementById(id);
  const [state, tried, chosen, read, detail, refused] = ["state", "tried", "neurons", "text", "token", "refused"].map(place);
  const body = place("table").tBodies[0];
  const itsPage = document.createElement("a"); // of the neuron that colours the text
  let answer = null; // what is shown, and of which study
  let colour = 0; // place of the neuron that colours the text
  let current = 0; // place of the token that is read

  const wanted = new URLSearchParams(location.search).get("study");
  if ([...study.options].some((option) => option.value === wanted)) study.value = wanted;

  form.addEventListener("submit", (event) => { event.preventDefault(); ask(""); });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  });

  async function ask(first) {
    if (go.disabled) return;
    go.disabled = true;
    say("The model reads. The first text of a study waits until its model is loaded, seconds to a minute.");
    try {
      const answered = await fetch("tried", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ study: study.value, text: text.value, neurons: neurons.value }),
      });
      const told = await answered.json();
      if (!answered.ok) return say(told.error, true);
      show(told, first);
      say(`${told.tokens.length} tokens, read by the model of ${told.study} in ${told.seconds} s.`);
    } catch {
      say("The server does not answer. Is make dev still running?", true);
    } finally {
      go.disabled = false;
    }
  }
  function say(sentence, isFault = false) {
    state.textContent = sentence;
    state.classList.toggle("fault", isFault);
  }

  function show(told, first) {
    answer = told;
    colour = Math.max(0, told.neurons.findIndex((neuron) => neuron.name === first));
    current = first ? current : told.tokens.length - 1;
    refused.hidden = !told.refused;
    refused.textContent = told.refused ? `Contributions are not told: ${told.refused}.` : "";
    chosen.replaceChildren(...told.neurons.map(choice), itsPage);
    place("key").hidden = !told.neurons.length;
    read.replaceChildren(...told.tokens.map(word));
    body.replaceChildren(...told.tokens.map(row));
    tried.hidden = false;
    paint();
    choose(current);
  }
  function choice(neuron, number) {
    const button = made("button", neuron.name);
    button.type = "button";
    button.addEventListener("click", () => { colour = number; paint(); });
    return button;
  }
  function word(token, number) {
    const one = made("bdi", token.running, "w");
    one.setAttribute("role", "button");
    one.addEventListener("click", () => choose(number));
    one.addEventListener("focus", () => choose(number));
    return one;
  }
  read.addEventListener("keydown", (event) => {
    const last = answer.tokens.length - 1;
    const next = { ArrowRight: current + 1, ArrowDown: current + 1, ArrowLeft: current - 1, ArrowUp: current - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    read.children[Math.max(0, Math.min(last, next))].focus();
  });

  // The colour of the text, and the column of activations.
  function paint() {
    const neuron = answer.neurons[colour];
    [...chosen.querySelectorAll("button")].forEach((button, number) => button.setAttribute("aria-pressed", String(number === colour)));
    itsPage.hidden = !neuron || !neuron.page;
    if (!itsPage.hidden) { itsPage.href = neuron.page; itsPage.textContent = `Page of ${neuron.name}`; }
    place("of-neuron").textContent = neuron ? `Activation of ${neuron.name}` : "Activation";
    answer.tokens.forEach((token, number) => {
      const strength = neuron ? neuron.strengths[number] : 0;
      const one = read.children[number];
      one.style.setProperty("--p", `${Math.abs(strength)}%`);
      one.classList.toggle("cold", strength < 0);
      one.title = `${neuron ? `${neuron.name} ${neuron.activations[number]}, ` : ""}predicts ${token.prediction} ${token.probability}`;
      body.rows[number].cells[2].textContent = neuron ? neuron.activations[number] : "–";
    });
  }
  function choose(number) {
    current = number;
    [...read.children].forEach((one, position) => {
      one.setAttribute("aria-pressed", String(position === number));
      one.tabIndex = position === number ? 0 : -1;
      body.rows[position].toggleAttribute("aria-current", position === number);
    });
    const token = answer.tokens[number];
    const told = made("p", "Behind ");
    told.append(mark(token.token), " the model predicts ", mark(token.prediction), ` with ${token.probability}.`);
    if (token.all_neurons) told.append(` All neurons together add ${token.all_neurons} to its logit.`);
    const ends = made("div", "", "ends");
    if (!answer.refused) ends.append(end("Neurons that write it", token.writes), end("Neurons that write against it", token.writes_against));
    detail.replaceChildren(told, ends);
  }
  function end(title, contributions) {
    const part = made("div");
    part.append(made("h3", title));
    if (!contributions.length) { part.append(made("p", "No neuron does.", "empty")); return part; }
    const table = made("table", "", "compact");
    const head = table.createTHead().insertRow();
    for (const [name, kind] of [["Neuron", ""], ["Contribution", "n"], ["Activation", "n"], ["", ""]]) head.append(made("th", name, kind));
    const rows = table.createTBody();
    for (const one of contributions) {
      const button = made("button", "colour by it");
      button.type = "button";
      button.setAttribute("aria-label", `Colour the text by ${one.name}`);
      button.addEventListener("click", () => colourBy(one.name));
      fill(rows.insertRow(), [[named(one), ""], [one.contribution, "n"], [one.activation, "n"], [button, "n"]]);
    }
    part.append(table);
    return part;
  }
  function colourBy(name) {
    const known = answer.neurons.findIndex((neuron) => neuron.name === name);
    if (known >= 0) { colour = known; paint(); return; }
    const most = Number(neurons.dataset.most);
    neurons.value = [...answer.neurons.map((neuron) => neuron.name).slice(-(most - 1)), name].join(", ");
    ask(name);
  }

  const SHOWN = 3; // neurons of an end in the table; all of them stand beside the chosen token
  function row(token, number) {
    const own = document.createElement("tr");
    const few = (contributions) => contributions.length ? contributions.slice(0, SHOWN).map(line) : "–";
    fill(own, [[String(number), "n"], [mark(token.token), ""], ["", "n"], [mark(token.prediction), ""], [token.probability, "n"],
      [few(token.writes), ""], [few(token.writes_against), ""], [token.all_neurons || "–", "n"]]);
    return own;
  }
  function line(one) {
    const whole = made("span", "", "line");
    whole.append(named(one), ` ${one.contribution}`);
    return whole;
  }

  function fill(own, cells) {
    for (const [content, kind] of cells) {
      const cell = made("td", "", kind);
      cell.append(...[content].flat());
      own.append(cell);
    }
  }
  function named(one) {
    const name = made(one.page ? "a" : "span", one.name, "neuron");
    if (one.page) name.href = one.page;
    return name;
  }
  function mark(seen) {
    const token = made("bdi", seen.length > 32 ? `${seen.slice(0, 31)}…` : seen, "token");
    token.title = seen;
    return token;
  }
  function made(kind, content = "", name = "") {
    const one = document.createElement(kind);
    if (content) one.textContent = content;
    if (name) one.className = name;
    return one;
  }
})();
