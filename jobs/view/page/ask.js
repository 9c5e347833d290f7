// Asking the server that the page came from.
const MOST_KEPT_BYTES = 512e6;
const kept = new Map();

async function asked(path) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store" });
  } catch {
    throw new Error("the server does not answer. Run factory view again, and open its new address.");
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let problem = text;
  try { problem = JSON.parse(text).problem; } catch { /* plain text */ }
  throw new Error(problem);
}

export async function json(path) {
  return (await asked(path)).json();
}

// The volumes that were looked at last, for a donor has many children.
export async function volumeOf(index) {
  let found = kept.get(index);
  if (!found) {
    const answer = await asked(`volumes/${index}`);
    found = new Planes.Volume(JSON.parse(answer.headers.get("X-Grid")), await answer.arrayBuffer());
  }
  kept.delete(index);
  kept.set(index, found);
  const total = () => [...kept.values()].reduce((sum, one) => sum + one.numBytes, 0);
  while (kept.size > 2 && total() > MOST_KEPT_BYTES) kept.delete(kept.keys().next().value);
  return found;
}
