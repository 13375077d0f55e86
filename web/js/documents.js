// The view of a collection's documents: what is there, what is on its way, bringing and deleting.
import { Problem, get, query, send } from "./api.js";
import { chosen, dropped } from "./folders.js";
import { count, size, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, signal, useEffect, useRef, useState } from "./lib.js";
import { Trouble, Waiting, Warnings, useProblem } from "./parts.js";
import { collection, go, loadCollections, may, params, said, toast } from "./state.js";
import { Uploads, arrived, start, startAll, takeUp, uploads } from "./uploads.js";
import { openDocument } from "./viewer.js";

const PAGE = 100;
const WAIT = 5000;
const NEWEST = "-ingested_at";

/** Documents that are about to be deleted, by id. */
const leaving = signal(/** @type {Set<string>} */ (new Set()));

export function Documents() {
  const [items, setItems] = useState(/** @type {Api.DocumentOut[] | null} */ (null));
  const [cursor, setCursor] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useProblem();
  const latestAsked = useRef("");
  const here = collection.value;
  const words = params.value.get("q") ?? "";
  const sort = params.value.get("sort") ?? NEWEST;
  const load = async (/** @type {string | null} */ after = null) => {
    const asked = query({ collection: here, q: words, sort, limit: PAGE, cursor: after });
    latestAsked.current = asked;
    try {
      /** @type {Api.PageOut<Api.DocumentOut>} */
      const page = await get(`/documents${asked}`);
      if (latestAsked.current !== asked) return; // another one was asked since
      setItems((known) => (after && known ? [...known, ...page.items] : page.items));
      setCursor(page.next_cursor);
      setProblem(null);
    } catch (error) {
      if (error instanceof Problem && error.slug === "collection-not-found") setItems([]);
      else setProblem(error);
    }
  };
  useEffect(() => {
    setItems(null);
    setCursor(null);
  }, [here]);
  useEffect(() => {
    load();
  }, [here, words, sort, arrived.value]);
  useEffect(() => {
    takeUp(here);
  }, [here]);
  if (!may("documents:read")) return html`<main id="content" class="alone"><p>${t.mayNot}</p></main>`;
  const remove = (/** @type {Api.DocumentOut} */ each) => {
    leaving.value = new Set([...leaving.value, each.id]);
    const stays = () => (leaving.value = new Set([...leaving.value].filter((id) => id !== each.id)));
    const timer = setTimeout(async () => {
      try {
        await send("DELETE", `/documents/${encodeURIComponent(each.id)}${query({ collection: here })}`);
        setItems((known) => known && known.filter((other) => other.id !== each.id && other.parent !== each.id));
        said.value = t.deleted(each.title);
        loadCollections().catch(() => {}); // only numbers are stale then
      } catch (error) {
        toast(error instanceof Problem ? error.detail || error.title || t.failed : t.failed);
      }
      stays();
    }, WAIT);
    toast(t.willDelete(each.title), { action: t.undo, run: () => (clearTimeout(timer), stays(), (said.value = t.notDeleted(each.title))), ms: WAIT });
  };
  return html`<main id="content" class="documents" tabindex="-1">
    <div class="wide">
      <h1>${t.documents}</h1>
      <p class="quiet">${t.documentsLead}</p>
      ${may("documents:write") && html`<${Bring} />`}
      <${Uploads} />
      ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
      ${items === null && !problem && html`<${Waiting} />`}
      ${(items?.length || words) && html`<${Search} words=${words} />`}
      ${items?.length === 0 && words && html`<p class="note">${t.noneFound(words)}</p>`}
      ${items?.length === 0 && !words && uploads.value.length === 0 && html`<div class="nothing"><${Icon} name="file" /><p><strong>${t.noDocuments}</strong></p>${may("documents:write") && html`<p class="quiet">${t.noDocumentsMore}</p>`}</div>`}
      ${items && items.length > 0 && html`<div class="table-frame"><table class="list">
        <thead><tr>
          <${Sortable} by="title" sort=${sort}>${t.title}<//><th scope="col" class="figure">${t.pagesColumn}</th><th scope="col" class="figure">${t.chunks}</th>
          <${Sortable} by="bytes" sort=${sort} figure>${t.bytes}<//><${Sortable} by="ingested_at" sort=${sort}>${t.ingested}<//><th scope="col"><span class="hidden">${t.delete}</span></th>
        </tr></thead>
        <tbody>${items.map((each) => html`<tr key=${each.id} class=${leaving.value.has(each.id) ? "leaving" : ""}>
          <th scope="row">
            <button class="link" dir="auto" aria-label=${t.open(each.title)} onClick=${(event) => openDocument(each.id, { collection: here, from: event.currentTarget })}>${each.title}</button>
            ${each.source !== each.title && html`<small dir="auto">${each.source}</small>`}
            ${each.warnings.length > 0 && html`<${Warnings} warnings=${each.warnings} />`}
          </th>
          <td class="figure" data-name=${t.pagesColumn}>${each.pages ? count(each.pages) : t.scoreNone}</td>
          <td class="figure" data-name=${t.chunks}>${count(each.chunks)}</td>
          <td class="figure" data-name=${t.bytes}>${size(each.bytes)}</td>
          <td class="when" data-name=${t.ingested}>${when(each.ingested_at)}</td>
          <td class="end">${may("documents:write") && !each.parent && html`<button class="icon-button" disabled=${leaving.value.has(each.id)} title=${t.delete} aria-label=${t.deleteNamed(each.title)} onClick=${() => remove(each)}><${Icon} name="trash" /></button>`}</td>
        </tr>`)}</tbody>
      </table></div>`}
      ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.more}</button>`}
    </div>
  </main>`;
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
  return html`<th scope="col" class=${figure ? "figure" : ""} aria-sort=${state}><button class="sort" onClick=${change}>${children}<span aria-hidden="true">${state === "ascending" ? "↑" : state === "descending" ? "↓" : ""}</span></button></th>`;
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
  const drop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    setOver(false);
    if (event.dataTransfer) dropped(event.dataTransfer).then(bring);
  };
  const choose = (/** @type {Page.On} */ event) => {
    bring(chosen(event.currentTarget.files ?? []));
    event.currentTarget.value = "";
  };
  const page = (/** @type {Page.On<HTMLFormElement>} */ event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const url = String(new FormData(form).get("url") ?? "").trim();
    if (!url) return;
    form.reset();
    start({ name: url, url });
  };
  return html`<div class=${`drop ${over ? "over" : ""}`} onDragOver=${(event) => (event.preventDefault(), setOver(true))} onDragLeave=${() => setOver(false)} onDrop=${drop}>
      <${Icon} name="upload" />
      <p><strong>${t.drop}</strong> ${t.dropMore} <button class="link" onClick=${() => chooser.current?.click()}>${t.choose}</button> ${t.dropMore} <button class="link" onClick=${() => folders.current?.click()}>${t.chooseFolder}</button></p>
      <p class="quiet">${t.dropKinds}</p>
      <input class="hidden" type="file" multiple tabindex="-1" aria-hidden="true" ref=${chooser} onChange=${choose} />
      <input class="hidden folder" type="file" tabindex="-1" aria-hidden="true" ref=${folders} onChange=${choose} />
    </div>
    <form class="url" onSubmit=${page}>
      <input type="url" name="url" aria-label=${t.url} placeholder=${t.url} required pattern="[hH][tT][tT][pP][sS]?://.*" />
      <button class="button">${t.fetchUrl}</button>
    </form>`;
}

/** @param {import("./folders.js").Found[]} found */
function bring(found) {
  if (found.length === 0) toast(t.emptyFolder);
  startAll(found.map(({ file, source }) => ({ name: source ?? file.name, file, source })));
}
