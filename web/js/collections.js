// The view of collections: what there is, making one; one collection with its generations.
import { get, send } from "./api.js";
import { count, languageName, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useEffect, useRef, useState } from "./lib.js";
import { Generations } from "./generations.js";
import { Missing } from "./missing.js";
import { Confirm, Dialog, Trouble, Waiting, useProblem, useRepeated } from "./parts.js";
import { collections, go, loadCollections, may, path, said, toast } from "./state.js";

const EVERY = 5000;
// the text search configurations that PostgreSQL brings along
const LANGUAGES = "arabic armenian basque catalan danish dutch english finnish french german greek hindi hungarian indonesian irish italian lithuanian nepali norwegian portuguese romanian russian serbian simple spanish swedish tamil turkish yiddish".split(" ");

/** @param {string} name */
export const addressOf = (name) => `#/collections/${encodeURIComponent(name)}`;

export default function Collections() {
  const asked = path.value.split("/")[2];
  return html`<main id="content" class="documents" tabindex="-1"><div class="wide">${asked ? html`<${One} key=${asked} name=${decoded(asked)} />` : html`<${All} />`}</div></main>`;
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function All() {
  const [problem, setProblem] = useProblem();
  const [making, setMaking] = useState(false);
  const load = () => loadCollections().then(() => setProblem(null), setProblem);
  useEffect(() => {
    load();
  }, []);
  const items = collections.value;
  return html`
    <div class="heading-row"><h1>${t.collections}</h1>${may("collections:write") && html`<button class="button primary" onClick=${() => setMaking(true)}><${Icon} name="plus" />${t.newCollection}</button>`}</div>
    <p class="quiet">${t.collectionsLead}</p>
    ${problem && html`<${Trouble} problem=${problem} retry=${load} />`}
    ${items === null && !problem && html`<${Waiting} />`}
    ${items?.length === 0 && html`<div class="nothing"><${Icon} name="file" /><p><strong>${t.noCollections}</strong></p></div>`}
    ${items && items.length > 0 && html`<div class="table-frame"><table class="list">
      <thead><tr><th scope="col">${t.name}</th><th scope="col" class="figure">${t.documents}</th><th scope="col" class="figure">${t.chunks}</th><th scope="col">${t.embeddingModel}</th><th scope="col">${t.language}</th><th scope="col">${t.madeAt}</th></tr></thead>
      <tbody>${items.map((each) => html`<tr key=${each.name}>
        <th scope="row"><a class="link" dir="auto" href=${addressOf(each.name)}>${each.name}</a>${each.building && html` <span class="badge">${t.generationState.building}</span>`}</th>
        <td class="figure" data-name=${t.documents}>${count(each.documents)}</td>
        <td class="figure" data-name=${t.chunks}>${count(each.chunks)}</td>
        <td>${each.embedding_model}</td>
        <td>${languageName(each.language)}</td>
        <td class="when">${when(each.created_at)}</td>
      </tr>`)}</tbody>
    </table></div>`}
    ${making && html`<${Make} onClose=${() => setMaking(false)} />`}`;
}

/** @param {{onClose: () => void}} props */
function Make({ onClose }) {
  const [problem, setProblem] = useProblem();
  const [busy, setBusy] = useState(false);
  const name = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => name.current?.focus(), []);
  const submit = async (/** @type {Page.On<HTMLFormElement>} */ event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (/** @type {string} */ key) => String(form.get(key) ?? "").trim();
    /** @type {Api.CollectionBody} */
    const body = { name: text("name") };
    for (const key of /** @type {const} */ (["language", "embedding"])) if (text(key)) body[key] = text(key);
    for (const key of /** @type {const} */ (["chunk_tokens", "chunk_overlap"])) if (text(key)) body[key] = Number(text(key));
    const readers = text("readers").split("\n").map((line) => line.trim()).filter(Boolean);
    if (readers.length) body.readers = readers;
    setBusy(true);
    try {
      /** @type {Api.CollectionOut} */
      const made = await (await send("POST", "/collections", { json: body })).json();
      await loadCollections().catch(() => {}); // only numbers are stale then
      said.value = t.collectionMade(made.name);
      onClose();
      go({ path: `/collections/${encodeURIComponent(made.name)}`, push: true });
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${t.newCollection} onClose=${onClose}>
    <form class="stack" onSubmit=${submit}>
      <label>${t.name}<input name="name" ref=${name} required maxlength="63" pattern="[a-z0-9][a-z0-9_\\-]*" title=${t.nameHelp} autocomplete="off" autocapitalize="off" spellcheck="false" aria-describedby="name-help" /><small id="name-help">${t.nameHelp}</small></label>
      <label>${t.language}<select name="language"><option value="">${t.asServer}</option>${LANGUAGES.map((each) => html`<option value=${each}>${languageName(each)}</option>`)}</select><small>${t.languageHelp}</small></label>
      <div class="two">
        <label>${t.chunkTokens}<input type="number" name="chunk_tokens" min="16" max="100000" placeholder=${t.asServer} /></label>
        <label>${t.chunkOverlap}<input type="number" name="chunk_overlap" min="0" max="10000" placeholder=${t.asServer} /></label>
      </div>
      <p class="quiet">${t.chunkHelp}</p>
      <details class="more-options"><summary>${t.moreOptions}</summary><div class="stack">
        <label>${t.embeddingName}<input name="embedding" maxlength="63" pattern="[a-z0-9][a-z0-9_.\\-]*" placeholder="default" autocapitalize="off" spellcheck="false" /><small>${t.embeddingHelp}</small></label>
        <label>${t.readers}<textarea name="readers" rows="3" placeholder="*" spellcheck="false"></textarea><small>${t.readersHelp}</small></label>
      </div></details>
      ${problem && html`<${Trouble} problem=${problem} />`}
      <p class="row"><button class="button primary" disabled=${busy}>${t.make}</button><button class="button" type="button" onClick=${onClose}>${t.cancel}</button></p>
    </form>
  <//>`;
}

/** @param {{name: string}} props */
function One({ name }) {
  const [about, setAbout] = useState(/** @type {Api.CollectionOut | null} */ (null));
  const [problem, setProblem] = useProblem();
  const [leaving, setLeaving] = useState(false);
  const load = async () => {
    try {
      setAbout(await get(`/collections/${encodeURIComponent(name)}`));
      setProblem(null);
    } catch (error) {
      setProblem(error);
    }
  };
  useRepeated(load, EVERY, [name]);
  const remove = async () => {
    await send("DELETE", `/collections/${encodeURIComponent(name)}`);
    await loadCollections().catch(() => {}); // the list says so
    toast(t.deleted(name));
    go({ path: "/collections", set: { collection: null } });
  };
  const back = html`<p><a class="link" href="#/collections">← ${t.collections}</a></p>`;
  if (problem?.slug === "collection-not-found") return [back, html`<h1 dir="auto">${name}</h1><${Missing} choose=${(/** @type {string} */ other) => go({ path: `/collections/${encodeURIComponent(other)}`, push: true })} />`];
  return html`
    ${back}
    <div class="heading-row"><h1 dir="auto">${name}</h1>
      ${about && may("documents:read") && html`<a class="button" href=${`#/documents?collection=${encodeURIComponent(name)}`}><${Icon} name="file" />${t.documents}</a>`}
      ${about && may("collections:write") && html`<button class="button" onClick=${() => setLeaving(true)}><${Icon} name="trash" />${t.delete}</button>`}
    </div>
    ${problem && html`<${Trouble} problem=${problem} retry=${load} />`}
    ${!about && !problem && html`<${Waiting} />`}
    ${about && html`<dl class="tiles">
        <div><dt>${t.documents}</dt><dd>${count(about.documents)}</dd></div>
        <div><dt>${t.chunks}</dt><dd>${count(about.chunks)}</dd></div>
        <div><dt>${t.embeddingModel}</dt><dd>${about.embedding_model}</dd></div>
        <div><dt>${t.language}</dt><dd>${languageName(about.language)}</dd></div>
        <div><dt>${t.defaultReaders}</dt><dd dir="auto">${about.readers.map((each) => (each === "*" ? t.everybody : each)).join(", ") || t.noReaders}</dd></div>
      </dl>
      <${Generations} about=${about} onChange=${load} />`}
    ${about && leaving && html`<${Confirm} title=${t.deleteCollection(name)} action=${t.delete} danger typed=${name} run=${remove} onClose=${() => setLeaving(false)}>
      <p>${t.deleteCollectionMore(t.nDocuments(about.documents, count(about.documents)))}</p>
    <//>`}`;
}
