'use strict';
// One pair after another. The page knows pairs by number only: nothing here can tell arms apart.

const WORDS = {
  motion: ['Motion', 'does it move as it should'],
  detail: ['Detail', 'sharp, nothing lost or invented'],
  consistency: ['Consistency', 'nothing flickers, warps or changes'],
  overall: ['Overall', 'which one would you keep'],
};
const SIDES = { left: 'Left', same: 'Same', right: 'Right' };
const KEYS = { ArrowLeft: 'left', ArrowDown: 'same', ArrowRight: 'right', 1: 'left', 2: 'same', 3: 'right' };

const at = (id) => document.getElementById(id);
const videos = () => [at('left'), at('right')];

const state = { questions: [], answered: [], sources: [], pair: 0, question: 0, choices: {}, since: 0, busy: false, seen: [] };

async function ask(path, body) {
  const options = body && { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const tree = await response.json();
  if (!response.ok) throw new Error(tree.error);
  return tree;
}

function say(trouble) {
  at('trouble').hidden = !trouble;
  at('trouble').textContent = trouble || '';
}

// Questions -------------------------------------------------------------------------------------

function choiceButton(question, side) {
  const label = document.createElement('label');
  const input = document.createElement('input');
  const face = document.createElement('span');
  input.type = 'radio';
  input.name = question;
  input.value = side;
  input.addEventListener('click', () => choose(question, side));
  face.textContent = SIDES[side];
  label.append(input, face);
  return label;
}

function questionBox(question) {
  const box = document.createElement('fieldset');
  const legend = document.createElement('legend');
  const small = document.createElement('small');
  [legend.textContent, small.textContent] = WORDS[question];
  legend.append(small);
  box.id = `q-${question}`;
  box.append(legend, ...Object.keys(SIDES).map((side) => choiceButton(question, side)));
  return box;
}

function showChoices() {
  for (const [number, question] of state.questions.entries()) {
    const box = at(`q-${question}`);
    box.classList.toggle('now', number === state.question);
    for (const input of box.querySelectorAll('input')) input.checked = state.choices[question] === input.value;
  }
}

function choose(question, side) {
  if (state.busy) return;
  state.choices[question] = side;
  const open = state.questions.findIndex((name) => !(name in state.choices));
  state.question = open < 0 ? state.questions.length - 1 : open;
  showChoices();
  if (open < 0) keep();
}

async function keep() {
  state.busy = true;
  const seconds = (performance.now() - state.since) / 1000;
  try {
    await ask('answers', { pair: state.pair, choices: state.choices, seconds });
  } catch (error) {
    // The choices stay on the page: any key that chooses sends them again.
    state.busy = false;
    say(`This answer is not kept yet (${error.message}). Is wanexp rate still running? Answer the last question again to retry.`);
    return;
  }
  say('');
  state.answered[state.pair] = true;
  state.seen.push(state.pair);
  state.busy = false;
  await show(nextOpen());
}

// Pairs -----------------------------------------------------------------------------------------

const nextOpen = () => state.answered.indexOf(false);

function showProgress() {
  const done = state.answered.filter(Boolean).length;
  at('progress').textContent = `${done} of ${state.answered.length} pairs answered`;
  at('bar').max = state.answered.length;
  at('bar').value = done;
}

async function load(video, path) {
  // Whole files: two short videos that wait for nobody stay in step.
  const response = await fetch(path);
  if (!response.ok) throw new Error('a video is missing');
  const old = video.src;
  video.src = URL.createObjectURL(await response.blob());
  if (old) URL.revokeObjectURL(old);
  await new Promise((ready, failed) => {
    video.oncanplaythrough = ready;
    video.onerror = () => failed(new Error('a video cannot be played'));
  });
}

async function show(pair) {
  showProgress();
  at('rating').hidden = pair < 0;
  at('done').hidden = pair >= 0;
  if (pair < 0) return;
  Object.assign(state, { pair, question: 0, choices: {} });
  showChoices();
  at('from').hidden = !state.sources[pair]; // a video may be made from words
  if (state.sources[pair]) at('source').src = `source/${pair}`;
  try {
    await Promise.all([load(at('left'), `left/${pair}`), load(at('right'), `right/${pair}`)]);
  } catch (error) {
    say(`Pair ${pair + 1} cannot be shown: ${error.message}.`);
    return;
  }
  if (state.pair !== pair) return;
  state.since = performance.now();
  document.body.dataset.pair = pair;
  play();
}

function back() {
  if (state.busy) return;
  const before = state.seen.pop();
  if (before !== undefined) show(before);
}

// Playing ---------------------------------------------------------------------------------------

function play() {
  at('pause').setAttribute('aria-pressed', 'false');
  for (const video of videos()) video.currentTime = 0;
  for (const video of videos()) video.play().catch(() => {});
}

function loopTogether() {
  // Both start over when the longer one has ended, so that they never drift apart.
  if (videos().every((video) => video.ended)) play();
}

function pause() {
  const paused = videos().some((video) => !video.paused && !video.ended);
  at('pause').setAttribute('aria-pressed', String(paused));
  for (const video of videos()) paused ? video.pause() : video.play();
}

function slow() {
  const on = at('slow').getAttribute('aria-pressed') !== 'true';
  at('slow').setAttribute('aria-pressed', String(on));
  for (const video of videos()) video.defaultPlaybackRate = video.playbackRate = on ? 0.5 : 1;
}

// Keys ------------------------------------------------------------------------------------------

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('button') && (event.key === ' ' || event.key === 'Enter')) return;
  const acts = { Backspace: back, ' ': pause, s: slow, ArrowUp: questionBefore };
  if (event.key in KEYS && !at('rating').hidden) choose(state.questions[state.question], KEYS[event.key]);
  else if (event.key in acts) acts[event.key]();
  else return;
  event.preventDefault();
}

function questionBefore() {
  state.question = Math.max(0, state.question - 1);
  delete state.choices[state.questions[state.question]];
  showChoices();
}

async function start() {
  const { questions, answered, sources, study, rater } = await ask('pairs');
  document.title = `Which is better? ${study}, ${rater}`;
  Object.assign(state, { questions, answered, sources });
  at('questions').append(...questions.map(questionBox));
  at('questions').addEventListener('submit', (event) => event.preventDefault());
  at('back').addEventListener('click', back);
  at('again').addEventListener('click', back);
  at('pause').addEventListener('click', pause);
  at('slow').addEventListener('click', slow);
  for (const video of videos()) video.addEventListener('ended', loopTogether);
  document.addEventListener('keydown', key);
  await show(nextOpen());
}

start().catch((error) => say(`The page cannot start: ${error.message}`));
