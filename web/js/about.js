// What is known of a document: its metadata, what its reader warns of, who may read it, which answers cited it; replacing it.
import { query, send } from "./api.js";
import { count, size, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, signal, useEffect, useRef, useState } from "./lib.js";
import { Trouble, Waiting, usePages, useProblem } from "./parts.js";
import { may, said } from "./state.js";
import { UploadItem, start, uploads } from "./uploads.js";

const PAGE = 20;
/** Who may read documents, where that was changed here since they were fetched: by collection and id. */
const changed = signal(/** @type {Record<string, string[]>} */ ({}));

/** @param {{about: Api.DocumentOut}} props */
export function About({ about }) {
  const facts = [
    [t.source, html`<span dir="auto">${about.source}</span>`],
    [t.documentId, html`<code class="id">${about.id}</code>`],
    [t.collection, about.collection],
    [t.revision, count(about.revision)],
    [t.ingested, when(about.ingested_at)],
    [t.bytes, size(about.bytes)],
    [t.pagesColumn, about.pages ? count(about.pages) : t.scoreNone],
    [t.chunks, count(about.chunks)],
    ["SHA-256", html`<code class="id">${about.content_hash}</code>`],
  ];
  if (about.parent) facts.push([t.attachedTo, html`<code class="id">${about.parent}</code>`]);
  return html`<div class="document-text about" tabindex="0" role="region" aria-label=${t.aboutDocument}>
    ${may("documents:write") && !about.parent && html`<${Replace} about=${about} />`}
    <dl class="facts">${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
    <${Metadata} metadata=${about.metadata} />
    <section><h3>${t.warnings}</h3>
      ${about.warnings.length === 0 ? html`<p class="quiet">${t.noWarnings}</p>` : html`<ul class="plain-list">${about.warnings.map((each) => html`<li>${each.page ? `${t.page(each.page)}: ` : ""}${each.detail} <code>${each.kind}</code></li>`)}</ul>`}
    </section>
    <${Readers} about=${about} />
    ${(may("audit") || may("query")) && html`<${Answers} about=${about} />`}
  </div>`;
}

/** @param {{metadata: Api.DocumentOut["metadata"]}} props */
function Metadata({ metadata }) {
  const entries = Object.entries(metadata);
  return html`<section><h3>${t.metadata}</h3>
    ${entries.length === 0 ? html`<p class="quiet">${t.noMetadata}</p>` : html`<dl class="facts">${entries.map(([name, value]) => html`<dt dir="auto">${name}</dt><dd dir="auto"><code>${JSON.stringify(value)}</code></dd>`)}</dl>`}
  </section>`;
}

/** @param {{about: Api.DocumentOut}} props */
function Replace({ about }) {
  const chooser = useRef(/** @type {HTMLInputElement | null} */ (null));
  const choose = (/** @type {Page.On} */ event) => {
    const [file] = event.currentTarget.files ?? [];
    event.currentTarget.value = "";
    if (file) start({ name: file.name, file, collection: about.collection, replaces: { id: about.id, metadata: about.metadata } });
  };
  const under = uploads.value.find((each) => each.replaces?.id === about.id && each.collection === about.collection);
  return html`<div class="replace">
    <button class="button" onClick=${() => chooser.current?.click()}><${Icon} name="upload" />${t.replace}</button>
    <p class="quiet">${t.replaceMore}</p>
    <input class="hidden" type="file" tabindex="-1" aria-hidden="true" ref=${chooser} onChange=${choose} />
    ${under && html`<ul class="uploads" aria-live="polite"><${UploadItem} upload=${under} /></ul>`}
  </div>`;
}

/** A reader in words. @param {string} reader */
const readerSaid = (reader) => (reader === "*" ? t.everybody : reader.startsWith("user:") ? t.person(reader.slice(5)) : reader.startsWith("group:") ? t.group(reader.slice(6)) : reader);

/** @param {{about: Api.DocumentOut}} props */
function Readers({ about }) {
  const [draft, setDraft] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useProblem();
  const edit = useRef(/** @type {HTMLElement | null} */ (null));
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const place = `${about.collection}\n${about.id}`;
  const readers = changed.value[place] ?? about.readers;
  useEffect(() => box.current?.focus(), [draft === null]);
  const close = () => {
    setDraft(null);
    setProblem(null);
    requestAnimationFrame(() => edit.current?.focus());
  };
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (draft === null) return;
    const wanted = draft.split("\n").map((line) => line.trim()).filter(Boolean);
    try {
      /** @type {Api.ReadersOut} */
      const told = await (await send("PUT", `/documents/${encodeURIComponent(about.id)}/readers${query({ collection: about.collection })}`, { json: { readers: wanted } })).json();
      changed.value = { ...changed.value, [place]: told.readers };
      said.value = t.saved;
      close();
    } catch (error) {
      setProblem(error);
    }
  };
  return html`<section><h3>${t.readers}</h3>
    ${draft === null
      ? html`<ul class="badges">${readers.map((each) => html`<li class="badge" dir="auto">${readerSaid(each)}</li>`)}${readers.length === 0 && html`<li class="quiet">${t.noReaders}</li>`}</ul>
        ${may("documents:write") && !about.parent && html`<button class="link" ref=${edit} onClick=${() => setDraft(readers.join("\n"))}>${t.changeReaders}</button>`}`
      : html`<form class="stack" onSubmit=${save}>
        <label>${t.readersHelp}<textarea rows="4" spellcheck="false" value=${draft} onInput=${(event) => setDraft(event.currentTarget.value)} ref=${box}></textarea></label>
        ${problem && html`<${Trouble} problem=${problem} />`}
        <p class="row"><button class="button primary">${t.save}</button><button class="button" type="button" onClick=${close}>${t.cancel}</button></p>
      </form>`}
  </section>`;
}

/** @param {{about: Api.DocumentOut}} props */
function Answers({ about }) {
  const { items: answers, cursor, problem, load } = /** @type {Page.Pages<Api.DocumentAnswerOut>} */ (usePages((after) => `/documents/${encodeURIComponent(about.id)}/answers${query({ collection: about.collection, cited: true, limit: PAGE, cursor: after })}`, [about.id, about.collection]));
  return html`<section><h3>${t.citedBy}</h3>
    ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
    ${answers === null && !problem && html`<${Waiting} />`}
    ${answers?.length === 0 && html`<p class="quiet">${t.citedByNone}</p>`}
    ${answers && answers.length > 0 && html`<ul class="answers">${answers.map((each) => html`<li key=${each.id}>
      <span>${when(each.at)}</span>
      <span dir="auto">${each.subject}</span>
      <span class="quiet">${t.chunksCited(each.chunks.map((chunk) => count(chunk + 1)).join(", "))}</span>
      ${each.feedback && html`<span class="quiet">${each.feedback.rating === "up" ? t.good : t.bad}</span>`}
      ${each.conversation_id && may("query") && html`<a href=${`#/c/${encodeURIComponent(each.conversation_id)}`}>${t.openConversation}</a>`}
    </li>`)}</ul>`}
    ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.more}</button>`}
  </section>`;
}
