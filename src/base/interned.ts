/**
 * Equal values are kept once: a million waiting jobs have a few sets of replicas, needs and
 * environments between them. Values are found by a text that says all about them, and are not to
 * be changed by anybody. What there are many of is not worth sharing: when the table is full it is
 * begun anew, and those in use simply stay with those who use them.
 */
export class Interned<Value> {
  private readonly limit: number;
  private readonly known = new Map<string, Value>();

  constructor(limit = 1000) {
    this.limit = limit;
  }

  get(key: string, make: () => Value): Value {
    let value = this.known.get(key);
    if (value === undefined) {
      if (this.known.size >= this.limit) this.known.clear();
      value = make();
      this.known.set(key, value);
    }
    return value;
  }
}
