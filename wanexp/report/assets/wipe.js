/* Two videos of one case and seed: as a wipe, side by side, or their difference. */

function showCompare(place) {
  const sides = [state.a, state.b].map(sideOf);
  const rows = ROWS.map(row => `${row.case}\n${row.seed}`);
  const here = rows.indexOf(`${state.case}\n${state.seed}`);
  const go = by => {
    const row = ROWS[(here + by + ROWS.length) % ROWS.length];
    setState({ case: row.case, seed: row.seed });
  };
  place.append(
    el('div', { class: 'compare-bar' },
      el('div', { class: 'pair' }, sideChoice('a', 'Left'), el('button', { type: 'button', onclick: swapSides, title: 'Swap (x)', 'aria-label': 'Swap left and right' }, '⇄'), sideChoice('b', 'Right')),
      el('div', { class: 'pair' }, el('button', { type: 'button', 'aria-label': 'Previous case or seed', title: 'Previous (p)', onclick: () => go(-1) }, '‹'),
        rowChoice(), el('button', { type: 'button', 'aria-label': 'Next case or seed', title: 'Next (n)', onclick: () => go(1) }, '›')),
      segments('How the two are shown', 'mode', MODES, { side: 'side by side' }),
      state.mode === 'difference' ? boostChoice() : ''),
    el('div', { class: 'compare-body' },
      el('div', { class: `stage-of-two ${state.mode}` }, ...pictures(sides)),
      el('div', {}, ...comparedCurves(sides), valuesTable(sides))),
  );
}

/** A side: a trial, or the source image. `feed` is null where there is nothing to show. */
function sideOf(name) {
  const { source } = CASE.get(state.case) || {};
  if (name === SOURCE) return { name, trial: null, feed: source ? { picture: source } : null, words: ['there is no source image'] };
  const trial = findTrial(name, state.case, state.seed);
  if (!trial) return { name, trial: null, feed: null, words: [`${name} has no trial of this case and seed`] };
  const shown = trial.video && !absence(trial.video);
  return { name, trial, feed: shown ? feedOf(trial) : null, words: shown ? [] : absentWords(trial) };
}

function pictures(sides) {
  const shape = shapeOf(sides.map(side => side.trial).find(trial => trial && trial.width));
  const missing = sides.find(side => !side.feed);
  const { source } = CASE.get(state.case) || {};
  const extra = state.source && source && !sides.some(side => side.name === SOURCE)
    ? [titled('source', makeScreen({ feeds: [{ picture: source }], shape, label: `Source image of ${state.case}` }).node)] : [];
  const lone = side => titled(side.name, side.feed
    ? makeScreen({ feeds: [side.feed], shape, label: sideWords(side) }).node
    : el('div', { class: 'screen absent', style: `aspect-ratio:${shape}` }, el('p', {}, ...side.words)));
  if (state.mode === 'side' || missing) return [...extra, ...sides.map(lone)];
  const kind = state.mode;
  const label = kind === 'wipe' ? `${sideWords(sides[0])} on the left, ${sides[1].name} on the right` : `Difference of ${sides[0].name} and ${sides[1].name}; black is equal`;
  const screen = makeScreen({ feeds: sides.map(side => side.feed), kind, shape, label });
  if (kind === 'wipe') screen.node.append(...wipeParts(screen, sides));
  else screen.node.style.setProperty('--boost', state.boost);
  return [...extra, titled(kind === 'wipe' ? null : `difference of ${sides[0].name} and ${sides[1].name}, × ${state.boost}`, screen.node)];
}

function sideWords(side) {
  return side.name === SOURCE ? `Source image of ${state.case}` : `Video of ${side.name}, ${state.case}, seed ${state.seed}`;
}

function titled(title, node) {
  return el('figure', { class: 'big' }, title ? el('figcaption', {}, title === SOURCE || !ARM.has(title) ? '' : swatch(title), title) : '', node);
}

/** The wipe's edge: a slider for hands, keys and readers of screens. */
function wipeParts(screen, sides) {
  const handle = el('div', { class: 'wipe-handle', role: 'slider', tabindex: 0, 'aria-label': `Edge between ${sides[0].name} and ${sides[1].name}`, 'aria-valuemin': 0, 'aria-valuemax': 100 }, el('span', { 'aria-hidden': 'true' }, '⟷'));
  const place = () => {
    handle.style.left = `${100 * state.split}%`;
    handle.setAttribute('aria-valuenow', Math.round(100 * state.split));
    handle.setAttribute('aria-valuetext', `${Math.round(100 * state.split)} % ${sides[0].name}`);
  };
  const follow = event => {
    const box = screen.node.getBoundingClientRect();
    setState({ split: clamp((event.clientX - box.left) / box.width, 0, 1) });
    place();
  };
  screen.node.addEventListener('pointerdown', event => {
    // In an enlarged picture a drag moves the picture, and only the edge itself the edge.
    if (event.button !== 0 || (state.zoom[0] > 1 && !event.target.closest('.wipe-handle'))) return;
    screen.node.setPointerCapture(event.pointerId);
    follow(event);
    screen.node.addEventListener('pointermove', follow);
    screen.node.addEventListener('pointerup', () => screen.node.removeEventListener('pointermove', follow), { once: true });
  });
  handle.addEventListener('keydown', event => {
    const by = { ArrowLeft: -0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowUp: 0.02, PageDown: -0.2, PageUp: 0.2, Home: -1, End: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    setState({ split: clamp(state.split + by, 0, 1) });
    place();
  });
  place();
  return [
    el('span', { class: 'corner left' }, sides[0].name === SOURCE ? '' : swatch(sides[0].name), sides[0].name),
    el('span', { class: 'corner right' }, sides[1].name === SOURCE ? '' : swatch(sides[1].name), sides[1].name),
    handle,
  ];
}

function sideChoice(key, title) {
  return choice(title, key, [...armNames(), SOURCE], name => (name === BASELINE && name !== 'baseline' && DATA.arms.length > 1 ? `${name} (baseline)` : name));
}

function rowChoice() {
  const select = el('select', { 'aria-label': 'Case and seed', onchange: () => { const row = ROWS[select.selectedIndex]; setState({ case: row.case, seed: row.seed }); } },
    ...ROWS.map(row => el('option', { selected: row.case === state.case && row.seed === state.seed }, `${row.case} · seed ${row.seed}`)));
  return select;
}

function boostChoice() {
  return choice('Times', 'boost', [1, 2, 4, 8, 16], times => `× ${times}`);
}

const swapSides = () => setState({ a: state.b, b: state.a, split: 1 - state.split });

/** Curves of both for every metric that is known by frame, the chosen one first. */
function comparedCurves(sides) {
  const trials = sides.map(side => side.trial).filter(Boolean);
  const names = [state.metric, ...METRIC.keys()].filter((name, i, all) => all.indexOf(name) === i);
  const drawn = names.map(name => {
    const curve = makeCurve(name, trials.map(trial => lineOf(trial, name)), { tall: true });
    const values = trials.flatMap(trial => (trial.series || {})[name] || []);
    return curve && el('figure', { class: 'curve-figure' }, el('figcaption', {}, el('b', {}, name), ` ${arrow(name)}`, el('span', { class: 'spread' }, spread(values, (METRIC.get(name) || {}).unit))), curve.node);
  });
  return drawn.some(Boolean) ? [el('div', { class: 'curve-list' }, ...drawn)] : [];
}

/** A metric's row: which way is better, and what it is counted in. */
function metricHead(name) {
  const { unit, source } = METRIC.get(name) || {};
  return el('th', { scope: 'row', title: source || null }, name, el('small', {}, ` ${arrow(name)} ${unit || ''}`));
}

/** What both measure, beside each other. */
function valuesTable(sides) {
  const trials = sides.map(side => side.trial);
  if (!trials.some(Boolean)) return '';
  const cell = (trial, name) => {
    const value = trial && (trial.values || {})[name];
    if (value !== undefined && value !== null) return el('td', { class: 'number' }, reading(value));
    return el('td', { class: 'number undefined', title: trial ? (trial.reasons || {})[name] || 'not measured' : '' }, trial ? 'undefined' : '–');
  };
  const rows = DATA.metrics.map(({ name }) => el('tr', {}, metricHead(name), ...trials.map(trial => cell(trial, name))));
  const cost = key => el('tr', {}, el('th', { scope: 'row' }, { model_calls: 'model calls', seconds: 'seconds of sampling' }[key]), ...trials.map(trial => el('td', { class: 'number' }, digits(trial && trial[key]))));
  return el('div', { class: 'scroll' }, el('table', { class: 'values' },
    el('caption', {}, `${state.case}, seed ${state.seed}`),
    el('thead', {}, el('tr', {}, el('td', {}), ...sides.map(side => el('th', { scope: 'col', class: 'number' }, side.name === SOURCE ? '' : swatch(side.name), side.name)))),
    el('tbody', {}, ...rows, cost('model_calls'), cost('seconds'))));
}
