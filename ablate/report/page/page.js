
"use strict";
(() => {
  const MOST_RUNS = 500;
  const parsed = new Map();
  const data = (element) => {
    if (!parsed.has(element)) parsed.set(element, JSON.parse(element.textContent));
    return parsed.get(element);
  };
  const provenance = () => data(document.getElementById("provenance"));
  const make = (tag, text) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

  // Sorting. A cell's number is the first one in it: "[+0.1, +0.3]" counts 0.1, "<0.001" counts 0.001.
  const words = new Intl.Collator("en", { numeric: true });
  const numberOf = (text) => {
    const found = /^[[<>~\s]*([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)/i.exec(text);
    return found ? Number(found[1].replaceAll(",", "")) : NaN;
  };
  const sorted = (rows, column, numeric, sign) => {
    const keyed = rows.map((row) => {
      const text = row.cells[column].textContent;
      return { row, text, value: numeric ? numberOf(text) : 0, absent: text === "" || text === "–" };
    });
    keyed.sort((a, b) => {
      const last = (one) => (one.absent ? 2 : Number.isNaN(one.value) ? 1 : 0);
      if (last(a) || last(b)) return last(a) - last(b);
      return sign * (numeric ? a.value - b.value : words.compare(a.text, b.text));
    });
    return keyed.map((one) => one.row);
  };
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
  const sortable = (table, announce) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const order = NEXT[head.getAttribute("aria-sort")];
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const numeric = head.classList.contains("n");
        body.append(...(order === "none" ? original : sorted(original, column, numeric, sign)));
        announce(order === "none" ? "" : `, by ${button.textContent}, ${order}`);
      });
    });
  };

  // Filtering. Every word has to be in the row; the cluster has to be the one chosen.
  const filterable = (table, tools) => {
    const rows = [...table.tBodies[0].rows];
    const input = tools.querySelector(".words");
    const select = tools.querySelector(".clusters");
    const count = tools.querySelector(".count");
    let texts = null;
    let order = "";
    const announce = () => {
      const shown = rows.filter((row) => !row.hidden).length;
      const total = plural(rows.length, "row");
      count.textContent = (shown === rows.length ? total : `${shown.toLocaleString("en")} of ${total}`) + order;
    };
    const apply = () => {
      texts ??= rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
      const wanted = (input ? input.value.toLowerCase() : "").split(/\s+/).filter(Boolean);
      const cluster = select ? select.value : "";
      rows.forEach((row, at) => {
        const text = texts[at];
        const inside = !cluster || row.cells[Number(table.dataset.cluster)].textContent === cluster;
        row.hidden = !(inside && wanted.every((word) => text.includes(word)));
      });
      announce();
    };
    input?.addEventListener("input", apply);
    select?.addEventListener("change", apply);
    tools.hidden = false;
    announce();
    return (said) => {
      order = said;
      announce();
    };
  };

  // Provenance: the records behind a cell.
  const ranges = (text) =>
    text.split(",").filter(Boolean).flatMap((part) => {
      const [first, last = first] = part.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, step) => first + step);
    });
  const field = (name, run) => {
    const column = provenance()[name];
    return Array.isArray(column) ? column[run] : column.values[column.at[run]];
  };
  const valueOf = (endpoint, run) => {
    const { scores } = provenance();
    if (!Object.hasOwn(scores, endpoint)) return "no score";
    const known = scores[endpoint];
    known.where ??= new Map(ranges(known.at).map((one, at) => [one, at]));
    const value = known.where.has(run) ? known.values[known.where.get(run)] : null;
    return value === null ? "no score" : String(value);
  };
  const dialog = document.getElementById("records");
  const title = document.getElementById("records-title");
  const fileLink = (folder, run, suffix) => {
    const name = `${field("arm", run)}-seed${field("seed", run)}.${suffix}`;
    const cell = make("td");
    const link = make("a", `${folder}/${name}`);
    link.href = `${folder}/${encodeURIComponent(name)}`;
    cell.append(link);
    return cell;
  };
  const runRow = (run, endpoint, items) => {
    const row = make("tr");
    const head = make("th", field("arm", run));
    head.scope = "row";
    row.append(head, make("td", String(field("seed", run) ?? "")));
    if (endpoint !== null) row.append(make("td", valueOf(endpoint, run)));
    const status = field("status", run);
    const known = status !== "no record";
    row.append(make("td", status), known ? fileLink("records", run, "json") : make("td", "–"));
    if (items) row.append(known ? fileLink("items", run, "parquet") : make("td", "–"));
    for (const name of ["identity", "commit", "device", "started"])
      row.append(make("td", field(name, run) || "–"));
    return row;
  };
  const behind = (cell) => {
    const row = cell.parentElement;
    const head = cell.closest("table").tHead.rows[0].cells[cell.cellIndex];
    const runs = ranges(provenance().groups[Number(row.dataset.runs)]);
    const { arm, seed } = head.dataset;
    return runs.filter(
      (run) =>
        (arm === undefined || field("arm", run) === arm) &&
        (seed === undefined || String(field("seed", run)) === seed),
    );
  };
  const show = (cell) => {
    const table = cell.closest("table");
    const head = table.tHead.rows[0].cells[cell.cellIndex];
    const row = cell.parentElement;
    const column = table.dataset.endpoint;
    const items = "items" in table.dataset;
    const endpoint = column === undefined || items ? null : row.cells[Number(column)].textContent;
    const runs = behind(cell);
    title.textContent = `${head.textContent}: ${cell.textContent || "–"}`;
    const place = [...row.cells].slice(0, 2).map((one) => one.textContent).join(", ");
    const cut = runs.length > MOST_RUNS ? `; the first ${MOST_RUNS} are shown` : "";
    const none = runs.length ? "" : " No record is behind this cell.";
    document.getElementById("records-about").textContent =
      `${table.caption.textContent.replace(/, [\d,]+ rows$/, "")}: ${place}. ${plural(runs.length, "record")}${cut}.${none}`;
    const scores = items ? "item scores" : null;
    const titles = ["arm", "seed", endpoint, "status", "record", scores, "identity", "commit", "device", "started"];
    const shown = titles.filter((one) => one !== null);
    dialog.querySelector("thead tr").replaceChildren(
      ...shown.map((text) => {
        const th = make("th", text);
        th.scope = "col";
        return th;
      }),
    );
    dialog
      .querySelector("tbody")
      .replaceChildren(...runs.slice(0, MOST_RUNS).map((run) => runRow(run, endpoint, items)));
    dialog.showModal();
    dialog.scrollTop = 0;
    title.focus();
  };
  document.getElementById("records-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });

  // One tab stop a table; arrow keys move, as in the ARIA grid pattern.
  const grid = (table) => {
    table.setAttribute("role", "grid");
    table.setAttribute("aria-readonly", "true");
    table.closest(".scroll").removeAttribute("tabindex");
    const body = table.tBodies[0];
    let current = body.rows[0].cells[0];
    current.tabIndex = 0;
    const go = (cell) => {
      current.tabIndex = -1;
      current = cell;
      current.tabIndex = 0;
      current.focus();
    };
    const beside = (row, step) => {
      let other = row;
      do other = step > 0 ? other.nextElementSibling : other.previousElementSibling;
      while (other && other.hidden);
      return other;
    };
    const target = (key, cell) => {
      const row = cell.parentElement;
      const at = cell.cellIndex;
      if (key === "ArrowRight") return row.cells[at + 1];
      if (key === "ArrowLeft") return row.cells[at - 1];
      if (key === "Home") return row.cells[0];
      if (key === "End") return row.cells[row.cells.length - 1];
      if (key === "ArrowDown") return beside(row, 1)?.cells[at];
      if (key === "ArrowUp") return beside(row, -1)?.cells[at];
      return undefined;
    };
    body.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const cell = event.target.closest("td, th");
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        if ("runs" in cell.parentElement.dataset) show(cell);
        return;
      }
      const next = target(event.key, cell);
      if (next) {
        event.preventDefault();
        go(next);
      }
    });
    body.addEventListener("click", (event) => {
      const cell = event.target.closest("td, th");
      if (!cell || String(getSelection())) return;
      go(cell);
      if ("runs" in cell.parentElement.dataset) show(cell);
    });
    // After sorting, and where a filter hides its row, the tab stop is the first cell that is shown.
    return (moved) => {
      if (!moved && !current.parentElement.hidden) return;
      const first = [...body.rows].find((row) => !row.hidden);
      current.tabIndex = -1;
      if (first) current = first.cells[0];
      current.tabIndex = 0;
    };
  };

  for (const table of document.querySelectorAll("table.data")) {
    const tools = table.closest("section").querySelector(".tools");
    const announce = filterable(table, tools);
    sortable(table, announce);
    if (table.querySelector("tr[data-runs]")) {
      const settle = grid(table);
      tools.addEventListener("input", () => settle(false));
      tools.addEventListener("change", () => settle(false));
      table.tHead.addEventListener("click", () => settle(true));
    }
  }
  const hint = document.getElementById("hint");
  if (hint) hint.hidden = false;

  // Downloads out of the page itself.
  const files = new Map([...document.querySelectorAll("script.file")].map((one) => [one.dataset.file, one]));
  for (const button of document.querySelectorAll("button.download")) {
    button.addEventListener("click", () => {
      const blob = new Blob([data(files.get(button.dataset.file))], { type: "text/csv;charset=utf-8" });
      const link = make("a");
      link.href = URL.createObjectURL(blob);
      link.download = button.dataset.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }

  // Paper shows what is folded.
  const folded = [];
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.open = true;
      folded.push(details);
    }
  });
  addEventListener("afterprint", () => folded.splice(0).forEach((details) => (details.open = false)));
})();
