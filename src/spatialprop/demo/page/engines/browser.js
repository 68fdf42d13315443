/** The engine without a server: the refiner as ONNX, run by onnxruntime-web in a worker of this page. */

import { isFarOff, mostLikely, sharesOf } from "./shares.js";

let worker = null;
let waiting = new Map(); // from a question's number to what its answer settles
let asked = 0;
let picture = null;
let facts = null;

export const privacy = "The refiner runs in this page. Your pictures stay on your machine.";

/** Load the runtime and the weights; see engines/server.js for what an engine has to offer. */
export async function start(onprogress) {
  facts = await (await fetch("engine.json")).json();
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.loaded !== undefined) return onprogress(`Loading the refiner, ${megabytes(data.loaded)} of ${megabytes(facts.bytes)} MB`, data.loaded / facts.bytes);
    const { resolve, reject } = waiting.get(data.number);
    waiting.delete(data.number);
    if (data.error) reject(new Error(data.error));
    else resolve(data.found);
  };
  worker.onerror = (event) => {
    const error = new Error(`The refiner cannot run in this browser: ${event.message ?? "its worker did not start"}.`);
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  await ask("start", facts);
  onprogress("");
  return facts;
}

export async function open(opened) {
  picture = opened;
  await ask("open", { width: opened.width, height: opened.height, pixels: opened.pixels });
}

export async function refine(labels, classes, rough) {
  const opened = picture;
  const believed = rough === 0 || (rough === "auto" && !facts.judges);
  if (believed && !facts.affinity) return labels.slice();
  labels = labels.slice(); // for they are painted on while the worker computes
  const refined = await refineAs(labels, opened, rough === "auto" ? 0 : rough); // which affinities need, labels believed or not
  if (believed) return labels;
  const doubted = rough === "auto" && opened === picture && isFarOff(labels, refined, opened.width, facts.farOff);
  return doubted ? refineAs(labels, opened, facts.doubt) : refined;
}

async function refineAs(labels, { width, height }, rough) {
  const coarse = sharesOf(labels, width, height, rough);
  return mostLikely(await ask("refine", coarse), coarse.present, labels.length);
}

export async function affinity(row, column) {
  return ask("affinity", { row, column });
}

function ask(what, given) {
  return new Promise((resolve, reject) => {
    waiting.set(++asked, { resolve, reject });
    worker.postMessage({ number: asked, what, given });
  });
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
