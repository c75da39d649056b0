// Comfort for every figure.chart: a picture that answers to the pointer, and pictures to take away.
// A figure is complete without it: whatever only works with a script is made by this script.
"use strict";

(() => {
  const VEGA = new URL("vega.js", document.currentScript.src).href;
  const SCALE = 2;
  const LONGEST_NAME = 120;
  const PAPER = "#ffffff";
  const HINT = "Point at a mark for its numbers; drag to move; Ctrl and wheel to zoom; double click to go back.";
  const ZOOM = {
    name: "zoom",
    select: { type: "interval", zoom: "wheel![event.ctrlKey || event.metaKey]" },
    bind: "scales",
  };

  let loading = null;

  /** Vega, loaded when the first reader asks for it. */
  function loadVega() {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = VEGA;
      script.onload = () => resolve(window.vegaEmbed);
      script.onerror = () => {
        loading = null;
        script.remove();
        reject(new Error("assets/vega.js cannot be loaded"));
      };
      document.head.append(script);
    });
    return loading;
  }

  // Names and their keys stand right of the plot, at a place in pixels.
  const isInPlot = (layer, spec) => !(layer.encoding?.x?.value >= spec.width);

  /** The same chart, moving: what is in the plot stays in the plot, and its ticks are made anew. */
  function lively(spec) {
    const made = { ...spec, background: null };
    const points = made.layer?.find((layer) => layer.name === "points");
    if (!points) return made;
    made.layer = made.layer.map((layer) => ({
      ...layer,
      mark: { ...layer.mark, clip: isInPlot(layer, spec) },
      ...(layer === points ? { params: [ZOOM] } : {}),
    }));
    made.encoding = Object.fromEntries(
      Object.entries(made.encoding).map(([name, channel]) => {
        const { values, ...axis } = channel.axis;
        return [name, { ...channel, axis }];
      }),
    );
    return made;
  }

  /** The static picture by itself, on white paper. */
  function paper(svg) {
    const copy = svg.cloneNode(true);
    copy.removeAttribute("hidden");
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    const [, , width, height] = svg.getAttribute("viewBox").split(" ");
    const sheet = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    Object.entries({ width, height, fill: PAPER }).forEach(([name, value]) => sheet.setAttribute(name, value));
    // After title and description, under all else.
    copy.querySelector("g").before(sheet);
    return { text: new XMLSerializer().serializeToString(copy), width: Number(width), height: Number(height) };
  }

  function painted({ text, width, height }) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => {
        const canvas = document.createElement("canvas");
        canvas.width = width * SCALE;
        canvas.height = height * SCALE;
        canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
        canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture cannot be painted"))), "image/png");
      };
      image.onerror = () => reject(new Error("the picture cannot be painted"));
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    });
  }

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    // The browser reads it after this turn.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  const partOf = (svg, name) => svg.querySelector(name)?.textContent ?? "";

  /** Eight signs that differ where texts do: FNV-1a. */
  function digest(text) {
    let state = 0x811c9dc5;
    for (const byte of new TextEncoder().encode(text)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
    return state.toString(16).padStart(8, "0");
  }

  /** A file's name by the page's and the figure's id: pictures of several pages lie in one folder. */
  function nameOf(figure, ending) {
    const page = location.pathname.split("/").pop().replace(/\.html$/, "") || "index";
    const whole = `${page}-${figure.id || "chart"}`.toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[.-]+/, "");
    const room = LONGEST_NAME - ending.length - 1;
    const name = whole.length <= room ? whole : `${digest(whole)}-${whole.slice(9 - room)}`;
    return `${name}.${ending}`;
  }

  function button(text, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  }

  function equip(figure) {
    const picture = figure.querySelector(".picture");
    const svg = picture?.querySelector("svg");
    if (!svg) return;
    const data = figure.querySelector("script.spec");
    const status = document.createElement("span");
    status.setAttribute("role", "status");
    const tell = (text) => { status.textContent = text; };
    const trying = (act) => async () => {
      try {
        await act();
      } catch (error) {
        tell(`That failed: ${error.message}.`);
      }
    };
    let live = null;

    function goStatic() {
      live.view.finalize();
      live.host.remove();
      live = null;
      svg.removeAttribute("hidden");
      picture.classList.remove("live");
      picture.removeAttribute("role");
      picture.removeAttribute("aria-label");
      toggle.setAttribute("aria-pressed", "false");
      tell("");
    }

    async function goLive() {
      tell("Loading…");
      toggle.disabled = true;
      const host = document.createElement("div");
      host.setAttribute("aria-hidden", "true");
      try {
        const embed = await loadVega();
        picture.append(host);
        const view = await embed(host, lively(JSON.parse(data.textContent)), {
          mode: "vega-lite",
          renderer: "svg",
          // Expressions are interpreted: the page's policy lets none be compiled.
          ast: true,
          actions: false,
          defaultStyle: false,
          tooltip: { disableDefaultStyle: true },
        });
        live = { host, view };
        svg.setAttribute("hidden", "");
        picture.classList.add("live");
        // Read aloud, it stays one picture: its parts are for the pointer.
        picture.setAttribute("role", "img");
        picture.setAttribute("aria-label", `${partOf(svg, "title")}. ${partOf(svg, "desc")}`);
        toggle.setAttribute("aria-pressed", "true");
        tell(HINT);
      } catch (error) {
        host.remove();
        throw error;
      } finally {
        toggle.disabled = false;
        toggle.focus();
      }
    }

    const toggle = button("Interactive", trying(() => (live ? goStatic() : goLive())));
    toggle.setAttribute("aria-pressed", "false");
    const saver = (ending, made) =>
      button(ending.toUpperCase(), trying(async () => {
        const name = nameOf(figure, ending);
        save(await made(paper(svg)), name);
        tell(`Saved as ${name}.`);
      }));
    const tools = document.createElement("div");
    tools.className = "chart-tools";
    tools.append(
      ...(data ? [toggle] : []),
      saver("svg", ({ text }) => new Blob([text], { type: "image/svg+xml" })),
      saver("png", painted),
      status,
    );
    picture.after(tools);
  }

  document.querySelectorAll("figure.chart").forEach(equip);
})();
