// Which row is shown: one value of each column, and a slider along one of them.

const fields = [];

function buildChoices(state, show) {
  DATA.columns.forEach(({ name, values }, c) => {
    const select = element("select", {}, ...values.map((text, k) => element("option", { value: k, text })));
    select.addEventListener("change", () => {
      const row = nearestRow(state.row, c, Number(select.value));
      const moved = DATA.columns.filter((_, d) => d !== c && DATA.rows[row].at[d] !== DATA.rows[state.row].at[d]);
      show(row);
      if (moved.length) {
        say(`No row has all of these values; shown is the nearest one, with another ${moved.map((m) => m.name).join(" and ")}.`);
        for (const { name: other } of moved) flash(fields.find((field) => field.name === other).select);
      }
    });
    fields.push({ name, select });
    byId("columns").append(element("label", { class: "field" }, element("span", { text: name }), select));
    byId("step").append(element("option", { value: c, text: name }));
  });
  state.step = DATA.step;
  byId("step").value = DATA.step;
  byId("step").addEventListener("change", () => {
    state.step = Number(byId("step").value);
    showPlace(state);
  });
  byId("slider").addEventListener("input", () => show(line(state)[Number(byId("slider").value)]));
  byId("before").addEventListener("click", () => stepBy(state, show, -1));
  byId("after").addEventListener("click", () => stepBy(state, show, 1));
  byId("choices").hidden = DATA.rows.length < 2;
  byId("step").closest("label").hidden = DATA.columns.length < 2;
}

// Rows that differ from this one in the column of the slider alone, in the order of the stack.
function line(state) {
  const { at } = DATA.rows[state.row];
  return [...DATA.rows.keys()].filter((k) => at.every((value, c) => c === state.step || DATA.rows[k].at[c] === value));
}

function stepBy(state, show, by) {
  const rows = line(state);
  const place = rows.indexOf(state.row) + by;
  if (place >= 0 && place < rows.length) show(rows[place]);
}

// The row with this value that shares most of the others, and then is least far in their order.
function nearestRow(from, column, value) {
  const { at } = DATA.rows[from];
  let [best, most, least] = [from, -1, Infinity];
  DATA.rows.forEach((row, k) => {
    if (row.at[column] !== value) return;
    const shared = row.at.filter((v, c) => c !== column && v === at[c]).length;
    const far = row.at.reduce((sum, v, c) => sum + (c === column ? 0 : Math.abs(v - at[c])), 0);
    if (shared > most || (shared === most && far < least)) [best, most, least] = [k, shared, far];
  });
  return best;
}

function showPlace(state) {
  const { at } = DATA.rows[state.row];
  fields.forEach(({ select }, c) => { select.value = at[c]; });
  const rows = line(state);
  const place = rows.indexOf(state.row);
  const column = DATA.columns[state.step];
  const slider = byId("slider");
  slider.max = rows.length - 1;
  slider.value = place;
  slider.disabled = rows.length < 2;
  byId("before").disabled = place === 0;
  byId("after").disabled = place === rows.length - 1;
  if (!column) return;
  const text = column.values[at[state.step]];
  slider.setAttribute("aria-valuetext", `${column.name} ${text}, ${place + 1} of ${rows.length}`);
  byId("place").replaceChildren(element("b", { text }), element("span", { text: `${place + 1} of ${rows.length}` }));
}

function flash(select) {
  select.classList.add("moved");
  setTimeout(() => select.classList.remove("moved"), 1600);
}

const say = (text) => { byId("status").textContent = text; };

