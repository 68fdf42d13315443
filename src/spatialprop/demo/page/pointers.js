/** Mouse, pen, fingers and keys on the picture, turned into what the page does. */

/**
 * @param {import("./stage.js").Stage} stage
 * @param {object} page what the gestures do: `tool`, `brush`, `start`, `move`, `end`, `cancel`, `point`, `key`
 */
export function listen(stage, page) {
  const { canvas } = stage;
  const fingers = new Map(); // pointers that are down, and where
  let gesture = null; // "stroke", "point", "pan" or "pinch"
  let spread = null; // of two fingers, and their middle

  const at = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const painting = () => page.tool === "paint" || page.tool === "erase";
  const pointing = () => page.tool === "explain" || page.tool === "pick";
  const showBrush = (point) => {
    stage.cursor = painting() && stage.photo ? { ...point, diameter: page.brush } : null;
    stage.draw();
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (!stage.photo) return;
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    if (fingers.size === 2) {
      if (gesture === "stroke") page.cancel();
      [gesture, spread] = ["pinch", spreadOf(fingers)];
    } else if (fingers.size === 1) {
      const point = stage.toImage(fingers.get(event.pointerId).x, fingers.get(event.pointerId).y);
      gesture = event.button === 1 || page.tool === "move" ? "pan" : pointing() ? "point" : "stroke";
      if (event.button === 2) gesture = null;
      if (gesture === "stroke") page.start(point);
      if (gesture === "point") page.point(point);
      if (gesture === "pan") canvas.style.cursor = "grabbing";
    }
  });

  canvas.addEventListener("pointermove", (event) => {
    const [now, then] = [at(event), fingers.get(event.pointerId)];
    const point = stage.toImage(now.x, now.y);
    if (then) fingers.set(event.pointerId, now);
    if (gesture === "pan" && then) stage.pan(now.x - then.x, now.y - then.y);
    if (gesture === "point" && then) page.point(point);
    if (gesture === "stroke" && then) {
      const between = event.getCoalescedEvents?.() ?? [];
      for (const one of between.length ? between : [event]) {
        const place = at(one);
        page.move(stage.toImage(place.x, place.y));
      }
    }
    if (gesture === "pinch" && fingers.size === 2) {
      const next = spreadOf(fingers);
      stage.pan(next.x - spread.x, next.y - spread.y);
      stage.zoomBy(next.distance / spread.distance, next.x, next.y);
      spread = next;
    }
    if (event.pointerType !== "touch") showBrush(point);
  });

  const finish = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    if (gesture === "stroke") event.type === "pointercancel" ? page.cancel() : page.end();
    if (fingers.size === 0) gesture = null;
    else if (gesture === "pinch") gesture = "pinched"; // the finger that is left does nothing
    canvas.style.cursor = "";
  };
  canvas.addEventListener("pointerup", finish);
  canvas.addEventListener("pointercancel", finish);
  canvas.addEventListener("pointerleave", () => !gesture && (stage.cursor = null, stage.draw()));
  canvas.addEventListener("auxclick", (event) => event.preventDefault());

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = at(event);
    stage.zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), x, y);
  }, { passive: false });

  listenToKeys(stage, page, painting, pointing);
}

function spreadOf(fingers) {
  const [a, b] = [...fingers.values()];
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The keyboard alone: arrows move a cursor, the space bar lowers and lifts the brush. */
function listenToKeys(stage, page, painting, pointing) {
  const { canvas } = stage;
  let place = null;
  let down = false;

  const show = () => {
    stage.cursor = { ...place, diameter: painting() ? page.brush : 0 };
    stage.reveal(place);
    stage.draw();
  };
  const lift = () => {
    if (down) page.end();
    down = false;
  };

  canvas.addEventListener("keydown", (event) => {
    if (!stage.photo || event.ctrlKey || event.metaKey || event.altKey) return;
    const { width, height } = stage.photo;
    place ??= { x: width / 2, y: height / 2 };
    const arrow = ARROWS[event.key];
    if (arrow && page.tool === "move") stage.pan(-40 * arrow[0], -40 * arrow[1]);
    else if (arrow) {
      const step = (painting() ? Math.max(1, page.brush / 4) : 4 / Math.min(1, stage.zoom)) * (event.shiftKey ? 5 : 1);
      place = {
        x: Math.min(width - 0.5, Math.max(0.5, place.x + arrow[0] * step)),
        y: Math.min(height - 0.5, Math.max(0.5, place.y + arrow[1] * step)),
      };
      if (down) page.move(place);
      show();
    } else if (event.key === " " || event.key === "Enter") {
      if (pointing()) page.point(place);
      else if (painting() && down) lift();
      else if (painting() && !event.repeat) {
        page.start(place);
        down = true;
      }
      show();
    } else if (event.key === "Escape") lift();
    else if (!page.key(event.key)) return;
    else if (painting()) show();
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => {
    lift();
    stage.cursor = null;
    stage.draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    if (stage.photo) place = stage.toImage(event.clientX - left, event.clientY - top);
  });
}

/** The boundary between before and after: dragged, or moved by keys. */
export function listenToDivider(stage, divider, moved) {
  const move = (split) => {
    stage.split = Math.min(1, Math.max(0, split));
    moved();
  };
  divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const { left, width } = stage.canvas.getBoundingClientRect();
    move((event.clientX - left) / width);
  });
  divider.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.1 : 0.02;
    const to = { ArrowLeft: stage.split - step, ArrowDown: stage.split - step, ArrowRight: stage.split + step, ArrowUp: stage.split + step, Home: 0, End: 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
  });
}
