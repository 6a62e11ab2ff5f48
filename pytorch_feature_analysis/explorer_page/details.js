// The panel of what is pointed at and chosen: large pictures, labels, values, neighbours.

const LISTED = 5;

// A picture with its label; a blank with why there is none, or with the label alone.
function tile(data, i) {
  const label = labelOf(data.entries[i]);
  const picture = data.pictures[i];
  if (picture === null && !data.lacking[i]) return element("figure", { class: "word" }, element("figcaption", { text: label }));
  const shown = picture === null
    ? element("div", { class: "blank", text: "no picture" })
    : element("img", { src: picture, alt: "" });
  return element("figure", {}, shown, element("figcaption", { text: label }));
}

function drawPair(data, i, j) {
  const there = data.cells[i * data.n + j];
  const back = data.cells[j * data.n + i];
  const other = data.square && !Object.is(there, back) && i !== j
    ? element("p", { class: "note", text: `${inNumbers(back)} the other way` }) : null;
  return [
    element("div", { class: "tiles" }, tile(data, i), tile(data, j)),
    element("p", { class: "value" },
      element("b", { text: inNumbers(there) }), element("span", { text: data.measure })),
    ...(other ? [other] : []),
  ];
}

function list(data, title, found, choose) {
  const items = found.map(({ j, value }) => {
    const entry = data.entries[j];
    const picture = data.pictures[j];
    return element("li", {}, element("button", { type: "button", "data-entry": entry, onclick: () => choose(entry) },
      picture === null ? null : element("img", { src: picture, alt: "" }),
      element("span", { text: labelOf(entry) }),
      element("output", { text: inNumbers(value) })));
  });
  return element("div", {}, element("h3", { text: title }), element("ol", {}, ...items));
}

function drawChosen(data, chosen, choose, clear) {
  const lead = chosen[0];
  const i = data.place.get(lead);
  const variables = Object.entries(DATA.entries[lead].variables).filter(([, value]) => value !== labelOf(lead));
  const others = i === undefined ? [] : neighbours(data, i);
  const half = others.length / 2;
  const nearest = others.slice(0, Math.min(LISTED, Math.ceil(half)));
  const furthest = others.reverse().slice(0, Math.min(LISTED, Math.floor(half)));
  const more = chosen.slice(1, 13).map((entry) => element("button",
    { type: "button", class: "chip", text: labelOf(entry), onclick: () => choose(entry) }));
  return [
    element("div", { class: "lead" },
      i === undefined || (data.pictures[i] === null && !data.lacking[i]) ? null : tile(data, i),
      element("div", {},
        element("h2", { text: labelOf(lead) }),
        element("dl", {}, ...variables.flatMap(([name, value]) => [
          element("dt", { text: name }), element("dd", { text: value })])),
        element("button", { type: "button", class: "plain", text: "Clear", onclick: clear }))),
    more.length ? element("div", { class: "chips", "aria-label": "Also chosen" }, ...more) : null,
    chosen.length > 13 ? element("p", { class: "note", text: `and ${chosen.length - 13} more` }) : null,
    i === undefined ? element("p", { class: "note", text: "Not an entry of this row." }) : null,
    i !== undefined && !others.length ? element("p", { class: "note", text: "It has no finite dissimilarity in this row." }) : null,
    others.length ? element("div", { class: "lists" },
      list(data, "Nearest", nearest, choose),
      furthest.length ? list(data, "Furthest", furthest, choose) : null) : null,
  ].filter((part) => part !== null);
}

function showTip(event, lines) {
  const tip = byId("tip");
  tip.replaceChildren(...lines.map((text, k) => element(k ? "b" : "span", { text })));
  tip.classList.add("shown");
  const [w, h] = [tip.offsetWidth, tip.offsetHeight];
  const x = event.clientX + 16 + w > innerWidth ? event.clientX - 12 - w : event.clientX + 16;
  const y = event.clientY + 18 + h > innerHeight ? event.clientY - 12 - h : event.clientY + 18;
  tip.style.translate = `${Math.max(4, x)}px ${Math.max(4, y)}px`;
}

const hideTip = () => byId("tip").classList.remove("shown");

