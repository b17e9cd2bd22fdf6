// The page shows static drawings; this replaces them by the same charts with tooltips and a menu to save them.
for (const place of document.querySelectorAll(".chart")) {
  const specification = JSON.parse(document.getElementById(`${place.id}-specification`).textContent);
  if (specification.columns) {
    specification.columns = Math.max(1, Math.min(specification.columns, Math.floor(place.clientWidth / 215)));
  }
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
