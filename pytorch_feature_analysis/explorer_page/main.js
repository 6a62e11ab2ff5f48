// What is shown, pointed at and chosen; every change goes through `show` and `mark`.

const state = { row: 0, step: 0, chosen: [], pointed: null };
const CLICK_PIXELS = 5;
let current = null;
let coloured = colouring("", []);

function show(row) {
  state.row = row;
  state.pointed = null;
  hideTip();
  current = rowData(row);
  const { n, measure, points, stress, why } = current;
  byId("summary").textContent = [
    DATA.rows.length > 1 ? `${DATA.rows.length} RDMs` : "", `${n} entries`, measure].filter(Boolean).join(" · ");
  byId("rdm").setAttribute("aria-label", `RDM of ${n} entries`);
  byId("map").setAttribute("aria-label", `Map of ${n} entries`);
  drawRdm(current);
  drawMap(current, coloured);
  byId("stress").textContent = points === null ? "" : `stress-1 ${stress < 1e-3 ? "below 0.001" : stress.toPrecision(2)}`;
  const unplaced = points === null ? [] : current.entries.filter((_, i) => !Number.isFinite(points[2 * i]));
  byId("map-note").textContent = points === null ? `No map. ${why}` : unplaced.length
    ? `No point for ${listed(unplaced.map(labelOf))}: no finite dissimilarity.` : "";
  const missing = current.cells.reduce((count, value) => count + !Number.isFinite(value), 0);
  byId("rdm-note").textContent = missing ? `Grey: no value (${missing} of ${n * n} cells).` : "";
  showPlace(state);
  mark();
}

const listed = (names) => names.slice(0, 4).join(", ") + (names.length > 4 ? ` and ${names.length - 4} more` : "");

// `pointed` is null, or places [i, j] of a cell, or [i] of an entry.
function mark() {
  const places = state.chosen.map((entry) => current.place.get(entry)).filter((i) => i !== undefined);
  let pair = state.pointed;
  if (pair && pair.length === 1 && places.length && places[0] !== pair[0]) pair = [places[0], pair[0]];
  markRdm(current, pair && state.pointed.length === 1 ? [...new Set([...places, pair.at(-1)])] : places, pair?.length === 2 ? pair : null);
  markMap(state.chosen, (pair ?? []).map((i) => current.entries[i]));
  const shown = pair ?? (places.length === 2 ? places : null);
  byId("pair").replaceChildren(...(!shown ? [] : shown.length === 2
    ? drawPair(current, ...shown)
    : [element("div", { class: "tiles" }, tile(current, shown[0]))]));
  const lead = `${state.row} ${state.chosen.join()}`;
  if (lead !== mark.lead) {
    mark.lead = lead;
    byId("chosen").replaceChildren(...(state.chosen.length ? drawChosen(current, state.chosen, (entry) => choose([entry]), () => choose([])) : []));
  }
  document.body.classList.toggle("empty", !shown && !state.chosen.length);
}

function choose(entries) {
  state.chosen = entries;
  mark();
  placeShapes(true);
  if (!entries.length) return say("Nothing is chosen.");
  const i = current.place.get(entries[0]);
  const [nearest] = i === undefined ? [] : neighbours(current, i);
  say(`${listed(entries.map(labelOf))} chosen.${nearest ? ` Nearest to ${labelOf(entries[0])}: ${labelOf(current.entries[nearest.j])}, ${inNumbers(nearest.value)}.` : ""}`);
}

function point(places, event) {
  const same = String(places) === String(state.pointed);
  state.pointed = places;
  if (!same) mark();
  if (!places || event.pointerType === "touch") return hideTip();
  const names = places.map((i) => labelOf(current.entries[i]));
  const value = places.length === 2 ? [inNumbers(current.cells[places[0] * current.n + places[1]])] : [];
  showTip(event, [names.join(" and "), ...value]);
}

function listen(panel, found) {
  let down = null;
  panel.addEventListener("pointerdown", (event) => { down = [event.clientX, event.clientY]; }, true);
  panel.addEventListener("pointermove", (event) => { if (!event.buttons) point(found(event), event); }, true);
  panel.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") point(null, event); });
  panel.addEventListener("click", (event) => {
    if (down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) > CLICK_PIXELS) return;
    const places = found(event);
    const entries = [...new Set(places ?? [])].map((i) => current.entries[i]);
    const more = event.shiftKey || event.ctrlKey || event.metaKey;
    point(event.detail && event.pointerType === "touch" ? null : places, event);
    choose(more ? toggled(state.chosen, entries) : entries);
  }, true);
}

function toggled(chosen, entries) {
  const gone = entries.filter((entry) => chosen.includes(entry));
  return gone.length === entries.length
    ? chosen.filter((entry) => !gone.includes(entry))
    : [...new Set([...chosen, ...entries])];
}

const plainText = (text) => text.normalize("NFKC").toLowerCase();

function search() {
  const wanted = plainText(byId("search").value.trim());
  const found = wanted ? [...DATA.entries.keys()].filter((entry) => plainText(labelOf(entry)).includes(wanted)) : [];
  byId("found").textContent = wanted ? `${found.length} of ${DATA.entries.length}` : "";
  // Entries of this row first, for the panel tells of the first.
  choose(found.sort((a, b) => current.place.has(b) - current.place.has(a)));
}

function onKey(event) {
  if (event.key === "Escape") {
    byId("search").value = byId("found").textContent = "";
    state.pointed = null;
    hideTip();
    return choose([]);
  }
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("input, select, textarea")) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  const moves = { ArrowUp: -1, ArrowDown: 1 };
  if (event.key in steps) stepBy(state, show, steps[event.key]);
  else if (event.key in moves) {
    const i = current.place.get(state.chosen[0]);
    const next = i === undefined ? 0 : (i + moves[event.key] + current.n) % current.n;
    state.pointed = null;
    hideTip();
    choose([current.entries[next]]);
  } else return;
  event.preventDefault();
}

function buildColours() {
  const by = colourings();
  const select = byId("colour");
  select.append(element("option", { value: "", text: "none" }), ...[...by.keys()].map((text) => element("option", { value: text, text })));
  byId("colour-field").hidden = by.size === 0;
  const change = () => {
    const values = by.get(select.value) ?? [];
    coloured = colouring(select.value, values);
    byId("legend").replaceChildren(...values.map((text, k) => {
      const dot = element("i");
      dot.style.background = COLOURS[k];
      return element("span", {}, dot, element("span", { text }));
    }));
  };
  select.addEventListener("change", () => { change(); drawMap(current, coloured); mark(); });
  if (by.size && DATA.pictures.length === 0) select.value = [...by.keys()][0];
  change();
}

function buildTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (isDark) => { document.documentElement.dataset.theme = isDark ? "dark" : "light"; };
  set(dark.matches);
  dark.addEventListener("change", () => set(dark.matches));
  byId("theme").addEventListener("click", () => set(document.documentElement.dataset.theme !== "dark"));
}

async function open() {
  buildTheme();
  buildColours();
  buildChoices(state, show);
  byId("shared-field").hidden = DATA.rows.length < 2;
  byId("shared").addEventListener("change", () => drawRdm(current));
  await openRdm();
  await openMap();
  if (matchMedia("(pointer: coarse)").matches) {
    // One finger scrolls the page; two zoom.
    for (const { plot } of [rdm, map]) for (const tool of plot.toolbar.tools) if (tool.type === "PanTool") tool.active = false;
  }
  listen(byId("rdm-plot"), (event) => cellAt(current, event));
  listen(byId("map-plot"), (event) => {
    const entry = entryAt(event);
    return entry === null ? null : [current.place.get(entry)];
  });
  byId("rdm-plot").addEventListener("dblclick", () => showAllCells(current.n));
  byId("map-plot").addEventListener("dblclick", () => setRanges(map.plot, map.view, map.view));
  byId("search").addEventListener("input", search);
  document.addEventListener("keydown", onKey);
  new ResizeObserver(() => { placeNames(); makeShapes(current); markMap(map.chosen ?? [], map.pointed ?? []); placeShapes(true); }).observe(byId("map-plot"));
  show(0);
  document.documentElement.dataset.ready = "yes";
}

open();
