/* Keys, and the list of them. */

const moveSpeed = by => setState({ speed: SPEEDS[clamp(SPEEDS.indexOf(state.speed) + by, 0, SPEEDS.length - 1)] });
const moveRow = by => {
  const here = ROWS.findIndex(row => row.case === state.case && row.seed === state.seed);
  const row = ROWS[(here + by + ROWS.length) % ROWS.length];
  setState({ case: row.case, seed: row.seed });
};
const show = patch => () => { setState(patch); toSection('videos'); };

/* [keys, what they do, act] */
const KEYS = [
  [[' ', 'k'], 'play or pause', toggle],
  [['ArrowLeft', ','], 'back one frame', () => stepFrames(-1)],
  [['ArrowRight', '.'], 'on one frame', () => stepFrames(1)],
  [['Home'], 'first frame', () => seekFrame(0)],
  [['End'], 'last frame', () => seekFrame(frameCount() - 1)],
  [['['], 'slower', () => moveSpeed(-1)],
  [[']'], 'faster', () => moveSpeed(1)],
  [['l'], 'loop or not', () => setState({ loop: !state.loop })],
  [['g', 'Escape'], 'grid', show({ view: 'grid' })],
  [['c'], 'compare two', show({ view: 'compare' })],
  [['s'], 'stage by stage', show({ view: 'stages' })],
  [['w'], 'wipe', show({ view: 'compare', mode: 'wipe' })],
  [['b'], 'side by side', show({ view: 'compare', mode: 'side' })],
  [['d'], 'difference', show({ view: 'compare', mode: 'difference' })],
  [['x'], 'swap left and right', swapSides],
  [['n'], 'next case or seed', () => moveRow(1)],
  [['p'], 'previous case or seed', () => moveRow(-1)],
  [['+', '='], 'zoom in', () => zoomBy(2)],
  [['-'], 'zoom out', () => zoomBy(0.5)],
  [['0'], 'whole picture', () => setState({ zoom: REST.zoom })],
  [['t'], 'light, dark, or as the system says', nextTheme],
  [['y'], 'copy a link to this view', () => copyLink()],
  [['?'], 'this list', () => byId('keys').showModal()],
];

const KEY_NAMES = { ' ': 'space', ArrowLeft: '←', ArrowRight: '→' };

/** Whether an element wants this key for itself. */
function wants(target, key) {
  if (target.closest('select, textarea, input:not([type=range]):not([type=radio])')) return true;
  if (target.closest('button, summary, a') && (key === ' ' || key === 'Enter')) return true;
  return Boolean(target.closest('input, [role=slider], [tabindex].scroll')) && (key.startsWith('Arrow') || key === 'Home' || key === 'End' || key === ' ');
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId('keys').open) return;
  if (wants(event.target, event.key)) return;
  const found = KEYS.find(([keys]) => keys.includes(event.key));
  if (!found) return;
  event.preventDefault();
  found[2]();
}

function makeKeyList() {
  const dialog = byId('keys');
  dialog.append(el('h2', { id: 'keys-title' }, 'Keys'),
    el('dl', {}, ...KEYS.flatMap(([keys, words]) => [el('dt', {}, ...keys.map(key => el('kbd', {}, KEY_NAMES[key] || key))), el('dd', {}, words)])),
    el('p', { class: 'muted' }, 'Pinch, or Ctrl and the wheel, zooms all videos at once; dragging moves them.'),
    el('form', { method: 'dialog' }, el('button', {}, 'Close')));
  byId('help').addEventListener('click', () => dialog.showModal());
  document.addEventListener('keydown', onKey);
}

async function copyLink() {
  if (!clock.playing) setState({ frame: frameNow() });
  saveNow();
  const link = `${location.href.split('#')[0]}${hashOf(state, REST)}`;
  try {
    await navigator.clipboard.writeText(link);
    say('Link copied');
    byId('copy-link').textContent = 'Copied';
  } catch {
    window.prompt('The link to this view:', link);
  }
  setTimeout(() => { byId('copy-link').textContent = 'Copy link'; }, 1500);
}
