/**
 * How much each pixel of the mask adds to what comes out at another one; Opened.affinity does the same in Python.
 *
 * The refined shares are linear in those of the mask: trusted shares scanned in four directions whose mean is taken, once
 * or more, divided by the trust that arrives with them, and mixed by the choice of each pixel. So a row of the Jacobian is
 * one way back through the scans, whatever the classes are.
 */

const [DIRECTIONS, CONNECTIONS, SUBPIXELS, CHOICES] = [4, 3, 4, 5];
const GATES = DIRECTIONS * CONNECTIONS;
const SMALLEST = 1e-8; // of what trust is divided by

export class Affinities {
  /**
   * @param {Float32Array} guidance planes of cells of two by two pixels: raw gates of each set, trust, choice
   * @param {number} height @param {number} width of the picture
   * @param {number} units how often shares are scanned
   */
  constructor(guidance, height, width, units) {
    [this.height, this.width, this.units] = [height, width, units];
    [this.rows, this.columns] = [Math.ceil(height / 2), Math.ceil(width / 2)];
    const cells = this.rows * this.columns;
    const sets = (guidance.length / cells - 1 - SUBPIXELS * CHOICES) / GATES;
    this.gates = Array.from({ length: sets }, (_, set) => stochastic(guidance.subarray(set * GATES * cells, (set + 1) * GATES * cells), cells));
    this.trust = guidance.subarray(sets * GATES * cells, (sets * GATES + 1) * cells);
    this.choice = guidance.subarray((sets * GATES + 1) * cells);
    this.arrived = this.trust;
    for (let unit = 0; unit < units; unit++) this.arrived = this.#scan(this.arrived, unit, forward);
  }

  /** @returns {Float32Array} one value for each pixel */
  of(row, column) {
    const { height, width, rows, columns } = this;
    const cells = rows * columns;
    const [above, left] = [row >> 1, column >> 1];
    const chosen = (place) => this.choice[(((row & 1) * 2 + (column & 1)) * CHOICES + place) * cells + above * columns + left];
    let heard = new Float32Array(cells);
    for (let corner = 0; corner < 4; corner++) {
      const i = clamp(above + (row & 1) - 1 + (corner >> 1), rows);
      const j = clamp(left + (column & 1) - 1 + (corner & 1), columns);
      heard[i * columns + j] += chosen(corner) / Math.max(this.arrived[i * columns + j], SMALLEST);
    }
    for (let unit = this.units - 1; unit >= 0; unit--) heard = this.#scan(heard, unit, backward);
    const found = new Float32Array(height * width);
    for (let i = 0, cell = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++, cell++) {
        const share = (heard[cell] * this.trust[cell]) / SUBPIXELS;
        for (let pixel = 0; pixel < SUBPIXELS; pixel++) {
          found[clamp(2 * i + (pixel >> 1), height) * width + clamp(2 * j + (pixel & 1), width)] += share;
        }
      }
    }
    found[row * width + column] += chosen(CHOICES - 1);
    return found;
  }

  /** The mean of the scans to the right, down, left and up, or their way back. */
  #scan(x, unit, pass) {
    const { rows, columns } = this;
    const cells = rows * columns;
    const gates = this.gates[unit % this.gates.length];
    const total = new Float32Array(cells);
    // Where a scan starts, how far it is to the next line, and along it, and how many lines of what length there are.
    const ways = [
      [0, 1, columns, columns, rows],
      [0, columns, 1, rows, columns],
      [columns - 1, -1, columns, columns, rows],
      [(rows - 1) * columns, -columns, 1, rows, columns],
    ];
    ways.forEach((way, direction) => {
      const own = gates.subarray(direction * CONNECTIONS * cells, (direction + 1) * CONNECTIONS * cells);
      const found = pass(x, own, cells, way);
      for (let cell = 0; cell < cells; cell++) total[cell] += found[cell] / DIRECTIONS;
    });
    return total;
  }
}

/** Sigmoids, divided by their sum over connections where that is above one. */
function stochastic(raw, cells) {
  const gates = new Float32Array(raw.length);
  for (let at = 0; at < raw.length; at++) gates[at] = 1 / (1 + Math.exp(-raw[at]));
  for (let direction = 0; direction < DIRECTIONS; direction++) {
    for (let cell = 0, at = direction * CONNECTIONS * cells; cell < cells; cell++, at++) {
      const sum = gates[at] + gates[at + cells] + gates[at + 2 * cells];
      if (sum > 1) for (let k = 0; k < CONNECTIONS; k++) gates[at + k * cells] /= sum;
    }
  }
  return gates;
}

function forward(x, gates, cells, [start, next, along, lines, length]) {
  const found = Float32Array.from(x);
  for (let line = 1; line < lines; line++) {
    for (let place = 0, at = start + line * next; place < length; place++, at += along) {
      const before = at - next;
      let sum = gates[cells + at] * (found[before] - x[at]);
      if (place > 0) sum += gates[at] * (found[before - along] - x[at]);
      if (place < length - 1) sum += gates[2 * cells + at] * (found[before + along] - x[at]);
      found[at] += sum;
    }
  }
  return found;
}

/** What `forward` gives at some cells, weighted by x, depends on each cell as much as this says. */
function backward(x, gates, cells, [start, next, along, lines, length]) {
  const found = Float32Array.from(x); // of lines that have been passed, what is left to themselves
  for (let line = lines - 1; line > 0; line--) {
    for (let place = 0, at = start + line * next; place < length; place++, at += along) {
      const [before, whole] = [at - next, found[at]];
      if (whole === 0) continue;
      found[at] -= gates[cells + at] * whole;
      found[before] += gates[cells + at] * whole;
      if (place > 0) {
        found[at] -= gates[at] * whole;
        found[before - along] += gates[at] * whole;
      }
      if (place < length - 1) {
        found[at] -= gates[2 * cells + at] * whole;
        found[before + along] += gates[2 * cells + at] * whole;
      }
    }
  }
  return found;
}

const clamp = (place, count) => Math.min(Math.max(place, 0), count - 1);
