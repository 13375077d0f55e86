// A document's Markdown as it is meant to look, with a passage and what is quoted of it marked. Offsets are those of the
// source: the letters of a block that is shown are followed through its source, whatever markup lies between them.
import { html, useLayoutEffect, useRef } from "./lib.js";
import { blocksOf, nodesOf } from "./markdown.js";
import { piecesOf, tableOf } from "./records.js";

const TEXTS = "txt text log adoc asciidoc org me 1st rst rest csv tsv json geojson jsonl ndjson eml mbox msg xml srt vtt tex latex ltx".split(" ");
const FORMATTED = "md markdown mdown mkd mdx html htm xhtml pdf docx docm dotx dotm pptx pptm ppsx ppsm potx potm xlsx xlsm xltx xltm odt ott fodt ods ots fods odp otp fodp rtf xls xlt epub ipynb".split(" ");
const SHEETS = "xlsx xlsm xltx xltm ods ots fods xls xlt".split(" ");

/** Tell whether a document's text is Markdown: it was written so, or made of something with headings and tables.
 *  @param {string} source */
export function isMarkdown(source) {
  const suffix = suffixOf(source);
  return FORMATTED.includes(suffix) || (/^https?:/i.test(source) && !TEXTS.includes(suffix));
}

/** Tell whether a document is a spreadsheet. @param {string} source */
export const isSheet = (source) => SHEETS.includes(suffixOf(source));

/** @param {string} source */
function suffixOf(source) {
  const path = source.replace(/^https?:\/\/[^/]*/i, "").replace(/[?#].*$/, "");
  return /\.(\w+)$/.exec(path)?.[1].toLowerCase() ?? "";
}

/** @typedef {{start: number, end: number}} Stretch in UTF-16 units of the text */

/**
 * Markdown from one place to another, with the first mark in the middle of what is seen.
 * @param {{text: string, sheet: boolean, from: number, to: number, passage: Stretch | null, quotes: Stretch[]}} props
 *  sheet: rows are shown as tables
 */
export function Formatted({ text, sheet, from, to, passage, quotes }) {
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    if (!frame.current) return;
    frame.current.replaceChildren(made(text.slice(from, to), sheet, passage && moved(passage, from), quotes.map((each) => moved(each, from))));
    const first = frame.current.querySelector(".quote") ?? frame.current.querySelector(".passage-mark");
    first?.scrollIntoView({ block: "center" });
  }, [text, sheet, from, to, passage?.start, passage?.end, JSON.stringify(quotes)]);
  return html`<div class="text formatted prose" dir="auto" ref=${frame}></div>`;
}

/** @param {Stretch} stretch @param {number} by @returns {Stretch} */
const moved = (stretch, by) => ({ start: stretch.start - by, end: stretch.end - by });

/** @param {string} source @param {boolean} sheet @param {Stretch | null} passage @param {Stretch[]} quotes */
function made(source, sheet, passage, quotes) {
  const all = document.createDocumentFragment();
  /** @type {HTMLElement | null} */
  let group = null; // of blocks that are in the passage as a whole
  let at = 0;
  for (const block of sheet ? piecesOf(source) : blocksOf(source)) {
    at = Math.max(at, source.indexOf(block.raw, at));
    const inside = passage !== null && passage.start < at + block.raw.length && passage.end > at;
    const table = "rows" in block ? tableOf(block) : null;
    // colours would come later, and take marks away
    const nodes = table?.nodes ?? ("token" in block ? nodesOf(block, () => null, inside) : asWritten(block.raw));
    let whole = false;
    if (inside && table) {
      const placed = table.texts.flatMap(({ node, from }) => [...node.data.matchAll(LETTER)].map(({ index }) => ({ node, place: index, from: from + index })));
      whole = passage.start <= at && passage.end >= at + block.raw.length;
      for (const quote of quotes) if (!mark(nodes, placed, source, quote, "quote")) markRows(table.rows, quote, "quote");
      if (!whole) markRows(table.rows, passage, "passage-mark");
    } else if (inside) {
      let placed = following(nodes, block.raw, at);
      if (!placed) {
        nodes.replaceChildren(asWritten(block.raw));
        placed = following(nodes, block.raw, at) ?? [];
      }
      whole = placed.every(({ from }) => from >= passage.start && from < passage.end);
      for (const quote of quotes) mark(nodes, placed, source, quote, "quote");
      if (!whole) mark(nodes, placed, source, passage, "passage-mark");
    }
    if (whole) {
      if (!group) all.append((group = document.createElement("div")));
      group.className = "passage-mark blocks";
      group.append(nodes);
    } else {
      group = null;
      all.append(nodes);
    }
    at += block.raw.length;
  }
  return all;
}

/** @param {string} text */
function asWritten(text) {
  const made = document.createDocumentFragment();
  const shown = made.appendChild(document.createElement("p"));
  shown.className = "as-written";
  shown.textContent = text;
  return made;
}

/** A letter or digit that is shown: in which node and where, and where it stands in the source.
 *  @typedef {{node: Text, place: number, from: number}} Letter */

const LETTER = /[\p{L}\p{N}]/gu;
// How many letters have to agree before shown text and source go on together, behind how many of markup at the most: the
// address of a link, the number of a list's item.
const RULES = [
  { agreeing: 8, skipped: 2000 },
  { agreeing: 3, skipped: 200 },
  { agreeing: 1, skipped: 20 },
];

/**
 * Find the letters that are shown in the source, one after the other; null where they are not there.
 * @param {Node} nodes @param {string} raw @param {number} at where `raw` begins in the source
 * @returns {Letter[] | null}
 */
function following(nodes, raw, at) {
  const shown = /** @type {{node: Text, place: number, letter: string}[]} */ ([]);
  const walker = document.createTreeWalker(nodes, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = /** @type {Text} */ (walker.currentNode);
    for (const { index, 0: letter } of node.data.matchAll(LETTER)) shown.push({ node, place: index, letter });
  }
  const written = [...raw.matchAll(LETTER)];
  /** @param {number} a @param {number} b @param {number} much */
  const agree = (a, b, much) => {
    for (let more = 0; more < much && a + more < shown.length; more++) if (shown[a + more].letter !== written[b + more]?.[0]) return false;
    return true;
  };
  /** @param {number} a @param {number} b */
  const skip = (a, b) => {
    for (const { agreeing, skipped } of RULES) for (let by = 1; by <= skipped && b + by < written.length; by++) if (agree(a, b + by, agreeing)) return by;
    return null;
  };
  const found = /** @type {Letter[]} */ ([]);
  let b = 0;
  for (let a = 0; a < shown.length; a++, b++) {
    if (!agree(a, b, 1)) {
      const by = skip(a, b);
      if (by === null) return null;
      b += by;
    }
    found.push({ node: shown[a].node, place: shown[a].place, from: at + written[b].index });
  }
  return found;
}

/** Mark the rows of a sheet that a stretch touches. @param {ReturnType<typeof tableOf>["rows"]} rows
 *  @param {Stretch} stretch @param {"quote" | "passage-mark"} name */
function markRows(rows, { start, end }, name) {
  for (const { row, from, to } of rows) if (start < to && end > from) row.classList.add(name);
}

/**
 * Mark a stretch of the source where its letters are shown: whole rows of a table, but for a quotation from one cell.
 * Tell whether any is shown.
 * @param {Node} nodes @param {Letter[]} placed @param {string} source @param {Stretch} stretch
 * @param {"quote" | "passage-mark"} name
 */
function mark(nodes, placed, source, stretch, name) {
  const meant = placed.filter(({ from }) => from >= stretch.start && from < stretch.end);
  if (!meant.length) return false;
  const cells = new Set(meant.map(({ node }) => node.parentElement?.closest("td, th")));
  const [cell] = cells;
  if (cell && (cells.size > 1 || name === "passage-mark")) {
    for (const each of cells) each?.closest("tr")?.classList.add(name);
    return true;
  }
  const [first, last] = [meant[0], meant[meant.length - 1]];
  // signs beside the letters belong to it as far as the stretch has them
  const ahead = source.slice(stretch.start, first.from);
  let from = first.place;
  while (from > 0 && ahead.includes(first.node.data[from - 1])) from--;
  while (/\s/.test(first.node.data[from])) from++;
  const behind = source.slice(last.from, stretch.end).replace(LETTER, "");
  const walker = document.createTreeWalker(nodes, NodeFilter.SHOW_TEXT);
  const pieces = /** @type {{node: Text, from: number, to: number}[]} */ ([]);
  let isPast = false;
  for (walker.currentNode = first.node; ; ) {
    const node = /** @type {Text} */ (walker.currentNode);
    let to = isPast ? 0 : node.data.length;
    if (node === last.node) {
      isPast = true;
      to = last.place + String.fromCodePoint(node.data.codePointAt(last.place) ?? 0).length;
    }
    if (isPast) {
      while (to < node.data.length && behind.includes(node.data[to])) to++;
      while (/\s/.test(node.data[to - 1])) to--;
    }
    if (node.data.slice(from, to).trim()) pieces.push({ node, from, to });
    if ((isPast && to < node.data.length) || !walker.nextNode()) break;
    from = 0;
  }
  for (const piece of pieces) wrap(placed, piece, name);
  return true;
}

/** Put a piece of a text into a mark, and let its letters know where they are then.
 *  @param {Letter[]} placed @param {{node: Text, from: number, to: number}} piece @param {string} name */
function wrap(placed, { node, from, to }, name) {
  node.splitText(to);
  const middle = node.splitText(from);
  const tail = /** @type {Text} */ (middle.nextSibling);
  for (const letter of placed) {
    if (letter.node !== node || letter.place < from) continue;
    letter.node = letter.place < to ? middle : tail;
    letter.place -= letter.node === tail ? to : from;
  }
  const shown = document.createElement("mark");
  shown.className = name;
  middle.replaceWith(shown);
  shown.append(middle);
}
