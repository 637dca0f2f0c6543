// Of pictures in a list, the one that a reader chooses by what it tells of itself; without this script the list unfolds.
"use strict";
const explore = (place) => {
  const make = (kind, properties) => Object.assign(document.createElement(kind), properties);
  const figures = [...place.querySelectorAll("figure")], told = figures.map((figure) => JSON.parse(figure.dataset.told));
  const chosen = { ...told[0] }, names = Object.keys(chosen), last = names.at(-1);
  const view = make("figure", { className: figures[0].className }), bar = make("div", { className: "ganseg-choices" });
  const inputs = names.map((name) => {
    const slider = { type: "range", min: 0, step: 1 };
    const input = name === last ? make("input", slider) : make("select", {});
    input.oninput = () => {
      chosen[name] = input.values[input.selectedIndex ?? input.value];
      show();
    };
    const label = make("label", { textContent: `${name} ` });
    label.append(input);
    bar.append(label);
    return input;
  });
  const show = () => {
    let left = told;
    inputs.forEach((input, i) => {
      const name = names[i], values = [...new Set(left.map((one) => one[name]))].sort((a, b) => a - b || 0);
      if (!values.includes(chosen[name])) chosen[name] = name === last ? values.at(-1) : values[0];
      const place = values.indexOf(chosen[name]);
      Object.assign(input, { values, disabled: values.length < 2 });
      if (name === last) Object.assign(input, { max: values.length - 1, value: place, ariaValueText: chosen[name] });
      else input.replaceChildren(...values.map((value) => make("option", { textContent: value })));
      if (name !== last) input.selectedIndex = place;
      left = left.filter((one) => one[name] === chosen[name]);
    });
    const [image, caption] = figures[told.indexOf(left[0])].cloneNode(true).children;
    caption.setAttribute("aria-live", "polite");
    view.replaceChildren(image, caption);
  };
  place.prepend(bar, view);
  show();
};
addEventListener("DOMContentLoaded", () => document.querySelectorAll(".ganseg-explorer").forEach(explore));
