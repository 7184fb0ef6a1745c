// A picture and its controls, side by side where there is room.
//
// In a notebook, Python draws: when a control moves, the state goes to the kernel, and a JPEG comes back. With `panels`,
// the browser already has the numbers and draws them itself. On a page without a kernel, `ahead` holds pictures of some
// states, and we show the nearest. The model is anywidget's: get, set, on, save_changes.

const STYLE = `
.fervt { display: flex; flex-wrap: wrap; gap: 12px 28px; align-items: flex-start; font: 14px/1.4 system-ui, sans-serif;
  color: CanvasText; background: Canvas; padding: 8px; color-scheme: light dark; }
.fervt-view { flex: 0 1 auto; min-width: min(280px, 100%); max-width: 100%; }
.fervt-view :is(img, canvas, svg):not([hidden]) { display: block; max-width: 100%; height: auto; }
.fervt-view .fervt-picks { cursor: crosshair; }
.fervt-words { margin: 6px 0 0; max-width: 44em; min-height: 2.8em; }
.fervt-error { border: 2px solid #b3261e; padding: 12px; margin: 0; white-space: pre-wrap; max-width: 44em; }
.fervt-controls { flex: 1 1 260px; max-width: 400px; display: grid; gap: 8px; }
.fervt-row { display: grid; grid-template-columns: minmax(7em, 1fr) 2fr 5.4em; gap: 8px; align-items: center; min-height: 28px; }
.fervt-row input[type=range], .fervt-row select { width: 100%; min-width: 0; }
.fervt-row input[type=range] { accent-color: #0072b2; height: 24px; margin: 0; }
.fervt-row select { font: inherit; min-height: 28px; grid-column: 2 / 4; }
.fervt-row input[type=checkbox] { width: 20px; height: 20px; margin: 0; accent-color: #0072b2; }
.fervt-row output { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.fervt-row button { font: inherit; grid-column: 2; justify-self: start; padding: 2px 12px; min-height: 28px; }
.fervt-table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.fervt-table th, .fervt-table td { text-align: right; padding: 3px 8px; }
.fervt-table th:first-child { text-align: left; font-weight: normal; }
.fervt :focus-visible { outline: 3px solid #e66100; outline-offset: 2px; }
.fervt [hidden] { display: none; }
body[data-jp-theme-light="false"] .fervt, body[data-theme="dark"] .fervt { color-scheme: dark; }
body[data-jp-theme-light="true"] .fervt, body[data-theme="light"] .fervt { color-scheme: light; }
`;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const PREFIX = `fervt-${Math.random().toString(36).slice(2)}-`; // every widget loads this file again
let count = 0; // makes ids unique, so that labels find their controls

// --- controls ---------------------------------------------------------------------------------------------------

/** Builds the rows of controls. Calls `put(name, index, done)` when one moves; returns `show(state)`. */
function makeControls(specs, place, put) {
  const shows = specs.map((spec) => {
    const id = PREFIX + count++, last = spec.texts.length - 1;
    const row = make("div", { className: "fervt-row" }, make("label", { htmlFor: id, textContent: spec.label }));
    place.append(row);
    if (spec.kind === "choice") {
      const options = spec.texts.map((text, i) => make("option", { value: i, textContent: text }));
      const select = make("select", { id, onchange: () => put(spec.name, +select.value, true) }, ...options);
      row.append(select);
      return (index) => { select.value = index; };
    }
    if (spec.kind === "toggle") {
      const box = make("input", { id, type: "checkbox", onchange: () => put(spec.name, +box.checked, true) });
      row.append(box);
      return (index) => { box.checked = index === 1; };
    }
    const range = make("input", { id, name: spec.name, type: "range", min: 0, max: last, step: 1 });
    const output = make("output", { htmlFor: id });
    const show = (index) => {
      range.value = index;
      range.setAttribute("aria-valuetext", spec.texts[index]);
      output.textContent = spec.texts[index];
    };
    const move = (done) => { show(+range.value); put(spec.name, +range.value, done); };
    range.oninput = () => move(false);
    range.onchange = () => move(true);
    row.append(range, output);
    if (spec.play) row.append(makePlayer(range, last, move, spec.label));
    return show;
  });
  return (state) => specs.forEach((spec, i) => shows[i](state[spec.name]));
}

/** A button that plays a slider to its end, one step at a time; slowly if the reader prefers reduced motion. */
function makePlayer(range, last, move, label) {
  const button = make("button", { type: "button", textContent: "Play" });
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  const pause = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1500 : Math.max(80, Math.min(400, 6000 / (last + 1)));
  button.title = `play ${label} to the end`;
  button.onclick = () => {
    if (timer) return stop();
    if (+range.value === last) { range.value = 0; move(true); }
    button.textContent = "Pause";
    timer = setInterval(() => {
      if (!button.isConnected || +range.value === last) return stop();
      range.value = +range.value + 1;
      move(true);
    }, pause);
  };
  range.addEventListener("pointerdown", stop);
  return button;
}

// --- pictures from Python -----------------------------------------------------------------------------------------

function bytesOf(data) { // base64 on a page without a kernel, a DataView in a notebook
  if (typeof data === "string") return Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return data instanceof DataView ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
}

function blobUrl(data) {
  return URL.createObjectURL(new Blob([bytesOf(data)]));
}

/** An image that shows the model's picture; `alt` follows the state. */
function makePicture(model) {
  const image = make("img", { alt: model.get("words") });
  const show = () => {
    const old = image.src;
    image.src = blobUrl(model.get("picture"));
    if (old) image.addEventListener("load", () => URL.revokeObjectURL(old), { once: true });
  };
  model.on("change:picture", show);
  show();
  return image;
}

// --- panels that the browser draws --------------------------------------------------------------------------------

function halfToFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

function halves(data) {
  const bytes = bytesOf(data), view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.byteLength / 2 }, (_, i) => halfToFloat(view.getUint16(2 * i, true)));
}

/** The flat index of a state in an array with one axis per control. */
function rank(axes, sizes, state) {
  return axes.reduce((at, name, i) => at * sizes[name] + state[name], 0);
}

const TITLE = 22, LEGEND = 34; // pixels

/** The canvas of all panels. Returns `{canvas, paint(state) -> words, hit(event, state) -> [control, index] or null}`. */
async function makeCanvas(model, specs) {
  const sizes = Object.fromEntries(specs.map((spec) => [spec.name, spec.texts.length]));
  const texts = Object.fromEntries(specs.map((spec) => [spec.name, spec.texts]));
  const colours = bytesOf(model.get("colours"));
  const numbers = model.get("numbers").map(halves);
  const panels = await Promise.all(model.get("panels").map(async (panel) => ({
    ...panel,
    numbers: numbers[panel.numbers],
    images: await Promise.all(panel.faces.map((face) => createImageBitmap(new Blob([bytesOf(face)])))),
  })));
  const width = Math.max(...panels.map((panel) => panel.x + Math.max(panel.width, panel.room)));
  const height = Math.max(...panels.map((panel) => panel.y + panel.height + TITLE)) + LEGEND;
  const sharp = Math.max(1, Math.min(2, globalThis.devicePixelRatio || 1));
  const canvas = make("canvas", { width: width * sharp, height: height * sharp });
  canvas.style.width = `${width}px`;
  canvas.setAttribute("role", "img");
  const pen = canvas.getContext("2d");
  let ink = "black"; // of text; read only when the theme changes, because reading it lays out the whole page
  const askInk = () => { if (canvas.isConnected) ink = getComputedStyle(canvas).color; };

  const colour = (panel, value) => {
    const unit = (value - panel.low) / (panel.high - panel.low);
    const at = 3 * Math.max(0, Math.min(255, Math.round(255 * unit)));
    return `rgb(${colours[at]},${colours[at + 1]},${colours[at + 2]})`;
  };
  const rowsOf = (panel, state) => (panel.sides_of ? panel.sides[state[panel.sides_of]] : panel.sides[0]);
  const valuesOf = (panel, state, n) => {
    const start = rank(panel.axes, sizes, state) * panel.cells + panel.first;
    return panel.numbers.subarray(start, start + n);
  };
  const markOf = (panel, state, n) => {
    const index = panel.pick ? state[panel.pick] - panel.pick_first : -1;
    return index >= 0 ? Math.min(index, n - 1) : -1;
  };

  function paintMap(panel, state) {
    const rows = rowsOf(panel, state), values = valuesOf(panel, state, rows * rows), step = panel.width / rows;
    const opacity = panel.images.length && texts.opacity ? +texts.opacity[state.opacity] : 1;
    if (panel.images.length) {
      pen.imageSmoothingEnabled = false;
      pen.drawImage(panel.images[rank(panel.face_axes, sizes, state)], panel.x, panel.y + TITLE, panel.width, panel.height);
    }
    pen.globalAlpha = opacity;
    values.forEach((value, i) => {
      pen.fillStyle = colour(panel, value);
      const left = Math.round((i % rows) * step), top = Math.round(Math.floor(i / rows) * step);
      const right = Math.round(((i % rows) + 1) * step), bottom = Math.round((Math.floor(i / rows) + 1) * step);
      pen.fillRect(panel.x + left, panel.y + TITLE + top, right - left, bottom - top);
    });
    pen.globalAlpha = 1;
    const mark = markOf(panel, state, rows * rows);
    if (mark >= 0) {
      pen.strokeStyle = "#e66100";
      pen.lineWidth = 4;
      pen.strokeRect(panel.x + (mark % rows) * step + 2, panel.y + TITLE + Math.floor(mark / rows) * step + 2, step - 4, step - 4);
    }
    return mark < 0 ? "" : `row ${Math.floor(mark / rows) + 1}, column ${(mark % rows) + 1}: ${values[mark].toFixed(2)} times the mean`;
  }

  function paintBars(panel, state) {
    const rows = rowsOf(panel, state), values = valuesOf(panel, state, rows * rows), step = panel.width / values.length;
    const mark = markOf(panel, state, values.length), top = Math.max(...values, panel.high), unit = panel.height / top;
    values.forEach((value, i) => {
      pen.fillStyle = i === mark ? "#e66100" : "#0072b2";
      pen.fillRect(panel.x + i * step, panel.y + TITLE + panel.height - unit * value, Math.max(1, 0.8 * step), unit * value);
    });
    pen.fillStyle = ink;
    pen.fillRect(panel.x, panel.y + TITLE + panel.height - unit - 1, panel.width, 2); // the mean is 1
    return "";
  }

  function paintLegend(panel) {
    const top = height - LEGEND + 6, wide = Math.min(panel.width, 240);
    for (let i = 0; i < wide; i++) {
      pen.fillStyle = colour(panel, panel.low + ((panel.high - panel.low) * i) / (wide - 1));
      pen.fillRect(panel.x + i, top, 1, 10);
    }
    pen.fillStyle = ink;
    for (const value of [panel.low, 1, panel.high]) {
      const at = ((value - panel.low) / (panel.high - panel.low)) * wide;
      pen.textAlign = value === panel.low ? "left" : value === panel.high ? "right" : "center";
      pen.fillText(value === panel.high ? `${value} times the mean, or more` : `${value}`, panel.x + (value === panel.high ? wide + 130 : at), top + 24);
    }
    pen.textAlign = "left";
  }

  function paint(state) {
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "13px system-ui, sans-serif";
    const words = panels.map((panel) => {
      const found = panel.kind === "bars" ? paintBars(panel, state) : paintMap(panel, state);
      pen.fillStyle = ink;
      const part = valuesOf(panel, state, rowsOf(panel, state) ** 2).reduce((sum, value) => sum + value, 0);
      const share = `${((100 * part) / panel.whole).toFixed(0)} %`;
      const title = panel.title.replace(/\{(\w+)\}/g, (_, name) => (name === "share" ? share : texts[name][state[name]]));
      pen.fillText(title, panel.x, panel.y + 15);
      return [title, found].filter(Boolean).join(", ");
    });
    paintLegend(panels[0]);
    return words.join("; ");
  }

  function hit(event, state) {
    const box = canvas.getBoundingClientRect(), scale = width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    for (const panel of panels.filter((each) => each.pick && each.kind !== "bars")) {
      const across = (x - panel.x) / panel.width, down = (y - panel.y - TITLE) / panel.height, rows = rowsOf(panel, state);
      if (across >= 0 && across < 1 && down >= 0 && down < 1)
        return [panel.pick, panel.pick_first + Math.floor(down * rows) * rows + Math.floor(across * rows)];
    }
    return null;
  }
  /** The last position of each control that chooses a cell, if the number of cells can change. */
  const ends = (state) => panels.filter((panel) => panel.pick && panel.sides_of)
    .map((panel) => [panel.pick, panel.pick_first + rowsOf(panel, state) ** 2 - 1]);
  return { canvas, paint, hit, askInk, ends };
}

// --- the widget ---------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  if (model.get("names")) return renderToy({ model, el });
  const specs = model.get("controls"), drawn = model.get("panels").length > 0;
  const view = make("div", { className: "fervt-view" }), place = make("div", { className: "fervt-controls" });
  const words = make("p", { className: "fervt-words" }), error = make("p", { className: "fervt-error", hidden: true });
  const root = make("div", { className: "fervt" }, view, place);
  el.append(make("style", { textContent: STYLE }), root);

  const canvas = drawn ? await makeCanvas(model, specs) : null;
  const picture = drawn ? canvas.canvas : makePicture(model);
  view.append(picture, error, words);
  let state = { ...model.get("state") }, resting = false, wanted = false, first = true;

  const paint = () => { // at once, then not again until the next animation frame; the newest state wins
    wanted = resting;
    if (resting) return;
    resting = true;
    words.textContent = canvas.paint(state);
    canvas.canvas.setAttribute("aria-label", `${model.get("alt")} ${words.textContent}`);
    canvas.canvas.dispatchEvent(new Event("painted"));
    requestAnimationFrame(() => {
      resting = false;
      if (wanted) paint();
    });
  };
  const showControls = makeControls(specs, place, (name, index, done) => {
    const moved = state[name] !== index;
    state = { ...state, [name]: index };
    if (drawn && moved) {
      shorten();
      paint();
    }
    if (drawn && !done) return; // Python does not need every step
    model.set("state", state);
    model.save_changes();
  });
  for (const each of place.querySelectorAll("input, select, button"))
    each.dataset.lmSuppressShortcuts = "true"; // otherwise JupyterLab intercepts a slider's arrow keys
  const shorten = () => { // end each slider at the last existing cell
    for (const [name, last] of canvas.ends(state)) {
      place.querySelector(`input[name=${name}]`).max = last;
      if (state[name] > last) state = { ...state, [name]: last };
    }
    showControls(state);
  };
  const show = () => {
    const next = model.get("state");
    if (drawn && !first && Object.keys(next).every((name) => next[name] === state[name])) return; // the change came from here
    first = false;
    state = { ...next };
    if (drawn) {
      shorten();
      return paint();
    }
    showControls(state);
    const message = model.get("error");
    error.textContent = message;
    error.hidden = !message;
    picture.hidden = Boolean(message);
    picture.alt = model.get("words");
    words.textContent = model.get("words");
  };
  for (const name of ["state", "words", "error"]) model.on(`change:${name}`, show);
  show();
  if (!drawn) return;
  pick(model, canvas, () => state, (next) => { state = next; showControls(state); paint(); });
  const themed = () => { canvas.askInk(); paint(); }, theme = new MutationObserver(themed);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-theme"] });
  dark.addEventListener("change", themed);
  requestAnimationFrame(themed); // by then the canvas is in the page
  return () => { // runs when the output is cleared
    theme.disconnect();
    dark.removeEventListener("change", themed);
  };
}

/** The pointer chooses a cell while it is over a panel; a click or touch keeps that choice. */
function pick(model, { canvas, hit }, get, put) {
  let kept = null; // the control and its index before the pointer arrived
  const choose = (event, keep) => {
    const found = hit(event, get());
    canvas.className = found ? "fervt-picks" : "";
    if (!found) return leave();
    const [name, index] = found;
    kept ??= [name, get()[name]];
    if (keep) kept = [name, index];
    if (get()[name] !== index) put({ ...get(), [name]: index });
    if (keep) { model.set("state", get()); model.save_changes(); }
  };
  const leave = () => {
    if (kept) put({ ...get(), [kept[0]]: kept[1] });
    kept = null;
  };
  canvas.addEventListener("pointermove", (event) => choose(event, false));
  canvas.addEventListener("pointerdown", (event) => choose(event, true));
  canvas.addEventListener("pointerleave", leave);
}

// --- the attention toy --------------------------------------------------------------------------------------------

const TOKEN_COLOURS = ["#0072b2", "#d55e00", "#007a59", "#b3478f"], PLANE = 320, UNIT = PLANE / 5; // from -2.5 to 2.5

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Tokens whose queries and keys are arrows to drag; updates the scores, the weights and the mixed value. */
function renderToy({ model, el }) {
  const names = model.get("names"), values = model.get("values");
  const arrows = structuredClone(model.get("arrows"));
  const plane = draw("svg", { viewBox: `0 0 ${PLANE} ${PLANE}`, width: PLANE, height: PLANE, role: "group" });
  plane.setAttribute("aria-label", model.get("alt"));
  const middle = PLANE / 2, axis = { stroke: "currentColor", "stroke-opacity": 0.3 };
  plane.append(draw("line", { x1: 0, x2: PLANE, y1: middle, y2: middle, ...axis }));
  plane.append(draw("line", { y1: 0, y2: PLANE, x1: middle, x2: middle, ...axis }));

  const asks = make("select", { onchange: () => show() }, ...names.map((text, i) => new Option(text, i)));
  asks.dataset.lmSuppressShortcuts = "true";
  const table = make("tbody"), mixed = make("p", { className: "fervt-words" });
  const head = make("tr", {}, ...["asked", "q · k", "÷ √2", "weight", "value"].map((text) => make("th", { textContent: text, scope: "col" })));
  const words = "Solid arrows with a round tip are queries, dashed ones with a square tip are keys. Drag a tip, or use the arrow keys.";
  const side = make("div", { className: "fervt-controls" },
    make("label", {}, "who asks ", asks), make("table", { className: "fervt-table" }, make("thead", {}, head), table), mixed);
  el.append(make("style", { textContent: STYLE }), make("div", { className: "fervt fervt-toy" },
    make("div", { className: "fervt-view" }, plane, make("p", { className: "fervt-words", textContent: words })), side));

  const shows = Object.entries(arrows).flatMap(([kind, ends]) => ends.map((end, i) => makeArrow(plane, kind, i, end, () => show())));
  function show() {
    const asker = +asks.value, q = arrows.query[asker];
    const dots = arrows.key.map((k) => q[0] * k[0] + q[1] * k[1]), powers = dots.map((dot) => Math.exp(dot / Math.SQRT2));
    const sum = powers.reduce((total, power) => total + power, 0), weights = powers.map((power) => power / sum);
    table.replaceChildren(...names.map((name, i) => {
      const cells = [dots[i].toFixed(2), (dots[i] / Math.SQRT2).toFixed(2), weights[i].toFixed(3), values[i].toFixed(1)];
      const row = make("tr", {}, make("th", { textContent: name, scope: "row" }), ...cells.map((text) => make("td", { textContent: text })));
      row.style.background = `linear-gradient(90deg, ${TOKEN_COLOURS[i]}55 ${100 * weights[i]}%, transparent 0)`;
      return row;
    }));
    mixed.textContent = `${names[asker]} gets ${weights.reduce((total, weight, i) => total + weight * values[i], 0).toFixed(2)}, the values mixed by the weights.`;
    shows.forEach((each) => each(asker));
  }
  show();
}

/** An arrow from the center with a draggable tip. Returns a function that draws it; queries that do not ask are faint. */
function makeArrow(plane, kind, i, end, moved) {
  const colour = TOKEN_COLOURS[i], isQuery = kind === "query";
  const line = draw("line", { x1: PLANE / 2, y1: PLANE / 2, stroke: colour, "stroke-width": 3, "stroke-dasharray": isQuery ? "" : "6 4" });
  const tip = draw(isQuery ? "circle" : "rect", { fill: colour, tabindex: 0, role: "slider", r: 9, width: 16, height: 16 });
  tip.dataset.lmSuppressShortcuts = "true";
  tip.style.cssText = "cursor: grab; touch-action: none;";
  plane.append(line, tip);
  const put = (x, y) => {
    [end[0], end[1]] = [x, y].map((value) => Math.max(-2.3, Math.min(2.3, Math.round(value * 20) / 20)));
    moved();
  };
  tip.onpointerdown = (event) => tip.setPointerCapture(event.pointerId);
  tip.onpointermove = (event) => {
    if (!tip.hasPointerCapture(event.pointerId)) return;
    const box = plane.getBoundingClientRect(), scale = PLANE / box.width / UNIT;
    put((event.clientX - box.left - box.width / 2) * scale, (box.top + box.height / 2 - event.clientY) * scale);
  };
  tip.onkeydown = (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
    if (!step) return;
    event.preventDefault();
    put(end[0] + step[0], end[1] + step[1]);
  };
  return (asker) => {
    const x = PLANE / 2 + UNIT * end[0], y = PLANE / 2 - UNIT * end[1];
    const place = isQuery ? { cx: x, cy: y } : { x: x - 8, y: y - 8 };
    for (const [name, value] of Object.entries(place)) tip.setAttribute(name, value);
    line.setAttribute("x2", x);
    line.setAttribute("y2", y);
    for (const part of [line, tip]) part.setAttribute("opacity", isQuery && i !== asker ? 0.3 : 1);
    const said = { label: `${kind} ${i + 1}`, valuetext: `(${end[0].toFixed(2)}, ${end[1].toFixed(2)})`, valuenow: end[0], valuemin: -2.3, valuemax: 2.3 };
    for (const [name, value] of Object.entries(said)) tip.setAttribute(`aria-${name}`, value);
  };
}

// --- without a kernel ----------------------------------------------------------------------------------------------

/** A model that answers with the pre-rendered picture of the nearest state. */
function withoutKernel(facts) {
  const told = {}, specs = facts.controls ?? [], counts = Object.fromEntries(specs.map((spec) => [spec.name, spec.texts.length]));
  const isOrder = Object.fromEntries(specs.map((spec) => [spec.name, spec.kind === "slider"]));
  const set = (name, value) => {
    facts[name] = value;
    (told[name] ?? []).forEach((tell) => tell());
  };
  const far = (one, other) => Object.keys(counts).reduce((sum, name) => { // from end to end, a slider counts 1; between two choices, 2
    const steps = Math.abs(one[name] - other[name]);
    return sum + (isOrder[name] ? steps / Math.max(1, counts[name] - 1) : 2 * (steps > 0));
  }, 0);
  const save_changes = () => {
    if (!facts.ahead.length) return;
    const nearest = facts.ahead.reduce((best, each) => (far(each.state, facts.state) < far(best.state, facts.state) ? each : best));
    for (const name of ["words", "error", "picture"]) if (facts[name] !== nearest[name]) set(name, nearest[name]);
  };
  const on = (event, tell) => (told[event.replace("change:", "")] ??= []).push(tell);
  return { get: (name) => facts[name], set, on, save_changes };
}

export default { render };
