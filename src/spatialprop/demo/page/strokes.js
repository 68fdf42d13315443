/** Strokes of colour: painted on a grey picture, or on a layer that is transparent elsewhere. */

import { FileError } from "./pictures.js";

const COLOURED = 12; // a pixel whose channels differ by more is coloured; JPEG alone leaves less
const CHANGED = 10; // levels by which a marked pixel differs from the grey picture
const MOST_MARKED = 0.2; // of the pixels; a picture with more is a photograph of its own

export const toWord = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
export const toColour = (word) => [word & 255, (word >> 8) & 255, (word >> 16) & 255];
export const isColoured = (colour) => Math.max(...colour) - Math.min(...colour) >= COLOURED;

/** How bright pixels are, which is what colouring keeps. */
export function brightness(pixels) {
  const grey = new Uint8Array(pixels.length / 4);
  for (let index = 0, at = 0; index < grey.length; index++, at += 4) {
    grey[index] = Math.round(0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2]);
  }
  return grey;
}

/** The strokes in a picture, as words of RGBA that are 0 elsewhere. */
export function asStrokes({ name, width, height, pixels }, photo) {
  if (width !== photo.width || height !== photo.height) {
    throw new FileError(`The strokes ${name} have ${width} × ${height} pixels, the photograph ${photo.width} × ${photo.height}. Both must have one size.`);
  }
  const words = new Uint32Array(width * height);
  const grey = brightness(photo.pixels);
  const layer = isLayer(pixels);
  let any = false;
  for (let index = 0, at = 0; index < words.length; index++, at += 4) {
    const marked = layer ? pixels[at + 3] > 127 : isMark(pixels, at, grey[index]);
    if (marked) words[index] = toWord(pixels.subarray(at, at + 3));
    any ||= marked;
  }
  if (!any) {
    throw new FileError(`${name} holds no colour. Strokes are painted on a copy of the grey picture, or on a transparent layer, and saved as PNG.`);
  }
  return words;
}

/** Whether a picture holds strokes for a photograph, and is no photograph itself. */
export function areStrokes(opened, photo) {
  if (opened.width !== photo.width || opened.height !== photo.height) return false;
  if (isLayer(opened.pixels)) return true;
  const { pixels } = opened;
  const grey = brightness(photo.pixels);
  let [marked, coloured] = [0, 0];
  for (let index = 0, at = 0; index < grey.length; index++, at += 4) {
    if (!isMark(pixels, at, grey[index])) continue;
    marked++;
    coloured += isColoured([pixels[at], pixels[at + 1], pixels[at + 2]]);
  }
  return coloured > 0 && marked <= MOST_MARKED * grey.length;
}

function isLayer(pixels) {
  for (let at = 3; at < pixels.length; at += 4) if (pixels[at] < 255) return true;
  return false;
}

function isMark(pixels, at, grey) {
  const [red, green, blue] = [pixels[at], pixels[at + 1], pixels[at + 2]];
  const off = [Math.abs(red - grey), Math.abs(green - grey), Math.abs(blue - grey)];
  const coloured = Math.max(red, green, blue) - Math.min(red, green, blue) >= COLOURED;
  return (coloured && Math.max(...off) >= CHANGED) || Math.min(...off) >= 4 * CHANGED;
}
