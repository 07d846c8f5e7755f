/* The one clock. Every picture on the page is drawn from its time, in one go, so none can drift. */

/** A picture's number at a time; a video that is over keeps its last. */
function frameAt(time, fps, count) {
  // 7/12 s times 12 is 6.999…: a thousandth of a picture belongs to the next one.
  return clamp(Math.floor(time * fps + 1e-3), 0, Math.max(0, count - 1));
}

/** Where the clock stands after some time: around again, or at the end. */
function advance(time, by, duration, loop) {
  const next = time + by;
  if (next < duration) return next;
  return loop && duration > 0 ? next % duration : duration;
}

const clock = { time: 0, playing: false, duration: 1, fps: 12, last: null, tickers: [] };

const frameCount = () => Math.max(1, Math.round(clock.duration * clock.fps));
const frameNow = () => frameAt(clock.time, clock.fps, frameCount());

function onTick(ticker) {
  clock.tickers.push(ticker);
}

function tick() {
  for (const ticker of clock.tickers) ticker(clock.time);
}

function run(now) {
  if (!clock.playing) return;
  const gone = clock.last === null ? 0 : (now - clock.last) / 1000;
  clock.last = now;
  // A hidden page gets no callbacks for minutes; the clock does not catch up with them.
  clock.time = advance(clock.time, Math.min(gone, 0.25) * state.speed, clock.duration, state.loop);
  if (!state.loop && clock.time >= clock.duration) pause();
  tick();
  requestAnimationFrame(run);
}

function play() {
  if (clock.playing) return;
  if (clock.time >= clock.duration) clock.time = 0;
  clock.playing = true;
  clock.last = null;
  setState({ frame: null });
  requestAnimationFrame(run);
  tick();
}

/** Stops; the address then names the picture. */
function pause() {
  clock.playing = false;
  setState({ frame: frameNow() });
  tick();
}

const toggle = () => (clock.playing ? pause() : play());

/** Stops at a picture. */
function seekFrame(frame) {
  clock.playing = false;
  const kept = clamp(Math.round(frame), 0, frameCount() - 1);
  clock.time = kept / clock.fps;
  setState({ frame: kept });
  tick();
}

function stepFrames(by) {
  const count = frameCount();
  seekFrame(state.loop ? (frameNow() + by + count) % count : frameNow() + by);
  say(`frame ${frameNow() + 1} of ${count}`);
}

/** The longest and the finest of what is shown set the clock's face. */
function setFace() {
  const trials = shownRows().flatMap(row => row.trials).filter(trial => trial.video);
  clock.fps = Math.max(1, ...trials.map(trial => trial.fps || 1));
  clock.duration = Math.max(1 / clock.fps, ...trials.map(trial => (trial.frames || 1) / (trial.fps || 1)));
  if (clock.time > clock.duration) clock.time = 0;
}
