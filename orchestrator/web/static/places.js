// How large each unit of a graph is, and how far down in it edges come and go. Pure: units in, sizes out.

export const WIDTH = 208, HEIGHT = 62, BAR = 12;               // of a step; of the progress below it
export const GAP_X = 46, GAP_Y = 14, PAD = 14, HEAD = 30;
const REACH = 180;                              // how far down the axis of a tall column may be
const BEND = { width: 0, height: 6, axis: 3 };  // where an edge passes between units

// Whether a unit is drawn as a box with a title.
export function framed(units, id) {
  const { kind, title } = units[id];
  return id !== "" && title !== "" && kind !== "all";
}

// counts: whether a unit has a bar. cells: the height of those that are open in it.
// Returns id -> {width, height, axis, cells, columns}.
export function measure(units, counts, cells) {
  const places = new Map();

  function size(id) {
    const place = { width: WIDTH, height: HEIGHT + (counts(id) ? BAR : 0), columns: [] };
    place.axis = place.height / 2;
    if (units[id].columns) enclose(place, id);
    place.cells = cells(id);
    place.height += place.cells;
    places.set(id, place);
    return place;
  }

  // A box is as large as its columns. They stand on one axis, so that a way through boxes of one step each is straight.
  function enclose(place, id) {
    const edge = framed(units, id) ? PAD : 0;
    place.columns = units[id].columns.map(column);
    const inside = place.columns.reduce((sum, { width }) => sum + width + GAP_X, -GAP_X);
    place.width = Math.max(inside + 2 * edge, edge && WIDTH);
    place.axis = Math.max(...place.columns.map(({ axis }) => axis)) + (edge && edge + HEAD + (counts(id) ? BAR : 0));
    place.height = place.axis + Math.max(...place.columns.map(({ height, axis }) => height - axis)) + edge;
  }

  function column(names) {
    const sizes = names.map((name) => (name[0] === "~" ? BEND : size(name)));
    const height = sizes.reduce((sum, one) => sum + one.height, 0) + GAP_Y * (names.length - 1);
    const axis = names.length > 1 ? Math.min(height / 2, REACH) : sizes[0].axis;
    return { names, sizes, height, axis, width: Math.max(...sizes.map(({ width }) => width)) };
  }

  size("");
  return places;
}
