// --- curves: one chart per chosen metric, all runs in it, all over the same range ------------------------

const MARGIN = { left: 58, right: 14, top: 10, bottom: 44 }; // pixels around a chart
const MAX_MARKED = 12; // points: a longer curve has no markers
const MAX_LISTED = 20; // runs in the values at the pointer: those nearest to it
const KEY_STEPS = 60; // of an arrow key, from one side of a chart to the other
const exact = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const form = document.querySelector(".choices");
const whole = document.querySelector(".whole"); // the button that ends a zoom
const buttons = [...document.querySelectorAll(".legend button")];
let runs = [];
let charts = [];
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

/**
 * The visible curves of a metric, {button, xs, ys, first, last}: the points in the zoomed range are those from first to
 * last; one more on either side, if there is one, leads the line to the frame.
 */
function curvesOf(metric) {
  const axis = form.elements.axis.value;
  const from = form.elements["log-x"].checked ? Number.MIN_VALUE : -Infinity;
  const [low, high] = zoom ?? [from, Infinity];
  return buttons.flatMap((button) => {
    const { axes, metrics } = runs[button.dataset.run];
    if (button.ariaPressed === "false" || !axes[axis] || !metrics[metric]) return [];
    const { rows, values } = metrics[metric];
    const drawable = [...rows.keys()].filter((i) => axes[axis][rows[i]] >= from);
    const xs = drawable.map((i) => axes[axis][rows[i]]);
    const begin = xs.findIndex((x) => x >= low);
    const end = xs.findLastIndex((x) => x <= high);
    if (begin < 0 || end < 0) return []; // all of it is on one side of the range
    const start = Math.max(0, begin - 1);
    const stop = Math.min(xs.length, end + 2);
    const curve = { button, xs: xs.slice(start, stop), ys: drawable.slice(start, stop).map((i) => values[i]) };
    return [{ ...curve, first: begin - start, last: end - start }];
  });
}

/** The values of a curve within the range, and where it enters and leaves it. */
function heights({ xs, ys, first, last }, [low, high], logarithmicX, logarithmicY) {
  const at = (i, edge) => {
    const x = logarithmicX ? Math.log : (value) => value;
    const part = (x(edge) - x(xs[i])) / (x(xs[i + 1]) - x(xs[i]));
    if (!logarithmicY) return ys[i] + part * (ys[i + 1] - ys[i]);
    return ys[i] > 0 && ys[i + 1] > 0 ? Math.exp(Math.log(ys[i]) + part * Math.log(ys[i + 1] / ys[i])) : Math.max(ys[i], ys[i + 1]);
  };
  const within = ys.slice(first, last + 1);
  if (first > 0) within.push(at(first - 1, low));
  if (last + 1 < xs.length) within.push(at(last, high));
  return within;
}

function drawAll() {
  for (const chart of charts) chart.curves = curvesOf(chart.metric);
  const all = charts.flatMap(({ curves }) => curves.flatMap(({ xs }) => [xs[0], xs[xs.length - 1]]));
  const range = zoom ?? extent(all, false).range;
  for (const chart of charts) draw(chart, range);
  whole.hidden = !zoom;
}

function draw(chart, range) {
  const { canvas, metric, curves } = chart;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  const colour = (name) => getComputedStyle(canvas).getPropertyValue(name);
  const axis = form.elements.axis.value;
  const logarithmicX = form.elements["log-x"].checked;
  const negative = curves.some(({ ys }) => ys.some((y) => y < 0));
  const logarithmic = form.elements["log-y"].checked && !negative;
  const values = extent(curves.flatMap((curve) => heights(curve, range, logarithmicX, logarithmic)), logarithmic);
  const [left, right, bottom] = [MARGIN.left, width - MARGIN.right, height - MARGIN.bottom];
  const x = (chart.x = scale(range, false, left, right, logarithmicX));
  const y = (chart.y = scale(values.range, values.zero, bottom, MARGIN.top, logarithmic));
  chart.note.textContent = !curves.length ? "no data" : negative && form.elements["log-y"].checked ? "linear: some values are negative" : "";
  canvas.ariaLabel = `${metric} over ${axis}, ${curves.length} of ${buttons.length} runs; arrow keys show the values`;

  pen.font = "11px system-ui, sans-serif";
  pen.lineWidth = 1;
  pen.strokeStyle = colour("--rule");
  pen.fillStyle = colour("--soft");
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  const line = (...points) => { pen.beginPath(); pen.moveTo(...points[0]); pen.lineTo(...points[1]); pen.stroke(); };
  for (const { tick, text } of curves.length ? y.ticks : []) {
    const at = Math.round(y.pixel(tick)) + 0.5;
    line([left, at], [right, at]);
    pen.fillText(text, left - 6, at, left - 6);
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  let free = 0; // from where on there is no label yet
  for (const { tick, text } of curves.length ? x.ticks : []) {
    const [at, half] = [x.pixel(tick), pen.measureText(text).width / 2];
    line([at, bottom], [at, bottom + 4]);
    if (at - half < free || at + half > width) continue;
    pen.fillText(text, at, bottom + 8);
    free = at + half + 8;
  }
  pen.fillText(axis, (left + right) / 2, height - 16);

  pen.save();
  pen.beginPath();
  pen.rect(left - 1, 0, right - left + 2, height);
  pen.clip();
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  for (const { button, xs, ys } of curves) {
    style(pen, button, colour);
    pen.setLineDash(button.dataset.dash.split(" ").filter(Boolean).map(Number));
    pen.beginPath();
    trace(pen, xs.map(x.pixel), ys.map(y.pixel));
    pen.stroke();
  }
  pen.restore();
  for (const { button, xs, ys, first, last } of curves) {
    if (last - first + 1 > MAX_MARKED) continue;
    style(pen, button, colour);
    for (let i = first; i <= last; i++) {
      pen.beginPath();
      pen.arc(x.pixel(xs[i]), y.pixel(ys[i]), 2.5, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}

function style(pen, button, colour) {
  pen.globalAlpha = hovered && button !== hovered ? 0.12 : 1;
  pen.strokeStyle = pen.fillStyle = colour(`--run-${button.dataset.colour}`);
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

/** The values of all runs at the pointer, in pixels of the chart, without runs that end before it or start after it. */
function hover(chart, at, height) {
  const { x, y, curves, values, mark, canvas } = chart;
  const place = x.value(at);
  const reach = Math.abs(x.value(at + 6) - place);
  const distance = ({ ys, i }) => Math.abs(y.pixel(ys[i]) - height);
  const atPointer = curves
    .map((curve) => ({ ...curve, i: nearest(curve.xs, place) }))
    .filter(({ xs }) => place >= xs[0] - reach && place <= xs[xs.length - 1] + reach);
  const listed = atPointer.sort((a, b) => distance(a) - distance(b)).slice(0, MAX_LISTED);
  values.replaceChildren(`${form.elements.axis.value} ${exact.format(Number(place.toPrecision(4)))}`);
  for (const { button, ys, i } of listed.sort((a, b) => b.ys[b.i] - a.ys[a.i])) {
    const line = document.createElement("div");
    const value = document.createElement("b");
    value.textContent = ys[i] && Math.abs(ys[i]) < 0.001 ? ys[i].toExponential(3) : exact.format(ys[i]);
    line.append(...[...button.children].map((part) => part.cloneNode(true)), value);
    values.append(line);
  }
  if (atPointer.length > listed.length) values.append(`and ${atPointer.length - listed.length} more`);
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
  values.ariaLive = "polite";
  canvas.tabIndex = 0;
  canvas.role = "img";
  frame.append(canvas, band, values);
  figure.append(caption, frame);
  figure.dataset.metric = metric;
  document.querySelector(".charts").append(figure);

  const within = (pixel) => Math.min(Math.max(pixel, MARGIN.left), canvas.clientWidth - MARGIN.right);
  const mark = (from, to) => {
    Object.assign(band.style, { visibility: "visible", left: `${Math.min(from, to)}px`, width: `${Math.max(1, Math.abs(to - from))}px`, top: `${MARGIN.top}px`, bottom: `${MARGIN.bottom}px` });
  };
  const hide = () => { values.style.visibility = band.style.visibility = "hidden"; };
  const chart = { metric, canvas, note, values, mark, hide, curves: [] };
  let pressed = null;
  let cursor = null; // of the arrow keys
  canvas.onpointerdown = (event) => {
    pressed = within(event.offsetX);
    canvas.setPointerCapture(event.pointerId); // a drag may end outside
  };
  canvas.onpointermove = (event) => {
    hover(chart, within(event.offsetX), event.offsetY);
    if (pressed !== null) mark(pressed, within(event.offsetX));
  };
  canvas.onpointerup = (event) => {
    const released = within(event.offsetX);
    if (pressed !== null && Math.abs(released - pressed) > 5) {
      zoomTo([pressed, released].map(chart.x.value).sort((a, b) => a - b));
    } else {
      hover(chart, released, event.offsetY); // a finger does not hover: its tap shows the values
    }
    pressed = null;
  };
  canvas.onpointercancel = () => { pressed = null; hide(); }; // the finger scrolls the page
  canvas.onpointerleave = (event) => { if (event.pointerType !== "touch") hide(); };
  canvas.ondblclick = () => zoomTo(null);
  canvas.onblur = hide;
  canvas.onkeydown = (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") zoomTo(null);
    if (!direction) return;
    event.preventDefault();
    const [left, right] = [MARGIN.left, canvas.clientWidth - MARGIN.right];
    cursor = cursor === null ? (direction > 0 ? left : right) : within(cursor + (direction * (right - left)) / KEY_STEPS);
    hover(chart, cursor, canvas.clientHeight / 2);
  };
  return chart;
}

/** What was shown at the pointer belongs to the former range. */
function zoomTo(range) {
  zoom = range;
  drawAll();
  for (const { hide } of charts) hide();
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
  whole.onclick = () => zoomTo(null);
  addEventListener("resize", drawAll);
  addEventListener("pointerdown", (event) => charts.filter(({ canvas }) => canvas !== event.target).forEach(({ hide }) => hide()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
}

if (form) start();
