// How a query is split into words: as `Search` of book/pages.py splits a page.
function splitQuery(query) {
  const named = /\b(table|fig|eq)(?:ure|uation)?\.? ?(\d+)/gi;
  const names = [...query.matchAll(named)].map(([, kind, number]) => `${kind} ${number}`);
  return [...names, ...(query.replace(named, "").match(/[\p{L}\p{N}_]+(?:\.\d+)*/gu) || [])];
}
