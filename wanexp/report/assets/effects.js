/* Every arm by every metric: how much it changes against the baseline, and how sure that is. */

function showEffects() {
  const { effects } = DATA;
  const place = byId('effects');
  if (!effects.metrics.length) { place.hidden = true; return; }
  const arms = Object.keys(effects.arms);
  const columns = arms.length ? [effects.baseline, ...arms] : Object.keys(effects.medians);
  const head = el('tr', {}, el('th', { scope: 'col' }, 'metric'), ...columns.map(arm => el('th', { scope: 'col' }, el('button', { type: 'button', class: 'arm-link', onclick: () => openCompare(arm) }, swatch(arm), el('span', {}, ...breakable(arm))), arm === effects.baseline && arms.length ? el('small', {}, 'median') : '')));
  const rows = effects.metrics.map(metric => el('tr', { class: metric === effects.primary ? 'primary' : '' },
    el('th', { scope: 'row', title: [(METRIC.get(metric) || {}).source, (METRIC.get(metric) || {}).confuses].filter(Boolean).join('. Confused by: ') }, metric, el('small', {}, ` ${arrow(metric)}${metric === effects.primary ? ' decides' : ''}`)),
    ...columns.map(arm => (effects.arms[arm] ? effectCell(metric, arm, effects.arms[arm][metric]) : medianCell(metric, arm)))));
  place.append(
    el('h2', { id: 'effects-title' }, arms.length ? 'Effects' : 'Medians'),
    el('p', { class: 'lead' }, arms.length
      ? `Against ${effects.baseline}, in pairs of one case and one seed. Bars are 95 % intervals; right of the line is better. ${effects.primary} alone is tested, the rest is described.`
      : 'Over cases and seeds.'),
    el('div', { class: 'scroll bleeding', tabindex: 0, role: 'region', 'aria-label': 'Table of effects' }, el('table', { class: 'effects' }, el('thead', {}, head), el('tbody', {}, ...rows))),
    undefinedLine());
}

function medianCell(metric, arm) {
  const value = (DATA.effects.medians[arm] || {})[metric];
  return el('td', { class: 'number' }, value === null || value === undefined ? 'undefined' : amount(value, (METRIC.get(metric) || {}).unit));
}

function effectCell(metric, arm, effect) {
  if (!effect) return el('td', { class: 'muted' }, '–');
  const reach = reachOf(metric);
  const words = effect.state === 'none' ? 'not known' : effect.words;
  return el('td', { class: `effect ${effect.state}`, title: `${arm}, ${metric}: ${effect.words}; 95 %: ${effect.interval}; ${effect.pairs}` },
    intervalBar(effect, reach), el('span', { class: 'words' }, words), el('small', {}, effect.low === null ? 'no interval' : effect.interval));
}

/** Half the width of a metric's bars: what the widest of them needs. */
function reachOf(metric) {
  const own = Object.values(DATA.effects.arms).map(cells => cells[metric]).filter(Boolean);
  const ends = own.flatMap(effect => [effect.low, effect.high, effect.gain]).filter(value => value !== null && Number.isFinite(value));
  return Math.max(1e-9, ...ends.map(Math.abs));
}

function intervalBar(effect, reach) {
  const x = value => 50 + (46 * clamp(value / reach, -1, 1));
  const parts = [svg('line', { class: 'zero', x1: 50, x2: 50, y1: 0, y2: 14 })];
  if (effect.low !== null && effect.high !== null) parts.push(svg('line', { class: 'interval', x1: x(effect.low), x2: x(effect.high), y1: 7, y2: 7 }));
  if (effect.gain !== null) parts.push(svg('circle', { class: 'point', cx: x(effect.gain), cy: 7, r: 2.6 }));
  return svg('svg', { class: 'bar', viewBox: '0 0 100 14', 'aria-hidden': 'true' }, ...parts);
}

/** How often each metric says nothing, and why. */
function undefinedLine() {
  const found = new Map();
  for (const trial of DATA.trials) {
    for (const [metric, reason] of Object.entries(trial.reasons || {})) {
      const key = `${metric}\n${reason}`;
      found.set(key, (found.get(key) || 0) + 1);
    }
  }
  if (!found.size) return '';
  return el('ul', { class: 'notes', id: 'undefined' }, ...[...found].map(([key, count]) => {
    const [metric, reason] = key.split('\n');
    return el('li', {}, el('b', {}, metric), ` is undefined for ${plural(count, 'video')}: ${reason}`);
  }));
}
