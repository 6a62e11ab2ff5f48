// The map: points by Bokeh, and over them pictures and labels, which are elements of the page.

const map = { plot: null, model: null, at: new Map(), shapes: new Map(), frameRequest: 0 };
const SLIDE_MS = 450;
const MOST_LABELS = 80;
// Okabe and Ito's colours, told apart by the colour-blind.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#666666"];
const PLAIN = "#4477aa";
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

async function openMap() {
  map.model = await embed("map");
  map.plot = map.model.roots()[0];
  map.frame = byId("map-plot").parentElement;
  map.view = [map.plot.x_range.start, map.plot.x_range.end];
  for (const range of [map.plot.x_range, map.plot.y_range]) {
    range.change.connect(() => requestAnimationFrame(() => placeShapes(true)));
  }
}

function pictureSide(data) {
  const { clientWidth: width, clientHeight: height } = map.frame;
  return Math.max(18, Math.min(64, Math.sqrt((0.3 * width * height) / data.n)));
}

// Points move from where their entries stood in the row before.
function drawMap(data, colours) {
  map.data = data;
  map.colours = colours;
  makeShapes(data);
  const goals = new Map();
  if (data.points !== null) {
    data.entries.forEach((entry, i) => {
      const [x, y] = [data.points[2 * i], data.points[2 * i + 1]];
      if (Number.isFinite(x)) goals.set(entry, [x, y]);
    });
  }
  const starts = new Map([...goals].map(([entry, goal]) => [entry, map.at.get(entry) ?? goal]));
  const moves = map.at.size > 0 && !stillness.matches;
  cancelAnimationFrame(map.frameRequest);
  const begin = performance.now();
  const slide = (now) => {
    const share = moves ? Math.min(1, Math.max(0, now - begin) / SLIDE_MS) : 1;
    const eased = share * share * (3 - 2 * share);
    map.at = new Map([...goals].map(([entry, [x, y]]) => {
      const [x0, y0] = starts.get(entry);
      return [entry, share === 1 ? [x, y] : [x0 + eased * (x - x0), y0 + eased * (y - y0)]];
    }));
    placePoints();
    placeShapes(share === 1);
    if (share < 1) map.frameRequest = requestAnimationFrame(slide);
  };
  slide(begin);
}

function makeShapes(data) {
  const layer = byId("layer");
  map.side = pictureSide(data);
  map.shapes = new Map(data.entries.map((entry, i) => {
    const picture = data.pictures[i];
    const shape = picture === null
      ? element("span", { text: labelOf(entry) })
      : element("img", { src: picture, alt: "" });
    if (picture !== null) {
      shape.style.maxWidth = shape.style.maxHeight = `${map.side}px`;
      if (map.colours.shown) shape.style.borderColor = map.colours.of(entry);
    }
    return [entry, shape];
  }));
  layer.classList.toggle("coloured", map.colours.shown);
  layer.replaceChildren(...map.shapes.values());
}

function placePoints() {
  const drawn = [...map.at];
  map.model.get_model_by_name("points").data = {
    x: drawn.map(([, [x]]) => x),
    y: drawn.map(([, [, y]]) => y),
    colour: drawn.map(([entry]) => map.colours.of(entry)),
    size: drawn.map(([entry]) => (hasPicture(entry) ? 0 : 10)),
  };
  markPoints();
}

const hasPicture = (entry) => map.shapes.get(entry)?.tagName === "IMG";

// Pictures are centred; labels go where there is room once points stand still.
function placeShapes(settled) {
  const taken = [];
  const { clientWidth: width, clientHeight: height } = map.frame;
  const middles = new Map([...map.at].map(([entry, [x, y]]) => [entry, toScreen(map.plot, map.frame, x, y)]));
  if (settled) for (const [x, y] of middles.values()) taken.push([x - 6, y - 6, x + 6, y + 6]);
  const important = (entry) => map.shapes.get(entry).classList.contains("on");
  const order = [...map.shapes.keys()].sort((a, b) => important(b) - important(a));
  let labels = 0;
  for (const entry of order) {
    const shape = map.shapes.get(entry);
    const middle = middles.get(entry);
    shape.hidden = middle === undefined;
    if (middle === undefined) continue;
    const [x, y] = middle;
    if (shape.tagName === "IMG") {
      shape.style.translate = `calc(${x}px - 50%) calc(${y}px - 50%)`;
      continue;
    }
    if (!settled && shape.dataset.dx !== undefined) {
      shape.style.translate = `${x + Number(shape.dataset.dx)}px ${y + Number(shape.dataset.dy)}px`;
      continue;
    }
    const [w, h] = [shape.offsetWidth, shape.offsetHeight];
    const inside = x >= 0 && y >= 0 && x <= width && y <= height;
    const offsets = [[11, -h / 2], [-11 - w, -h / 2], [-w / 2, -h - 8], [-w / 2, 8], [8, -h - 3], [8, 3], [-w - 8, -h - 3], [-w - 8, 3]];
    const free = ([dx, dy]) => {
      const [l, t, r, b] = [x + dx, y + dy, x + dx + w, y + dy + h];
      return l >= 0 && t >= 0 && r <= width && b <= height &&
        taken.every(([l2, t2, r2, b2]) => r <= l2 || l >= r2 || b <= t2 || t >= b2);
    };
    const found = inside && labels < MOST_LABELS ? offsets.find(free) : undefined;
    const [dx, dy] = found ?? offsets[x + w + 11 > width ? 1 : 0];
    shape.classList.toggle("crowded", found === undefined);
    Object.assign(shape.dataset, { dx, dy });
    shape.style.translate = `${x + dx}px ${y + dy}px`;
    if (found !== undefined) {
      labels += 1;
      taken.push([x + dx, y + dy, x + dx + w, y + dy + h]);
    }
  }
}

function entryAt(event) {
  const box = map.frame.getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  let [nearest, least] = [null, Infinity];
  for (const [entry, [x, y]] of map.at) {
    const [sx, sy] = toScreen(map.plot, map.frame, x, y);
    const distance = Math.hypot(sx - px, sy - py);
    const reach = hasPicture(entry) ? Math.max(map.side / 2, 12) : 14;
    if (distance < least && distance <= reach) [nearest, least] = [entry, distance];
  }
  return nearest;
}

function markMap(chosen, pointed) {
  Object.assign(map, { chosen, pointed });
  for (const [entry, shape] of map.shapes) {
    shape.classList.toggle("on", chosen.includes(entry));
    shape.classList.toggle("near", pointed.includes(entry));
  }
  byId("layer").classList.toggle("some", chosen.length > 0 && chosen.some((entry) => map.at.has(entry)));
  markPoints();
}

function markPoints() {
  const marked = [...new Set([...(map.chosen ?? []), ...(map.pointed ?? [])])]
    .filter((entry) => map.at.has(entry) && !hasPicture(entry));
  map.model.get_model_by_name("rings").data = {
    x: marked.map((entry) => map.at.get(entry)[0]),
    y: marked.map((entry) => map.at.get(entry)[1]),
    size: marked.map(() => 16),
  };
  const ends = (map.pointed ?? []).filter((entry) => map.at.has(entry)).map((entry) => map.at.get(entry));
  const [from, to] = ends.length === 2 ? ends : [null, null];
  map.model.get_model_by_name("link").data = from
    ? { x0: [from[0]], y0: [from[1]], x1: [to[0]], y1: [to[1]] }
    : { x0: [], y0: [], x1: [], y1: [] };
}

// Entry variables of few values, for colours; the first serves at once where there are no pictures.
function colourings() {
  const values = new Map();
  for (const { variables } of DATA.entries) {
    for (const [name, value] of Object.entries(variables)) {
      if (!values.has(name)) values.set(name, new Set());
      values.get(name).add(value);
    }
  }
  return new Map([...values]
    .filter(([, found]) => found.size > 1 && found.size <= COLOURS.length && found.size < DATA.entries.length)
    .map(([name, found]) => [name, [...found]]));
}

function colouring(name, values) {
  if (name === "") return { shown: false, of: () => PLAIN };
  const of = (entry) => COLOURS[values.indexOf(DATA.entries[entry].variables[name])] ?? PLAIN;
  return { shown: true, of };
}

