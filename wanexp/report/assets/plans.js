/* What each arm really runs: its noise levels, who answers at each, and what that costs. */

const PLAN = { height: 160, left: 30, right: 8, top: 10, bottom: 24 };
/** Drawn about as wide as it is shown, so that its letters and dots keep their size. */
const planWidth = () => (innerWidth < 720 ? Math.max(240, innerWidth - 72) : 600);

function showPlans() {
  const place = byId('plans');
  const arms = DATA.arms.filter(arm => arm.stages.length);
  if (!arms.length) { place.hidden = true; return; }
  const most = Math.max(...arms.map(arm => arm.stages.reduce((sum, stage) => sum + stage.steps, 0)));
  place.append(el('h2', { id: 'plans-title' }, 'Plans'),
    el('p', { class: 'lead' }, 'The noise level (sigma) of every step as it ran. A later stage starts again from the noise that its plan says, not from what the word “denoise” suggests.'),
    expertLegend(arms), el('div', { class: 'plan-list' }, ...arms.map(arm => planCard(arm, most))));
}

const expertsIn = arms => [...new Set(arms.flatMap(arm => arm.stages.flatMap(stage => stage.experts)))];

function expertLegend(arms) {
  const experts = expertsIn(arms);
  if (experts.length < 2) return '';
  return el('p', { class: 'legend' }, ...experts.map((expert, i) => el('span', {}, el('span', { class: `swatch expert-${i}`, 'aria-hidden': 'true' }), `${expert} expert`)));
}

function planCard(arm, most) {
  const rows = arm.stages.map(stage => el('tr', {}, el('th', { scope: 'row' }, stage.name),
    el('td', {}, `${stage.sampler}, ${stage.scheduler}, shift ${digits(stage.shift)}`),
    el('td', { class: 'number' }, stage.steps), el('td', { class: 'number' }, `${stage.sigma_start.toFixed(3)} ${{ noise: 'noise', renoise: 'renoised', continue: 'goes on' }[stage.takeover] || ''}${stage.denoise === null || stage.denoise === undefined ? '' : ` (denoise ${stage.denoise})`}`),
    el('td', { class: 'number' }, stage.sigma_end.toFixed(3)), el('td', { class: 'number' }, digits(stage.cfg)),
    el('td', {}, expertCounts(stage.experts)), el('td', { class: 'number' }, stage.model_calls)));
  const heads = [['stage'], ['sampler'], ['steps', 'number'], ['from sigma', 'number'], ['to', 'number'], ['cfg', 'number'], ['experts'], ['model calls', 'number']];
  return el('article', { class: 'plan' },
    el('header', {}, el('h3', {}, swatch(arm.name), ...breakable(arm.name)), el('p', { class: 'muted' }, `${plural(arm.model_calls, 'model call')} a video`)),
    arm.overrides.length ? el('p', { class: 'overrides' }, ...arm.overrides.map(text => el('code', {}, text))) : '',
    arm.combines.length ? el('p', { class: 'muted' }, `combines ${arm.combines.join(' and ')}`) : '',
    planPicture(arm, most),
    el('details', {}, el('summary', {}, 'In numbers'), el('div', { class: 'scroll' }, el('table', { class: 'values wide' },
      el('thead', {}, el('tr', {}, ...heads.map(([head, kind]) => el('th', { scope: 'col', class: kind }, head)))), el('tbody', {}, ...rows)))),
    arm.warnings.length ? el('ul', { class: 'notes' }, ...arm.warnings.map(warning => el('li', {}, warning))) : '');
}

function expertCounts(experts) {
  const counts = new Map();
  for (const expert of experts) counts.set(expert, (counts.get(expert) || 0) + 1);
  return [...counts].map(([expert, count]) => `${count}×${expert}`).join(' ');
}

/** Sigma over steps, stages one after another, dots that are full or hollow by the expert that answers. */
function planPicture(arm, most) {
  const { height, left, right, top, bottom } = PLAN;
  const width = planWidth();
  const gap = 1.5;
  const all = most + gap * 3;
  const x = step => left + (step / all) * (width - left - right);
  const y = sigma => top + (1 - clamp(sigma, 0, 1)) * (height - top - bottom);
  const experts = expertsIn(DATA.arms);
  const parts = [0, 0.5, 1].flatMap(level => [
    svg('line', { class: 'rule', x1: left, x2: width - right, y1: y(level), y2: y(level) }),
    svg('text', { x: left - 6, y: y(level) + 4, 'text-anchor': 'end' }, String(level)),
  ]);
  let step = 0;
  let last = null;
  for (const stage of arm.stages) {
    if (last) parts.push(svg('line', { class: 'renoise', x1: x(last[0]), y1: y(last[1]), x2: x(step), y2: y(stage.sigmas[0]) }));
    const points = stage.sigmas.map((sigma, i) => [step + i, sigma]);
    parts.push(svg('polyline', { class: 'sigmas', points: points.map(([at, sigma]) => `${x(at).toFixed(1)},${y(sigma).toFixed(1)}`).join(' ') }));
    points.slice(0, -1).forEach(([at, sigma], i) => {
      const who = stage.experts[Math.min(stage.experts.length - 1, Math.floor((i * stage.experts.length) / (points.length - 1)))];
      parts.push(svg('circle', { class: `expert-${experts.indexOf(who)}`, cx: x(at), cy: y(sigma), r: width < 500 ? 2.2 : 3 }, svg('title', {}, `${stage.name}, step ${i + 1}: sigma ${sigma} (${who})`)));
    });
    parts.push(svg('text', { x: x(step + stage.steps / 2), y: height - 6, 'text-anchor': 'middle' }, stage.name));
    last = [step + stage.steps, stage.sigmas[stage.sigmas.length - 1]];
    step += stage.steps + gap;
  }
  const words = arm.stages.map(stage => `${stage.name} from ${digits(stage.sigma_start)} to ${digits(stage.sigma_end)} in ${stage.steps} steps`).join(', ');
  return svg('svg', { class: 'plan-picture', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `Noise levels of ${arm.name}: ${words}` }, ...parts);
}
