/** What the refiner makes of a label map before and after its network; coarse_maps.py does the same in Python. */

const SOFTNESS = 2; // pixels
const GIVEN_LABEL_WEIGHT = 0.8;

/**
 * Labels as shares of the classes that occur.
 * Rough ones are averaged over cells as wide as the labels may be wrong. Of trusted ones half is spread over a few pixels.
 * @returns {{shares: Float32Array, classes: number, width: number, height: number, present: number[]}}
 */
export function sharesOf(labels, width, height, classes, rough) {
  const present = [...new Set(labels)].sort((a, b) => a - b);
  if (present.length === 1) present.push(present[0] === 0 ? 1 : 0); // the archive wants two
  const size = rough ? [width, height].map((side) => Math.max(1, Math.round(side / rough))) : [width, height];
  const shares = new Float32Array(present.length * size[0] * size[1]);
  present.forEach((label, place) => {
    const share = shares.subarray(place * size[0] * size[1], (place + 1) * size[0] * size[1]);
    if (rough) average(labels, label, width, height, size, share);
    else soften(labels, label, width, height, share);
  });
  return { shares, classes: present.length, width: size[0], height: size[1], present };
}

/** The most likely class of each pixel; trusted labels have a vote. */
export function votes(probabilities, present, labels, pixels, rough) {
  const found = new Uint8Array(pixels);
  const best = new Float32Array(pixels).fill(-1);
  present.forEach((label, place) => {
    for (let index = 0, at = place * pixels; index < pixels; index++, at++) {
      const value = probabilities[at] + (!rough && labels[index] === label ? GIVEN_LABEL_WEIGHT : 0);
      if (value > best[index]) [best[index], found[index]] = [value, label];
    }
  });
  return found;
}

function average(labels, label, width, height, [columns, rows], share) {
  const count = new Float32Array(share.length);
  for (let row = 0, at = 0; row < height; row++) {
    const from = Math.floor((row * rows) / height) * columns;
    for (let column = 0; column < width; column++, at++) {
      const cell = from + Math.floor((column * columns) / width);
      count[cell]++;
      share[cell] += labels[at] === label;
    }
  }
  for (let cell = 0; cell < share.length; cell++) share[cell] /= count[cell];
}

function soften(labels, label, width, height, share) {
  const reach = Math.round(2.5 * SOFTNESS);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, index) => Math.exp(-((index - reach) ** 2) / (2 * SOFTNESS ** 2)));
  const sum = kernel.reduce((total, weight) => total + weight);
  const across = new Float32Array(share.length);
  const clamp = (value, size) => Math.min(size - 1, Math.max(0, value));
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      for (let k = -reach; k <= reach; k++) across[at] += kernel[k + reach] * (labels[row * width + clamp(column + k, width)] === label);
    }
  }
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      let total = 0;
      for (let k = -reach; k <= reach; k++) total += kernel[k + reach] * across[clamp(row + k, height) * width + column];
      share[at] = (total / sum ** 2 + (labels[at] === label)) / 2;
    }
  }
}
