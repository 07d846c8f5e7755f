/* The head of the page: what won, by how much, at what cost, how sure. */

const MARKS = { better: '▲', worse: '▼', 'no difference found': '=', 'too few pairs': '?' };

function chip(verdict) {
  const kind = verdict.split(' ')[0];
  return el('span', { class: `chip ${kind}` }, el('span', { 'aria-hidden': 'true' }, MARKS[verdict] || ''), ` ${verdict}`);
}

function showVerdict() {
  const { verdict, header } = DATA;
  const question = Object.entries(header).map(([word, sentence]) => [el('dt', {}, word), el('dd', {}, sentence)]);
  byId('verdict').append(
    el('div', { class: 'head' }, el('div', {},
      el('p', { class: 'eyebrow' }, DATA.protocol.primary ? `Study ${DATA.study} · decided by ${DATA.protocol.primary} (${arrowWords(DATA.protocol.primary) || 'not measured yet'})` : `Study ${DATA.study}`),
      el('h1', { id: 'headline' }, ...breakable(verdict.headline)),
      progressLine(verdict)), ...showPair(verdict.chosen)),
    verdict.facts.length ? el('dl', { class: `facts ${verdict.tone}` }, ...verdict.facts.map(showFact)) : '',
    verdict.arms.length ? el('ul', { class: 'rulings' }, ...verdict.arms.map(showRuling)) : '',
    verdict.notes.length ? el('ul', { class: 'notes' }, ...verdict.notes.map(note => el('li', {}, note))) : '',
    question.length ? el('details', { class: 'question' }, el('summary', {}, 'What was asked'), el('dl', {}, ...question.flat(), ...protocolWords())) : '',
  );
}

/** The baseline and the arm that the head is about, playing beside it. */
function showPair(arm) {
  const row = ROWS.find(one => [BASELINE, arm].every(name => hasVideo(findTrial(name, one.case, one.seed))));
  if (!arm || !row) return [];
  const one = name => {
    const trial = findTrial(name, row.case, row.seed);
    const screen = makeScreen({ feeds: [feedOf(trial)], shape: shapeOf(trial), label: `Video of ${name}, ${row.case}, seed ${row.seed}` });
    const open = el('button', { type: 'button', class: 'watch', 'aria-label': `Compare ${arm} with ${BASELINE} on ${row.case}`, onclick: () => {
      setState({ case: row.case, seed: row.seed });
      openCompare(arm);
    } }, screen.node);
    return el('figure', {}, open, el('figcaption', {}, swatch(name), ...breakable(name)));
  };
  return [el('div', { class: 'hero', role: 'group', 'aria-label': `${BASELINE} and ${arm} on ${row.case}` }, one(BASELINE), one(arm))];
}

const hasVideo = trial => Boolean(trial && trial.video && !absence(trial.video));

function showFact({ ask, answer, note }) {
  return el('div', {}, el('dt', {}, ask), el('dd', { class: 'answer' }, ...breakable(answer)), el('dd', { class: 'note' }, ...breakable(note)));
}

function showRuling({ arm, verdict, sentence }) {
  const button = el('button', { type: 'button', class: 'arm-link', title: `Compare ${arm} with ${BASELINE}`, onclick: () => openCompare(arm) }, swatch(arm), el('span', {}, ...breakable(arm)));
  return el('li', {}, button, chip(verdict), el('p', {}, sentence));
}

/** How far the study is; nothing where all of it has run well. */
function progressLine({ trials, completed, failed, changed, missing }) {
  if (completed === trials) return el('p', { class: 'progress' }, `${plural(trials, 'video')}, all finished.`);
  const words = [`${completed} of ${plural(trials, 'trial')} finished`];
  if (failed) words.push(`${failed} failed`);
  if (changed) words.push(`${changed} changed for want of memory and left out`);
  if (missing) words.push(`${missing} still to run: what stands here may change`);
  return el('p', { class: 'progress partial' }, `${words.join(', ')}.`, failed || changed ? el('a', { href: '#section=troubles' }, changed ? ' What went wrong' : ' What failed') : '');
}

function protocolWords() {
  const { name, why, margin, motion_margin: motion } = DATA.protocol;
  if (!name) return [];
  const words = [`${name}: ${why || ''}`];
  if (margin) words.push(`A change of ${Math.round(100 * margin)} % matters; ${Math.round(100 * motion)} % of the motion may be lost at most.`);
  return [el('dt', {}, 'Protocol'), el('dd', {}, words.join(' '))];
}
