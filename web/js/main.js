// The page: whoever asks, the views, what lies over them.
import { Problem, asProblem, get, key, query, refused, setKey } from "./api.js";
import { Ask, ShowConversations } from "./ask.js";
import { Passage } from "./answer.js";
import { Documents } from "./documents.js";
import { isOfFiles } from "./folders.js";
import { Later } from "./later.js";
import { t } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, render, signal, useEffect } from "./lib.js";
import { Trouble, Waiting, useCurrentSeen } from "./parts.js";
import { Missing } from "./missing.js";
import { SignIn, leave, loadSession, session } from "./signin.js";
import { collection, collections, go, loadCollections, may, me, missing, params, path, said, theme, toasts } from "./state.js";
import { clear } from "./turns.js";
import { Viewer, opened } from "./viewer.js";

const trouble = signal(/** @type {Problem | null} */ (null));

async function arrive() {
  trouble.value = null;
  refused.value = false;
  loadSession();
  try {
    me.value = await get("/me");
    await loadCollections();
  } catch (error) {
    if (error instanceof Problem && error.status === 403) collections.value = [];
    else if (!(error instanceof Problem) || error.status !== 401) trouble.value = asProblem(error);
  }
}

async function signOut() {
  if (session.value.signed_in && (await leave())) return;
  clear({ forgets: true });
  setKey(null);
  me.value = null;
  collections.value = null;
  go({ path: "/" });
  refused.value = true;
}

/**
 * The views beside asking, by the first part of the path; those with `from` are fetched when they are first shown.
 * @type {Record<string, {name: string, may: () => boolean, part?: () => Page.Nodes, from?: () => Promise<{default: () => Page.Nodes}>}>}
 */
const VIEWS = {
  documents: { name: t.documents, may: () => may("documents:read"), part: Documents },
  collections: { name: t.collections, may: () => may("documents:read") || (may("collections:write") && may("query")), from: () => import("./collections.js") },
  quality: { name: t.quality, may: () => may("evaluate"), from: () => import("./quality.js") },
  operate: { name: t.operate, may: () => may("admin"), from: () => import("./operate.js") },
};

const CHOOSES = ["documents", "quality"]; // of one collection

function Page() {
  const view = path.value.split("/")[1];
  const shown = Object.hasOwn(VIEWS, view) ? VIEWS[view] : undefined;
  const tabs = useCurrentSeen([view, me.value]);
  const kept = query({ collection: params.value.get("collection") });
  useEffect(() => {
    document.title = shown ? `${shown.name} – Footnote` : "Footnote";
  }, [shown]);
  if (refused.value) return html`<${SignIn} arrive=${arrive} />`;
  return html`
    <a class="skip" href="#content" onClick=${(event) => (event.preventDefault(), document.getElementById("content")?.focus())}>${t.skip}</a>
    <header class="top">
      ${me.value && !shown && html`<${ShowConversations} />`}
      <a class="brand" href="#/" onClick=${() => !shown && clear()}>Footnote<sup aria-hidden="true">1</sup></a>
      ${me.value && html`<nav class="tabs" ref=${tabs}>
        <a href=${`#/${kept}`} aria-current=${shown ? null : "page"}>${t.ask}</a>
        ${Object.entries(VIEWS).map(([name, each]) => each.may() && html`<a href=${`#/${name}${kept}`} aria-current=${view === name ? "page" : null}>${each.name}</a>`)}
      </nav>`}
      <span class="space"></span>
      ${(!shown || CHOOSES.includes(view)) && html`<${Collections} />`}
      <${Theme} />
      ${(key.value || session.value.signed_in) && html`<button class="icon-button" title=${t.signOut} aria-label=${t.signOut} onClick=${signOut}><${Icon} name="leave" /></button>`}
    </header>
    <div class=${`view ${opened.value && me.value ? "with-viewer" : ""}`}>
      ${trouble.value ? html`<main id="content" class="alone"><${Trouble} problem=${trouble.value} retry=${arrive} /></main>` : !me.value ? html`<main id="content" class="alone"><${Waiting} /></main>` : !shown ? html`<${Ask} onChoose=${choose} />` : !shown.may() ? html`<main id="content" class="alone" tabindex="-1"><p>${t.mayNot}</p></main>` : missing.value && CHOOSES.includes(view) ? html`<main id="content" class="alone" tabindex="-1"><${Missing} choose=${choose} /></main>` : shown.part ? html`<${shown.part} />` : html`<${Later} key=${view} from=${shown.from} />`}
      ${opened.value && me.value && html`<${Viewer} place=${opened.value} />`}
    </div>
    <${Passage} />
    <${Toasts} />
    <div class="hidden" role="status" aria-live="polite">${said.value}</div>`;
}

/** Show the collection instead of the one that is shown. @param {string} name */
function choose(name) {
  clear();
  go({ path: CHOOSES.includes(path.value.slice(1)) ? path.value : "/", set: { collection: name, doc: null, sort: null, q: null, compare: null }, push: true });
}

function Collections() {
  if (!collections.value || collections.value.length < 2) return null;
  return html`<label class="collection"><span class="hidden">${t.collection}</span>
    <select value=${collection.value} onChange=${(event) => choose(event.currentTarget.value)}>${missing.value && html`<option value=${collection.value} disabled selected>${collection.value}</option>`}${collections.value.map((each) => html`<option value=${each.name} selected=${each.name === collection.value}>${each.name}</option>`)}</select>
  </label>`;
}

/** @type {Record<Page.Theme, Page.Theme>} */
const THEMES = { auto: "light", light: "dark", dark: "auto" };
const SIGNS = /** @type {const} */ ({ auto: "half", light: "sun", dark: "moon" });
const Theme = () => html`<button class="icon-button" title=${t.theme[theme.value]} aria-label=${t.theme[theme.value]} onClick=${() => (theme.value = THEMES[theme.value])}><${Icon} name=${SIGNS[theme.value]} /></button>`;

const Toasts = () => html`<div class="toasts" role="status">${toasts.value.map((each) => html`<div class="toast" key=${each.id}><span>${each.text}</span>${each.run && html`<button class="link" onClick=${each.run}>${each.action}</button>`}</div>`)}</div>`;

// a file that is dropped beside what takes files would be opened instead of the page
for (const name of /** @type {const} */ (["dragover", "drop"])) addEventListener(name, (event) => isOfFiles(event) && event.preventDefault());

render(html`<${Page} />`, /** @type {Element} */ (document.getElementById("app")));
arrive();
