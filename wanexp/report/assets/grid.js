/* The grid: a row for each case and seed, a tile for each arm. Rows are filled as they come into
   view and emptied when they are far away, so that a thousand videos are as light as twenty. */

const FAR = '900px';
const gridRows = new Map(); // element → row

const nearby = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    const row = gridRows.get(target);
    if (row) (isIntersecting ? fillRow : emptyRow)(target, row);
  }
}, { rootMargin: FAR });

function showGrid(place) {
  clearGrid(place);
  const rows = shownRows();
  if (!rows.length) place.append(el('p', { class: 'empty' }, 'No trial fits these filters.'));
  for (const row of rows) {
    const title = `${row.case}${SEEDS.length > 1 || row.seed !== '0' ? ` · seed ${row.seed}` : ''}`;
    const tiles = el('div', { class: 'tiles', style: `--columns:${row.trials.length + (state.source ? 1 : 0)}` });
    const node = el('article', { class: 'row', 'aria-label': title }, rowHead(row, title), tiles);
    gridRows.set(node, { ...row, tiles, filled: false });
    place.append(node);
    tiles.style.minHeight = `${tilesHeight(row, tiles)}px`;
    nearby.observe(node);
  }
}

/** About how high a row's tiles will be: a page whose length is right jumps to the right place. */
const CAPTION = 68; // px of name and curve under a picture
function tilesHeight(row, tiles) {
  const lines = getComputedStyle(tiles);
  const widths = lines.gridTemplateColumns.split(' ').map(parseFloat);
  const count = row.trials.length + (state.source ? 1 : 0);
  const gap = parseFloat(lines.rowGap) || 0;
  const high = (widths[0] || 0) / shapeOf(row.trials.find(trial => trial.width)) + CAPTION;
  return Math.round(Math.ceil(count / widths.length) * (high + gap) - gap);
}

function clearGrid(place) {
  dropScreensIn(place);
  dropCurvesIn(place);
  for (const node of gridRows.keys()) nearby.unobserve(node);
  gridRows.clear();
  place.replaceChildren();
}

function rowHead(row, title) {
  const { why, prompt } = CASE.get(row.case) || {};
  const marks = [];
  if (row.trials.some(trial => trial.held_out)) marks.push('held back');
  if (row.trials.some(trial => trial.confirms)) marks.push('confirms');
  return el('header', {}, el('h3', {}, title), ...marks.map(mark => el('span', { class: 'mark' }, mark)),
    prompt ? el('p', { class: 'prompt', title: why || '' }, `“${prompt}”`) : '');
}

function fillRow(node, row) {
  if (row.filled) return;
  row.filled = true;
  row.tiles.style.minHeight = '';
  if (state.source) row.tiles.append(sourceTile(row));
  row.tiles.append(...row.trials.map(makeTile));
}

function emptyRow(node, row) {
  if (!row.filled || node.contains(document.activeElement)) return;
  row.tiles.style.minHeight = `${row.tiles.offsetHeight}px`;
  row.filled = false;
  dropScreensIn(node);
  dropCurvesIn(node);
  row.tiles.replaceChildren();
}

function sourceTile(row) {
  const { source, words } = CASE.get(row.case) || {};
  const shape = shapeOf(row.trials.find(trial => trial.width));
  const node = source
    ? makeScreen({ feeds: [{ picture: source }], shape, label: `Source image of ${row.case}` }).node
    : el('div', { class: 'screen absent', style: `aspect-ratio:${shape}` }, el('p', {}, words ? 'none: made from words' : 'no trial that has run holds it'));
  return el('figure', { class: 'tile source' }, node, el('figcaption', {}, el('b', {}, 'source')));
}

/** One trial: its video, its score and its curve; or the reason why there is none. */
function makeTile(trial) {
  const name = `${trial.arm}, ${trial.case}, seed ${trial.seed}`;
  const caption = el('figcaption', {}, swatch(trial.arm), el('b', {}, ...breakable(trial.arm)), scoreOf(trial, state.metric));
  const tile = el('figure', { class: `tile ${trial.state}`, 'data-arm': trial.arm });
  if (!trial.video || absence(trial.video)) {
    tile.append(el('div', { class: 'screen absent', style: `aspect-ratio:${shapeOf(trial)}` }, el('p', {}, ...absentWords(trial))), caption);
    return tile;
  }
  const screen = makeScreen({ feeds: [feedOf(trial)], shape: shapeOf(trial), label: `Video of ${name}, ${plural(trial.frames, 'frame')}` });
  const compare = el('button', { type: 'button', class: 'watch', 'aria-label': `Compare ${name} with ${opponentOf(trial.arm)}`, onclick: () => openTile(trial) }, screen.node);
  const stages = trial.stages.length > 1
    ? el('button', { type: 'button', class: 'quiet', 'aria-label': `Stages of ${name}`, onclick: () => openStages(trial) }, 'stages')
    : '';
  caption.append(stages);
  const curve = makeCurve(state.metric, [lineOf(trial, state.metric)]);
  tile.append(compare, caption);
  if (curve) tile.append(curve.node);
  return tile;
}

function absentWords(trial) {
  if (trial.state === 'missing') return trial.gone ? [el('b', {}, 'No video: '), trial.gone] : [el('b', {}, 'Not run yet')];
  if (trial.state === 'failed') return [el('b', {}, 'Failed: '), trial.error ? trial.error.message : 'no reason was recorded'];
  if (trial.state === 'changed') return [el('b', {}, 'Not as asked: '), trial.troubles.join('; ')];
  return [el('b', {}, 'No video: '), trial.gone || absence(trial.video)];
}

function scoreOf(trial, metric) {
  if (!metric || trial.state !== 'completed') return '';
  const value = (trial.values || {})[metric];
  const reason = (trial.reasons || {})[metric];
  const unit = (METRIC.get(metric) || {}).unit;
  const words = value === undefined ? 'undefined' : amount(value, unit);
  return el('span', { class: value === undefined ? 'score undefined' : 'score', title: value === undefined ? `${metric}: ${reason || 'not measured'}` : metric }, words);
}

/** Whom an arm is set against: the baseline, and the baseline against the best of the others. */
function opponentOf(arm) {
  return arm !== BASELINE ? BASELINE : REST.b === arm ? SOURCE : REST.b;
}

function openTile(trial) {
  setState({ view: 'compare', a: opponentOf(trial.arm), b: trial.arm, case: trial.case, seed: String(trial.seed) });
  toSection('videos');
}

function openCompare(arm) {
  setState({ view: 'compare', a: opponentOf(arm), b: arm });
  toSection('videos');
}

function openStages(trial) {
  setState({ view: 'stages', arm: trial.arm, case: trial.case, seed: String(trial.seed) });
  toSection('videos');
}

function toSection(id) {
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const section = byId(id) || byId('main');
  section.scrollIntoView({ behavior: calm ? 'auto' : 'smooth', block: 'start' });
}
