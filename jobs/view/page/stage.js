// Pictures of the volume and its reference, and moving in them.
import { $, look, made, shown } from "./state.js";

const { PLANES, paint, placed } = Planes;
const SOURCES = { volume: "Volume", reference: "Reference" };

const figures = [];

export function buildStage() {
  for (const [source, title] of Object.entries(SOURCES)) {
    const box = made("div", "", { class: "source", id: source }), planes = made("div", "", { class: "planes" });
    box.append(made("h3", title), planes);
    for (const plane of Object.keys(PLANES)) planes.append(figureOf(source, plane));
    $("stage").append(box);
  }
}

function figureOf(source, plane) {
  const figure = made("figure"), id = `${source}-${plane}`;
  const canvas = made("canvas", "", { id, tabindex: "0", role: "img", "aria-label": `${SOURCES[source]}, ${plane}` });
  const label = made("label", "", { class: "slice", for: `${id}-slice` });
  const told = made("span"), slider = made("input", "", { type: "range", id: `${id}-slice`, min: "0", step: "1", autocomplete: "off" });
  label.append(told, slider);
  figure.append(canvas, label);
  const one = { source, plane, canvas, slider, told };
  slider.addEventListener("input", () => moveAlong(PLANES[plane].fixed, Number(slider.value)));
  canvas.addEventListener("pointerdown", (event) => point(one, event));
  canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1 && event.pointerType === "mouse") point(one, event); });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); scroll(one, event); }, { passive: false });
  canvas.addEventListener("keydown", (event) => arrow(one, event));
  figures.push(one);
  return figure;
}

function volumeIn(source) {
  return source === "volume" ? shown.volume : shown.reference;
}

// What was asked for, as far as it is there; the wish stays for the next volume.
function wanted() {
  if (shown.volume && shown.reference) return look.source;
  return shown.reference ? "reference" : "volume";
}

function isShown(name) {
  return Boolean(volumeIn(name)) && [name, "both"].includes(wanted());
}

export function drawSources() {
  for (const button of $("sources").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.source === wanted()));
    button.disabled = button.dataset.source !== wanted() && !(shown.volume && shown.reference);
  }
  for (const name of Object.keys(SOURCES)) $(name).hidden = !isShown(name);
  $("stage").className = isShown("volume") && isShown("reference") ? "both" : "";
}

let isDue = false;

export function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    drawNow();
  });
}

function drawNow() {
  const any = shown.volume || shown.reference;
  if (any) {
    for (const [plane, { across }] of Object.entries(PLANES)) {
      $("stage").style.setProperty(`--${plane}`, `minmax(0, ${any.shape[across] * any.spacing[across]}fr)`);
    }
  }
  for (const one of figures) {
    if (!isShown(one.source)) continue;
    const volume = volumeIn(one.source), { fixed } = PLANES[one.plane];
    paint(one.canvas, volume, one.plane, look);
    const mm = placed(volume.ras(look.voxel)).split(", ")[2 - fixed];
    const text = `${one.plane} ${"zyx"[fixed]} = ${look.voxel[fixed]}, ${mm} mm`;
    one.told.textContent = text;
    one.slider.max = volume.shape[fixed] - 1;
    one.slider.value = look.voxel[fixed];
    one.slider.setAttribute("aria-valuetext", text);
  }
  drawReadout(any);
  document.documentElement.dataset.drawn = shown.index;
}

function drawReadout(any) {
  if (!any) {
    $("readout").textContent = "";
    return;
  }
  const hu = (volume) => `${String(volume.at(volume.hu, look.voxel)).replace("-", "\u2212")} HU`;
  const values = [
    shown.volume && hu(shown.volume),
    shown.reference && `reference ${hu(shown.reference)}`,
  ].filter(Boolean).join(", ");
  const label = any.at(any.labels, look.voxel);
  const [z, y, x] = look.voxel;
  $("readout").textContent = `${values}, ${Slices.LABELS[label] || `label ${label}`} at ${placed(any.ras(look.voxel))} mm (z ${z}, y ${y}, x ${x})`;
}

export function moveTo(voxel) {
  const any = shown.volume || shown.reference;
  if (!any) return;
  look.voxel = any.inside(voxel);
  draw();
}

function moveAlong(axis, place) {
  const voxel = [...look.voxel];
  voxel[axis] = place;
  moveTo(voxel);
}

function point({ source, plane, canvas }, event) {
  const volume = volumeIn(source), { down, across } = PLANES[plane];
  const box = canvas.getBoundingClientRect(), voxel = [...look.voxel];
  voxel[across] = volume.shape[across] - 1 - Math.floor(volume.shape[across] * (event.clientX - box.left) / box.width);
  voxel[down] = volume.shape[down] - 1 - Math.floor(volume.shape[down] * (event.clientY - box.top) / box.height);
  moveTo(voxel);
}

let turned = 0;

// A wheel turns in notches of some hundred, a touchpad in ones.
function scroll({ plane }, event) {
  turned += event.deltaMode ? event.deltaY * 40 : event.deltaY;
  const notches = Math.trunc(turned / 40);
  if (!notches) return;
  turned = 0;
  const { fixed } = PLANES[plane];
  moveAlong(fixed, look.voxel[fixed] - Math.sign(notches));
}

function arrow({ plane }, event) {
  const { fixed, down, across } = PLANES[plane];
  const moves = { ArrowLeft: [across, 1], ArrowRight: [across, -1], ArrowUp: [down, 1], ArrowDown: [down, -1], PageUp: [fixed, 1], PageDown: [fixed, -1] };
  const move = moves[event.key];
  if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  moveAlong(move[0], look.voxel[move[0]] + move[1]);
}
