/* What is being looked at, all of it in the address, so that a view can be handed on. */

const VIEWS = ['grid', 'compare', 'stages'];
const MODES = ['wipe', 'side', 'difference'];
const SPEEDS = [0.1, 0.25, 0.5, 1, 2];
const SIZES = ['s', 'm', 'l'];
const SOURCE = 'source';
const DEEPEST = 16;

/** The view of a page that nobody has touched. */
function restState() {
  const row = ROWS[0] || { case: null, seed: null };
  const others = DATA.arms.map(arm => arm.name).filter(name => name !== BASELINE);
  const best = DATA.verdict.arms.find(arm => arm.verdict === 'better');
  return {
    view: 'grid', arms: null, cases: null, seeds: null,
    metric: firstMetric(), case: row.case, seed: row.seed,
    a: BASELINE, b: best ? best.arm : others[0] || SOURCE, arm: best ? best.arm : BASELINE,
    mode: 'wipe', split: 0.5, boost: 4,
    frame: null, speed: 1, loop: true, zoom: [1, 0.5, 0.5], size: 'm', source: true,
    theme: null, section: null,
  };
}

/** The metric whose curves are drawn: what decides, if it is known by frame, else what is. */
function firstMetric() {
  const known = new Set(DATA.trials.flatMap(trial => Object.keys(trial.series || {})));
  const primary = DATA.effects.primary;
  return known.has(primary) || !known.size ? primary || DATA.effects.metrics[0] || null : [...known][0];
}

/* key → [text of the value, value of the text (undefined where it makes no sense)] */
const oneOf = choices => [value => value, text => (choices().includes(text) ? text : undefined)];
const someOf = choices => [
  list => list.map(encodeURIComponent).join('|'),
  text => {
    const found = text.split('|').map(decodePart).filter(name => choices().includes(name));
    return found.length ? found : undefined;
  },
];
const within = (low, high) => [
  value => String(Number(value.toFixed(3))),
  text => (text !== '' && Number.isFinite(Number(text)) ? clamp(Number(text), low, high) : undefined),
];
const yes = [value => (value ? '1' : '0'), text => ({ 1: true, 0: false })[text]];

const armNames = () => DATA.arms.map(arm => arm.name);
const CODEC = {
  view: oneOf(() => VIEWS),
  arms: someOf(armNames),
  cases: someOf(() => [...CASE.keys()]),
  seeds: someOf(() => SEEDS),
  metric: oneOf(() => [...METRIC.keys()]),
  case: oneOf(() => [...CASE.keys()]),
  seed: oneOf(() => SEEDS),
  a: oneOf(() => [...armNames(), SOURCE]),
  b: oneOf(() => [...armNames(), SOURCE]),
  arm: oneOf(armNames),
  mode: oneOf(() => MODES),
  split: within(0, 1),
  boost: within(1, 16),
  frame: within(0, 1e6),
  speed: [String, text => (SPEEDS.includes(Number(text)) ? Number(text) : undefined)],
  loop: yes,
  zoom: [
    value => value.map(part => Number(part.toFixed(3))).join(','),
    text => {
      const parts = text.split(',').map(Number);
      return parts.length === 3 && parts.every(Number.isFinite) ? keepInside(parts) : undefined;
    },
  ],
  size: oneOf(() => SIZES),
  source: yes,
  theme: oneOf(() => ['light', 'dark']),
  section: [String, text => (/^\w+$/.test(text) ? text : undefined)],
};

/** The address of a state: what differs from the page at rest. */
function hashOf(state, rest) {
  const parts = [];
  for (const [key, [write]] of Object.entries(CODEC)) {
    const value = state[key];
    if (value === null || value === undefined) continue;
    if (JSON.stringify(value) === JSON.stringify(rest[key])) continue;
    const text = write(value);
    parts.push(`${key}=${key.endsWith('s') && Array.isArray(value) ? text : encodeURIComponent(text)}`);
  }
  return parts.length ? `#${parts.join('&')}` : '';
}

/** The state of an address; what it does not say, or says wrongly, is as at rest. */
function stateOf(hash, rest) {
  const state = { ...rest };
  for (const part of hash.replace(/^#/, '').split('&')) {
    const [key, ...words] = part.split('=');
    if (!Object.hasOwn(CODEC, key)) continue;
    const raw = words.join('=');
    const list = ['arms', 'cases', 'seeds'].includes(key);
    const value = CODEC[key][1](list ? raw : decodePart(raw));
    if (value !== undefined) state[key] = value;
  }
  return state;
}

function decodePart(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody cut the address in the middle of a letter
  }
}

/** A zoom whose picture covers the whole screen. */
function keepInside([scale, x, y]) {
  const deep = clamp(scale, 1, DEEPEST);
  const half = 0.5 / deep;
  return [deep, clamp(x, half, 1 - half), clamp(y, half, 1 - half)];
}

const REST = restState();
let state = stateOf(location.hash, REST);
const listeners = [];

/** Calls back with the keys that have changed. */
function onState(listener) {
  listeners.push(listener);
}

function setState(patch) {
  const changed = Object.keys(patch).filter(key => JSON.stringify(patch[key]) !== JSON.stringify(state[key]));
  if (!changed.length) return;
  state = { ...state, ...patch };
  saveSoon();
  for (const listener of listeners) listener(new Set(changed));
}

let saving = 0;
/** Addresses are written a little later: browsers refuse hundreds a second while one drags. */
function saveSoon() {
  clearTimeout(saving);
  saving = setTimeout(saveNow, 200);
}

function saveNow() {
  clearTimeout(saving);
  const hash = hashOf(state, REST);
  if (hash === location.hash) return;
  try {
    history.replaceState(null, '', hash || location.pathname + location.search);
  } catch {
    // A frame without an address of its own (MLflow's pane) may not have one; nothing is lost.
  }
}

/** Rows that the filters let through, with the trials of the chosen arms. */
function shownRows() {
  return ROWS
    .filter(row => (!state.cases || state.cases.includes(row.case)) && (!state.seeds || state.seeds.includes(row.seed)))
    .map(row => ({ ...row, trials: row.trials.filter(trial => !state.arms || state.arms.includes(trial.arm)) }))
    .filter(row => row.trials.length);
}
