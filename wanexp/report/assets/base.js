/* Small pieces that every part uses: elements, numbers, words. */

/** The study as Python wrote it. */
const DATA = JSON.parse(document.getElementById('data').textContent);

const byId = id => document.getElementById(id);

/** An element; `on…` attributes are listeners, null and false ones are left out. */
function el(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function svg(tag, attributes = {}, ...children) {
  return dress(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter(child => child !== null && child !== undefined));
  return node;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Three significant digits, as long as that is a number that people read. */
function digits(value) {
  if (value === null || value === undefined) return '–';
  const size = Math.abs(value);
  const text = size >= 1000 ? Math.round(value).toLocaleString('en-GB')
    : size !== 0 && size < 1e-4 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  return text.replace('-', '−');
}

/** What was measured: as many digits in every row, so that 0.750 stands under 0.748. */
function reading(value) {
  const size = Math.abs(value || 0);
  return size >= 1e-4 && size < 1000 ? value.toPrecision(3).replace('-', '−') : digits(value);
}

/** Decimals that a column of numbers needs for three digits of its largest; none for whole ones. */
function decimalsOf(values) {
  const real = values.filter(value => typeof value === 'number' && Number.isFinite(value));
  const most = Math.max(0, ...real.map(Math.abs));
  return most === 0 || real.every(Number.isInteger) ? 0 : clamp(2 - Math.floor(Math.log10(most)), 0, 6);
}

/** A number of such a column: points stand under points. */
function inColumn(value, decimals) {
  return value === null || value === undefined ? '–' : value.toFixed(decimals).replace(/^-(?=.*[1-9])/, '−').replace(/^-/, '');
}

/** A reading with its unit. */
function amount(value, unit) {
  return value === null || value === undefined || !unit ? reading(value) : `${reading(value)} ${unit}`;
}

/** A text whose long names (`establish.cfg=2,refine.cfg=3`) may break after their commas. */
function breakable(text) {
  return String(text).split(/(?<=,)(?=[a-z])/i).flatMap((part, place) => (place ? [el('wbr'), part] : [part]));
}

/** Drawn, because few systems have the signs of a recorder in their fonts. */
const ICONS = {
  play: 'M4 2l10 6-10 6z', pause: 'M3.5 2h3.2v12H3.5zM9.3 2h3.2v12H9.3z', first: 'M2 2h2.2v12H2zM14 2v12L5 8z',
  back: 'M11 2v12L3 8zM12 2h1.6v12H12z', on: 'M5 2v12l8-6zM2.4 2H4v12H2.4z', minus: 'M2 7h12v2H2z', plus: 'M7 2h2v5h5v2H9v5H7V9H2V7h5z',
};
function icon(name) {
  return svg('svg', { class: 'icon', viewBox: '0 0 16 16', 'aria-hidden': 'true' }, svg('path', { d: ICONS[name] }));
}

const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;

function say(words) {
  byId('said').textContent = words;
}

const METRIC = new Map(DATA.metrics.map(metric => [metric.name, metric]));
const ARM = new Map(DATA.arms.map((arm, place) => [arm.name, { ...arm, place }]));
const CASE = new Map(DATA.cases.map(one => [one.name, one]));
const SEEDS = [...new Set(DATA.trials.map(trial => String(trial.seed)))];
const ROWS = groupRows(DATA.trials);

/** Trials that are watched beside each other: one row for each case and seed, in their order. */
function groupRows(trials) {
  const rows = new Map();
  for (const trial of trials) {
    const key = `${trial.case}\n${trial.seed}`;
    if (!rows.has(key)) rows.set(key, { case: trial.case, seed: String(trial.seed), trials: [] });
    rows.get(key).trials.push(trial);
  }
  return [...rows.values()];
}

function findTrial(arm, caseName, seed) {
  return DATA.trials.find(t => t.arm === arm && t.case === caseName && String(t.seed) === String(seed)) || null;
}

const BASELINE = DATA.effects.baseline || (DATA.arms[0] && DATA.arms[0].name) || null;

/** Each arm has its colour everywhere; the baseline's is quiet. */
const COLOURS = 11;
function colourOf(arm) {
  if (arm === BASELINE) return 'var(--arm-0)';
  const others = DATA.arms.map(one => one.name).filter(name => name !== BASELINE);
  return `var(--arm-${1 + (others.indexOf(arm) % (COLOURS - 1))})`;
}

function swatch(arm) {
  return el('span', { class: 'swatch', style: `background:${colourOf(arm)}`, 'aria-hidden': 'true' });
}

/** ↓ lower is better, ↑ higher, → 1. */
function arrow(metric) {
  const way = (METRIC.get(metric) || {}).direction;
  return { lower: '↓', higher: '↑', one: '→ 1' }[way] || '';
}

function arrowWords(metric) {
  const way = (METRIC.get(metric) || {}).direction;
  return { lower: 'lower is better', higher: 'higher is better', one: '1 is best' }[way] || '';
}
