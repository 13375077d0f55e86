// A document beside the answer: its own page as a picture, or its text, at the place of a passage. What is open is in the
// page's address, so that a link opens the same place.
import { About } from "./about.js";
import { Problem, get, query, send } from "./api.js";
import { Chunks } from "./chunks.js";
import { Formatted, isMarkdown, isSheet } from "./formatted.js";
import { t } from "./i18n.js";
import { Icon } from "./icons.js";
import { computed, html, signal, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { Trouble, Waiting, Warnings, useEscape, useProblem } from "./parts.js";
import { go, params, toast } from "./state.js";
import { flowing, unitsAt } from "./text.js";
import { arrived } from "./uploads.js";

const NAMES = ["doc", "in", "page", "start", "end", "quotes"];

/** What is open: null, or a document's id with the place in it. @type {{readonly value: Page.Place | null}} */
export const opened = computed(() => {
  const found = params.value;
  const id = found.get("doc");
  if (!id) return null;
  const number = (/** @type {string} */ name) => (/^\d+$/.test(found.get(name) ?? "") ? Number(found.get(name)) : null);
  const quotes = (found.get("quotes") ?? "").split(",").map((each) => each.split("-").map(Number)).filter((each) => each.length === 2 && each.every(Number.isInteger)).map(([start, end]) => ({ start, end }));
  return { id, collection: found.get("in") ?? "default", page: number("page"), start: number("start"), end: number("end"), quotes };
});

const returnTo = signal(/** @type {HTMLElement | null} */ (null));

/** @param {{document_id: string, page: number | null, start: number, end: number}} citation
 *  @param {{collection: string, quotes: Page.Stretch[], from: HTMLElement}} where */
export function openCitation(citation, { collection, quotes, from }) {
  returnTo.value = from;
  const set = { doc: citation.document_id, in: collection, page: citation.page === null ? null : String(citation.page), start: String(citation.start), end: String(citation.end), quotes: quotes.map(({ start, end }) => `${start}-${end}`).join(",") };
  go({ set, push: true });
}

/** @param {string} id @param {{collection: string, from: HTMLElement}} where */
export function openDocument(id, { collection, from }) {
  returnTo.value = from;
  go({ set: { ...Object.fromEntries(NAMES.map((name) => [name, null])), doc: id, in: collection }, push: true });
}

export function closeViewer() {
  go({ set: Object.fromEntries(NAMES.map((name) => [name, null])) });
  const from = returnTo.value;
  returnTo.value = null;
  requestAnimationFrame(() => from?.isConnected && from.focus()); // on a narrow screen it cannot take it before the viewer is gone
}

/** @param {{place: Page.Place}} props */
export function Viewer({ place }) {
  const [about, setAbout] = useState(/** @type {Api.DocumentOut | null} */ (null));
  const [problem, setProblem] = useProblem();
  const [way, setWay] = useState(/** @type {"page" | "text" | "chunks" | "about" | null} */ (null));
  const [page, setPage] = useState(1);
  const [undrawable, setUndrawable] = useState(false);
  const head = useRef(/** @type {HTMLElement | null} */ (null));
  useEscape(closeViewer);
  // a document that is open may be replaced
  useEffect(() => {
    if (about) get(`/documents/${encodeURIComponent(place.id)}${query({ collection: place.collection })}`).then((/** @type {Api.DocumentOut} */ found) => found.id === place.id && setAbout(found)).catch(() => {});
  }, [arrived.value]);
  useEffect(() => {
    const abort = new AbortController();
    const known = about?.id === place.id && about?.collection === place.collection;
    if (!known) setAbout(null);
    setProblem(null);
    setUndrawable(false);
    setPage(place.page ?? 1);
    head.current?.focus({ preventScroll: true });
    get(`/documents/${encodeURIComponent(place.id)}${query({ collection: place.collection })}`, { signal: abort.signal })
      .then((/** @type {Api.DocumentOut} */ found) => {
        setAbout(found);
        setWay(found.pages > 0 && (place.page !== null || place.start === null) ? "page" : "text");
      })
      .catch((error) => abort.signal.aborted || setProblem(error));
    return () => abort.abort();
  }, [place.id, place.collection, place.page, place.start, place.end]);
  const link = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      toast(t.copied);
    } catch {
      toast(t.notCopied);
    }
  };
  const noPicture = () => {
    setUndrawable(true);
    setWay("text");
  };
  return html`<aside class="viewer" aria-label=${t.viewer}>
    <header>
      <div class="viewer-title" tabindex="-1" ref=${head}>
        <h2 dir="auto">${about?.title ?? t.viewer}</h2>
        ${about && about.source !== about.title && html`<p class="quiet" dir="auto">${about.source}</p>`}
      </div>
      <button class="icon-button" title=${t.copyLink} aria-label=${t.copyLink} onClick=${link}><${Icon} name="link" /></button>
      <button class="icon-button" title=${t.close} aria-label=${t.close} onClick=${closeViewer}><${Icon} name="close" /></button>
    </header>
    ${problem && html`<${Trouble} problem=${problem} />`}
    ${!about && !problem && html`<${Waiting} />`}
    ${about && html`
      <div class="viewer-bar">
        <div class="segments" role="group" aria-label=${t.viewer}>
          ${about.pages > 0 && !undrawable && html`<button aria-pressed=${way === "page"} onClick=${() => setWay("page")}>${t.asPage}</button>`}
          <button aria-pressed=${way === "text"} onClick=${() => setWay("text")}>${t.asText}</button>
          <button aria-pressed=${way === "chunks"} onClick=${() => setWay("chunks")}>${t.chunks}</button>
          <button aria-pressed=${way === "about"} onClick=${() => setWay("about")}>${t.aboutDocument}</button>
        </div>
        ${way === "page" && html`<div class="pager">
          <button class="icon-button" disabled=${page <= 1} title=${t.previousPage} aria-label=${t.previousPage} onClick=${() => setPage(page - 1)}><${Icon} name="left" /></button>
          <span aria-live="polite">${t.pageOf(page, about.pages)}</span>
          <button class="icon-button" disabled=${page >= about.pages} title=${t.nextPage} aria-label=${t.nextPage} onClick=${() => setPage(page + 1)}><${Icon} name="right" /></button>
        </div>`}
        ${about.warnings.length > 0 && way !== "about" && html`<${Warnings} warnings=${about.warnings} />`}
      </div>
      ${undrawable && html`<p class="note">${t.noPicture}</p>`}
      ${way === "page" && html`<${Picture} about=${about} place=${place} page=${page} onMissing=${noPicture} />`}
      ${way === "text" && html`<${DocumentText} about=${about} place=${place} />`}
      ${way === "chunks" && html`<${Chunks} about=${about} place=${place} onPlace=${(/** @type {Api.ChunkOut} */ chunk) => (go({ set: { page: null, start: String(chunk.start), end: String(chunk.end), quotes: null } }), setWay("text"))} />`}
      ${way === "about" && html`<${About} about=${about} />`}`}
  </aside>`;
}

/** @param {{about: Api.DocumentOut, place: Page.Place, page: number, onMissing: () => void}} props */
function Picture({ about, place, page, onMissing }) {
  const [address, setAddress] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useProblem();
  const [large, setLarge] = useState(false);
  const marks = { start: place.quotes[0]?.start ?? place.start, end: place.quotes.at(-1)?.end ?? place.end };
  useEffect(() => {
    const abort = new AbortController();
    /** @type {string | null} */
    let made = null;
    setProblem(null);
    setAddress(null);
    const asked = query({ collection: place.collection, ...marks });
    send("GET", `/documents/${encodeURIComponent(about.id)}/pages/${page}.png${asked}`, { signal: abort.signal })
      .then((response) => response.blob())
      .then((blob) => abort.signal.aborted || setAddress((made = URL.createObjectURL(blob))))
      .catch((error) => {
        if (abort.signal.aborted) return;
        if (error instanceof Problem && error.status === 404) onMissing();
        else setProblem(error);
      });
    return () => {
      abort.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [about.id, about.revision, page, marks.start, marks.end]);
  if (problem) return html`<${Trouble} problem=${problem} />`;
  return html`<div class=${`picture ${large ? "large" : ""}`} tabindex="0" role="region" aria-label=${t.asPage}>
    ${address ? html`<button class="picture-button" title=${t.enlarge} aria-label=${`${t.enlarge}: ${t.pageAlt(page, about.title)}`} aria-pressed=${large} onClick=${() => setLarge(!large)}><img src=${address} alt=${t.pageAlt(page, about.title)} onLoad=${(/** @type {Page.On<HTMLImageElement>} */ event) => showMark(event.currentTarget)} /></button>` : html`<${Waiting} />`}
  </div>`;
}

/** Scroll to where a page's picture is marked: its rows with the marks' yellow. @param {HTMLImageElement} image */
function showMark(image) {
  const canvas = document.createElement("canvas");
  canvas.width = 200;
  canvas.height = Math.round((200 * image.naturalHeight) / image.naturalWidth);
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  if (!brush) return;
  brush.drawImage(image, 0, 0, canvas.width, canvas.height);
  const { data } = brush.getImageData(0, 0, canvas.width, canvas.height);
  const isMarked = (/** @type {number} */ at) => data[at] > 220 && data[at + 1] > 200 && data[at] - data[at + 2] > 60;
  const rows = [];
  for (let at = 0; at < data.length; at += 4) if (isMarked(at)) rows.push(Math.floor(at / 4 / canvas.width));
  const frame = image.closest(".picture");
  if (!rows.length || !frame) return;
  const middle = ((rows[0] + rows[rows.length - 1]) / 2 / canvas.height) * image.clientHeight + image.offsetTop;
  frame.scrollTop = middle - frame.clientHeight / 2;
}

const AROUND = 60_000;
/** Whether Markdown is shown as it is written. */
const asWritten = signal(false);

/** @param {{about: Api.DocumentOut, place: Page.Place}} props */
function DocumentText({ about, place }) {
  const [found, setFound] = useState(/** @type {Api.DocumentTextOut | null} */ (null));
  const [problem, setProblem] = useProblem();
  const [whole, setWhole] = useState(false);
  const mark = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const abort = new AbortController();
    get(`/documents/${encodeURIComponent(about.id)}/text${query({ collection: place.collection })}`, { signal: abort.signal })
      .then(setFound)
      .catch((error) => abort.signal.aborted || setProblem(error));
    return () => abort.abort();
  }, [about.id, about.revision]);
  useLayoutEffect(() => mark.current?.scrollIntoView({ block: "center" }), [found, place.start, place.end, asWritten.value]);
  if (problem) return html`<${Trouble} problem=${problem} />`;
  if (!found) return html`<${Waiting} />`;
  const formatted = isMarkdown(about.source);
  const sheet = isSheet(about.source); // whose lines are values
  const text = formatted && asWritten.value && !sheet ? flowing(found.text) : found.text;
  const start = place.start === null ? 0 : unitsAt(text, place.start);
  const end = place.end === null ? start : unitsAt(text, place.end);
  const gone = place.start !== null && start >= text.length;
  const marked = place.start !== null && !gone;
  const [from, to] = whole ? [0, text.length] : [Math.max(0, start - AROUND), Math.min(text.length, end + AROUND)];
  const quotes = marked ? place.quotes.map((each) => ({ start: unitsAt(text, each.start), end: unitsAt(text, each.end) })).filter((each) => each.start >= start && each.end <= end) : [];
  const shown = (/** @type {number} */ a, /** @type {number} */ b) => written(text.slice(a, b), formatted);
  const pieces = [];
  let at = start;
  for (const quote of quotes) {
    if (quote.start < at) continue;
    pieces.push(shown(at, quote.start), html`<mark class="quote" ref=${pieces.length === 1 || quote === quotes[0] ? mark : null}>${shown(quote.start, quote.end)}</mark>`);
    at = quote.end;
  }
  return html`<div class="document-text" tabindex="0" role="region" aria-label=${t.asText}>
    ${formatted && html`<label class="check as-written-too"><input type="checkbox" checked=${asWritten.value} onChange=${(event) => (asWritten.value = event.currentTarget.checked)} /><span>${t.asWritten}</span></label>`}
    ${gone && html`<p class="note">${t.passageGone}</p>`}
    ${from > 0 && html`<button class="button" onClick=${() => setWhole(true)}>${t.more}</button>`}
    ${formatted && !asWritten.value ? html`<${Formatted} text=${text} sheet=${sheet} from=${blockAt(text, from)} to=${to} passage=${marked ? { start, end } : null} quotes=${quotes} />` : html`<div class="text" dir="auto">${marked ? [shown(from, start), html`<mark class="passage-mark" ref=${quotes.length ? null : mark}>${pieces}${shown(at, end)}</mark>`, shown(end, to)] : shown(from, to)}</div>`}
    ${to < text.length && html`<button class="button" onClick=${() => setWhole(true)}>${t.more}</button>`}
  </div>`;
}

/** Tell where the block begins in which a place is. @param {string} text @param {number} place */
const blockAt = (text, place) => (place ? text.lastIndexOf("\n\n", place) + 1 : 0);

/** Text as it is, but that headings of Markdown are seen as such. @param {string} text @param {boolean} isMarkdown */
function written(text, isMarkdown) {
  if (!isMarkdown) return text;
  return text.split(/^(#{1,6} .*)$/m).map((piece, place) => (place % 2 ? html`<strong class="heading"><span class="hashes">${/^#+ /.exec(piece)?.[0]}</span>${piece.replace(/^#+ /, "")}</strong>` : piece));
}
