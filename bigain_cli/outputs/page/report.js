"use strict";
const byId = (id) => document.getElementById(id);
const main = byId("articles"), articles = [...main.children];
const find = byId("find"), state = byId("state"), label = byId("label"), order = byId("order");
const spec = byId("spec"), verdict = byId("verdict"); // only in an evaluation
const text = (article) => [article.dataset.name, article.dataset.label,
  ...[...article.querySelectorAll(".why, .truth, .headline")].map((line) => line.textContent)];
const texts = new Map(articles.map((article) => [article, text(article).join("\n").toLowerCase()]));
const answers = new Map(articles.map((article) => {
  const found = [...article.querySelectorAll(".answer")];
  return [article, found.length ? found : [article]];
}));
const shown = (article) => answers.get(article).filter((answer) => !spec?.value || answer.dataset.spec === spec.value);
const number = (text, absent) => (text === "" ? absent : Number(text));
const words = new Intl.Collator(undefined, { numeric: true }).compare;
const asGiven = (a, b) => a.dataset.n - b.dataset.n;
const least = (article, key, absent) => Math.min(Infinity, ...shown(article).map((answer) => number(answer.dataset[key], absent)));
const most = (article, key, absent) => Math.max(-Infinity, ...shown(article).map((answer) => number(answer.dataset[key], absent)));
const first = (article) => shown(article)[0]?.dataset.label ?? "";
const orders = {
  rank: (a, b) => least(a, "rank", 99) - least(b, "rank", 99) || 0,
  given: () => 0,
  name: (a, b) => words(a.dataset.name, b.dataset.name),
  label: (a, b) => words(first(a), first(b)),
  unsure: (a, b) => least(a, "p", 9) - least(b, "p", 9) || 0,
  sure: (a, b) => most(b, "p", -9) - most(a, "p", -9) || 0,
  gap: (a, b) => least(a, "gap", Infinity) - least(b, "gap", Infinity) || 0,
  evals: (a, b) => most(b, "evals", -1) - most(a, "evals", -1) || 0,
};

function sort() {
  articles.sort((a, b) => orders[order.value](a, b) || asGiven(a, b));
  main.append(...articles);
}

function matches(article) {
  const wanted = find.value.trim().toLowerCase(), differ = verdict?.value === "differ";
  return texts.get(article).includes(wanted) && (!differ || article.dataset.differ === "yes")
    && shown(article).some(({ dataset }) => (!state.value || dataset.state === state.value)
      && (!label.value || dataset.label === label.value)
      && (!verdict?.value || differ || dataset.verdict === verdict.value));
}

function filter() {
  let count = 0;
  for (const article of articles) {
    article.hidden = !matches(article);
    count += !article.hidden;
  }
  const all = articles.length;
  byId("count").textContent = count < all ? `${count} of ${all} shown` : all === 1 ? "1 image" : `all ${all} shown`;
  byId("nothing").hidden = count > 0 || all === 0;
}

function chooseSpec() {
  main.classList.toggle("single", Boolean(spec?.value));
  for (const [article, found] of answers) {
    const visible = new Set(shown(article));
    for (const answer of found) answer.hidden = !visible.has(answer);
    for (const headline of article.querySelectorAll("[data-of]")) headline.hidden = headline.dataset.of !== spec?.value;
  }
  sort();
  filter();
}

function overlay(map) { // the map on a pale image, above the map itself
  const photo = map.closest("article").querySelector("img.photo");
  if (!photo) return;
  const both = document.createElement("div");
  both.className = "overlay";
  both.setAttribute("role", "img");
  both.setAttribute("aria-label", `${map.alt}, on the image`);
  both.append(photo.cloneNode(), map.cloneNode());
  for (const image of both.children) image.alt = "";
  map.before(both);
}

function step(by) {
  const visible = articles.filter((article) => !article.hidden);
  const here = visible.indexOf(document.activeElement.closest("article"));
  const next = visible[Math.min(Math.max(here + by, 0), visible.length - 1)];
  if (next) next.focus();
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

find.addEventListener("input", filter);
for (const each of [state, label, verdict]) each?.addEventListener("change", filter);
order.addEventListener("change", sort);
spec?.addEventListener("change", chooseSpec);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("theme").addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; });
byId("reset").addEventListener("click", () => { byId("controls").reset(); chooseSpec(); find.focus(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "/") { event.preventDefault(); find.focus(); }
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
});
addEventListener("beforeprint", () => { // on paper they cannot be opened
  for (const each of document.querySelectorAll("details.more")) each.open = true;
});
if (matchMedia("(max-width: 40rem)").matches) for (const part of document.querySelectorAll(".part")) part.open = false;
for (const map of [...document.querySelectorAll("img.map")]) overlay(map);
if (order.value !== "rank" || spec?.value) chooseSpec(); // a browser may have kept an earlier choice
filter();
