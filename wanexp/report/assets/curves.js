/* A metric by frame, as a line with a cursor at the clock's frame. Plain SVG: there may be hundreds. */

const CURVE = { width: 200, height: 36, edge: 3 };
const curves = new Set();

/** The range of a metric over all trials, so that curves can be compared by eye. */
const ranges = new Map();
function rangeOf(metric) {
  if (!ranges.has(metric)) {
    let low = Infinity;
    let high = -Infinity;
    for (const trial of DATA.trials) {
      for (const value of (trial.series || {})[metric] || []) {
        if (value === null) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    // From 0 where that leaves room for the line to move.
    const base = low > 0.4 * high ? low : Math.min(low, 0);
    ranges.set(metric, low <= high ? [base, high === base ? base + 1 : high] : null);
  }
  return ranges.get(metric);
}

/** A path through the values; gaps where there are none. */
function pathOf(values, range, box = CURVE) {
  const [low, high] = range;
  const last = Math.max(1, values.length - 1);
  let pen = 'M';
  let path = '';
  values.forEach((value, i) => {
    if (value === null) { pen = 'M'; return; }
    const x = (i / last) * box.width;
    const y = box.height - box.edge - ((value - low) / (high - low)) * (box.height - 2 * box.edge);
    path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = 'L';
  });
  return path;
}

/** Lines of one metric: `lines` are {values, arm, fps}. Null where no line has a value. */
function makeCurve(metric, lines, { tall = false } = {}) {
  const range = rangeOf(metric);
  const known = lines.filter(line => line.values && line.values.some(value => value !== null));
  if (!range || !known.length) return null;
  const unit = (METRIC.get(metric) || {}).unit || '';
  const cursor = svg('line', { class: 'cursor', y1: 0, y2: CURVE.height, x1: 0, x2: 0 });
  const words = known.map(line => `${line.arm}: ${spread(line.values, unit)}`).join('; ');
  const picture = svg('svg', {
    class: tall ? 'curve tall' : 'curve', viewBox: `0 0 ${CURVE.width} ${CURVE.height}`,
    preserveAspectRatio: 'none', role: 'img', 'aria-label': `${metric} by frame. ${words}`,
  },
  ...known.map(line => svg('path', { d: pathOf(line.values, range), style: `stroke:${colourOf(line.arm)}` })), cursor);
  const readout = el('output', { class: 'readout' });
  const node = el('div', { class: 'curve-row' }, picture, readout);
  const curve = { node, cursor, readout, lines: known, unit, shown: -1 };
  curves.add(curve);
  moveCursor(curve, clock.time);
  return curve;
}

function spread(values, unit) {
  const real = values.filter(value => value !== null);
  return `${digits(Math.min(...real))} to ${amount(Math.max(...real), unit)}`;
}

function moveCursor(curve, time) {
  const { values, fps } = curve.lines[0];
  const frame = frameAt(time, fps, values.length);
  if (frame === curve.shown) return;
  curve.shown = frame;
  const x = (frame / Math.max(1, values.length - 1)) * CURVE.width;
  curve.cursor.setAttribute('transform', `translate(${x.toFixed(1)} 0)`);
  curve.readout.textContent = curve.lines.map(line => digits(line.values[Math.min(frame, line.values.length - 1)])).join(' · ');
}

function dropCurvesIn(node) {
  for (const curve of curves) if (node.contains(curve.node)) curves.delete(curve);
}

onTick(time => curves.forEach(curve => moveCursor(curve, time)));
