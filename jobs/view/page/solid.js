// A volume in three planes and rendered, by NiiVue: the voxels are wrapped as NIfTI here, and stay in the page.
import { json, volumeOf } from "./ask.js";
import { addressOf, filterOfAddress, keepRow, named, rowOfAddress } from "./filter.js";
import { $ } from "./state.js";

const COLOURS = { R: [0, 0, 230], G: [0, 114, 159], B: [0, 178, 0], A: [0, 255, 255], labels: Slices.LABELS };
const LINE_MM = 2;
const HEADER = 352, INT16 = 4, UINT8 = 2;

// As NIfTI-1 has it, sform and all: our order of voxels, x fastest, is its own.
function nifti(volume, values, type) {
  const content = new ArrayBuffer(HEADER + values.byteLength), view = new DataView(content), little = true;
  const [nz, ny, nx] = volume.shape, [dz, dy, dx] = volume.spacing;
  view.setInt32(0, 348, little);
  [3, nx, ny, nz, 1, 1, 1, 1].forEach((size, i) => view.setInt16(40 + 2 * i, size, little));
  view.setInt16(70, type, little);
  view.setInt16(72, 8 * values.BYTES_PER_ELEMENT, little);
  [1, dx, dy, dz, 1, 1, 1, 1].forEach((size, i) => view.setFloat32(76 + 4 * i, size, little));
  view.setFloat32(108, HEADER, little);
  view.setFloat32(112, 1, little);
  view.setUint8(123, 2);
  view.setInt16(254, 1, little);
  volume.affine.slice(0, 12).forEach((value, i) => view.setFloat32(280 + 4 * i, value, little));
  [0x6e, 0x2b, 0x31, 0].forEach((byte, i) => view.setUint8(344 + i, byte));
  new values.constructor(content, HEADER).set(values);
  return content;
}

// Its place in the list as it is filtered; none where the filter has it not.
const NOWHERE = null;
const shown = { asked: 0, start: NOWHERE, wanted: NOWHERE, matched: 0, volume: null };
let viewer, drawing = Promise.resolve();

// The row at a place of the list, { start: PLACE }, or the one that is asked for by its index, { at: INDEX }.
async function placed(query) {
  const found = await json(`rows?${new URLSearchParams({ ...filterOfAddress(), ...query, count: 1 })}`);
  const [row] = found.rows, isThere = row && !("at" in query && row.index !== query.at);
  if (isThere) return { index: row.index, start: found.start, matched: found.matched };
  return { index: query.at ?? null, start: NOWHERE, matched: found.matched };
}

// One after another, for NiiVue has one list of volumes; those that a later one overtook are left out.
function show(query) {
  const number = shown.asked += 1, isLast = () => number === shown.asked;
  delete document.documentElement.dataset.drawn;
  drawing = drawing.then(async () => {
    if (!isLast()) return;
    try {
      const row = await placed(query);
      if (isLast()) await draw(row, isLast);
    } catch (error) {
      shown.wanted = shown.start;
      trouble(error.message);
    }
  });
  return drawing;
}

async function draw({ index, start, matched }, isLast) {
  clear();
  Object.assign(shown, { start, wanted: start, matched });
  $("previous").disabled = !matched || start === 0;
  $("next").disabled = !matched || start === matched - 1;
  if (index === null) {
    trouble("No volume matches the list's filter.");
    return;
  }
  keepRow(index);
  $("back").href = addressOf("./");
  $("status").textContent = "Loading\u2026";
  try {
    const row = await json(`rows/${index}`);
    $("title").textContent = row.title;
    $("badge").textContent = row.verdict || "";
    $("badge").hidden = !row.verdict;
    const volume = await volumeOf(index);
    if (!isLast()) return;
    await load(volume);
    $("status").textContent = where(start, matched);
  } catch (error) {
    trouble(`This volume cannot be shown: ${error.message}`);
  }
  if (isLast()) document.documentElement.dataset.drawn = String(index);
}

function clear() {
  while (viewer.volumes.length) viewer.removeVolume(viewer.volumes[0]);
  shown.volume = null;
  for (const id of ["title", "badge", "status", "readout"]) $(id).textContent = "";
  $("badge").hidden = $("trouble").hidden = true;
}

// A step that is asked for while another one is drawn goes on from that one; from nowhere to an end of the list.
function step(by) {
  const ends = by > 0 ? 0 : shown.matched - 1;
  const start = shown.wanted === NOWHERE ? ends : shown.wanted + by;
  if (start < 0 || start >= shown.matched) return;
  shown.wanted = start;
  show({ start });
}

function where(start, matched) {
  const words = Object.values(filterOfAddress()).filter(Boolean).map(named);
  const list = words.length ? ` by the list's filter: ${words.join(", ")}` : "";
  return start === NOWHERE ? `Not among the ${matched.toLocaleString("en")}${list}` : `${start + 1} of ${matched.toLocaleString("en")}${list}`;
}

async function load(volume) {
  await viewer.loadFromArrayBuffer(nifti(volume, volume.hu, INT16), "ct.nii");
  await viewer.loadFromArrayBuffer(nifti(volume, volume.labels, UINT8), "layout.nii");
  shown.volume = volume;
  viewer.volumes[1].setColormapLabel(COLOURS);
  tint();
  choose(document.querySelector("button[data-window][aria-pressed=true]").dataset.window);
  viewer.scene.crosshairPos = viewer.mm2frac(volume.ras(volume.first));
  viewer.createOnLocationChange();
  viewer.drawScene();
}

function choose(name) {
  for (const one of document.querySelectorAll("button[data-window]")) one.setAttribute("aria-pressed", String(one.dataset.window === name));
  if (!viewer.volumes.length) return;
  const [level, width] = Slices.WINDOWS[name];
  viewer.volumes[0].cal_min = level - width / 2;
  viewer.volumes[0].cal_max = level + width / 2;
  viewer.updateGLVolume();
}

function tint() {
  if (viewer.volumes.length > 1) viewer.setOpacity(1, $("overlay").checked ? Number($("opacity").value) / 100 : 0);
}

function told(location) {
  const at = shown.volume;
  if (!at || !location.values.length) return;
  const ras = [...location.mm].slice(0, 3), hu = location.values[0].value;
  const label = at.at(at.labels, at.voxelOf(ras));
  $("readout").textContent = `${String(Math.round(hu)).replace("-", "\u2212")} HU, ${Slices.LABELS[label] || `label ${label}`} at ${Planes.placed(ras)} mm`;
}

function trouble(text) {
  $("status").textContent = "";
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}

function switched(id) {
  $(id).checked = !$(id).checked;
  $(id).dispatchEvent(new Event("change"));
}

// Those of the planes.
const KEYS = {
  n: () => step(1),
  p: () => step(-1),
  1: () => choose("lung"),
  2: () => choose("mediastinum"),
  o: () => switched("overlay"),
  c: () => switched("crosshair"),
};

function key(event) {
  const act = KEYS[event.key.toLowerCase()];
  if (!act || !$("letters").checked || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  // The canvas has letters of its own, for other things.
  event.stopPropagation();
  act();
}

async function start() {
  $("back").href = addressOf("./");
  if (!globalThis.niivue) throw new Error("NiiVue is not in this installation. Run make niivue in the source folder, and factory view again; the planes need none of it.");
  if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2. The planes need none of it.");
  viewer = globalThis.viewer = new niivue.Niivue({ dragAndDropEnabled: false, loadingText: "", logLevel: "silent", crosshairWidth: LINE_MM, crosshairWidthUnit: "mm", show3Dcrosshair: true, onLocationChange: told });
  await viewer.attachToCanvas($("gl"));
  // As radiologists look at them, and as the planes of the other page are.
  viewer.setRadiologicalConvention(true);
  viewer.opts.sagittalNoseLeft = true;
  viewer.setInterpolation(true);
  viewer.setSliceType(viewer.sliceTypeMultiplanar);
  viewer.setMultiplanarLayout(niivue.MULTIPLANAR_TYPE.GRID);
  viewer.opts.multiplanarShowRender = niivue.SHOW_RENDER.ALWAYS;
  for (const one of document.querySelectorAll("button[data-window]")) one.addEventListener("click", () => choose(one.dataset.window));
  $("overlay").addEventListener("change", tint);
  $("opacity").addEventListener("input", tint);
  $("crosshair").addEventListener("change", () => viewer.setCrosshairWidth($("crosshair").checked ? LINE_MM : 0));
  document.addEventListener("keydown", key, { capture: true });
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  addEventListener("hashchange", () => { if (rowOfAddress() !== null) show({ at: rowOfAddress() }); });
  const index = rowOfAddress();
  await show(index === null ? { start: 0 } : { at: index });
}

start().catch((error) => trouble(error.message)).finally(() => { document.documentElement.dataset.ready = "true"; });
