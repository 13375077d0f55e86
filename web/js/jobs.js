// The queue: jobs that wait, run or have failed, and builds that run.
import { addressOf } from "./collections.js";
import { get, query, send } from "./api.js";
import { clock, count, inWords, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useRef, useState } from "./lib.js";
import { Trouble, Waiting, useProblem, useRepeated } from "./parts.js";
import { collections, go, loadCollections, may, params, said } from "./state.js";

const EVERY = 3000;
const PAGE = 50;
const STATUSES = /** @type {const} */ (["open", "failed", "cancelled", "succeeded"]);

export function Jobs() {
  const [items, setItems] = useState(/** @type {Page.Job[] | null} */ (null));
  const [cursor, setCursor] = useState(/** @type {string | false | null} */ (null)); // false: there is no more
  const [later, setLater] = useState(/** @type {Page.Job[]} */ ([]));
  const [problem, setProblem] = useProblem();
  const asked = params.value.get("status") ?? "open";
  const status = STATUSES.find((each) => each === asked) ?? "open";
  const wanted = useRef(status);
  wanted.current = status;
  const load = async () => {
    try {
      /** @type {Api.PageOut<Page.Job>[]} */
      const pages = await Promise.all((status === "open" ? ["running", "queued"] : [status]).map((each) => get(`/jobs${query({ status: each, limit: PAGE })}`)));
      if (wanted.current !== status) return; // others were asked for since
      setItems(pages.flatMap((page) => page.items));
      setCursor((known) => known ?? pages.at(-1)?.next_cursor ?? null);
      setProblem(null);
    } catch (error) {
      setProblem(error);
    }
  };
  const more = async () => {
    try {
      /** @type {Api.PageOut<Page.Job>} */
      const page = await get(`/jobs${query({ status: status === "open" ? "queued" : status, limit: PAGE, cursor })}`);
      setLater([...later, ...page.items]);
      setCursor(page.next_cursor ?? false);
    } catch (error) {
      setProblem(error);
    }
  };
  useRepeated(load, EVERY, [status]);
  const act = async (/** @type {Page.Job} */ job, /** @type {"cancel" | "retry"} */ deed) => {
    try {
      await send("POST", `/jobs/${job.id}/${deed}`);
      said.value = deed === "cancel" ? t.jobCancelled : t.jobRepeated;
      await load();
    } catch (error) {
      setProblem(error);
    }
  };
  const choose = (/** @type {(typeof STATUSES)[number]} */ each) => {
    setItems(null);
    setLater([]);
    setCursor(null);
    go({ set: { status: each === "open" ? null : each } });
  };
  const known = new Set(items?.map((each) => each.id));
  const all = items && [...items, ...later.filter((each) => !known.has(each.id))];
  return html`
    <${Builds} />
    <section class="stack" aria-labelledby="jobs">
      <h2 id="jobs">${t.jobs}</h2>
      <div class="segments" role="group" aria-label=${t.jobs}>${STATUSES.map((each) => html`<button aria-pressed=${each === status} onClick=${() => choose(each)}>${t.jobStatus[each]}</button>`)}</div>
      ${problem && html`<${Trouble} problem=${problem} retry=${load} />`}
      ${all === null && !problem && html`<${Waiting} />`}
      ${all?.length === 0 && html`<p class="note">${status === "open" ? t.noJobs : t.noJobsSuch}</p>`}
      ${all && all.length > 0 && html`<p class="quiet" role="status">${t.jobsShown(count(all.length), Boolean(cursor))}</p>
      <div class="table-frame"><table class="list">
        <thead><tr><th scope="col">${t.job}</th><th scope="col">${t.collection}</th><th scope="col">${t.stateColumn}</th><th scope="col">${t.submittedAt}</th><th scope="col"><span class="hidden">${t.actions}</span></th></tr></thead>
        <tbody>${all.map((each) => html`<${Job} key=${each.id} job=${each} onAct=${act} />`)}</tbody>
      </table></div>`}
      ${cursor && html`<button class="button" onClick=${more}>${t.more}</button>`}
    </section>`;
}

/** @param {{job: Page.Job, onAct: (job: Page.Job, deed: "cancel" | "retry") => void}} props */
function Job({ job, onAct }) {
  const about = job.source ?? job.document_id; // the document may not be there yet
  const name = about ?? job.kind;
  const open = job.status === "queued" || job.status === "running";
  return html`<tr>
    <th scope="row"><span dir="auto">${inWords(t.jobKind, job.kind)}</span>${about && html`<small dir="auto" title=${job.document_id}>${about}</small>`}${job.error && html`<small class="wrong" dir="auto">${job.error.detail || job.error.title}</small>`}</th>
    <td dir="auto">${job.collection}</td>
    <td><span class=${`badge ${job.status === "failed" ? "bad" : job.status === "succeeded" ? "good" : ""}`}>${t.state[job.status]}</span>
      ${job.status === "running" && html`<progress max=${job.progress.total ?? 1} value=${job.progress.total && job.progress.done ? job.progress.done : undefined} aria-label=${name}></progress>`}
      ${job.waits_for === "tenant" && html`<small>${t.waitsForTenant}</small>`}
      ${job.next_try_at && html`<small>${t.triedAgain(clock(job.next_try_at))}</small>`}
      ${job.attempts > 1 && html`<small>${t.attempts(count(job.attempts))}</small>`}</td>
    <td class="when">${when(job.created_at)}</td>
    <td class="end">${may("documents:write") && open && html`<button class="icon-button" title=${t.cancel} aria-label=${`${t.cancel}: ${name}`} onClick=${() => onAct(job, "cancel")}><${Icon} name="close" /></button>`}
      ${may("documents:write") && job.status === "failed" && html`<button class="icon-button" title=${t.tryAgain} aria-label=${`${t.tryAgain}: ${name}`} onClick=${() => onAct(job, "retry")}><${Icon} name="again" /></button>`}</td>
  </tr>`;
}

/** Generations that are being built, of all collections. */
function Builds() {
  const [builds, setBuilds] = useState(/** @type {{of: Api.CollectionOut, generation?: Page.Generation}[] | null} */ (null));
  const load = async () => {
    try {
      await loadCollections();
      const building = (collections.value ?? []).filter((each) => each.building);
      setBuilds(
        await Promise.all(
          building.map(async (each) => {
            /** @type {Api.PageOut<Page.Generation>} */
            const page = await get(`/collections/${encodeURIComponent(each.name)}/generations?limit=20`);
            return { of: each, generation: page.items.find((one) => one.name === each.building) };
          }),
        ),
      );
    } catch {
      // what is wrong is said by the list of jobs
    }
  };
  useRepeated(load, EVERY, []);
  return html`<section class="stack" aria-labelledby="builds">
    <h2 id="builds">${t.builds}</h2>
    ${builds === null && html`<${Waiting} />`}
    ${builds?.length === 0 && html`<p class="note">${t.noBuilds}</p>`}
    ${builds && builds.length > 0 && html`<ul class="cards">${builds.map(({ of, generation }) => html`<li class="card" key=${of.name}>
      <h3><a class="link" dir="auto" href=${addressOf(of.name)}>${of.name}</a> <span class="quiet">${t.generationNumber(of.building ?? "")}</span></h3>
      <progress max=${Math.max(1, of.documents, generation?.documents ?? 0)} value=${generation?.documents ?? 0} aria-label=${`${t.buildProgress}: ${of.name}`}></progress>
      <p class="quiet">${t.builtSoFar(count(generation?.documents ?? 0), count(of.documents))}</p>
    </li>`)}</ul>`}
  </section>`;
}
