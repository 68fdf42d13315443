/** The page: a photograph, what is painted over it, and what an engine makes of both. What that is, modes say. */

import { $, on } from "./dom.js";
import * as engine from "./engine.js";
import { ColourMode } from "./modes/colour.js";
import { MatteMode } from "./modes/matte.js";
import { RefineMode } from "./modes/refine.js";
import { FileError, readPicture, sameShape } from "./pictures.js";
import { listen, listenToDivider } from "./pointers.js";
import { Stage } from "./stage.js";

const stage = new Stage($("view"));
const tools = [...document.getElementsByName("tool")];
const TOOLS = { b: "paint", e: "erase", m: "move", x: "explain", i: "pick" };
const SLOW = 5000; // milliseconds that nobody waits for after every stroke
const HINTS = {
  explain: "Point at a pixel to see where its label comes from",
  pick: "Point at a colour to paint with it",
};

let facts = { mostPixels: 1 << 24, affinity: true, judges: false, rough: { default: 12, most: 64 }, modes: ["refine"] };
let picture = null;
let lastPoint = null;

/** What modes ask of the page. */
const shell = {
  engine,
  stage,
  get facts() {
    return facts;
  },
  get picture() {
    return picture;
  },
  get tool() {
    return tools.find((one) => one.checked).value;
  },
  get live() {
    return $("live").checked;
  },
  /** The labels that Refine has, null if there are none. */
  mask: () => (modes.refine.painting?.isEmpty === false ? (modes.refine.result ?? modes.refine.painting.labels) : null),
  redraw: () => stage.draw(),
  readyToPaint: () => shell.tool === "paint" || shell.tool === "move" || choseTool("paint"),
  attempt,
  changed,
  compute: computeSoon,
  say,
  warn,
};

/**
 * A mode has `words` for the page, an `example`, a `painting` with layers `before` and `after`, and makes a `result`:
 * `open` a photograph, `enter` it again, whether a file `fits`, `openFile`, the `ink` of the brush, `choose` by number,
 * `draw` all or an area, `trace` outlines, what a tool does at a `point`, what is `missing` before it can `compute`,
 * `accept` what was computed, `save`.
 */
const modes = { refine: new RefineMode(shell), matte: new MatteMode(shell), colour: new ColourMode(shell) };
let mode = modes.refine;

const page = {
  get tool() {
    return shell.tool;
  },
  get brush() {
    return Number($("size").value);
  },
  start(point) {
    mode.painting.begin();
    stage.splitting = false;
    placeDivider();
    $("hint").hidden = true;
    lastPoint = point;
    page.move(point);
  },
  move(point) {
    const area = mode.painting.line(lastPoint, point, page.brush, page.tool === "erase" ? 0 : mode.ink);
    lastPoint = point;
    if (area) mode.draw(area);
    stage.draw();
  },
  end() {
    if (mode.painting.end()) changed();
    else compare();
  },
  cancel() {
    const area = mode.painting.cancel();
    if (area) mode.draw(area);
    compare();
  },
  point: (point) => mode.point?.(point),
  key(key) {
    const tool = TOOLS[key.toLowerCase()];
    if (tool) isOffered(tool) && choseTool(tool);
    else if (Number(key) >= 1) return mode.choose(Number(key));
    else if (key === "[" || key === "]") setBrush(page.brush * (key === "]" ? 1.25 : 0.8) + (key === "]" ? 1 : -1));
    else if (key === "+" || key === "=") stage.zoomBy(1.25);
    else if (key === "-") stage.zoomBy(0.8);
    else if (key === "0") stage.fit();
    else if (key.toLowerCase() === "r") computeSoon();
    else return false;
    return true;
  },
};

// What is said to the person

function say(text) {
  $("status").textContent = text;
}

function warn(error) {
  console.error(error);
  const clear = error instanceof Error && (error instanceof FileError || error.constructor === Error);
  $("alert").querySelector("p").textContent = clear ? error.message : `This did not work: ${error.message ?? error}`;
  $("alert").hidden = false;
}

let underWay = "";

function progress(what, share) {
  $("busy").hidden = !what;
  if (share === undefined) $("bar").removeAttribute("value");
  else $("bar").value = share;
  if (what || $("status").textContent === underWay) say(what); // and else something newer was said
  underWay = what;
}

function attempt(action) {
  return async (...given) => {
    $("alert").hidden = true;
    try {
      await action(...given);
    } catch (error) {
      progress("");
      warn(error);
    }
  };
}

// Files

const openFiles = attempt(async (files) => {
  const pictures = [];
  for (const file of files.slice(0, 2)) pictures.push(await readPicture(file, file.name, facts.mostPixels));
  if (pictures.length === 2) {
    const [first, second] = pictures;
    const [photo, more] = mode.fits(second, first) || !mode.fits(first, second) ? [first, second] : [second, first];
    await openPhoto(photo);
    openMore(more);
  } else if (pictures.length && picture && sameShape(pictures[0], picture) && mode.fits(pictures[0], picture)) openMore(pictures[0]);
  else if (pictures.length) await openPhoto(pictures[0]);
});

async function openPhoto(opened) {
  progress("Opening the photograph…");
  const canvas = new OffscreenCanvas(opened.width, opened.height);
  canvas.getContext("2d").putImageData(new ImageData(opened.pixels, opened.width, opened.height), 0, 0);
  picture = { ...opened, canvas };
  const side = Math.max(picture.width, picture.height);
  $("size").max = Math.max(40, Math.round(side / 4));
  for (const one of Object.values(modes)) {
    [one.painting, one.stale, one.said] = [null, false, ""]; // until it is entered
    one.brush = Math.round(side * one.brushShare);
  }
  $("welcome").hidden = true;
  $("zoom").hidden = false;
  for (const id of ["tools", "painted", "computing", "open-more"]) $(id).disabled = false;
  showMode();
  stage.fit();
  choseTool("paint");
  await engine.open(picture);
  progress("");
  say(`${picture.name}, ${picture.width} × ${picture.height} pixels`);
}

/** Open a mask, a trimap or strokes. */
function openMore(opened) {
  mode.openFile(opened);
  $("hint").hidden = true;
  mode.draw();
  changed();
}

const openExample = attempt(async () => {
  const fetched = await Promise.all(["example.jpg", mode.example].map(async (name) => [name, await (await fetch(name)).blob()]));
  const [photo, more] = await Promise.all(fetched.map(([name, blob]) => readPicture(blob, name, facts.mostPixels)));
  await openPhoto(photo);
  openMore(more);
});

// Modes, tools and brush

function enter(name) {
  mode.brush = page.brush;
  mode = modes[name];
  for (const part of document.querySelectorAll("[data-mode]")) part.hidden = part.dataset.mode !== name;
  const { words } = mode;
  $("refine").textContent = words.run;
  $("open-more").lastElementChild.textContent = words.file;
  $("welcome-words").textContent = words.welcome;
  if (!picture) return;
  say(mode.said);
  showMode();
  attempt(() => mode.enter?.())();
  choseTool(isOffered(shell.tool) ? shell.tool : "paint");
}

/** Put the mode's layers on the stage; what it has not computed yet is computed now. */
function showMode() {
  if (!mode.painting) mode.open(picture);
  [stage.photo, stage.before, stage.after] = [mode.photo, mode.before, mode.after];
  stage.shine(null);
  setBrush(mode.brush);
  mode.draw();
  changed(!mode.result);
}

function isOffered(tool) {
  const input = tools.find((one) => one.value === tool);
  return !input.disabled && !input.parentElement.hidden;
}

function setBrush(size) {
  $("size").value = Math.round(size);
  $("size-value").textContent = `${page.brush} px`;
  if (stage.cursor?.diameter) stage.cursor.diameter = page.brush;
  stage.draw();
}

function choseTool(tool) {
  tools.find((one) => one.value === tool).checked = true;
  if (tool !== "explain") stage.shine(null);
  $("legend").hidden = !stage.light;
  const hint = HINTS[tool] ?? (tool === "paint" ? mode.words.paint : "");
  $("hint").textContent = hint;
  $("hint").hidden = !hint || (tool === "paint" && mode.painting?.isEmpty === false);
  $("size-row").style.visibility = tool === "paint" || tool === "erase" ? "" : "hidden";
  $("view").style.cursor = { move: "grab", explain: "crosshair", pick: "crosshair" }[tool] ?? "none";
  stage.cursor = null;
  if (tool === "explain" && !mode.result) computeSoon();
  compare();
}

// What is painted, and what is made of it

/** @param stale whether what was made of it is out of date now */
function changed(stale = true) {
  const { painting } = mode;
  mode.stale ||= stale;
  mode.trace();
  [$("undo").disabled, $("redo").disabled] = [!painting.past.length, !painting.future.length];
  const missing = mode.missing();
  if (missing) [mode.result, mode.said] = [null, ""];
  $("refine").disabled = Boolean(missing);
  $("saving").disabled = !mode.savable;
  for (const button of document.querySelectorAll(".clear")) button.disabled = painting.isEmpty;
  if (missing && !painting.isEmpty) say(missing);
  if (!missing && mode.stale && shell.live) computeSoon();
  else compare();
  if (!missing && mode.stale && !shell.live) say(mode.words.changed);
}

function compare() {
  stage.splitting = Boolean(mode.result) && page.tool !== "explain";
  $("saving").disabled = !mode.painting || !mode.savable;
  placeDivider();
  stage.draw();
}

function placeDivider() {
  const { splitting } = stage;
  for (const id of ["divider", "tag-before", "tag-after"]) $(id).hidden = !splitting;
  $("divider").style.left = `${100 * stage.split}%`;
  $("divider").ariaValueNow = Math.round(100 * stage.split);
  $("divider").ariaValueText = `${Math.round(100 * stage.split)} % before`;
  if (splitting) {
    $("tag-before").style.opacity = stage.split < 0.12 ? 0 : 1;
    $("tag-after").style.opacity = stage.split > 0.88 ? 0 : 1;
  }
}

let running = false;
let again = false;

/** Compute now, or once what is under way has ended. */
async function computeSoon() {
  if (!mode.painting || mode.missing()) return;
  if (running) {
    again = true;
    return;
  }
  [running, again] = [true, false];
  const [asked, by] = [picture, mode];
  by.stale = false;
  const slow = setTimeout(() => progress(by.words.busy), 150);
  try {
    const started = performance.now();
    const found = await by.compute();
    if (picture !== asked) return;
    progress("");
    const took = Math.round(performance.now() - started);
    by.said = by.missing() ? "" : by.accept(found, took);
    if (by.said && took > SLOW && shell.live) by.said += " If that is too slow, untick “After every stroke”.";
    if (by !== mode) return;
    if (by.said) say(by.said);
    if (!mode.painting.stroke) compare();
  } catch (error) {
    progress("");
    warn(error);
  } finally {
    clearTimeout(slow);
    running = false;
    if (again) computeSoon();
  }
}

// Saving

const save = attempt(async (kind) => {
  const { name, suffix, file } = await mode.save(kind);
  const link = document.createElement("a");
  link.download = `${name.replace(/\.[^.]*$/, "")}_${suffix}.png`;
  link.href = URL.createObjectURL(file);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say(`Saved ${link.download}.`);
});

// What the parts of the page do

function undo(redo) {
  const area = redo ? mode.painting?.redo() : mode.painting?.undo();
  if (!area) return;
  mode.draw();
  changed();
}

function clear() {
  if (!mode.painting.replace(new mode.painting.labels.constructor(mode.painting.labels.length))) return;
  mode.draw();
  changed();
}

for (const [button, input] of [["open-photo", "photo-file"], ["choose", "photo-file"], ["open-more", "more-file"]]) {
  on(button, "click", () => $(input).click());
}
for (const [input, open] of [["photo-file", openPhoto], ["more-file", openMore]]) {
  on(input, "change", async ({ target }) => {
    const files = [...target.files];
    target.value = "";
    if (files.length) await attempt(async () => open(await readPicture(files[0], files[0].name, facts.mostPixels)))();
  });
}
on("example", "click", openExample);
on("undo", "click", () => undo(false));
on("redo", "click", () => undo(true));
on("help", "click", () => $("help-box").showModal());
on("size", "input", () => setBrush(page.brush));
on("live", "change", () => shell.live && computeSoon());
on("refine", "click", computeSoon);
on("zoom-in", "click", () => stage.zoomBy(1.4));
on("zoom-out", "click", () => stage.zoomBy(1 / 1.4));
on("zoom-fit", "click", () => stage.fit());
for (const one of document.getElementsByName("mode")) one.addEventListener("change", () => enter(one.value));
for (const tool of tools) tool.addEventListener("change", () => choseTool(tool.value));
for (const button of document.querySelectorAll(".clear")) button.addEventListener("click", clear);
for (const button of document.querySelectorAll("[data-save]")) button.addEventListener("click", () => save(button.dataset.save));
$("alert").querySelector("button").addEventListener("click", () => ($("alert").hidden = true));

window.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.target.matches?.("input[type=text]")) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  undo(key === "y" || event.shiftKey);
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", name === "dragenter" || name === "dragover");
  });
}
window.addEventListener("drop", (event) => {
  const files = [...event.dataTransfer.files];
  if (files.length) openFiles(files);
});
window.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) openFiles(files);
});

stage.onzoom = (zoom) => ($("zoom-fit").textContent = `${Math.round(100 * zoom)} %`);
listen(stage, page);
listenToDivider(stage, $("divider"), () => (placeDivider(), stage.draw()));
$("privacy").textContent = engine.privacy;

await attempt(async () => {
  facts = { ...facts, ...(await engine.start(progress)) };
  $("about").textContent = facts.about;
  tools.find((one) => one.value === "explain").disabled = !facts.affinity;
  for (const part of document.querySelectorAll("[data-offer]")) part.hidden = !facts.modes.includes(part.dataset.offer);
  $("modes").hidden = facts.modes.length === 1;
  modes.refine.begin(facts);
})();
document.documentElement.dataset.ready = "yes"; // for the tests
