// The page shows static drawings; this replaces them by the same charts with tooltips and a menu to save them.
function fit(specification, width) {
  const narrow = width < 480;
  for (const heatMap of specification.vconcat ?? []) {
    if (narrow) heatMap.width.step = Math.min(heatMap.width.step, 40);
  }
  if (specification.columns) {
    if (narrow) specification.spec.width = 120;
    const panel = specification.spec.width + 20;
    specification.columns = Math.max(1, Math.min(specification.columns, Math.floor((width - 50) / panel)));
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
