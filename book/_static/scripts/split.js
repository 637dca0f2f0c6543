// How a query is split into words: as `Search` of book/pages.py splits a page.
function splitQuery(query) {
  const named = /\b(table|fig|eq)(?:ure|uation)?\.? ?(\d+)/gi;
  const names = [...query.matchAll(named)].map(([, kind, number]) => `${kind} ${number}`);
  const others = query.replace(named, "").replace(/(?<=\d),(?=\d{3}\b)/g, "");
  const words = others.match(/[\p{L}\p{N}_]+(?:\.\d+)*/gu) || [];
  return [...names, ...words.map((word) => (/^\d+$/.test(word) ? `no${word}` : word))];
}
