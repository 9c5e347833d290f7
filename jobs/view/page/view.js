// Shows a volume, and listens to whoever looks at it.
import { json, volumeOf } from "./ask.js";
import { addressOf, filterOfAddress, keepRow, named, rowOfAddress } from "./filter.js";
import { fill, mark, refill, step, turn } from "./list.js";
import { buildStage, draw, drawSources } from "./stage.js";
import { $, list, look, made, shown } from "./state.js";
import { drawRow, drawTrouble } from "./told.js";

const TYPING_MS = 250;

export async function show(index) {
  const number = shown.asked += 1;
  shown.index = index;
  keepRow(index);
  $("solid").href = addressOf("solid.html");
  mark();
  $("shown").setAttribute("aria-busy", "true");
  $("status").textContent = "Loading\u2026";
  const found = await loaded(index);
  if (number !== shown.asked) return;
  Object.assign(shown, found);
  $("shown").removeAttribute("aria-busy");
  const any = found.volume || found.reference;
  if (any) look.voxel = [...any.first];
  drawRow();
  drawTrouble(found.trouble);
  drawSources();
  draw();
}

async function loaded(index) {
  const found = { row: null, volume: null, reference: null, trouble: [] };
  try {
    found.row = await json(`rows/${index}`);
    found.volume = await volumeOf(index);
  } catch (error) {
    found.trouble.push(`This volume cannot be shown: ${error.message}`);
  }
  if (found.row && found.row.donor !== null) {
    try {
      found.reference = await volumeOf(found.row.donor);
    } catch (error) {
      found.trouble.push(`Its donor cannot be shown: ${error.message}`);
    }
  }
  if (found.volume && found.reference && !found.volume.isOnGridOf(found.reference)) {
    found.trouble.push("Its donor lies on another grid, and is not shown.");
    found.reference = null;
  }
  return found;
}

function choosePreset(preset) {
  look.preset = preset;
  for (const one of document.querySelectorAll("button[data-window]")) one.setAttribute("aria-pressed", String(one.dataset.window === preset));
  draw();
}

function chooseSource(source) {
  if (!(shown.volume && shown.reference)) return;
  look.source = source;
  drawSources();
  draw();
}

function switched(id) {
  $(id).checked = !$(id).checked;
  $(id).dispatchEvent(new Event("change"));
}

const KEYS = {
  n: () => step(1),
  p: () => step(-1),
  1: () => choosePreset("lung"),
  2: () => choosePreset("mediastinum"),
  r: () => chooseSource(look.source === "reference" ? "volume" : "reference"),
  b: () => chooseSource(look.source === "both" ? "volume" : "both"),
  o: () => switched("overlay"),
  c: () => switched("crosshair"),
};

function key(event) {
  const isTyping = event.target.matches("input[type=search], select");
  const act = KEYS[event.key.toLowerCase()];
  if (!act || isTyping || !$("letters").checked || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  act();
}

function listKey(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  step(by).then(() => { $("rows").querySelector("[aria-current]")?.focus({ preventScroll: true }); });
}

function listen() {
  for (const one of document.querySelectorAll("button[data-window]")) one.addEventListener("click", () => choosePreset(one.dataset.window));
  for (const one of document.querySelectorAll("button[data-source]")) one.addEventListener("click", () => chooseSource(one.dataset.source));
  for (const id of ["overlay", "crosshair"]) $(id).addEventListener("change", () => { look[id] = $(id).checked; draw(); });
  $("opacity").addEventListener("input", () => {
    look.opacity = Number($("opacity").value) / 100;
    $("opacity").setAttribute("aria-valuetext", `${$("opacity").value} %`);
    draw();
  });
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("earlier").addEventListener("click", () => turn(-1));
  $("later").addEventListener("click", () => turn(1));
  for (const id of ["kind", "verdict"]) $(id).addEventListener("change", refill);
  let typing;
  $("text").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(refill, TYPING_MS); });
  $("filter").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); refill(); });
  $("rows").addEventListener("keydown", listKey);
  document.addEventListener("keydown", key);
  addEventListener("hashchange", () => { if (rowOfAddress() !== null) show(rowOfAddress()); });
  new ResizeObserver(draw).observe($("stage"));
}

function options(select, counts) {
  const total = Object.values(counts).reduce((sum, one) => sum + one, 0);
  const all = [["", "all", total], ...Object.entries(counts).sort().map(([word, count]) => [word, named(word), count])];
  select.replaceChildren(...all.map(([value, text, count]) => made("option", `${text} (${count.toLocaleString("en")})`, { value })));
}

// The row that the address names. A filter that it names as well stays, whether it has that row or not.
async function begin(index, isFiltered) {
  await fill({ at: index });
  if (!isFiltered && !list.rows.some((row) => row.index === index)) {
    $("kind").value = "";
    await fill({ at: index });
  }
  await show(index);
}

async function start() {
  buildStage();
  listen();
  drawSources();
  const about = await json("about");
  document.title = `${about.name} \u2013 factory view`;
  $("name").textContent = about.name;
  $("place").textContent = about.place;
  $("problems").hidden = !about.problems.length;
  $("problems").querySelector("ul").replaceChildren(...about.problems.map((text) => made("li", text)));
  options($("kind"), about.kinds);
  options($("verdict"), about.verdicts);
  // A lake is looked at for what was drawn; the scans are one choice away.
  const usual = about.kinds.synthetic ? { kind: "synthetic" } : {}, given = filterOfAddress();
  for (const [id, word] of Object.entries({ ...usual, ...given })) $(id).value = word;
  for (const one of document.querySelectorAll("#filter select")) if (one.selectedIndex < 0) one.value = "";
  const row = rowOfAddress();
  if (row !== null && row < about.num_rows) await begin(row, Object.keys(given).length > 0);
  else if (await fill({ start: 0 }) && list.rows.length) await show(list.rows[0].index);
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => drawTrouble([error.message]));
