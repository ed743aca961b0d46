"use strict";
const byId = (id) => document.getElementById(id);
const main = byId("articles"), articles = [...main.children];
const find = byId("find"), state = byId("state"), label = byId("label"), order = byId("order");
const verdict = byId("verdict"); // only if the right answers are known
const text = (article) => [article.dataset.name, article.dataset.label,
  ...[...article.querySelectorAll(".why, .truth")].map((line) => line.textContent)];
const texts = new Map(articles.map((article) => [article, text(article).join("\n").toLowerCase()]));
const number = (text, absent) => (text === "" ? absent : Number(text));
const words = new Intl.Collator(undefined, { numeric: true }).compare;
const rank = { failed: 0, undecided: 1, decided: 2 };
const asGiven = (a, b) => a.dataset.n - b.dataset.n;
const orders = {
  state: (a, b) => rank[a.dataset.state] - rank[b.dataset.state],
  given: () => 0,
  name: (a, b) => words(a.dataset.name, b.dataset.name),
  label: (a, b) => words(a.dataset.label, b.dataset.label),
  unsure: (a, b) => number(a.dataset.p, 9) - number(b.dataset.p, 9),
  sure: (a, b) => number(b.dataset.p, -9) - number(a.dataset.p, -9),
  gap: (a, b) => number(a.dataset.gap, Infinity) - number(b.dataset.gap, Infinity) || 0,
  evals: (a, b) => number(b.dataset.evals, -1) - number(a.dataset.evals, -1),
};

function sort() {
  articles.sort((a, b) => orders[order.value](a, b) || asGiven(a, b));
  main.append(...articles);
}

function filter() {
  const wanted = find.value.trim().toLowerCase();
  let count = 0;
  for (const article of articles) {
    const data = article.dataset;
    const matches = (!state.value || data.state === state.value) && (!label.value || data.label === label.value)
      && (!verdict?.value || data.verdict === verdict.value)
      && texts.get(article).includes(wanted);
    article.hidden = !matches;
    count += matches;
  }
  const all = articles.length;
  byId("count").textContent = count < all ? `${count} of ${all} shown` : all === 1 ? "1 image" : `all ${all} shown`;
  byId("nothing").hidden = count > 0 || articles.length === 0;
}

function step(by) {
  const shown = articles.filter((article) => !article.hidden);
  const here = shown.indexOf(document.activeElement.closest("article"));
  const next = shown[Math.min(Math.max(here + by, 0), shown.length - 1)];
  if (next) next.focus();
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

find.addEventListener("input", filter);
state.addEventListener("change", filter);
label.addEventListener("change", filter);
verdict?.addEventListener("change", filter);
order.addEventListener("change", sort);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("theme").addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; });
byId("reset").addEventListener("click", () => { byId("controls").reset(); sort(); filter(); find.focus(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "/") { event.preventDefault(); find.focus(); }
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
});
addEventListener("beforeprint", () => { document.querySelector("details.settings").open = true; }); // on paper it cannot be opened
if (order.value !== "state") sort(); // a browser may have kept an earlier choice
filter();
