// A document's chunks: where its text was cut, and what a chunk repeats of the one before.
import { get, query } from "./api.js";
import { count, t } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { Trouble, Waiting, useProblem } from "./parts.js";
import { unitsAt } from "./text.js";

const PAGE = 100;

/** @param {{about: Api.DocumentOut, place: Page.Place, onPlace: (chunk: Api.ChunkOut) => void}} props */
export function Chunks({ about, place, onPlace }) {
  const [chunks, setChunks] = useState(/** @type {Api.ChunkOut[] | null} */ (null));
  const [cursor, setCursor] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useProblem();
  const meant = useRef(/** @type {HTMLElement | null} */ (null));
  const load = async (/** @type {string | null} */ after, /** @type {AbortController} */ abort = new AbortController()) => {
    try {
      /** @type {Api.PageOut<Api.ChunkOut>} */
      const page = await get(`/documents/${encodeURIComponent(about.id)}/chunks${query({ collection: about.collection, limit: PAGE, cursor: after })}`, { signal: abort.signal });
      setChunks((known) => (after && known ? [...known, ...page.items] : page.items));
      setCursor(page.next_cursor);
      setProblem(null);
    } catch (error) {
      if (!abort.signal.aborted) setProblem(error);
    }
  };
  useEffect(() => {
    const abort = new AbortController();
    setChunks(null);
    load(null, abort);
    return () => abort.abort();
  }, [about.id, about.collection, about.revision]);
  const holds = (/** @type {Api.ChunkOut} */ chunk) => place.start !== null && chunk.start <= place.start && place.start < chunk.end;
  const first = chunks?.findIndex(holds) ?? -1;
  useLayoutEffect(() => meant.current?.scrollIntoView({ block: "start" }), [first]);
  if (problem) return html`<${Trouble} problem=${problem} retry=${() => load(null)} />`;
  if (!chunks) return html`<${Waiting} />`;
  return html`<div class="document-text chunks" tabindex="0" role="region" aria-label=${t.chunks}>
    <p class="quiet">${t.chunksLead}</p>
    ${chunks.length === 0 && html`<p class="note">${t.noChunks}</p>`}
    <ol>${chunks.map((chunk, at) => html`<${Chunk} key=${chunk.node_id} chunk=${chunk} before=${chunks[at - 1]} meant=${at === first} frame=${at === first ? meant : null} onPlace=${onPlace} />`)}</ol>
    ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.more}</button>`}
  </div>`;
}

/** @param {{chunk: Api.ChunkOut, before?: Api.ChunkOut, meant: boolean, frame: {current: HTMLElement | null} | null,
 *           onPlace: (chunk: Api.ChunkOut) => void}} props */
function Chunk({ chunk, before, meant, frame, onPlace }) {
  const shared = before ? Math.max(0, Math.min(before.end, chunk.end) - chunk.start) : 0;
  const cut = unitsAt(chunk.text, shared);
  const name = t.chunkNumber(count(chunk.chunk_index + 1));
  return html`<li class=${meant ? "meant" : ""} ref=${frame}>
    <header>
      <h3>${name}</h3>
      <span class="quiet">${t.chunkPlace(count(chunk.start), count(chunk.end))}</span>
      <span class="space"></span>
      <button class="link" aria-label=${`${t.inText}: ${name}`} onClick=${() => onPlace(chunk)}>${t.inText}</button>
    </header>
    ${chunk.heading && html`<p class="quiet" dir="auto">${chunk.heading}</p>`}
    <div class="text" dir="auto">${shared > 0 && html`<span class="shared" title=${t.sharedChunk}><${Icon} name="again" /><span class="hidden">${t.sharedChunk}: </span>${chunk.text.slice(0, cut)}</span>`}${chunk.text.slice(cut)}</div>
  </li>`;
}
