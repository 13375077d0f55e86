// The view of whoever operates the server: what it stands on, its queue, what was used, keys, tenants, the audit record.
import { Audit } from "./audit.js";
import { Problem, get } from "./api.js";
import { count, inWords, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useState } from "./lib.js";
import { Jobs } from "./jobs.js";
import { Keys } from "./keys.js";
import { Trouble, Waiting, useCurrentSeen, useProblem, useRepeated } from "./parts.js";
import { may, path } from "./state.js";
import { Tenants } from "./tenants.js";
import { Usage } from "./usage.js";

const EVERY = 10_000;

/** The sections, by the second part of the path.
 *  @type {Record<string, {name: string, may: () => boolean, part: () => Page.Nodes}>} */
const SECTIONS = {
  health: { name: t.health, may: () => true, part: Health },
  jobs: { name: t.jobs, may: () => may("documents:read"), part: Jobs },
  usage: { name: t.usage, may: () => true, part: Usage },
  keys: { name: t.keys, may: () => may("keys"), part: Keys },
  tenants: { name: t.tenants, may: () => may("tenants"), part: Tenants },
  audit: { name: t.audit, may: () => may("audit"), part: Audit },
};

export default function Operate() {
  const asked = path.value.split("/")[2] ?? "";
  const chosen = Object.hasOwn(SECTIONS, asked) && SECTIONS[asked].may() ? asked : "health";
  const { part: Part } = SECTIONS[chosen];
  const sections = useCurrentSeen([chosen]);
  return html`<main id="content" class="documents" tabindex="-1"><div class="wide operate">
    <h1>${t.operate}</h1>
    <nav class="sections" ref=${sections} aria-label=${t.operate}>${Object.entries(SECTIONS).map(([name, each]) => each.may() && html`<a href=${`#/operate/${name}`} aria-current=${name === chosen ? "page" : null}>${each.name}</a>`)}</nav>
    <${Part} key=${chosen} />
  </div></main>`;
}

function Health() {
  const [found, setFound] = useState(/** @type {{ready: boolean, at: string, dependencies: Record<string, Api.DependencyOut>} | null} */ (null));
  const [problem, setProblem] = useProblem();
  const load = async () => {
    try {
      /** @type {Api.ReadyOut} */
      const told = await get("/ready");
      setFound({ ready: true, at: new Date().toISOString(), dependencies: told.dependencies });
      setProblem(null);
    } catch (error) {
      // a server that is not ready says so with 503, and of what
      if (error instanceof Problem && error.told.dependencies) {
        setFound({ ready: false, at: new Date().toISOString(), dependencies: error.told.dependencies });
        setProblem(null);
      } else setProblem(error);
    }
  };
  useRepeated(load, EVERY, []);
  return html`<section class="stack" aria-labelledby="health">
    <div class="heading-row"><h2 id="health">${t.health}</h2><button class="icon-button" title=${t.lookAgain} aria-label=${t.lookAgain} onClick=${load}><${Icon} name="again" /></button></div>
    ${problem && html`<${Trouble} problem=${problem} retry=${load} />`}
    ${!found && !problem && html`<${Waiting} />`}
    ${found && html`
      <p class=${`verdict ${found.ready ? "good" : "bad"}`} role="status"><${Icon} name=${found.ready ? "check" : "warn"} /><strong>${found.ready ? t.ready : t.notReady}</strong> <span class="quiet">${t.lookedAt(when(found.at))}</span></p>
      <ul class="cards">${Object.entries(found.dependencies).map(([name, state]) => html`<${Dependency} key=${name} name=${name} state=${state} />`)}</ul>`}
  </section>`;
}

/** Something that the server stands on. It may answer, and yet leave somebody something to look at.
 *  @param {{name: string, state: Api.DependencyOut}} props */
function Dependency({ name, state }) {
  const [kind, told] = state.ok
    ? state.facts?.note ? ["warn", t.ails] : ["good", t.works]
    : state.required ? ["bad", t.broken]
    : /^model( |$)/.test(name) ? ["bad", t.unanswered] // the server is ready even so: passages are found without it
    : ["warn", name === "embedding" ? t.keywordsAlone : t.limps];
  return html`<li class=${`card dependency ${kind}`}>
    <h3><${Icon} name=${kind === "good" ? "check" : "warn"} />${inWords(t.dependency, name)}</h3>
    <p class="state-name">${told}</p>
    <p class="quiet" dir="auto" title=${state.detail}>${detailOf(name, state)}</p>
  </li>`;
}

/** What the server says of a dependency, in the reader's language where it comes as facts, or is always the same.
 *  @param {string} name @param {Api.DependencyOut} state */
function detailOf(name, { ok, detail, facts }) {
  const told = /** @type {Record<string, string | number>} */ (facts);
  const number = (/** @type {string} */ of) => count(Number(told[of]));
  if (name === "workers" && "wanted" in told) return t.someOf(number("answering"), number("wanted"));
  if (name === "connections" && "most" in told) return t.connectionsOf(number("most"), number("allowed"), number("servers"));
  if (ok && told.note) return `${told.model}: ${told.note}`;
  if (ok && ["model", "rerank"].includes(name) && told.model) return `${told.model} (${inWords(t.provider, String(told.provider))})`;
  return inWords(t.healthDetail, detail).replace(/^revision (\d+)$/, (_, revision) => t.schemaRevision(revision));
}
