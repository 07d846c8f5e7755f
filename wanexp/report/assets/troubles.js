/* What failed, what was changed for want of memory or slowed down, what has not run, what cannot be read or shown, each with its reason. */

function showTroubles() {
  const place = byId('troubles');
  const failed = DATA.trials.filter(trial => trial.state === 'failed');
  const missing = DATA.trials.filter(trial => trial.state === 'missing' && !trial.gone);
  const gone = DATA.trials.filter(trial => trial.state === 'completed' && (!trial.video || absence(trial.video)));
  const changed = DATA.trials.filter(trial => trial.state === 'changed');
  const noted = DATA.trials.filter(trial => trial.state === 'completed' && (trial.troubles || []).length);
  if (!failed.length && !changed.length && !noted.length && !missing.length && !gone.length && !DATA.damaged.length) { place.hidden = true; return; }
  const where = trial => `${trial.arm} · ${trial.case} · seed ${trial.seed}`;
  const troubled = trial => `${where(trial)}: ${trial.troubles.join('; ')}`;
  place.append(
    el('h2', { id: 'troubles-title' }, 'Failures and gaps'),
    ...failed.map(trial => el('details', { class: 'failure' }, el('summary', {}, el('b', {}, where(trial)), ` ${trial.error ? `${trial.error.type}: ${trial.error.message}` : ''}`), el('pre', {}, trial.error ? trial.error.traceback : ''))),
    listed(changed.map(troubled), count => `${plural(count, 'trial')} not as asked, and left out of every comparison`),
    listed(noted.map(troubled), count => `${plural(count, 'trial')} with a note`),
    listed(missing.map(where), count => `${plural(count, 'trial')} not run yet`),
    listed(gone.map(trial => `${where(trial)}: ${trial.gone || absence(trial.video)}`), count => `${plural(count, 'video')} that cannot be shown`),
    listed(DATA.damaged, count => `${plural(count, 'record')} that cannot be read`));
}

function listed(words, title) {
  if (!words.length) return '';
  return el('details', { open: words.length <= 8 }, el('summary', {}, title(words.length)), el('ul', {}, ...words.map(word => el('li', {}, word))));
}
