// What tests ask of a page in a browser.
"use strict";
globalThis.look = {
  // Addresses of what the page has loaded, but for fonts.
  loaded() {
    const shown = [...document.images].filter((image) => image.complete && image.naturalWidth);
    const links = document.querySelectorAll("link:is([rel=stylesheet], [rel=preload], [rel=icon])");
    return [location.href, ...[...shown, ...document.scripts].map((e) => e.src), ...[...links].map((e) => e.href)];
  },

  // What reaches beyond the right edge of the text, or out of its own box.
  cut() {
    const article = document.querySelector(".bd-article") || document.body;
    const edge = article.getBoundingClientRect().right + 1;
    const beyond = (e) => e.getBoundingClientRect().right > edge || (e.clientWidth && e.scrollWidth > e.clientWidth + 1);
    const seen = [...article.querySelectorAll("td, th, pre, math")].filter((e) => e.checkVisibility());
    return seen.filter(beyond).map((e) => e.textContent.slice(0, 60));
  },

  // Serious faults that axe finds in `theme`. What a page repeats a thousand times is looked at once: the words of code
  // in chapter 05, and of each module's names the first.
  async faults(theme) {
    document.documentElement.dataset.theme = document.documentElement.dataset.mode = theme;
    const exclude = location.href.includes("05_") ? [] : [[".highlight pre"], ["dl.py ~ dl.py"]];
    const options = theme === "light" ? {} : { runOnly: ["color-contrast"] };
    const { violations } = await axe.run({ exclude }, { resultTypes: ["violations"], ...options });
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    return serious.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${theme} ${id} ${target}`));
  },
};
