// Evaluations: begun, watched, compared question by question; their reports.
import { get, query, send } from "./api.js";
import { count, score, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useEffect, useState } from "./lib.js";
import { Confirm, Trouble, Waiting, useProblem } from "./parts.js";
import { told } from "./quality_golden.js";
import { go, params, said, toast } from "./state.js";

const ENGINES = ["hybrid", "vector", "keyword", "window", "auto_merging", "fusion"];
const LOOK = 1500;
const isOver = (/** @type {Page.Run} */ run) => !["queued", "running"].includes(run.status);

/** @param {{here: string}} props */
export function Runs({ here }) {
  const [items, setItems] = useState(/** @type {Page.Run[] | null} */ (null));
  const [cursor, setCursor] = useState(/** @type {string | null} */ (null));
  const [unavailable, setUnavailable] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useProblem();
  const [leaving, setLeaving] = useState(/** @type {Page.Run | null} */ (null));
  const chosen = (params.value.get("compare") ?? "").split(",").filter(Boolean);
  const load = async (/** @type {string | null} */ after = null) => {
    try {
      /** @type {Api.PageOut<Page.Run> & Pick<Api.EvaluationsOut, "unavailable">} */
      const page = await get(`/evaluations${query({ collection: here, limit: 50, cursor: after })}`);
      setItems((known) => (after && known ? [...known, ...page.items] : page.items));
      setCursor(page.next_cursor);
      setUnavailable(page.unavailable);
      setProblem(null);
    } catch (error) {
      setProblem(error);
    }
  };
  useEffect(() => {
    load();
  }, [here]);
  const running = items?.filter((run) => !isOver(run)).map((run) => run.id).join(",") ?? "";
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(async () => {
      for (const id of running.split(",")) {
        try {
          /** @type {Page.Run} */
          const now = await get(`/evaluations/${id}`);
          setItems((known) => known && known.map((run) => (run.id === id ? now : run)));
          if (isOver(now)) said.value = `${t.evaluation}: ${t.state[now.status]}`;
        } catch {
          // it is looked at again
        }
      }
    }, LOOK);
    return () => clearInterval(timer);
  }, [running]);
  const choose = (/** @type {string} */ id) => {
    const next = chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id].slice(-2);
    go({ set: { compare: next.join(",") } });
  };
  const open = async (/** @type {Page.Run} */ run) => {
    try {
      /** @type {Api.ReportOut} */
      const { url } = await (await send("POST", `/evaluations/${run.id}/report`)).json();
      window.open(url, "_blank", "noopener");
    } catch (error) {
      toast(told(error));
    }
  };
  const remove = async (/** @type {Page.Run} */ run) => {
    await send("DELETE", `/evaluations/${run.id}`);
    setItems((known) => known && known.filter((other) => other.id !== run.id));
    if (chosen.includes(run.id)) choose(run.id);
  };
  const pair = chosen.flatMap((id) => items?.filter((run) => run.id === id && run.status === "succeeded") ?? []);
  return html`
    ${unavailable ? html`<p class="note">${t.noEvaluation} ${unavailable}</p>` : html`<${Begin} here=${here} onBegun=${(/** @type {Page.Run} */ run) => setItems((known) => [run, ...(known ?? [])])} />`}
    ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
    ${items === null && !problem && html`<${Waiting} />`}
    ${items?.length === 0 && !unavailable && html`<div class="nothing"><${Icon} name="again" /><p><strong>${t.noRuns}</strong></p><p class="quiet">${t.noRunsMore}</p></div>`}
    ${pair.length === 2 && html`<${Compared} before=${older(pair)[0]} after=${older(pair)[1]} />`}
    ${items && items.length > 0 && html`<ul class="entries runs" aria-live="polite">${items.map((run) => html`<li key=${run.id} class=${`is-${run.status}`}>
      <div class="card-text">
        <p><strong>${run.name || run.engines.join(", ")}</strong> <span class="state">${run.status === "failed" && html`<${Icon} name="warn" />`}${isOver(run) && run.status === "succeeded" ? "" : t.runState[run.status]}</span></p>
        <p class="quiet">${when(run.created_at)} · ${t.nQuestions(run.questions, count(run.questions))} · k = ${run.k}${run.name ? ` · ${run.engines.join(", ")}` : ""}</p>
        ${!isOver(run) && html`<progress max=${run.progress.total ?? 1} value=${run.progress.total ? run.progress.done : undefined} aria-label=${t.evaluation}></progress>`}
        ${run.error && html`<p class="wrong">${run.error.detail || run.error.title}</p>`}
        ${run.summary && html`<${Figures} summary=${run.summary} />`}
      </div>
      <div class="card-actions">
        ${run.status === "succeeded" && html`<label class="check"><input type="checkbox" checked=${chosen.includes(run.id)} onChange=${() => choose(run.id)} /><span>${t.compare}</span></label>
          <button class="button" onClick=${() => open(run)}>${t.report}</button>`}
        <button class="icon-button" title=${t.delete} aria-label=${t.deleteNamed(`${run.name || run.engines.join(", ")}, ${when(run.created_at)}`)} onClick=${() => setLeaving(run)}><${Icon} name="trash" /></button>
      </div>
    </li>`)}</ul>`}
    ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.more}</button>`}
    ${leaving && html`<${Confirm} title=${t.deleteNamed(leaving.name || leaving.engines.join(", "))} action=${t.delete} danger run=${() => remove(leaving)} onClose=${() => setLeaving(null)}><p>${t.deleteRunMore}</p><//>`}`;
}

/** @param {Page.Run[]} pair */
const older = (pair) => [...pair].sort((a, b) => (a.created_at < b.created_at ? -1 : 1));

/** @param {{here: string, onBegun: (run: Page.Run) => void}} props */
function Begin({ here, onBegun }) {
  const [problem, setProblem] = useProblem();
  const [busy, setBusy] = useState(false);
  const begin = async (/** @type {Page.On<HTMLFormElement>} */ event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const engines = ENGINES.filter((each) => form.get(each));
    setBusy(true);
    setProblem(null);
    try {
      const made = await send("POST", "/evaluations", { json: { collection: here, engines: engines.length ? engines : ["hybrid"], k: Number(form.get("k")), name: String(form.get("name") ?? "").trim() } });
      onBegun(await made.json());
    } catch (error) {
      setProblem(error);
    }
    setBusy(false);
  };
  return html`<form class="panel" aria-label=${t.evaluate} onSubmit=${begin}>
    <h2>${t.evaluate}</h2>
    <fieldset><legend>${t.engines}</legend><div class="tools">${ENGINES.map((each, at) => html`<label class="check" key=${each}><input type="checkbox" name=${each} defaultChecked=${at < 2} /><span>${each}</span></label>`)}</div></fieldset>
    <div class="fields">
      <label>${t.k}<input type="number" name="k" min="1" max="100" defaultValue="10" required /></label>
      <label>${t.runName}<input name="name" maxlength="200" placeholder=${t.runNameHelp} dir="auto" /></label>
    </div>
    ${problem && html`<p class="wrong" role="alert">${told(problem)}</p>`}
    <div class="tools"><button class="button primary" disabled=${busy}>${t.evaluate}</button></div>
  </form>`;
}

/** The first figure of the most exact level: of passages where they were judged, else of documents.
 *  @param {Page.Metrics} metrics */
function mainOf(metrics) {
  const level = ["passages", "documents"].find((each) => metrics[each] && Object.keys(metrics[each]).length);
  if (!level) return null;
  const [name, value] = Object.entries(metrics[level])[0];
  return { level, name, value };
}

/** @param {{summary: NonNullable<Page.Run["summary"]>}} props */
function Figures({ summary }) {
  return html`<ul class="bars figures">${summary.map((each) => {
    const main = mainOf(each.metrics);
    return html`<li key=${each.engine}><span>${each.engine}</span>
      ${main ? html`<span class="bar"><i style=${{ width: `${100 * main.value}%` }}></i></span><span class="figure">${main.name} ${score(main.value)}</span>` : html`<span class="quiet">${t.nothingJudged}</span><span></span>`}
    </li>`;
  })}</ul>`;
}

/** Two runs, question by question, by the main figure of one engine of each.
 *  @param {{before: Page.Run, after: Page.Run}} props */
function Compared({ before, after }) {
  const [results, setResults] = useState(/** @type {{engines: Page.EngineResult[]}[] | null} */ (null));
  const [problem, setProblem] = useProblem();
  const [engines, setEngines] = useState([0, 0]);
  const [all, setAll] = useState(false);
  useEffect(() => {
    setResults(null);
    setProblem(null);
    Promise.all([before, after].map((run) => get(`/evaluations/${run.id}/result`)))
      .then((/** @type {{engines: Page.EngineResult[]}[]} */ found) => {
        const names = found.map((each) => each.engines.map((engine) => engine.engine));
        const shared = names[1].indexOf(names[0][0]);
        setEngines([0, shared < 0 ? 0 : shared]);
        setResults(found);
      })
      .catch(setProblem);
  }, [before.id, after.id]);
  if (problem) return html`<${Trouble} problem=${problem} />`;
  if (!results) return html`<${Waiting} />`;
  const rows = paired(results[0].engines[engines[0]], results[1].engines[engines[1]]);
  const judged = rows.filter((row) => row.change !== null);
  const [better, worse] = [rows.filter((row) => (row.change ?? 0) > 0), rows.filter((row) => (row.change ?? 0) < 0)];
  const mean = (/** @type {"before" | "after"} */ name) => (judged.length ? judged.reduce((sum, row) => sum + (row[name] ?? 0), 0) / judged.length : 0);
  const listed = (all ? rows : [...worse, ...better]).sort((a, b) => (a.change ?? 0) - (b.change ?? 0));
  const pick = (/** @type {number} */ place) => html`<select aria-label=${t.engineOf(place === 0 ? before.name || when(before.created_at) : after.name || when(after.created_at))} value=${engines[place]} onChange=${(event) => setEngines(engines.map((each, at) => (at === place ? Number(event.currentTarget.value) : each)))}>
    ${results[place].engines.map((engine, at) => html`<option value=${at} selected=${at === engines[place]}>${(place === 0 ? before : after).name || when((place === 0 ? before : after).created_at)}: ${engine.engine}</option>`)}</select>`;
  return html`<section class="panel" aria-label=${t.comparison}>
    <h2>${t.comparison}</h2>
    <div class="fields">${pick(0)}${pick(1)}</div>
    <p>${judged.length ? t.comparedSaid(judged[0].name, score(mean("before")), score(mean("after")), count(better.length), count(worse.length), count(judged.length - better.length - worse.length)) : t.nothingShared}</p>
    <label class="check"><input type="checkbox" checked=${all} onChange=${(event) => setAll(event.currentTarget.checked)} /><span>${t.showSame}</span></label>
    ${listed.length > 0 && html`<div class="table-frame" tabindex="0" role="region" aria-label=${t.comparison}><table class="list compared">
      <thead><tr><th scope="col">${t.goldenQuestion}</th><th scope="col" class="figure">${t.before}</th><th scope="col" class="figure">${t.after}</th><th scope="col" class="figure">${t.difference}</th></tr></thead>
      <tbody>${listed.map((row) => html`<tr key=${row.id}>
        <th scope="row"><details><summary dir="auto">${row.question}</summary><div class="sides"><${Side} title=${t.before} found=${row.first} /><${Side} title=${t.after} found=${row.second} /></div></details></th>
        <td class="figure" data-name=${t.before}>${row.before === null ? t.scoreNone : score(row.before)}</td>
        <td class="figure" data-name=${t.after}>${row.after === null ? t.scoreNone : score(row.after)}</td>
        <td class=${`figure ${better.includes(row) ? "gain" : worse.includes(row) ? "loss" : ""}`} data-name=${t.difference}>${row.change === null ? t.scoreNone : `${row.change > 0 ? "▲ +" : row.change < 0 ? "▼ " : ""}${score(row.change)}`}</td>
      </tr>`)}</tbody>
    </table></div>`}
    <p class="quiet">${t.comparedMore}</p>
  </section>`;
}

/** @param {{title: string, found: Page.Finding[]}} props */
const Side = ({ title, found }) => html`<div><b>${title}</b><ol>${found.slice(0, 5).map((each) => html`<li class=${each.right ? "right" : ""} dir="auto">${each.right ? html`<span class="hidden">${t.right}: </span>` : ""}${each.source}</li>`)}</ol>${found.length === 0 && html`<p class="quiet">${t.nothingFound}</p>`}</div>`;

/** @param {Page.EngineResult} first @param {Page.EngineResult} second */
function paired(first, second) {
  const known = new Map(second.questions.map((each) => [each.id, each]));
  return first.questions.flatMap((each) => {
    const other = known.get(each.id);
    if (!other) return [];
    const [a, b] = [mainOf(each.metrics), mainOf(other.metrics)];
    return [{ id: each.id, question: each.question, name: a?.name ?? "", before: a?.value ?? null, after: b?.value ?? null, change: a && b && b.value - a.value, first: each.found, second: other.found }];
  });
}
