// The map, the search and the sorting of tables. All names are data of strangers: they only ever become text.
"use strict";
(() => {
  const MOST_CELLS = 1500; // drawn at once
  const MOST_ROWS = 100; // listed before "Show all"
  const DEEPEST = 8; // levels drawn inside each other
  const HEAD = 17; // pixels of a folder's label

  // Hue and strength by what happened to a file, and what the legend says of it.
  const WHAT = {
    kept: [250, 0.07, "kept as it came"],
    compacted: [195, 0.08, "compacted"],
    packed: [305, 0.09, "packed"],
    added: [145, 0.1, "added by slimpack"],
    removed: [65, 0.1, "removed"],
    gone: [65, 0.03, "only in the base"],
    several: [250, 0.012, "various"],
  };
  const CHANGE = {
    grown: [45, 0.13, "grown or new"],
    shrunk: [235, 0.11, "shrunk or gone"],
    same: [250, 0.008, "as it was"],
  };
  const MEASURE = {
    after: "In the bundle",
    before: "Plain install",
    saved: "Saved",
    packed: "Saved by packing",
    base: "In the base",
    change: "Change",
  };
  const COLOUR = { what: "What happened", part: "Package or folder", change: "Change" };

  const find = (id) => document.getElementById(id);

  const make = (tag, attributes, ...inside) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  };

  const size = (bytes) => {
    const [factor, unit] = [[2 ** 20, "MiB"], [2 ** 10, "KiB"]].find(([f]) => Math.abs(bytes) >= f / 10) ?? [1, "B"];
    const digits = factor === 1 ? 0 : 1;
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    return `${(bytes / factor).toLocaleString("en", options).replace("-", "\u2212")} ${unit}`;
  };
  const amount = (measure, bytes) => (measure === "change" && bytes > 0 ? "+" : "") + size(bytes);
  const several = (files) => `${files.toLocaleString("en")} ${files === 1 ? "file" : "files"}`;

  const inflate = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  };

  // The lines of the tree, each before what is inside it, become arrays by number of the line; sums are made here.
  const grow = (data) => {
    const count = data.names.length;
    const tree = {
      count,
      names: data.names,
      parent: new Int32Array(count).fill(-1),
      inside: data.inside.map(() => []),
      paths: new Array(count),
      files: new Float64Array(count),
      what: new Array(count),
      why: new Array(count),
      value: {},
      area: {},
    };
    for (const measure of data.measures) {
      tree.value[measure] = new Float64Array(count);
      tree.area[measure] = new Float64Array(count);
    }
    const open = [];
    for (let node = 0, leaf = 0; node < count; node++) {
      const above = open.at(-1);
      if (above) {
        tree.parent[node] = above.node;
        tree.inside[above.node].push(node);
        if (--above.left === 0) open.pop();
      }
      const prefix = above?.node ? `${tree.paths[above.node]}/` : "";
      tree.paths[node] = node ? prefix + data.names[node] : "";
      if (data.inside[node] || !node) {
        open.push({ node, left: data.inside[node] });
        continue;
      }
      const sizes = Object.fromEntries(Object.entries(data.sizes).map(([name, column]) => [name, column[leaf]]));
      sizes.saved = sizes.before - sizes.after;
      sizes.change = sizes.after - sizes.base;
      for (const measure of data.measures) {
        tree.value[measure][node] = sizes[measure];
        tree.area[measure][node] = measure === "change" ? Math.abs(sizes.change) : Math.max(0, sizes[measure]);
      }
      tree.files[node] = data.files[leaf];
      tree.what[node] = data.whats[data.what[leaf]];
      tree.why[node] = data.reasons[data.why[leaf]];
      leaf++;
    }
    for (let node = count - 1; node > 0; node--) {
      const above = tree.parent[node];
      for (const measure of data.measures) {
        tree.value[measure][above] += tree.value[measure][node];
        tree.area[measure][above] += tree.area[measure][node];
      }
      tree.files[above] += tree.files[node];
      tree.what[above] = [undefined, tree.what[node]].includes(tree.what[above]) ? tree.what[node] : "several";
    }
    tree.what[0] ??= "several"; // of a bundle without files
    tree.places = new Map(tree.paths.map((path, node) => [path, node]).reverse());
    return tree;
  };

  // Squarified treemap (Bruls, Huizing, van Wijk 2000): rows along the shorter side while they get squarer.
  const squarify = (nodes, areas, { x, y, width, height }) => {
    const whole = nodes.reduce((sum, node) => sum + areas[node], 0);
    const scale = (width * height) / whole;
    const boxes = [];
    for (let start = 0; start < nodes.length; ) {
      const side = Math.min(width, height);
      const first = areas[nodes[start]] * scale;
      let end = start, sum = 0, worst = Infinity;
      for (; end < nodes.length; end++) {
        const last = areas[nodes[end]] * scale;
        const next = sum + last;
        const ratio = Math.max((side * side * first) / (next * next), (next * next) / (side * side * last));
        if (ratio > worst) break;
        [sum, worst] = [next, ratio];
      }
      const thick = sum / side;
      for (let along = 0; start < end; start++) {
        const long = (areas[nodes[start]] * scale) / thick;
        boxes.push(
          width < height
            ? { node: nodes[start], x: x + along, y, width: long, height: thick }
            : { node: nodes[start], x, y: y + along, width: thick, height: long },
        );
        along += long;
      }
      if (width < height) [y, height] = [y + thick, height - thick];
      else [x, width] = [x + thick, width - thick];
    }
    return boxes;
  };

  const start = (data) => {
    const tree = grow(data);
    const state = { at: 0, chosen: 0, measure: data.measures[0], colour: data.colours[0], all: false, hits: null };
    const cells = find("cells");
    let drawn = []; // boxes of the cells that have the focus in turn
    let land = null; // what gets the focus after the next move

    const largestFirst = (nodes) => {
      const areas = tree.area[state.measure];
      return [...nodes].sort((one, other) => areas[other] - areas[one] || one - other);
    };
    const drawable = (nodes) => largestFirst(nodes).filter((node) => tree.area[state.measure][node] > 0);
    const address = (node) => `#/${tree.paths[node].split("/").map(encodeURIComponent).join("/")}`;
    const isFolder = (node) => node === 0 || tree.inside[node].length > 0;
    const kind = (node) => (isFolder(node) ? several(tree.files[node]) : tree.files[node] > 1 ? "small files" : "file");

    // What happened to most of the bytes of a file or folder.
    const mostly = (node) => {
      if (tree.what[node] !== "several" || !isFolder(node)) return tree.what[node];
      const areas = tree.area[state.measure];
      const sums = {};
      for (const stack = [node]; stack.length; ) {
        const one = stack.pop();
        if (tree.what[one] === "several") stack.push(...tree.inside[one]);
        if (tree.what[one] !== "several" || !isFolder(one)) sums[tree.what[one]] = (sums[tree.what[one]] ?? 0) + areas[one];
      }
      return Object.keys(sums).find((what) => sums[what] > areas[node] / 2) ?? "several";
    };

    const paint = (element, node, part) => {
      let [hue, chroma] = WHAT[mostly(node)];
      if (state.colour === "part") [hue, chroma] = [(250 + part * 137.5) % 360, 0.085];
      if (state.colour === "change") {
        const [now, then] = [tree.value.after[node], tree.value.base[node]];
        const changed = Math.abs(now - then) / Math.max(now, then, 1);
        [hue, chroma] = CHANGE[now > then ? "grown" : now < then ? "shrunk" : "same"];
        if (changed) chroma *= 0.35 + 0.65 * Math.min(1, changed * 2);
        element.classList.toggle("new", now > 0 && then === 0);
        element.classList.toggle("gone", now === 0 && then > 0);
      }
      element.style.setProperty("--hue", hue);
      element.style.setProperty("--chroma", chroma);
    };

    const place = (element, box, around) => {
      element.style.left = `${(100 * box.x) / around.width}%`;
      element.style.top = `${(100 * box.y) / around.height}%`;
      element.style.width = `${(100 * box.width) / around.width}%`;
      element.style.height = `${(100 * box.height) / around.height}%`;
    };

    const fill = (element, box, depth, part, budget) => {
      const { node, width, height } = box;
      const words = amount(state.measure, tree.value[state.measure][node]);
      if (width > 34 && height > 15) {
        const label = make("span", { class: height > 34 && !isFolder(node) ? "label two" : "label" });
        label.append(make("b", {}, tree.names[node]), " ", words);
        (element.querySelector("button") ?? element).append(label);
      }
      const inner = { x: 2, y: HEAD, width: width - 6, height: height - HEAD - 4 };
      if (!isFolder(node) || depth === DEEPEST || inner.width < 24 || inner.height < 12) return;
      element.classList.add("frame");
      for (const one of squarify(drawable(tree.inside[node]), tree.area[state.measure], inner)) {
        if (one.width < 3 || one.height < 3 || --budget.left < 0) continue;
        const nested = make("span", { class: "cell", "data-node": one.node, "aria-hidden": true });
        place(nested, one, { width: width - 2, height: height - 2 });
        paint(nested, one.node, part);
        mark(nested, one.node);
        fill(nested, one, depth + 1, part, budget);
        element.append(nested);
      }
    };

    const mark = (element, node) => {
      element.classList.toggle("hit", Boolean(state.hits?.tops.has(node)));
      element.classList.toggle("way", Boolean(state.hits?.way[node]));
    };

    const draw = () => {
      const around = { x: 0, y: 0, width: cells.clientWidth, height: cells.clientHeight };
      const nodes = drawable(tree.inside[state.at]);
      const whole = tree.area[state.measure][state.at];
      const budget = { left: MOST_CELLS };
      const focused = cells.contains(document.activeElement) ? document.activeElement.dataset.node : null;
      drawn = squarify(nodes, tree.area[state.measure], around).filter((box) => box.width >= 2 && box.height >= 2);
      drawn = drawn.slice(0, MOST_CELLS);
      budget.left -= drawn.length;
      cells.replaceChildren(
        ...drawn.map((box, part) => {
          const words = amount(state.measure, tree.value[state.measure][box.node]);
          const share = `${((100 * tree.area[state.measure][box.node]) / whole).toFixed(1)} %`;
          const button = make("button", {
            type: "button",
            tabindex: -1,
            "data-node": box.node,
            "aria-label": `${tree.names[box.node]} ${words}, ${share}, ${kind(box.node)}`,
          });
          const cell = make("div", { class: "cell", "data-node": box.node }, button);
          place(cell, box, around);
          paint(cell, box.node, part);
          mark(cell, box.node);
          fill(cell, box, 1, part, budget);
          return cell;
        }),
      );
      cells.classList.toggle("finding", state.hits !== null);
      if (!drawn.length) cells.append(make("p", { class: "label quiet" }, "Nothing to draw: all sizes are 0."));
      (cells.querySelector(`button[data-node="${state.chosen}"]`) ?? cells.querySelector("button"))?.setAttribute("tabindex", 0);
      if (focused) cells.querySelector(`button[data-node="${focused}"]`)?.focus();
    };

    const detail = (node) => {
      const lines = [make("p", {}, make("b", {}, tree.paths[node] || tree.names[0]))];
      const sizes = data.measures.map((measure) => `${MEASURE[measure]} ${amount(measure, tree.value[measure][node])}`);
      lines.push(make("p", {}, [...sizes, kind(node)].join(" · ")));
      const why = isFolder(node) ? "" : [WHAT[tree.what[node]][2], tree.why[node]].filter(Boolean).join(": ");
      if (why && data.manifest) lines.push(make("p", {}, why));
      find("detail").replaceChildren(...lines);
    };

    const crumbs = () => {
      const way = [];
      for (let node = state.at; node >= 0; node = tree.parent[node]) way.unshift(node);
      const items = way.map((node) => {
        const link = make("a", { href: address(node) }, tree.names[node]);
        if (node === state.at) link.setAttribute("aria-current", "page");
        return make("li", {}, link);
      });
      find("crumbs").replaceChildren(make("ol", {}, ...items));
    };

    const list = () => {
      const nodes = largestFirst(state.hits?.tops ?? tree.inside[state.at]);
      const table = find("listing");
      const shown = state.all ? nodes : nodes.slice(0, MOST_ROWS);
      table.parentElement.hidden = !state.hits && state.at === 0;
      find("more").hidden = table.parentElement.hidden || shown.length === nodes.length;
      find("more").textContent = `Show all ${nodes.length.toLocaleString("en")}`;
      find("listing-title").textContent = `${state.hits ? "Found" : `In ${tree.paths[state.at]}`}, largest first`;
      const spare = (measure) => (measure === state.measure ? "number" : "number spare");
      const columns = data.measures.map((measure) => [MEASURE[measure], spare(measure)]);
      columns.unshift(["Files", "number spare"]);
      if (data.manifest) columns.push(["What happened", "why"]);
      const heads = columns.map(([words, css]) => make("th", { scope: "col", class: css }, words));
      table.tHead.replaceChildren(make("tr", {}, make("th", { scope: "col" }, "Name"), ...heads));
      table.tBodies[0].replaceChildren(
        ...shown.map((node) => {
          const name = state.hits ? tree.paths[node] : tree.names[node] + (isFolder(node) ? "/" : "");
          const cells = data.measures.map((measure) => amount(measure, tree.value[measure][node]));
          cells.unshift(tree.files[node].toLocaleString("en"));
          if (data.manifest) cells.push(WHAT[tree.what[node]][2]);
          const head = make("th", { scope: "row" }, make("a", { href: address(node) }, name));
          return make("tr", {}, head, ...cells.map((words, index) => make("td", { class: columns[index][1] }, words)));
        }),
      );
      speak(table);
    };

    const legend = () => {
      const used = new Set([...cells.querySelectorAll(".cell")].map((cell) => mostly(cell.dataset.node)));
      const whats = Object.keys(WHAT).filter((what) => used.has(what)).map((what) => WHAT[what]);
      const entries = state.colour === "change" ? Object.values(CHANGE) : whats;
      find("legend").replaceChildren(
        ...(state.colour === "part" ? [] : entries).map(([hue, chroma, words]) => {
          const patch = make("i", {});
          patch.style.setProperty("--hue", hue);
          patch.style.setProperty("--chroma", chroma);
          return make("li", {}, patch, words);
        }),
      );
    };

    const show = () => {
      draw();
      crumbs();
      list();
      legend();
      detail(state.chosen);
      if (land === null) return;
      (cells.querySelector(`button[data-node="${land}"]`) ?? cells.querySelector("button"))?.focus();
      land = null;
    };

    const say = (words) => (find("said").textContent = words);

    // The address has the place, so that it can be linked to, and the browser's own Back leads up again.
    const addressed = () => {
      try {
        return tree.places.get(location.hash.slice(2).split("/").map(decodeURIComponent).join("/")) ?? 0;
      } catch {
        return 0; // what is no address of ours leads to the root
      }
    };
    const follow = () => {
      const node = addressed();
      [state.at, state.chosen, state.all] = [isFolder(node) ? node : Math.max(0, tree.parent[node]), node, false];
      show();
      if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
        cells.animate([{ opacity: 0.3 }, { opacity: 1 }], { duration: 160 });
      }
      const [name, bytes] = [tree.paths[state.at] || tree.names[0], tree.value[state.measure][state.at]];
      say(`${name}: ${several(tree.files[state.at])}, ${amount(state.measure, bytes)}`);
    };

    const first = (node) => (isFolder(node) ? (drawable(tree.inside[node])[0] ?? null) : node);
    const go = (node, focus) => {
      land = focus;
      if (location.hash === address(node)) follow();
      else location.hash = address(node);
    };

    const open = (node) => go(node, first(node));
    const up = () => state.at && go(tree.parent[state.at], state.at);

    const search = () => {
      const query = find("query").value.trim().toLowerCase();
      const words = query.split(/\s+/).filter(Boolean);
      state.all = false;
      state.hits = null;
      if (words.length) {
        const way = new Uint8Array(tree.count); // 1: it matches, or something inside it or around it does
        const inside = new Uint8Array(tree.count);
        const tops = new Set();
        for (let node = 1; node < tree.count; node++) {
          const path = tree.paths[node].toLowerCase();
          inside[node] = inside[tree.parent[node]] || Number(words.every((word) => path.includes(word)));
          if (inside[node] && !inside[tree.parent[node]]) tops.add(node);
        }
        for (let node = tree.count - 1; node > 0; node--) {
          way[node] |= inside[node];
          way[tree.parent[node]] |= way[node];
        }
        state.hits = { tops, way };
      }
      draw();
      list();
      if (!state.hits) return say("");
      const sum = (column) => [...state.hits.tops].reduce((total, node) => total + column[node], 0);
      say(state.hits.tops.size
        ? `Found: ${several(sum(tree.files))}, ${amount(state.measure, sum(tree.value[state.measure]))}`
        : `Nothing has “${find("query").value.trim()}” in its path.`);
    };

    // From the middle of an edge, the nearest cell beyond it.
    const neighbour = (box, [right, down]) => {
      const x = box.x + box.width / 2 + right * (box.width / 2 + 1);
      const y = box.y + box.height / 2 + down * (box.height / 2 + 1);
      const distance = (one) =>
        Math.hypot(Math.max(one.x - x, 0, x - one.x - one.width), Math.max(one.y - y, 0, y - one.y - one.height));
      const beyond = drawn.filter((one) =>
        right ? (one.x - box.x) * right > 0.5 : (one.y - box.y) * down > 0.5,
      );
      return beyond.sort((one, other) => distance(one) - distance(other))[0];
    };
    const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

    cells.addEventListener("keydown", (event) => {
      const box = drawn.find((one) => one.node === Number(event.target.dataset.node));
      if (!box || event.altKey || event.ctrlKey || event.metaKey) return;
      const next = { Home: drawn[0], End: drawn.at(-1) }[event.key] ?? (ARROWS[event.key] && neighbour(box, ARROWS[event.key]));
      if (next) cells.querySelector(`button[data-node="${next.node}"]`).focus();
      else if (event.key === "Escape" || event.key === "Backspace") up();
      else if (!ARROWS[event.key]) return;
      event.preventDefault();
    });
    cells.addEventListener("click", (event) => {
      const cell = event.target.closest("[data-node]");
      if (cell) open(Number(cell.dataset.node));
    });
    cells.addEventListener("focusin", (event) => {
      cells.querySelector('[tabindex="0"]')?.setAttribute("tabindex", -1);
      event.target.setAttribute("tabindex", 0);
      detail(Number(event.target.dataset.node));
    });
    cells.addEventListener("pointerover", (event) => {
      const cell = event.target.closest("[data-node]");
      if (cell) detail(Number(cell.dataset.node));
    });
    cells.addEventListener("pointerleave", () => detail(Number(document.activeElement?.dataset.node ?? state.chosen)));

    for (const [id, names, values] of [["measure", MEASURE, data.measures], ["colour", COLOUR, data.colours]]) {
      find(id).append(...values.map((value) => make("option", { value }, names[value])));
      find(id).parentElement.hidden = values.length < 2;
      find(id).addEventListener("change", (event) => {
        state[id] = event.target.value;
        show();
      });
    }
    find("query").addEventListener("input", search);
    find("query").form.addEventListener("submit", (event) => {
      event.preventDefault();
      find("listing").querySelector("a")?.focus();
    });
    find("more").addEventListener("click", () => {
      state.all = true;
      list();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
      event.preventDefault();
      find("query").focus();
    });

    for (const cell of document.querySelectorAll("[data-package]")) {
      if (!tree.places.has(cell.dataset.package)) continue;
      const link = make("a", { href: address(tree.places.get(cell.dataset.package)) });
      link.append(...cell.childNodes);
      cell.append(link);
    }

    find("map").hidden = false;
    find("no-map").hidden = true;
    addEventListener("hashchange", () => {
      if (location.hash && !location.hash.startsWith("#/")) return;
      const inside = land !== null;
      if (!inside && location.hash) land = first(addressed());
      follow();
      if (!inside && location.hash) find("map").scrollIntoView();
    });
    show();
    if (location.hash.startsWith("#/")) follow();
    new ResizeObserver(() => draw()).observe(cells);
  };

  // A narrow screen breaks the rows of a table into lines; those who listen still have a table.
  const ROLES = { table: "table", "thead, tbody, tfoot": "rowgroup", tr: "row", td: "cell" };
  ROLES["thead th"] = "columnheader";
  ROLES["tbody th, tfoot th"] = "rowheader";
  const speak = (table) => {
    for (const [those, role] of Object.entries(ROLES)) {
      for (const one of table.parentElement.querySelectorAll(those)) one.setAttribute("role", role);
    }
  };

  // Click on a column's name to sort by it: numbers largest first, words from A to Z; again for the reverse.
  const sortable = (table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const key = (row, column) => row.cells[column].querySelector("data")?.value ?? row.cells[column].textContent;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.classList.contains("why")) return;
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numbers = head.classList.contains("number");
        const was = head.getAttribute("aria-sort");
        const falling = was ? was === "ascending" : numbers;
        head.parentElement.querySelector("[aria-sort]")?.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        const compare = (one, other) =>
          numbers ? Number(key(one, column)) - Number(key(other, column)) : key(one, column).localeCompare(key(other, column), "en");
        body.append(...rows.filter((row) => row.dataset.last === undefined).sort((one, other) => (falling ? -1 : 1) * compare(one, other)));
        body.append(...rows.filter((row) => row.dataset.last !== undefined));
      });
    });
  };

  document.querySelectorAll("table.sortable").forEach((table) => {
    sortable(table);
    speak(table);
  });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
  if (typeof DecompressionStream !== "undefined") inflate(find("tree").textContent).then(start);
})();
