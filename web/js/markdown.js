// Markdown that a model wrote, as nodes. Nothing of it is trusted: raw HTML stays text, pictures become links (a picture's
// address could carry off what was read), and DOMPurify has the last word.
import { marked } from "../vendor/marked.js";
import DOMPurify from "../vendor/purify.js";

const TAGS = ["a", "b", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "i", "li", "ol", "p", "pre", "s", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul"];
/** @satisfies {import("../vendor/purify.js").Rules} */
const CLEAN = { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "class", "align", "start"], ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i, ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false, RETURN_DOM_FRAGMENT: true };
const FOOTNOTE = /\[(\d{1,3})\]/g;

/** @param {string} text */
const escaped = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

marked.use({
  gfm: true,
  renderer: {
    html: ({ text }) => (/^<br\s*\/?>$/i.test(text) ? "<br>" : escaped(text)),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 2); // below the page's own
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
  },
});

/** @typedef {import("../vendor/marked.js").Token} Token */

/** Split Markdown into blocks that can be shown one by one. @param {string} text */
export function blocksOf(text) {
  const tokens = marked.lexer(text);
  return tokens.filter((token) => token.type !== "space" && token.type !== "def").map((token) => ({ raw: token.raw, token, links: tokens.links }));
}

/**
 * Make a block's nodes.
 * @param {{token: Token, links: object}} block
 * @param {(id: number) => Node | null} footnote makes what stands for `[id]`; null: the text stays
 * @param {boolean} plain leaves code without colours
 */
export function nodesOf({ token, links }, footnote, plain = false) {
  const tokens = Object.assign([token], { links });
  const made = DOMPurify.sanitize(marked.parser(tokens), CLEAN);
  for (const link of made.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const table of made.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "scroll";
    frame.tabIndex = 0;
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const code of made.querySelectorAll("pre > code")) {
    if (code.parentElement) code.parentElement.tabIndex = 0;
    if (!plain) colour(code);
  }
  withFootnotes(made, footnote);
  return made;
}

/** @param {DocumentFragment} made @param {(id: number) => Node | null} footnote */
function withFootnotes(made, footnote) {
  const walker = document.createTreeWalker(made, NodeFilter.SHOW_TEXT);
  const texts = /** @type {Text[]} */ ([]);
  while (walker.nextNode()) if (!walker.currentNode.parentElement?.closest("code, a")) texts.push(/** @type {Text} */ (walker.currentNode));
  for (const node of texts) {
    const pieces = /** @type {(string | Node)[]} */ ([]);
    let from = 0;
    for (const found of node.data.matchAll(FOOTNOTE)) {
      const button = footnote(Number(found[1]));
      if (!button) continue;
      pieces.push(node.data.slice(from, found.index).replace(/ $/, ""), button);
      from = found.index + found[0].length;
    }
    if (pieces.length) node.replaceWith(...pieces, node.data.slice(from));
  }
}

/** @type {Promise<import("../vendor/highlight.js").Highlighter> | null} */
let highlighter = null;
const LANGUAGES = ["bash", "css", "go", "ini", "java", "javascript", "json", "python", "rust", "sql", "xml", "yaml"];
/** @type {Record<string, string>} */
const ALIASES = { sh: "bash", shell: "bash", console: "bash", js: "javascript", ts: "javascript", typescript: "javascript", py: "python", html: "xml", yml: "yaml", toml: "ini", env: "ini" };

/** Colour a block of code once the highlighter is here, which is fetched when the first block needs it. @param {Element} code */
async function colour(code) {
  const named = /language-([\w-]+)/.exec(code.className)?.[1]?.toLowerCase() ?? "";
  const language = ALIASES[named] ?? named;
  if (!LANGUAGES.includes(language)) return;
  highlighter ??= import("../vendor/highlight.js").then((module) => module.default);
  const [hljs, grammar] = await Promise.all([highlighter, import(`../vendor/highlight-${language}.js`)]);
  if (!hljs.getLanguage(language)) hljs.registerLanguage(language, grammar.default);
  const made = hljs.highlight(code.textContent ?? "", { language, ignoreIllegals: true }).value;
  code.replaceChildren(DOMPurify.sanitize(made, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }));
}
