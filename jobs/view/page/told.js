// What is told of a volume in words.
import { place } from "./list.js";
import { moveTo } from "./stage.js";
import { $, list, made, shown } from "./state.js";

const { placed } = Planes;

export function drawRow() {
  const row = shown.row || { title: `Row ${shown.index}`, verdict: null, facts: [], figures: [], reasons: [], notes: [], nodules: null };
  $("title").textContent = row.title;
  $("badge").textContent = row.verdict || "";
  $("badge").hidden = !row.verdict;
  drawPlace();
  const told = [...row.reasons.map((one) => ["reason", one]), ...row.notes.map((one) => ["note", one]), ...row.facts];
  $("facts").replaceChildren(...told.map(([name, text]) => term(name, text)));
  $("figures").replaceChildren(...row.figures.map(([name, text, meaning]) => term(name, `${text} \u2014 ${meaning}`)));
  $("quality").hidden = !row.figures.length;
  drawNodules(row.nodules);
}

// Also where the list has changed, and what is shown has not.
export function drawPlace() {
  if (shown.index === null || $("shown").hasAttribute("aria-busy")) return;
  const at = list.start + place();
  const where = place() >= 0 ? `${(at + 1).toLocaleString("en")} of ${list.matched.toLocaleString("en")} in the list` : "not in the list";
  $("status").textContent = `Row ${shown.index}, ${where}`;
}

function term(name, text) {
  const pair = made("div");
  pair.append(made("dt", name), made("dd", text));
  return pair;
}

function drawNodules(nodules) {
  const none = { true: "Not measured.", false: "None in the layout." };
  $("no-nodules").textContent = nodules && nodules.length ? "" : none[nodules === null];
  $("nodules").replaceChildren(...(nodules || []).map((nodule) => {
    const item = made("li"), button = made("button", `Nodule ${nodule.label}, ${nodule.size}`, { type: "button" });
    button.disabled = !nodule.center || !(shown.volume || shown.reference);
    button.addEventListener("click", () => moveTo((shown.volume || shown.reference).voxelOf(nodule.center)));
    const told = [nodule.volume, nodule.center && `${placed(nodule.center)} mm`, nodule.read].filter(Boolean).join("; ");
    item.append(button, made("span", told, { class: "quiet" }));
    return item;
  }));
}

export function drawTrouble(problems) {
  $("trouble").replaceChildren(...problems.map((text) => made("p", text)));
  $("trouble").hidden = !problems.length;
}
