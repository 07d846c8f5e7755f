/* A metric by frame, as a line with a cursor at the clock's frame. Plain SVG: there may be hundreds. */

const CURVE = { width: 200, height: 36, edge: 3 };
const curves = new Set();

/** The range of a metric over all trials, so that curves can be compared by eye. */
const ranges = new Map();
function rangeOf(metric) {
  if (!ranges.has(metric)) {
    ranges.set(metric, reach(DATA.trials.flatMap(trial => (trial.series || {})[metric] || [])));
  }
  return ranges.get(metric);
}

/** The least and the most of some values, from 0 where that leaves the line room to move. */
function reach(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  const base = low > 0.4 * high ? low : Math.min(low, 0);
  return [base, high === base ? base + 1 : high];
}

/** A path through a value a frame; gaps where there are none. A metric of pairs may have fewer. */
function pathOf(values, range, frames, box = CURVE) {
  const [low, high] = range;
  const last = Math.max(1, frames - 1);
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

/** Lines of one metric: `lines` are {values, arm, frames, fps}. Null where no line has a value. */
function makeCurve(metric, lines, { tall = false } = {}) {
  const known = lines.filter(line => line.values && line.values.some(value => value !== null));
  // Beside each other tiles share one range; a pair that is compared fills its own.
  const range = tall ? reach(known.flatMap(line => line.values)) : rangeOf(metric);
  if (!range || !known.length) return null;
  const unit = (METRIC.get(metric) || {}).unit || '';
  const cursor = svg('line', { class: 'cursor', y1: 0, y2: CURVE.height, x1: 0, x2: 0 });
  const words = known.map(line => `${line.arm}: ${spread(line.values, unit)}`).join('; ');
  const picture = svg('svg', {
    class: tall ? 'curve tall' : 'curve', viewBox: `0 0 ${CURVE.width} ${CURVE.height}`,
    preserveAspectRatio: 'none', role: 'img', 'aria-label': `${metric} by frame. ${words}`,
  },
  ...known.map(line => svg('path', { d: pathOf(line.values, range, line.frames), style: `stroke:${colourOf(line.arm)}` })), cursor);
  const readout = el('span', { class: 'readout' }); // no <output>: readers of screens would say every frame
  const node = el('div', { class: tall ? 'curve-row tall' : 'curve-row' }, picture, readout);
  const curve = { node, cursor, readout, lines: known, unit, shown: -1 };
  curves.add(curve);
  moveCursor(curve, clock.time);
  return curve;
}

function spread(values, unit) {
  const real = values.filter(value => value !== null);
  const [low, high] = [Math.min(...real), Math.max(...real)];
  return real.length ? `${inColumn(low, decimalsOf([low, high]))} to ${amount(high, unit)}` : 'undefined';
}

function moveCursor(curve, time) {
  const { frames, fps } = curve.lines[0];
  const frame = frameAt(time, fps, frames);
  if (frame === curve.shown) return;
  curve.shown = frame;
  const x = (frame / Math.max(1, frames - 1)) * CURVE.width;
  curve.cursor.setAttribute('transform', `translate(${x.toFixed(1)} 0)`);
  curve.readout.textContent = curve.lines.map(line => reading(line.values[frame])).join(' · ');
}

function dropCurvesIn(node) {
  for (const curve of curves) if (node.contains(curve.node)) curves.delete(curve);
}

/** A trial's line of a metric. */
function lineOf(trial, metric) {
  const values = (trial.series || {})[metric];
  return { values, arm: trial.arm, frames: trial.frames || (values || []).length, fps: trial.fps || 12 };
}

onTick(time => curves.forEach(curve => moveCursor(curve, time)));
