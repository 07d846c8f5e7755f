/* An mp4's table of contents: where each picture's bytes are and when it is shown.
   Reads what wanexp writes (one H.264 track, not fragmented); throws a sentence for the rest. */

function* boxesIn(view, start, end) {
  for (let at = start; at + 8 <= end;) {
    const type = String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at + 4, 4));
    let size = view.getUint32(at);
    let head = 8;
    if (size === 1) {
      size = Number(view.getBigUint64(at + 8));
      head = 16;
    } else if (size === 0) size = end - at;
    if (size < head || at + size > end) throw new Error('the mp4 is cut off');
    yield { type, start: at + head, end: at + size };
    at += size;
  }
}

function boxAt(view, path, start, end) {
  let place = { start, end };
  for (const name of path) {
    place = [...boxesIn(view, place.start, place.end)].find(box => box.type === name);
    if (!place) throw new Error(`the mp4 has no ${name} box`);
  }
  return place;
}

function hasBox(view, name, within) {
  return [...boxesIn(view, within.start, within.end)].find(box => box.type === name) || null;
}

/** The video track: codec, its setup bytes, size, and the pictures in the order of decoding. */
function readTrack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const moov = boxAt(view, ['moov'], 0, view.byteLength);
  const track = [...boxesIn(view, moov.start, moov.end)].find(box => box.type === 'trak' && isVideo(view, box));
  if (!track) throw new Error('the mp4 holds no video');
  const mdhd = boxAt(view, ['mdia', 'mdhd'], track.start, track.end);
  const scale = view.getUint32(mdhd.start + (view.getUint8(mdhd.start) === 1 ? 20 : 12));
  const table = boxAt(view, ['mdia', 'minf', 'stbl'], track.start, track.end);
  return { ...readSetup(view, bytes, table), samples: readSamples(view, bytes, table, scale) };
}

function isVideo(view, track) {
  const handler = boxAt(view, ['mdia', 'hdlr'], track.start, track.end);
  return view.getUint32(handler.start + 8) === 0x76696465; // "vide"
}

function readSetup(view, bytes, table) {
  const description = boxAt(view, ['stsd'], table.start, table.end);
  const entry = boxAt(view, ['avc1'], description.start + 8, description.end);
  const avcc = boxAt(view, ['avcC'], entry.start + 78, entry.end); // after the fixed part of the entry
  const setup = bytes.slice(avcc.start, avcc.end);
  const profile = [...setup.slice(1, 4)].map(byte => byte.toString(16).padStart(2, '0')).join('');
  return {
    codec: `avc1.${profile}`,
    setup,
    width: view.getUint16(entry.start + 24),
    height: view.getUint16(entry.start + 26),
  };
}

function readSamples(view, bytes, table, scale) {
  const sizes = readSizes(view, boxAt(view, ['stsz'], table.start, table.end));
  const offsets = readOffsets(view, table, sizes);
  const times = readRuns(view, boxAt(view, ['stts'], table.start, table.end), sizes.length);
  const late = hasBox(view, 'ctts', table);
  const delays = late ? readRuns(view, late, sizes.length) : sizes.map(() => 0);
  const keys = hasBox(view, 'stss', table);
  const isKey = keys ? new Set(readList(view, keys).map(number => number - 1)) : null;
  let decoded = 0;
  return sizes.map((size, i) => {
    const shown = (decoded + delays[i]) / scale;
    decoded += times[i];
    return {
      data: bytes.subarray(offsets[i], offsets[i] + size),
      microseconds: Math.round(shown * 1e6),
      key: isKey ? isKey.has(i) : true,
    };
  });
}

function readSizes(view, box) {
  const same = view.getUint32(box.start + 4);
  const count = view.getUint32(box.start + 8);
  return Array.from({ length: count }, (_, i) => same || view.getUint32(box.start + 12 + 4 * i));
}

/** Values that are stored as (how many in a row, value). Delays may be negative. */
function readRuns(view, box, length) {
  const values = [];
  const count = view.getUint32(box.start + 4);
  for (let i = 0; i < count; i += 1) {
    const many = view.getUint32(box.start + 8 + 8 * i);
    const value = view.getInt32(box.start + 12 + 8 * i);
    for (let k = 0; k < many; k += 1) values.push(value);
  }
  if (values.length < length) throw new Error('the mp4 does not say when its pictures are shown');
  return values;
}

function readList(view, box) {
  return Array.from({ length: view.getUint32(box.start + 4) }, (_, i) => view.getUint32(box.start + 8 + 4 * i));
}

/** Where each sample begins: chunks have places, and tables say how many samples each holds. */
function readOffsets(view, table, sizes) {
  const wide = hasBox(view, 'co64', table);
  const box = wide || boxAt(view, ['stco'], table.start, table.end);
  const chunks = wide
    ? Array.from({ length: view.getUint32(box.start + 4) }, (_, i) => Number(view.getBigUint64(box.start + 8 + 8 * i)))
    : readList(view, box);
  const runs = boxAt(view, ['stsc'], table.start, table.end);
  const count = view.getUint32(runs.start + 4);
  const offsets = [];
  let run = 0;
  chunks.forEach((chunk, number) => {
    while (run + 1 < count && view.getUint32(runs.start + 8 + 12 * (run + 1)) <= number + 1) run += 1;
    const many = view.getUint32(runs.start + 12 + 12 * run);
    let at = chunk;
    for (let k = 0; k < many && offsets.length < sizes.length; k += 1) {
      offsets.push(at);
      at += sizes[offsets.length - 1];
    }
  });
  return offsets;
}
