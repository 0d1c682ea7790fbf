// --- scales: values to pixels, and ticks ---------------------------------------------------------------

const ZERO_PIXELS = 20; // at the end of a logarithmic axis, for the value 0
const TICK_PIXELS = 70; // between two ticks of a linear axis, about
const TICK_DIGITS = 4; // significant ones, if they tell the ticks apart
const MAX_DIGITS = 17; // of a float64
const MAX_DECADES = 8; // with a tick each

/** Maps [low, high] to pixels, with ticks. On a logarithmic scale 0 is at `from`, apart from the other values. */
function scale([low, high], zero, from, to, logarithmic) {
  if (low > high) [low, high] = logarithmic ? [0.1, 1] : [0, 1];
  const single = low === high;
  const only = low;
  if (single) [low, high] = logarithmic ? [low / 2, high * 2] : [low - (Math.abs(low) / 2 || 0.5), high + (Math.abs(high) / 2 || 0.5)];
  const start = zero ? from + Math.sign(to - from) * ZERO_PIXELS : from;
  const transform = logarithmic ? Math.log10 : (value) => value;
  const [first, last] = [transform(low), transform(high)];
  const pixel = (value) => (logarithmic && value <= 0 ? from : start + ((transform(value) - first) / (last - first)) * (to - start));
  const value = (at) => first + ((at - start) / (to - start)) * (last - first);
  const count = Math.abs(to - from) / TICK_PIXELS;
  const round = single ? [only] : logarithmic ? decades(low, high, count) : steps(low, high, count);
  const ticks = zero ? [0, ...round] : round;
  const texts = labels(ticks, single ? TICK_DIGITS + 2 : TICK_DIGITS);
  return { pixel, ticks: ticks.map((tick, i) => ({ tick, text: texts[i] })), value: (at) => (logarithmic ? 10 ** value(at) : value(at)) };
}

/** The range of values, and whether a logarithmic scale needs a place for zero. */
function extent(values, logarithmic) {
  let low = Infinity, high = -Infinity, zero = false;
  for (const value of values) {
    if (logarithmic && value <= 0) { zero = true; continue; }
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return { range: [low, high], zero };
}

function steps(low, high, count) {
  const rough = (high - low) / Math.max(2, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
  const ticks = [];
  const first = Math.ceil(low / step);
  // Where a step is less than a float64 can tell apart, ticks would have no end, and repeat.
  for (let i = 0; (first + i) * step <= high && i < 2 * Math.max(2, count); i++) ticks.push((first + i) * step);
  return [...new Set(ticks)];
}

function decades(low, high, count) {
  const wide = Math.log10(high) - Math.log10(low);
  const digits = wide > 3 ? [1] : wide > 1 ? [1, 3] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += Math.max(1, Math.ceil(wide / MAX_DECADES))) {
    ticks.push(...digits.map((digit) => digit * 10 ** power).filter((tick) => tick >= low && tick <= high));
  }
  return ticks.length > 1 ? ticks : steps(low, high, count);
}

/** As few digits, from so many on, as make different ticks different. */
function labels(ticks, from) {
  let texts = [];
  for (let digits = from; digits <= MAX_DIGITS; digits++) {
    const notation = digits === TICK_DIGITS ? "compact" : "standard"; // 53.36K, but 53,361
    const number = new Intl.NumberFormat("en", { notation, maximumSignificantDigits: digits });
    texts = ticks.map((tick) => {
      const extreme = tick && (Math.abs(tick) < 0.001 || Math.abs(tick) >= 1e15);
      return extreme ? Number(tick.toPrecision(digits)).toExponential() : number.format(tick);
    });
    if (new Set(texts).size === texts.length) break;
  }
  return texts;
}
