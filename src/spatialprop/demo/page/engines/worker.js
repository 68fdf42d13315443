/** Runs the refiner's archive, so that the page stays quick meanwhile. Knows its inputs and outputs, not the network. */

import { Affinities } from "./affinities.js";
import * as ort from "./ort/ort.wasm.min.mjs";

let session = null;
let image = null;
let units = 0;
let guidance = null; // of what was refined last
let affinities = null; // made from it once they are asked for

const answers = {
  async start({ weights, runtime, module, ...facts }) {
    units = facts.units;
    let loaded = 0;
    const [archive, wasm] = await Promise.all(
      [weights, runtime].map((path) => read(path, (bytes) => postMessage({ loaded: (loaded += bytes) }))),
    );
    ort.env.logLevel = "error";
    ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.wasmPaths = { mjs: new URL(module, self.location.href).href };
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency ?? 1) : 1;
    session = await ort.InferenceSession.create(archive, { executionProviders: ["wasm"] });
  },

  async open({ width, height, pixels }) {
    const planes = new Float32Array(3 * width * height);
    for (let index = 0, at = 0; index < width * height; index++, at += 4) {
      for (let channel = 0; channel < 3; channel++) planes[channel * width * height + index] = pixels[at + channel] / 255;
    }
    image = new ort.Tensor("float32", planes, [1, 3, height, width]);
  },

  async refine({ shares, classes, width, height }) {
    const coarse = new ort.Tensor("float32", shares, [1, classes, height, width]);
    [guidance, affinities] = [null, null];
    const found = await session.run({ image, coarse });
    guidance = found.guidance;
    return found.probabilities.data;
  },

  async affinity({ row, column }) {
    affinities ??= new Affinities(guidance.data, image.dims[2], image.dims[3], units);
    return affinities.of(row, column);
  },
};

async function read(path, received) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path} cannot be loaded: the site answered ${answer.status}`);
  const parts = [];
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    received(value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

self.onmessage = async ({ data: { number, what, given } }) => {
  try {
    const found = await answers[what](given);
    postMessage({ number, found }, found?.buffer ? [found.buffer] : []);
  } catch (error) {
    postMessage({ number, error: `The refiner failed: ${error.message ?? error}. A smaller photograph may need less memory.` });
  }
};
