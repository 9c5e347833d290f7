// The list, a piece at a time.
import { json } from "./ask.js";
import { addressOf, keepFilter } from "./filter.js";
import { $, list, made, shown } from "./state.js";
import { drawPlace } from "./told.js";
import { show } from "./view.js";

const COUNT = 50;

export async function fill(query) {
  const number = list.asked += 1;
  const filter = { kind: $("kind").value, verdict: $("verdict").value, text: $("text").value.trim() };
  keepFilter(filter);
  $("solid").href = addressOf("solid.html");
  let found;
  try {
    found = await json(`rows?${new URLSearchParams({ count: COUNT, ...filter, ...query })}`);
  } catch (error) {
    if (number === list.asked) $("matched").textContent = `The list cannot be read: ${error.message}`;
    return false;
  }
  // An answer that came after a later question is of no use.
  if (number !== list.asked) return false;
  Object.assign(list, found);
  drawList();
  return true;
}

function drawList() {
  const last = list.start + list.rows.length;
  const range = list.rows.length ? `${list.start + 1}\u2013${last} of ` : "";
  $("matched").textContent = list.matched ? `${range}${list.matched.toLocaleString("en")} ${list.matched === 1 ? "volume" : "volumes"}` : "No volume matches; change the filter.";
  $("earlier").disabled = list.start === 0;
  $("later").disabled = last >= list.matched;
  $("rows").replaceChildren(...list.rows.map(listed));
  mark();
  drawPlace();
}

function listed(row) {
  const button = made("button", "", { type: "button", "data-index": row.index });
  const more = made("span", "", { class: "more" });
  if (row.verdict) more.append(made("span", row.verdict, { class: "verdict" }));
  more.append(`${row.kind}, ${row.more}`);
  button.append(made("span", row.title, { class: "of" }), more);
  button.addEventListener("click", () => show(row.index));
  const item = made("li");
  item.append(button);
  return item;
}

export function place() {
  return list.rows.findIndex((row) => row.index === shown.index);
}

// One stop of the keyboard for the list: what is shown, or its first row.
export function mark() {
  const current = place();
  [...$("rows").querySelectorAll("button")].forEach((button, i) => {
    if (i === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    button.tabIndex = i === Math.max(0, current) ? 0 : -1;
    if (i !== current) return;
    // Within the list alone: the page stays where it is.
    const top = button.offsetTop - $("rows").offsetTop, bottom = top + button.offsetHeight;
    const { scrollTop, clientHeight } = $("rows");
    if (top < scrollTop || bottom > scrollTop + clientHeight) $("rows").scrollTop = top - clientHeight / 3;
  });
  const at = list.start + current;
  $("previous").disabled = list.matched === 0 || (current >= 0 && at === 0);
  $("next").disabled = list.matched === 0 || (current >= 0 && at === list.matched - 1);
}

export async function step(by) {
  const current = place();
  // What is shown may have left the list by a filter: then its ends are next.
  const wanted = current < 0 ? (by > 0 ? 0 : list.rows.length - 1) : current + by;
  const at = list.start + wanted;
  if (at < 0 || at >= list.matched) return;
  if (wanted < 0 || wanted >= list.rows.length) {
    if (!await fill({ start: Math.floor(at / COUNT) * COUNT })) return;
  }
  const row = list.rows[at - list.start];
  if (row) await show(row.index);
}

export async function refill() {
  await fill({ start: 0 });
}

// To the next piece, or the one before.
export async function turn(by) {
  await fill({ start: Math.max(0, list.start + by * COUNT) });
}
