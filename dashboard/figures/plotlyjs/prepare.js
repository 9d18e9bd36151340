// What a figure's JSON needs before it is drawn somewhere: colours, width, font.

// The JSON's text in another palette's colours.
export function inColours(text, exchange) {
  const escaped = Object.keys(exchange).map((colour) => colour.replace(/[()]/g, "\\$&"));
  return text.replace(new RegExp(escaped.join("|"), "g"), (colour) => exchange[colour]);
}

// What is different where there is little room: of the layout "xaxis2.domain", "annotations[0].x",
// of the traces "data[2].visible".
function set(figure, name, value) {
  const steps = (name.startsWith("data[") ? name : `layout.${name}`).replace(/\[(\d+)\]/g, ".$1").split(".");
  const last = steps.pop();
  let inner = figure;
  for (const step of steps) inner = inner[step] ??= {};
  inner[last] = value;
}

// The figure for a width in px and a font.
export function fit(figure, width, narrow, family) {
  const { layout } = figure;
  for (const [below, changes] of [[narrow, layout.meta.narrow ?? {}], ...(layout.meta.under ?? [])])
    if (width < below)
      for (const [name, value] of Object.entries(changes)) set(figure, name, value);
  layout.width = Math.max(Math.round(width), 40);
  layout.autosize = false;
  layout.font = { family };
  layout.hoverlabel = { font: { family } };
  return figure;
}
