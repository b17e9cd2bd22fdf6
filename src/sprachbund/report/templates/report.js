// The page shows static drawings; this replaces them by the same charts with tooltips and a menu to save them.
function fit(specification, width) {
  const narrow = width < 480;
  for (const heatMap of specification.vconcat ?? []) {
    if (narrow) heatMap.width.step = Math.min(heatMap.width.step, 40);
  }
  if (specification.columns) {
    const panels = specification.spec ? [specification.spec] : specification.concat.flatMap((column) => column.vconcat);
    if (narrow) for (const panel of panels) panel.width = Math.min(panel.width, 120);
    const beside = specification.spec ? 20 : 75; // stacked panels have an axis each
    const columns = Math.floor((width - 50) / (panels[0].width + beside));
    specification.columns = Math.max(1, Math.min(specification.columns, columns));
  }
}

for (const place of document.querySelectorAll(".chart")) {
  const specification = JSON.parse(document.getElementById(`${place.id}-specification`).textContent);
  fit(specification, place.clientWidth);
  const live = document.createElement("div");
  vegaEmbed(live, specification, {
    renderer: "svg",
    ast: true,
    actions: { export: true, source: false, compiled: false, editor: false },
    downloadFileName: place.id,
  }).then(() => place.replaceChildren(live), console.error);
}
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not(.vega-embed details)")) folded.open = true;
});
