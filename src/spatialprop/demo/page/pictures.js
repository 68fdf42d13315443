/** Photographs and masks out of files. */

export const LARGEST_FILE = 200 * 1024 * 1024;
const MOST_CLASSES = 64;
const NEARLY_GREY = 6; // how far JPEG drives the channels of a grey picture apart

/** What is wrong with a file, in words for the person who chose it. */
export class FileError extends Error {}

/**
 * Decode a file.
 * @param {Blob} file
 * @param {string} name
 * @param {number} mostPixels
 * @returns {Promise<{name: string, width: number, height: number, pixels: Uint8ClampedArray, bytes: Uint8Array}>}
 */
export async function readPicture(file, name, mostPixels) {
  if (file.size > LARGEST_FILE) {
    throw new FileError(`${name} has ${Math.round(file.size / 2 ** 20)} MiB; at most ${LARGEST_FILE / 2 ** 20} are read here.`);
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const claimed = claimedSize(bytes); // before memory is taken for it
  if (claimed) refuseTooLarge(name, ...claimed, mostPixels);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new FileError(`${name} cannot be read as a picture. It is damaged, or of a kind that browsers do not show: save it as JPEG, PNG or WebP.`);
  }
  const { width, height } = bitmap;
  refuseTooLarge(name, width, height, mostPixels);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { name, width, height, pixels: context.getImageData(0, 0, width, height).data, bytes };
}

function refuseTooLarge(name, width, height, mostPixels) {
  if (width * height > mostPixels) {
    const most = (mostPixels / 1e6).toFixed(1);
    throw new FileError(`${name} has ${width} × ${height} pixels; this page takes up to ${most} million. Make it smaller, or use “spatialprop refine”, which takes more.`);
  }
}

/** Width and height by the header of a PNG or JPEG, null if it does not say. */
export function claimedSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isPng(bytes) && bytes.length > 24 && chunkName(bytes, 8) === "IHDR") return [view.getUint32(16), view.getUint32(20)];
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff; ) {
    const marker = bytes[at + 1];
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return [view.getUint16(at + 7), view.getUint16(at + 5)];
    }
    at += 2 + view.getUint16(at + 2);
  }
  return null;
}

function isPng(bytes) {
  return [0x89, 0x50, 0x4e, 0x47].every((byte, index) => bytes[index] === byte);
}

const chunkName = (bytes, at) => String.fromCharCode(...bytes.subarray(at + 4, at + 8));

/**
 * Take a picture for a mask: each of its colours is a class.
 * @returns {{labels: Uint8Array, classes: {value: number, colour: number[]}[], coloured: boolean}}
 */
export function asMask({ name, width, height, pixels, bytes }) {
  if (isPng(bytes) && bytes[24] === 16) {
    throw new FileError(`${name} has 16 bits a channel, of which a browser shows 8. Save it with 8 bits, or use “spatialprop refine”.`);
  }
  const words = new Uint32Array(pixels.buffer, pixels.byteOffset, width * height);
  const found = coloursOf(words);
  if (!found) return bright(name, width, height, pixels);
  const seeThrough = [...found].filter((word) => word >>> 24 < 128);
  const colours = [...found].filter((word) => word >>> 24 >= 128);
  if (seeThrough.length && colours.length > MOST_CLASSES / 2) return opaque(width, height, pixels);
  const rgb = colours.map((word) => [word & 255, (word >> 8) & 255, (word >> 16) & 255]);
  const palette = paletteOf(bytes);
  const coloured = rgb.some(([r, g, b]) => r !== g || g !== b);
  const valueOf = (colour, index) => {
    if (palette) return palette.findIndex((entry) => entry.every((part, channel) => part === colour[channel]));
    return coloured ? index + (seeThrough.length ? 1 : 0) : colour[0];
  };
  // The darkest colour comes first: it is taken for the background.
  const order = colours.map((word, index) => index).sort((a, b) => sum(rgb[a]) - sum(rgb[b]) || colours[a] - colours[b]);
  if (palette) order.sort((a, b) => valueOf(rgb[a]) - valueOf(rgb[b]));
  const classes = order.map((place, index) => ({ value: valueOf(rgb[place], index), colour: rgb[place] }));
  const numbers = new Map(order.map((place, index) => [colours[place], index]));
  if (seeThrough.length) {
    classes.unshift({ value: 0, colour: [0, 0, 0] });
    for (const [word, index] of numbers) numbers.set(word, index + 1);
    for (const word of seeThrough) numbers.set(word, 0);
  }
  return { labels: Uint8Array.from(words, (word) => numbers.get(word)), classes, coloured };
}

const sum = (colour) => colour.reduce((total, part) => total + part, 0);

function coloursOf(words) {
  const found = new Set();
  let last = -1;
  for (const word of words) {
    if (word === last) continue;
    last = word;
    found.add(word);
    if (found.size > MOST_CLASSES) return null;
  }
  return found;
}

/** A mask whose edges are smooth or that was saved as JPEG: bright is object. */
function bright(name, width, height, pixels) {
  let grey = true;
  let transparent = false;
  let ends = 0;
  const labels = new Uint8Array(width * height);
  for (let index = 0, at = 0; index < labels.length; index++, at += 4) {
    const [r, g, b, a] = [pixels[at], pixels[at + 1], pixels[at + 2], pixels[at + 3]];
    transparent ||= a < 128;
    grey &&= Math.abs(r - g) <= NEARLY_GREY && Math.abs(g - b) <= NEARLY_GREY;
    ends += g < 40 || g > 215;
    labels[index] = g > 127;
  }
  if (transparent) return opaque(width, height, pixels);
  if (!grey || ends < 0.7 * labels.length) {
    throw new FileError(`${name} has more than ${MOST_CLASSES} colours, too many to be classes. JPEG and smooth scaling make colours of their own: save the mask as PNG.`);
  }
  return { labels, classes: blackAndWhite(), coloured: false };
}

/** A cut-out: what is opaque is the object. */
function opaque(width, height, pixels) {
  const labels = new Uint8Array(width * height);
  for (let index = 0; index < labels.length; index++) labels[index] = pixels[4 * index + 3] > 127;
  return { labels, classes: blackAndWhite(), coloured: false };
}

const blackAndWhite = () => [{ value: 0, colour: [0, 0, 0] }, { value: 255, colour: [255, 255, 255] }];

/** The palette of an indexed PNG, which says which number a colour stands for; else null. */
function paletteOf(bytes) {
  if (!isPng(bytes) || bytes[25] !== 3) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    if (chunkName(bytes, at) === "PLTE") {
      const colours = [];
      for (let from = at + 8; from + 3 <= at + 8 + length; from += 3) colours.push([...bytes.subarray(from, from + 3)]);
      return colours;
    }
    at += 12 + length;
  }
  return null;
}

/** Whether two pictures may show the same part of a scene. */
export function sameShape(one, other) {
  return Math.abs((one.width / one.height) * (other.height / other.width) - 1) < 0.01;
}

/** Labels at another size, by nearest neighbour. */
export function resizeLabels(labels, width, height, newWidth, newHeight) {
  const resized = new Uint8Array(newWidth * newHeight);
  for (let row = 0, at = 0; row < newHeight; row++) {
    const from = Math.floor(((row + 0.5) * height) / newHeight) * width;
    for (let column = 0; column < newWidth; column++) {
      resized[at++] = labels[from + Math.floor(((column + 0.5) * width) / newWidth)];
    }
  }
  return resized;
}
