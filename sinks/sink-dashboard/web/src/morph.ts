// Makes one tree of elements like another with as few changes as possible, so that focus, scrolling and selection stay.
// Children with the same data-key are the same thing; what is marked data-keep belongs to a script and is left alone.

function keyOf(node: Node): string | null {
  return node instanceof Element ? (node.getAttribute("data-key") ?? (node.id || null)) : null;
}

function alike(a: Node, b: Node): boolean {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
}

function morphAttributes(from: Element, to: Element): void {
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
}

export function morph(from: Element, to: Element): void {
  if (from.hasAttribute("data-keep") && to.hasAttribute("data-keep")) return;
  if (from.isEqualNode(to)) return;
  morphAttributes(from, to);
  const keyed = new Map<string, Node>();
  for (const child of from.childNodes) {
    const key = keyOf(child);
    if (key !== null && !keyed.has(key)) keyed.set(key, child);
  }
  let place: ChildNode | null = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const key = keyOf(wanted);
    let match: Node | null = null;
    if (key !== null) {
      const known = keyed.get(key);
      if (known && alike(known, wanted)) match = known;
      // Two things with one key are still two things.
      keyed.delete(key);
    } else if (place && alike(place, wanted)) {
      match = place;
    }
    if (match === null) {
      from.insertBefore(document.importNode(wanted, true), place);
      continue;
    }
    if (match === place) place = place?.nextSibling ?? null;
    else from.insertBefore(match, place);
    if (match instanceof Element && wanted instanceof Element) morph(match, wanted);
    else if (match.nodeValue !== wanted.nodeValue) match.nodeValue = wanted.nodeValue;
  }
  while (place) {
    const next: ChildNode | null = place.nextSibling;
    place.remove();
    place = next;
  }
}
