/* A screen: a canvas that shows one feed, or two as a wipe or a difference, at the clock's time.
   A feed is {video: key, fps} or {picture: key}. All screens follow one zoom. */

const screens = new Map(); // element → screen
const SHARPEST = 2; // device pixels a CSS pixel; more costs and shows nothing

const sight = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    const screen = screens.get(target);
    if (screen) (isIntersecting ? wake : rest)(screen);
  }
}, { rootMargin: '120px' });

const sizes = new ResizeObserver(entries => {
  for (const { target } of entries) {
    const screen = screens.get(target);
    if (screen && screen.awake) { measure(screen); wake(screen); draw(screen, clock.time); }
  }
});

/** `kind` is plain, wipe or difference; `shape` is width / height. */
function makeScreen({ feeds, kind = 'plain', shape = 1, label, wide = false }) {
  const canvas = el('canvas', { role: 'img', 'aria-label': label });
  const note = el('p', { class: 'screen-note', hidden: true });
  const node = el('div', { class: 'screen', style: `aspect-ratio:${shape};--shape:${shape}` }, canvas, note);
  const screen = { node, canvas, note, feeds, kind, wide, awake: false, drawn: '', entries: [], fresh: null };
  screen.fresh = () => { screen.drawn = ''; draw(screen, clock.time); };
  screens.set(node, screen);
  sight.observe(node);
  sizes.observe(node);
  drag(screen);
  return screen;
}

function dropScreen(screen) {
  rest(screen);
  sight.unobserve(screen.node);
  sizes.unobserve(screen.node);
  screens.delete(screen.node);
}

function dropScreensIn(node) {
  for (const [target, screen] of screens) if (node.contains(target)) dropScreen(screen);
}

function measure(screen) {
  const { clientWidth, clientHeight } = screen.node;
  const density = Math.min(window.devicePixelRatio || 1, SHARPEST);
  screen.canvas.width = Math.max(1, Math.round(clientWidth * density));
  screen.canvas.height = Math.max(1, Math.round(clientHeight * density));
  screen.drawn = '';
}

function wake(screen) {
  screen.awake = true;
  if (screen.canvas.width === 300 || !screen.entries.length) measure(screen);
  const width = screen.canvas.width * state.zoom[0];
  screen.entries = screen.feeds.map(feed => (feed.video ? wantVideo(feed.video, width, screen.fresh) : wantPicture(feed.picture, screen.fresh)));
  draw(screen, clock.time);
}

function rest(screen) {
  screen.awake = false;
  screen.entries.forEach(entry => entry.pictures && leaveVideo(entry, screen.fresh));
}

const stills = new Map();
function wantPicture(key, fresh) {
  if (!stills.has(key)) {
    const still = { image: new Image(), ready: false, problem: null };
    still.image.onload = () => { still.ready = true; fresh(); };
    still.image.onerror = () => { still.problem = 'the picture cannot be read'; fresh(); };
    stills.set(key, still);
    const address = pictureAddress(key);
    if (address) still.image.src = address;
    else still.problem = absence(key) || 'there is no picture';
  }
  const still = stills.get(key);
  if (!still.ready && !still.problem) still.image.addEventListener('load', fresh, { once: true });
  return still;
}

/** A feed's picture now: [what to draw, its number], or null while it is not there. */
function pictureNow(feed, entry, time) {
  if (!feed.video) return entry.ready ? [entry.image, 0] : null;
  if (!entry.pictures.length) return null;
  const number = frameAt(time, feed.fps, entry.pictures.length);
  return [entry.pictures[number], number];
}

function draw(screen, time) {
  if (!screen.awake || !screen.entries.length) return;
  const now = screen.feeds.map((feed, i) => pictureNow(feed, screen.entries[i], time));
  showNote(screen, now);
  const signature = JSON.stringify([now.map(one => one && one[1]), state.zoom, screen.kind === 'wipe' && state.split, screen.kind]);
  if (signature === screen.drawn) return;
  screen.drawn = signature;
  const pen = screen.canvas.getContext('2d');
  pen.clearRect(0, 0, screen.canvas.width, screen.canvas.height);
  if (now.some(one => !one)) return;
  paint(pen, screen.kind, now.map(one => one[0]));
  screen.canvas.dataset.frame = now[now.length - 1][1];
}

function paint(pen, kind, [first, second]) {
  if (!second) return put(pen, first, 0, 1);
  if (kind === 'difference') return put(pen, differenceOf(first, second), 0, 1);
  put(pen, first, 0, state.split);
  return put(pen, second, state.split, 1);
}

/** The difference, pixel by pixel before anything is enlarged: enlarging twice is not exact. */
const scratch = document.createElement('canvas');
function differenceOf(first, second) {
  scratch.width = first.width;
  scratch.height = first.height;
  const pen = scratch.getContext('2d');
  pen.drawImage(first, 0, 0);
  pen.globalCompositeOperation = 'difference';
  pen.drawImage(second, 0, 0, first.width, first.height);
  return scratch;
}

/** Draws the part of a picture that the zoom shows, between two places of the canvas (0 to 1). */
function put(pen, picture, from, to) {
  if (to <= from) return;
  const { width, height } = pen.canvas;
  const [scale, x, y] = state.zoom;
  const wide = picture.width / scale;
  const high = picture.height / scale;
  const left = x * picture.width - wide / 2;
  const top = y * picture.height - high / 2;
  pen.imageSmoothingEnabled = scale < 4 || width / wide < 6; // nearer than that, people want to see the pixels
  pen.drawImage(picture, left + from * wide, top, (to - from) * wide, high, from * width, 0, (to - from) * width, height);
}

function showNote(screen, now) {
  const missing = screen.entries.find((entry, i) => !now[i]);
  const problem = missing && missing.problem;
  screen.note.hidden = !missing;
  screen.note.textContent = problem ? `Cannot be shown: ${problem}` : 'loading …';
  screen.node.classList.toggle('failed', Boolean(problem));
}

/* Zoom: pinch (which browsers send as a wheel with Ctrl), keys and buttons; dragging moves it. */

function zoomBy(factor, x = state.zoom[1], y = state.zoom[2]) {
  const [scale, oldX, oldY] = state.zoom;
  const deep = clamp(scale * factor, 1, DEEPEST);
  // What is under the pointer stays under it.
  const keep = (point, old) => point + ((old - point) * scale) / deep;
  setState({ zoom: keepInside([deep, keep(x, oldX), keep(y, oldY)]) });
}

function pointAt(screen, event) {
  const box = screen.canvas.getBoundingClientRect();
  const [scale, x, y] = state.zoom;
  return [x + ((event.clientX - box.left) / box.width - 0.5) / scale, y + ((event.clientY - box.top) / box.height - 0.5) / scale];
}

function drag(screen) {
  let held = null;
  let moved = false;
  screen.node.addEventListener('wheel', event => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 200), ...pointAt(screen, event));
  }, { passive: false });
  screen.node.addEventListener('pointerdown', event => {
    moved = false;
    if (state.zoom[0] > 1 && event.button === 0 && !event.target.closest('.wipe-handle')) held = [event.clientX, event.clientY, ...state.zoom];
  });
  screen.node.addEventListener('pointermove', event => {
    if (!held) return;
    if (Math.hypot(event.clientX - held[0], event.clientY - held[1]) > 4) {
      moved = true;
      if (!screen.node.hasPointerCapture(event.pointerId)) screen.node.setPointerCapture(event.pointerId);
    }
    const [x, y, scale, oldX, oldY] = held;
    const { clientWidth, clientHeight } = screen.node;
    setState({ zoom: keepInside([scale, oldX - (event.clientX - x) / clientWidth / scale, oldY - (event.clientY - y) / clientHeight / scale]) });
  });
  // A drag is no click: what is around the screen must not open.
  screen.node.addEventListener('click', event => { if (moved) event.stopPropagation(); });
  for (const end of ['pointerup', 'pointercancel']) screen.node.addEventListener(end, () => { held = null; });
}

onTick(time => screens.forEach(screen => draw(screen, time)));
onState(changed => {
  if (changed.has('zoom')) screens.forEach(screen => screen.awake && wake(screen));
  if (changed.has('split')) screens.forEach(screen => draw(screen, clock.time));
});

const feedOf = trial => ({ video: trial.video, fps: trial.fps || 12 });
const shapeOf = trial => (trial && trial.width && trial.height ? trial.width / trial.height : 1);
