/* Puts the page together, and shows the view that the address asks for. */

const SHOW = { grid: showGrid, compare: showCompare, stages: showStages };
/* What each view is made of: another value of one of these makes it anew. */
const MADE_OF = {
  grid: ['view', 'arms', 'cases', 'seeds', 'metric', 'source'],
  compare: ['view', 'a', 'b', 'case', 'seed', 'mode', 'boost', 'metric', 'source'],
  stages: ['view', 'arm', 'case', 'seed', 'boost'],
};

const place = el('div', { id: 'stage' });

function showView() {
  const focus = focusPath();
  clearGrid(place);
  place.className = `view-${state.view} size-${state.size}`;
  SHOW[state.view](place);
  filters.hidden = state.view !== 'grid';
  focusAgain(focus);
}

/** A view that is made anew keeps the focus where it was. */
function focusPath() {
  const active = document.activeElement;
  if (!place.contains(active)) return null;
  return active.getAttribute('aria-label') || (active.type === 'radio' ? active.value : null);
}

function focusAgain(label) {
  if (!label) return;
  const found = [...place.querySelectorAll('[aria-label], input[type=radio]')].find(node => node.getAttribute('aria-label') === label || (node.type === 'radio' && node.value === label));
  if (found) found.focus({ preventScroll: true });
}

let filters = null;

function showVideos() {
  filters = makeFilters();
  byId('videos').append(
    el('div', { class: 'videos-head' }, el('h2', { id: 'videos-title' }, 'Videos'), segments('View', 'view', VIEWS)),
    filters, place, makeTransport());
  setFace();
  showView();
  tick();
}

function showNavigation() {
  byId('study-name').textContent = DATA.study;
  const titles = { verdict: 'Verdict', videos: 'Videos', effects: 'Effects', cost: 'Cost', plans: 'Plans', troubles: 'Failures' };
  for (const section of DATA.sections) titles[section.id] = section.title;
  for (const [id, title] of Object.entries(titles)) {
    if (byId(id) && !byId(id).hidden) byId('sections').append(el('li', {}, el('a', { href: `#section=${id}` }, title)));
  }
}

function showFoot() {
  const { machine } = DATA;
  const ran = [machine.wanexp && `wanexp ${machine.wanexp}`, machine.device || machine.cpu, machine.finished && `last trial ${machine.finished.slice(0, 16).replace('T', ' ')} UTC`].filter(Boolean);
  byId('foot').append(el('p', {}, `Made ${DATA.made.slice(0, 16).replace('T', ' ')} UTC from the records on disk. ${ran.join(' · ')}`),
    el('p', {}, 'Videos are for looking at; measurements were taken on the frames before encoding. This page asks no network for anything.'));
}

onState(changed => {
  if (['arms', 'cases', 'seeds'].some(key => changed.has(key))) setFace();
  if (MADE_OF[state.view].some(key => changed.has(key))) showView();
  if (changed.has('size')) place.className = `view-${state.view} size-${state.size}`;
  tick();
});

/** Shows what an address says. */
function follow(hash) {
  const next = stateOf(hash, REST);
  setState(next);
  if (next.frame !== null) seekFrame(next.frame);
  if (next.section) toSection(next.section);
}

addEventListener('hashchange', () => follow(location.hash));

/* Links within the page are followed by hand: MLflow's pane has withdrawn the address of the page
   that it shows, and going anywhere from there fails. */
document.addEventListener('click', event => {
  const link = event.target.closest('a[href^="#section="]');
  if (!link) return;
  event.preventDefault();
  const section = link.getAttribute('href').slice('#section='.length);
  toSection(section);
  setState({ section });
  const target = byId(section);
  target.tabIndex = -1;
  target.focus({ preventScroll: true });
});

showVerdict();
showVideos();
showEffects();
showCost();
showPlans();
showTroubles();
showSections();
showNavigation();
showFoot();
makeKeyList();
byId('copy-link').addEventListener('click', copyLink);
byId('copy-link').hidden = location.protocol === 'blob:'; // an address that nobody else can open
byId('theme').addEventListener('click', nextTheme);
applyTheme();
if (state.frame !== null) seekFrame(state.frame);
else if (!matchMedia('(prefers-reduced-motion: reduce)').matches) play();
if (location.hash) toSection(state.section || (/view=|case=|frame=/.test(location.hash) ? 'videos' : 'main'));
/* For tests: what the page believes. */
window.wanexp = { clock, screens, store, makeRoom, state: () => state, hashOf, stateOf, frameAt, advance, readTrack, rest: REST };
