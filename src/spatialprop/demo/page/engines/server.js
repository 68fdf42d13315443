/** The engine behind `spatialprop serve`: the networks run in Python, on this machine. */

let picture = null; // as it was opened last
let id = null; // under which the server knows it
let last = null; // what was refined last

export const privacy = "Everything stays on this machine.";

/**
 * Get ready.
 * @param {(what: string, share?: number) => void} onprogress
 * @returns {Promise<{about: string, mostPixels: number, judges: boolean, rough: {default: number, most: number}, affinity: boolean, modes: string[]}>}
 */
export async function start(onprogress) {
  const facts = await (await call("api/about")).json();
  const ready = call("api/ready").then(() => onprogress(""));
  if (!facts.ready) onprogress("Getting ready: about half a minute, once after installation.");
  ready.catch((error) => onprogress(error.message));
  return facts;
}

/** @param {{width: number, height: number, pixels: Uint8ClampedArray}} opened */
export async function open(opened) {
  [picture, id, last] = [opened, null, null];
  await send();
}

async function send() {
  const { width, height, pixels } = picture;
  const answer = await call(`api/image?width=${width}&height=${height}`, rgb(pixels));
  id = (await answer.json()).id;
}

/**
 * @param {"auto" | number} rough by how many pixels the borders of the mask may be wrong; 0 trusts them, and with "auto"
 *   the refiner sees that for itself
 * @returns {Promise<Uint8Array>} the refined labels
 */
export async function refine(labels, classes, rough) {
  last = { labels: labels.slice(), rough };
  const answer = await known(() => call(`api/refine?image=${id}&rough=${rough}`, last.labels));
  return new Uint8Array(await answer.arrayBuffer());
}

/** How much each pixel of the mask refined last adds to the result at one. @returns {Promise<Float32Array>} */
export async function affinity(row, column) {
  const ask = () => call(`api/affinity?image=${id}&row=${row}&column=${column}`);
  const answer = await known(ask, () => call(`api/refine?image=${id}&rough=${last.rough}`, last.labels));
  return new Float32Array(await answer.arrayBuffer());
}

/** @param {Uint8Array} trimap 0, 128 and 255 @returns {Promise<Uint8ClampedArray>} the foreground with its alpha, RGBA */
export async function matte(trimap) {
  const answer = await known(() => call(`api/matte?image=${id}`, trimap));
  return new Uint8ClampedArray(await answer.arrayBuffer());
}

/** @param {Uint32Array} strokes RGBA, transparent elsewhere @returns {Promise<Uint8ClampedArray>} the coloured picture, RGBA */
export async function colour(strokes) {
  const answer = await known(() => call(`api/colour?image=${id}`, strokes));
  return rgba(new Uint8Array(await answer.arrayBuffer()));
}

/** Ask about the picture; if the server has forgotten it, open it again. */
async function known(ask, before = async () => {}) {
  try {
    return await ask();
  } catch (error) {
    if (error.status !== 404) throw error;
    await send();
    await before();
    return ask();
  }
}

async function call(path, body) {
  const request = body ? { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } } : {};
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Error("“spatialprop serve” does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.` }));
  throw Object.assign(new Error(error), { status: answer.status });
}

function rgb(pixels) {
  const packed = new Uint8Array((pixels.length / 4) * 3);
  for (let from = 0, to = 0; from < pixels.length; from += 4) {
    packed[to++] = pixels[from];
    packed[to++] = pixels[from + 1];
    packed[to++] = pixels[from + 2];
  }
  return packed;
}

function rgba(packed) {
  const pixels = new Uint8ClampedArray((packed.length / 3) * 4);
  for (let from = 0, to = 0; from < packed.length; from += 3, to += 4) {
    pixels[to] = packed[from];
    pixels[to + 1] = packed[from + 1];
    pixels[to + 2] = packed[from + 2];
    pixels[to + 3] = 255;
  }
  return pixels;
}
