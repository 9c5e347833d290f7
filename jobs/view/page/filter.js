// What the list is filtered by. The address keeps it, for a reload and for the page in 3D.
const FIELDS = ["kind", "verdict", "text"];
const MOST_TEXT = 200;

// Of a volume that nobody judged the verdict is "none", which reads as if there were no filter.
export function named(word) {
  return word === "none" ? "not judged" : word;
}

export function filterOfAddress() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(FIELDS.filter((name) => given.has(name)).map((name) => [name, given.get(name).slice(0, MOST_TEXT)]));
}

// An empty kind is a choice, of all: without one the page of the planes takes its own.
export function keepFilter(words) {
  const told = new URLSearchParams(FIELDS.filter((name) => words[name] || name === "kind").map((name) => [name, words[name] ?? ""]));
  history.replaceState(null, "", `?${told}${location.hash}`);
}

export function keepRow(index) {
  history.replaceState(null, "", `#row=${index}`);
}

export function rowOfAddress() {
  const found = /^#row=(\d{1,12})$/.exec(location.hash);
  return found ? Number(found[1]) : null;
}

// To the same row under the same filter, on another page.
export function addressOf(page) {
  return `${page}${location.search}${location.hash}`;
}
