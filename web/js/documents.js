// The view of a collection's documents: what is there, what is on its way, bringing and deleting.
import { Problem, get, query, send } from "./api.js";
import { chosen, dropped, isOfFiles } from "./folders.js";
import { count, size, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, signal, useEffect, useRef, useState } from "./lib.js";
import { Trouble, Waiting, Warnings, useProblem } from "./parts.js";
import { collection, go, loadCollections, may, params, said, toast } from "./state.js";
import { Uploads, arrived, start, startAll, takeUp, uploads } from "./uploads.js";
import { openDocument, opened } from "./viewer.js";

const PAGE = 100;
const BLOCK = 25; // rows that are shown, or not, together
const NEAR = "150% 0px"; // how far beyond what is seen, in heights of the view
const WAIT = 5000;
const NEWEST = "-ingested_at";

/** @typedef {Api.DocumentOut[][] | null} Blocks some rows each; null until they are known */
/** @typedef {(change: (known: Blocks) => Blocks) => void} SetBlocks */

/** Documents that are about to be deleted, by id. */
const leaving = signal(/** @type {Set<string>} */ (new Set()));

export function Documents() {
  const [blocks, setBlocks] = useState(/** @type {Blocks} */ (null));
  const [cursor, setCursor] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useProblem();
  const latestAsked = useRef("");
  const here = collection.value;
  const words = params.value.get("q") ?? "";
  const sort = params.value.get("sort") ?? NEWEST;
  const load = async (/** @type {string | null} */ after = null) => {
    const asked = query({ collection: here, q: words, sort, limit: PAGE, cursor: after });
    if (after && latestAsked.current === asked) return; // it is on its way
    latestAsked.current = asked;
    if (!after) setCursor(null);
    try {
      /** @type {Api.PageOut<Api.DocumentOut>} */
      const page = await get(`/documents${asked}`);
      if (latestAsked.current !== asked) return; // another one was asked since
      /** @type {Api.DocumentOut[][]} */
      const fresh = [];
      for (let from = 0; from < page.items.length; from += BLOCK) fresh.push(page.items.slice(from, from + BLOCK));
      setBlocks((known) => (after && known ? [...known, ...fresh] : fresh));
      setCursor(page.next_cursor);
      setProblem(null);
    } catch (error) {
      if (latestAsked.current === asked) latestAsked.current = "";
      if (error instanceof Problem && error.slug === "collection-not-found") {
        setBlocks([]);
        if (here !== "default") loadCollections().catch(() => {}); // the page says so once it is known
      }
      else setProblem(error);
    }
  };
  useEffect(() => {
    setBlocks(null);
  }, [here]);
  useEffect(() => {
    load();
  }, [here, words, sort, arrived.value]);
  useEffect(() => {
    takeUp(here);
  }, [here]);
  if (!may("documents:read")) return html`<main id="content" class="alone"><p>${t.mayNot}</p></main>`;
  const some = blocks?.some((each) => each.length > 0);
  return html`<main id="content" class="documents" tabindex="-1">
    <div class="wide">
      <h1>${t.documents}</h1>
      <p class="quiet">${t.documentsLead}</p>
      ${may("documents:write") && html`<${Bring} />`}
      <${Uploads} />
      ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
      ${blocks === null && !problem && html`<${Waiting} />`}
      ${(some || words) && html`<${Search} words=${words} />`}
      ${some === false && words && html`<p class="note">${t.noneFound(words)}</p>`}
      ${some === false && !words && uploads.value.length === 0 && html`<div class="nothing"><${Icon} name="file" /><p><strong>${t.noDocuments}</strong></p>${may("documents:write") && html`<p class="quiet">${t.noDocumentsMore}</p>`}</div>`}
      ${blocks && some && html`<div class="table-frame"><table class="list even">
        <thead><tr>
          <${Sortable} by="title" sort=${sort}>${t.title}<//><th scope="col" class="figure">${t.pagesColumn}</th><th scope="col" class="figure">${t.chunks}</th>
          <${Sortable} by="bytes" sort=${sort} figure>${t.bytes}<//><${Sortable} by="ingested_at" sort=${sort}>${t.ingested}<//><th scope="col"><span class="hidden">${t.delete}</span></th>
        </tr></thead>
        ${blocks.map((each, place) => html`<${Rows} key=${place} items=${each} here=${here} setBlocks=${setBlocks} />`)}
      </table></div>`}
      ${cursor && html`<${More} cursor=${cursor} load=${load} />`}
    </div>
  </main>`;
}

/** Call something as a part comes near to what is seen, and as it goes away from it.
 *  @param {{current: HTMLElement | null}} frame @param {(entry: IntersectionObserverEntry) => void} run @param {any[]} inputs */
function useNear(frame, run, inputs = []) {
  useEffect(() => {
    if (!frame.current) return;
    const main = frame.current.closest("main");
    const scrolls = main && getComputedStyle(main).overflowY !== "visible"; // in a low window the page does
    const observer = new IntersectionObserver((entries) => entries.slice(-1).forEach(run), { root: scrolls ? main : null, rootMargin: NEAR });
    observer.observe(frame.current);
    return () => observer.disconnect();
  }, inputs);
}

/** Some rows of the list. Far from what is seen, an empty row as high as they were stands for them.
 *  @param {{items: Api.DocumentOut[], here: string, setBlocks: SetBlocks}} props */
function Rows({ items, here, setBlocks }) {
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  const [height, setHeight] = useState(0);
  useNear(frame, ({ isIntersecting, boundingClientRect }) => {
    if (isIntersecting) setHeight(0);
    else if (!frame.current?.contains(document.activeElement)) setHeight(boundingClientRect.height);
  });
  if (height) return html`<tbody ref=${frame}><tr aria-hidden="true"><td colspan="6" class="far" style=${{ height: `${height}px` }}></td></tr></tbody>`;
  return html`<tbody ref=${frame}>${items.map((each) => html`<tr key=${each.id} class=${leaving.value.has(each.id) ? "leaving" : ""}>
      <th scope="row">
        <button class="link" dir="auto" aria-label=${t.open(each.title)} aria-current=${opened.value?.id === each.id && opened.value.collection === here ? "true" : null} onClick=${(event) => openDocument(each.id, { collection: here, from: event.currentTarget })}>${each.title}</button>
        ${each.source !== each.title && html`<small dir="auto">${each.source}</small>`}
        ${each.warnings.length > 0 && html`<${Warnings} warnings=${each.warnings} />`}
      </th>
      <td class="figure" data-name=${t.pagesColumn}>${each.pages ? count(each.pages) : t.scoreNone}</td>
      <td class="figure" data-name=${t.chunks}>${count(each.chunks)}</td>
      <td class="figure" data-name=${t.bytes}>${size(each.bytes)}</td>
      <td class="when" data-name=${t.ingested}>${when(each.ingested_at)}</td>
      <td class="end">${may("documents:write") && !each.parent && html`<button class="icon-button" disabled=${leaving.value.has(each.id)} title=${t.delete} aria-label=${t.deleteNamed(each.title)} onClick=${() => remove(each, here, setBlocks)}><${Icon} name="trash" /></button>`}</td>
    </tr>`)}</tbody>`;
}

/** The button for the next page; it is pressed by itself before it is seen.
 *  @param {{cursor: string, load: (after: string) => Promise<void>}} props */
function More({ cursor, load }) {
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  useNear(frame, ({ isIntersecting }) => void (isIntersecting && load(cursor)), [cursor]);
  return html`<button class="button" ref=${frame} onClick=${() => load(cursor)}>${t.more}</button>`;
}

/** Delete a document, unless that is undone within some seconds.
 *  @param {Api.DocumentOut} each @param {string} here @param {SetBlocks} setBlocks */
function remove(each, here, setBlocks) {
  leaving.value = new Set([...leaving.value, each.id]);
  const stays = () => (leaving.value = new Set([...leaving.value].filter((id) => id !== each.id)));
  const isGone = (/** @type {Api.DocumentOut} */ other) => other.id === each.id || other.parent === each.id;
  const timer = setTimeout(async () => {
    try {
      await send("DELETE", `/documents/${encodeURIComponent(each.id)}${query({ collection: here })}`);
      setBlocks((known) => known && known.map((block) => (block.some(isGone) ? block.filter((other) => !isGone(other)) : block)));
      said.value = t.deleted(each.title);
      loadCollections().catch(() => {}); // only numbers are stale then
    } catch (error) {
      toast(error instanceof Problem ? error.detail || error.title || t.failed : t.failed);
    }
    stays();
  }, WAIT);
  toast(t.willDelete(each.title), { action: t.undo, run: () => (clearTimeout(timer), stays(), (said.value = t.notDeleted(each.title))), ms: WAIT });
}

/** The head of a column by which the list can be sorted; texts begin with the first, figures with the largest.
 *  @param {{by: string, sort: string, figure?: boolean, children?: Page.Shown}} props */
function Sortable({ by, sort, figure = false, children }) {
  const first = by === "title" ? by : `-${by}`;
  const other = by === "title" ? `-${by}` : by;
  const state = sort === by ? "ascending" : sort === `-${by}` ? "descending" : null;
  const change = () => {
    const next = sort === first ? other : first;
    go({ set: { sort: next === NEWEST ? null : next } });
  };
  return html`<th scope="col" class=${figure ? "figure" : ""} aria-sort=${state}><button class="sort" onClick=${change}>${children}<span aria-hidden="true">${state === "ascending" ? "↑" : state === "descending" ? "↓" : "↕"}</span></button></th>`;
}

/** @param {{words: string}} props */
function Search({ words }) {
  const timer = useRef(0);
  const input = (/** @type {Page.On} */ event) => {
    const { value } = event.currentTarget;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => go({ set: { q: value.trim() } }), 250);
  };
  return html`<input class="search" type="search" maxlength="1000" aria-label=${t.searchDocuments} placeholder=${t.searchDocuments} defaultValue=${words} onInput=${input} />`;
}

function Bring() {
  const [over, setOver] = useState(false);
  const chooser = useRef(/** @type {HTMLElement | null} */ (null));
  const folders = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => folders.current?.setAttribute("webkitdirectory", ""), []);
  useEffect(() => {
    // files may be dropped anywhere: beside the frame a browser would open them, and leave the page
    const over = (/** @type {DragEvent} */ event) => isOfFiles(event) && setOver(true);
    const leave = (/** @type {DragEvent} */ event) => event.relatedTarget === null && setOver(false);
    const drop = (/** @type {DragEvent} */ event) => {
      setOver(false);
      if (event.dataTransfer && isOfFiles(event)) dropped(event.dataTransfer).then(bring);
    };
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, []);
  const choose = (/** @type {Page.On} */ event) => {
    bring(chosen(event.currentTarget.files ?? []));
    event.currentTarget.value = "";
  };
  const explain = (/** @type {Page.On} */ event) => {
    const { validity } = event.currentTarget;
    if (validity.patternMismatch || validity.typeMismatch) event.currentTarget.setCustomValidity(t.urlHelp);
  };
  const page = (/** @type {Page.On<HTMLFormElement>} */ event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const url = String(new FormData(form).get("url") ?? "").trim();
    if (!url) return;
    form.reset();
    start({ name: url, url });
  };
  return html`<div class=${`drop ${over ? "over" : ""}`}>
      <${Icon} name="upload" />
      <p><strong>${t.drop}</strong> ${t.dropMore} <button class="link" onClick=${() => chooser.current?.click()}>${t.choose}</button> ${t.dropMore} <button class="link" onClick=${() => folders.current?.click()}>${t.chooseFolder}</button></p>
      <p class="quiet">${t.dropKinds}</p>
      <input class="hidden" type="file" multiple tabindex="-1" aria-hidden="true" ref=${chooser} onChange=${choose} />
      <input class="hidden folder" type="file" tabindex="-1" aria-hidden="true" ref=${folders} onChange=${choose} />
    </div>
    <form class="url" onSubmit=${page}>
      <input type="url" name="url" aria-label=${t.url} placeholder=${t.url} required pattern="[hH][tT][tT][pP][sS]?://.*" onInvalid=${explain} onInput=${(event) => event.currentTarget.setCustomValidity("")} />
      <button class="button">${t.fetchUrl}</button>
    </form>`;
}

/** @param {import("./folders.js").Found[]} found */
function bring(found) {
  if (found.length === 0) toast(t.emptyFolder);
  startAll(found.map(({ file, source }) => ({ name: source ?? file.name, file, source })));
}
