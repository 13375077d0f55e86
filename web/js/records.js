// What a reader makes of a sheet: headings, and each row as a paragraph of `column: value` lines. Rows that follow one
// another are shown as a table; anything else stays lines.
import { blocksOf } from "./markdown.js";

/** A value of a row, and where it begins in the text. @typedef {{column: string, value: string, from: number}} Value */
/** @typedef {{from: number, to: number, values: Value[]}} Row */
/** Rows that have columns in common. @typedef {{raw: string, columns: string[], rows: Row[]}} Rows */
/** A block of Markdown, rows, or lines as they are. @typedef {ReturnType<typeof blocksOf>[number] | Rows | {raw: string}} Piece */

const HEADING = /^#{1,6} [^\n]*$/;

/** Split the text of a sheet into headings, tables and lines. @param {string} text @returns {Piece[]} */
export function piecesOf(text) {
  const pieces = /** @type {Piece[]} */ ([]);
  let table = /** @type {Rows | null} */ (null);
  for (const { index: from, 0: raw } of text.matchAll(/[^\n]+(?:\n[^\n]+)*/g)) {
    const row = HEADING.test(raw) ? null : rowOf(raw, from);
    const columns = row && table && joined(table.columns, row);
    if (row && table && columns) {
      table.columns = columns;
      table.rows.push(row);
      table.raw = text.slice(table.rows[0].from, row.to);
      continue;
    }
    table = row && { raw, columns: row.values.map(({ column }) => column), rows: [row] };
    if (table) pieces.push(table);
    else if (HEADING.test(raw)) pieces.push(...blocksOf(raw));
    else pieces.push({ raw });
  }
  // one value is no table: it may be a sentence with a colon
  return pieces.map((piece) => ("rows" in piece && piece.rows.length === 1 && piece.columns.length === 1 ? { raw: piece.raw } : piece));
}

/** Read a paragraph as a row; null: one of its lines is no value, or two have the same column.
 *  @param {string} raw @param {number} from @returns {Row | null} */
function rowOf(raw, from) {
  const values = /** @type {Value[]} */ ([]);
  let at = from;
  for (const line of raw.split("\n")) {
    const [, column, value] = /^(.+?): (.+)$/.exec(line) ?? [];
    if (value === undefined || values.some((each) => each.column === column)) return null;
    values.push({ column, value, from: at + column.length + 2 });
    at += line.length + 1;
  }
  return { from, to: from + raw.length, values };
}

/**
 * The columns of a table with another row; null where the row is of another table: they share less than half of what the
 * one with fewer columns has, or share them in another order.
 * @param {string[]} columns @param {Row} row
 */
function joined(columns, { values }) {
  const known = values.filter(({ column }) => columns.includes(column));
  const places = known.map(({ column }) => columns.indexOf(column));
  if (2 * known.length < Math.min(columns.length, values.length) || places.some((place, at) => at > 0 && place < places[at - 1])) return null;
  if (known.length === values.length) return columns;
  const made = [...columns];
  let after = 0; // a column that is new comes behind the one before it in the row
  for (const { column } of values) {
    const place = made.indexOf(column);
    if (place < 0) made.splice(after, 0, column);
    after = (place < 0 ? after : place) + 1;
  }
  return made;
}

/**
 * A table's nodes, with its rows, the texts of its cells, and where these stand in the source.
 * @param {Rows} table
 */
export function tableOf({ columns, rows }) {
  const texts = /** @type {{node: Text, from: number}[]} */ ([]);
  const nodes = document.createDocumentFragment();
  const frame = add(nodes, "div");
  frame.className = "scroll";
  frame.tabIndex = 0;
  const table = add(frame, "table");
  const head = add(add(table, "thead"), "tr");
  for (const column of columns) add(head, "th").append(column);
  const body = add(table, "tbody");
  const shown = rows.map(({ from, to, values }) => {
    const row = add(body, "tr");
    const cells = columns.map(() => add(row, "td"));
    for (const { column, value, from } of values) {
      const node = document.createTextNode(value);
      cells[columns.indexOf(column)].append(node);
      texts.push({ node, from });
    }
    return { row, from, to };
  });
  return { nodes, texts, rows: shown };
}

/** @param {Node} parent @param {string} name */
const add = (parent, name) => parent.appendChild(document.createElement(name));
