// A figure opens enlarged over its page; without this script, its link opens the picture alone.
"use strict";
(() => {
  const make = (kind, properties) => Object.assign(document.createElement(kind), properties);
  const picture = make("img", {}), dialog = make("dialog", { className: "ganseg-dialog" });
  dialog.append(make("button", { textContent: "Close", type: "button" }), picture);
  dialog.onclick = () => dialog.close();
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".ganseg-enlarge");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    Object.assign(picture, { src: link.href, alt: link.firstElementChild.alt });
    document.body.append(dialog);
    dialog.showModal();
  });
})();
