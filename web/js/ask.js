// The view for asking: conversations at the side, the answers, the question's box with its options.
import { Problem, get, query, send } from "./api.js";
import { Answer } from "./answer.js";
import { ago, count, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, signal, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { Missing } from "./missing.js";
import { Trouble, useEscape, useProblem } from "./parts.js";
import { DEFAULTS, collection, collections, filtersOf, go, may, missing, options, params, path, remembers, said, toast } from "./state.js";
import { Suggestions } from "./suggestions.js";
import { ask, changed, clear, conversation, resumeAfterReload, show, stop, turns } from "./turns.js";

const drawer = signal(false);
const list = signal(/** @type {Api.ConversationOut[] | null} */ (null));
const listing = signal(false);

/** @param {{onChoose: (collection: string) => void}} props */
export function Ask({ onChoose }) {
  const [problem, setProblem] = useProblem();
  const end = useRef(/** @type {HTMLElement | null} */ (null));
  const thread = useRef(/** @type {HTMLElement | null} */ (null));
  const asked = path.value.startsWith("/c/") ? decodeURIComponent(path.value.slice(3)) : null;
  useEffect(() => {
    setProblem(null);
    if (asked) show(asked).catch((error) => error instanceof Problem && setProblem(error));
    else if (conversation.value) clear();
    else resumeAfterReload();
  }, [asked]);
  const last = turns.value.at(-1);
  const { state, text, citations } = last?.value ?? {};
  const followed = useRef(true);
  useLayoutEffect(() => {
    if (followed.current && state) end.current?.scrollIntoView({ block: "end" });
  }, [state, text, citations]);
  useLayoutEffect(() => {
    followed.current = true;
  }, [last]);
  useEffect(() => {
    // in a low window the page itself scrolls
    const left = (/** @type {HTMLElement} */ { scrollTop, scrollHeight, clientHeight }) => scrollHeight - scrollTop - clientHeight;
    const scrolled = () => {
      if (thread.current) followed.current = left(thread.current) < 80 && left(document.documentElement) < 80 + (thread.current.querySelector(".composer-column")?.clientHeight ?? 0);
    };
    document.addEventListener("scroll", scrolled, true);
    return () => document.removeEventListener("scroll", scrolled, true);
  }, []);
  if (!may("query")) return html`<main id="content" class="alone"><p>${t.noQuery}</p></main>`;
  if (missing.value && !asked) return html`<${Conversations} /><main id="content" class="alone" tabindex="-1"><${Missing} choose=${onChoose} /></main>`;
  const empty = turns.value.length === 0 && !problem;
  return html`
    <${Conversations} />
    <main id="content" class=${`ask ${empty ? "empty" : ""}`} tabindex="-1" ref=${thread}>
      <div class="thread">
        <div class="column">
          ${empty && html`<${Welcome} />`}
          ${problem && html`<${Trouble} problem=${problem} />`}
          ${turns.value.map((turn) => html`<${Answer} key=${turn.value.id} turn=${turn} />`)}
          <div ref=${end}></div>
        </div>
      </div>
      <div class="column composer-column"><${Composer} busy=${state === "asking" || state === "streaming"} follows=${turns.value.length > 0} /></div>
    </main>
    ${drawer.value && html`<${Options} />`}`;
}

function Welcome() {
  const here = collections.value?.find((each) => each.name === collection.value);
  const nothing = collections.value !== null && (here === undefined || here.documents === 0);
  return html`<div class="welcome">
    <h1>${t.askTitle}</h1>
    <p>${t.askLead}</p>
    ${here && !nothing && html`<p class="quiet">${t.inCollection(here.name, t.nDocuments(here.documents, count(here.documents)))}</p>`}
    ${nothing && html`<p class="note">${t.emptyCollection} ${may("documents:write") && html`<a href="#/documents">${t.bring}</a>`}</p>`}
    ${here && !nothing && html`<${Suggestions} collection=${here.name} />`}
  </div>`;
}

/** @param {{busy: boolean, follows: boolean}} props */
function Composer({ busy, follows }) {
  const [text, setText] = useState("");
  const box = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useLayoutEffect(() => {
    if (!box.current) return;
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(box.current.scrollHeight, 200)}px`;
  }, [text]);
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) box.current?.focus({ preventScroll: true });
  }, [conversation.value]);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const question = box.current?.value.trim(); // the state may not have heard of the last key yet
    if (!question) return;
    setText("");
    ask(question);
  };
  const key = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };
  const { mode, k } = options.value;
  const label = follows && remembers.value ? t.askMore : t.askPlaceholder;
  return html`<form class="composer" onSubmit=${submit}>
    <textarea ref=${box} rows="1" maxlength="8000" dir="auto" aria-label=${label} placeholder=${label} value=${text} onInput=${(event) => setText(event.currentTarget.value)} onKeyDown=${key}></textarea>
    <div class="composer-bar">
      <button type="button" class="chip" aria-haspopup="dialog" aria-expanded=${drawer.value} onClick=${() => (drawer.value = true)}><${Icon} name="sliders" />${mode} · ${t.nPassages(k, count(k))}${options.value.filters ? ` · ${t.filters}` : ""}</button>
      ${busy
        ? html`<button type="button" class="send" title=${t.stop} aria-label=${t.stop} onClick=${stop}><${Icon} name="stop" /></button>`
        : html`<button class="send" title=${t.send} aria-label=${t.send} disabled=${!text.trim()}><${Icon} name="send" /></button>`}
    </div>
  </form>`;
}

/** @type {Api.Filter["operator"][]} */
const OPERATORS = ["==", "!=", ">", ">=", "<", "<=", "in", "nin", "contains", "text_match", "text_match_insensitive"];

/** How questions are asked. Every change goes into the page's address. */
function Options() {
  const frame = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const away = () => (drawer.value = false);
  useEffect(() => {
    const before = document.activeElement;
    frame.current?.showModal();
    addEventListener("hashchange", away); // what is set here changes the address without it
    return () => {
      removeEventListener("hashchange", away);
      away();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  const found = params.value;
  const rows = filtersOf(found.get("filters"));
  const set = (/** @type {string} */ name, /** @type {string | null} */ value) => go({ set: { [name]: value } });
  /** @param {ReturnType<typeof filtersOf>} next */
  const setRows = (next) => set("filters", next.length ? JSON.stringify(next.map(({ key, operator, value }) => [key, operator, value])) : null);
  const change = (/** @type {number} */ place, /** @type {Partial<(typeof rows)[number]>} */ patch) => setRows(rows.map((row, at) => (at === place ? { ...row, ...patch } : row)));
  const reset = () => go({ set: { mode: null, k: null, rerank: null, min_score: null, filters: null, keep: null } });
  return html`<dialog class="drawer" ref=${frame} aria-label=${t.options} onClose=${away} onClick=${(event) => event.target === frame.current && away()}>
    <div class="drawer-body">
      <header><h2>${t.options}</h2><button class="icon-button" title=${t.close} aria-label=${t.close} onClick=${away}><${Icon} name="close" /></button></header>
      <label>${t.mode}<select value=${options.value.mode} onChange=${(event) => set("mode", event.currentTarget.value === DEFAULTS.mode ? null : event.currentTarget.value)}>
        ${Object.entries(t.modes).map(([mode, name]) => html`<option value=${mode} selected=${mode === options.value.mode}>${name}</option>`)}
      </select></label>
      <label>${t.k}<input type="number" min="1" max="100" value=${options.value.k} onChange=${(event) => set("k", Number(event.currentTarget.value) === DEFAULTS.k ? null : event.currentTarget.value)} /><small>${t.kHelp}</small></label>
      <label>${t.rerank}<select value=${found.get("rerank") ?? ""} onChange=${(event) => set("rerank", event.currentTarget.value)}>
        <option value="">${t.rerankAuto}</option><option value="1">${t.yes}</option><option value="0">${t.no}</option>
      </select></label>
      <label>${t.minScore}<input type="number" min="0" max="1" step="0.05" value=${found.get("min_score") ?? ""} onChange=${(event) => set("min_score", event.currentTarget.value)} /><small>${t.minScoreHelp}</small></label>
      <label class="check"><input type="checkbox" checked=${remembers.value} onChange=${(event) => set("keep", event.currentTarget.checked ? null : "0")} /><span>${t.keep}<small>${t.keepHelp}</small></span></label>
      <fieldset><legend>${t.filters}</legend>
        ${rows.map((row, place) => html`<div class="filter" key=${place}>
          <input aria-label=${t.filterKey} placeholder=${t.filterKey} value=${row.key} onChange=${(event) => change(place, { key: event.currentTarget.value })} />
          <select aria-label=${t.filterOperator} value=${row.operator} onChange=${(event) => change(place, { operator: event.currentTarget.value })}>${OPERATORS.map((each) => html`<option selected=${each === row.operator}>${each}</option>`)}</select>
          <input aria-label=${t.filterValue} placeholder=${t.filterValue} value=${row.value} onChange=${(event) => change(place, { value: event.currentTarget.value })} />
          <button class="icon-button" title=${t.delete} aria-label=${t.delete} onClick=${() => setRows(rows.filter((_, at) => at !== place))}><${Icon} name="close" /></button>
        </div>`)}
        <button class="button" onClick=${() => setRows([...rows, { key: "", operator: "==", value: "" }])}><${Icon} name="plus" />${t.addFilter}</button>
      </fieldset>
      <p class="quiet">${t.inAddress}</p>
      <button class="button" onClick=${reset}>${t.reset}</button>
    </div>
  </dialog>`;
}

const PAGE = 40;
const LATEST = "-updated_at";

/** The list of conversations. On narrow screens it lies over the page when it is asked for. */
function Conversations() {
  const [cursor, setCursor] = useState(/** @type {string | null} */ (null));
  const [naming, setNaming] = useState(/** @type {string | null} */ (null));
  const hidden = useRef(new Set());
  const [words, setWords] = useState("");
  const [sort, setSort] = useState(LATEST);
  const asked = useRef("");
  const timer = useRef(0);
  const load = async (/** @type {string | null} */ after = null) => {
    const search = query({ limit: PAGE, q: words, sort, cursor: after });
    asked.current = search;
    try {
      /** @type {Api.PageOut<Api.ConversationOut>} */
      const page = await get(`/conversations${search}`);
      if (asked.current !== search) return; // another list was asked for since
      list.value = after && list.value ? [...list.value, ...page.items] : page.items;
      setCursor(page.next_cursor);
      if (words) said.value = t.found(t.nConversations(page.items.length, count(page.items.length)));
    } catch (error) {
      if (error instanceof Problem) list.value ??= [];
    }
  };
  useEffect(() => {
    load();
  }, [changed.value, words, sort]);
  const search = (/** @type {Page.On} */ event) => {
    const { value } = event.currentTarget;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setWords(value.trim()), 250);
  };
  /** Change what is known of the list. @param {(known: Api.ConversationOut[]) => Api.ConversationOut[]} how */
  const relist = (how) => (list.value = how(list.value ?? []));
  const remove = (/** @type {Api.ConversationOut} */ each) => {
    hidden.current.add(each.id);
    relist((known) => [...known]);
    const timer = setTimeout(async () => {
      try {
        await send("DELETE", `/conversations/${encodeURIComponent(each.id)}`);
        relist((known) => known.filter((other) => other.id !== each.id));
      } catch (error) {
        hidden.current.delete(each.id);
        relist((known) => [...known]);
        toast(error instanceof Problem ? error.detail || error.title || t.failed : t.failed);
      }
    }, 5000);
    const undo = () => (clearTimeout(timer), hidden.current.delete(each.id), relist((known) => [...known]));
    toast(t.willDeleteConversation(each.title), { action: t.undo, run: undo, ms: 5000 });
    if (each.id === conversation.value) fresh();
  };
  const rename = async (/** @type {Api.ConversationOut} */ each, /** @type {string} */ title) => {
    setNaming(null);
    if (!title.trim() || title === each.title) return;
    try {
      await send("PATCH", `/conversations/${encodeURIComponent(each.id)}`, { json: { title: title.trim() } });
      relist((known) => known.map((other) => (other.id === each.id ? { ...other, title: title.trim() } : other)));
    } catch (error) {
      toast(error instanceof Problem ? error.detail || error.title || t.failed : t.failed);
    }
  };
  const fresh = () => {
    clear();
    listing.value = false;
    go({ path: "/", push: true });
  };
  const several = (collections.value?.length ?? 0) > 1;
  const timeOf = (/** @type {Api.ConversationOut} */ each) => (sort === "-created_at" ? each.created_at : each.updated_at);
  const seen = (list.value ?? []).filter((each) => !hidden.current.has(each.id));
  return html`<nav class=${`conversations ${listing.value ? "over" : ""}`} aria-label=${t.conversations}>
    <button class="button new" onClick=${fresh}><${Icon} name="plus" />${t.newConversation}</button>
    <h2>${t.conversations}</h2>
    ${(seen.length > 1 || words) && html`<div class="find">
      <input class="search" type="search" maxlength="1000" aria-label=${t.searchConversations} placeholder=${t.searchConversations} defaultValue=${words} onInput=${search} />
      <select aria-label=${t.sortBy} value=${sort} onChange=${(event) => setSort(event.currentTarget.value)}>${Object.entries(t.conversationSorts).map(([by, name]) => html`<option value=${by} selected=${by === sort}>${name}</option>`)}</select>
    </div>`}
    ${list.value !== null && seen.length === 0 && html`<p class="quiet">${words ? t.noConversationFound(words) : t.noConversations}</p>`}
    <ul>
      ${seen.map((each) => html`<li key=${each.id} class=${each.id === conversation.value ? "current" : ""}>
        ${naming === each.id
          ? html`<${Naming} title=${each.title} onEnd=${(/** @type {string} */ title) => rename(each, title)} />`
          : html`<a href=${`#/c/${encodeURIComponent(each.id)}`} aria-current=${each.id === conversation.value ? "page" : null} title=${`${each.title}\n${when(timeOf(each))}`} onClick=${() => (listing.value = false)}><span dir="auto">${each.title}</span><small>${several ? `${each.collection} · ` : ""}${ago(timeOf(each))}</small></a>
            <span class="row-actions">
              <button class="icon-button small" title=${t.rename} aria-label=${`${t.rename}: ${each.title}`} onClick=${() => setNaming(each.id)}><${Icon} name="pencil" /></button>
              <button class="icon-button small" title=${t.delete} aria-label=${t.deleteNamed(each.title)} onClick=${() => remove(each)}><${Icon} name="trash" /></button>
            </span>`}
      </li>`)}
    </ul>
    ${cursor && html`<button class="link" onClick=${() => load(cursor)}>${t.earlier}</button>`}
  </nav>
  ${listing.value && html`<div class="veil" onClick=${() => (listing.value = false)}></div>`}
  ${listing.value && html`<${Escaped} run=${() => (listing.value = false)} />`}`;
}

/** The button that shows the list of conversations where the screen is narrow. */
export const ShowConversations = () => html`<button class="icon-button only-narrow" title=${t.conversations} aria-label=${t.conversations} aria-expanded=${listing.value} onClick=${() => (listing.value = !listing.value)}><${Icon} name="chats" /></button>`;

/** @param {{run: () => void}} props */
function Escaped({ run }) {
  useEscape(run);
  return null;
}

/** @param {{title: string, onEnd: (title: string) => void}} props */
function Naming({ title, onEnd }) {
  const box = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => box.current?.select(), []);
  const over = useRef(false); // its end takes the focus away, which ends it again
  const end = (/** @type {string} */ text) => {
    if (over.current) return;
    over.current = true;
    onEnd(text);
  };
  const key = (/** @type {Page.On<HTMLInputElement, KeyboardEvent>} */ event) => {
    if (event.key === "Enter") end(event.currentTarget.value);
    if (event.key === "Escape") (event.preventDefault(), end(title));
  };
  return html`<input ref=${box} aria-label=${t.renameTo} maxlength="200" value=${title} onKeyDown=${key} onBlur=${(event) => end(event.currentTarget.value)} />`;
}
