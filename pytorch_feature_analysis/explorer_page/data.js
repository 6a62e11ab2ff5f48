// What the page holds: rows, entries and pictures. A matrix is unpacked when it is looked at.

const DATA = JSON.parse(document.getElementById("data").textContent);
const KEPT = 6;
const unpacked = new Map();

function floats(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
  return new Float32Array(bytes.buffer);
}

function squareOf(cells, n) {
  const square = new Float32Array(n * n);
  let k = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) square[i * n + j] = square[j * n + i] = cells[k++];
  }
  return square;
}

// Entries (numbers all over the page), pictures and cells of a row; points about 0 within a
// circle of 1, so that zoom and movement do not hang on the unit of the dissimilarities.
function rowData(number) {
  if (unpacked.has(number)) return unpacked.get(number);
  const row = DATA.rows[number];
  const { entries, pictures } = DATA.sets[row.set];
  const n = entries.length;
  const cells = floats(row.cells);
  let points = null;
  if (row.points !== null) {
    points = floats(row.points);
    const far = points.reduce((most, x) => (Math.abs(x) > most ? Math.abs(x) : most), 0) || 1;
    points = points.map((x) => x / far);
  }
  const data = {
    ...row, n, entries, points,
    pictures: pictures.map((k) => (k < 0 ? null : DATA.pictures[k])),
    lacking: pictures.map((k) => k >= 0 && DATA.pictures[k] === null),
    cells: row.square ? cells : squareOf(cells, n),
    place: new Map(entries.map((entry, i) => [entry, i])),
  };
  unpacked.set(number, data);
  if (unpacked.size > KEPT) unpacked.delete(unpacked.keys().next().value);
  return data;
}

const labelOf = (entry) => DATA.entries[entry].label;

function inNumbers(value) {
  if (!Number.isFinite(value)) return "no value";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(3);
  return value.toFixed(size >= 100 ? 2 : 4);
}

// The other entries of the row, nearest first; those without a value are left out.
function neighbours(data, i) {
  const others = [];
  for (let j = 0; j < data.n; j++) {
    const value = data.cells[i * data.n + j];
    if (j !== i && Number.isFinite(value)) others.push({ j, value });
  }
  return others.sort((a, b) => a.value - b.value);
}

// Elements with text, never markup.
function element(tag, settings = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name === "text") made.textContent = value;
    else if (name === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const byId = (id) => document.getElementById(id);

