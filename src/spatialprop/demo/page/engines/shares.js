/** What the refiner makes of a label map before and after its network; coarse_maps.py does the same in Python. */

/**
 * Labels as shares of the classes that occur.
 * Those that are rough by some pixels are reduced to cells as wide; 0 keeps them as they are.
 * @returns {{shares: Float32Array, classes: number, width: number, height: number, present: number[]}}
 */
export function sharesOf(labels, width, height, rough) {
  const present = [...new Set(labels)].sort((a, b) => a - b);
  if (present.length === 1) present.push(present[0] === 0 ? 1 : 0); // the archive wants two
  const size = rough ? [width, height].map((side) => Math.max(1, Math.round(side / rough))) : [width, height];
  const shares = new Float32Array(present.length * size[0] * size[1]);
  present.forEach((label, place) => {
    const share = shares.subarray(place * size[0] * size[1], (place + 1) * size[0] * size[1]);
    if (rough) average(labels, label, width, height, size, share);
    else for (let at = 0; at < share.length; at++) share[at] = labels[at] === label;
  });
  return { shares, classes: present.length, width: size[0], height: size[1], present };
}

/** The most likely class of each pixel. */
export function mostLikely(probabilities, present, pixels) {
  const found = new Uint8Array(pixels);
  const best = new Float32Array(pixels).fill(-1);
  present.forEach((label, place) => {
    for (let index = 0, at = place * pixels; index < pixels; index++, at++) {
      if (probabilities[at] > best[index]) [best[index], found[index]] = [probabilities[at], label];
    }
  });
  return found;
}

/** Whether so many pixels changed for each that lies along a border that labels had better be doubted. */
export function isFarOff(labels, refined, width, most) {
  let [changed, border] = [0, 0];
  for (let at = 0; at < labels.length; at++) {
    changed += labels[at] !== refined[at];
    border += (at + 1) % width && labels[at] !== labels[at + 1];
    border += at + width < labels.length && labels[at] !== labels[at + width];
  }
  return changed > 0 && changed >= most * border;
}

/** The share of a label in each cell, as PyTorch reduces maps: every cell sees a triangle twice as wide as itself. */
function average(labels, label, width, height, [columns, rows], share) {
  const [across, down] = [triangles(width, columns), triangles(height, rows)];
  const narrow = new Float32Array(columns * height);
  for (let row = 0; row < height; row++) {
    across.forEach(({ first, weights }, column) => {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) if (labels[row * width + first + k] === label) sum += weights[k];
      narrow[row * columns + column] = sum;
    });
  }
  down.forEach(({ first, weights }, row) => {
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * narrow[(first + k) * columns + column];
      share[row * columns + column] = sum;
    }
  });
}

function triangles(pixels, cells) {
  const scale = pixels / cells; // at least 1, as cells are never smaller than pixels
  return Array.from({ length: cells }, (_, cell) => {
    const centre = (cell + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - scale + 0.5));
    const last = Math.min(pixels, Math.floor(centre + scale + 0.5));
    const heights = Array.from({ length: last - first }, (_, k) => Math.max(0, 1 - Math.abs(first + k - centre + 0.5) / scale));
    const sum = heights.reduce((a, b) => a + b);
    return { first, weights: heights.map((one) => one / sum) };
  });
}
