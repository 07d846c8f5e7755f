/* One trial, stage by stage: what each handed over, what it changed, and what that measured. */

function showStages(place) {
  const trial = findTrial(state.arm, state.case, state.seed);
  place.append(el('div', { class: 'compare-bar' },
    choice('Arm', 'arm', armNames()),
    el('div', { class: 'pair' }, rowChoice()),
    choice('Difference', 'boost', [1, 2, 4, 8, 16], times => `× ${times}`)));
  if (!trial || !trial.stages || !trial.stages.length) {
    place.append(el('p', { class: 'empty' }, ...(trial ? absentWords(trial) : ['This arm has no trial of this case and seed.'])));
    return;
  }
  const plan = new Map((ARM.get(trial.arm).stages || []).map(stage => [stage.name, stage]));
  const list = el('ol', { class: 'stage-list' });
  trial.stages.forEach((stage, i) => {
    const before = trial.stages[i - 1];
    list.append(el('li', {}, stageHead(stage, plan.get(stage.name), i), el('div', { class: 'stage-pictures' }, ...(before ? [stageEnd(trial, stage), stageChange(trial, before, stage)] : [stageSource(trial), stageEnd(trial, stage)])), stageValues(stage, before)));
  });
  place.append(list);
  if (trial.stages.some(stage => !stage.video)) place.append(el('p', { class: 'hint' }, 'This study kept the last stage’s video alone. A sweep that runs with ', el('code', {}, 'measure_stages=true'), ' keeps and measures what every stage hands over.'));
}

function stageHead(stage, planned, place) {
  const words = planned ? `${planned.steps} steps from sigma ${digits(planned.sigma_start)} to ${digits(planned.sigma_end)}, cfg ${digits(planned.cfg)}` : '';
  const cost = `${plural(stage.model_calls, 'model call')}, ${digits(stage.seconds)} s${stage.stored ? ' (taken from the stage store)' : ''}`;
  return el('header', {}, el('h3', {}, `${place + 1}. ${stage.name}`), el('p', {}, words), el('p', { class: 'muted' }, cost));
}

function stageEnd(trial, stage) {
  const shape = shapeOf(trial);
  const problem = stage.video ? absence(stage.video) : 'not kept';
  const node = problem
    ? el('div', { class: 'screen absent', style: `aspect-ratio:${shape}` }, el('p', {}, el('b', {}, 'No video: '), problem))
    : makeScreen({ feeds: [{ video: stage.video, fps: trial.fps || 12 }], shape, label: `What ${stage.name} hands over, ${trial.arm}, ${trial.case}, seed ${trial.seed}` }).node;
  return el('figure', { class: 'big' }, el('figcaption', {}, `after ${stage.name}`), node);
}

/** What the first stage was given. */
function stageSource(trial) {
  const { source } = CASE.get(trial.case) || {};
  if (!source) return '';
  return el('figure', { class: 'big' }, el('figcaption', {}, 'source'), makeScreen({ feeds: [{ picture: source }], shape: shapeOf(trial), label: `Source image of ${trial.case}` }).node);
}

function stageChange(trial, before, stage) {
  if (!before.video || !stage.video || absence(before.video) || absence(stage.video)) return '';
  const feeds = [before, stage].map(one => ({ video: one.video, fps: trial.fps || 12 }));
  const screen = makeScreen({ feeds, kind: 'difference', shape: shapeOf(trial), label: `What ${stage.name} changed; black is nothing` });
  screen.node.style.setProperty('--boost', state.boost);
  return el('figure', { class: 'big' }, el('figcaption', {}, `what ${stage.name} changed, × ${state.boost}`), screen.node);
}

/** Values at a stage's end, with the change since the stage before. */
function stageValues(stage, before) {
  const names = [...METRIC.keys()].filter(name => name in stage.values || name in stage.reasons);
  if (!names.length) return el('p', { class: 'muted' }, 'not measured');
  const rows = names.map(name => {
    const value = stage.values[name];
    const old = before ? before.values[name] : undefined;
    const change = value !== undefined && old ? Math.round(100 * (value / old - 1)) : null;
    return el('tr', {}, metricHead(name),
      el('td', { class: 'number', title: stage.reasons[name] || null }, value === undefined ? 'undefined' : reading(value)),
      el('td', { class: 'number muted' }, change === null ? '' : `${change > 0 ? '+' : ''}${digits(change || 0)} %`));
  });
  return el('div', { class: 'scroll' }, el('table', { class: 'values' }, el('caption', { class: 'unseen' }, `Measured after ${stage.name}`), el('tbody', {}, ...rows)));
}
