/* Play, step, scrub, speed, loop, zoom: the bar that stays in sight under the videos. */

function makeTransport() {
  const button = (words, title, act, kind = '') => el('button', { type: 'button', class: kind, title, 'aria-label': title, onclick: act }, words);
  const playing = button(icon('play'), 'Play (space)', toggle, 'play');
  const scrub = el('input', { type: 'range', min: 0, step: 1, value: 0, class: 'scrub', 'aria-label': 'Frame', oninput: () => seekFrame(Number(scrub.value)) });
  const place = el('span', { class: 'place' }); // the slider says it to readers of screens, when asked
  const zoomed = el('output', { class: 'zoomed', 'aria-label': 'Zoom' });
  const bar = el('div', { class: 'transport', role: 'group', 'aria-label': 'All videos, on one clock' },
    el('div', { class: 'buttons' },
      button(icon('first'), 'First frame (Home)', () => seekFrame(0)), button(icon('back'), 'Back one frame (←)', () => stepFrames(-1)),
      playing,
      button(icon('on'), 'On one frame (→)', () => stepFrames(1))),
    scrub, place,
    el('div', { class: 'buttons' },
      choice('Speed', 'speed', SPEEDS, speed => `${speed} ×`), switchButton('loop', 'Loop'),
      button(icon('minus'), 'Zoom out (−)', () => zoomBy(0.5)), zoomed, button(icon('plus'), 'Zoom in (+)', () => zoomBy(2))));
  let shown = '';
  const refresh = () => {
    const now = `${frameNow()} ${frameCount()} ${clock.playing} ${state.zoom[0]}`;
    if (now === shown) return;
    shown = now;
    scrub.max = frameCount() - 1;
    scrub.value = frameNow();
    scrub.setAttribute('aria-valuetext', `frame ${frameNow() + 1} of ${frameCount()}`);
    place.textContent = `${String(frameNow() + 1).padStart(String(frameCount()).length, ' ')}/${frameCount()}`;
    place.title = `${clock.time.toFixed(2)} s`;
    zoomed.textContent = `${digits(state.zoom[0])}×`;
    playing.replaceChildren(icon(clock.playing ? 'pause' : 'play'));
    playing.title = clock.playing ? 'Pause (space)' : 'Play (space)';
    playing.setAttribute('aria-label', playing.title);
  };
  onTick(refresh);
  onState(refresh);
  refresh();
  return bar;
}
