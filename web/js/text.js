// Offsets. The server counts characters as Python does, by code point; JavaScript counts UTF-16 units.

/** Tell where in a text a code point's number is, in UTF-16 units. @param {string} text @param {number} points */
export function unitsAt(text, points) {
  if (!/[\ud800-\udbff]/.test(text)) return points;
  let units = 0;
  for (let passed = 0; passed < points && units < text.length; passed++) units += (text.codePointAt(units) ?? 0) > 0xffff ? 2 : 1;
  return units;
}

/** Count the code points of a text. @param {string} text */
export function pointsIn(text) {
  return text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}

// what may stand between two words of a quotation: signs, marks of Markdown, the target of a link
const BETWEEN = "(?:\\]\\([^)\\s]*\\)|[^\\p{L}\\p{N}])+";
const QUOTED = /[“„«"]([^“”„«»"]{6,})[”“»"][.,;]?\s*((?:\[\d+\]\s*)+)/g;
const SAID = /([^\n[\]“”„«»"]{6,})((?:\[\d+\]\s*)+)/g;

/**
 * Find what an answer takes from a passage word by word: what stands in quotation marks before its footnotes, or without
 * any, and rows of tables, which answers write as “Column: value; Column: value”.
 * @param {string} answer @param {{id: number, text: string, start: number}} citation
 * @param {number | null} nth only what the passage's nth footnote stands behind, from 0; null: all
 * @returns {{start: number, end: number}[]} offsets in the document, in code points
 */
export function quotedOf(answer, citation, nth = null) {
  const sign = `[${citation.id}]`;
  const place = nth === null ? null : nthOf(answer, sign, nth);
  const found = [];
  for (const match of [...answer.matchAll(QUOTED), ...answer.matchAll(SAID)]) {
    const [whole, quote, footnotes] = match;
    if (!footnotes.includes(sign)) continue;
    if (place !== null && (place < match.index || place >= match.index + whole.length)) continue;
    for (const piece of quote.split("…")) {
      const at = standing(piece, citation.text) ?? standing(valuesOf(piece), citation.text);
      if (!at) continue;
      const start = citation.start + pointsIn(citation.text.slice(0, at.index));
      found.push({ start, end: start + pointsIn(at[0]) });
    }
  }
  return found.sort((a, b) => a.start - b.start);
}

/** Tell where the words of a piece stand in a text, one after the other. @param {string} piece @param {string} text */
function standing(piece, text) {
  const words = piece.match(/[\p{L}\p{N}]+/gu) ?? [];
  if (words.length < 2 || words.length > 300) return null;
  return new RegExp(`(?:\\p{Sc} ?)?${words.join(BETWEEN)}(?: ?[\\p{Sc}%‰°])?[.!?)]*`, "u").exec(text); // with the sign of a sum
}

/** The cells of a row that was written with the names of its columns; "" where it is none. @param {string} piece */
function valuesOf(piece) {
  const cells = piece.split(/;\s+/);
  const values = cells.map((each) => each.replace(/^[^:]{1,80}:\s+/, ""));
  return cells.length > 1 ? values.join(" ") : "";
}

/** @param {string} text @param {string} sign @param {number} nth */
function nthOf(text, sign, nth) {
  let at = -1;
  for (let passed = 0; passed <= nth; passed++) at = text.indexOf(sign, at + 1);
  return at;
}

/**
 * Let lines that were broken for an editor flow on; lists, tables, headings and code stay as they are. The text keeps its
 * length, so that offsets hold.
 * @param {string} text
 */
export function flowing(text) {
  let inCode = false;
  const lines = text.split("\n");
  let made = lines[0];
  for (let at = 1; at < lines.length; at++) {
    const [before, line] = [lines[at - 1], lines[at]];
    if (/^\s*(```|~~~)/.test(before)) inCode = !inCode;
    const flows = !inCode && /\S/.test(before) && /^\s{0,3}(?!```|~~~)[^\s#|>*+\-=\d]/.test(line) && !/^\s*(#|\||```|~~~)/.test(before) && !/^( {4}|\t)/.test(before) && before.length > 60;
    made += (flows ? " " : "\n") + line;
  }
  return made;
}
