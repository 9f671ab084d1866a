// A list of events is one stop for Tab, however long it is; within it the arrow keys, Home and End go from event to event.

export class ArrowKeys {
  #list;
  #current = null;

  // A list whose events each have a `summary`.
  constructor(list) {
    this.#list = list;
    list.addEventListener('keydown', (event) => this.#move(event));
    list.addEventListener('focusin', ({ target }) => target.matches('summary') && this.#choose(target));
  }

  // The list has changed: Tab stops where it did, or at the end that the caller prefers if that is gone.
  settle(end = 'first') {
    const all = this.#all();
    if (!all.includes(this.#current)) this.#choose(all.at(end === 'last' ? -1 : 0) ?? null);
  }

  #all() {
    return [...this.#list.querySelectorAll('summary')];
  }

  #choose(summary) {
    this.#current?.setAttribute('tabindex', '-1');
    this.#current = summary;
    summary?.setAttribute('tabindex', '0');
  }

  #move(event) {
    if (!event.target.matches('summary') || event.ctrlKey || event.altKey || event.metaKey) return;
    const all = this.#all();
    const at = all.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    all[to]?.focus();
  }
}
