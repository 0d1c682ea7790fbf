"use strict";

// --- curves: one chart per chosen metric, all runs in it ---------------------------------------------

const MARGIN = { left: 58, right: 14, top: 10, bottom: 26 }; // pixels around a chart
const ZERO_PIXELS = 20; // at the end of a logarithmic axis, for the value 0
const MAX_MARKED = 12; // points: a longer curve has no markers
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const exact = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const form = document.querySelector(".choices");
const buttons = [...document.querySelectorAll(".legend button")];
let runs = [];
let hovered = null; // the button under the pointer: its curves are highlighted
let zoom = null; // [low, high] of the horizontal axis, or all of it

async function unpack(base64) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i); // Uint8Array.from takes far longer
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const unpacked = await new Response(stream).json();
  for (const run of unpacked) {
    for (const name in run.metrics) {
      let row = 0;
      const [gaps, values] = run.metrics[name];
      run.metrics[name] = { rows: gaps.map((gap) => (row += gap)), values };
    }
  }
  return unpacked;
}

/** The visible curves of a metric, {button, xs, ys}, within the zoomed range. */
function curvesOf(metric) {
  const axis = form.elements.axis.value;
  const from = form.elements["log-x"].checked ? Number.MIN_VALUE : -Infinity;
  const [low, high] = zoom ?? [from, Infinity];
  return buttons.flatMap((button) => {
    const { axes, metrics } = runs[button.dataset.run];
    if (button.ariaPressed === "false" || !axes[axis] || !metrics[metric]) return [];
    const { rows, values } = metrics[metric];
    const inside = [...rows.keys()].filter((i) => axes[axis][rows[i]] >= Math.max(low, from) && axes[axis][rows[i]] <= high);
    const curve = { button, xs: inside.map((i) => axes[axis][rows[i]]), ys: inside.map((i) => values[i]) };
    return inside.length ? [curve] : [];
  });
}

/** Maps values to pixels, with ticks. On a logarithmic scale 0 is at `from`, apart from the other values. */
function scale(values, from, to, logarithmic) {
  let low = Infinity, high = -Infinity, zero = false;
  for (const value of values) {
    if (logarithmic && value <= 0) { zero = true; continue; }
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) [low, high] = logarithmic ? [0.1, 1] : [0, 1];
  if (low === high) [low, high] = logarithmic ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  const start = zero ? from + Math.sign(to - from) * ZERO_PIXELS : from;
  const transform = logarithmic ? Math.log10 : (value) => value;
  const [first, last] = [transform(low), transform(high)];
  const pixel = (value) => (logarithmic && value <= 0 ? from : start + ((transform(value) - first) / (last - first)) * (to - start));
  const ticks = logarithmic ? decades(low, high) : steps(low, high, Math.abs(to - from) / 70);
  const value = (at) => (first + ((at - start) / (to - start)) * (last - first));
  return { pixel, ticks: zero ? [0, ...ticks] : ticks, value: (at) => (logarithmic ? 10 ** value(at) : value(at)) };
}

function steps(low, high, count) {
  const rough = (high - low) / Math.max(2, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(i * step);
  return ticks;
}

function decades(low, high) {
  const wide = Math.log10(high / low);
  const digits = wide > 3 ? [1] : wide > 1 ? [1, 3] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += wide > 8 ? 2 : 1) {
    ticks.push(...digits.map((digit) => digit * 10 ** power).filter((tick) => tick >= low && tick <= high));
  }
  return ticks;
}

function draw(chart) {
  const { canvas, metric } = chart;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  const colour = (name) => getComputedStyle(canvas).getPropertyValue(name);
  const curves = (chart.curves = curvesOf(metric));
  const negative = curves.some(({ ys }) => ys.some((y) => y < 0));
  const logarithmic = form.elements["log-y"].checked && !negative;
  const x = (chart.x = scale(curves.flatMap(({ xs }) => [xs[0], xs[xs.length - 1]]), MARGIN.left, width - MARGIN.right, form.elements["log-x"].checked));
  const y = (chart.y = scale(curves.flatMap(({ ys }) => ys), height - MARGIN.bottom, MARGIN.top, logarithmic));
  chart.note.textContent = !curves.length ? "no data" : negative && form.elements["log-y"].checked ? "linear: some values are negative" : "";

  pen.font = "11px system-ui, sans-serif";
  pen.lineWidth = 1;
  pen.strokeStyle = colour("--rule");
  pen.fillStyle = colour("--soft");
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  const line = (...points) => { pen.beginPath(); pen.moveTo(...points[0]); pen.lineTo(...points[1]); pen.stroke(); };
  for (const tick of y.ticks) {
    const at = Math.round(y.pixel(tick)) + 0.5;
    line([MARGIN.left, at], [width - MARGIN.right, at]);
    pen.fillText(tick && Math.abs(tick) < 0.001 ? tick.toExponential(0) : compact.format(tick), MARGIN.left - 6, at);
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const tick of x.ticks) {
    line([x.pixel(tick), height - MARGIN.bottom], [x.pixel(tick), height - MARGIN.bottom + 4]);
    pen.fillText(compact.format(tick), x.pixel(tick), height - MARGIN.bottom + 8);
  }
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  for (const { button, xs, ys } of curves) {
    pen.globalAlpha = hovered && button !== hovered ? 0.12 : 1;
    pen.strokeStyle = pen.fillStyle = colour(`--run-${button.dataset.colour}`);
    pen.setLineDash(button.dataset.dash.split(" ").filter(Boolean).map(Number));
    pen.beginPath();
    trace(pen, xs.map(x.pixel), ys.map(y.pixel));
    pen.stroke();
    if (xs.length > MAX_MARKED) continue;
    for (let i = 0; i < xs.length; i++) {
      pen.beginPath();
      pen.arc(x.pixel(xs[i]), y.pixel(ys[i]), 2.5, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}

/** A line through pixels. Of many points in one column of pixels, the first, the extremes and the last suffice. */
function trace(pen, xs, ys) {
  for (let i = 0; i < xs.length; ) {
    const column = Math.round(xs[i]);
    let low = ys[i], high = ys[i], end = i;
    while (end + 1 < xs.length && Math.round(xs[end + 1]) === column) {
      end++;
      low = Math.min(low, ys[end]);
      high = Math.max(high, ys[end]);
    }
    pen.lineTo(xs[i], ys[i]);
    if (end > i + 1) { pen.lineTo(column, low); pen.lineTo(column, high); }
    if (end > i) pen.lineTo(xs[end], ys[end]);
    i = end + 1;
  }
}

function nearest(sorted, value) {
  let low = 0, high = sorted.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle; else high = middle;
  }
  return value - sorted[low] <= sorted[high] - value ? low : high;
}

/** The values of all runs at the pointer, without runs that end before it or start after it. */
function hover(chart, at) {
  const { x, curves, values, mark, canvas } = chart;
  const place = x.value(at);
  const reach = Math.abs(x.value(at + 6) - place);
  const atPointer = curves
    .map((curve) => ({ ...curve, i: nearest(curve.xs, place) }))
    .filter(({ xs }) => place >= xs[0] - reach && place <= xs[xs.length - 1] + reach)
    .sort((a, b) => b.ys[b.i] - a.ys[a.i]);
  values.replaceChildren(`${form.elements.axis.value} ${exact.format(Number(place.toPrecision(4)))}`);
  for (const { button, ys, i } of atPointer) {
    const line = document.createElement("div");
    const value = document.createElement("b");
    value.textContent = ys[i] && Math.abs(ys[i]) < 0.001 ? ys[i].toExponential(3) : exact.format(ys[i]);
    line.append(...[...button.children].map((part) => part.cloneNode(true)), value);
    values.append(line);
  }
  // To the right of the pointer, else to its left, and always within the window.
  const { left } = canvas.getBoundingClientRect();
  const fits = left + at + 12 + values.offsetWidth < document.documentElement.clientWidth;
  values.style.left = `${fits ? at + 12 : Math.max(at - 12 - values.offsetWidth, 8 - left)}px`;
  mark(at, at + 1);
  values.style.visibility = atPointer.length ? "visible" : "hidden";
}

function addChart(metric) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const note = document.createElement("span");
  const frame = document.createElement("div");
  const canvas = document.createElement("canvas");
  const band = document.createElement("i");
  const values = document.createElement("div");
  caption.append(metric, note);
  frame.className = "chart";
  values.className = "values";
  frame.append(canvas, band, values);
  figure.append(caption, frame);
  figure.dataset.metric = metric;
  document.querySelector(".charts").append(figure);

  const inside = (event) => Math.min(Math.max(event.offsetX, MARGIN.left), canvas.clientWidth - MARGIN.right);
  const mark = (from, to) => {
    Object.assign(band.style, { visibility: "visible", left: `${Math.min(from, to)}px`, width: `${Math.max(1, Math.abs(to - from))}px`, top: `${MARGIN.top}px`, bottom: `${MARGIN.bottom}px` });
  };
  const chart = { metric, canvas, note, values, mark };
  let pressed = null;
  canvas.onpointerdown = (event) => { pressed = inside(event); };
  canvas.onpointermove = (event) => {
    hover(chart, inside(event));
    if (pressed !== null) mark(pressed, inside(event));
  };
  canvas.onpointerup = (event) => {
    if (pressed !== null && Math.abs(inside(event) - pressed) > 5) {
      zoom = [pressed, inside(event)].map(chart.x.value).sort((a, b) => a - b);
      drawAll();
    }
    pressed = null;
  };
  canvas.onpointerleave = () => {
    pressed = null;
    values.style.visibility = band.style.visibility = "hidden";
  };
  canvas.ondblclick = () => { zoom = null; drawAll(); };
  return chart;
}

let charts = [];

function drawAll() {
  for (const chart of charts) draw(chart);
}

function choose() {
  const chosen = [...form.querySelectorAll("[name=metric]:checked")].map((box) => box.value);
  document.querySelector(".charts").replaceChildren();
  charts = chosen.map(addChart);
  drawAll();
}

/** Samples seen, the cost of a result, if all runs have them; otherwise steps, which all runs have. */
function firstAxis() {
  const drawn = runs.filter((run) => Object.keys(run.metrics).length);
  for (const radio of form.elements.axis) {
    radio.disabled = !drawn.some((run) => run.axes[radio.value]);
    if (radio.value === "step" || (radio.value === "samples seen" && drawn.every((run) => run.axes[radio.value]))) radio.checked = true;
  }
}

async function start() {
  runs = await unpack(document.getElementById("packed").textContent);
  firstAxis();
  choose();
  form.onchange = (event) => {
    if (event.target.name === "axis") zoom = null;
    if (event.target.name === "metric") choose(); else drawAll();
  };
  for (const button of buttons) {
    button.onclick = () => {
      button.ariaPressed = button.ariaPressed === "false" ? "true" : "false";
      drawAll();
    };
    button.onpointerenter = () => { hovered = button; drawAll(); };
    button.onpointerleave = () => { hovered = null; drawAll(); };
  }
  addEventListener("resize", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
}

if (form) start();

// --- tables: a click on a column's header sorts by it ---------------------------------------------------

function sort(table, header) {
  const column = header.cellIndex;
  const direction = header.ariaSort === "ascending" ? -1 : 1;
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.ariaSort = direction > 0 ? "ascending" : "descending";
  const text = (row) => row.cells[column].textContent.trim();
  const number = (row) => parseFloat(text(row).replaceAll(",", ""));
  // What is not a number comes last, in either order.
  const order = (a, b) => {
    if (isNaN(number(a)) || isNaN(number(b))) return isNaN(number(a)) - isNaN(number(b)) || direction * text(a).localeCompare(text(b));
    return direction * (number(a) - number(b));
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
}

for (const header of document.querySelectorAll("thead th")) {
  header.onclick = () => sort(header.closest("table"), header);
}

// --- sounds: one plays at a time, with a cursor in its spectrogram ----------------------------------------

for (const player of document.querySelectorAll("audio")) {
  const picture = player.previousElementSibling;
  const [image, cursor] = picture.children;
  const seconds = Number(image.dataset.seconds); // from its left edge to its right edge
  player.onplay = () => {
    for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
    follow();
  };
  const follow = () => {
    cursor.style.left = `${(100 * player.currentTime) / seconds}%`;
    if (!player.paused) requestAnimationFrame(follow);
  };
  player.onseeked = follow;
  picture.onclick = (event) => {
    player.currentTime = Math.min((event.offsetX / image.clientWidth) * seconds, player.duration);
    player.play();
  };
}
