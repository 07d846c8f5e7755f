/* Which arms, cases and seeds are shown, and which metric is drawn under each video. */

/** A group of toggles; none chosen means all. */
function filterGroup(key, title, names, mark) {
  const box = el('fieldset', { class: 'filter' }, el('legend', {}, title));
  const buttons = names.map(name => el('button', {
    type: 'button', class: 'toggle',
    onclick: () => setState({ [key]: toggled(state[key], name, names) }),
  }, mark ? mark(name) : '', name));
  box.append(...buttons);
  const refresh = () => buttons.forEach((button, i) => {
    button.setAttribute('aria-pressed', String(!state[key] || state[key].includes(names[i])));
  });
  onState(changed => changed.has(key) && refresh());
  refresh();
  return box;
}

/** From all to one alone, then one more or less; all or none of them is all again. */
function toggled(chosen, name, names) {
  if (!chosen) return names.length > 1 ? [name] : null;
  const next = chosen.includes(name) ? chosen.filter(one => one !== name) : names.filter(one => one === name || chosen.includes(one));
  return next.length && next.length < names.length ? next : null;
}

function choice(title, key, options, words = one => one) {
  const select = el('select', { 'aria-label': title, onchange: () => setState({ [key]: typeof REST[key] === 'number' ? Number(select.value) : select.value }) },
    ...options.map(one => el('option', { value: String(one) }, words(one))));
  const refresh = () => { select.value = String(state[key]); };
  onState(changed => changed.has(key) && refresh());
  refresh();
  return el('label', { class: 'choice' }, el('span', {}, title), select);
}

function switchButton(key, title) {
  const button = el('button', { type: 'button', class: 'toggle', onclick: () => setState({ [key]: !state[key] }) }, title);
  const refresh = () => button.setAttribute('aria-pressed', String(state[key]));
  onState(changed => changed.has(key) && refresh());
  refresh();
  return button;
}

/** One of a few: a row of radio buttons that look like one control. */
function segments(title, key, options, words = {}) {
  const group = el('div', { class: 'segments', role: 'radiogroup', 'aria-label': title });
  for (const option of options) {
    const input = el('input', { type: 'radio', name: `pick-${key}`, value: option, onchange: () => setState({ [key]: option }) });
    group.append(el('label', {}, input, el('span', {}, words[option] || option)));
  }
  const refresh = () => group.querySelectorAll('input').forEach(input => { input.checked = input.value === state[key]; });
  onState(changed => changed.has(key) && refresh());
  refresh();
  return group;
}

function makeFilters() {
  const drawn = DATA.metrics.map(metric => metric.name).filter(name => rangeOf(name));
  const groups = [];
  if (DATA.arms.length > 1) groups.push(filterGroup('arms', 'Arms', armNames(), swatch));
  if (CASE.size > 1) groups.push(filterGroup('cases', 'Cases', [...CASE.keys()]));
  if (SEEDS.length > 1) groups.push(filterGroup('seeds', 'Seeds', SEEDS));
  const settings = el('div', { class: 'settings' },
    DATA.metrics.length ? choice('Metric', 'metric', [...METRIC.keys()], name => `${name} ${arrow(name)}${drawn.includes(name) ? '' : ' (no curve)'}`) : '',
    choice('Size', 'size', SIZES, size => ({ s: 'small', m: 'medium', l: 'large' })[size]),
    switchButton('source', 'Source image'));
  return el('div', { class: 'filters' }, ...groups, settings);
}
