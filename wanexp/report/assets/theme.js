/* Light, dark, or what the system says. Kept in the address, for there is no other memory. */

const THEMES = [null, 'light', 'dark'];
const THEME_WORDS = { light: '☀ Light', dark: '☾ Dark' };

function applyTheme() {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  byId('theme').textContent = THEME_WORDS[state.theme] || '◐ Auto';
  byId('theme').setAttribute('aria-label', `Colours: ${state.theme || 'as the system says'}`);
  redrawFigures();
}

const nextTheme = () => setState({ theme: THEMES[(THEMES.indexOf(state.theme) + 1) % THEMES.length] });

onState(changed => changed.has('theme') && applyTheme());
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawFigures);
