/* A file's bytes, from inside the page or from the script beside it. Never from a network. */

const handed = new Map(); // key → resolve, of scripts that are loading

/* What the scripts beside the page call. */
window.wanexpBytes = (key, text) => {
  const resolve = handed.get(key);
  handed.delete(key);
  if (resolve) resolve(text);
};

function decode64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
}

/** Why a file cannot be shown; null where it can. */
function absence(key) {
  const place = key === null || key === undefined ? null : DATA.media[key];
  if (!place) return 'there is no such file';
  if (place.left_out) return 'left out of this single file, which would be too large; the folder form has it';
  return null;
}

async function bytesOf(key) {
  const problem = absence(key);
  if (problem) throw new Error(problem);
  const place = DATA.media[key];
  return decode64(place.inside ? byId(`bytes-${key}`).textContent : await loadScript(key, place.script));
}

function loadScript(key, source) {
  return new Promise((resolve, reject) => {
    handed.set(key, resolve);
    const script = el('script', { src: source });
    script.onload = () => script.remove();
    script.onerror = () => reject(new Error(`${source} is no longer beside the page`));
    document.head.append(script);
  });
}

/** A picture's address for an img element. */
function pictureAddress(key) {
  const place = DATA.media[key];
  if (!place || place.left_out) return null;
  return place.inside ? `data:${place.type};base64,${byId(`bytes-${key}`).textContent}` : place.file.split('/').map(encodeURIComponent).join('/');
}
