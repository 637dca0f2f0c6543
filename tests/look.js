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

  // Texts that stand out too little from what is behind them: as axe computes it, but of every word of code as well, and
  // without its search for what covers what, which takes most of its time.
  faint() {
    const { Color, flattenColors, getContrast } = axe.commons.color;
    const parse = (text) => {
      const color = new Color();
      color.parseString(text);
      return color;
    };
    const grounds = new Map([[null, new Color(255, 255, 255, 1)]]);
    const ground = (e) => {
      if (!grounds.has(e)) {
        const own = parse(getComputedStyle(e).backgroundColor);
        grounds.set(e, flattenColors(own, ground(e.parentElement)));
      }
      return grounds.get(e);
    };
    const written = (e) => [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    const seen = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !e.closest(":disabled");
    return [...document.body.querySelectorAll("*")].filter((e) => written(e) && seen(e)).flatMap((e) => {
      const { color, fontSize, fontWeight } = getComputedStyle(e);
      const large = parseFloat(fontSize) >= (fontWeight >= 700 ? 18.66 : 24);
      const ratio = getContrast(ground(e), flattenColors(parse(color), ground(e)));
      return ratio < (large ? 3 : 4.5) ? [`${ratio.toFixed(2)} ${e.textContent.slice(0, 40)}`] : [];
    });
  },

  // Serious faults that axe finds, contrast apart, by the rules that can find any. What a page repeats a thousand times
  // is looked at once: the words of code in chapter 05, and of each module's names the first.
  async faults() {
    const exclude = location.href.includes("05_") ? [] : [[".highlight pre"], ["dl.py ~ dl.py"]];
    const { rules, data } = axe._audit;
    const grave = (check) => ["serious", "critical"].includes(data.checks[check.id || check].impact);
    const mild = rules.filter((rule) => ![...rule.any, ...rule.all, ...rule.none].some(grave)).map(({ id }) => id);
    const off = ["color-contrast", ...mild].map((id) => [id, { enabled: false }]);
    const options = { resultTypes: ["violations"], rules: Object.fromEntries(off) };
    const { violations } = await axe.run({ exclude }, options);
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    return serious.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id} ${target}`));
  },

  // Put on a theme, at once.
  wear(theme) {
    document.documentElement.dataset.theme = document.documentElement.dataset.mode = theme;
    document.getAnimations().forEach((transition) => transition.finish());
  },
};
