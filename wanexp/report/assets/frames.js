/* Videos as pictures in memory. Players drift; pictures that are drawn by number cannot.
   Decoded when first seen, forgotten when memory is short and nobody looks. */

const MEMORY = 400e6; // bytes of decoded pictures, RGBA
const AT_ONCE = 2;
const PATIENCE = 8000; // ms that a player may take for one picture
const SHORT_PATIENCE = 1000; // ms to wait for a player's word on it

const store = new Map(); // key → entry
const waiting = [];
let busy = 0;
let looked = 0;

/** A video at least `width` pixels wide; its pictures come later, and `fresh` is told. */
function wantVideo(key, width, fresh) {
  if (!store.has(key)) {
    store.set(key, { key, status: 'waiting', pictures: [], times: [], width: 0, natural: null, wanted: 0, problem: null, fresh: new Set(), used: 0 });
  }
  const entry = store.get(key);
  entry.used = looked += 1;
  entry.fresh.add(fresh);
  const most = entry.natural || Infinity;
  const needed = Math.min(width, most);
  if (entry.status === 'failed' || needed <= entry.wanted * 1.25) return entry;
  entry.wanted = needed;
  if (!waiting.includes(entry)) waiting.push(entry);
  work();
  return entry;
}

/** Nobody shows it any more. */
function leaveVideo(entry, fresh) {
  entry.fresh.delete(fresh);
  const place = waiting.indexOf(entry);
  if (entry.fresh.size || place < 0) return;
  waiting.splice(place, 1);
  entry.wanted = entry.width;
}

async function work() {
  if (busy >= AT_ONCE || !waiting.length) return;
  busy += 1;
  const entry = waiting.pop(); // what came into view last is what is looked at
  const wanted = entry.wanted;
  entry.status = entry.pictures.length ? 'ready' : 'decoding';
  try {
    const found = await decodeVideo(await bytesOf(entry.key), wanted);
    entry.pictures.forEach(picture => picture.close());
    Object.assign(entry, found, { status: 'ready', wanted: Math.min(wanted, found.natural) });
  } catch (error) {
    if (!entry.pictures.length) Object.assign(entry, { status: 'failed', problem: error.message || String(error) });
  }
  busy -= 1;
  makeRoom();
  entry.fresh.forEach(fresh => fresh(entry));
  work();
}

const weight = entry => entry.pictures.reduce((sum, picture) => sum + 4 * picture.width * picture.height, 0);

/** Forgets what nobody looks at, longest ago first, until the rest fits. */
function makeRoom(memory = MEMORY) {
  let total = 0;
  for (const entry of store.values()) total += weight(entry);
  const idle = [...store.values()].filter(entry => !entry.fresh.size && entry.pictures.length).sort((a, b) => a.used - b.used);
  for (const entry of idle) {
    if (total <= memory) return;
    total -= weight(entry);
    entry.pictures.forEach(picture => picture.close());
    store.delete(entry.key);
  }
}

/** All pictures of a video, shrunk to `width` where that is less than it has. */
async function decodeVideo(bytes, width) {
  const track = readTrack(bytes);
  const size = shrunk(track, width);
  const found = (await canDecode(track)) ? await decodeTrack(track, size) : await seekThrough(bytes, track, size);
  if (!found.length) throw new Error('the video holds no pictures');
  found.sort((one, other) => one.time - other.time);
  return {
    pictures: found.map(one => one.picture),
    width: size.resizeWidth || track.width,
    natural: track.width,
  };
}

function shrunk(track, width) {
  if (width >= track.width) return {};
  const resizeWidth = Math.max(2, Math.round(width));
  return { resizeWidth, resizeHeight: Math.max(2, Math.round((resizeWidth * track.height) / track.width)), resizeQuality: 'medium' };
}

async function canDecode(track) {
  // Pages that came over plain http from another machine have no decoder, only players.
  if (typeof VideoDecoder !== 'function' || window.wanexpPlayersOnly) return false;
  try {
    return (await VideoDecoder.isConfigSupported({ codec: track.codec, description: track.setup })).supported;
  } catch {
    return false;
  }
}

function decodeTrack(track, size) {
  return new Promise((resolve, reject) => {
    const jobs = [];
    const decoder = new VideoDecoder({
      error: reject,
      output: frame => {
        const time = frame.timestamp;
        jobs.push(createImageBitmap(frame, size).then(picture => ({ time, picture })).finally(() => frame.close()));
      },
    });
    decoder.configure({ codec: track.codec, description: track.setup, codedWidth: track.width, codedHeight: track.height });
    for (const sample of track.samples) {
      decoder.decode(new EncodedVideoChunk({ type: sample.key ? 'key' : 'delta', timestamp: sample.microseconds, data: sample.data }));
    }
    decoder.flush().then(() => Promise.all(jobs)).then(found => { decoder.close(); resolve(found); }, reject);
  });
}

/** Without a decoder: a player that is put on every picture in turn, between its time and the next. */
async function seekThrough(bytes, track, size) {
  const address = URL.createObjectURL(new Blob([bytes], { type: 'video/mp4' }));
  const player = el('video', { preload: 'auto', muted: true, playsinline: true });
  player.muted = true;
  try {
    player.src = address;
    await happens(player, 'loadeddata');
    const shown = track.samples.map(sample => sample.microseconds / 1e6).sort((a, b) => a - b);
    const gap = player.duration / shown.length;
    const found = [];
    for (const [number, time] of shown.entries()) {
      const arrives = presents(player, number, gap);
      player.currentTime = time - shown[0] + gap / 2;
      await happens(player, 'seeked');
      await arrives;
      found.push({ time, picture: await createImageBitmap(player, size) });
    }
    return found;
  } finally {
    player.removeAttribute('src');
    player.load();
    URL.revokeObjectURL(address);
  }
}

/** That a player shows a picture: on a busy machine it says that it is there before it is seen. */
function presents(player, number, gap) {
  return new Promise(resolve => {
    if (!player.requestVideoFrameCallback) { resolve(); return; }
    const look = (_, { mediaTime }) => {
      if (Math.round(mediaTime / gap) === number) resolve();
      else player.requestVideoFrameCallback(look);
    };
    player.requestVideoFrameCallback(look);
    setTimeout(resolve, SHORT_PATIENCE);
  });
}

function happens(player, name) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('this browser does not play H.264 video')), PATIENCE);
    const end = (done, value) => () => { clearTimeout(late); done(value); };
    player.addEventListener(name, end(resolve), { once: true });
    player.addEventListener('error', end(reject, new Error('this browser cannot play the video')), { once: true });
  });
}
