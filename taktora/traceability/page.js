"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const worlds = data.worlds, columns = [...worlds, "any"];
  const root = document.documentElement, main = document.getElementById("main"), detail = document.getElementById("detail");
  const items = new Map();
  for (const list of [data.features, data.requirements, data.specifications, data.others]) for (const item of list) items.set(item.id, item);

  // ---- building blocks

  function h(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(9).filter((child) => child !== undefined && child !== null && child !== ""));
    return node;
  }
  const SIGNS = { passed: "\u2713", failed: "\u2717", stale: "\u21bb", "not run": "\u25d0", never: "\u2013", open: "\u25cb" };
  const ORDER = ["failed", "stale", "not run", "never", "open", "inspection", "analysis", "demonstration", "hil", "not applicable", "passed"];
  const BARS = ["passed", "failed", "stale", "not run", "inspection", "analysis", "demonstration", "hil", "not applicable", "never"];
  const rank = (status) => (ORDER.indexOf(status) + 1) || 99;
  const known = new Set(["passed", "failed", "stale", "never", "open"]);
  const kind = (status) => (status === "not run" ? "notrun" : known.has(status) ? status : "other");
  const words = (status) => (status === "hil" ? "needs hil" : status === "not applicable" ? "n/a" : status);
  function pill(status, why, suspect, extra) {
    const text = `${SIGNS[status] || "\u25aa"} ${words(status)}`;
    const mark = suspect ? h("span", { class: "suspect", title: "Suspect: the requirement's text changed and nobody has confirmed its tests" }, " ?") : "";
    return h("span", { class: "verdict" }, h("span", { class: `pill s-${kind(status)}`, title: why }, text, extra), mark);
  }
  const shownAs = (test) => (test.stale ? "stale" : test.outcome);
  const cellPill = (cell) => pill(cell.status, cell.why, cell.suspect);
  const featurePill = (cell) => pill(cell.status, `${cell.verified} of ${cell.total} requirements verified`, false, cell.total ? ` ${cell.verified}/${cell.total}` : "");
  const idLink = (id) => h("a", { class: "id", href: `#${id}` }, id);
  const seconds = (value) => (value === undefined ? "" : value >= 1 ? `${value.toFixed(2)} s` : `${(value * 1000).toFixed(value < 0.01 ? 2 : 0)} ms`);
  const number = (value) => (value === undefined || value === null ? "not finite" : String(Number(value.toPrecision(6))));
  const percent = (part, whole) => (whole ? `${Math.floor((1000 * part) / whole) / 10} %` : "\u2013");

  function bar(statuses) {
    const total = Object.values(statuses).reduce((sum, count) => sum + count, 0);
    const label = BARS.filter((status) => statuses[status]).map((status) => `${statuses[status]} ${words(status)}`).join(", ");
    return h("span", { class: "stack", role: "img", "aria-label": label, title: label },
      BARS.filter((status) => statuses[status] && status !== "never").map((status) => h("i", { class: `f-${kind(status)}`, style: `width:${(100 * statuses[status]) / total}%` })));
  }

  // ---- state in the address: #/requirements?area=can&world=sim, with &id=REQ_0310 for the open detail; #REQ_0310 alone works too

  const state = { tab: "overview", query: {}, id: "" };
  function readAddress() {
    const hash = decodeURIComponent(location.hash.slice(1));
    if (hash.startsWith("/")) {
      const [tab, query] = hash.slice(1).split("?");
      state.tab = TABS[tab] ? tab : "overview";
      state.query = Object.fromEntries(new URLSearchParams(query || ""));
      state.id = state.query.id || "";
      delete state.query.id;
    } else if (hash && hash !== "main") state.id = hash;
  }
  function address(tab, query, id) {
    const parameters = new URLSearchParams(Object.entries({ ...query, id }).filter(([, value]) => value));
    const text = parameters.toString();
    return `#/${tab}${text ? "?" + text : ""}`;
  }
  const go = (tab, query, id) => { location.hash = address(tab, query, id); };
  function setQuery(change) {
    Object.assign(state.query, change);
    for (const name of Object.keys(state.query)) if (!state.query[name]) delete state.query[name];
    history.replaceState(null, "", address(state.tab, state.query, state.id));
  }

  // ---- tables that sort, and add rows as one scrolls

  const STEP = 150;
  let current = { rows: [], showAll() {}, showUpTo() {} };
  function lazyTable(heads, rows, render, options = {}) {
    const body = h("tbody"), more = h("div", { class: "more" });
    let done = 0, sorted = rows;
    const append = (count) => {
      const stop = Math.min(sorted.length, done + count), part = document.createDocumentFragment();
      for (; done < stop; done++) part.append(render(sorted[done]));
      body.append(part);
      more.textContent = done < sorted.length ? `${done} of ${sorted.length} rows, more as you scroll` : "";
      more.hidden = done >= sorted.length;
    };
    const restart = () => { body.replaceChildren(); done = 0; append(STEP); current.rows = sorted; };
    const marks = heads.map((head) => {
      const mark = h("th", { scope: "col", class: [head.num && "num", head.opt && "opt"].filter(Boolean).join(" ") || undefined, style: head.width ? `width:${head.width}` : undefined, title: head.title });
      if (!head.key) { mark.append(head.name); return mark; }
      mark.append(h("button", { type: "button", onclick: () => order(head, mark.getAttribute("aria-sort") !== "ascending") }, head.name));
      return mark;
    });
    function order(head, ascending) {
      marks.forEach((mark) => mark.removeAttribute("aria-sort"));
      marks[heads.indexOf(head)].setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const keyed = rows.map((row, at) => [head.key(row), at, row]);
      keyed.sort((a, b) => ((a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (ascending ? 1 : -1)) || a[1] - b[1]);
      sorted = keyed.map((entry) => entry[2]);
      restart();
    }
    restart();
    new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) append(STEP); }, { root: null, rootMargin: "600px" }).observe(more);
    current.showAll = () => append(sorted.length);
    current.showUpTo = (id) => { const at = sorted.findIndex((row) => row.id === id || `test/${row.at}` === id); if (at >= done) append(at + 1 - done); };
    if (!rows.length) return h("div", { class: "wrap" }, h("div", { class: "empty" }, options.empty || "Nothing matches these filters."));
    return h("div", { class: "wrap" }, h("table", {}, h("thead", {}, h("tr", {}, marks)), body), more);
  }
  function openRow(id, ...cells) {
    return h("tr", { class: "go", "data-id": id, "aria-selected": id === state.id ? "true" : undefined,
      onclick: (event) => { if (!event.target.closest("a") && !String(getSelection())) go(state.tab, state.query, id); } }, cells);
  }

  // ---- filters

  const counted = (list, of) => { const found = new Map(); for (const entry of list) { const value = of(entry); if (value) found.set(value, (found.get(value) || 0) + 1); } return found; };
  function select(name, label, choices, redraw, all = "all") {
    const field = h("select", { onchange: () => { setQuery({ [name]: field.value }); redraw(); } }, all ? h("option", { value: "" }, all) : "",
      [...choices].map(([value, count]) => h("option", { value, selected: state.query[name] === value }, count === undefined ? words(value) : `${words(value)} (${count})`)));
    return h("label", {}, label, field);
  }
  function search(redraw, hint) {
    let timer = 0;
    const field = h("input", { type: "search", id: "search", placeholder: hint, "aria-label": "Search", value: state.query.q || "",
      oninput: () => { clearTimeout(timer); timer = setTimeout(() => { setQuery({ q: field.value }); redraw(); }, 120); } });
    return field;
  }
  const check = (name, label, redraw) => h("label", {}, h("input", { type: "checkbox", checked: Boolean(state.query[name]), onchange: (event) => { setQuery({ [name]: event.target.checked ? "1" : "" }); redraw(); } }), label);
  const matches = (text) => { const parts = (state.query.q || "").toLowerCase().split(/\s+/).filter(Boolean); return (entry) => parts.every((part) => text(entry).includes(part)); };
  const texts = new Map();
  function itemText(item) {
    let text = texts.get(item.id);
    if (text === undefined) { text = [item.id, item.title, item.text, item.adaptation, item.note, item.reason].join("\n").toLowerCase(); texts.set(item.id, text); }
    return text;
  }
  function filtered(list, filters, hint, table) {
    const place = h("div"), shown = h("span", { class: "shown", role: "status" });
    const redraw = () => {
      const tests = filters.filter((filter) => filter.keep), match = matches(hint.text);
      const rows = list.filter((entry) => tests.every((filter) => filter.keep(entry)) && match(entry));
      shown.textContent = rows.length === list.length ? `${list.length} ${hint.noun}` : `${rows.length} of ${list.length} ${hint.noun}`;
      place.replaceChildren(table(rows));
    };
    const reset = h("button", { type: "button", onclick: () => { state.query = {}; setQuery({}); draw(); } }, "Reset");
    const fields = h("div", { class: "filters" }, search(redraw, hint.search), filters.map((filter) => filter.field(redraw)), reset, shown);
    redraw();
    return [fields, place];
  }
  const query = (name) => state.query[name] || "";
  const filterWorld = () => (columns.includes(query("world")) ? query("world") : "any");

  // ---- views

  function overview() {
    const total = data.areas.find((entry) => entry.area === "total");
    const cards = columns.map((world) => {
      const cell = total.worlds[world], other = world === "any" ? "over all worlds" : `in ${world}`;
      return h("section", { class: "card" }, h("h2", {}, world === "any" ? "All worlds" : world),
        h("div", { class: "big" }, percent(cell.verified, cell.countable), h("small", {}, `  ${cell.verified} of ${cell.countable}`)),
        h("div", { class: "soft", style: "font-size:12px;margin-bottom:6px" }, `testable requirements verified ${other}`), bar(cell.statuses),
        h("div", { class: "legend" }, BARS.filter((status) => cell.statuses[status]).map((status) =>
          h("a", { href: address("requirements", { world, status }) }, h("span", { class: `dot f-${kind(status)}` }), h("b", {}, cell.statuses[status]), ` ${words(status)}`)),
        cell.suspect ? h("a", { href: address("requirements", { world, suspect: "1" }) }, h("span", { class: "suspect" }, "? "), h("b", {}, cell.suspect), " suspect") : ""));
    });
    const heads = [{ name: "Area", key: (row) => row.area }, { name: "Requirements", num: true, key: (row) => row.requirements },
      ...columns.map((world) => ({ name: world, key: (row) => row.worlds[world].countable ? row.worlds[world].verified / row.worlds[world].countable : 2, title: "verified of testable" }))];
    const cell = (row, world) => h("td", {}, h("a", { class: "cell", href: address("requirements", row.area === "total" ? { world } : { area: row.area, world }), title: `${row.area} in ${world}` },
      bar(row.worlds[world].statuses), h("span", { class: "figure" }, row.worlds[world].countable ? `${row.worlds[world].verified}/${row.worlds[world].countable}` : "\u2013")));
    const line = (row) => h("tr", { class: row.area === "total" ? "total" : undefined }, h("td", {}, h("a", { href: address("requirements", row.area === "total" ? {} : { area: row.area }) }, row.area)),
      h("td", { class: "num" }, row.requirements), columns.map((world) => cell(row, world)));
    const verdicts = counted(data.tests, shownAs);
    return [h("div", { class: "cards" }, cards),
      h("p", { class: "soft" }, `${data.tests.length} results of tests: `, [...verdicts].map(([outcome, count], at) => [at ? ", " : "", h("a", { href: address("tests", { outcome }) }, `${count} ${outcome}`)]),
        ". A requirement is verified in a world when all its tests passed there, none is stale, not run or suspect. Bars count all requirements; figures count those a test can verify."),
      lazyTable(heads, data.areas, line)];
  }

  function statusFilters(list, cellOf) {
    const world = filterWorld();
    return [
      { keep: (item) => !query("area") || item.area === query("area"), field: (redraw) => select("area", "Area", counted(list, (item) => item.area), redraw) },
      { field: () => select("world", "World", worlds.map((name) => [name]), draw, "any") },
      { keep: (item) => !query("status") || cellOf(item, filterWorld()).status === query("status"),
        field: (redraw) => select("status", "Status", [...counted(list, (item) => cellOf(item, world).status)].sort((a, b) => rank(a[0]) - rank(b[0])), redraw) },
    ];
  }
  const worldHeads = (cellOf) => columns.map((world) => ({ name: world, key: (item) => rank(cellOf(item, world).status) }));
  const cellOf = (item, world) => item.worlds[world];

  function requirements() {
    const list = data.requirements;
    const filters = [...statusFilters(list, cellOf),
      { keep: (item) => !query("verification") || item.verification === query("verification"), field: (redraw) => select("verification", "Verified by", counted(list, (item) => item.verification), redraw) },
      { keep: (item) => !query("suspect") || Object.values(item.worlds).some((cell) => cell.suspect), field: (redraw) => check("suspect", "suspect", redraw) },
      { keep: (item) => !query("nocode") || !item.code, field: (redraw) => check("nocode", "without code", redraw) }];
    const tests = (item) => worlds.reduce((sum, world) => sum + (item.worlds[world].tests || []).length, 0);
    const heads = [{ name: "Id", key: (item) => item.id }, { name: "Title", key: (item) => item.title.toLowerCase() }, { name: "Area", opt: true, key: (item) => item.area },
      { name: "Verified by", opt: true, key: (item) => item.verification }, ...worldHeads(cellOf), { name: "Tests", num: true, opt: true, key: tests }, { name: "Code", num: true, opt: true, key: (item) => (item.code || []).length }];
    const line = (item) => openRow(item.id, h("td", {}, idLink(item.id)), h("td", {}, item.title), h("td", { class: "soft opt" }, item.area), h("td", { class: "soft opt" }, item.verification),
      columns.map((world) => h("td", {}, cellPill(item.worlds[world]))), h("td", { class: "num opt" }, tests(item) || ""), h("td", { class: "num opt" }, (item.code || []).length || ""));
    return filtered(list, filters, { text: itemText, noun: "requirements", search: "Search id and text  ( / )" }, (rows) => lazyTable(heads, rows, line));
  }

  function features() {
    const heads = [{ name: "Id", key: (item) => item.id }, { name: "Feature", key: (item) => item.title.toLowerCase() }, { name: "Area", opt: true, key: (item) => item.area }, ...worldHeads(cellOf)];
    const line = (item) => openRow(item.id, h("td", {}, idLink(item.id)), h("td", {}, item.title), h("td", { class: "soft opt" }, item.area), columns.map((world) => h("td", {}, featurePill(item.worlds[world]))));
    return filtered(data.features, statusFilters(data.features, cellOf), { text: itemText, noun: "features", search: "Search id and text  ( / )" }, (rows) => lazyTable(heads, rows, line));
  }

  function specifications() {
    const list = data.specifications;
    const filters = [...statusFilters(list, cellOf), { keep: (item) => !query("level") || item.level === query("level"), field: (redraw) => select("level", "Level", counted(list, (item) => item.level), redraw) }];
    const heads = [{ name: "Id", key: (item) => item.id }, { name: "Test specification", key: (item) => item.title.toLowerCase() }, { name: "Area", opt: true, key: (item) => item.area }, { name: "Level", opt: true, key: (item) => item.level }, { name: "Verifies", opt: true }, ...worldHeads(cellOf)];
    const line = (item) => openRow(item.id, h("td", {}, idLink(item.id)), h("td", {}, item.title), h("td", { class: "soft opt" }, item.area), h("td", { class: "soft opt" }, item.level),
      h("td", { class: "opt" }, item.verifies.map((id) => [idLink(id), " "])), columns.map((world) => h("td", {}, cellPill(item.worlds[world]))));
    return filtered(list, filters, { text: itemText, noun: "specifications", search: "Search id and text  ( / )" }, (rows) => lazyTable(heads, rows, line, { empty: list.length ? undefined : "The catalogue holds no test specification." }));
  }

  function tests() {
    const list = data.tests.map((test, at) => ({ ...test, at }));
    const text = (test) => `${test.node_id} ${(test.verifies || []).join(" ")} ${(test.realizes || []).join(" ")} ${test.reason || ""}`.toLowerCase();
    const filters = [
      { keep: (test) => !query("world") || query("world") === "any" || test.world === query("world"), field: (redraw) => select("world", "World", counted(list, (test) => test.world), redraw) },
      { keep: (test) => !query("outcome") || shownAs(test) === query("outcome"), field: (redraw) => select("outcome", "Outcome", counted(list, shownAs), redraw) }];
    const heads = [{ name: "Test", key: (test) => test.node_id }, { name: "World", key: (test) => test.world }, { name: "Outcome", key: (test) => rank(shownAs(test)) }, { name: "Time", num: true, key: (test) => test.duration_s || 0 },
      { name: "Requirements", opt: true }, { name: "Reason", opt: true }];
    const line = (test) => openRow(`test/${test.at}`, h("td", {}, h("a", { class: "node", href: `#test/${test.at}` }, test.node_id)), h("td", {}, test.world), h("td", {}, pill(shownAs(test), test.stale)), h("td", { class: "num soft" }, seconds(test.duration_s)),
      h("td", { class: "opt" }, (test.verifies || []).map((id) => [idLink(id), " "])), h("td", { class: "soft opt" }, test.stale || test.reason));
    return filtered(list, filters, { text, noun: "results", search: "Search test, id, reason  ( / )" }, (rows) => lazyTable(heads, rows, line, { empty: list.length ? undefined : "No results yet: run pytest with --trace-results FILE." }));
  }

  const measuredList = data.tests.flatMap((test, at) => (test.measured || []).map((one) => ({ ...one, at, test })));
  function gauge(one) {
    if (one.value === undefined || one.value === null) return "";
    const low = one.low ?? (one.high === undefined ? undefined : Math.min(0, one.value)), high = one.high ?? (one.low === undefined ? undefined : Math.max(one.value, one.low * 2));
    if (low === undefined || high === undefined || high <= low) return "";
    const at = Math.max(0, Math.min(100, (100 * (one.value - low)) / (high - low)));
    return h("span", { class: `gauge ${one.verdict === "failed" ? "bad" : ""}`, title: `${number(one.value)} in ${number(low)} .. ${number(high)}` }, h("i", { style: `left:calc(${at}% - 1px)` }));
  }
  const limit = (value) => (value === undefined || value === null ? "\u2013" : number(value));
  function measuredCells(one) {
    return [h("td", {}, one.name), h("td", { class: "num" }, `${number(one.value)} ${one.unit}`), h("td", { class: "num" }, limit(one.low)), h("td", { class: "num" }, limit(one.high)), h("td", { class: "opt" }, gauge(one)), h("td", {}, pill(one.verdict || "passed"))];
  }
  function measured() {
    const filters = [
      { keep: (one) => !query("world") || query("world") === "any" || one.test.world === query("world"), field: (redraw) => select("world", "World", counted(measuredList, (one) => one.test.world), redraw) },
      { keep: (one) => !query("verdict") || (one.verdict || "passed") === query("verdict"), field: (redraw) => select("verdict", "Verdict", counted(measuredList, (one) => one.verdict || "passed"), redraw) }];
    const heads = [{ name: "Name", key: (one) => one.name }, { name: "Value", num: true, key: (one) => one.value ?? Infinity }, { name: "Low", num: true }, { name: "High", num: true }, { name: "Within limits", opt: true }, { name: "Verdict", key: (one) => rank(one.verdict || "passed") }, { name: "World", key: (one) => one.test.world }, { name: "Test", key: (one) => one.test.node_id }];
    const line = (one) => openRow(`test/${one.at}`, measuredCells(one), h("td", {}, one.test.world), h("td", {}, h("a", { class: "node", href: `#test/${one.at}` }, one.test.node_id)));
    return filtered(measuredList, filters, { text: (one) => `${one.name} ${one.test.node_id} ${(one.test.verifies || []).join(" ")}`.toLowerCase(), noun: "measured values", search: "Search name, test, id  ( / )" },
      (rows) => lazyTable(heads, rows, line, { empty: measuredList.length ? undefined : "No test recorded a measured value." }));
  }

  const FINDINGS = {
    requirements_without_code: ["Requirements without code", "No marker in the scanned sources names them."],
    markers_without_requirement: ["Markers in code that name no known requirement", "The id is misspelt or was never in the catalogue."],
    tests_without_requirement: ["Tests without a requirement", "They ran, and verify nothing that is written down."],
    unrealized_specifications: ["Test specifications that no test carries out", "No recorded test is marked as realizing them."],
    results_without_test: ["Results whose test is gone", "The test was renamed or removed; these results count for nothing."],
    results_with_unknown_id: ["Results that name an id which is not in the catalogue", "They count for nothing."],
  };
  const findingCount = (name) => data.findings[name].length;
  function findings() {
    const entry = (one) => typeof one === "string" ? (items.has(one) ? [idLink(one), " ", h("span", { class: "soft" }, items.get(one).title)] : h("span", { class: "node" }, one)) : [h("span", { class: "id" }, one.id), " ", h("span", { class: "node soft" }, one.place || one.test)];
    return Object.entries(FINDINGS).map(([name, [title, text]]) => {
      const list = data.findings[name], fill = (event) => { if (event.target.open && event.target.children.length < 2) event.target.append(h("div", {}, h("p", {}, text), list.map((one) => h("div", {}, entry(one))))); };
      return h("details", { class: "find", ontoggle: fill, open: list.length > 0 && list.length <= 12 }, h("summary", {}, `${title} `, h("span", { class: "soft" }, `(${list.length})`)));
    });
  }

  function evidence() {
    const results = counted(data.tests, (test) => `${test.run}/${test.world}`);
    const rows = data.runs.map((run, at) => ({ run, at }));
    const heads = [{ name: "Run" }, { name: "Commit" }, { name: "Python" }, { name: "Platform" }, { name: "Libraries" }, { name: "Application" }, { name: "Results" }];
    const line = ({ run, at }) => h("tr", {}, h("td", { class: "num" }, at + 1), h("td", {}, h("code", {}, (run.commit || "unknown").slice(0, 12)), run.modified ? h("div", { class: "warn" }, "modified") : ""), h("td", {}, run.python), h("td", {}, run.platform),
      h("td", {}, Object.entries(run.versions || {}).map(([name, version]) => h("div", {}, `${name} ${version}`))), h("td", {}, h("code", {}, run.application_hash || "\u2013")),
      h("td", {}, worlds.filter((world) => results.has(`${at}/${world}`)).map((world) => h("div", {}, `${world}: ${results.get(`${at}/${world}`)}`))));
    return [h("p", { class: "soft" }, "Each result refers to one of these runs. A run marked modified had uncommitted changes. A result is stale when the hash of its requirement text, its test source or the application is another one today."), lazyTable(heads, rows, line, { empty: "No results yet." })];
  }

  const bad = () => Object.keys(FINDINGS).filter((name) => name !== "requirements_without_code" && name !== "unrealized_specifications").reduce((sum, name) => sum + findingCount(name), 0);
  const TABS = {
    overview: ["Overview", overview], requirements: ["Requirements", requirements, data.requirements.length], features: ["Features", features, data.features.length], specifications: ["Test specifications", specifications, data.specifications.length],
    tests: ["Results", tests, data.tests.length], measured: ["Measured values", measured, measuredList.length], findings: ["Findings", findings, bad()], evidence: ["Evidence", evidence, data.runs.length],
  };

  // ---- detail

  const section = (title, ...content) => [h("h3", {}, title), content];
  function linkList(ids) {
    return h("ul", { class: "plain" }, ids.map((id) => {
      const item = items.get(id);
      if (!item) return h("li", {}, h("span", { class: "id" }, id), h("span", { class: "warn" }, "not in the catalogue"));
      const cell = item.worlds && item.worlds.any;
      return h("li", {}, idLink(id), h("span", {}, item.title), cell ? (item.type === "feature" ? featurePill(cell) : cellPill(cell)) : h("span", { class: "pill soft" }, item.type));
    }));
  }
  function facts(pairs) {
    const known = pairs.filter(([, value]) => value !== undefined && value !== "" && value !== null && !(Array.isArray(value) && !value.length));
    return h("dl", {}, known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }
  function testFacts(test) {
    const run = data.runs[test.run], list = (found) => Object.entries(found || {}).map(([name, value]) => `${name} ${value}`).join(", ");
    return [test.reason ? h("p", {}, h("b", {}, test.outcome === "failed" ? "Failure: " : test.outcome === "not run" ? "Not run: " : "Note: "), h("span", { class: "node" }, test.reason)) : "",
      test.measured ? h("table", {}, h("thead", {}, h("tr", {}, ["Measured", "Value", "Low", "High", "", ""].map((name) => h("th", {}, name)))), h("tbody", {}, test.measured.map((one) => h("tr", {}, measuredCells(one))))) : "",
      facts([["finished", test.finished.replace("T", " ").replace("+00:00", " UTC")], ["duration", seconds(test.duration_s)], ["commit", [h("code", {}, run.commit || "unknown"), run.modified ? h("span", { class: "warn" }, " modified") : ""]],
        ["seed", test.seed], ["trace hash", test.trace_hash ? h("code", {}, test.trace_hash) : ""], ["python", run.python], ["platform", run.platform], ["versions", list(run.versions)], ["fingerprint", list(test.fingerprint)],
        ["application", run.application_hash ? h("code", {}, run.application_hash) : ""], ["test source", test.test_hash ? h("code", {}, test.test_hash) : ""]])];
  }
  function testBlock(link, open) {
    const test = data.tests[link.test];
    const block = h("details", { class: "test", open }, h("summary", {}, pill(link.state, link.why || test.reason, link.suspect), h("span", { class: "node" }, test.node_id), h("span", { class: "right" }, test.measured ? `${test.measured.length} measured \u00b7 ` : "", `${test.world} \u00b7 ${seconds(test.duration_s)}`)));
    const fill = () => { if (block.open && block.children.length < 2) block.append(h("div", {}, link.why ? h("p", {}, h("b", {}, "Stale: "), link.why) : "", link.suspect ? h("p", { class: "suspect" }, "Suspect: the text changed since this test was linked; look at both, then run taktora trace confirm") : "",
      testFacts(test), (test.realizes || []).length ? facts([["realizes", test.realizes.map((id) => [idLink(id), " "])]]) : "")); };
    block.addEventListener("toggle", fill);
    fill();
    return block;
  }
  function allTests(item) {
    const links = worlds.flatMap((world) => item.worlds[world].tests || []).sort((a, b) => rank(a.state) - rank(b.state));
    const first = links.slice(0, 100);
    const rest = links.length > 100 ? h("p", { class: "soft" }, `and ${links.length - 100} more: `, h("a", { href: address("tests", { q: item.id }) }, "all results")) : "";
    return links.length ? section(`Tests (${links.length})`, first.map((link) => testBlock(link, links.length <= 2 || link.state === "failed")), rest) : section("Tests", h("p", { class: "soft" }, "No recorded test names this item."));
  }
  function tools(name, body) {
    const step = (by) => { const ids = current.rows.map((row) => row.id || (row.at !== undefined ? `test/${row.at}` : "")), at = ids.indexOf(state.id); if (at >= 0 && ids[at + by]) go(state.tab, state.query, ids[at + by]); };
    return h("div", { class: "tools" }, h("span", { class: "id" }, name), h("span", { class: "soft" }, body), h("span", { class: "right" },
      h("button", { type: "button", onclick: () => step(-1), title: "Previous in the list (k)" , id: "previous"}, "\u2191"), h("button", { type: "button", onclick: () => step(1), title: "Next in the list (j)", id: "next" }, "\u2193"),
      h("button", { type: "button", onclick: () => print(), title: "Print this item" }, "Print"), h("button", { type: "button", onclick: close, title: "Close (Esc)", id: "close" }, "Close")));
  }
  function worldTable(item) {
    const line = (world) => [h("b", {}, world), h("span", {}, item.type === "feature" ? featurePill(item.worlds[world]) : cellPill(item.worlds[world])),
      h("span", { class: "soft" }, item.type === "feature" ? `${item.worlds[world].verified} of ${item.worlds[world].total} requirements verified` + (item.worlds[world].failed ? `, ${item.worlds[world].failed} failed` : "") : item.worlds[world].why,
        item.worlds[world].below ? [" ", idLink(item.worlds[world].below)] : "")];
    return h("div", { class: "worlds" }, columns.map(line));
  }
  function itemDetail(item) {
    const up = item.parent || item.refines || item.verifies || item.affects || item.implements || [];
    const higher = (item.ancestors || []).filter((id) => !up.includes(id));
    const origin = facts([["area", item.area], ["kind", item.kind], ["verified by", item.verification], ["level", item.level], ["gate", item.gate ? h("code", {}, item.gate) : ""], ["origin", item.origin], ["status", item.status], ["defined in", h("code", {}, item.file)]]);
    const note = (name, text) => (text ? h("div", { class: "note" }, h("b", {}, name), text) : "");
    return [tools(item.id, item.type), h("h2", {}, item.title), item.worlds ? worldTable(item) : "", section(item.type === "feature" ? "Summary" : "Statement", h("p", {}, item.text)),
      note("Adaptation (binds over the statement)", item.adaptation), item.applicability === "not-applicable" ? note("Not applicable", item.reason) : item.reason ? note("Reason", item.reason) : "", note("Note", item.note), origin,
      up.length ? section(item.type === "test" ? "Verifies" : item.type === "feature" ? "Part of" : "Refines", linkList(up)) : "", higher.length ? section("Further up", linkList(higher)) : "",
      (item.below || []).length ? section(`Below (${item.below.length})`, linkList(item.below)) : "", (item.specifications || []).length ? section("Test specifications", linkList(item.specifications)) : "",
      item.worlds && item.type !== "feature" ? allTests(item) : "",
      (item.code || []).length ? section("Code", h("ul", { class: "plain" }, item.code.map((place) => h("li", {}, h("code", {}, place))))) : "",
      (item.others || []).length ? section("Design", linkList(item.others)) : ""];
  }
  function testDetail(at) {
    const test = data.tests[at];
    return [tools("", "result"), h("h2", { class: "node", style: "font-size:15px" }, test.node_id), h("div", { class: "worlds" }, h("b", {}, test.world), h("span", {}, pill(shownAs(test))), h("span", { class: "soft" }, test.stale)), h("div", {}, testFacts(test)),
      (test.verifies || []).length ? section("Verifies", linkList(test.verifies)) : section("Verifies", h("p", { class: "soft" }, "No requirement.")), (test.realizes || []).length ? section("Realizes", linkList(test.realizes)) : ""];
  }
  function drawDetail() {
    const test = /^test\/(\d+)$/.exec(state.id), item = items.get(state.id);
    const content = test && data.tests[test[1]] ? testDetail(Number(test[1])) : item ? itemDetail(item) : state.id ? [tools(state.id, ""), h("p", {}, "There is no such item in this report.")] : null;
    detail.hidden = !content;
    document.body.classList.toggle("detail", Boolean(content));
    detail.replaceChildren(...(content || []).flat(9).filter((node) => node));
    detail.scrollTop = 0;
    current.showUpTo(state.id);
    for (const row of main.querySelectorAll("tr[data-id]")) row.dataset.id === state.id ? row.setAttribute("aria-selected", "true") : row.removeAttribute("aria-selected");
    main.querySelector("tr[aria-selected]")?.scrollIntoView({ block: "nearest" });
  }
  function close() {
    const was = state.id;
    history.pushState(null, "", address(state.tab, state.query, ""));
    state.id = "";
    drawDetail();
    const row = [...main.querySelectorAll("tr[data-id]")].find((one) => one.dataset.id === was);
    if (row) row.querySelector("a")?.focus();
  }

  // ---- drawing

  let drawn = "";
  function draw() {
    const [, view] = TABS[state.tab];
    current = { rows: [], showAll() {}, showUpTo() {} };
    main.replaceChildren(...[view()].flat(9));
    main.scrollTop = 0;
    drawn = address(state.tab, state.query, "");
    const link = ([name, [title, , count]]) => h("a", { href: address(name, {}, ""), "aria-current": name === state.tab ? "page" : undefined }, title, count === undefined ? "" : h("span", { class: `count ${name === "findings" && count ? "bad" : ""}` }, count));
    document.getElementById("tabs").replaceChildren(...Object.entries(TABS).map(link));
  }
  function follow() {
    const before = state.tab;
    readAddress();
    if (items.get(state.id)?.type === "requirement" && drawn === "") state.tab = location.hash.startsWith("#/") ? state.tab : "requirements";
    if (drawn !== address(state.tab, state.query, "") || before !== state.tab) draw();
    drawDetail();
  }
  function theme(name) { root.dataset.theme = name; try { localStorage.setItem("taktora-theme", name); } catch { /* private windows have no storage */ } }
  let wanted = new URLSearchParams(location.search).get("theme");
  try { wanted = wanted || localStorage.getItem("taktora-theme"); } catch { /* private windows have no storage */ }
  root.dataset.theme = wanted || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.getElementById("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
  document.getElementById("project").textContent = data.project;
  document.title = `${data.project} \u2013 requirement trace`;
  document.getElementById("asof").textContent = data.newest_result ? `newest result ${data.newest_result.slice(0, 16).replace("T", " ")} UTC` : "no results yet";
  addEventListener("hashchange", follow);
  addEventListener("popstate", follow);
  addEventListener("beforeprint", () => {
    current.showAll();
    for (const block of detail.querySelectorAll("details.test")) { block.open = true; block.dispatchEvent(new Event("toggle")); }
  });
  addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "Escape" && state.id) close();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") { event.preventDefault(); document.getElementById("search")?.focus(); }
    if (event.key === "j") document.getElementById("next")?.click();
    if (event.key === "k") document.getElementById("previous")?.click();
  });
  follow();
})();
