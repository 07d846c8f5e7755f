/* Charts that want axes and hovering, by Plotly, which is read when the first of them comes near.
   Each has a table or a sentence beside it that says the same. */

let plotlyComing = null;
function loadPlotly() {
  if (!plotlyComing) {
    plotlyComing = new Promise((resolve, reject) => {
      const inside = byId('plotly');
      const script = el('script', DATA.plotly ? { src: DATA.plotly } : {});
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => reject(new Error(`${DATA.plotly} is no longer beside the page`));
      if (inside) script.textContent = inside.textContent;
      document.head.append(script);
      if (inside) resolve(window.Plotly);
    });
  }
  return plotlyComing;
}

const paper = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Colours in a figure may name the page's own: `var(--ink)`. */
function resolved(value) {
  if (typeof value === 'string') return value.replace(/^var\((--[\w-]+)\)$/, (_, name) => paper(name));
  if (Array.isArray(value)) return value.map(resolved);
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, own]) => [key, resolved(own)]));
  return value;
}

function houseLayout(layout) {
  const axis = { gridcolor: 'var(--line)', zerolinecolor: 'var(--muted)', linecolor: 'var(--line)', automargin: true };
  return resolved({
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', font: { color: 'var(--ink)', family: 'system-ui, sans-serif', size: 13 },
    margin: { l: 56, r: 16, t: 12, b: 48 }, showlegend: false, hovermode: 'closest', dragmode: false,
    hoverlabel: { bgcolor: 'var(--card)', bordercolor: 'var(--line)', font: { color: 'var(--ink)' } },
    ...layout, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
  });
}

const figuresShown = new Set();
const charts = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) { charts.unobserve(target); target.drawFigure(); }
}, { rootMargin: '300px' });

const HEIGHT = 380; // px, of a figure that does not say its own

/** A figure that is drawn when it comes near; `make` gives {data, layout} anew each time. */
function makeFigure(says, make, height = HEIGHT) {
  const node = el('div', { class: 'figure', role: 'img', 'aria-label': says, style: `min-height:calc(${height}px + 1.2rem)` });
  const figure = { node, make, drawn: false };
  figuresShown.add(figure);
  node.drawFigure = () => drawFigure(figure);
  charts.observe(node);
  return node;
}

async function drawFigure(figure) {
  try {
    const Plotly = await loadPlotly();
    const { data, layout } = figure.make();
    await Plotly.react(figure.node, resolved(data), houseLayout(layout), { displayModeBar: false, responsive: true });
    if (!figure.drawn) {
      figure.node.on('plotly_click', ({ points }) => {
        const arm = points[0] && points[0].customdata;
        if (ARM.has(arm)) openCompare(arm);
      });
    }
    figure.drawn = true;
  } catch (error) {
    figure.node.replaceChildren(el('p', { class: 'empty' }, `The chart cannot be drawn: ${error.message}. The table has its numbers.`));
  }
}

const redrawFigures = () => figuresShown.forEach(figure => figure.drawn && drawFigure(figure));

/* Quality against cost. */

let costKey = 'model_calls';
const COST_WORDS = { model_calls: 'model calls a video', seconds: 'seconds of sampling a video' };

const NAME = 70; // px that a short name takes beside its point
const FEW = 6; // arms whose names all have room beside their points

function frontFigure() {
  const points = DATA.front.filter(point => point.gain !== null && point[costKey] !== null);
  const onFront = points.filter(point => point[costKey.replace('model_calls', 'front_calls').replace(/^seconds$/, 'front_seconds')]).sort((a, b) => a[costKey] - b[costKey]);
  const above = point => (point.high === null ? 0 : point.high - point.gain);
  const below = point => (point.low === null ? 0 : point.gain - point.low);
  const costs = points.map(point => point[costKey]);
  const [least, most] = [Math.min(...costs), Math.max(...costs)];
  const middle = (least + most) / 2;
  const span = most - least || 0.05 * Math.max(1, most);
  const wide = Math.min(innerWidth, 1480) - 160; // px between the axes, about
  const pixel = span / Math.max(wide - 2 * NAME, NAME); // names have room on both sides
  // Arms of one cost would lie on each other, and their intervals with them.
  const peers = point => points.filter(other => other[costKey] === point[costKey]);
  const apart = point => {
    const same = peers(point);
    return point[costKey] + (same.indexOf(point) - (same.length - 1) / 2) * 13 * pixel;
  };
  const named = point => (points.length <= FEW || onFront.includes(point)) && (point.arm.length < 15 || innerWidth > 900);
  const side = point => {
    const same = peers(point);
    if (point.arm === BASELINE) return point[costKey] > middle ? 'bottom right' : 'bottom left'; // beside the line of no gain
    if (same.length === 1 || points.length > FEW) return point[costKey] > middle ? 'top left' : 'top right';
    return same[0] === point ? 'middle left' : same.at(-1) === point ? 'middle right' : 'top left';
  };
  return {
    data: [
      { x: onFront.map(p => p[costKey]), y: onFront.map(p => p.gain), mode: 'lines', line: { color: 'var(--muted)', width: 1.5, dash: 'dot', shape: 'hv' }, hoverinfo: 'skip' },
      ...points.map(point => ({
        x: [apart(point)], y: [point.gain], customdata: [point.arm], text: [named(point) ? point.arm : ''],
        mode: 'markers+text', textposition: side(point), cliponaxis: false,
        marker: { size: 13, color: colourOf(point.arm), line: { width: 2, color: 'var(--card)' } },
        error_y: { type: 'data', symmetric: false, array: [above(point)], arrayminus: [below(point)], color: colourOf(point.arm), thickness: 1.4, width: 4 },
        hovertemplate: `${point.arm}: %{y:.3g}, ${digits(point[costKey])}<br>click to watch<extra></extra>`,
      })),
    ],
    layout: {
      height: HEIGHT, xaxis: { title: { text: COST_WORDS[costKey] }, zeroline: false, range: [least - NAME * pixel, most + NAME * pixel] },
      yaxis: { title: { text: `${DATA.effects.primary}: ${points.length ? points[0].unit : ''} than ${BASELINE.length > 20 ? 'the baseline' : BASELINE}` } },
    },
  };
}

function showCost() {
  const place = byId('cost');
  if (DATA.front.length < 2) { place.hidden = true; return; }
  const cheap = DATA.front.filter(point => point.front_calls).map(point => point.arm);
  const says = `Gain in ${DATA.effects.primary} against ${COST_WORDS.model_calls}. No arm is as good for fewer calls as ${cheap.join(', ') || 'none'}. The table below has the numbers.`;
  const figure = makeFigure(says, frontFigure);
  const pick = el('div', { class: 'segments', role: 'radiogroup', 'aria-label': 'Cost' }, ...Object.entries({ model_calls: 'model calls', seconds: 'seconds' }).map(([key, words]) => el('label', {}, el('input', {
    type: 'radio', name: 'pick-cost', value: key, checked: key === costKey, onchange: () => { costKey = key; redrawFigures(); },
  }), el('span', {}, words))));
  place.append(
    el('h2', { id: 'cost-title' }, 'Quality against cost'),
    el('p', { class: 'lead' }, 'Up is better, left is cheaper; the dotted line joins the arms that no other beats in both. Arms of one cost stand a little apart. A point opens its videos.'),
    pick, figure, frontTable());
}

/** A loss of what should be near to 1 is a distance, not a negative nearness. */
function gainWords({ gain, unit }, decimals) {
  if (gain === null) return '–';
  const farther = unit === 'nearer to 1' && gain < 0;
  return `${inColumn(farther ? -gain : gain, decimals)} ${farther ? 'farther from 1' : unit || ''}`;
}

function frontTable() {
  const decimals = decimalsOf(DATA.front.flatMap(point => [point.gain, point.low, point.high]));
  const costs = { model_calls: decimalsOf(DATA.front.map(point => point.model_calls)), seconds: decimalsOf(DATA.front.map(point => point.seconds)) };
  const row = point => el('tr', {},
    el('th', { scope: 'row' }, el('button', { type: 'button', class: 'arm-link', onclick: () => openCompare(point.arm) }, swatch(point.arm), el('span', {}, ...breakable(point.arm)))),
    el('td', { class: 'number' }, point.arm === BASELINE ? '–' : gainWords(point, decimals)),
    el('td', { class: 'number' }, point.arm === BASELINE ? '–' : point.low === null ? 'no interval' : `${inColumn(point.low, decimals)} to ${inColumn(point.high, decimals)}`),
    el('td', { class: 'number' }, inColumn(point.model_calls, costs.model_calls)), el('td', { class: 'number' }, inColumn(point.seconds, costs.seconds)),
    el('td', {}, point.front_calls ? `on the front (in ${Math.round(100 * point.share_calls)} % of redrawn cases)` : ''));
  return el('div', { class: 'scroll' }, el('table', { class: 'values wide' },
    el('thead', {}, el('tr', {}, ...['arm', 'gain', '95 %', 'model calls', 'seconds', 'by model calls'].map((head, i) => el('th', { scope: 'col', class: i && i < 5 ? 'number' : null }, head)))),
    el('tbody', {}, ...DATA.front.map(row))));
}

/* Sections that other rooms add, made of plain data. */

function showSections() {
  for (const { id, title, sentences, tables, figures } of DATA.sections) {
    byId('more').append(el('section', { id, 'aria-labelledby': `${id}-title` }, el('h2', { id: `${id}-title` }, title),
      ...sentences.slice(0, 1).map(sentence => el('p', { class: 'lead' }, sentence)),
      sentences.length > 1 ? el('ul', { class: 'notes' }, ...sentences.slice(1).map(sentence => el('li', {}, sentence))) : '',
      ...figures.map(figure => makeFigure(figure.says, () => figure, figure.layout.height)),
      ...tables.map(plainTable)));
  }
}

function plainTable({ caption, columns, rows }) {
  const numbers = columns.map((_, i) => i > 0 && rows.every(row => typeof row[i] !== 'string'));
  const decimals = columns.map((_, i) => decimalsOf(rows.map(row => row[i])));
  const cell = (value, i) => (i === 0
    ? el('th', { scope: 'row' }, ARM.has(value) ? swatch(value) : '', String(value))
    : el('td', { class: typeof value === 'string' ? '' : 'number' }, typeof value === 'string' ? value : inColumn(value, decimals[i])));
  return el('div', { class: 'scroll' }, el('table', { class: 'values wide' }, el('caption', {}, caption),
    el('thead', {}, el('tr', {}, ...columns.map((column, i) => el('th', { scope: 'col', class: numbers[i] ? 'number' : null }, column)))),
    el('tbody', {}, ...rows.map(row => el('tr', {}, ...row.map(cell))))));
}
