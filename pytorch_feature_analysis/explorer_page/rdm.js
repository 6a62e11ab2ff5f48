// The heat map: cells, rows and columns of what is chosen, the cell that is pointed at.

const rdm = { plot: null, model: null, NDArray: null };
const MOST_NAMES = 40;

async function embed(name) {
  await Bokeh.embed.embed_item(DATA.plots[name], `${name}-plot`);
  return Bokeh.documents[Bokeh.documents.length - 1];
}

function setRanges(plot, [x0, x1], [y0, y1]) {
  plot.x_range.setv({ start: x0, end: x1 });
  plot.y_range.setv({ start: y0, end: y1 });
}

// The plot has no axes. It has a border of a pixel, which Bokeh does not clear, out of sight; within
// it, its frame is the element around it.
function toScreen(plot, frame, x, y) {
  const { x_range: xs, y_range: ys } = plot;
  return [
    ((x - xs.start) / (xs.end - xs.start)) * frame.clientWidth,
    ((ys.end - y) / (ys.end - ys.start)) * frame.clientHeight,
  ];
}

function toData(plot, frame, event) {
  const { x_range: xs, y_range: ys } = plot;
  const box = frame.getBoundingClientRect();
  return [
    xs.start + ((event.clientX - box.left) / box.width) * (xs.end - xs.start),
    ys.end - ((event.clientY - box.top) / box.height) * (ys.end - ys.start),
  ];
}

async function openRdm() {
  rdm.model = await embed("rdm");
  rdm.plot = rdm.model.roots()[0];
  rdm.frame = byId("rdm-plot").parentElement;
  rdm.source = rdm.model.get_model_by_name("cells");
  rdm.NDArray = rdm.source.data.image[0].constructor;
  for (const range of [rdm.plot.x_range, rdm.plot.y_range]) {
    range.change.connect(() => requestAnimationFrame(placeNames));
  }
  byId("ramp").style.background = `linear-gradient(90deg, ${DATA.colours.filter((_, k) => k % 15 === 0)})`;
}

function drawRdm(data) {
  const { n } = data;
  const range = byId("shared").checked ? sharedRange() : data.range;
  const [low, high] = range ?? [0, 1];
  rdm.model.get_model_by_name("colours").setv({ low, high: high > low ? high : low + 1 });
  byId("low").textContent = range ? inNumbers(low) : "";
  byId("high").textContent = range ? inNumbers(high) : "";
  rdm.source.data = { image: [new rdm.NDArray(data.cells, [n, n])], x: [0], y: [0], dw: [n], dh: [n] };
  if (rdm.n !== n) showAllCells(n);
  rdm.n = n;
  nameRows(data);
}

function showAllCells(n) {
  setRanges(rdm.plot, [0, n], [n, 0]);
}

function sharedRange() {
  const ranges = DATA.rows.map((row) => row.range).filter((range) => range !== null);
  if (!ranges.length) return null;
  return [Math.min(...ranges.map((r) => r[0])), Math.max(...ranges.map((r) => r[1]))];
}

// Pictures or labels beside the rows of a matrix that has room for them.
function nameRows(data) {
  const names = byId("names");
  const named = data.n <= MOST_NAMES;
  byId("rdm").classList.toggle("named", named);
  byId("rdm").classList.toggle("pictured", named && data.pictures.every((picture) => picture !== null));
  names.replaceChildren(...(named ? data.entries.map((entry, i) => {
    const picture = data.pictures[i];
    const name = picture === null
      ? element("span", { text: labelOf(entry) })
      : element("img", { src: picture, alt: "" });
    name.dataset.place = i;
    return name;
  }) : []));
  placeNames();
}

function placeNames() {
  const height = rdm.frame.clientHeight;
  for (const name of byId("names").children) {
    const i = Number(name.dataset.place);
    const [, top] = toScreen(rdm.plot, rdm.frame, 0, i);
    const [, bottom] = toScreen(rdm.plot, rdm.frame, 0, i + 1);
    const middle = (top + bottom) / 2;
    name.style.top = `${middle}px`;
    name.style.setProperty("--room", `${bottom - top}px`);
    name.hidden = middle < 0 || middle > height;
  }
}

function cellAt(data, event) {
  const [x, y] = toData(rdm.plot, rdm.frame, event).map(Math.floor);
  return x >= 0 && y >= 0 && x < data.n && y < data.n ? [y, x] : null;
}

// Bands over the rows and columns of these entries; neighbours share one, so that the cells are
// seen. A fainter cross leads to the cell that is pointed at.
function markRdm(data, places, cell) {
  const bands = quads();
  for (const [first, last] of runs(places)) {
    bands.add(0, data.n, first, last + 1);
    bands.add(first, last + 1, 0, data.n);
  }
  rdm.model.get_model_by_name("marks").data = bands.data;
  const [cross, box] = [quads(), quads()];
  if (cell) {
    const [i, j] = cell;
    cross.add(0, data.n, i, i + 1);
    cross.add(j, j + 1, 0, data.n);
    box.add(j, j + 1, i, i + 1);
  }
  rdm.model.get_model_by_name("cross").data = cross.data;
  rdm.model.get_model_by_name("cell").data = box.data;
  for (const name of byId("names").children) {
    name.classList.toggle("on", places.includes(Number(name.dataset.place)));
  }
}

function quads() {
  const data = { left: [], right: [], top: [], bottom: [] };
  const add = (left, right, top, bottom) => {
    data.left.push(left); data.right.push(right); data.top.push(top); data.bottom.push(bottom);
  };
  return { data, add };
}

// First and last of each run of neighbouring places.
function runs(places) {
  const found = [];
  for (const i of [...places].sort((a, b) => a - b)) {
    if (found.length && found.at(-1)[1] === i - 1) found.at(-1)[1] = i;
    else found.push([i, i]);
  }
  return found;
}

